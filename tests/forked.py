"""Processes that are ready at once: forked from one that has loaded what a training needs, which takes seconds.

Signals, streams, exit code, folder and environment are those of any process, and so is the end, where Python writes
what is buffered. Only the start of Python itself is missing.
"""

import ctypes
import gc
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

_context = get_context("forkserver")
_context.set_forkserver_preload(
    ["torch._dynamo", "seqtrain.cli", "seqtrain.cli.render", "seqtrain.runs.train", "seqtrain.inference.sampling"]
)  # torch._dynamo is loaded when the first optimizer is made

SEQTRAIN = "from seqtrain.__main__ import main; main()"


class Forked:
    """`python -c CODE ARGUMENTS` in a process of its own.

    Parameters
    ----------
    stdout : number of an open file; by default a pipe, whose other end is `self.stdout`.
    stderr : likewise; by default a temporary file, which `communicate` reads.
    """

    def __init__(
        self,
        code: str,
        *arguments: object,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
    ) -> None:
        reading, writing = os.pipe()
        self.stdout = open(reading, encoding="utf-8", errors="surrogateescape")  # noqa: SIM115, PTH123
        self.stderr = tempfile.TemporaryFile("w+", encoding="utf-8", errors="surrogateescape")  # noqa: SIM115
        streams = [writing if stdout is None else stdout, self.stderr.fileno() if stderr is None else stderr]
        self.process = _context.Process(target=_run, args=(code, [str(word) for word in arguments],
            str(folder or Path.cwd()), dict(environment or os.environ), _ToBePassed(streams)))  # fmt: skip
        self.process.start()
        os.close(writing)

    @property
    def pid(self) -> int:
        """Its process."""
        assert self.process.pid is not None
        return self.process.pid

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def wait(self, seconds: float = 60) -> int | None:
        """Its exit code, or the negative number of the signal that ended it; None if it runs on."""
        self.process.join(seconds)
        return self.process.exitcode

    def communicate(self, seconds: float = 60) -> tuple[int | None, str, str]:
        """Wait for its end: exit code, standard output and standard error. It is killed after these seconds."""
        deadline = threading.Timer(seconds, self.process.kill)
        deadline.start()
        try:
            out = "" if self.stdout.closed else self.stdout.read()
            self.process.join()
        finally:
            deadline.cancel()
        self.stderr.seek(0)
        return self.process.exitcode, out, self.stderr.read()

    def close(self) -> None:
        """Kill it if it still runs."""
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        self.stdout.close()
        self.stderr.close()


def run(command: Sequence[str], **_: object) -> subprocess.CompletedProcess[bytes]:
    """For a command of `python_command`, what `subprocess.run` gives."""
    process = Forked(*command[command.index("-c") + 1 :])
    try:
        code, out, err = process.communicate()
    finally:
        process.close()
    assert code is not None
    return subprocess.CompletedProcess(command, code, out.encode(), err.encode())


class _ToBePassed:
    """Numbers of open files, which are others in the new process."""

    def __init__(self, numbers: list[int]) -> None:
        self.numbers: list[Any] = numbers

    def __reduce__(self) -> Any:
        return list, ([DupFd(number) for number in self.numbers],)


def _run(code: str, arguments: list[str], folder: str, environment: dict[str, str], streams: list[Any]) -> None:
    for number, stream in enumerate((stream.detach() for stream in streams), 1):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path.append(folder)  # where `python -m seqtrain` puts it
    sys.argv = ["-c", *arguments]
    encoding, _, _ = environment.get("PYTHONIOENCODING", "utf-8").partition(":")
    sys.stdout = sys.__stdout__ = open(1, "w", encoding=encoding)  # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(2, "w", 1, encoding, "backslashreplace")  # noqa: SIM115
    signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.freeze()  # what was forked is in use until the end; Python's last search for garbage there takes a second
    ended: Any = 0
    try:
        exec(compile(code, "<forked>", "exec"), {"__name__": "__main__"})
    except SystemExit as error:
        ended = error.code or 0
    ctypes.pythonapi.Py_Exit(ended)  # as Python ends; multiprocessing would leave out the rest
