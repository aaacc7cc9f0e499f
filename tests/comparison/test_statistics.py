"""Statistics against known answers."""

import itertools
import math
import statistics
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest

from seqtrain.comparison.statistics import (
    effect_size,
    holm,
    least_p,
    mean_interval,
    pairs_needed,
    share_interval,
    sign_flip_p,
)


def numbers(estimate):
    return (estimate.mean, estimate.low, estimate.high)


def test_mean_interval_of_a_textbook():
    """Student's t with 4 degrees of freedom: 2.776 standard errors."""
    found = mean_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    off = 2.776445 * (2.5**0.5 / 5**0.5)
    assert numbers(found) == pytest.approx((3.0, 3 - off, 3 + off), rel=1e-6)


@pytest.mark.parametrize(
    ("values", "wanted"), [([], (None, None, None)), ([2.0], (2.0, None, None)), ([2.0, 2.0], (2.0, 2.0, 2.0))]
)
def test_mean_interval_of_too_little(values, wanted):
    assert numbers(mean_interval(values)) == wanted


def test_intervals_cover_as_often_as_they_say():
    draws = np.random.default_rng(0).normal(size=(2000, 5))
    covered = sum(found.low <= 0 <= found.high for found in map(mean_interval, draws.tolist()))
    assert covered / 2000 == pytest.approx(0.95, abs=0.015)


def test_an_interval_is_cut_where_no_value_can_lie():
    found = mean_interval([0.5, 1.0])
    assert found.low < 0 < 1 < found.high
    assert numbers(found.within(0.0, 1.0)) == (0.75, 0.0, 1.0)
    assert numbers(found.within(0.0, None)) == (0.75, 0.0, found.high)
    assert found.within(None, None) == found.within(-9, 9) == found
    assert numbers(mean_interval([2.0]).within(0.0, 1.0)) == (2.0, None, None)


def test_share_interval_of_a_textbook():
    """Wilson 1927: z^2 / (n + z^2) at the ends."""
    z2 = 1.959964**2
    assert numbers(share_interval(0, 5)) == pytest.approx((0, 0, z2 / (5 + z2)), abs=1e-6)
    assert numbers(share_interval(5, 5)) == pytest.approx((1, 5 / (5 + z2), 1), abs=1e-6)


def brute_force(differences):
    """The part of all patterns of signs whose sum is as far from 0 as that of the data, in rational arithmetic."""
    exact = [Fraction(str(difference)) for difference in differences]  # 0.1 is a tenth
    seen = abs(sum(exact))
    patterns = [*itertools.product((1, -1), repeat=len(exact))]
    sums = (sum(s * d for s, d in zip(signs, exact, strict=True)) for signs in patterns)
    return sum(abs(value) >= seen for value in sums) / len(patterns)


@pytest.mark.parametrize("seed", range(8))
def test_sign_flip_test_tries_every_pattern(seed):
    differences = np.random.default_rng(seed).normal(0.5, 1, size=3 + seed).tolist()
    assert sign_flip_p(differences) == brute_force(differences)


@pytest.mark.parametrize(
    "differences",
    [
        [0.1, 0.2, -0.3],
        [0.1, 0.2, -0.3] * 2,  # sums to 5.6e-17 in floating-point numbers, and several patterns to -5.6e-17
        [0.7, -0.1, -0.6, 0.3, -0.2, -0.1, 0.0],
        [1e15, 1, 1, 1, 1, 1],  # a diverged run beside others: the sum of all has no digits left for these
        [1e30, 0.25, 0.5, -0.25, 0.5],
        [-1e300, 1e300, 2.0, -1.0],
        [1e-300, 2e-300, 3e-300],
        [3, 3, -1, -1, -1, -1, -2],
    ],
)
def test_sign_flip_test_counts_ties_as_rational_arithmetic_does(differences):
    assert sign_flip_p(differences) == brute_force(differences)
    assert sign_flip_p([-difference for difference in differences]) == brute_force(differences)


def test_sign_flip_test_of_decimal_fractions_is_exact():
    draw = np.random.default_rng(3)
    for pairs in (2, 4, 6, 8):
        for _ in range(10):
            differences = (draw.integers(-4, 5, size=pairs) / 10).tolist()
            assert sign_flip_p(differences) == brute_force(differences)


def test_sign_flip_test_of_thousands_of_seeds_has_bounded_memory():
    """All patterns of 1,000 pairs would be 500 MiB of numbers."""
    differences = np.random.default_rng(0).normal(0.2, 1, size=1000).tolist()
    tracemalloc.start()
    try:
        assert sign_flip_p(differences) < 1e-4
        assert tracemalloc.get_traced_memory()[1] < 40 << 20
    finally:
        tracemalloc.stop()


def test_sign_flip_test_at_its_ends():
    assert sign_flip_p([0.0, 0.0]) == 1.0
    for pairs in (1, 5, 6, 10):
        assert sign_flip_p([1.0 + n for n in range(pairs)]) == pytest.approx(least_p(pairs))
    assert least_p(6) == pytest.approx(0.03125)


def test_pairs_needed_is_the_fewest():
    assert pairs_needed(0.05, 1) == 6
    assert pairs_needed(0.05, 4) == 8
    assert pairs_needed(0.01, 1) == 8


def test_holm_of_a_worked_example():
    """Four p values: 0.01, 0.04, 0.03, 0.005 give 0.03, 0.06, 0.06, 0.02."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_effect_size():
    assert effect_size([1.0, 2.0, 3.0]) == pytest.approx(2.0 / statistics.stdev([1, 2, 3]))
    assert effect_size([1.0]) is None
    assert effect_size([1.0, 1.0]) is None
    assert effect_size([math.log(2), math.log(6) - math.log(3)]) is None  # equal but for rounding
    assert effect_size([1.0, -1.0]) == 0


def test_no_more_false_alarms_than_stated():
    """Four comparisons of equal cells, 400 times over, with 8 seeds: some alarm in at most 5 % of them."""
    generator = np.random.default_rng(0)
    alarms = 0
    for _ in range(400):
        runs = generator.lognormal(size=(5, 8))
        alarms += min(holm([sign_flip_p((runs[0] - one).tolist()) for one in runs[1:]])) <= 0.05
    assert alarms / 400 <= 0.05 + 2 * (0.05 * 0.95 / 400) ** 0.5


def test_of_many_pairs_patterns_are_drawn_and_always_the_same():
    """Beyond 16 pairs 2^16 patterns are drawn, so that no p is below 2 / (2^16 + 1), and each call finds the same."""
    clear = [1.0 + n for n in range(20)]
    assert sign_flip_p(clear) == least_p(20) == 2 / (2**16 + 1)
    assert sign_flip_p(clear[:16]) == least_p(16) == 2.0**-15
    mixed = np.random.default_rng(1).normal(0.4, 1, size=20).tolist()
    assert sign_flip_p(mixed) == sign_flip_p(mixed)


def test_pairs_needed_for_many_comparisons():
    assert pairs_needed(0.05, 1000) == 16  # 2^-15 * 1000 = 0.031
    assert pairs_needed(0.05, 2000) is None  # 2^-15 * 2000 = 0.061, and beyond 16 pairs p stays


def test_an_interval_of_another_confidence():
    """Half of Student's t with 4 degrees of freedom lies within 0.7407."""
    off = 0.740697 * (2.5**0.5 / 5**0.5)
    assert numbers(mean_interval([1.0, 2.0, 3.0, 4.0, 5.0], 0.5)) == pytest.approx((3.0, 3 - off, 3 + off), rel=1e-5)
