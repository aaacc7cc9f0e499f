"""The steps of a series in time: which column tells them, and whether they are regular."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from seqtrain.system.errors import DataError
from seqtrain.tasks.tables.table import MOST_FAULTS, Table

if TYPE_CHECKING:
    import polars

Times = NDArray[np.int64]

MOMENTS = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M")
"""Forms of a time of the day."""

ZONE = r"^(.*:\d\d.*?) ?([+-]\d\d):?(\d\d)$"
"""A time of the day with its distance from UTC, in hours and minutes."""

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
    zone : the time zone of a column of a Parquet file; None if it has none.
    """

    values: Times
    kind: str
    texts: "polars.Series"
    zone: str | None = None

    def of(self, rows: Times) -> "Clock":
        """The times of some rows."""
        return Clock(self.values[rows], self.kind, self.texts, self.zone)

    def at(self, text: str) -> int:
        """A time that a setting names.

        Raises
        ------
        ValueError : it is no time of this kind.
        """
        import polars

        if self.kind == "whole number":
            return int(text.removesuffix(".0"))
        own, kind = _parsed(polars.Series([text]))
        if kind == "whole number" or (kind == "microsecond" and self.kind == "day"):
            raise ValueError(text)
        if kind == self.kind and (self.zone is None or _has_zone(text)):
            return int(own[0])
        moment = polars.Series(own).cast(polars.Datetime("us") if kind == "microsecond" else polars.Date)
        local = moment.cast(polars.Datetime("us")).dt.replace_time_zone(
            self.zone or "UTC", ambiguous="earliest", non_existent="null"
        )
        if local.null_count():
            raise ValueError(text)
        return int(local.cast(polars.Int64)[0])

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

    def divides(self, gaps: Times) -> bool:
        """Whether the gaps between the times of a series are whole numbers of steps, and the series is no thin one."""
        return not (gaps % self.size).any() and int(gaps.sum()) // self.size <= MOST_MISSING * (len(gaps) + 1)


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
    zone = own.dtype.time_zone if isinstance(own.dtype, polars.Datetime) else None
    return Clock(values, kind, own.cast(polars.String), zone)


def first_that_is_no_time(own: "polars.Series") -> str | int:
    """What the times in a column are; or the place of a value that is no time as most of the others are."""
    try:
        return _parsed(own)[1]
    except ValueError as error:
        return int(str(error))


def _has_zone(text: str) -> bool:
    return text.strip().endswith("Z") or re.match(ZONE, text.strip()) is not None


def _parsed(own: "polars.Series") -> tuple[Times, str]:
    """The times of a column as whole numbers, and what these are; raises a ValueError with the first bad row."""
    import polars

    if own.dtype.is_integer() and not bool(own.is_between(10**7, 10**8 - 1).all()):  # such as 19580329
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
    moment = _moments(text, day)
    if moment.null_count() == 0:
        return moment.cast(polars.Int64).to_numpy(), "microsecond"
    best = min((whole, day, moment), key=lambda found: found.null_count())
    raise ValueError(int(best.is_null().arg_true()[0]))


def _moments(text: "polars.Series", day: "polars.Series") -> "polars.Series":
    """The times of the day of texts, in UTC where they say how far they are from it; null for what is none."""
    import polars

    text = text.str.replace("Z$", "+00:00")
    parts = text.str.extract_groups(ZONE).struct.unnest()
    plain, hours, minutes = (parts.to_series(n) for n in range(3))
    local, moment = plain.fill_null(text), day.cast(polars.Datetime("us"))
    for form in MOMENTS:
        moment = moment.fill_null(local.str.to_datetime(form, time_unit="us", strict=False))
    if plain.null_count() == len(plain):
        return moment
    sign = hours.str.starts_with("-").cast(polars.Int64) * -2 + 1
    offset = hours.cast(polars.Int64) * 60 + sign * minutes.cast(polars.Int64)
    from_utc = (offset * 60_000_000).cast(polars.Duration("us"))
    return moment - from_utc  # null, and so refused, for times without their distance among others that have it


def places_in_time(clock: Clock, rows: Times, table: Table, usual: Step | None = None) -> Times:
    """The place of each row of one series, from 0, in regular steps.

    Parameters
    ----------
    rows : `[N]`, the rows of the series, in the order of time.
    usual : the step of the longest series of the table, which is that of all; None to find one.

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
    if (step := usual or regular_step(own)) is not None:
        values = own.months() if step.is_months else own.values
        if values is not None and step.divides(steps := np.diff(values)):
            return np.concatenate(([0], np.cumsum(steps // step.size)))
    size = int(np.median(gaps)) if usual is None or usual.is_months else usual.size
    odd = int((gaps % size != 0).argmax()) if (gaps % size).any() else int(gaps.argmax())
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
        if size > 0 and Step(size, is_months).divides(gaps):
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
