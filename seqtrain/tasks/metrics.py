"""Averages kept as sums with their counts, merged, and divided once at the end."""

import math
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from torch import Tensor


class Metric(NamedTuple):
    """The figure by which a task judges a model.

    least, most : of all values that it can have; None where there is no end.
    """

    name: str
    higher_is_better: bool
    least: float | None = 0.0
    most: float | None = None

    def better(self, new: float, old: float | None) -> bool:
        """Whether `new` is finite and beats `old` (None: nothing to beat yet)."""
        if not math.isfinite(new):
            return False
        return old is None or (new > old if self.higher_is_better else new < old)


@dataclass
class Tally:
    """Named sums and counts, in double precision."""

    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, total: Tensor | float, count: Tensor | int) -> Self:
        """Add a sum over `count` things under `name`."""
        self.sums[name] = self.sums.get(name, 0.0) + float(total)
        self.counts[name] = self.counts.get(name, 0) + int(count)
        return self

    def merge(self, other: "Tally") -> Self:
        """Add everything that another tally holds."""
        for name, total in other.sums.items():
            self.add(name, total, other.counts[name])
        return self

    def means(self) -> dict[str, float]:
        """Each sum divided by its count; a name that counted nothing is NaN."""
        return {
            name: total / self.counts[name] if self.counts[name] else float("nan") for name, total in self.sums.items()
        }


def perplexity(nats: float) -> float:
    """exp of a mean cross-entropy; infinite past the range of a float."""
    return math.exp(nats) if nats < 700 else math.inf


def unigram_nats(counts: Tensor, targets: Tensor) -> float:
    """Summed cross-entropy in nats of `targets` under the add-one smoothed frequencies `counts` `[V]`."""
    smoothed = (counts + 1).double()
    return float(-(smoothed / smoothed.sum()).log()[targets].sum())
