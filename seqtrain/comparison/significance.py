"""What can be claimed: each cell against a reference, on the same seeds, in figures and in words."""

import math
from collections.abc import Sequence
from itertools import takewhile
from typing import NamedTuple

from seqtrain.comparison.defaults import ADVISED_SEEDS
from seqtrain.comparison.load_runs import FinishedRun, Group
from seqtrain.comparison.records import Point, Question, Verdict, VerdictName
from seqtrain.comparison.statistics import effect_size, holm, least_p, mean_interval, pairs_needed, sign_flip_p
from seqtrain.system.progress import counted, figure


class Outcome(NamedTuple):
    """What the cells are judged by.

    name : for people.
    on_logarithms : whether the test compares logarithms, and so the ratio of two values instead of their difference.
    """

    name: str
    lower_is_better: bool
    on_logarithms: bool = False


STEPS = Outcome("steps to solve", lower_is_better=True, on_logarithms=True)
SHARE = Outcome("share of the time until solved", lower_is_better=True, on_logarithms=True)
"""Times spread in proportion to their size: on logarithms the test finds more, and claims no more where there is
nothing (`tests/long/power.py`).
"""

SAME_SPEED = 0.05
"""Times to solve that differ by at most this part count as equal: the steps of a budget in seconds come from timings,
and an error in those is the same for every seed.
"""


def outcome_of(groups: Sequence[Group], *, timed: bool = False) -> Outcome:
    """Steps to solve if all runs stop when they have solved their task; else the metric.

    The outcome follows from the configs, before there are results. There is one, so that each cell has one test.

    Parameters
    ----------
    timed : whether a budget in seconds decided the steps; then the outcome is the used share of the steps, and so of
        the time.
    """
    stops = all(run.config.train.stop_when_solved for group in groups for run in group.runs)
    if stops and groups[0].is_solvable:
        return SHARE if timed else STEPS
    metric = groups[0].summary.metric
    return Outcome(f"test {metric.name}", not metric.higher_is_better)


def judge(groups: Sequence[Group], question: Question) -> list[Verdict | None]:
    """Every group against its reference, in order; None for the reference itself, or if that is missing.

    The reference is that of the same value, or that of the first value if the values of one cell are compared. Holm's
    correction is over all these comparisons: the probability that any verdict is wrong by chance is at most the level.
    """
    outcome = outcome_of(groups, timed=question.timed)
    tests = [
        (group, reference, peers)
        for peers in question.compared_together(groups)
        if (reference := question.reference_of(peers)) is not None
        for group in peers
        if group is not reference
    ]
    pairs = [_pairs(group, reference, outcome, peers) for group, reference, peers in tests]
    corrected = holm([sign_flip_p(_tested(values, outcome)) for values in pairs])
    verdicts = {
        (group.cell, group.at): _verdict(group, reference, outcome, values, p, len(tests), question.level)
        for (group, reference, _), values, p in zip(tests, pairs, corrected, strict=True)
    }
    return [verdicts.get((group.cell, group.at)) for group in groups]


def _pairs(group: Group, reference: Group, outcome: Outcome, peers: Sequence[Group]) -> list[tuple[float, float]]:
    """The values of the runs with the same seed; two that are too close to tell apart are equal."""
    own, other = (_values(row, outcome, peers) for row in (group, reference))
    close = SAME_SPEED if outcome == SHARE else 0.0
    pairs = [(own[seed], other[seed]) for seed in own if seed in other]
    return [(a, a if abs(a - b) <= close * max(a, b) else b) for a, b in pairs]


def _tested(pairs: Sequence[tuple[float, float]], outcome: Outcome) -> list[float]:
    """The differences that the test takes."""
    return [math.log(a) - math.log(b) if outcome.on_logarithms else a - b for a, b in pairs]


