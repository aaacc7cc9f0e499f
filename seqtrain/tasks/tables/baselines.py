"""Baselines of series, computed on the same steps as a model: persistence, season, linear autoregression."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqtrain.tasks.base import Split
from seqtrain.tasks.tables.one import Numbers, One, filled_forward

RULE = "rmse of "
"""How the name of the error of a simple rule begins."""

LAGS = range(1, 13)
"""Lags of the linear baseline that are tried on the validation set."""


class Problem(NamedTuple):
    """What is forecast.

    series : all of them; their first columns are the targets.
    targets : the names of the columns.
    horizon : steps ahead; 0 for labels.
    season, lags : of the baselines; see the task.
    spread : `[targets]`, what a scaled error of 1 is.
    read : `[T, inputs]` of each series, the scaled columns that are no targets.
    origins : the steps at which a split has predictions.
    """

    series: list[One]
    targets: list[str]
    horizon: int
    season: int | None
    lags: int | None
    spread: Numbers
    read: list[Numbers]
    origins: Callable[[One, Split], NDArray[np.int64]]


def of_series(task: Problem, split: Split) -> dict[str, float]:
    """The figures of the best baseline by the names of the metrics, and the root mean squared error of each."""
    guesses = _forecasts(task) if task.horizon else _labels(task)
    errors = {name: _errors(task, split, guess) for name, guess in guesses.items()}
    roots = {name: math.sqrt(float(np.nanmean(np.square(error)))) for name, error in errors.items()}
    best = errors[min(roots, key=lambda name: roots[name])]
    figures = {
        "loss": float(np.nanmean(np.square(best / task.spread))),
        "rmse": math.sqrt(float(np.nanmean(np.square(best)))),
        "mae": float(np.nanmean(np.abs(best))),
    }
    if len(task.targets) > 1:
        figures |= {
            f"rmse_{name}": math.sqrt(float(np.nanmean(np.square(best[..., n])))) for n, name in enumerate(task.targets)
        }
    return figures | {RULE + name: root for name, root in roots.items()}


def _errors(task: Problem, split: Split, guesses: list[Numbers]) -> Numbers:
    """`[N, horizon, targets]` at the predictions of a split; `guesses` holds `[T, horizon, targets]` of each series."""
    parts = []
    for one, guess in zip(task.series, guesses, strict=True):
        at = task.origins(one, split)
        steps = range(1, task.horizon + 1) if task.horizon else [0]
        targets = np.stack([one.values[at + ahead, : len(task.targets)] for ahead in steps], 1)
        parts.append(guess[at] - targets)
    return np.concatenate(parts)


def _forecasts(task: Problem) -> dict[str, list[Numbers]]:
    own = [_past(task, one) for one in task.series]
    found = {"persistence": [np.repeat(past[:, None], task.horizon, 1) for past in own]}
    if task.season is not None:
        found["seasonal"] = [_seasonal(past, task.season, task.horizon) for past in own]
    lags = task.lags or _best_lags(task, own)
    found[f"AR({lags})"] = [_iterated(past, _fit(task, own, lags), lags, task.horizon) for past in own]
    return found


def _past(task: Problem, one: One) -> Numbers:
    """The targets `[T, targets]` as they are known at each step: a missing value is the last one, or the mean."""
    values = filled_forward(one.values[:, : len(task.targets)])
    return np.where(np.isnan(values), np.nanmean(one.values[: max(one.starts[0], 1), : len(task.targets)], 0), values)


def _seasonal(past: Numbers, season: int, horizon: int) -> Numbers:
    """The value at the same place of the last season that is known; before there is one, the last value."""
    found = []
    for ahead in range(1, horizon + 1):
        back = season * -(-ahead // season) - ahead
        at = np.arange(len(past)) - back
        found.append(np.where((at >= 0)[:, None], past[np.maximum(at, 0)], past))
    return np.stack(found, 1)


def _best_lags(task: Problem, own: list[Numbers]) -> int:
    """The number of lags with the smallest error on the validation set."""

    def error(lags: int) -> float:
        guesses = [_iterated(past, _fit(task, own, lags), lags, task.horizon) for past in own]
        return float(np.nanmean(np.square(_errors(task, "valid", guesses))))

    most = max(1, min(LAGS[-1], max(one.starts[0] for one in task.series) // 3))
    return min(range(1, most + 1), key=error)


def _fit(task: Problem, own: list[Numbers], lags: int) -> Numbers:
    """The weights `[targets, lags + 1]` of the last values, the newest first, and a constant, by least squares."""
    weights = []
    for n in range(len(task.targets)):
        rows, wanted = [], []
        for one, past in zip(task.series, own, strict=True):
            for t in range(lags, one.starts[0]):
                if not math.isnan(one.values[t, n]):
                    rows.append(np.append(past[t - lags : t, n][::-1], 1.0))
                    wanted.append(one.values[t, n])
        if len(rows) <= lags + 1:
            weights.append(np.eye(1, lags + 1)[0])  # too few rows: the last value
        else:
            weights.append(np.linalg.lstsq(np.stack(rows), np.array(wanted), rcond=None)[0])
    return np.stack(weights)


def _iterated(past: Numbers, weights: Numbers, lags: int, horizon: int) -> Numbers:
    """The forecasts `[T, horizon, targets]`, each from those before it; the last value where the past is too short."""
    T, targets = past.shape
    padded = np.concatenate([np.repeat(past[:1], lags - 1, 0), past]) if lags > 1 else past
    windows = np.stack([padded[lags - 1 - k : lags - 1 - k + T] for k in range(lags)], 1)  # [T, lags, targets]
    found = []
    for _ in range(horizon):
        step = np.einsum("tkn,nk->tn", windows, weights[:, :-1]) + weights[:, -1]
        found.append(step)
        windows = np.concatenate([step[:, None], windows[:, :-1]], 1)
    return np.stack(found, 1).reshape(T, horizon, targets)


def _labels(task: Problem) -> dict[str, list[Numbers]]:
    """The mean of the training labels, and a linear regression on the inputs of the same step."""
    n, inputs = len(task.targets), task.read
    train = np.concatenate([one.values[: one.starts[0], :n] for one in task.series])
    X = np.concatenate([own[: one.starts[0]] for one, own in zip(task.series, inputs, strict=True)])
    X = np.concatenate([X, np.ones((len(X), 1))], 1)
    mean = np.nanmean(train, 0)
    weights = np.stack(
        [np.linalg.lstsq(X[~np.isnan(y)], y[~np.isnan(y)], rcond=None)[0] for y in train.T], 1
    )  # [inputs + 1, targets]
    return {
        "mean": [np.broadcast_to(mean, (len(own), 1, n)) for own in inputs],
        "linear": [(np.concatenate([own, np.ones((len(own), 1))], 1) @ weights)[:, None] for own in inputs],
    }
