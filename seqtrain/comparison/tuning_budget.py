"""How good the best of n candidates is, and which cell is best at which number of candidates."""

import math
from collections.abc import Sequence
from itertools import groupby

from seqtrain.comparison.records import Tuning, TuningPoint, label
from seqtrain.comparison.significance import SHARE, STEPS
from seqtrain.system.words import counted, figure

Ranked = tuple[tuple[float, ...], float]
"""How well a candidate did, the larger the better, which decides what is chosen; and its figure."""

SHOWN = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500)
"""Numbers of candidates in a table of more than `ALL_SHOWN`; the last is the number of all."""

ALL_SHOWN = 10
"""The largest number of candidates of which a table has a column for every n."""

AT_LEAST = ">= "
"""Stands before a figure that counts runs that were not solved, as such a run would need at least its whole budget."""

COUNTED = "a figure with >= counts runs that were not solved, each with its whole budget"

SAME = 1e-9
"""Figures that differ by at most this part are equal: they are sums in another order."""


def expected_best(candidates: Sequence[Ranked]) -> list[float]:
    """The expected figure of the best of n random candidates, for n from 1 to N, the number of all.

    The best of n that are drawn from the N without replacement is number i in their order, from the worst, with the
    probability C(i-1, n-1) / C(N, n). This estimate is unbiased (Tang et al. 2020). That of Dodge et al. (2019) draws
    with replacement, (i/N)^n - ((i-1)/N)^n, and is too pessimistic for n near N. With n = N it is the figure of the
    candidate that is chosen.
    """
    figures = [each[1] for each in sorted(candidates, key=lambda each: each[0])]
    total, best, expected = len(figures), figures[-1], []
    for count in range(1, total + 1):
        weight, terms = count / total, [best]  # and differences from it: equal figures have exactly their mean
        for place in range(total, count - 1, -1):
            terms.append(weight * (figures[place - 1] - best))
            weight *= (place - count) / max(place - 1, 1)
        expected.append(math.fsum(terms))
    return expected


def best_so_far(candidates: Sequence[Ranked]) -> list[float]:
    """The figure of the best of the first n candidates, for n from 1.

    Of candidates that depend on those before, there is no expected figure.
    """
    best, figures = candidates[0], []
    for each in candidates:
        best = each if each[0] > best[0] else best
        figures.append(best[1])
    return figures


def searched(entries: Sequence[Tuning]) -> list[Tuning]:
    """The entries of a search that have figures."""
    return [entry for entry in entries if entry.method is not None and None not in entry.best_of]


def by_figure(entries: Sequence[Tuning]) -> list[list[Tuning]]:
    """The entries of a search in a list for each figure: if a setting is varied, that may be another at each value."""
    known = searched(entries)
    return [[entry for entry in known if entry.judged_by == name] for name in dict.fromkeys(e.judged_by for e in known)]


def what_is_shown(entry: Tuning) -> str:
    """The figure of the best of n, for the title of a table or the axis of a picture."""
    better = "lower" if entry.lower_is_better else "higher"
    if entry.method == "random":
        return f"expected {entry.judged_by} of the best of n random candidates, {better} is better"
    return f"{entry.judged_by} of the best of the first n candidates, {better} is better"


def tried(entry: Tuning, *, solvable: bool) -> str:
    """The candidates of a cell and how each did, for a table."""
    points = [
        f"{', '.join(str(point.settings[key]) for key in entry.chosen)}: {figure(point.valid)}"
        f"{f' ({_solved(point)})' if solvable else ''}"
        for point in entry.listed
    ]
    return "; ".join(points) or f"{counted(len(entry.points), 'candidate')}, in results.json"


def _solved(point: TuningPoint) -> str:
    """How many runs of a candidate were solved, and the mean of their steps if any was."""
    solved = f"{point.solved} of {point.runs} solved"
    if not point.solved or point.steps_to_solve is None:
        return solved
    bound = AT_LEAST if point.solved < point.runs else ""
    return f"{solved}, {bound}{figure(point.steps_to_solve.mean_within_budget)} steps"


def what_is_tried(metric: str, *, solvable: bool) -> str:
    """What `tried` has of each candidate, for the head of a table."""
    return f"tried: validation {metric}{' (solved runs, mean steps to solve)' if solvable else ''}"


def how_chosen(metric: str, *, solvable: bool) -> str:
    """The rule by which `choose` takes a candidate, for readers of a table."""
    solved = "most solved runs, then the fewest steps to solve, then the " if solvable else ""
    return f"Chosen is the candidate with the {solved}best mean validation {metric}."


