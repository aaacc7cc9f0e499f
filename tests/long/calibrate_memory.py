"""How near the estimates of memory are: each run in a process of its own, beside the smallest run there is.

    python tests/long/calibrate_memory.py

prints a table: estimated and measured MiB above Python, PyTorch and the text, and their ratio. An estimate is right
if the ratio is between 0.5 and 1. Given a word, it takes the runs whose names contain it.
"""

import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

TEXT = "shipped:stories"
LARGE = "<50,000 words>"
"""Stands for a text that is written first."""
FEW = ["task.valid_size=250", "task.test_size=250"]
"""One batch of each, to save time."""
RUNS = {
    "lstm, 400 steps": ["quickstart", "model.hidden_size=256", "task.length=400", "train.eval_batch_size=64", *FEW],
    "lstm, 400 steps, plain loop": ["quickstart", "model.hidden_size=256", "task.length=400", "engine=reference",
                             "train.eval_batch_size=64", *FEW],
    "peephole": ["quickstart", "model.cell=peephole", "model.hidden_size=400", "train.batch_size=256", *FEW],
    "peephole, plain loop": ["quickstart", "model.cell=peephole", "model.hidden_size=200", "engine=reference",
                             "train.batch_size=256", *FEW],
    "coupled": ["quickstart", "model.cell=coupled", "model.hidden_size=400", "train.batch_size=256", *FEW],
    "coupled, plain loop": ["quickstart", "model.cell=coupled", "model.hidden_size=200", "train.batch_size=128",
                            "engine=reference", *FEW],
    "gru, 2 layers": ["quickstart", "model.cell=gru", "model.depth=2", "model.hidden_size=300",
                      "train.batch_size=256", *FEW],
    "gru, plain loop, sgd": ["quickstart", "model.cell=gru", "model.hidden_size=200", "engine=reference",
                             "train.batch_size=200", "optimizer=sgd", *FEW],
    "gru, reset before": ["quickstart", "model.cell={name: gru, reset: before}", "model.hidden_size=400",
                          "train.batch_size=256", *FEW],
    "gru, reset before, plain loop": ["quickstart", "model.cell={name: gru, reset: before}", "model.hidden_size=300",
                             "train.batch_size=128", "engine=reference", *FEW],
    "rnn": ["quickstart", "model.cell=rnn", "model.hidden_size=1000", "train.batch_size=256", *FEW],
    "rnn, plain loop": ["quickstart", "model.cell=rnn", "model.hidden_size=500", "train.batch_size=256",
                        "engine=reference", *FEW],
    "odyssey": ["quickstart", "model.cell=odyssey", "model.hidden_size=200", "train.batch_size=128", *FEW],
    "deep": ["quickstart", "model.depth=8", "model.hidden_size=200", *FEW],
    "deep, plain loop": ["quickstart", "model.depth=6", "model.hidden_size=128", "engine=reference", *FEW],
    "both ways": ["lookaround", "model.cell=lstm", "model.hidden_size=400", "train.batch_size=400",
                  "model.direction=bidirectional", "train.eval_batch_size=100", *FEW],
    "both ways, plain loop": ["lookaround", "model.cell=lstm", "model.hidden_size=200", "train.batch_size=200",
                              "model.direction=bidirectional", "train.eval_batch_size=100", "engine=reference", *FEW],
    "deep, both ways, summed": ["quickstart", "model.depth=3", "model.hidden_size=200", "train.batch_size=128",
                                "model.direction=bidirectional", "model.merge=sum", *FEW],
    "5,000 steps": ["quickstart", "model.hidden_size=64", "task.length=5000", "train.batch_size=32",
                    "train.eval_batch_size=32", "task.valid_size=32", "task.test_size=32"],
    "1,000 steps, plain loop": ["quickstart", "model.hidden_size=64", "task.length=1000", "engine=reference",
                                "train.eval_batch_size=64", "task.valid_size=64", "task.test_size=64"],
    "2,000 units": ["quickstart", "model.hidden_size=2000", "task.length=10", "train.batch_size=8", *FEW],
    "2,000 units, sgd": ["quickstart", "model.hidden_size=2000", "task.length=10", "train.batch_size=8",
                      "optimizer=sgd", *FEW],
    "2,000 units, rmsprop": ["quickstart", "model.hidden_size=2000", "task.length=10", "train.batch_size=8",
                          "optimizer=rmsprop", *FEW],
    "2,000 units, plain loop": ["quickstart", "model.hidden_size=2000", "task.length=10", "train.batch_size=8",
                             "engine=reference", *FEW],
    "zoneout": ["quickstart", "model.hidden_size=200", "train.batch_size=128", "model.zoneout_hidden=0.1", *FEW],
    "sets of symbols": ["embedded-reber", "model.hidden_size=256", "train.batch_size=512", *FEW],
    "one-hot": ["copy-memory", "task.length=200", "train.batch_size=256", *FEW],
    "words": ["words", "train.batch_size=256", "model.hidden_size=400", "train.epochs=null"],
    "words, tied": ["word-lm", "train.batch_size=200", "train.epochs=null"],
    "words, plain loop, dropout": ["word-lm", "train.batch_size=200", "train.epochs=null", "engine=reference"],
    "awd-lstm": ["awd-lstm", f"task.path={TEXT}", "train.epochs=null", "train.average_after=null"],
    "characters": ["characters", "train.batch_size=200", "train.epochs=null"],
    "50,000 words": ["words", f"task.path={LARGE}", "train.epochs=null"],
    "50,000 words, tied, sgd": ["word-lm", f"task.path={LARGE}", "train.epochs=null"],
    "50,000 words, adaptive": ["words", f"task.path={LARGE}", "train.epochs=null", "model.softmax=adaptive",
                               "train.batch_size=200"],
    "large sets": ["quickstart", "task.valid_size=100000", "task.test_size=100000", "model.hidden_size=16"],
    "large evaluation": ["quickstart", "train.eval_batch_size=2000", "model.hidden_size=256", "train.batch_size=8"],
    "large evaluation, plain loop": ["quickstart", "train.eval_batch_size=1000", "model.hidden_size=128",
                                     "train.batch_size=8", "engine=reference"],
}  # fmt: skip
SMALLEST = ["quickstart", "model.hidden_size=1", "task.length=2", "train.batch_size=1", "train.eval_batch_size=1",
            "task.valid_size=1", "task.test_size=1"]  # fmt: skip

