"""How near the estimates of memory are: each run in a process of its own, beside the smallest run there is.

    python tests/long/calibrate_memory.py

prints a table: estimated and measured MiB above Python and PyTorch, and the one by the other.
"""

import json
import subprocess
import sys

TEXT = "shipped:stories"
RUNS = {
    "lstm, adding": ["quickstart", "model.hidden_size=256", "task.length=400", "train.eval_batch_size=64"],
    "lstm, adding, plain loop": ["quickstart", "model.hidden_size=256", "task.length=400", "engine=reference",
                                 "train.eval_batch_size=64"],
    "peephole, plain loop": ["quickstart", "model.cell=peephole", "model.hidden_size=200", "engine=reference",
                             "train.batch_size=256"],
    "peephole": ["quickstart", "model.cell=peephole", "model.hidden_size=400", "train.batch_size=256"],
    "coupled": ["quickstart", "model.cell=coupled", "model.hidden_size=400", "train.batch_size=256"],
    "gru, 2 layers": ["quickstart", "model.cell=gru", "model.depth=2", "model.hidden_size=300", "train.batch_size=256"],
    "gru before, plain loop": ["quickstart", "model.cell={name: gru, reset: before}", "model.hidden_size=300",
                               "train.batch_size=128", "engine=reference"],
    "rnn": ["quickstart", "model.cell=rnn", "model.hidden_size=1000", "train.batch_size=256"],
    "odyssey": ["quickstart", "model.cell=odyssey", "model.hidden_size=200", "train.batch_size=128"],
    "lstm, both ways": ["lookaround", "model.cell=lstm", "model.hidden_size=400", "train.batch_size=400",
                        "model.direction=bidirectional", "train.eval_batch_size=100"],
    "2,500 units": ["quickstart", "model.hidden_size=2500", "task.length=10", "train.batch_size=8"],
    "words": ["words", "train.batch_size=256", "model.hidden_size=400"],
    "words, tied, 2 layers": ["word-lm", "train.batch_size=200", "train.epochs=null"],
    "words, plain loop, dropout": ["word-lm", "train.batch_size=200", "train.epochs=null", "engine=reference"],
    "awd-lstm": ["awd-lstm", f"task.path={TEXT}", "train.epochs=null"],
    "characters": ["characters", "train.batch_size=200", "train.epochs=null"],
    "large sets": ["quickstart", "task.valid_size=100000", "task.test_size=100000", "model.hidden_size=16"],
    "large evaluation": ["quickstart", "train.eval_batch_size=2000", "model.hidden_size=256", "train.batch_size=8"],
    "sgd": ["quickstart", "optimizer=sgd", "model.hidden_size=2500", "task.length=10", "train.batch_size=8"],
}  # fmt: skip
SMALLEST = ["quickstart", "model.hidden_size=1", "task.length=2", "train.batch_size=1", "train.eval_batch_size=1",
            "task.valid_size=1", "task.test_size=1"]  # fmt: skip

CHILD = """
import json, resource, sys, tempfile
from pathlib import Path
from seqtrain import verbs
overrides = [*sys.argv[2:], "train.steps=3", "threads=1"]
with tempfile.TemporaryDirectory() as folder:
    verbs.train(sys.argv[1], overrides, Path(folder) / "run", resume=False, overwrite=False, quiet=True)
print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))
"""
ESTIMATE = """
import json, sys
from seqtrain import verbs
print(json.dumps(verbs.validate(sys.argv[1], sys.argv[2:], quiet=True)["memory"]))
"""


def ask(code: str, arguments: list[str]) -> object:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    base = ask(CHILD, SMALLEST)
    print(
        f"Python, PyTorch and the smallest run: {base:.0f} MiB\n\n| run | estimated | measured | |\n|---|---|---|---|"
    )
    for name, arguments in RUNS.items():
        needed, peak = ask(ESTIMATE, arguments), ask(CHILD, arguments) - base
        own = needed["peak"] / 2**20
        parts = ", ".join(
            f"{part} {needed[part] / 2**20:.0f}" for part in ("weights", "activations", "evaluation", "saving", "sets")
        )
        print(f"| {name} | {own:,.0f} ({parts}) | {peak:,.0f} | {own / peak:.2f} |", flush=True)


if __name__ == "__main__":
    main()
