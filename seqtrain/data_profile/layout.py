"""What the columns of a table are for, and its steps in time."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqtrain.system.words import counted
from seqtrain.tasks.tables.steps import Step


@dataclass(frozen=True)
class Layout:
    """What the columns of a table are for.

    time, id : their names; None if there is none.
    unused_times : columns that seem to hold the times, but cannot be used as they are.
    label : a column that is the same in all rows of an id; None if there is none.
    group : of a table with labels, a column whose sequences should stay together; None if there is none.
    part : of a table with labels, a column that has train, valid or test for each sequence; None if there is none.
    lengths : `[S]`, rows of each series.
    """

    time: str | None
    id: str | None
    label: str | None
    group: str | None
    part: str | None
    lengths: NDArray[np.int64]
    unused_times: tuple[str, ...] = ()


@dataclass(frozen=True)
class Steps:
    """The steps of the series in time.

    kind : of the clock.
    step : the distance between two of them; None if there is none.
    missing : how many are missing.
    faults : irregular series, and the first rows after which steps are missing.
    middle : times, as texts of the file, before which 70 % and 85 % of the rows lie; None if these are the same.
    """

    kind: str
    step: Step | None
    missing: int
    gaps: list[str]
    middle: tuple[str, str] | None


UNITS = (("day", 86_400_000_000), ("hour", 3_600_000_000), ("minute", 60_000_000), ("second", 1_000_000))
"""Units of time in microseconds."""


def step_in_words(kind: str, step: Step) -> str:
    """A distance in time: `1 month`, `7 days`, `15 minutes`."""
    if step.is_months:
        return counted(step.size // 12, "year") if step.size % 12 == 0 else counted(step.size, "month")
    if kind == "day":
        return counted(step.size, "day")
    if kind == "microsecond":
        for unit, size in UNITS:
            if step.size % size == 0:
                return counted(step.size // size, unit)
        return f"{step.size:,} microseconds"
    return f"{step.size:,}"
