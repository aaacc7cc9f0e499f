"""What a few runs can show: means with intervals, paired differences, an exact test. The formulas are scipy's."""

import math
import statistics
from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from seqtrain.runs.records import Record

EXACT_UP_TO = 16
"""The largest number of pairs for which the test tries all patterns of signs; for more pairs it draws as many."""

PATTERNS = 1 << EXACT_UP_TO
"""The largest number of patterns that are tried."""

DRAWN_TOGETHER = 1 << 20
"""Signs that are drawn at one time, whatever the number of pairs."""

ROUNDING = 1e-10
"""A sum of differences is 0 if it is at most this part of the sum of their absolute values."""


class Estimate(Record):
    """A mean with an interval.

    low, high : the ends of the interval; None for fewer than two values, which show nothing about the spread.
    """

    mean: float | None
    low: float | None
    high: float | None

    def within(self, least: float | None, most: float | None) -> Self:
        """The same, with the interval cut to the possible values: it holds the true mean as often as before."""
        if self.low is None or self.high is None:
            return self
        low = self.low if least is None else max(self.low, least)
        high = self.high if most is None else min(self.high, most)
        return self.model_copy(update={"low": low, "high": high})

    def exponential(self) -> Self:
        """Of a mean of logarithms, the geometric mean with its interval."""
        ends = {name: None if end is None else math.exp(end) for name, end in vars(self).items()}
        return self.model_copy(update=ends)


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Estimate:
    """The mean with Student's t interval; None for a mean that is not finite."""
    if not values or not math.isfinite(mean := statistics.fmean(values)):
        return Estimate(mean=None, low=None, high=None)
    if len(values) < 2:
        return Estimate(mean=mean, low=None, high=None)
    error = statistics.stdev(values) / math.sqrt(len(values))
    limits = stats.t.interval(confidence, len(values) - 1, loc=mean, scale=error) if error else (mean, mean)
    return Estimate(mean=mean, low=float(limits[0]), high=float(limits[1]))


def share_interval(successes: int, trials: int, confidence: float = 0.95) -> Estimate:
    """A share with Wilson's interval."""
    interval = stats.binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    return Estimate(mean=successes / trials, low=float(interval.low), high=float(interval.high))


def sign_flip_p(differences: Sequence[float]) -> float:
    """Two-sided p of the mean of paired differences, if each could as well have the other sign.

    The test tries all 2^n patterns of signs up to `EXACT_UP_TO` pairs. It is then exact for any symmetric distribution
    of the differences, and its smallest p is `least_p(n)`. A pattern changes the sum by twice the sum of the
    differences that it flips; so it is at least as extreme as the data exactly if these do not sum to more than 0.
    Sums are compared so, and not with the sum of all, which may be large beside the differences that decide.
    """
    values = np.asarray(differences, dtype=float)
    values = values / (np.abs(values).max(initial=0.0) or 1.0)  # so that no sum overflows
    values = values if math.fsum(values) >= 0 else -values
    if len(values) > EXACT_UP_TO:
        extreme = sum(_count_extreme(*block) for block in _drawn_sums(values))
        return min(1.0, 2 * (extreme + 1) / (PATTERNS + 1))
    sums = sizes = np.zeros(1)
    for value in values:
        sums, sizes = np.append(sums, sums + value), np.append(sizes, sizes + abs(value))
    return min(1.0, 2 * _count_extreme(sums, sizes) / len(sums))


def _count_extreme(sums: NDArray[np.float64], sizes: NDArray[np.float64]) -> int:
    """How many sums are at most 0, up to the rounding of numbers whose absolute values sum to `sizes`."""
    return int((sums <= ROUNDING * sizes).sum())


def _drawn_sums(values: NDArray[np.float64]) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """The sums of random subsets, and of their absolute values, in blocks of bounded memory."""
    draw, rows = np.random.default_rng(0), max(1, DRAWN_TOGETHER // len(values))
    both = np.stack([values, np.abs(values)], axis=1)
    for first in range(0, PATTERNS, rows):
        shape = (min(rows, PATTERNS - first), len(values))
        sums, sizes = (draw.integers(0, 2, shape, dtype=np.int8) @ both).T
        yield sums, sizes


def least_p(pairs: int) -> float:
    """The smallest p that the sign-flip test can give."""
    return max(2.0 ** (1 - pairs), 2 / (PATTERNS + 1)) if pairs else 1.0


def pairs_needed(level: float, tests: int) -> int | None:
    """The fewest pairs with which one of so many tests can reach a level after Holm's correction; None if none can."""
    return next((pairs for pairs in range(1, EXACT_UP_TO + 2) if least_p(pairs) * tests <= level), None)


def holm(ps: Sequence[float]) -> list[float]:
    """The p values corrected for the number of tests (Holm 1979).

    If no hypothesis is false, the probability that any corrected value falls below a level is at most that level.
    """
    order, tests = np.argsort(ps), len(ps)
    corrected = np.empty(tests)
    corrected[order] = np.maximum.accumulate(np.minimum(1.0, np.arange(tests, 0, -1) * np.asarray(ps)[order]))
    return [float(value) for value in corrected]


def effect_size(differences: Sequence[float]) -> float | None:
    """Mean of paired differences over their standard deviation (Cohen's d_z); None if they do not vary."""
    spread = statistics.stdev(differences) if len(differences) > 1 else 0.0
    mean = statistics.fmean(differences)
    return mean / spread if spread > ROUNDING * abs(mean) else None
