"""Tuning: for each cell the point of a grid that does best on validation, with seeds that are not reported."""

import statistics
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from seqtrain.comparison.load_runs import FinishedRun, read_runs
from seqtrain.comparison.plan import Contender
from seqtrain.comparison.records import Point, Tuning, TuningPoint
from seqtrain.comparison.request import Setting


def choose(candidates: Sequence[Contender], grid: Sequence[Setting]) -> tuple[list[Contender], list[Tuning]]:
    """The best candidate of each cell at each value, and a record of how all did.

    The best has the most solved runs, then the fewest steps to solve within the budget, then the best mean of the best
    validation values. A run without such a value, one that diverged, counts as worse than any that has one.
    """
    chosen, records = [], []
    for (cell, at), group in groupby(candidates, key=lambda candidate: candidate[:2]):
        tried = [(each, read_runs([run.out for run in each.runs])) for each in group]
        best = max(tried, key=lambda pair: rank(pair[1]))[0]
        chosen.append(best)
        points = [
            TuningPoint(
                **dict[str, Any](each.point),
                valid=_mean_of_best(runs),
                solved=sum(run.is_solved for run in runs),
                runs=len(runs),
            )
            for each, runs in tried
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
