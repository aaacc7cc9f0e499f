"""Forecast the next values of a table of numbers, or label each of its steps."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import InitVar
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, JsonValue

from seqtrain.system.errors import DataError
from seqtrain.system.settings import Affects, Faults, Null, Size
from seqtrain.system.shipped import text_path
from seqtrain.system.words import counted
from seqtrain.tasks.base import Batch, Prediction, Split
from seqtrain.tasks.errors import squared_loss, tally_errors, with_roots
from seqtrain.tasks.finite import FiniteTask, Passes
from seqtrain.tasks.metrics import Metric, Tally
from seqtrain.tasks.tables.baselines import Baselines
from seqtrain.tasks.tables.one import Numbers, One, filled_forward, shifted
from seqtrain.tasks.tables.pieces import Piece, PieceTraining, count_whole, read_whole
from seqtrain.tasks.tables.scaler import Scaler
from seqtrain.tasks.tables.steps import Clock, Step, places_in_time, read_clock, regular_step
from seqtrain.tasks.tables.table import MOST_FAULTS, Table, read_table

FRACTIONS = [0.7, 0.15, 0.15]
Fractions = Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=3, max_length=3)]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")
Columns = Annotated[list[Annotated[str, Field(min_length=1)]], Field(max_length=1000)]
Instant = Annotated[int | str, Field()]


class Series(FiniteTask):
    """Forecast the next values of a table of numbers, at every step; or label each step.

        year   spots        input     target (horizon 1)
        1700     5.0          5.0     11.0                 the model reads the targets and inputs up to now, and what is
        1701    11.0         11.0     16.0                 known ahead, and predicts the next `horizon` values
        1702    16.0         16.0     23.0

    The table is a CSV file with a header, or a Parquet file, with a row for each step; a table with several series has
    a column `id`. Training reads only rows before the validation, also to scale the columns to a mean of 0 and a
    standard deviation of 1. The series are read in columns, window after window, with the state carried on. In
    evaluation the model reads each series from its first row, and each step of the split counts once.

    With `horizon: 0` the targets are labels: they are no inputs, and a label is predicted at its own step, from the
    past or, with `model.direction: bidirectional`, from both sides. Each window of training then starts from a fresh
    state, and in evaluation a series is read whole.

    Loss: squared error of scaled values. Metrics in the units of the data: `rmse` and `mae`, and `rmse_NAME` of each of
    several targets. Baselines: the last value (persistence), the value one `season` before, and a linear autoregression
    with `lags` values; of labels the mean, and a linear regression on the inputs of the step. `rmse` of the baseline is
    that of the best. There is no rule for "solved".
    """

    name = "series"
    metric = Metric("rmse", higher_is_better=False)
    given = ("seed", "fitted")
    symbolic = False
    every_step = True

    path: Annotated[str, Field(min_length=1), Affects.CONTENT]
    """A CSV file with a header, or a Parquet file."""
    targets: Annotated[Columns, Field(min_length=1)]
    """Columns to predict."""
    inputs: Columns | None = None
    """Further columns to read, known up to the present step; null for none."""
    known: Columns | None = None
    """Columns that are known ahead, such as holidays: read for the steps that are predicted; null for none."""
    time: Annotated[str | None, Affects.DATA] = None
    """The column of time, which must have regular steps; null for rows that are steps."""
    id: Annotated[str | None, Affects.DATA] = None
    """The column that tells several series apart; null for one series."""
    horizon: Annotated[int, Field(ge=0, le=10_000)] = 1
    """Steps ahead that are predicted at once; 0 to label each step."""
    differences: bool = False
    """Predict the changes of the targets, and read them as changes."""
    missing: Annotated[Literal["refuse", "forward", "mask"], Affects.DATA] = "refuse"
    """What to do about missing values: refuse the table, repeat the last value, or repeat it and tell the model."""
    valid_from: Annotated[Instant | None, Affects.DATA] = None
    """The first time of validation; null for fractions."""
    test_from: Annotated[Instant | None, Affects.DATA] = None
    """The first time of the test; null for fractions."""
    fractions: Annotated[Fractions | None, Null(FRACTIONS, when=lambda task: task.valid_from is None), Affects.DATA] = (
        None
    )
    """Shares of train, valid and test of each series, by time; null for {null}."""
    window: Annotated[Size, Affects.EVALUATION] = 64
    """Steps of truncated back-propagation through time."""
    season: Annotated[Size | None, Affects.EVALUATION] = None
    """Steps of a period, for the seasonal baseline; null for no such baseline."""
    lags: Annotated[Annotated[int, Field(ge=1, le=1000)] | None, Affects.EVALUATION] = None
    """Values that the linear baseline reads; null for the number from 1 to 12 that is best on the validation set."""

    _cure_of_missing = (
        "set task.missing=forward to repeat the last value, or task.missing=mask to tell the model as well"
    )

    fitted: InitVar[dict[str, JsonValue] | None] = None
    seed: int = 0

    def __post_init__(self, fitted: dict[str, JsonValue] | None) -> None:
        """Read the table and measure its training rows.

        Parameters
        ----------
        fitted : what a trained model was scaled with; None to measure it.

        Raises
        ------
        DataError : the table cannot be used.
        """
        self._name_columns()
        table = read_table(text_path(str(self.path)))
        table.check_columns(targets=self.targets, inputs=self.read, known=self.ahead, time=[self.time], id=[self.id])
        self.empty_lines = table.empty_lines
        clock = None if self.time is None else read_clock(table, self.time)
        self.series = self._read(table, clock)
        self._check_missing(table)
        for split in SPLITS if fitted is None else ():
            self._check_length(split)
        self.scaler = self._scaler(fitted)
        self.fitted = self.scaler.as_json()
        self.output_size = len(self.targets) * max(1, self.horizon)
        self._arrays = [self._array(one) for one in self.series]
        self.input_size = self._arrays[0][0].shape[1]
        self._baselines: dict[Split, dict[str, float]] = {}
        digest = hashlib.sha256("".join(self.fingerprints().values()).encode()).hexdigest()
        ahead = f"horizon={self.horizon}" if self.horizon else "labels"
        self.definition = f"series/{text_path(str(self.path)).name}/{digest[:12]}/{ahead}/v{self.generator_version}"

    @classmethod
    def faults(cls, settings: Any) -> Faults:
        """Settings that do not fit each other."""
        if settings.horizon == 0 and not [*(settings.inputs or []), *(settings.known or [])]:
            yield "inputs", "is empty, but with horizon 0 the targets are no inputs; name the columns to read"
        if settings.horizon == 0 and settings.differences:
            yield "differences", "is for forecasts, and horizon 0 labels each step; remove it"
        for name in ("inputs", "known"):
            if twice := [column for column in getattr(settings, name) or [] if column in settings.targets]:
                yield (
                    name,
                    f"has {', '.join(map(repr, twice))}, a target, whose past is read anyway; remove it",
                )
        for name in ("season", "lags"):
            if settings.horizon == 0 and getattr(settings, name) is not None:
                yield name, "is of a baseline of forecasts, and horizon 0 labels each step; remove it"
        for name in ("targets", "inputs", "known"):
            columns = getattr(settings, name) or []
            if twice := [column for n, column in enumerate(columns) if column in columns[:n]]:
                yield name, f"has {', '.join(map(repr, twice))} more than once; name each column once"
        if (settings.valid_from is None) != (settings.test_from is None):
            yield "valid_from", "and test_from go together; give both, or fractions"
        if settings.valid_from is not None and settings.fractions is not None:
            yield "fractions", "divide the table, and so do valid_from and test_from; remove one of the two"
        if settings.valid_from is not None and settings.time is None:
            yield "valid_from", "is a time, but no column of time is named; set task.time, or use fractions"
        if settings.fractions is not None and abs(sum(settings.fractions) - 1) > 1e-6:
            yield "fractions", f"add up to {sum(settings.fractions):g}; they must add up to 1"

    @classmethod
    def why_forward_only(cls, settings: Any) -> str | None:
        """A forecast is of what comes next."""
        if settings.horizon == 0:
            return None
        return "would show the model the values that it must forecast (horizon 0 labels each step from both sides)"

    @property
    def carries_state(self) -> bool:
        """Windows of a series follow each other; those with labels do not, as a model may read from both sides."""
        return self.horizon > 0

    # --- the table --------------------------------------------------------------------------------------------------

    def _name_columns(self) -> None:
        """Name the columns of numbers, the targets first."""
        self.counts = None
        self.read, self.ahead = self.inputs or [], self.known or []
        self.columns = list(dict.fromkeys([*self.targets, *self.read, *self.ahead]))

    def _read(self, table: Table, clock: Clock | None) -> list[One]:
        values = table.numbers(self.columns)
        cuts = None if self.valid_from is None or clock is None else self._cuts(clock)
        rows_of = {"the series": np.arange(len(values))} if self.id is None else table.rows_of(self.id)
        step = None
        if clock is not None:
            rows_of = {name: rows[np.argsort(clock.values[rows], kind="stable")] for name, rows in rows_of.items()}
            step = regular_step(clock.of(max(rows_of.values(), key=len)))
        return [self._one(name, rows, values, clock, step, cuts, table) for name, rows in sorted(rows_of.items())]

    def _one(
        self,
        name: str,
        rows: NDArray[np.int64],
        values: Numbers,
        clock: Clock | None,
        step: Step | None,
        cuts: Any,
        table: Table,
    ) -> One:
        places = np.arange(len(rows)) if clock is None else places_in_time(clock, rows, table, step)
        T = int(places[-1]) + 1
        own, from_rows = np.full((T, values.shape[1]), math.nan), np.full(T, -1)
        own[places], from_rows[places] = values[rows], rows
        if cuts is None or clock is None:
            first, second, _ = self.fractions or FRACTIONS
            valid, test = round(first * T), round((first + second) * T)
        else:
            before = [int((clock.values[rows] < cut).sum()) for cut in cuts]
            valid, test = (int(places[at]) if at < len(rows) else T for at in before)
        return One(name, own, from_rows, (valid, test, T))

    def _cuts(self, clock: Clock) -> tuple[int, int] | None:
        """The first times of validation and test."""
        found = []
        for name in ("valid_from", "test_from"):
            text = str(getattr(self, name))
            try:
                found.append(clock.at(text))
            except ValueError:
                raise DataError(
                    f"task.{name} is {text!r}, but column {self.time!r} has times as {clock.texts[0]!r}; write it so"
                ) from None
        if found[0] >= found[1]:
            raise DataError(
                f"task.valid_from {self.valid_from} is not before task.test_from {self.test_from}; make it earlier"
            )
        return found[0], found[1]

    def _check_missing(self, table: Table) -> None:
        """Refuse missing values and rows unless the config says what to do about them."""
        self.missing_values = sum(int(self._lacking(one).sum()) for one in self.series)
        if self.missing != "refuse" or not self.missing_values:
            return
        faults: list[str] = []
        for one in self.series:
            for step, column in zip(*np.nonzero(self._lacking(one)), strict=True):
                if len(faults) == MOST_FAULTS:
                    break
                row = int(one.rows[step])
                if row < 0 and column == 0:
                    before = int(one.rows[:step][one.rows[:step] >= 0][-1])
                    faults.append(f"{table.row(before)}: a step is missing after this row ({one.name})")
                elif row >= 0:
                    faults.append(f"{table.row(row)}: column {self.columns[column]!r} has no value")
        more = f"{counted(self.missing_values, 'missing value')} in all; "
        raise DataError("\n".join([*faults, more + self._cure_of_missing]))

    def _lacking(self, one: One) -> NDArray[np.bool_]:
        """`[T, C]`, the values that are missing."""
        return np.isnan(one.values)

    def _check_length(self, split: Split) -> None:
        """Refuse a split without a prediction."""
        n, steps = len(self.targets), range(1, self.horizon + 1) if self.horizon else (0,)
        for one in self.series:
            at = self.origins(one, split)
            if at.size and any(not np.isnan(one.values[at + ahead, :n]).all() for ahead in steps):
                return
        raise DataError(
            f"{self.path}: the {split} part has no step to predict; give a longer table, a smaller task.horizon, or "
            "other task.fractions (or valid_from and test_from)"
        )

    def _scaler(self, fitted: dict[str, JsonValue] | None) -> Scaler:
        """That of a checkpoint, or measured on the training rows of all series."""
        if fitted is not None:
            return Scaler.read(fitted, self.columns, len(self.targets))
        parts = []
        for one in self.series:
            own = one.values[: one.starts[0]].copy()
            if self.differences:
                own[:, : len(self.targets)] = np.diff(own[:, : len(self.targets)], axis=0, prepend=math.nan)
            parts.append(own)
        rows = np.concatenate(parts)
        if nothing := [name for name, own in zip(self.columns, rows.T, strict=True) if np.isnan(own).all()]:
            raise DataError(
                f"{self.path}: no value before the validation in column {', '.join(nothing)}; leave the column out, or "
                "give a larger training part"
            )
        with np.errstate(over="ignore", invalid="ignore"):
            largest = np.nanmax(np.abs(np.concatenate([one.values[: one.starts[0]] for one in self.series])), 0)
            scaler = Scaler.measured(self.columns, rows, largest, len(self.targets))
        if beyond := [name for name, spread in zip(self.columns, scaler.spread, strict=True) if not spread < math.inf]:
            raise DataError(f"{self.path}: numbers are too large in column {', '.join(beyond)}; use another unit")
        return scaler

    # --- arrays -----------------------------------------------------------------------------------------------------

    def origins(self, one: One, split: Split) -> NDArray[np.int64]:
        """The steps at which a prediction lies in a split with all that it predicts."""
        start, stop = one.span(split)
        first = max(start - 1, 0) if self.horizon else start
        last = stop - self.horizon if self.horizon else stop
        return np.arange(first if split != "train" else 0, max(last, 0))

    def _array(self, one: One) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Inputs `[T, I]` and targets `[T, O]`, scaled; NaN where there is no target."""
        targets, filled = one.values[:, : len(self.targets)], filled_forward(one.values)
        own = filled.copy()
        if self.differences:
            own[:, : len(self.targets)] = np.diff(filled[:, : len(self.targets)], axis=0, prepend=math.nan)
        scaled = np.nan_to_num(self.scaler.scale(own), nan=0.0)
        index = {name: c for c, name in enumerate(self.columns)}
        read = [*(self.targets if self.horizon else []), *self.read]
        parts = [scaled[:, [index[name] for name in read]]]
        known = scaled[:, [index[name] for name in self.ahead]]
        parts += [shifted(known, ahead, 0.0) for ahead in range(1, self.horizon + 1)] if self.horizon else [known]
        if self.missing == "mask":
            seen = [index[name] for name in (read if self.horizon else [*read, *self.ahead])]
            parts.append(2.0 * ~np.isnan(one.values[:, seen]) - 1.0)
        wanted = [self._wanted(targets, filled[:, : len(self.targets)], ahead) for ahead in range(1, self.horizon + 1)]
        if not self.horizon:
            wanted = [self.scaler.scale_targets(targets)]
        return np.concatenate(parts, 1).astype(np.float32), np.concatenate(wanted, 1).astype(np.float32)

    def _wanted(self, targets: Numbers, filled: Numbers, ahead: int) -> Numbers:
        """The scaled target so many steps ahead, `[T, targets]`."""
        later = shifted(targets, ahead, math.nan)
        return self.scaler.scale_targets(later - filled if self.differences else later)

    def _batch(self, pieces: list[Piece], start: int, size: int) -> Batch:
        """A window of pieces side by side, from their step `start` on."""
        size = min(size, max(piece.stop - piece.start for piece in pieces) - start)
        inputs = torch.zeros(size, len(pieces), self.input_size)
        targets = torch.full((size, len(pieces), self.output_size), math.nan)
        lengths = torch.zeros(len(pieces), dtype=torch.long)
        for b, piece in enumerate(pieces):
            begin, end = piece.start + start, min(piece.start + start + size, piece.stop)
            if end <= begin:
                continue
            x, y = self._arrays[piece.series]
            lengths[b] = end - begin
            inputs[: end - begin, b] = torch.from_numpy(x[begin:end])
            targets[: end - begin, b] = torch.from_numpy(y[begin:end])
            targets[: max(0, piece.scored_from - begin), b] = math.nan
            targets[max(0, piece.scored_to - begin) :, b] = math.nan
        is_padded = bool((lengths < size).any())
        return Batch(
            inputs,
            targets,
            lengths if is_padded else None,
            ~targets.isnan().all(-1),
            fresh=start == 0 or not self.carries_state,
        )

    # --- batches ----------------------------------------------------------------------------------------------------

    def passes(self, batch_size: int) -> Passes:
        """The windows of the rows before the validation."""
        spans = [(0, max(one.starts[0] - self.horizon, 0)) for one in self.series]
        return PieceTraining(spans, batch_size, self.window, self.seed, self._batch)

    def specimen(self, split: Split, batch_size: int) -> Batch:
        """The first column of the first window."""
        batch = self.train_batch(0, batch_size) if split == "train" else next(self.eval_batches(split, batch_size))
        return batch.rows(0, 1)

    def eval_batches(self, split: Split, batch_size: int) -> Iterator[Batch]:
        """All series from their first step to the end of a split, of which only the split counts."""
        yield from read_whole(self._evaluated(split), batch_size, self._batch, whole=self.horizon == 0)

    def count_eval_batches(self, split: Split, batch_size: int) -> int:
        """How many batches `eval_batches` gives."""
        sizes = [piece.stop for piece in self._evaluated(split)]
        return count_whole(sizes, batch_size, whole=self.horizon == 0)

    def _evaluated(self, split: Split) -> list[Piece]:
        self._check_length(split)
        pieces = []
        for number, one in enumerate(self.series):
            origins = self.origins(one, split)
            if origins.size:
                first, stop = int(origins[0]), int(origins[-1]) + 1
                pieces.append(Piece(number, 0, stop, first, stop))
        return pieces

    def loss(self, prediction: Prediction, batch: Batch) -> tuple[torch.Tensor, int]:
        """Squared error of scaled values, summed over the values that are not missing."""
        return squared_loss(prediction, batch)

    def measure(self, prediction: Prediction, batch: Batch) -> Tally:
        """Squared and absolute errors in the units of the data."""
        spread = torch.from_numpy(np.tile(self.scaler.target_spread, max(1, self.horizon)))
        return tally_errors(prediction, batch, spread, self.targets)

    def summarise(self, means: dict[str, float]) -> dict[str, float]:
        """The roots of mean squared errors in place of these."""
        return with_roots(means)

    def baseline(self, split: Split) -> dict[str, float]:
        """The figures of the best baseline, and the error of each."""
        if split not in self._baselines:
            self._baselines[split] = self._rules.figures(split)
        return self._baselines[split]

    @cached_property
    def _rules(self) -> Baselines:
        n = len(self.targets)
        read = [np.nan_to_num(self.scaler.scale(filled_forward(one.values)))[:, n:] for one in self.series]
        return Baselines(
            self.series,
            self.targets,
            self.horizon,
            self.season,
            self.lags,
            self.differences,
            self.scaler.mean[:n],
            self.scaler.target_spread,
            read if self.horizon == 0 else [],
            self.origins,
        )

    def facts(self, split: Split) -> dict[str, str | float]:
        """What was read."""
        predicted = sum(self.origins(one, split).size for one in self.series)
        found: dict[str, str | float] = {"table": str(text_path(str(self.path))), "steps": predicted}
        found |= {"series": len(self.series), "missing_values": self.missing_values}
        return found | ({"empty_lines": self.empty_lines} if self.empty_lines else {})

    def remarks(self, batch_size: int) -> list[str]:  # noqa: ARG002
        """Remarks on constant columns."""
        constant = [name for name, spread in zip(self.columns, self.scaler.spread, strict=True) if spread == 0]
        return [f"constant in training, so that they tell nothing: {', '.join(constant)}"] if constant else []

    def fingerprints(self) -> dict[str, str]:
        """SHA-256 of each part of the table."""
        return {split: self._fingerprint(split) for split in ("train", "valid", "test")}

    def _fingerprint(self, split: Split) -> str:
        digest = hashlib.sha256(repr(self.columns).encode())
        for one in self.series:
            start, stop = one.span(split)
            digest.update(repr((one.name, start, stop)).encode() + one.values[start:stop].tobytes())
        return digest.hexdigest()
