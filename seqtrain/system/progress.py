"""Progress of long work, on stderr: a bar on a terminal or in a notebook, a line every few seconds elsewhere."""

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from types import TracebackType
from typing import NoReturn, Self

from rich.cells import cell_len
from tqdm import tqdm

from seqtrain.system.streams import USUAL_WIDTH, columns, to_stderr
from seqtrain.system.words import counted, figure, in_words

__all__ = ["LINE_EVERY_S", "Progress", "counted", "figure", "in_words", "say"]

LINE_EVERY_S = 5.0

BAR = "{desc}: {bar:10} {n_fmt}/{total_fmt} [{remaining} left{postfix}]"
"""A short bar: on a narrow terminal the figures matter more."""

BESIDE = 29
"""Columns of the bar and what is always beside it, without the label and the two counts: `1:00:00` is left."""

LEAST_LABEL = 12
"""Columns of the label that stay on the narrowest terminal."""


class Progress:
    """Steps done of a known number, with a few figures beside.

    Parameters
    ----------
    total, done : steps in all, and before this started.
    label : what is running.
    unit : what a step is called.
    quiet : show nothing.
    """

    def __init__(self, total: int, *, done: int = 0, label: str = "", unit: str = "step", quiet: bool = False):
        self.total, self.done, self.label, self.unit = total, done, label, unit
        self.figures: dict[str, str] = {}
        self._bar: tqdm[NoReturn] | None = None
        bar = None if quiet else _kind_of_bar()
        self._lines = not quiet and bar is None
        self._started_at = self._line_at = time.monotonic()
        self._done_before = done
        if bar is not None:
            desc, _ = self._fitting(columns(sys.stderr) or USUAL_WIDTH)
            self._bar = bar(total=total, initial=done, desc=desc, unit=unit, leave=False)

    def advance(self) -> None:
        """One more step is done."""
        self.done += 1
        if self._bar is not None:
            try:
                self._bar.update()
            except OSError:  # the terminal has gone
                self._bar.disable, self._bar = True, None
        elif self._lines and time.monotonic() - self._line_at >= LINE_EVERY_S:
            self._line_at = time.monotonic()
            to_stderr(self._line())

    def show(self, **figures: float | str | None) -> None:
        """Set figures beside the count, or words as they are; None leaves a figure as it was."""
        given = {name: value for name, value in figures.items() if value is not None}
        self.figures |= {name: value if isinstance(value, str) else figure(value) for name, value in given.items()}
        if self._bar is not None:
            label, beside = self._fitting(columns(sys.stderr) or USUAL_WIDTH)
            self._bar.set_description_str(label, refresh=False)
            self._bar.set_postfix_str(beside, refresh=False)

    def _fitting(self, width: int) -> tuple[str, str]:
        """The label, without its beginning if it is long, and the most important figures: the bar is never cut off."""
        room, label = width - BESIDE - 2 * len(str(self.total)), self.label
        figures = {name: f", {name}={value}" for name, value in self.figures.items()}
        left = room
        for name in sorted(figures, key=_importance):
            for_label = min(cell_len(label), room // 2 if name.endswith("/s") else LEAST_LABEL)
            if cell_len(figures[name]) <= left - for_label:
                left -= cell_len(figures[name])
            else:
                del figures[name]
        while cell_len(label) > max(left, LEAST_LABEL):
            label = "..." + label.removeprefix("...")[1:]
        return label, "".join(figures.values()).removeprefix(", ")

    def _line(self) -> str:
        elapsed = time.monotonic() - self._started_at
        left = elapsed / max(1, self.done - self._done_before) * (self.total - self.done)
        figures = "".join(f", {name} {value}" for name, value in self.figures.items())
        return f"{self.label}: {self.unit} {self.done}/{self.total}{figures}, about {left:.0f} s left"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            with suppress(OSError):
                self._bar.close()


def _kind_of_bar() -> "Callable[..., tqdm[NoReturn]] | None":
    """What makes a bar on a terminal, or in a notebook; None elsewhere.

    In a notebook without the package ipywidgets it is a line of text that replaces itself. It is written as rarely as
    the lines in a file, since a front end may keep every version of it.
    """
    if sys.stderr.isatty():
        return partial(tqdm, bar_format=BAR, dynamic_ncols=True)
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if shell is None or "IPKernelApp" not in shell.config:  # also IPython in a pipe
        return None
    if find_spec("ipywidgets") is None:
        return partial(tqdm, bar_format=BAR, mininterval=LINE_EVERY_S)
    from tqdm.notebook import tqdm as of_notebook

    return partial(of_notebook, bar_format=BAR.replace("{bar:10}", "{bar}"), dynamic_ncols=True)


def _importance(name: str) -> int:
    """The place of a figure where not all fit: the validation metric first, the speed last."""
    return -1 if name.startswith("valid ") else name.endswith("/s")


_said: set[str] = set()


def say_once(message: str, *, quiet: bool = False) -> None:
    """A line about the machine, which is the same for all runs of a process."""
    if not quiet and message not in _said:
        _said.add(message)
        say(message)


def say(message: str, *, quiet: bool = False) -> None:
    """A line on stderr."""
    if not quiet:
        to_stderr(message)
