"""What can be claimed: each cell against a reference, on the same seeds, in figures and in words."""

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from seqtrain.compare.statistics import effect_size, holm, least_p, mean_interval, pairs_needed, sign_flip_p
from seqtrain.compare.summarise import FinishedRun, Group, budget_of, is_solvable, steps_within_budget
from seqtrain.progress import counted, figure


class Outcome(NamedTuple):
    """What the cells are judged by.

    name : for people.
    lower_is_better : its direction.
    """

    name: str
    lower_is_better: bool


STEPS = Outcome("steps to solve", True)
SHARE = Outcome("share of the budget until solved", True)


def outcome_of(groups: Sequence[Group]) -> Outcome:
    """Steps to solve, where all runs stop when they have solved their task; else the metric.

    It follows from the configs, before there are results, and there is one, so that there is one test for each cell. An
    unsolved run counts as all its steps (the mean within a budget, "restricted mean"), so that none is left out. Where
    the cells were given different numbers of steps, by a budget in sequences or seconds, it is the share of them.
    """
    runs = [run for group in groups for run in group.runs]
    stops = all(run.config["train"].get("stop_when_solved") for run in runs)
    if not (stops and is_solvable(runs[0].summary["task"])):
        metric = runs[0].summary["metric"]
        return Outcome(f"test {metric['name']}", not metric["higher_is_better"])
    budgets: dict[Any, set[int]] = {}
    for group in groups:
        budgets.setdefault(group.at, set()).update(budget_of(run) for run in group.runs)
    return STEPS if all(len(given) == 1 for given in budgets.values()) else SHARE


def judge(groups: Sequence[Group], reference: str, level: float) -> list[dict[str, Any] | None]:
    """Every group against the reference's of the same value, in order; None for the reference, or where it is missing.

    Holm's correction is over all these comparisons, so that all verdicts together are wrong by chance at most with
    probability `level`.
    """
    outcome = outcome_of(groups)
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
    differences = [a - b for a, b in pairs]
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
        "difference": mean._asdict(),
        "better_in": sum(sign * difference > 0 for difference in differences),
        "worse_in": sum(sign * difference < 0 for difference in differences),
        "effect_size": effect_size(differences) if differences else None,
        "p": sign_flip_p(differences),
    }


def _values(group: Group, outcome: Outcome, groups: Sequence[Group]) -> dict[int, float]:
    """The outcome by seed; a run that diverged before its first evaluation counts as the worst value of all."""
    if outcome == STEPS:
        return {run.summary["seed"]: steps_within_budget(run) for run in group.runs}
    if outcome == SHARE:
        return {run.summary["seed"]: steps_within_budget(run) / budget_of(run) for run in group.runs}
    peers = [run for one in groups if one.at == group.at for run in one.runs]
    known = [value for run in peers if (value := _metric(run)) is not None]
    worst = (max if outcome.lower_is_better else min)(known, default=0.0)
    return {run.summary["seed"]: worst if (value := _metric(run)) is None else value for run in group.runs}


def _solved(group: Group) -> int:
    return sum(run.summary["solved_at_step"] is not None for run in group.runs)


def _metric(run: FinishedRun) -> float | None:
    test: dict[str, float | None] = run.summary["test"] or {}
    return test.get(run.summary["metric"]["name"])


def _verdict(found: dict[str, Any], level: float) -> str:
    """`better`, `worse` or `not distinguishable`.

    Or that no result could have been significant: `too few seeds`, or `undecided` where too many pairs are equal, such
    as those of which neither run was solved.
    """
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
        f"{found['outcome']} {told}; of {found['pairs']} seeds better in {found['better_in']}, worse in "
        f"{found['worse_in']}, equal in {equal}; p = {found['p_corrected']:.2g}{_corrected(found['tests'])}"
    )
    if not any(found["solved"]) and found["outcome"] in (STEPS.name, SHARE.name):
        return (
            f"{cell} and {reference}{where}: no run of either was solved, so the steps to solve cannot tell; train "
            "longer, or judge by the metric with train.stop_when_solved=false"
        )
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
