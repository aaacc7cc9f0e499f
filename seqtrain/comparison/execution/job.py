"""What a worker of a cluster does. It takes plain data, so any worker does it that has seqtrain and the shared disk.

Runs are trained in a child process. In the worker itself, no signal would reach the training: Python handles signals in
the main thread alone. The child saves and stops when its worker dies. It trains one run after another of a comparison,
as it takes seconds to start, and ends with the comparison.
"""

import os
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from seqtrain.comparison.execution.child import DIED, ENDED, GRACE_S, Child
from seqtrain.system.lease import STALE_S
from seqtrain.system.processes import cores

PATIENCE_S = STALE_S + 15.0
"""Seconds to wait for another process in the directory of a run: a dead host is noticed after `STALE_S`."""

LOG_TAIL = 2000
"""Characters of what a process that died has written last."""

INTERRUPTED = 128 + signal.SIGTERM

_idle: list[tuple[tuple[object, ...], Child]] = []
"""Children that wait for another run, each with what it was started for."""


class Order(NamedTuple):
    """A run to train.

    config : as data.
    out : its directory, as an absolute path.
    folder : where the comparison runs, from which the paths in the config count.
    folders : that are searched for modules beside those of Python.
    permit : a file; once it is gone, runs save and stop.
    threads : of a run whose config gives none; None for all cores of the worker.
    """

    config: dict[str, Any]
    out: str
    folder: str
    folders: Sequence[str]
    permit: str
    threads: int | None


def train(order: Mapping[str, Any]) -> tuple[int, str]:
    """Train a run, or go on with it; returns the fields of an `Ended`.

    Parameters
    ----------
    order : the fields of an `Order` by name.
    """
    return Job([Order(**order)])()[0]


class Job:
    """Runs that are trained one after another.

    submitit calls `checkpoint` when Slurm is about to end the job, and puts what it returns into the queue again.
    """

    def __init__(self, orders: Sequence[Order]) -> None:
        self.orders = [*orders]
        self.child: Child | None = None

    def __call__(self) -> list[tuple[int, str]]:
        """Train all runs; returns the fields of an `Ended` for each."""
        return [self._train(order) for order in self.orders]

    def checkpoint(self, *unused: object) -> Any:  # noqa: ARG002
        """Let the run under way save and stop; returns what goes on with all runs."""
        from submitit.helpers import DelayedSubmission

        if self.child is not None:
            self.child.ask_to_end(signal.SIGTERM)
        return DelayedSubmission(Job(self.orders))

    def _train(self, order: Order) -> tuple[int, str]:
        if not Path(order.permit).exists():
            return INTERRUPTED, "stopped before it started"
        threads = order.config["threads"] or order.threads or cores()
        key = (threads, order.permit, order.folder, *order.folders)
        try:
            self.child = child = _waiting_child(key) or Child(
                threads, permit=order.permit, folder=order.folder, folders=order.folders
            )
        except OSError as error:
            where = f"{order.folder} on {socket.gethostname()}"
            return DIED, f"{where}: {error.strerror}; every worker needs the disk of the comparison at the same path"
        config = order.config | {"threads": threads}
        code, message, has_answered = child.train({"config": config, "out": order.out, "patience": PATIENCE_S})
        self.child = None
        if has_answered and code in ENDED:
            _idle.append((key, child))
            return code, message
        child.close()
        if has_answered:
            _wait_for_a_second_signal(code, order.permit)
            return code, message
        return DIED, f"its process ended with exit code {code} on {socket.gethostname()}: {message[-LOG_TAIL:]}"


def _waiting_child(key: tuple[object, ...]) -> Child | None:
    """A child that waits for such a run, if there is any; those that have ended are forgotten."""
    found = None
    for _ in range(len(_idle)):
        known, child = _idle.pop(0)  # other threads of the worker do the same
        if child.process.poll() is not None:
            child.close()
        elif found is None and known == key:
            found = child
        else:
            _idle.append((known, child))
    return found


def _wait_for_a_second_signal(code: int, permit: str) -> None:
    """Give Slurm the time to tell submitit that the job goes back to the queue.

    Slurm asks all processes of a job to end, and the child has done so. What follows is the signal for submitit.
    """
    ends = time.monotonic() + GRACE_S / 2
    while code > 128 and "SUBMITIT_FOLDER" in os.environ and Path(permit).exists() and time.monotonic() < ends:
        time.sleep(0.5)
