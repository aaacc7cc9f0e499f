"""What a prediction gives: a table as plain columns, and its picture."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from seqtrain.system.notebooks import data_frame

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


@dataclass(frozen=True)
class Predictions:
    """A table of predictions.

    checkpoint : the file of the model.
    task : its name.
    file : what was read.
    horizon : steps that were forecast; 0 for labels.
    columns : the values of each column by its name, in order, from the first row to the last.
    predicted : the names of the columns that the model gave.
    draw : a function that draws the predictions; None if there is no picture of them.
    """

    checkpoint: str
    task: str
    file: str
    horizon: int
    columns: dict[str, list[Any]]
    predicted: list[str]
    draw: "Callable[[], Figure] | None" = field(default=None, repr=False, compare=False)

    def rows(self) -> list[dict[str, Any]]:
        """A dict for each row."""
        return [dict(zip(self.columns, row, strict=True)) for row in zip(*self.columns.values(), strict=True)]

    def frame(self) -> "DataFrame":
        """The table as a data frame of pandas, which must be installed.

        Raises
        ------
        SeqtrainError : pandas is not installed.
        """
        return data_frame(self.rows(), list(self.columns))

    def as_json(self) -> dict[str, Any]:
        """The result as `seqtrain predict --json` prints it."""
        plain = {name: [_plain(value) for value in values] for name, values in self.columns.items()}
        rows = [dict(zip(plain, row, strict=True)) for row in zip(*plain.values(), strict=True)]
        return {
            "checkpoint": self.checkpoint,
            "task": self.task,
            "file": self.file,
            "horizon": self.horizon,
            "predicted": self.predicted,
            "rows": rows,
        }


def _plain(value: Any) -> Any:
    """Dates and moments as texts."""
    return value.isoformat() if isinstance(value, date | datetime) else value
