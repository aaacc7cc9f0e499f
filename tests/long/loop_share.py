"""How much of a training step is spent outside the model's forward and backward pass.

    python tests/long/loop_share.py [CONFIG] [KEY=VALUE]... [--steps 400] [--threads 1,2] [--rounds 3]

It trains in this process, as `seqtrain train` does, and notes the time around each step and around its forward and
backward pass (prediction, loss, gradient). A step lasts until the next one begins, so it includes the next batch, the
norm, the optimizer, the progress, the training records and the checks of the loop. Evaluations and saving are not
included. The means are milliseconds, of the fastest round; the share is that of everything outside the passes.
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import fmean
from unittest import mock

from seqtrain.config import read_config
from seqtrain.runs.trainer import train_run
from seqtrain.tasks import Task
from seqtrain.training import loop, step

WARM_UP = 20
"""Steps that are not counted."""


class Clock:
    """Notes the time of each step, and of its parts."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self.parts: dict[str, list[float]] = {}

    def timed(self, owner: object, name: str, part: str, *, starts_step: bool = False) -> mock._patch:
        """A patch that notes how long each call takes."""
        inner = getattr(owner, name)

        def timed(*arguments, **options):
            started_at = time.perf_counter()
            if starts_step:
                self.steps.append(started_at)
            result = inner(*arguments, **options)
            self.parts.setdefault(part, []).append(time.perf_counter() - started_at)
            return result

        return mock.patch.object(owner, name, timed)


def measure(config: str, overrides: list[str], steps: int, threads: int) -> dict[str, float]:
    """Mean milliseconds of a step and of its parts."""
    fixed = [f"train.steps={steps}", f"train.eval_every={steps}", "train.save_every_s=null", f"threads={threads}"]
    resolved, _ = read_config(config, [*overrides, *fixed], quiet=True)
    clock, task = Clock(), type_of_task(resolved)
    with (
        tempfile.TemporaryDirectory() as folder,
        clock.timed(task, "train_batch", "batch"),
        clock.timed(step, "compute_gradient", "model"),
        clock.timed(step, "update", "update"),
        clock.timed(loop, "train_step", "train_step", starts_step=True),
    ):
        train_run(resolved, Path(folder) / "run", quiet=True)
    starts = clock.steps[WARM_UP:]
    whole = (starts[-1] - starts[0]) / (len(starts) - 1)
    means = {part: fmean(times[WARM_UP:-1]) for part, times in clock.parts.items()}
    means["checks"] = means["train_step"] - means["model"] - means["update"]
    means["loop"] = whole - means["batch"] - means.pop("train_step")
    return {"step": 1e3 * whole} | {part: 1e3 * mean for part, mean in means.items()}


def type_of_task(config: object) -> type[Task]:
    """The class whose `train_batch` is called."""
    from seqtrain.config.build import build_task

    return type(build_task(config, quiet=True))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("config", nargs="?", default="quickstart")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    for threads in map(int, arguments.threads.split(",")):
        rounds = [
            measure(arguments.config, arguments.overrides, arguments.steps, threads) for _ in range(arguments.rounds)
        ]
        best = min(rounds, key=lambda one: one["step"])
        share = sorted(1 - one["model"] / one["step"] for one in rounds)
        print(f"{threads} threads:", *(f"{part} {value:.3f}" for part, value in best.items()), sep="  ")
        print("  outside the model:", *(f"{one:.1%}" for one in share))


if __name__ == "__main__":
    main()
