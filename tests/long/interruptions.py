"""Runs that are killed and stopped at random moments, against the same runs left alone.

    python tests/long/interruptions.py --kills 200 --terms 50 --races 50

Some minutes on two cores. Each attempt is a process of its own; it is sent SIGKILL or SIGTERM after a random time, for
four of five counted from the moment when it writes its config, as a busy machine starts late. Then it goes on with
--resume, and its checkpoints, metrics and summary are compared with those of the run that was left alone.
In a race two processes are started on one directory, and what they leave is compared likewise.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch._dynamo  # noqa: F401  # as PyTorch's optimizers do when the first is made; here once for all processes

import seqtrain.cli
import seqtrain.cli.render
import seqtrain.runs.curve
import seqtrain.runs.train  # noqa: F401
from seqtrain.__main__ import main as run_command

SHORT = ("threads=1", "train.steps=60", "train.eval_every=20", "train.log_every=3", "train.save_every=7",
         "train.batch_size=8", "model.hidden_size=8")  # fmt: skip
SETS = ("task.valid_size=40", "task.test_size=40")
CONFIGS = {
    "adding": ("quickstart", *SETS, "task.length=30", "train.stop_when_solved=false"),
    "backward": ("adding-hochreiter", *SETS, "task.length=22", "model.direction=backward", "optimizer=rmsprop"),
    "bidirectional": ("lookaround", *SETS, "model.cell=peephole", "model.dropout=0.2"),
    "copying": ("copy-memory", *SETS, "task.length=10", "model.cell=rnn"),
    "classes": ("temporal-order", *SETS, "task.length=30", "model.cell=gru", "model.input_dropout=0.1"),
    "sets of symbols": ("embedded-reber", *SETS, "model.cell={name: odyssey, ablation: full_gate_recurrence}"),
    "generating": ("timing", "task.spikes=50", "optimizer=adamw", "optimizer.weight_decay=0.01"),
    "stories": ("stories", *SETS, "task.distance=10", "model.cell=coupled", "schedule=cosine", "schedule.warmup=5"),
    "words": ("words", "task.path=text", "task.window=7", "model.depth=2", "model.dropout=0.3"),
    "characters": (
        "characters", "task.path=text", "task.window=10", "task.vary_window=true", "optimizer=sgd", "optimizer.lr=1",
        "train.average_after=0", "train.ar=2", "train.tar=1", "model.cell=gru", "model.embedding_size=8",
    ),
}  # fmt: skip
"""Tasks of every kind, cells, directions, optimizers, schedules, averages, texts whose state is carried."""

TIMING = ("elapsed_s", "sequences_per_s", "tokens_per_s")
EXIT_CODES = {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: 143}


def main() -> None:
    """Interrupt, resume, compare, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--terms", type=int, default=50)
    parser.add_argument("--races", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    drawn = random.Random(asked.seed)
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        write_text(Path("text"), drawn)
        seconds = {name: left_alone(name) for name in CONFIGS}  # to begin, to train
        for sent, times in ((signal.SIGKILL, asked.kills), (signal.SIGTERM, asked.terms)):
            for number in range(times):
                name = list(CONFIGS)[number % len(CONFIGS)]
                interrupt(name, sent, seconds[name], drawn, found)
                if sys.stderr.isatty() or number % 20 == 19:
                    print(f"{sent.name} {number + 1} of {times}: {dict(found)}", file=sys.stderr)
        for number in range(asked.races):
            race(list(CONFIGS)[number % len(CONFIGS)], drawn, found)
        print(f"races {asked.races} of {asked.races}: {dict(found)}", file=sys.stderr)
    for what, count in sorted(found.items()):
        print(f"{count:6}  {what}")
    sys.exit(1 if any("DIFFERS" in what or "WRONG" in what for what in found) else 0)


def write_text(folder: Path, drawn: random.Random) -> None:
    """A small text in three parts."""
    folder.mkdir()
    for part, lines in (("train", 300), ("valid", 30), ("test", 30)):
        words = (" ".join(drawn.choices("abcdefgh", k=6)) for _ in range(lines))
        (folder / f"{part}.txt").write_text("\n".join(words) + "\n")


def left_alone(name: str) -> tuple[float, float]:
    """Train without an interruption; returns the seconds until it wrote its config, and from then to its end."""
    started_at = time.monotonic()
    child = start(name, out := Path("whole", name))
    wait_for_config(out)
    began_at = time.monotonic()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == 0, (name, code)
    return began_at - started_at, time.monotonic() - began_at


def wait_for_config(out: Path) -> None:
    """Wait until a run writes its config, which is when it begins to train."""
    while not (out / "config.yaml").exists():
        time.sleep(0.001)


def interrupt(
    name: str, sent: signal.Signals, seconds: tuple[float, float], drawn: random.Random, found: Counter[str]
) -> None:
    """Send the signal after a random part of the seconds, go on, and compare with the run that was left alone."""
    out = Path("interrupted")
    shutil.rmtree(out, ignore_errors=True)
    child = start(name, out)
    to_begin, to_train = seconds
    if drawn.random() < 0.2:
        time.sleep(drawn.uniform(0, to_begin))
    else:
        wait_for_config(out)
        time.sleep(drawn.uniform(0, to_train))
    os.kill(child, sent)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    last = out / "last.safetensors"
    if code == 0:
        found[f"{sent.name} came after the end"] += 1
    elif code == EXIT_CODES[sent]:
        found[f"{sent.name} {'with' if last.exists() else 'before'} a checkpoint"] += 1
    elif code == -sent:
        found[f"{sent.name} before the run began"] += 1
    else:
        found[f"WRONG exit code {code} after {sent.name}, {name}"] += 1
    code = os.waitstatus_to_exitcode(os.waitpid(start(name, out, "--resume"), 0)[1])
    if code:
        found[f"WRONG exit code {code} of --resume, {name}"] += 1
        return
    differing = differences(Path("whole", name), out)
    found["the same bytes" if not differing else f"DIFFERS in {', '.join(differing)}, {name}"] += 1


def race(name: str, drawn: random.Random, found: Counter[str]) -> None:
    """Two processes on one directory: one is refused, or comes after the other and finds everything done."""
    out = Path("raced")
    shutil.rmtree(out, ignore_errors=True)
    options = drawn.choice([("--resume",), ("--overwrite",), ()])
    children = [start(name, out, *options)]
    time.sleep(drawn.choice([0, drawn.uniform(0, 0.3)]))
    children.append(start(name, out, *options))
    codes = sorted(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)
    found[f"race with {' '.join(options) or 'no option'}: exit codes {codes}"] += 1
    if codes not in ([0, 2], [0, 0]) or (codes == [0, 0] and not options):
        found[f"WRONG exit codes {codes} of a race, {name}"] += 1
    differing = differences(Path("whole", name), out)
    found["race, the same bytes" if not differing else f"race DIFFERS in {', '.join(differing)}, {name}"] += 1


def start(name: str, out: Path, *options: str) -> int:
    """A process that trains; forked, as importing PyTorch each time would take longest."""
    config, *overrides = CONFIGS[name]
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        sys.argv = ["seqtrain", "train", config, *SHORT, *overrides, "--out", str(out), "--quiet", *options]
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        run_command()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    finally:
        os._exit(code)


def differences(one: Path, other: Path) -> list[str]:
    """The files of two runs that differ, but for what a clock says."""
    found = [
        name
        for name in ("config.yaml", "last.safetensors", "best.safetensors", "curve.png")
        if (one / name).read_bytes() != (other / name).read_bytes()
    ]
    for name in ("metrics.jsonl", "summary.json"):
        if untimed(one / name) != untimed(other / name):
            found.append(name)
    left = {path.name for path in other.iterdir()} - {path.name for path in one.iterdir()}
    return [*found, *(f"{name}, which was left over" for name in sorted(left) if not name.endswith(".tmp"))]


def untimed(path: Path) -> list[dict[str, object]]:
    """The records of a file without what a clock says."""
    text = path.read_text("utf-8")
    records = [json.loads(text)] if path.suffix == ".json" else [json.loads(line) for line in text.splitlines()]
    return [{key: value for key, value in record.items() if key not in TIMING} for record in records]


if __name__ == "__main__":
    main()
