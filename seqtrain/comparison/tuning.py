"""Tuning: for each cell the point of a grid that does best on validation, with seeds that are not reported."""

import statistics
from collections.abc import Mapping, Sequence
from itertools import groupby, product
from typing import Any

from seqtrain.comparison.load_runs import FinishedRun, read_runs
from seqtrain.comparison.options import FIRST_TUNING_SEED
from seqtrain.comparison.plan import Contender, PlannedRow, changed, check_directories, plan_runs, runs_of
from seqtrain.comparison.records import TUNING, Point, Tuning, TuningPoint, label
from seqtrain.comparison.request import Setting, TrainingRequest


def plan_tuning(request: TrainingRequest, contenders: Sequence[Contender]) -> list[PlannedRow]:
    """Every contender with every point of the grid, in directories that are free.

    Raises
    ------
    ConfigError : a point of the grid does not fit the config.
    CheckpointError : a directory holds another run.
    """
    first = request.config.seed + FIRST_TUNING_SEED
    seeds = range(first, first + request.tuning_seeds)
    rows = []
    for contender in contenders:
        for values in product(*(setting.values for setting in request.grid)):
            pairs = list(zip(request.grid, values, strict=True))
            config = changed(contender.config, *(setting.override(value) for setting, value in pairs))
            tag = "-".join(setting.short(value) for setting, value in pairs)
            tuned = contender._replace(config=config)
            runs = plan_runs(request, tuned, seeds, request.out / TUNING, tag)
            rows.append(PlannedRow(tuned, runs, {setting.key: value for setting, value in pairs}))
    check_directories(runs_of(rows))
    return rows


def choose(candidates: Sequence[PlannedRow], grid: Sequence[Setting]) -> tuple[list[Contender], list[Tuning]]:
    """The best candidate of each cell at each value, and a record of how all did.

    The best has the most solved runs, then the fewest steps to solve within the budget, then the best mean of the best
    validation values. A run without such a value, one that diverged, counts as worse than any that has one.
    """
    chosen, records = [], []
    for (cell, at), group in groupby(candidates, key=lambda row: row.contender[:2]):
        tried = [(row, read_runs([run.out for run in row.runs])) for row in group]
        best = max(tried, key=lambda pair: rank(pair[1]))[0]
        chosen.append(best.contender)
        points = [
            TuningPoint(
                **dict[str, Any](row.point),
                valid=_mean_of_best(runs),
                solved=sum(run.is_solved for run in runs),
                runs=len(runs),
            )
            for row, runs in tried
        ]
        edges = at_the_edge(best.point, grid)
        records.append(Tuning(cell=cell, at=at, chosen=dict(best.point), at_the_edge=edges, points=points))
    return chosen, records


def rank(runs: Sequence[FinishedRun]) -> tuple[float, ...]:
    """How well the runs of a candidate did on validation; the larger, the better."""
    solved = sum(run.is_solved for run in runs)
    steps = statistics.fmean(run.steps_within_budget for run in runs) if solved else 0.0
    known = sum(run.summary.best.value is not None for run in runs)
    mean = _mean_of_best(runs)
    quality = float("-inf") if mean is None else mean if runs[0].summary.metric.higher_is_better else -mean
    return solved, -steps, known, quality


def _mean_of_best(runs: Sequence[FinishedRun]) -> float | None:
    """The mean of the best validation values; None if no run has one."""
    values = [value for run in runs if (value := run.summary.best.value) is not None]
    return statistics.fmean(values) if values else None


def at_the_edge(point: Mapping[str, Point], grid: Sequence[Setting]) -> list[str]:
    """Settings whose chosen value is the smallest or largest number that was tried: a better one may lie beyond."""
    edges = []
    for key, values in grid:
        numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
        if len(numbers) == len(values) and point[key] in (min(numbers), max(numbers)):
            edges.append(key)
    return edges


def remarks_on(records: Sequence[Tuning]) -> list[str]:
    """What a user should do about choices at the edge of the grid."""
    return [
        f"{label(entry.cell, entry.at)}: the best {key} tried is {entry.chosen[key]}, at the edge of the grid; widen it"
        for entry in records
        for key in entry.at_the_edge
    ]