def how_tuned(entries: Sequence[Tuning]) -> str:
    """How the cells were tuned, and what the figures of the best of n mean."""
    first = entries[0]
    kept = "on validation, with seeds that are not among those reported; the best was kept."
    if first.method is None:
        return f"Each cell tried every point of the grid {kept}"
    worst = "A candidate without a validation value, as a run of it diverged, counts as worse than all others."
    if first.method == "random":
        return (
            f"Each cell tried the same {counted(len(first.points), 'random candidate')} {kept} What the best of n of "
            "them is expected to reach (Dodge et al. 2019) is estimated without bias (Tang et al. 2020), least surely "
            f"for n near the number of all. {worst} It describes the search; no test stands behind it."
        )
    return (
        f"Each cell tried {counted(len(first.points), 'candidate')} that Optuna proposed after those before, the first "
        f"batch at random, {kept} The figures are those of the best so far, as dependent candidates have no expected "
        f"best. {worst} They describe the search; no test stands behind them."
    )


def budgets_shown(total: int) -> list[int]:
    """The numbers of candidates in a table."""
    if total <= ALL_SHOWN:
        return [*range(1, total + 1)]
    return [*(count for count in SHOWN if count < total), total]


def counts_unsolved(entry: Tuning, count: int) -> bool:
    """Whether runs that were not solved count in the figure of the best of n, each with its whole budget."""
    if entry.judged_by not in (STEPS.name, SHARE.name):
        return False
    unsolved = [point.solved < point.runs for point in entry.points]
    if entry.method == "random":  # those are behind all others, and the best of n has n - 1 candidates behind it
        return count <= sum(unsolved)
    return all(unsolved[:count])


def unsolved_budgets(entries: Sequence[Tuning]) -> set[float]:
    """The budgets with which runs that were not solved count in the figures; empty if there are no such runs."""
    if not any(counts_unsolved(entry, 1) for entry in entries):
        return set()
    if entries[0].judged_by == SHARE.name:
        return {1.0}
    points = [point for entry in entries for point in entry.points if point.solved < point.runs]
    return {float(point.steps_to_solve.budget) for point in points if point.steps_to_solve is not None}


def best_figure(entry: Tuning, count: int) -> str:
    """The figure of the best of n candidates; with a sign before it if runs that were not solved count in it."""
    return f"{AT_LEAST if counts_unsolved(entry, count) else ''}{figure(entry.best_of[count - 1])}"


def budget_notes(entries: Sequence[Tuning]) -> list[str]:
    """What the signs and columns of the table of budgets mean, where it needs that."""
    shown, total = budgets_shown(len(entries[0].best_of)), len(entries[0].best_of)
    is_bound = any(counts_unsolved(entry, count) for entry in entries for count in shown)
    return [
        *([f"{COUNTED[0].upper()}{COUNTED[1:]}."] if is_bound else []),
        *(["The numbers n are a selection; results.json has all."] if len(shown) < total else []),
    ]


def budget_sentences(entries: Sequence[Tuning]) -> list[str]:
    """Which cell is best at which number of candidates; a sentence for each value of the varied setting."""
    sentences = []
    for at in dict.fromkeys(entry.at for entry in entries):
        own = [entry for entry in searched(entries) if entry.at == at]
        if len(own) > 1:
            sentences.append(_sentence(own))
    return [f"{each}; {COUNTED}" if AT_LEAST in each else each for each in sentences]


def _sentence(entries: Sequence[Tuning]) -> str:
    first, total = entries[0], len(entries[0].best_of)
    is_random = first.method == "random"
    figures = f"{'lowest' if first.lower_is_better else 'highest'} {'expected ' * is_random}{first.judged_by}"
    kind, when = ("random candidate", "with") if is_random else ("candidate", "after")
    (_, cells, value), *later = _spans(entries)
    end = _lead(entries, total)[1]
    start = f"tuning budget: {' and '.join(cells)} {'has' if len(cells) == 1 else 'have'} the {figures} {when}"
    if total == 1:
        return f"{start} 1 {kind} ({value})"
    if not later:
        return f"{start} any number from 1 to {counted(total, kind)} (n = 1: {value}, n = {total}: {end})"
    parts = [f"{' and '.join(names)} from {count} on ({value})" for count, names, value in later]
    last = f", which is {end} {when} all {total}" if later[-1][0] < total else f", of {total}"
    return f"{start} 1 {kind} ({value}), {', '.join(parts)}{last}"


def _spans(entries: Sequence[Tuning]) -> list[tuple[int, list[str], str]]:
    """Where another cell becomes best: the number of candidates, the cell, and its figure there."""
    leads = [(count, *_lead(entries, count)) for count in range(1, len(entries[0].best_of) + 1)]
    return [next(span) for _, span in groupby(leads, key=lambda lead: lead[1])]


def _lead(entries: Sequence[Tuning], count: int) -> tuple[list[str], str]:
    """The cell that is best with a number of candidates, or several that are equal, and the figure."""
    figures = [entry.best_of[count - 1] or 0.0 for entry in entries]
    best = (min if entries[0].lower_is_better else max)(figures)
    leading = [each for each, value in zip(entries, figures, strict=True) if math.isclose(value, best, rel_tol=SAME)]
    bound = [entry for entry in leading if counts_unsolved(entry, count)]
    return [label(entry.cell, entry.at) for entry in leading], best_figure((bound or leading)[0], count)
