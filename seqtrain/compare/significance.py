"""What can be claimed: each cell against a reference, on the same seeds, in figures and in words."""

import math
import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from seqtrain.compare.load_runs import FinishedRun, Group, budget_of, is_solvable
from seqtrain.compare.statistics import effect_size, holm, least_p, mean_interval, pairs_needed, sign_flip_p
from seqtrain.system.progress import counted, figure


class Outcome(NamedTuple):
    """What the cells are judged by.

    name : for people.
    lower_is_better : its direction.
    """

    name: str
    lower_is_better: bool


STEPS = Outcome("steps to solve", True)
SHARE = Outcome("share of the time until solved", True)

SAME_SPEED = 0.05
"""Times to solve that differ by no more than this part of them count as equal: the steps that a budget in seconds buys
come from timings, and an error in those is the same for every seed.
"""


def outcome_of(groups: Sequence[Group], *, timed: bool = False) -> Outcome:
    """Steps to solve, where all runs stop when they have solved their task; else the metric.

    It follows from the configs, before there are results, and there is one, so that there is one test for each cell.

    Parameters
    ----------
    timed : whether a budget in seconds bought the steps; then it is the share of them, which is one of the time.
    """
    runs = [run for group in groups for run in group.runs]
    stops = all(run.config["train"].get("stop_when_solved") for run in runs)
    if stops and is_solvable(runs[0].summary["task"]):
        return SHARE if timed else STEPS
    metric = runs[0].summary["metric"]
    return Outcome(f"test {metric['name']}", not metric["higher_is_better"])


def judge(groups: Sequence[Group], reference: str, level: float, *, timed: bool = False) -> list[dict[str, Any] | None]:
    """Every group against the reference's of the same value, in order; None for the reference, or where it is missing.

    Holm's correction is over all these comparisons, so that all verdicts together are wrong by chance at most with
    probability `level`.
    """
    outcome = outcome_of(groups, timed=timed)
    found = [_difference(group, _reference(groups, reference, group.at), outcome, groups) for group in groups]
    tests = [one for one in found if one is not None]
    for one, p in zip(tests, holm([one["p"] for one in tests]), strict=True):
        one["p_corrected"], one["tests"], one["level"] = p, len(tests), level
        one["verdict"] = _verdict(one, level)
        one["sentence"] = _sentence(one)
    return found


def _reference(groups: Sequence[Group], reference: str, at: Any) -> Group | None:
    return next((group for group in groups if group.cell == reference and group.at == at), None)


def _difference(
    group: Group, reference: Group | None, outcome: Outcome, groups: Sequence[Group]
) -> dict[str, Any] | None:
    if reference is None or reference is group:
        return None
    own, other = (_values(one, outcome, groups) for one in (group, reference))
    pairs = [(own[seed], other[seed]) for seed in own if seed in other]
    close = SAME_SPEED if outcome == SHARE else 0.0
    differences = [0.0 if abs(a - b) <= close * max(a, b) else a - b for a, b in pairs]
    sign = -1 if outcome.lower_is_better else 1
    mean = mean_interval(differences)
    return {
        "cell": group.cell,
        "at": group.at,
        "reference": reference.cell,
        "outcome": outcome.name,
        "lower_is_better": outcome.lower_is_better,
        "pairs": len(pairs),
        "solved": [_solved(group), _solved(reference)],
        "diverged": [_diverged(group), _diverged(reference)],
        "difference": mean._asdict(),
        "better_in": sum(sign * difference > 0 for difference in differences),
        "worse_in": sum(sign * difference < 0 for difference in differences),
        "effect_size": effect_size(differences) if differences else None,
        "p": sign_flip_p(differences),
    }


