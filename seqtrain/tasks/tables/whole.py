"""A table without splits, for predictions: every row counts, and the scaling is that of a trained model."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from seqtrain.system.errors import DataError
from seqtrain.system.shipped import text_path
from seqtrain.system.words import counted
from seqtrain.tasks.tables.one import Numbers, One, filled_forward
from seqtrain.tasks.tables.scaler import Scaler
from seqtrain.tasks.tables.series import Series
from seqtrain.tasks.tables.steps import Clock, Step, read_clock, regular_step, times_at
from seqtrain.tasks.tables.table import MOST_FAULTS, Table, read_table

if TYPE_CHECKING:
    import polars

NAMED = 5
"""Series whose names a message gives."""


@dataclass(frozen=True)
class Origin:
    """Where a forecast begins.

    inputs : `[T, I]`, what the model reads up to the last known step.
    after : `[1 + N, C]`, the values of that step, missing ones filled, and of those after it; the targets of these are
        unknown.
    """

    inputs: NDArray[np.float32]
    after: Numbers


class WholeSeries(Series):
    """The table of a task `series`, every row of which is read."""

    _cure_of_missing = "give these values; a model that is trained with task.missing=forward or mask can do without"

    def __post_init__(self, fitted: dict[str, JsonValue] | None) -> None:
        """Read the table.

        Parameters
        ----------
        fitted : what the model was scaled with.

        Raises
        ------
        DataError : the table cannot be used.
        """
        self._name_columns()
        self.table = self._with_labels(read_table(text_path(str(self.path))))
        self.table.check_columns(
            targets=self.targets, inputs=self.read, known=self.ahead, time=[self.time], id=[self.id]
        )
        self.clock = None if self.time is None else read_clock(self.table, self.time)
        self.series = self._read(self.table, self.clock)
        self.ends = [self._end(one) for one in self.series]
        self._check_targets()
        self._check_missing(self.table)
        self.scaler = Scaler.read(fitted or {}, self.columns, len(self.targets))
        self.output_size = len(self.targets) * max(1, self.horizon)
        self._arrays = [self._array(one) for one in self.series]
        self.input_size = self._arrays[0][0].shape[1]

    def _with_labels(self, table: Table) -> Table:
        """The table, with empty columns for labels that it does not have."""
        import polars

        absent = [] if self.horizon else [name for name in self.targets if name not in table.frame.columns]
        empty = [polars.lit(None, polars.Float64).alias(name) for name in absent]
        return Table(table.path, table.frame.with_columns(empty), table.first)

    def _cuts(self, clock: Clock) -> tuple[int, int] | None:
        """The first times of validation and test of the config, if they are times of this table."""
        try:
            return super()._cuts(clock)
        except DataError:
            return None

    @property
    def order(self) -> list[int]:
        """The numbers of the series in the order of their first rows in the file."""
        first = [int(one.rows[one.rows >= 0].min()) for one in self.series]
        return sorted(range(len(first)), key=lambda number: first[number])

    # --- the end of a series ----------------------------------------------------------------------------------------

    def _end(self, one: One) -> int:
        """The step after the last one that has a target; of a table to label, after the last one."""
        known = np.flatnonzero(~np.isnan(one.values[:, : len(self.targets)]).all(1))
        if self.horizon == 0:
            return len(one.values)
        return int(known[-1]) + 1 if known.size else 0

    def _lacking(self, one: One) -> NDArray[np.bool_]:
        """The values before the end that are missing; labels need not be there."""
        end, lacking = self._end(one), np.isnan(one.values)
        lacking[end:] = False
        if self.horizon == 0:
            lacking[:, : len(self.targets)] = False
        return lacking

    def _check_targets(self) -> None:
        """Refuse a series that has no value at all in a column that it must go on with."""
        if self.horizon == 0:
            return
        faults = []
        for n, name in enumerate(self.targets):
            if without := [one.name for one in self.series if np.isnan(one.values[:, n]).all()]:
                more = f" and {len(without) - NAMED:,} more" if len(without) > NAMED else ""
                of = f" of {', '.join(map(repr, without[:NAMED]))}{more}" if self.id else ""
                faults.append(
                    f"{self.path}: column {name!r}{of} has no value to go on from; give the past of each series, or "
                    "leave these rows out"
                )
        if faults:
            raise DataError("\n".join(faults))

    # --- forecasts --------------------------------------------------------------------------------------------------

    def origins_at_ends(self, steps: int) -> list[Origin]:
        """The end of each series, for a forecast of so many steps.

        Raises
        ------
        DataError : the forecast needs values of later rows that the table does not have.
        """
        beyond = self.horizon * -(-steps // self.horizon)
        self._check_beyond(steps, beyond)
        return [self.origin(number, end - 1, beyond) for number, end in enumerate(self.ends)]

    def origin(self, number: int, step: int, beyond: int) -> Origin:
        """A step of a series as the last known one, with so many after it."""
        values, n = self.series[number].values, len(self.targets)
        after = np.full((1 + beyond, values.shape[1]), math.nan)
        later = values[step + 1 : step + 1 + beyond]
        after[0], after[1 : 1 + len(later)] = filled_forward(values[: step + 1])[-1], later
        after[1:, :n] = math.nan
        return Origin(self._arrays[number][0][: step + 1], after)

    def goes_on(self, steps: int) -> bool:
        """Whether a forecast of so many steps reads forecasts."""
        return steps > self.horizon

    def _check_beyond(self, steps: int, beyond: int) -> None:
        """Refuse a forecast that would need unknown values of the future."""
        needed = dict.fromkeys(self.ahead, beyond)
        if self.goes_on(steps):
            needed |= {name: max(needed.get(name, 0), beyond - self.horizon) for name in self.read}
        faults: list[str] = []
        for one, end in zip(self.series, self.ends, strict=True):
            for name, count in needed.items():
                later = one.values[end : end + count, self.columns.index(name)]
                lacks_rows = len(later) < count
                if lacks_rows or (self.missing == "refuse" and np.isnan(later).any()):
                    given = len(later) if lacks_rows else int((~np.isnan(later)).sum())
                    faults.append(self._lack_of_future(one, end, name, count, given))
        if faults:
            more = [f"{len(faults) - MOST_FAULTS:,} more such columns of series"] if len(faults) > MOST_FAULTS else []
            raise DataError("\n".join([*faults[:MOST_FAULTS], *more, self._cure_of_future(needed)]))

    def _lack_of_future(self, one: One, end: int, name: str, count: int, given: int) -> str:
        last = int(one.rows[:end][one.rows[:end] >= 0].max())
        of = f" of {one.name!r}" if self.id else ""
        blocks = f" (a forecast is made in blocks of task.horizon, {self.horizon} steps)" if self.horizon > 1 else ""
        return (
            f"{self.table.row(last)}: the last row{of} with a target; column {name!r} is needed for "
            f"{counted(count, 'step')} after it, and {given if given else 'none'} {'is' if given == 1 else 'are'} "
            f"there{blocks}"
        )

    def _cure_of_future(self, needed: dict[str, int]) -> str:
        if any(name not in self.ahead for name in needed):
            return (
                f"{', '.join(repr(name) for name in needed if name not in self.ahead)}: the future of these inputs is "
                f"unknown; forecast {counted(self.horizon, 'step')} (--horizon {self.horizon}), train with a longer "
                "task.horizon, or add rows with their values and empty targets"
            )
        return "add rows at the end that have these columns and empty targets"

    def inputs_of(self, number: int) -> NDArray[np.float32]:
        """`[T, I]`, what the model reads at each step of a series."""
        return self._arrays[number][0]

    def restored(self, outputs: Numbers, last: Numbers) -> Numbers:
        """Outputs `[B, O]` of the model as values `[B, horizon, targets]`, given the last values `[B, targets]`."""
        values = self.scaler.restore_targets(outputs.reshape(len(outputs), max(1, self.horizon), len(self.targets)))
        return values + last[:, None] if self.differences else values

    def inputs_after(self, values: Numbers) -> NDArray[np.float32]:
        """What the model reads, `[T - 1, I]`, at all steps but the first of `values` `[T, C]`."""
        none = np.full(len(values), -1)
        return self._array(One("", values, none, (0, 0, len(values))))[0][1:]

    # --- the columns of a result ------------------------------------------------------------------------------------

    @property
    def step_name(self) -> str:
        """The column that tells the steps of a series."""
        return self.time or ("step" if "step" not in {*self.columns, self.id} else "step_number")

    def ids(self, names: list[str]) -> list[Any]:
        """Names of series as the file has them."""
        import polars

        assert self.id is not None
        return polars.Series(names, dtype=polars.String).cast(self.table.frame[self.id].dtype).to_list()

    def times(self, number: int, places: NDArray[np.int64]) -> NDArray[Any]:
        """The times of steps of a series, which may lie beyond its end: whole numbers, dates or moments.

        Raises
        ------
        DataError : no series has two rows, so that the distance between two steps is unknown.
        """
        if self.clock is None:
            return places + 1
        own = self._own_clock(number)
        step = regular_step(own) or self._step
        if step is None:
            raise DataError(
                f"{self.path}: has a single row in each series, and the distance between two steps is unknown; give "
                "more rows"
            )
        times = times_at(own, step, places)
        unit = {"whole number": None, "day": "datetime64[D]", "microsecond": "datetime64[us]"}[own.kind]
        return times if unit is None else times.astype(unit)

    @property
    def _step(self) -> Step | None:
        """The distance between two steps in the first series that tells it."""
        clocks = (self._own_clock(number) for number in range(len(self.series)))
        return next((step for own in clocks if (step := regular_step(own)) is not None), None)

    def _own_clock(self, number: int) -> Clock:
        assert self.clock is not None
        rows = self.series[number].rows
        return self.clock.of(rows[rows >= 0])

    def as_written_rows(self) -> list[Any]:
        """The time of each row as in the file; numbers as numbers."""
        assert self.clock is not None
        assert self.time is not None
        if self.clock.kind == "whole number":
            return [int(time) for time in self.clock.values]
        return self.table.frame[self.time].to_list()

    def as_written(self, times: NDArray[Any]) -> list[Any]:
        """Times as the file writes its own."""
        if self.clock is None or self.time is None:
            return [int(time) for time in times]
        own = self.table.frame[self.time]
        return _as_written(times, own, self.clock.texts[int(self.clock.texts.str.len_chars().arg_max() or 0)])


def _as_written(times: NDArray[Any], own: "polars.Series", example: str) -> list[Any]:
    """Times in the form of a column, of which `example` is a text."""
    import polars

    if times.dtype.kind != "M":
        return [int(time) for time in times]
    moments = polars.Series(times.astype("datetime64[us]"))
    if own.dtype == polars.Date:
        return moments.cast(polars.Date).to_list()
    if isinstance(own.dtype, polars.Datetime):
        unit, zone = own.dtype.time_unit, own.dtype.time_zone
        moments = moments.dt.cast_time_unit(unit)
        return (moments if zone is None else moments.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)).to_list()
    example = example.strip()
    if len(example) == 8:
        return moments.dt.strftime("%Y%m%d").to_list()
    seconds = {5: "%H:%M", 8: "%H:%M:%S"}.get(len(example[11:].removesuffix("Z")), "%H:%M:%S%.f")
    form = "%Y-%m-%d" + (f"{example[10]}{seconds}{'Z' if example.endswith('Z') else ''}" if example[10:] else "")
    return moments.dt.strftime(form).to_list()
