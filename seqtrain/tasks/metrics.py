"""Metrics, and means that are kept as sums with their counts and divided once at the end."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from torch import Tensor

from seqtrain.system.words import figure

FAR = 1.5
"""Ratio of a metric and its baseline from which a result counts as far worse."""


class Metric(NamedTuple):
    """The figure that decides which of two models is better at a task.

    least, most : the smallest and the largest possible value; None if there is none.
    """

    name: str
    higher_is_better: bool
    least: float | None = 0.0
    most: float | None = None

    def far_worse(self, value: float | None, baseline: float | None) -> str | None:
        """That a value is far worse than the baseline, in words; None if it is not, or one of the two is unknown."""
        if value is None or not baseline or not math.isfinite(value):
            return None
        if (baseline if self.higher_is_better else value) <= FAR * (value if self.higher_is_better else baseline):
            return None
        return (
            f"{self.name} {figure(value)} is far worse than the baseline's {figure(baseline)}, "
            "which is a guess without a memory"
        )

    def best_rule(self, baseline: Mapping[str, float | None]) -> tuple[str, float] | None:
        """The best of several simple rules in a baseline, which are named `METRIC of RULE`, and its value."""
        start = f"{self.name} of "
        rules = [(key.removeprefix(start), value) for key, value in baseline.items() if key.startswith(start)]
        known = [(name, value) for name, value in rules if value is not None]
        return min(known, key=lambda rule: -rule[1] if self.higher_is_better else rule[1], default=None)

    def remark(self, value: float | None, baseline: Mapping[str, float | None]) -> str | None:
        """A sentence if a value is no better than that of a simple rule, or far worse than a guess; else None.

        The best possible value needs none.
        """
        rule = self.best_rule(baseline)
        if rule is not None and value not in (None, self.most) and not self.better(value, rule[1]):
            return f"{self.name} {figure(value)} is no better than that of {rule[0]}, {figure(rule[1])}"
        return self.far_worse(value, baseline.get(self.name))

    def better(self, new: float, old: float | None) -> bool:
        """Whether `new` is finite and better than `old` (None: there is no value yet)."""
        if not math.isfinite(new):
            return False
        return old is None or (new > old if self.higher_is_better else new < old)


ACCURACY = Metric("accuracy", higher_is_better=True, most=1.0)
"""A share of right answers."""


@dataclass
class Tally:
    """Sums and counts by name, in double precision."""

    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, total: Tensor | float, count: Tensor | int) -> Self:
        """Add a sum of `count` values under a name."""
        self.sums[name] = self.sums.get(name, 0.0) + float(total)
        self.counts[name] = self.counts.get(name, 0) + int(count)
        return self

    def merge(self, other: "Tally") -> Self:
        """Add everything that another tally holds."""
        for name, total in other.sums.items():
            self.add(name, total, other.counts[name])
        return self

    def means(self) -> dict[str, float]:
        """Each sum divided by its count; NaN if the count is 0."""
        return {
            name: total / self.counts[name] if self.counts[name] else float("nan") for name, total in self.sums.items()
        }


def perplexity(nats: float) -> float:
    """exp of a mean cross-entropy; infinite if it exceeds the range of a float."""
    return math.exp(nats) if nats < 700 else math.inf


def unigram_nats(counts: Tensor, targets: Tensor) -> float:
    """Summed cross-entropy in nats of `targets` under the add-one smoothed frequencies `counts` `[V]`."""
    smoothed = (counts + 1).double()
    return float(-(smoothed / smoothed.sum()).log()[targets].sum())
