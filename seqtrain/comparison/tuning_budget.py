"""How good the best of n candidates is, and which cell is best at which number of candidates."""

import math
from collections.abc import Sequence
from itertools import groupby

from seqtrain.comparison.records import Tuning, label
from seqtrain.system.words import counted, figure

Ranked = tuple[tuple[float, ...], float]
"""How well a candidate did, the larger the better, which decides what is chosen; and its figure."""

SHOWN = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500)
"""Numbers of candidates in a table; the last is the number of all."""

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


def what_is_shown(entry: Tuning) -> str:
    """The figure of the best of n, for the title of a table or the axis of a picture."""
    better = "lower" if entry.lower_is_better else "higher"
    if entry.method == "random":
        return f"expected {entry.judged_by} of the best of n random candidates, {better} is better"
    return f"{entry.judged_by} of the best of the first n candidates, {better} is better"


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
    return [*(count for count in SHOWN if count < total), total]


def budget_sentences(entries: Sequence[Tuning]) -> list[str]:
    """Which cell is best at which number of candidates; a sentence for each value of the varied setting."""
    sentences = []
    for at in dict.fromkeys(entry.at for entry in entries):
        own = [entry for entry in searched(entries) if entry.at == at]
        if len(own) > 1:
            sentences.append(_sentence(own))
    return sentences


def _sentence(entries: Sequence[Tuning]) -> str:
    first, total = entries[0], len(entries[0].best_of)
    is_random = first.method == "random"
    figures = f"{'lowest' if first.lower_is_better else 'highest'} {'expected ' * is_random}{first.judged_by}"
    kind, when = ("random candidate", "with") if is_random else ("candidate", "after")
    (_, cells, value), *later = _spans(entries)
    end = _lead(entries, total)[1]
    start = f"tuning budget: {' and '.join(cells)} {'has' if len(cells) == 1 else 'have'} the {figures} {when}"
    if not later:
        numbers = counted(total, kind) if total == 1 else f"any number from 1 to {counted(total, kind)}"
        return f"{start} {numbers} ({figure(value)}{f' to {figure(end)}' if total > 1 else ''})"
    parts = [f"{' and '.join(names)} from {count} on ({figure(value)})" for count, names, value in later]
    last = f", which is {figure(end)} {when} all {total}" if later[-1][0] < total else f", of {total}"
    return f"{start} 1 {kind} ({figure(value)}), {', '.join(parts)}{last}"


def _spans(entries: Sequence[Tuning]) -> list[tuple[int, list[str], float]]:
    """Where another cell becomes best: the number of candidates, the cell, and its figure there."""
    leads = [(count, *_lead(entries, count)) for count in range(1, len(entries[0].best_of) + 1)]
    return [next(span) for _, span in groupby(leads, key=lambda lead: lead[1])]


def _lead(entries: Sequence[Tuning], count: int) -> tuple[list[str], float]:
    """The cell that is best with a number of candidates, or several that are equal, and the figure."""
    figures = {label(entry.cell, entry.at): entry.best_of[count - 1] or 0.0 for entry in entries}
    best = (min if entries[0].lower_is_better else max)(figures.values())
    return [cell for cell, value in figures.items() if math.isclose(value, best, rel_tol=SAME)], best
