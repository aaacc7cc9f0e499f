"""Standard output and standard error, whose reader may go away: a closed terminal, `| head`, a full disk."""

import functools
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from types import NoneType
from typing import ParamSpec, TextIO, TypeVar

from seqtrain.system.errors import SeqtrainError
from seqtrain.system.words import wrap

P = ParamSpec("P")
R = TypeVar("R")

_results: TextIO | None = None
"""Standard output, while `results_apart` sends what others print to standard error."""


USUAL_WIDTH = 80
"""Columns of a terminal that does not tell."""


def stdout() -> TextIO:
    """Where results go."""
    return _results or sys.stdout


def columns(stream: TextIO) -> int | None:
    """The width of the terminal that a stream writes to, or what COLUMNS says; None for a pipe or a file."""
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given):
        return int(given)
    if not stream.isatty():
        return None
    try:
        return os.get_terminal_size(stream.fileno()).columns or USUAL_WIDTH
    except OSError:
        return USUAL_WIDTH


def to_stdout(text: str) -> None:
    """Write a part of a result. Once the reader has gone, nothing more is written, and nothing fails.

    Raises
    ------
    OSError : it cannot be written for another reason, such as a full disk.
    """
    try:
        stdout().write(text)
        stdout().flush()
    except BrokenPipeError:
        _silence(stdout())


def to_stderr(line: str) -> None:
    """Write a line that is no result; on a terminal, a long one breaks at spaces.

    If that fails, nothing is raised: a training must not stop because of its log.
    """
    try:
        width = columns(sys.stderr) if sys.stderr.isatty() else None
        sys.stderr.write((line if width is None else wrap(line, width)) + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        _silence(sys.stderr)


def results_apart(verb: Callable[P, R]) -> Callable[P, R]:
    """A verb whose output and exit code are its own: what a user's code and its processes print goes to stderr.

    Raises
    ------
    SeqtrainError : the user's code ends the program.
    """

    @functools.wraps(verb)
    def apart(*arguments: P.args, **options: P.kwargs) -> R:
        global _results  # there is one standard output
        try:
            with _taken_stdout() as _results, redirect_stdout(sys.stderr):
                return verb(*arguments, **options)
        except SystemExit as left:
            raise SeqtrainError(left_by_user_code(left)) from left
        finally:
            _results = None

    return apart


@contextmanager
def _taken_stdout() -> Iterator[TextIO]:
    """Another stream to where standard output goes; meanwhile its number, 1, leads to standard error."""
    stream = sys.__stdout__
    if stream is None or stream is not sys.stdout or stream.fileno() != 1:  # a program has put another in its place
        yield sys.stdout
        return
    stream.flush()
    with open(os.dup(1), "w", encoding=stream.encoding, errors=stream.errors) as results:  # noqa: PTH123
        os.dup2(sys.stderr.fileno(), 1)
        try:
            yield results
        finally:
            os.dup2(results.fileno(), 1)


def left_by_user_code(left: SystemExit) -> str:
    """A message about code of a user that ends the program: its exit code would say that a run is done."""
    kind = raised_by(left) or "cell or a task"
    return f"the code of a {kind} ended the program, with exit code {left.code}; a {kind} must not call sys.exit"


def raised_by(error: BaseException) -> str | None:
    """Whether an error comes from the code of a user's own `cell` or `task`, or from what that code called."""
    ours = Path(__file__).parents[1]
    for kind, module, name in (("cell", "seqtrain.cells", "Cell"), ("task", "seqtrain.tasks", "Task")):
        base: type = getattr(sys.modules.get(module), name, NoneType)  # loading them takes a while
        for frame, _ in traceback.walk_tb(error.__traceback__):
            is_own = not Path(frame.f_code.co_filename).is_relative_to(ours)
            if is_own and isinstance(frame.f_locals.get("self", ...), base):
                return kind
    return None


def _silence(stream: TextIO) -> None:
    """Let the rest of a stream go nowhere; otherwise Python fails at its end, when it writes the buffered rest."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
