"""What a few runs can tell: means with intervals, paired differences, an exact test; the formulas are scipy's."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

EXACT_UP_TO = 16
"""Pairs whose sign patterns are all tried; of more pairs as many patterns are drawn."""


class Estimate(NamedTuple):
    """A mean and how far it may be off.

    low, high : of the interval; None where one value, or none, tells nothing about the spread.
    """

    mean: float | None
    low: float | None
    high: float | None

    def within(self, least: float | None, most: float | None) -> "Estimate":
        """The same, its interval cut where no value can lie: it holds the true mean as often as before."""
        if self.low is None or self.high is None:
            return self
        low = self.low if least is None else max(self.low, least)
        return self._replace(low=low, high=self.high if most is None else min(self.high, most))


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Estimate:
    """The mean with Student's t interval."""
    if not values:
        return Estimate(None, None, None)
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Estimate(mean, None, None)
    error = statistics.stdev(values) / math.sqrt(len(values))
    if error == 0:
        return Estimate(mean, mean, mean)
    low, high = stats.t.interval(confidence, len(values) - 1, loc=mean, scale=error)
    return Estimate(mean, float(low), float(high))


def share_interval(successes: int, trials: int, confidence: float = 0.95) -> Estimate:
    """A share with Wilson's interval."""
    found = stats.binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    return Estimate(successes / trials, float(found.low), float(found.high))


def sign_flip_p(differences: Sequence[float]) -> float:
    """Two-sided p of paired differences, under the hypothesis that each could as well have had the other sign.

    All 2^n patterns of signs are tried up to `EXACT_UP_TO` pairs, so the test is exact whatever the distribution of the
    values, as long as it is symmetric, and its least p is `least_p(n)`.
    """
    if len(differences) < 2 or not any(differences):
        return 1.0
    found = stats.permutation_test(
        (np.asarray(differences, dtype=float),),
        np.mean,
        permutation_type="samples",
        n_resamples=2**EXACT_UP_TO,
        vectorized=True,
        rng=0,
    )
    return min(1.0, float(found.pvalue))


def least_p(pairs: int) -> float:
    """The smallest p that the sign-flip test can give."""
    return max(2.0 ** (1 - pairs), 2 / (2**EXACT_UP_TO + 1)) if pairs else 1.0


def pairs_needed(level: float, tests: int) -> int | None:
    """The fewest pairs with which one of so many tests can reach a level after Holm's correction; None for none."""
    return next((pairs for pairs in range(1, EXACT_UP_TO + 2) if least_p(pairs) * tests <= level), None)


def holm(ps: Sequence[float]) -> list[float]:
    """The p values corrected for being many (Holm 1979): among all of them, one falls below a level by chance with
    at most that probability.
    """
    corrected, largest = [1.0] * len(ps), 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=lambda place: ps[place])):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[place]))
        corrected[place] = largest
    return corrected


def effect_size(differences: Sequence[float]) -> float | None:
    """Mean of paired differences in units of their own standard deviation (Cohen's d_z); None if they do not vary."""
    spread = statistics.stdev(differences) if len(differences) > 1 else 0.0
    return statistics.fmean(differences) / spread if spread else None
