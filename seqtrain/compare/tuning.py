"""Tuning: for each cell the point of a grid that does best on validation, with seeds that are not reported."""

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from seqtrain.compare.load_runs import FinishedRun, read_runs, steps_within_budget
from seqtrain.compare.plan import Contender, PlannedRun, Request, Setting, changed, grid_points, named, plan_runs

FIRST_SEED = 1_000_000
"""Seeds for tuning lie so far above the config's own that they are never among those reported."""

FOLDER = "tuning"
"""Where these runs go, inside the comparison's directory."""


class Candidate(NamedTuple):
    """A contender with one point of the grid, and the runs that try it."""

    contender: Contender
    point: dict[str, Any]
    runs: list[PlannedRun]


def plan_tuning(request: Request, contenders: Sequence[Contender]) -> list[Candidate]:
    """Every contender with every point of the grid.

    Raises
    ------
    ConfigError : a point of the grid does not fit the config.
    """
    first = request.config.seed + FIRST_SEED
    seeds = range(first, first + request.tuning_seeds)
    found = []
    for contender in contenders:
        for point in grid_points(request.grid):
            settings = [Setting(key, (value,)) for key, value in point.items()]
            config = changed(contender.config, *(setting.at(setting.values[0]) for setting in settings))
            tag = "-".join(setting.short(setting.values[0]) for setting in settings)
            tuned = contender._replace(config=config)
            found.append(Candidate(tuned, point, plan_runs(request, tuned, seeds, request.out / FOLDER, tag)))
    return found


def choose(candidates: Sequence[Candidate], grid: Sequence[Setting]) -> tuple[list[Contender], list[dict[str, Any]]]:
    """The best candidate of each cell at each value, and a record of how all did.

    The best is that with the most solved runs, then the fewest steps to solve within the budget, then the best mean of
    the best validation values. A run without such a value, one that diverged, counts as worse than any that has one.
    """
    chosen, record = [], []
    for cell, at in dict.fromkeys((candidate.contender.cell, candidate.contender.at) for candidate in candidates):
        tried = [one for one in candidates if (one.contender.cell, one.contender.at) == (cell, at)]
        scores = [_score(read_runs([run.out for run in one.runs])) for one in tried]
        best = max(range(len(tried)), key=lambda place: scores[place].rank)
        chosen.append(tried[best].contender)
        record.append(
            {
                "cell": cell,
                "at": at,
                "chosen": tried[best].point,
                "at_the_edge": _edges(tried[best].point, grid),
                "points": [
                    one.point | {"solved": score.solved, "runs": score.runs, "valid": score.valid}
                    for one, score in zip(tried, scores, strict=True)
                ],
            }
        )
    return chosen, record


class _Score(NamedTuple):
    rank: tuple[float, ...]
    solved: int
    runs: int
    valid: float | None


def _score(runs: Sequence[FinishedRun]) -> _Score:
    values = [run.summary["best"]["value"] for run in runs]
    known = [value for value in values if value is not None]
    solved = sum(run.summary["solved_at_step"] is not None for run in runs)
    steps = statistics.fmean(steps_within_budget(run) for run in runs) if solved else 0.0
    mean = statistics.fmean(known) if known else None
    higher = runs[0].summary["metric"]["higher_is_better"]
    quality = float("-inf") if mean is None else (mean if higher else -mean)
    return _Score((solved, -steps, len(known), quality), solved, len(runs), mean)


def _edges(point: dict[str, Any], grid: Sequence[Setting]) -> list[str]:
    """Settings whose chosen value is the smallest or largest number tried: the best may lie beyond."""
    found = []
    for key, values in grid:
        numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
        if len(numbers) == len(values) and point[key] in (min(numbers), max(numbers)):
            found.append(key)
    return found


def remarks_on(record: Sequence[dict[str, Any]]) -> list[str]:
    """What a person should do about choices at the edge of the grid."""
    return [
        f"{named(entry['cell'], entry['at'])}: the best {key} tried is "
        f"{entry['chosen'][key]}, at the edge of the grid; widen it"
        for entry in record
        for key in entry["at_the_edge"]
    ]


def runs_of(candidates: Sequence[Candidate]) -> list[PlannedRun]:
    """All their runs, and where they go."""
    return [run for candidate in candidates for run in candidate.runs]