CHILD = """
import json, resource, sys, tempfile
from pathlib import Path
from seqtrain.config import load_config
from seqtrain.runs import trainer
seen = {}
def watch(name, look):
    plain = getattr(trainer, name)
    def watched(*arguments, **more):
        result = plain(*arguments, **more)
        seen[name] = look(result)
        return result
    setattr(trainer, name, watched)
def peak(_):
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
watch("build_task", peak)
watch("check_memory", lambda found: {"peak": found.peak / 2**20} | {k: v / 2**20 for k, v in found._asdict().items()})
overrides = [*sys.argv[2:], "train.steps=3", "threads=1"]
with tempfile.TemporaryDirectory() as folder:
    trainer.train_run(load_config(sys.argv[1], overrides, quiet=True), Path(folder) / "run", quiet=True)
print(json.dumps({"estimate": seen["check_memory"], "task": seen["build_task"], "peak": peak(None)}))
"""


def train(arguments: list[str]) -> Any:
    """Train in a process of its own: its estimate, and its peaks when the task was built and at the end, in MiB."""
    done = subprocess.run([sys.executable, "-c", CHILD, *arguments], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def write_text(path: Path) -> None:
    """50,000 words once, and as many again as a large text would have: few of them often, most of them hardly ever."""
    drawn, words = random.Random(0), [f"w{number}" for number in range(50_000)]
    text = words + [words[min(49_999, int(drawn.paretovariate(0.3)))] for _ in range(150_000)]
    drawn.shuffle(text)
    path.write_text("\n".join(" ".join(text[start : start + 20]) for start in range(0, len(text), 20)))


def main() -> None:
    """Print the table of all runs, or of those whose names contain the first argument, and its extremes."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    least, ratios = train(SMALLEST), {}
    print(f"Python, PyTorch and the smallest run: {least['peak']:.0f} MiB\n")
    print("| run | estimated | measured | |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        write_text(Path(folder) / "words.txt")
        for name, arguments in RUNS.items():
            if wanted not in name:
                continue
            run = train([argument.replace(LARGE, f"{folder}/words.txt") for argument in arguments])
            measured = run["peak"] - least["peak"] - max(0, run["task"] - least["task"])
            parts = ", ".join(f"{part} {size:.0f}" for part, size in run["estimate"].items() if part != "peak")
            estimated = run["estimate"]["peak"]
            ratios[name] = estimated / measured
            print(f"| {name} | {estimated:,.0f} ({parts}) | {measured:,.0f} | {ratios[name]:.2f} |", flush=True)
    print(f"\nfrom {min(ratios.values()):.2f} to {max(ratios.values()):.2f}")


if __name__ == "__main__":
    main()
