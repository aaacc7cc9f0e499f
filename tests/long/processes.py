"""One run on several processes, against the same run on one: equal bytes, also after a process was killed.

    python tests/long/processes.py --kills 20 --speed

Some minutes on two cores. Each config is trained with `train.shards=4` on 1, 2 and 4 processes of `torchrun`. Then a
process of a run is killed at a random moment, and the run goes on with another number of processes, until it ends; its
checkpoints and metrics are compared with those of the run that was left alone. With --speed, a model that is large
enough to gain is trained by two processes of one thread and by one process of two threads, in turns.
"""

import argparse
import hashlib
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SHORT = ("threads=1", "train.shards=4", "train.steps=120", "train.eval_every=30", "train.log_every=5",
         "train.save_every=10", "train.batch_size=8", "model.hidden_size=24")  # fmt: skip
CONFIGS = {
    "adding": ("quickstart", "task.length=30", "task.valid_size=100", "task.test_size=40"),
    "brackets": ("brackets", "task.valid_size=100", "task.test_size=40", "model.cell=gru"),
    "lengths": ("embedded-reber", "task.valid_size=100", "task.test_size=40", "model.cell=peephole", "model.depth=2"),
    "words": ("words", "train.epochs=null", "train.patience=null", "model.dropout=0.3", "model.weight_drop=0.2",
              "train.ar=2", "train.tar=1"),
}  # fmt: skip
"""Real numbers, sequences of several lengths, and a text whose state is carried, with dropout."""

TIMING = ("elapsed_s", "sequences_per_s", "tokens_per_s")

LARGE = ("words", "threads=1", "train.epochs=null", "train.patience=null", "train.steps=12", "train.eval_every=12",
         "train.shards=2", "train.batch_size=64", "task.window=70", "model.hidden_size=650")  # fmt: skip
"""A word model of two LSTM layers of 650 units."""


def main() -> None:
    """Compare, kill, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    drawn, failed = random.Random(asked.seed), 0
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for name in CONFIGS:
            digests = {}
            for processes in (1, 2, 4):
                out = Path(f"{name}-{processes}")
                code = launched(name, out, processes).wait()
                digests[processes] = hashlib.sha256((out / "last.safetensors").read_bytes()).hexdigest()
                failed += code != 0
            same = len(set(digests.values())) == 1 and all(
                content(Path(f"{name}-{n}")) == content(Path(f"{name}-1")) for n in (2, 4)
            )
            failed += not same
            print(f"{name}: {'the same bytes' if same else 'DIFFERS'} on 1, 2 and 4 processes: SHA-256 {digests[1]}")
        kills = differences = 0
        slowest = 0.0
        while kills < asked.kills:
            name = list(CONFIGS)[kills % len(CONFIGS)]
            out = Path(f"killed-{kills}")
            more, seconds = killed_until_done(name, out, drawn, asked.kills - kills)
            kills, slowest = kills + more, max(slowest, seconds)
            differences += content(out) != content(Path(f"{name}-1"))
            print(f"{kills} kills, {differences} differences; all processes ended after {slowest:.1f} s at most")
        if asked.speed:
            measure_speed()
    sys.exit(1 if failed or differences else 0)


def launched(name: str, out: Path, processes: int, *options: str) -> "subprocess.Popen[bytes]":
    """A run that `torchrun` has started on that many processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m",
               "seqtrain", "train", *CONFIGS[name], *SHORT, "--out", str(out), "--quiet", *options]  # fmt: skip
    with Path(f"{out}.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def killed_until_done(name: str, out: Path, drawn: random.Random, most: int) -> tuple[int, float]:
    """Start a run, kill one of its processes at random, and go on with another number of processes.

    Returns the kills, and the longest time from a kill to the end of all processes.
    """
    kills, slowest, processes = 0, 0.0, drawn.choice((2, 4))
    while True:
        run = launched(name, out, processes, "--resume")
        if kills < min(most, 3) and (victim := chosen(run, out, drawn)):
            killed_at = time.monotonic()
            os.kill(victim, signal.SIGKILL)
            run.wait()
            slowest = max(slowest, time.monotonic() - killed_at)
            kills += 1
        elif run.wait() == 0:
            return kills, slowest
        processes = drawn.choice([n for n in (1, 2, 4) if n != processes])


def chosen(run: "subprocess.Popen[bytes]", out: Path, drawn: random.Random) -> int | None:
    """One of the processes of a run, after a random part of its training; None if it ended before."""
    wanted = drawn.uniform(0, 90)
    while run.poll() is None:
        time.sleep(0.02)
        last = (out / "metrics.jsonl").read_bytes().splitlines()[-1:] if (out / "metrics.jsonl").exists() else []
        if last and last[0].endswith(b"}") and json.loads(last[0])["step"] >= wanted:
            workers = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
            return int(drawn.choice(workers)) if workers else None
    return None


def content(run: Path) -> dict[str, object]:
    """What equal runs have in common."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    metrics = [{key: value for key, value in record.items() if key not in TIMING} for record in records]
    return {file: (run / file).read_bytes() for file in ("last.safetensors", "best.safetensors")} | {"metrics": metrics}


def measure_speed() -> None:
    """Tokens a second of two processes of one thread, and of one process of two threads, in turns."""
    CONFIGS["large"] = LARGE[:1]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "seqtrain"]
    ways = {
        "2 processes, 1 thread each, 2 shards": [*torchrun, "train", *LARGE],
        "1 process, 2 threads, 2 shards": [sys.executable, "-m", "seqtrain", "train", *LARGE, "threads=2"],
        "1 process, 2 threads, 1 shard": [sys.executable, "-m", "seqtrain", "train", *LARGE, "threads=2",
                                          "train.shards=1"],
    }  # fmt: skip
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(3):
        for way, command in ways.items():
            done = subprocess.run(
                [*command, "--out", "speed", "--overwrite", "--quiet", "--json"], capture_output=True, check=True
            )
            found = re.search(rb'"tokens_per_s": ([\d.]+)', done.stdout)
            assert found is not None
            rates[way].append(float(found[1]))
    usual = statistics.median(rates["1 process, 2 threads, 1 shard"])
    for way, measured in rates.items():
        rate = statistics.median(measured)
        print(f"{way}: {rate:,.0f} tokens/s, {rate / usual:.2f} times one process of two threads without shards")


if __name__ == "__main__":
    main()
