"""Several runs at a time on this machine, in processes of their own.

Each thread of a `ThreadPoolExecutor` has a process of its own. The process pool of the standard library would run the
user's script again in each process, and could not say which run a process died of.
"""

import signal
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Self

from seqtrain.comparison.execution.child import DIED, ENDED, Child, Ended
from seqtrain.comparison.plan import PlannedRun
from seqtrain.system.errors import SeqtrainError
from seqtrain.system.processes import cores

INTERRUPTED = 128 + signal.SIGTERM


class LocalExecutor:
    """Trains runs in processes on this machine. On exit, runs under way save and stop.

    Parameters
    ----------
    jobs : runs at a time, each in a process that trains the next one when it has ended one.
    early : processes to start now; the others start with their first run.
    """

    is_shared: bool = False

    def __init__(self, jobs: int, early: int = 0) -> None:
        self._threads_each = max(1, cores() // jobs)
        self._pool = ThreadPoolExecutor(jobs)
        self._children = [Child(self._threads_each) for _ in range(min(jobs, early))]
        self._own = threading.local()
        self._waiting = [*self._children]
        self._stopping = False

    def room(self, submitted: int, *, alone: bool) -> None:
        """All runs may be submitted; they wait here."""

    def submit(self, runs: Sequence[PlannedRun], *, alone: bool = False) -> list[Future[Ended]]:  # noqa: ARG002
        """Train runs, or go on with them, when there is room."""
        return [self._pool.submit(self._train, run) for run in runs]

    def stop(self, signal_number: int) -> None:
        """Start no more runs; those under way save and stop."""
        self._stopping = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        for child in self._children:
            child.stop(signal_number)

    def _train(self, run: PlannedRun) -> Ended:
        """Train a run in the process of this thread."""
        config = run.config if run.config.threads else run.config.model_copy(update={"threads": self._threads_each})
        if not hasattr(self._own, "child"):
            self._own.child = self._child()
        if self._stopping:
            return Ended(INTERRUPTED, "")
        code, message, has_answered = self._own.child.train({"config": config.model_dump(), "out": str(run.out)})
        if has_answered and code in (*ENDED, SeqtrainError.exit_code):
            return Ended(code, message)
        if self._stopping and (code < 0 or code > 128):
            return Ended(INTERRUPTED, message)
        return Ended(DIED, f"{run.out}: its process ended with exit code {code}{message and f': {message}'}")

    def _child(self) -> Child:
        """A process for one thread."""
        with suppress(IndexError):
            return self._waiting.pop()
        self._children.append(child := Child(self._threads_each))
        return child

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *unused: object) -> None:
        self.stop(signal.SIGTERM)
        self._pool.shutdown()
        for child in self._children:
            child.close()
