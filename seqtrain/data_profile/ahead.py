"""The rows at the end of a table whose targets are still empty, and the columns that are known in them."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from seqtrain.data_profile.columns import ColumnProfile, collected
from seqtrain.data_profile.layout import Layout
from seqtrain.tasks.tables.steps import Clock
from seqtrain.tasks.tables.table import Table

if TYPE_CHECKING:
    import polars

MOST = 0.5
"""The share of series that must end with such rows."""


@dataclass(frozen=True)
class Ahead:
    """What is known ahead.

    known : columns that have all their values, beside others that end before them.
    future : `[N]`, whether a row comes after the last target of its series.
    """

    known: list[str]
    future: NDArray[np.bool_]


def known_ahead(
    frame: "polars.LazyFrame",
    file: Path,
    first: int,
    layout: Layout,
    numbers: list[ColumnProfile],
    clock: Clock | None,
) -> Ahead | None:
    """What is known ahead; None if no columns end before others, in most series.

    Raises
    ------
    DataError : a row has no id.
    """
    import polars

    full = [column.name for column in numbers if not column.missing]
    open_ended = [column.name for column in numbers if column.missing]
    if not full or not open_ended:
        return None
    cells = [polars.col(name).cast(polars.Float64, strict=False).is_not_nan().fill_null(False) for name in open_ended]
    given = collected(frame.select(cells), file).to_numpy().astype(bool)
    groups = [np.arange(len(given))]
    if layout.id is not None:
        groups = [*Table(file, collected(frame.select(layout.id), file), first).rows_of(layout.id).values()]
    if clock is not None:
        groups = [rows[np.argsort(clock.values[rows], kind="stable")] for rows in groups]
    ended = (~given[[rows[-1] for rows in groups]]).mean(0) >= MOST
    if not ended.any():
        return None
    has_target = given[:, ended].sum(axis=1) > 0
    future = np.zeros(len(given), bool)
    for rows in groups:
        places = np.flatnonzero(has_target[rows])
        future[rows[places[-1] + 1 if places.size else 0 :]] = True
    return Ahead(full, future)
