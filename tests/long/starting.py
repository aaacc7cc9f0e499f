"""How long commands take to start, beside `python -c "import torch"`.

    python tests/long/starting.py [--rounds 10]

Each command runs in a process of its own, which ends at once where the work begins: `train` before its first step, the
others before they use the model for the first time. The commands run in turns. The table shows medians of the time that
passed and of the processor time, in seconds, and their ratios to those of `import torch`. All processes may use and
write bytecode, as installed packages do.
"""

import argparse
import os
import runpy
import subprocess
import sys
import tempfile
import time
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from pathlib import Path
from statistics import median

ENDS_AT = {"train": ("seqtrain.training.loop", "train_step"), "": ("seqtrain.models.model", "SequenceModel.predict")}
"""Where a command ends: the module and the function that it calls first."""


class EndingFinder(MetaPathFinder):
    """Ends the process at the first call of a function, once somebody imports its module."""

    def __init__(self, module: str, function: str) -> None:
        self.module, self.function = module, function

    def find_spec(self, name, path=None, target=None):
        """The module as Python finds it; the function is replaced once it is loaded."""
        if name != self.module:
            return None
        spec = PathFinder.find_spec(name, path, target)
        load = spec.loader.exec_module

        def load_and_replace(module):
            load(module)
            owner = module
            *classes, function = self.function.split(".")
            for cls in classes:
                owner = getattr(owner, cls)
            setattr(owner, function, lambda *_, **__: os._exit(0))

        spec.loader.exec_module = load_and_replace
        return spec


def in_child(arguments: list[str]) -> None:
    """Run a command up to where its work begins."""
    sys.meta_path.insert(0, EndingFinder(*ENDS_AT.get(arguments[0], ENDS_AT[""])))
    sys.argv = ["seqtrain", *arguments]
    runpy.run_module("seqtrain", run_name="__main__", alter_sys=False)


def timed(command: list[str]) -> tuple[float, float]:
    """Seconds that passed, and processor time, of a process."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    started_at = time.perf_counter()
    child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    passed = time.perf_counter() - started_at
    if status:
        raise SystemExit(f"{command} ended with {status}")
    return passed, usage.ru_utime + usage.ru_stime


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    python = [sys.executable]
    with tempfile.TemporaryDirectory() as folder:
        run, text = str(Path(folder) / "run"), Path(folder) / "text"
        text.write_text("I grew up in France .\n")
        few = ["train.epochs=null", "train.steps=2", "model.hidden_size=8", "task.max_size=50"]
        subprocess.run([*python, "-m", "seqtrain", "train", "words", *few, "--out", run, "--quiet"], check=True)
        verbs = {
            "train quickstart": ["train", "quickstart", "--out", str(Path(folder) / "new"), "--overwrite"],
            "train, 2 settings": ["train", "quickstart", "seed=1", "model.cell=gru", "--out", f"{folder}/gru"],
            "eval": ["eval", run],
            "predict": ["predict", run, "--prompt", "the"],
            "generate": ["generate", run, "--prompt", "the"],
            "score": ["score", run, str(text)],
        }
        verbs["train, 2 settings"].append("--overwrite")
        commands = {"import torch": [*python, "-c", "import torch, os; os._exit(0)"]}
        commands |= {name: [*python, __file__, "--child", *arguments] for name, arguments in verbs.items()}
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for number in range(rounds + 1):
            for name, command in commands.items():
                measured = timed(command)
                if number:  # the first round writes bytecode
                    times[name].append(measured)
    medians = {name: tuple(map(median, zip(*each, strict=True))) for name, each in times.items()}
    base = medians["import torch"]
    for name, (passed, used) in medians.items():
        print(f"{name:20} {passed:.2f} s {passed / base[0]:.2f}   processor {used:.2f} s {used / base[1]:.2f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        in_child(sys.argv[2:])
    else:
        main()