def _values(group: Group, outcome: Outcome, peers: Sequence[Group]) -> dict[int, float]:
    """The outcome of every run by seed.

    A run that was not solved within the steps that all were given counts as solved at the evaluation after them. A run
    without a metric, as it diverged, counts as worse than the worst of all by the distance of the worst from the best.

    Parameters
    ----------
    peers : all rows that are compared with one another.
    """
    runs = [run for peer in peers for run in peer.runs]
    if outcome in (STEPS, SHARE):

        def used(run: FinishedRun, steps: int | None) -> float:
            if steps is None:
                return math.inf
            # imported weights may solve a task before the first step, and zero has no logarithm
            return max(steps, 1) / (run.summary.planned_steps if outcome == SHARE else 1)

        horizon = min(used(run, run.summary.planned_steps) for run in runs)
        missing = horizon + max(used(run, run.config.train.eval_every) for run in runs)
        solved = {run.summary.seed: used(run, run.summary.solved_at_step) for run in group.runs}
        return {seed: steps if steps <= horizon else missing for seed, steps in solved.items()}
    missing = missing_value([value for run in runs if (value := run.test_metric) is not None], outcome)
    return {run.summary.seed: missing if (value := run.test_metric) is None else value for run in group.runs}


def missing_value(known: Sequence[float], outcome: Outcome) -> float:
    """What counts where there is no metric: beyond the worst of all, by the distance of the worst from the best."""
    low, high = min(known, default=0.0), max(known, default=0.0)
    beyond = (high - low) or abs(high) or 1.0
    return high + beyond if outcome.lower_is_better else low - beyond


def _verdict(
    group: Group,
    reference: Group,
    outcome: Outcome,
    pairs: Sequence[tuple[float, float]],
    p: float,
    tests: int,
    level: float,
) -> Verdict:
    """The record of a comparison; `p` is corrected."""
    sign = -1 if outcome.lower_is_better else 1
    differences = _tested(pairs, outcome)
    tested = mean_interval(differences)
    verdict = Verdict(
        cell=group.cell,
        at=group.at,
        reference=reference.cell,
        reference_at=reference.at,
        outcome=outcome.name,
        lower_is_better=outcome.lower_is_better,
        pairs=len(differences),
        solved=[group.solved, reference.solved],
        diverged=[group.diverged, reference.diverged],
        difference=mean_interval([a - b for a, b in pairs]),
        ratio=tested.exponential() if outcome.on_logarithms else None,
        better_in=sum(sign * difference > 0 for difference in differences),
        worse_in=sum(sign * difference < 0 for difference in differences),
        effect_size=effect_size(differences) if differences else None,
        p=sign_flip_p(differences),
        p_corrected=p,
        tests=tests,
        level=level,
        verdict="undecided",
        sentence="",
    )
    name = _name(verdict, is_lower=(tested.mean or 0) < 0)
    return verdict.model_copy(update={"verdict": name, "sentence": _sentence(verdict, name)})


def _name(verdict: Verdict, *, is_lower: bool) -> VerdictName:
    """`better`, `worse` or `not distinguishable`; or, where no result could have been significant, why.

    Parameters
    ----------
    is_lower : whether the mean of what was tested is below that of the reference.
    """
    if not any(verdict.solved) and verdict.outcome in (STEPS.name, SHARE.name):
        return "none solved"
    if verdict.p_corrected <= verdict.level:
        return "better" if is_lower == verdict.lower_is_better else "worse"
    if least_p(verdict.pairs) * verdict.tests > verdict.level:
        return "too few seeds"
    unequal = verdict.better_in + verdict.worse_in
    return "undecided" if least_p(unequal) * verdict.tests > verdict.level else "not distinguishable"


def _sentence(verdict: Verdict, name: VerdictName) -> str:
    """The verdict for people."""
    cell, reference = verdict.row_label, verdict.reference_label
    match name:
        case "none solved":
            cure = "train longer, or judge by the metric with train.stop_when_solved=false"
            if all(verdict.diverged):
                cure = "runs of both diverged; try a lower optimizer.lr, or optimizer.clip_norm=1"
            return f"{_none_solved(verdict)}; {cure}"
        case "better" | "worse":
            begin = f"{cell} is {name} than {reference}:"
        case "too few seeds":
            enough = _enough(verdict.level, verdict.tests)
            begin = f"{cell} and {reference}: too few seeds to tell at {100 * verdict.level:g} %{enough};"
        case "undecided":
            begin = f"{cell} and {reference}: undecided, as too many pairs are equal;"
        case _:
            begin = f"{cell} is not distinguishable from {reference}:"
    return f"{begin} {_evidence(verdict)}"


