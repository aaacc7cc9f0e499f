"""One series of a table, and its values at other steps."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqtrain.tasks.base import Split

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class One:
    """One series of the table.

    name : its id.
    values : `[T, C]` numbers of the columns, NaN for a missing value.
    rows : `[T]`, the row of the table that each step is from; -1 for a missing row.
    starts : the first steps of validation and test, and T.
    """

    name: str
    values: Numbers
    rows: NDArray[np.int64]
    starts: tuple[int, int, int]

    def span(self, split: Split) -> tuple[int, int]:
        """The first step of a split, and the step after its last one."""
        valid, test, end = self.starts
        return {"train": (0, valid), "valid": (valid, test), "test": (test, end)}[split]


def filled_forward(values: Numbers) -> Numbers:
    """The last known value in place of each missing one; NaN before the first."""
    known = ~np.isnan(values)
    last = np.maximum.accumulate(np.where(known, np.arange(len(values))[:, None], -1), 0)
    filled = np.take_along_axis(values, np.maximum(last, 0), 0)
    return np.where(last >= 0, filled, math.nan)


def shifted(values: Numbers, ahead: int, after: float) -> Numbers:
    """The values so many steps ahead, and `after` beyond the end."""
    later = np.full_like(values, after)
    if ahead < len(values):
        later[: len(values) - ahead] = values[ahead:]
    return later
