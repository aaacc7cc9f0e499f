"""A process that trains runs, one after another, for the process that started it."""

import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from seqtrain.runs.worker import ANSWER, POLL_S
from seqtrain.system.errors import Diverged
from seqtrain.system.processes import python_command

GRACE_S = 60.0
"""Seconds that a process has to save and to end once it is asked to."""

ENDED = (0, Diverged.exit_code)
"""Exit codes of runs that are not trained further."""

DIED = 1
"""Exit code of a run whose process died."""


class Ended(NamedTuple):
    """How the training of a run has ended.

    code : as of `seqtrain train`: 0, 2 and 3, 128 and the signal that interrupted it; `BUSY` of `seqtrain.runs.worker`;
        or `DIED`.
    message : what a person should know.
    """

    code: int
    message: str


class Child:
    """A process that runs `seqtrain.runs.worker`, in its own session: Ctrl-C reaches it through the parent only.

    Parameters
    ----------
    threads : of PyTorch.
    permit : a file; once it is gone, the process saves and stops.
    folder : the current folder of the process.
    folders : in which it searches for modules, as for `python_command`.

    Raises
    ------
    OSError : the folder does not exist.
    """

    def __init__(
        self,
        threads: int,
        *,
        permit: str | None = None,
        folder: str | None = None,
        folders: Sequence[str] | None = None,
    ) -> None:
        self.stderr = tempfile.TemporaryFile()  # noqa: SIM115
        arguments = [str(os.getpid()), *([] if permit is None else [permit])]
        command = python_command("seqtrain.runs.worker", *arguments, folders=folders)
        try:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.stderr, encoding="utf-8",
                errors="replace", start_new_session=True, cwd=folder,
                env={"GOMP_SPINCOUNT": "1000"} | os.environ | {"OMP_NUM_THREADS": str(threads)},  # first: see __main__
            )  # fmt: skip
        except OSError:
            self.stderr.close()
            raise
        self._deadline = threading.Timer(GRACE_S, self._kill)
        self._deadline.daemon = True
        threading.Thread(target=self._end_session, daemon=True).start()

    def stop(self, signal_number: int) -> None:
        """Let it save the run under way and stop, also if it was suspended; after a while it is killed."""
        self.process.send_signal(signal_number)
        if hasattr(signal, "SIGCONT"):
            self.process.send_signal(signal.SIGCONT)
        with suppress(RuntimeError):  # it was asked before
            self._deadline.start()

    def close(self) -> None:
        """Wait for its end, and close its pipes."""
        with suppress(BrokenPipeError), self.stderr, self.process:
            pass
        self._deadline.cancel()

    def ask_to_end(self, signal_number: int) -> None:
        """Let it save and end, and wait for that; a signal handler may call this while `train` waits for an answer."""
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.close()
        ends = time.monotonic() + GRACE_S
        while self.process.poll() is None and time.monotonic() < ends:
            self.process.send_signal(signal_number)  # again, as the training may not have watched for it yet
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(POLL_S)

    def _kill(self) -> None:
        """Kill its whole session: a process that a cell has started may hold its pipes open."""
        with suppress(ProcessLookupError):
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                self.process.kill()

    def _end_session(self) -> None:
        self.process.wait()
        self._kill()

    def train(self, order: Mapping[str, Any]) -> tuple[int, str, bool]:
        """Exit code and message of the run, and True; if the process died, its exit code, what it wrote, and False.

        A process that leaves with 0, as a cell may make it do, has not trained its run.

        Parameters
        ----------
        order : a line for `seqtrain.runs.worker`.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(BrokenPipeError):  # the process has died; then there is no answer either
            print(json.dumps(order), file=self.process.stdin, flush=True)
        for line in self.process.stdout:
            if line.startswith(ANSWER):  # Python itself may write others, as a `sitecustomize` does
                code, message = json.loads(line.removeprefix(ANSWER))
                return code, message, True
        code = self.process.wait()
        self.stderr.seek(0)
        return code, self.stderr.read().decode("utf-8", "replace").strip(), False