def fact_of(verdict: Verdict) -> str:
    """The verdict for the readers of a paper: without what the user can do."""
    return _none_solved(verdict) if verdict.verdict == "none solved" else verdict.sentence


def _none_solved(verdict: Verdict) -> str:
    both = f"{verdict.row_label} and {verdict.reference_label}"
    return f"{both}: no run of either was solved, so {verdict.outcome} cannot tell"


def _enough(level: float, tests: int) -> str:
    """How many seeds are enough for a claim, in brackets; empty if no number is."""
    needed = pairs_needed(level, tests)
    advised = f", {ADVISED_SEEDS} are advised" if needed is not None and needed < ADVISED_SEEDS else ""
    return "" if needed is None else f" ({needed} are the fewest{advised})"


def _evidence(verdict: Verdict) -> str:
    """Difference or ratio, effect size, pairs and p, in words that say which cell is meant."""
    cell, reference = verdict.row_label, verdict.reference_label
    estimate = verdict.ratio or verdict.difference
    if estimate.mean is None:
        change = f"the difference in {verdict.outcome} is unknown"
    elif verdict.ratio is not None:
        change = f"{cell} has {figure(estimate.mean)} times the {verdict.outcome} of {reference}"
    else:
        sign = "+" if estimate.mean > 0 else ""
        change = f"{verdict.outcome} of {cell} minus that of {reference} is {sign}{figure(estimate.mean)}"
    if estimate.low is not None:
        change += f" (95 % interval {figure(estimate.low)} to {figure(estimate.high)})"
    effect = "" if verdict.effect_size is None else f", effect size {verdict.effect_size:+.2g}"
    equal = verdict.pairs - verdict.better_in - verdict.worse_in
    corrected = f" after Holm's correction over {verdict.tests}" if verdict.tests > 1 else ""
    return (
        f"{change}{effect}; {cell} is better in {verdict.better_in} of {counted(verdict.pairs, 'seed')}, worse in "
        f"{verdict.worse_in}, equal in {equal}; p = {verdict.p_corrected:.2g}{corrected}"
    )


def shortage(pairs: int, tests: int, level: float, *, option: bool) -> str | None:
    """That so few pairs cannot reach a level in so many comparisons, and how many can; None if they can.

    Parameters
    ----------
    option : whether `--seeds` makes more of them.
    """
    if not tests or least_p(pairs) * tests <= level:
        return None
    needed = pairs_needed(level, tests)
    more = f"--seeds {needed} can" if option else f"{needed} of each can"
    if needed is not None and needed < ADVISED_SEEDS:
        more += f" if the difference is large, and {ADVISED_SEEDS} are advised"
    return (
        f"{counted(pairs, 'seed')} cannot show a difference at {100 * level:g} % in {counted(tests, 'comparison')}, "
        f"whatever the results: {'no number of seeds can' if needed is None else more}"
    )


def longest_solved(groups: Sequence[Group]) -> dict[str, Point] | None:
    """By cell, the largest value of the varied setting up to which at every value most of the runs were solved.

    None if the values are not numbers.
    """
    if not all(isinstance(group.at, int | float) and not isinstance(group.at, bool) for group in groups):
        return None
    longest: dict[str, Point] = {}
    for cell in dict.fromkeys(group.cell for group in groups):
        own = sorted((group for group in groups if group.cell == cell), key=lambda group: float(group.at or 0))
        solved = takewhile(lambda group: 2 * group.solved > len(group.runs), own)
        longest[cell] = next((group.at for group in reversed([*solved])), None)
    return longest
