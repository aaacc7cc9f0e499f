"""Tuning: for each cell the point of a grid that does best on validation, with seeds that are not reported."""

import statistics
from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

from seqtrain.comparison.load_runs import FinishedRun, read_runs
from seqtrain.comparison.options import FIRST_TUNING_SEED
from seqtrain.comparison.plan import Contender, PlannedRun, changed, plan_runs
from seqtrain.comparison.records import TUNING, Point, Tuning, TuningPoint, label
from seqtrain.comparison.request import Setting, TrainingRequest


class Candidate(NamedTuple):
    """A contender with one point of the grid, and the runs that try it."""

    contender: Contender
    point: dict[str, Point]
    runs: list[PlannedRun]


def plan_tuning(request: TrainingRequest, contenders: Sequence[Contender]) -> list[Candidate]:
    """Every contender with every point of the grid.

    Raises
    ------
    ConfigError : a point of the grid does not fit the config.
    """
    first = request.config.seed + FIRST_TUNING_SEED
    seeds = range(first, first + request.tuning_seeds)
    candidates = []
    for contender in contenders:
        for values in product(*(setting.values for setting in request.grid)):
            pairs = list(zip(request.grid, values, strict=True))
            config = changed(contender.config, *(setting.override(value) for setting, value in pairs))
            tag = "-".join(setting.short(value) for setting, value in pairs)
            tuned = contender._replace(config=config)
            runs = plan_runs(request, tuned, seeds, request.out / TUNING, tag)
            candidates.append(Candidate(tuned, {setting.key: value for setting, value in pairs}, runs))
    return candidates


def choose(candidates: Sequence[Candidate], grid: Sequence[Setting]) -> tuple[list[Contender], list[Tuning]]:
    """The best candidate of each cell at each value, and a record of how all did.

    The best has the most solved runs, then the fewest steps to solve within the budget, then the best mean of the best
    validation values. A run without such a value, one that diverged, counts as worse than any that has one.
    """
    chosen, records = [], []
    for cell, at in dict.fromkeys((candidate.contender.cell, candidate.contender.at) for candidate in candidates):
        tried = [tried for tried in candidates if (tried.contender.cell, tried.contender.at) == (cell, at)]
        runs = [read_runs([run.out for run in candidate.runs]) for candidate in tried]
        best = tried[max(range(len(tried)), key=lambda place: rank(runs[place]))]
        chosen.append(best.contender)
        points = [
            TuningPoint(
                **dict[str, Any](candidate.point),
                valid=_mean_of_best(members),
                solved=sum(run.is_solved for run in members),
                runs=len(members),
            )
            for candidate, members in zip(tried, runs, strict=True)
        ]
        edges = at_the_edge(best.point, grid)
        records.append(Tuning(cell=cell, at=at, chosen=best.point, at_the_edge=edges, points=points))
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


def at_the_edge(point: dict[str, Point], grid: Sequence[Setting]) -> list[str]:
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


def runs_of(candidates: Sequence[Candidate]) -> list[PlannedRun]:
    """All their runs."""
    return [run for candidate in candidates for run in candidate.runs]
