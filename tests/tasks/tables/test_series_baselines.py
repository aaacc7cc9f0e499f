"""Baselines of series against loops over single steps, on exactly the steps that a model is judged on."""

import csv
import math

import numpy as np
import pytest

from seqtrain.config import config_from
from seqtrain.config.build import build_task


def ragged_table(seed):
    """Series with different starts and ends, with missing values and rows; one is only in the test."""
    draw, rows = np.random.default_rng(seed), []
    for name, first, last in (("a", 0, 60), ("b", 5, 52), ("c", 44, 60), ("d", 0, 20), ("e", 20, 31)):
        y, z = draw.normal(size=2)
        for t in range(first, last):
            y, z = 0.8 * y + draw.normal(), 0.9 * z + 0.3 * y + draw.normal()
            cells = [round(value, 3) if draw.random() > 0.12 else "" for value in (y, z, draw.normal())]
            if draw.random() > 0.05:
                rows.append([name, t, *cells])
    draw.shuffle(rows)
    return rows


def series_of(rows, cuts):
    """For each name: the values of each step by column, None if missing, and the first steps of the splits."""
    found = {}
    for name in sorted({row[0] for row in rows}):
        own = {int(row[1]): row[2:] for row in rows if row[0] == name}
        times = range(min(own), max(own) + 1)
        steps = [[None if cell in ("", None) else float(cell) for cell in own.get(t, [None] * 3)] for t in times]
        # a split begins at the first row that is not before it
        starts = [min([t for t in own if t >= cut], default=times[-1] + 1) - times[0] for cut in cuts]
        found[name] = (steps, [0, *starts, len(steps)])
    return found


def filled(steps, t, n, otherwise):
    """The last known value of a target up to a step, or another guess."""
    return next((steps[u][n] for u in range(t, -1, -1) if steps[u][n] is not None), otherwise)


def judged(series, split, *, horizon, targets, differences):
    """Each prediction: the series, its origin, the steps ahead, and the target."""
    for name, (steps, bounds) in series.items():
        start, stop = bounds[split], bounds[split + 1]
        for t in range(len(steps)):
            if not (t + 1 >= start and t + horizon < stop and (split or t >= 0)):
                continue
            for ahead in range(1, horizon + 1):
                for n in range(targets):
                    is_known = steps[t + ahead][n] is not None
                    if is_known and not (differences and filled(steps, t, n, None) is None):
                        yield name, t, ahead, n


def fit(series, lags, n, mean):
    """By least squares on the training rows of all series."""
    X, y = [], []
    for steps, bounds in series.values():
        for t in range(lags, bounds[1]):
            if steps[t][n] is not None:
                X.append([*(filled(steps, t - k, n, mean[n]) for k in range(1, lags + 1)), 1.0])
                y.append(steps[t][n])
    if len(X) <= lags + 1:
        return [1.0] + [0.0] * lags
    return np.linalg.lstsq(np.array(X), np.array(y), rcond=None)[0]


def forecast(steps, t, ahead, n, weights, mean):
    lags = len(weights) - 1
    past = [filled(steps, max(t - k, 0), n, mean[n]) for k in range(lags)]  # the newest first
    for _ in range(ahead):
        past.insert(0, sum(w * value for w, value in zip(weights[:-1], past, strict=False)) + weights[-1])
    return past[0]


def slow_figures(series, split, names, *, horizon, differences, season, lags):
    n = len(names)
    train = [step for steps, bounds in series.values() for step in steps[: bounds[1]]]
    mean = [np.mean([step[k] for step in train if step[k] is not None]) for k in range(n)]
    ask = {"horizon": horizon, "targets": n, "differences": differences}
    tried = [lags] if lags else range(1, 1 + min(12, max(bounds[1] for _, bounds in series.values()) // 3))
    fits = {p: [fit(series, p, k, mean) for k in range(n)] for p in tried}

    def errors(split, guess):
        return [
            (guess(series[name][0], t, ahead, k) - series[name][0][t + ahead][k], k)
            for name, t, ahead, k in judged(series, split, **ask)
        ]

    def root(pairs):
        return math.sqrt(np.mean([error**2 for error, _ in pairs]))

    def autoregression(p):
        return lambda steps, t, ahead, k: forecast(steps, t, ahead, k, fits[p][k], mean)

    def seasonal(steps, t, ahead, k):
        back = t + ahead
        while back > t:
            back -= season
        return filled(steps, back if back >= 0 else t, k, mean[k])

    best_lags = min(tried, key=lambda p: root(errors(1, autoregression(p))))
    rules = {
        "persistence": errors(split, lambda steps, t, _, k: filled(steps, t, k, mean[k])),
        "seasonal": errors(split, seasonal),
        f"AR({best_lags})": errors(split, autoregression(best_lags)),
    }
    best = min(rules.values(), key=root)
    figures = {"rmse": root(best), "mae": np.mean([abs(error) for error, _ in best])}
    figures |= {f"rmse_{names[k]}": root([pair for pair in best if pair[1] == k]) for k in range(n) if n > 1}
    return figures | {f"rmse of {name}": root(own) for name, own in rules.items()}, len(best)


@pytest.mark.parametrize(
    ("targets", "horizon", "differences", "lags"),
    [(["y"], 1, False, None), (["y", "z"], 3, False, None), (["z", "y"], 2, True, 3), (["y"], 1, True, 40)],
    ids=str,
)
def test_each_rule_on_the_steps_of_the_model(tmp_path, targets, horizon, differences, lags, monkeypatch):
    monkeypatch.setattr("seqtrain.tasks.tables.baselines.TOGETHER", 40)
    rows, order = ragged_table(horizon), {"y": 2, "z": 3}
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["who", "t", "y", "z", "x"], *rows])
    settings = {"targets": targets, "horizon": horizon, "differences": differences, "lags": lags, "season": 4}
    task = {"name": "series", "path": str(tmp_path / "t.csv"), "id": "who", "time": "t", "missing": "forward"}
    cuts = {"valid_from": 30, "test_from": 45}
    made = build_task(config_from({"task": task | settings | cuts, "model": {"cell": "rnn"}}, "test"))
    own = [[row[0], row[1], *(row[order[name]] for name in targets), *[""] * (3 - len(targets))] for row in rows]
    series = series_of(own, (30, 45))
    for number, split in ((1, "valid"), (2, "test")):
        wanted, count = slow_figures(
            series, number, targets, horizon=horizon, differences=differences, season=4, lags=lags
        )
        found = made.baseline(split)
        assert {name: found[name] for name in wanted} == pytest.approx(wanted, rel=1e-6)
        assert found.keys() == {*wanted, "loss"}
        scored = sum(int((~batch.targets.isnan()).sum()) for batch in made.eval_batches(split, 2))
        assert scored == count > 20
    # each value of training once, and none of a later split
    scored = 0
    for step in range(made.steps_in(1, 3)):
        scored += int((~made.train_batch(step, 3).targets.isnan()).sum())
    ask = {"horizon": horizon, "targets": len(targets), "differences": differences}
    assert scored == len([*judged(series, 0, **ask)])
