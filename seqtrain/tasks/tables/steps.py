"""The steps of a series in time: which column tells them, and whether they are regular."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from seqtrain.system.errors import DataError
from seqtrain.tasks.tables.table import MOST_FAULTS, Table

if TYPE_CHECKING:
    import polars

Times = NDArray[np.int64]

MOMENTS = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S%.fZ")
"""Forms of a time of the day."""

MOST_MISSING = 100
"""Steps for each row at most: a series with more gaps is taken for one with a wrong time."""

MONTHS_A_STEP = (1, 3, 6, 12)
"""Steps of a calendar whose days differ: months, quarters, half years, years."""


@dataclass(frozen=True)
class Clock:
    """A column of times as whole numbers.

    values : `[N]`: as written, days since 1970, or microseconds since 1970.
    kind : what they are.
    texts : of all rows of the file.
    """

    values: Times
    kind: str
    texts: "polars.Series"

    def of(self, rows: Times) -> "Clock":
        """The times of some rows."""
        return Clock(self.values[rows], self.kind, self.texts)

    def at(self, text: str) -> int:
        """A time that a setting names.

        Raises
        ------
        ValueError : it is no time of this kind.
        """
        import polars

        own, kind = _parsed(polars.Series([text]))
        if kind == "day" and self.kind == "microsecond":
            return int(own[0]) * 86_400_000_000
        if kind != self.kind:
            raise ValueError(text)
        return int(own[0])

    def months(self) -> Times | None:
        """The same times in months if all are on the same day of a month, or at its end; None for other times."""
        if self.kind == "whole number":
            return None
        unit = "D" if self.kind == "day" else "us"
        days = self.values.astype(f"datetime64[{unit}]").astype("datetime64[D]")
        months = days.astype("datetime64[M]")
        first = (days - months.astype("datetime64[D]")).astype(np.int64)
        last = ((months + 1).astype("datetime64[D]") - days).astype(np.int64)
        is_calendar = bool((first == first[0]).all() or (last == last[0]).all())
        return months.astype(np.int64) if is_calendar else None


@dataclass(frozen=True)
class Step:
    """The distance in time between two steps.

    size : in months, or in the whole numbers of a clock.
    """

    size: int
    is_months: bool


def read_clock(table: Table, column: str) -> Clock:
    """The times in a column: whole numbers, dates or times of the day.

    Raises
    ------
    DataError : with the rows that hold no time.
    """
    import polars

    own = table.frame[column]
    if lacking := own.is_null().arg_true().head(MOST_FAULTS).to_list():
        raise DataError(
            "\n".join(f"{table.row(n)}: column {column!r} is empty; every row needs its time" for n in lacking)
        )
    try:
        values, kind = _parsed(own)
    except ValueError as error:
        row = int(str(error))
        raise DataError(
            f"{table.row(row)}: column {column!r} has {own[row]!r}, which is no time; write whole numbers, dates as "
            "2024-01-31, or times as 2024-01-31 12:00:00"
        ) from None
    return Clock(values, kind, own.cast(polars.String))


def first_that_is_no_time(own: "polars.Series") -> str | int:
    """What the times in a column are; or the place of a value that is no time as most of the others are."""
    try:
        return _parsed(own)[1]
    except ValueError as error:
        return int(str(error))


def _parsed(own: "polars.Series") -> tuple[Times, str]:
    """The times of a column as whole numbers, and what these are; raises a ValueError with the first bad row."""
    import polars

    if own.dtype.is_integer():
        return own.to_numpy().astype(np.int64), "whole number"
    if own.dtype == polars.Date:
        return own.cast(polars.Int32).to_numpy().astype(np.int64), "day"
    if isinstance(own.dtype, polars.Datetime):
        return own.dt.cast_time_unit("us").cast(polars.Int64).to_numpy(), "microsecond"
    text = own.cast(polars.String).str.strip_chars()
    if bool((text.str.len_chars() == 8).all()):  # 19580329
        day = text.str.to_date("%Y%m%d", strict=False)
        if day.null_count() == 0:
            return day.cast(polars.Int32).to_numpy().astype(np.int64), "day"
    whole = text.str.strip_suffix(".0").cast(polars.Int64, strict=False)
    if whole.null_count() == 0:
        return whole.to_numpy(), "whole number"
    day = text.str.to_date("%Y-%m-%d", strict=False)
    if day.null_count() == 0:
        return day.cast(polars.Int32).to_numpy().astype(np.int64), "day"
    moment = day.cast(polars.Datetime("us"))
    for form in MOMENTS:
        moment = moment.fill_null(text.str.to_datetime(form, time_unit="us", strict=False))
    if moment.null_count() == 0:
        return moment.cast(polars.Int64).to_numpy(), "microsecond"
    best = min((whole, day, moment), key=lambda found: found.null_count())
    raise ValueError(int(best.is_null().arg_true()[0]))


def places_in_time(clock: Clock, rows: Times, table: Table) -> Times:
    """The place of each row of one series, from 0, in regular steps.

    Parameters
    ----------
    rows : `[N]`, the rows of the series, in the order of time.

    Raises
    ------
    DataError : two rows have the same time, or the steps are irregular, with the rows.
    """
    own = clock.of(rows)
    if len(rows) < 2:
        return np.zeros(len(rows), np.int64)
    gaps = np.diff(own.values)
    if (same := np.flatnonzero(gaps == 0)).size:
        first = int(rows[same[0] + 1])
        raise DataError(
            f"{table.row(first)}: has the same time, {clock.texts[first]}, as another row of its series; keep one of "
            "them, or name the column that tells the series apart with task.id"
        )
    if (step := regular_step(own)) is not None:
        values = own.months() if step.is_months else own.values
        assert values is not None
        return np.concatenate(([0], np.cumsum(np.diff(values) // step.size)))
    usual = int(np.median(gaps))
    odd = int((gaps % usual != 0).argmax()) if (gaps % usual).any() else int(gaps.argmax())
    first, second = int(rows[odd]), int(rows[odd + 1])
    raise DataError(
        f"{table.row(second)}: comes at {clock.texts[second]}, after {clock.texts[first]}, but most rows are at "
        "another distance in time; give a table with regular steps, or leave out task.time, and each row is a step"
    )


def regular_step(own: Clock) -> Step | None:
    """The distance of which all gaps between the times of one series are multiples; None if there is none.

    A distance in months comes first: the days from 1 July to 1 August and from there to 1 September are the same, too.
    """
    for values, is_months in ((own.months(), True), (own.values, False)):
        gaps = np.diff(own.values if values is None else values)
        if values is None or not gaps.size:
            continue
        size = int(min(gaps)) if is_months else int(np.median(gaps))
        if is_months and size not in MONTHS_A_STEP:
            continue
        if size > 0 and not (gaps % size).any() and gaps.sum() // size <= MOST_MISSING * len(values):
            return Step(size, is_months)
    return None


def times_at(own: Clock, step: Step, places: Times) -> Times:
    """The times at steps of one series, counted from its first row, as whole numbers of its clock."""
    if not step.is_months:
        return np.asarray(own.values[0] + step.size * places, np.int64)
    unit = "D" if own.kind == "day" else "us"
    moments = own.values.astype(f"datetime64[{unit}]")
    days = moments.astype("datetime64[D]")
    months = days.astype("datetime64[M]")
    day = (days - months.astype("datetime64[D]")).astype(np.int64)  # of the month, from 0
    before_end = ((months + 1).astype("datetime64[D]") - days).astype(np.int64)  # 1 for the last day of a month
    wanted = months[0] + step.size * places
    first, end = wanted.astype("datetime64[D]"), (wanted + 1).astype("datetime64[D]")
    is_of_start = bool((day == day[0]).all()) and not bool((before_end == 1).all())
    found = np.minimum(first + day[0], end - 1) if is_of_start else end - before_end[0]
    since_midnight = moments[0] - days[0].astype(moments.dtype)
    return np.asarray(found.astype(moments.dtype) + since_midnight, np.int64)
