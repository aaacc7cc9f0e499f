"""Tuning: for each cell the candidate that does best on validation, with seeds that are not reported."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from seqtrain.comparison.load_runs import FinishedRun, Group, read_runs
from seqtrain.comparison.plan import Contender
from seqtrain.comparison.records import Point, Tuning, TuningPoint
from seqtrain.comparison.request import Setting, TrainingRequest
from seqtrain.comparison.significance import SHARE, STEPS, Outcome, missing_value, outcome_of
from seqtrain.comparison.tuning_budget import best_so_far, expected_best
from seqtrain.runs.records import Metric

OUTER = 0.1
"""The part of a range, on a logarithmic scale, at each of its ends: what is best there may be better beyond the end."""


class Candidate(NamedTuple):
    """A candidate whose runs are done.

    rank : how well they did; the larger, the better.
    outcome : what the cells are judged by on the test set, in such runs.
    metric : of the validation values.
    used : the mean of the steps to solve within the budget, or of their share of a budget in seconds.
    is_complete : whether every run has a validation value.
    """

    contender: Contender
    record: TuningPoint
    rank: tuple[float, ...]
    outcome: Outcome
    metric: Metric
    used: float
    is_complete: bool


def choose(candidates: Sequence[Contender], request: TrainingRequest) -> tuple[list[Contender], list[Tuning]]:
    """The best candidate of each cell at each value, and a record of how all did.

    The best has the most solved runs, then the fewest steps to solve within the budget, then the best mean of the best
    validation values. A run without such a value, one that diverged, counts as worse than any that has one. Of equal
    candidates, the first is chosen.
    """
    done = [_read(each, timed=request.is_timed) for each in candidates]
    chosen, records = [], []
    for cell, at in dict.fromkeys((each.cell, each.at) for each in candidates):
        own = [each for each in done if (each.contender.cell, each.contender.at) == (cell, at)]
        best = max(own, key=lambda each: each.rank).contender
        chosen.append(best)
        peers = [each for each in done if each.contender.at == at]
        records.append(
            Tuning(
                cell=cell,
                at=at,
                chosen=dict(best.point),
                at_the_edge=at_the_edge(best.point, request.tuned),
                points=[each.record for each in own],
                **_budget(own, peers, request),
            )
        )
    return chosen, records


def _read(contender: Contender, *, timed: bool) -> Candidate:
    """A candidate with what its runs say, but without these: there may be many, with many evaluations each."""
    runs = read_runs([run.out for run in contender.runs])
    group = Group(contender.cell, contender.at, runs)
    outcome = outcome_of([group], timed=timed)
    steps: dict[str, Any] = {"steps_to_solve": group.steps_to_solve} if group.is_solvable else {}
    record = TuningPoint(
        **dict[str, Any](contender.point), valid=_mean_of_best(runs), solved=group.solved, runs=len(runs), **steps
    )
    used = [run.steps_within_budget / (run.summary.planned_steps if outcome == SHARE else 1) for run in runs]
    is_complete = all(run.summary.best.value is not None for run in runs)
    metric = runs[0].summary.metric
    return Candidate(contender, record, rank(runs), outcome, metric, statistics.fmean(used), is_complete)


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


def at_the_edge(point: Mapping[str, Point], settings: Sequence[Setting]) -> list[str]:
    """Settings of which a better value may lie beyond those tried.

    The chosen value is the smallest or largest number of a list, or lies in the outer part of a range.
    """
    return [setting.key for setting in settings if _is_at_the_edge(point[setting.key], setting)]


def _is_at_the_edge(value: Point, setting: Setting) -> bool:
    numbers = [each for each in setting.values if isinstance(each, int | float) and not isinstance(each, bool)]
    if len(numbers) < len(setting.values):
        return False
    if setting.drawn == "listed":
        return value in (min(numbers), max(numbers))
    low, high = map(math.log, numbers)
    assert isinstance(value, int | float)
    return not OUTER < (math.log(value) - low) / (high - low) < 1 - OUTER


def _budget(own: Sequence[Candidate], peers: Sequence[Candidate], request: TrainingRequest) -> dict[str, Any]:
    """What the record of a search has beside that of a grid: how good the best of n candidates is.

    A grid has none: its points are no sample, so nothing can be said of a part of them.

    Parameters
    ----------
    peers : the candidates of all cells at the same value.
    """
    if request.tune is None:
        return {}
    outcome = _outcome_of_all(peers)
    known = [figure for each in peers if (figure := _figure(each, outcome)) is not None]
    missing = missing_value(known, outcome)
    figures = [missing if (figure := _figure(each, outcome)) is None else figure for each in own]
    ranked = [(each.rank, figure) for each, figure in zip(own, figures, strict=True)]
    best_of = expected_best if request.tune.method == "random" else best_so_far
    return {
        "method": request.tune.method,
        "judged_by": outcome.name,
        "lower_is_better": outcome.lower_is_better,
        "best_of": best_of(ranked) if known else [None] * len(own),
    }


def _outcome_of_all(candidates: Sequence[Candidate]) -> Outcome:
    """What all candidates can be judged by: steps to solve if these decide and any run was solved, else the metric."""
    first = candidates[0]
    if all(each.outcome in (STEPS, SHARE) for each in candidates) and any(each.record.solved for each in candidates):
        return first.outcome
    return Outcome(f"validation {first.metric.name}", not first.metric.higher_is_better)


def _figure(candidate: Candidate, outcome: Outcome) -> float | None:
    """How good a candidate is in terms of the outcome; None if a run of it has no value, as it diverged."""
    if outcome in (STEPS, SHARE):
        return candidate.used
    return candidate.record.valid if candidate.is_complete else None
