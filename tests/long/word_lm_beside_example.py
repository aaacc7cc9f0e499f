"""Train `word-lm` and PyTorch's example word_language_model on one text, in turns, and compare time and memory.

    git clone https://github.com/pytorch/examples
    python tests/long/word_lm_beside_example.py --example examples/word_language_model --text FOLDER

FOLDER has train.txt, valid.txt and test.txt. Words that the training text lacks become `<unk>` for both programs, so
that both have the same vocabulary. Both train one epoch of the same network (two layers of 200, tied) on the same
number of threads, with flush-to-zero on; whole processes are timed, from start to end, with their evaluations. The
memory of one training step is measured in processes of their own, above what the process needed before it (Linux).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

SPLITS = ("train", "valid", "test")
PRECISIONS = ("float32", "bfloat16")

EXAMPLE = """
import runpy, sys, torch
torch.set_flush_denormal(True)
torch.set_num_threads({threads})
sys.path.insert(0, {folder!r})
sys.argv = ["main.py", "--data", {text!r}, "--tied", "--epochs", "1", "--save", {save!r}, "--seed", "{seed}"]
runpy.run_path({main!r}, run_name="__main__")
"""

EXAMPLE_STEP = """
import json, sys, torch
torch.set_flush_denormal(True)
torch.set_num_threads({threads})
sys.path.insert(0, {folder!r})
from model import RNNModel
from seqtrain.recurrence.benchmark import peak_bytes
def step(words):
    model = RNNModel("LSTM", words, 200, 200, 2, 0.2, True)
    hidden = model.init_hidden(20)
    inputs, targets = torch.randint(0, words, (35, 20)), torch.randint(0, words, (700,))
    def run():
        output, _ = model(inputs, hidden)
        torch.nn.NLLLoss()(output, targets).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        for p in model.parameters():
            p.data.add_(p.grad, alpha=-20)
    return run
step(1000)()
print(json.dumps(peak_bytes(step({words}))))
"""

OUR_STEP = """
import json, torch
from seqtrain.system.runtime import prepare
prepare({threads})
from seqtrain.config import read_config
from seqtrain.config.build import build_model, build_optimizer, build_recipe, build_task
from seqtrain.recurrence.benchmark import peak_bytes
from seqtrain.training.state import TrainState
from seqtrain.training.step import train_step

config, _ = read_config("word-lm", ["task.path=" + {text!r}, "precision={precision}"], quiet=True)
task = build_task(config, quiet=True)
def step():
    model = build_model(config, task.spec)
    state, recipe = TrainState(model, build_optimizer(config, model)), build_recipe(config, task)
    batch = task.train_batch(0, 20)
    return lambda: train_step(state, recipe, batch)
print(json.dumps(peak_bytes(step())))
"""


def main() -> None:
    """Print the medians, the ratios and the peaks."""
    arguments = parsed()
    with tempfile.TemporaryDirectory() as folder:
        text, work = Path(folder) / "text", Path(folder)
        words = same_vocabulary(arguments.text, text)
        print(f"{words:,} words; {arguments.threads} threads; seconds of whole processes, in turns")
        seconds: dict[str, list[float]] = {}
        for seed in range(arguments.rounds):
            for name, command in programs(arguments, text, work, seed):
                seconds.setdefault(name, []).append(timed(command))
                print(f"round {seed + 1}: {name} {seconds[name][-1]:.1f} s", flush=True)
        example = statistics.median(seconds["example"])
        for name, times in seconds.items():
            median = statistics.median(times)
            print(f"{name}: {median:.1f} s, example / {name} {example / median:.2f}")
        peaks = dict(step_memory(arguments, text, words))
        for name, peak in peaks.items():
            print(f"{name}: peak of a step {peak / 1e6:.0f} MB, {peak / peaks['example']:.2f} of the example's")


def parsed() -> argparse.Namespace:
    """The arguments of the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--example", type=Path, required=True, help="folder of the example, with main.py")
    parser.add_argument("--text", type=Path, required=True, help="folder with train.txt, valid.txt, test.txt")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def same_vocabulary(source: Path, target: Path) -> int:
    """Copy a text with `<unk>` for the words that its training part lacks; returns the size of the vocabulary."""
    target.mkdir()
    known = {*(source / "train.txt").read_text("utf-8").split(), "<unk>"}
    for split in SPLITS:
        lines = (source / f"{split}.txt").read_text("utf-8").splitlines()
        kept = (" ".join(word if word in known else "<unk>" for word in line.split()) for line in lines)
        (target / f"{split}.txt").write_text("\n".join(kept) + "\n", "utf-8")
    return len(known) + 1  # the end of a line


def programs(arguments: argparse.Namespace, text: Path, work: Path, seed: int) -> Iterator[tuple[str, list[str]]]:
    """What takes turns in a round, in another order each time."""
    folder = arguments.example.resolve()
    places = {"folder": str(folder), "text": str(text), "save": str(work / "model.pt"), "main": str(folder / "main.py")}
    code = EXAMPLE.format(threads=arguments.threads, seed=seed, **places)
    named = {"example": [sys.executable, "-c", code]}
    for precision in PRECISIONS:
        options = [f"task.path={text}", "train.epochs=1", f"threads={arguments.threads}", f"seed={seed}"]
        run = ["train", "word-lm", *options, f"precision={precision}", "--out", str(work / f"{precision}-{seed}")]
        named[precision] = [sys.executable, "-m", "seqtrain", *run, "--quiet"]
    names = [*named]
    for n in range(len(names)):
        name = names[(n + seed) % len(names)]
        yield name, named[name]


def timed(command: list[str]) -> float:
    """Seconds of a whole process.

    Raises
    ------
    subprocess.CalledProcessError : it failed.
    """
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ)
    return time.perf_counter() - started


def step_memory(arguments: argparse.Namespace, text: Path, words: int) -> Iterator[tuple[str, int]]:
    """The peak memory of one training step of each program, in bytes."""
    folder = str(arguments.example.resolve())
    codes = {"example": EXAMPLE_STEP.format(threads=arguments.threads, folder=folder, words=words)}
    for precision in PRECISIONS:
        codes[precision] = OUR_STEP.format(threads=arguments.threads, text=str(text), precision=precision)
    for name, code in codes.items():
        ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        yield name, json.loads(ran.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
