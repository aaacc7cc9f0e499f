"""Baselines of series, computed on the same steps as a model: persistence, season, linear autoregression."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from seqtrain.tasks.base import Split
from seqtrain.tasks.tables.one import Numbers, One, filled_forward

RULE = "rmse of "
"""How the name of the error of a simple rule begins."""

LAGS = range(1, 13)
"""Lags of the linear baseline that are tried on the validation set."""

TOGETHER = 1 << 21
"""Numbers of a block of steps that are computed at a time (16 MiB)."""

Places = NDArray[np.int64]
Rule = Callable[[Places], Iterator[Numbers]]
"""From N rows to the guesses `[N, targets]` for 1, 2, ... steps after them; of labels, for the rows themselves."""


@dataclass(frozen=True)
class Baselines:
    """What simple rules reach on the same steps as a model.

    series : all of them; their first columns are the targets.
    targets : the names of the columns.
    horizon : steps ahead; 0 for labels.
    season, lags : of the rules; see the task.
    differences : changes are predicted, and there is none before a value is known.
    mean : `[targets]`, the guess before a value is known, if there are no training rows with one.
    spread : `[targets]`, what a scaled error of 1 is.
    read : `[T, inputs]` of each series, the scaled columns that are no targets.
    origins : the steps at which a split has predictions.
    """

    series: Sequence[One]
    targets: Sequence[str]
    horizon: int
    season: int | None
    lags: int | None
    differences: bool
    mean: Numbers
    spread: Numbers
    read: Sequence[Numbers]
    origins: Callable[[One, Split], Places]

    def figures(self, split: Split) -> dict[str, float]:
        """The figures of the best rule by the names of the metrics, and the root mean squared error of each."""
        at = self._places(split)
        errors = {name: self._errors(at, rule) for name, rule in self._rules.items()}
        best = min(errors.values(), key=lambda error: error.root)
        figures = {"loss": best.scaled(self.spread), "rmse": best.root, "mae": best.mean}
        if len(self.targets) > 1:
            figures |= dict(zip((f"rmse_{name}" for name in self.targets), best.roots, strict=True))
        return figures | {RULE + name: error.root for name, error in errors.items()}

    # --- the rows of all series, one after the other ----------------------------------------------------------------

    @cached_property
    def _first(self) -> Places:
        """`[N]`, the first row of the series of each row."""
        sizes = [len(one.values) for one in self.series]
        return np.repeat(np.cumsum([0, *sizes[:-1]]), sizes)

    @cached_property
    def _values(self) -> Numbers:
        """`[N, targets]`."""
        return np.concatenate([one.values[:, : len(self.targets)] for one in self.series])

    @cached_property
    def _past(self) -> Numbers:
        """`[N, targets]`, as they are known at each row: a missing value is the last one, or the mean."""
        filled = np.concatenate([filled_forward(one.values[:, : len(self.targets)]) for one in self.series])
        return np.where(np.isnan(filled), self._mean, filled)

    @cached_property
    def _mean(self) -> Numbers:
        """`[targets]`, of the training rows."""
        own = self._values[self._trained]
        known = (~np.isnan(own)).sum(0)
        return np.where(known > 0, np.nansum(own, 0) / np.maximum(known, 1), self.mean)

    @cached_property
    def _judged(self) -> NDArray[np.bool_]:
        """`[N, targets]`, the rows at which a model is asked."""
        if not self.differences:
            return np.ones(self._values.shape, bool)
        return np.concatenate([~np.isnan(filled_forward(one.values[:, : len(self.targets)])) for one in self.series])

    @cached_property
    def _trained(self) -> NDArray[np.bool_]:
        """`[N]`, the rows of training."""
        sizes, starts = ([f(one) for one in self.series] for f in (lambda one: len(one.values), lambda o: o.starts[0]))
        return np.arange(len(self._first)) - self._first < np.repeat(starts, sizes)

    def _places(self, split: Split) -> Places:
        """The rows at which a split has predictions."""
        before = np.cumsum([0, *(len(one.values) for one in self.series)])
        return np.concatenate(
            [start + self.origins(one, split) for start, one in zip(before, self.series, strict=False)]
        )

    def _errors(self, at: Places, rule: Rule) -> "_Errors":
        """Those of a rule at some rows; those of missing values do not count."""
        squared, absolute, counts = np.zeros((3, len(self.targets)))
        size = max(1, TOGETHER // (len(self.targets) * (self.horizon + (self.lags or LAGS[-1]))))
        for start in range(0, len(at), size):
            own = at[start : start + size]
            for ahead, guess in enumerate(rule(own), min(1, self.horizon)):
                error = np.where(self._judged[own], guess - self._values[own + ahead], math.nan)
                squared += np.nansum(np.square(error), 0)
                absolute += np.nansum(np.abs(error), 0)
                counts += np.sum(~np.isnan(error), 0)
        return _Errors(squared, absolute, counts)

    # --- the rules --------------------------------------------------------------------------------------------------

    @cached_property
    def _rules(self) -> dict[str, Rule]:
        if not self.horizon:
            linear = self._linear()
            return {"mean": self._guess_mean} | ({} if linear is None else {"linear": linear})
        found: dict[str, Rule] = {"persistence": self._persistence}
        if self.season is not None:
            found["seasonal"] = self._seasonal
        lags, weights = self._autoregression()
        return found if weights is None else {**found, f"AR({lags})": self._iterated(weights)}

    def _persistence(self, at: Places) -> Iterator[Numbers]:
        for _ in range(self.horizon):
            yield self._past[at]

    def _seasonal(self, at: Places) -> Iterator[Numbers]:
        """The value at the same place of the last season that is known; before there is one, the last value."""
        assert self.season is not None
        for ahead in range(1, self.horizon + 1):
            earlier = at + ahead - self.season * -(-ahead // self.season)
            yield self._past[np.where(earlier >= self._first[at], earlier, at)]

    def _iterated(self, weights: Numbers) -> Rule:
        """The forecasts, each from those before it; the first value stands for those before a series begins.

        Parameters
        ----------
        weights : `[targets, lags + 1]` of the last values, the newest first, and a constant.
        """
        lags, oldest_first = weights.shape[1] - 1, weights[:, -2::-1].T

        def rule(at: Places) -> Iterator[Numbers]:
            back = np.maximum(at[:, None] + np.arange(1 - lags, 1), self._first[at][:, None])
            window = np.concatenate([self._past[back], np.empty((len(at), self.horizon, len(self.targets)))], 1)
            for ahead in range(self.horizon):
                window[:, lags + ahead] = (window[:, ahead : lags + ahead] * oldest_first).sum(1) + weights[:, -1]
                yield window[:, lags + ahead]

        return rule

    def _autoregression(self) -> tuple[int, Numbers | None]:
        """The lags with the smallest error on the validation set, or those of the config, and the weights.

        The weights are None if there are no rows to fit them on, as in an evaluation of another table.
        """
        if not self._trained.any():
            return 0, None
        longest = max(one.starts[0] for one in self.series)
        most = self.lags or max(1, min(LAGS[-1], longest // 3))
        fits = [self._fits(n, most, [self.lags] if self.lags else range(1, most + 1)) for n in range(len(self.targets))]
        found = {lags: np.stack([own[lags] for own in fits]) for lags in fits[0]}
        valid = self._places("valid")
        best = self.lags or min(found, key=lambda lags: self._errors(valid, self._iterated(found[lags])).root)
        return best, found[best]

    def _fits(self, n: int, most: int, wanted: Sequence[int]) -> dict[int, Numbers]:
        """The weights `[lags + 1]` of a target by least squares, for several numbers of lags up to `most`."""
        step = np.arange(len(self._first)) - self._first
        fitted = self._trained & ~np.isnan(self._values[:, n])

        def rows(of: NDArray[np.bool_], lags: int) -> Iterator[Numbers]:
            """The last values, 1 and the next value `[N, lags + 2]`."""
            places, size = np.flatnonzero(of), max(1, TOGETHER // (lags + 2))
            for start in range(0, len(places), size):
                at = places[start : start + size]
                past = self._past[at[:, None] - np.arange(1, lags + 1), n]
                yield np.concatenate([past, np.ones((len(at), 1)), self._values[at, n][:, None]], 1)

        of_all, found = fitted & (step >= most), {}
        shared, count = _triangle(rows(of_all, most), most + 2), int(of_all.sum())
        for lags in wanted:
            early = fitted & (step >= lags) & (step < most)
            columns = shared[:, [*range(lags), most, most + 1]]
            number = count + int(early.sum())
            own = _triangle([columns, *rows(early, lags)], lags + 2)
            # too few rows: the last value
            found[lags] = _least_squares(own, number) if number > lags + 1 else np.eye(1, lags + 1)[0]
        return found

    def _guess_mean(self, at: Places) -> Iterator[Numbers]:
        yield np.broadcast_to(self._mean, (len(at), len(self.targets)))

    def _linear(self) -> Rule | None:
        """A linear regression on the inputs of the same step; None if there are no rows to fit it on."""
        read = np.concatenate(self.read)
        inputs, columns, weights = np.concatenate([read, np.ones((len(read), 1))], 1), read.shape[1] + 1, []
        for own in self._values.T:
            rows = np.flatnonzero(self._trained & ~np.isnan(own))
            if not rows.size:
                return None
            parts = np.array_split(rows, -(-len(rows) * (columns + 1) // TOGETHER))
            triangle = _triangle((np.concatenate([inputs[at], own[at, None]], 1) for at in parts), columns + 1)
            weights.append(_least_squares(triangle, len(rows)))
        together = np.stack(weights, 1)

        def rule(at: Places) -> Iterator[Numbers]:
            yield inputs[at] @ together

        return rule


@dataclass(frozen=True)
class _Errors:
    """Sums over the errors of each target `[targets]`, and how many there are."""

    squared: Numbers
    absolute: Numbers
    counts: Numbers

    @property
    def root(self) -> float:
        """The root mean squared error; infinite without an error."""
        count = float(self.counts.sum())
        return math.sqrt(float(self.squared.sum()) / count) if count else math.inf

    @property
    def roots(self) -> list[float]:
        """That of each target; NaN without an error."""
        sums = zip(self.squared.tolist(), self.counts.tolist(), strict=True)
        return [math.sqrt(total / count) if count else math.nan for total, count in sums]

    @property
    def mean(self) -> float:
        """The mean absolute error."""
        return float(self.absolute.sum() / self.counts.sum())

    def scaled(self, spread: Numbers) -> float:
        """The mean of the squares of errors divided by `spread`."""
        return float((self.squared / spread**2).sum() / self.counts.sum())


def _triangle(parts: Iterator[Numbers] | list[Numbers], columns: int) -> Numbers:
    """The triangle R `[columns, columns]` of a QR decomposition of all rows, which a regression can use instead."""
    found: Numbers = np.zeros((columns, columns))
    for part in parts:
        found = np.asarray(np.linalg.qr(np.concatenate([found, part]), mode="r"), np.float64)
    return found


def _least_squares(triangle: Numbers, rows: int) -> Numbers:
    """The weights of all columns but the last one, which is predicted, given R of so many rows."""
    cutoff = np.finfo(float).eps * max(rows, len(triangle))
    return np.asarray(np.linalg.lstsq(triangle[:, :-1], triangle[:, -1], rcond=cutoff)[0], np.float64)