def _values(group: Group, outcome: Outcome, groups: Sequence[Group]) -> dict[int, float]:
    """The outcome by seed, so that no run is left out.

    A run that was not solved within the steps that all were given counts as solved at the evaluation after them, which
    is the earliest that can be. One that diverged before its first evaluation has no metric and counts as beyond the
    worst of all, by as much as the worst is from the best.
    """
    peers = [run for one in groups if one.at == group.at for run in one.runs]
    if outcome == STEPS:
        horizon = min(budget_of(run) for run in peers)
        later = horizon + max(_evaluated_every(run) for run in peers)
        return {run.summary["seed"]: _solved_at(run, horizon) or later for run in group.runs}
    if outcome == SHARE:
        late = max(1 + _evaluated_every(run) / budget_of(run) for run in peers)
        shares = {run.summary["seed"]: (_solved_at(run) or 0) / budget_of(run) for run in group.runs}
        return {seed: share or late for seed, share in shares.items()}
    known = [value for run in peers if (value := _metric(run)) is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    beyond = (high - low) or abs(high) or 1.0
    missing = high + beyond if outcome.lower_is_better else low - beyond
    return {run.summary["seed"]: missing if (value := _metric(run)) is None else value for run in group.runs}


def _solved_at(run: FinishedRun, horizon: float = math.inf) -> int | None:
    """The step at which a run was solved; None if it was not by the horizon."""
    step: int | None = run.summary["solved_at_step"]
    return step if step is not None and step <= horizon else None


def _evaluated_every(run: FinishedRun) -> int:
    """Steps between two evaluations."""
    return int(run.config["train"].get("eval_every") or 1)


def _solved(group: Group) -> int:
    return sum(run.summary["solved_at_step"] is not None for run in group.runs)


def _diverged(group: Group) -> int:
    return sum(run.summary["status"] == "diverged" for run in group.runs)


def _metric(run: FinishedRun) -> float | None:
    test: dict[str, float | None] = run.summary["test"] or {}
    return test.get(run.summary["metric"]["name"])


def _verdict(found: dict[str, Any], level: float) -> str:
    """`better`, `worse` or `not distinguishable`.

    Or that no result could have been significant: `none solved`, where that was to decide; `too few seeds`; or
    `undecided` where too many pairs are equal, such as those of which neither run was solved.
    """
    if not any(found["solved"]) and found["outcome"] in (STEPS.name, SHARE.name):
        return "none solved"
    if found["p_corrected"] <= level:
        return "better" if (found["difference"]["mean"] < 0) == found["lower_is_better"] else "worse"
    if least_p(found["pairs"]) * found["tests"] > level:
        return "too few seeds"
    unequal = found["better_in"] + found["worse_in"]
    return "undecided" if least_p(unequal) * found["tests"] > level else "not distinguishable"


def _sentence(found: dict[str, Any]) -> str:
    """The verdict for people."""
    cell, reference, difference = found["cell"], found["reference"], found["difference"]
    where = "" if found["at"] is None else f" at {found['at']}"
    told = "difference unknown" if difference["mean"] is None else _interval(difference)
    equal = found["pairs"] - found["better_in"] - found["worse_in"]
    evidence = (
        f"{found['outcome']} {told}{_effect(found['effect_size'])}; of {found['pairs']} seeds better in "
        f"{found['better_in']}, worse in {found['worse_in']}, equal in {equal}; p = {found['p_corrected']:.2g}"
        f"{_corrected(found['tests'])}"
    )
    if found["verdict"] == "none solved":
        cure = "train longer, or judge by the metric with train.stop_when_solved=false"
        if all(found["diverged"]):
            cure = "runs of both diverged; try a lower optimizer.lr, or optimizer.clip_norm=1"
        return f"{cell} and {reference}{where}: no run of either was solved, so {found['outcome']} cannot tell; {cure}"
    match found["verdict"]:
        case "better" | "worse":
            return f"{cell} is {found['verdict']} than {reference}{where}: {evidence}"
        case "too few seeds":
            return f"{cell} and {reference}{where}: too few seeds to tell at {100 * found['level']:g} %; {evidence}"
        case "undecided":
            return f"{cell} and {reference}{where}: undecided, as too many pairs are equal; {evidence}"
    return f"{cell} is not distinguishable from {reference}{where}: {evidence}"


def _interval(difference: dict[str, float | None]) -> str:
    mean, low, high = difference["mean"], difference["low"], difference["high"]
    assert mean is not None
    told = f"{'+' if mean > 0 else ''}{figure(mean)}"
    return told if low is None else f"{told} (95 % interval {figure(low)} to {figure(high)})"


def _effect(size: float | None) -> str:
    """Cohen's d_z, in words."""
    return "" if size is None else f", effect size {size:+.2g}"


def _corrected(tests: int) -> str:
    return f" after Holm's correction over {tests}" if tests > 1 else ""


def shortage(pairs: int, tests: int, level: float, *, option: bool) -> str | None:
    """That so many pairs cannot reach a level in so many comparisons, and how many would; None if they can.

    Parameters
    ----------
    option : whether `--seeds` makes more of them.
    """
    if not tests or least_p(pairs) * tests <= level:
        return None
    needed = pairs_needed(level, tests)
    more = f"--seeds {needed} can" if option else f"{needed} of each can"
    return (
        f"{counted(pairs, 'seed')} cannot show a difference at {100 * level:g} % in {counted(tests, 'comparison')}, "
        f"whatever the results: {'no number of seeds can' if needed is None else more}"
    )


def verdicts_of(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The sentences of all rows."""
    return [row["versus"]["sentence"] for row in rows if row["versus"] is not None]


def longest_solved(groups: Sequence[Group]) -> dict[str, Any] | None:
    """By cell, the largest value of what is varied up to which at every value most of the runs were solved.

    None if the values are no numbers.
    """
    if not all(isinstance(group.at, int | float) and not isinstance(group.at, bool) for group in groups):
        return None
    found: dict[str, Any] = {}
    for cell in dict.fromkeys(group.cell for group in groups):
        found[cell] = None
        for group in sorted((group for group in groups if group.cell == cell), key=lambda group: group.at):
            shares = [run.summary["solved_at_step"] is not None for run in group.runs]
            if statistics.fmean(shares) <= 0.5:
                break
            found[cell] = group.at
    return found
