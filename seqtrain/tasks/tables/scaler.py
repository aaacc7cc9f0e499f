"""Scale the columns of a table to a mean of 0 and a standard deviation of 1, measured on training rows only."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from seqtrain.system.errors import DataError

ROUNDING = 1e-14
"""The spread of a constant column that is due to rounding, relative to its largest number."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Scaler:
    """The mean and the standard deviation of each column; of differenced targets those of their changes.

    columns : their names.
    mean, spread : `[C]`; a spread of 0 is that of a constant column, which is scaled by 1.
    targets : how many of the columns, from the first, are targets.
    """

    columns: list[str]
    mean: Numbers
    spread: Numbers
    targets: int

    @classmethod
    def read(cls, fitted: dict[str, Any], wanted: list[str], targets: int) -> "Scaler":
        """From a checkpoint.

        Parameters
        ----------
        wanted : the columns that the task reads.

        Raises
        ------
        DataError : it does not fit the task's columns.
        """
        try:
            mean, spread = np.array(fitted["mean"], float), np.array(fitted["spread"], float)
            columns = [str(name) for name in fitted["columns"]]
        except (KeyError, TypeError, ValueError):
            raise DataError("the checkpoint holds no scaling of a table; use another checkpoint") from None
        fits = columns == wanted and mean.shape == spread.shape == (len(columns),)
        if not fits or not (np.isfinite(mean).all() and np.isfinite(spread).all() and (spread >= 0).all()):
            raise DataError(f"the checkpoint scales columns {columns}, but the task reads {wanted}")
        return cls(columns, mean, spread, targets)

    @classmethod
    def measured(cls, columns: list[str], rows: Numbers, largest: Numbers, targets: int) -> "Scaler":
        """The scaling of training rows `[N, C]`; NaN is no value.

        Parameters
        ----------
        largest : `[C]`, the largest size of a number in the table, before differences are taken.
        """
        mean, spread = np.nanmean(rows, 0), np.nanstd(rows, 0)
        is_constant = spread <= ROUNDING * largest
        return cls(columns, mean, np.where(is_constant, 0.0, spread), targets)

    def as_json(self) -> dict[str, JsonValue]:
        """For a checkpoint."""
        return {"columns": [*self.columns], "mean": self.mean.tolist(), "spread": self.spread.tolist()}

    @property
    def target_spread(self) -> Numbers:
        """`[targets]`, what a scaled error of 1 is in the units of the data."""
        return self._divisor()[: self.targets]

    def scale(self, values: Numbers) -> Numbers:
        """All columns, `[T, C]`."""
        return (values - self.mean) / self._divisor()

    def scale_targets(self, values: Numbers) -> Numbers:
        """The targets, `[T, targets]`."""
        return (values - self.mean[: self.targets]) / self.target_spread

    def restore_targets(self, values: Numbers) -> Numbers:
        """Scaled targets in the units of the data."""
        return values * self.target_spread + self.mean[: self.targets]

    def _divisor(self) -> Numbers:
        return np.where(self.spread > 0, self.spread, 1.0)
