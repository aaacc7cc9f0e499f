"""How often `compare` is wrong, and how often it finds a difference, on made-up steps to solve.

    python tests/long/power.py [--trials 2000]

Five cells are compared as `compare` does it: the first is the reference, pairs are by seed, the sign-flip test, Holm's
correction over four comparisons, level 5 %. The test is tried on the steps themselves and on their logarithms.

The first table has cells that do not differ; it says how often any difference is claimed. `equal` means that all cells
have one distribution. The other rows have cells with the same mean, or the same mean logarithm, but another spread or
shape, so the differences are not symmetric on one of the scales.

The second table has one cell that is 1.5 times as fast as the others; it says how often this difference is found.

Steps are lognormal unless said otherwise, with a standard deviation of the logarithm of 0.1 (narrow), 0.2 (medium),
0.4 (wide) or 0.8 (very wide). A part of 0.3 of the variance belongs to the seed, and so to all cells of a pair. Steps
are counted in evaluations, every 50 steps around a median of 1,000. A run that is not solved within its steps counts at
the next evaluation.
"""

import argparse
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqtrain.comparison.statistics import holm, sign_flip_p

Numbers = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, int]], Numbers]
"""Draws the noise of runs, of mean 0 and variance 1."""

CELLS, LEVEL, MEDIAN, EVAL_EVERY = 5, 0.05, 1000.0, 50
SPREADS = {"narrow": 0.1, "medium": 0.2, "wide": 0.4, "very wide": 0.8}
SEEDS = (8, 12)
OF_SEED = 0.3
"""The part of the variance that belongs to the seed."""


def normal(draw: np.random.Generator, shape: tuple[int, int]) -> Numbers:
    """Logarithms of lognormal steps."""
    return draw.normal(size=shape)


def skewed(draw: np.random.Generator, shape: tuple[int, int]) -> Numbers:
    """A long tail of late runs, also on logarithms."""
    return draw.exponential(size=shape) - 1.0


def heavy(draw: np.random.Generator, shape: tuple[int, int]) -> Numbers:
    """Student's t with 3 degrees of freedom."""
    return draw.standard_t(3, size=shape) / np.sqrt(3.0)


def bimodal(draw: np.random.Generator, shape: tuple[int, int]) -> Numbers:
    """One run of four is stuck for long."""
    late = draw.random(shape) < 0.25
    return (np.where(late, 1.7, -0.57) + 0.2 * draw.normal(size=shape)) / 1.003


class Case(NamedTuple):
    """Five cells.

    spread : of the logarithms.
    noise : of the runs of the reference; `others` of the other cells, None for the same.
    faster : by which factor the last cell is faster.
    wider : by which factor the logarithms of the other cells spread wider.
    equal_means : whether the cells are scaled to the same mean instead of the same mean logarithm.
    budget : of the steps; None for enough.
    """

    spread: float
    noise: Draw = normal
    others: Draw | None = None
    faster: float = 1.0
    wider: float = 1.0
    equal_means: bool = False
    budget: float | None = None
    eval_every: float = EVAL_EVERY


def steps(case: Case, seeds: int, draw: np.random.Generator) -> Numbers:
    """The steps to solve of `CELLS` cells, a row each, as they count in the test."""
    of_seed = np.sqrt(OF_SEED) * normal(draw, (1, seeds))
    rest = np.sqrt(1 - OF_SEED)
    noise = of_seed + rest * case.noise(draw, (CELLS, seeds))
    if case.others is not None:
        noise[1:] = of_seed + rest * case.others(draw, (CELLS - 1, seeds))
    spreads = case.spread * np.array([1.0, *[case.wider] * (CELLS - 1)])[:, None]
    logs = np.log(MEDIAN) + spreads * noise
    if case.equal_means:
        logs -= spreads**2 / 2  # the mean of lognormal numbers is exp(median + variance / 2)
    logs[-1] -= np.log(case.faster)
    found = np.ceil(np.exp(logs) / case.eval_every) * case.eval_every
    return found if case.budget is None else np.where(found > case.budget, case.budget + case.eval_every, found)


def claims(values: Numbers) -> list[bool]:
    """Of which cells a difference from the first is claimed."""
    return [p <= LEVEL for p in holm([sign_flip_p(one - values[0]) for one in values[1:]])]


def rates(case: Case, seeds: int, trials: int) -> dict[str, tuple[float, float]]:
    """By scale, how often any difference is claimed, and how often that of the last cell."""
    draw, counted = np.random.default_rng(seeds), {"steps": np.zeros(2), "logarithms": np.zeros(2)}
    for _ in range(trials):
        values = steps(case, seeds, draw)
        for scale, shown in (("steps", values), ("logarithms", np.log(values))):
            claimed = claims(shown)
            counted[scale] += any(claimed), claimed[-1]
    return {scale: (float(count[0]) / trials, float(count[1]) / trials) for scale, count in counted.items()}


def alike() -> Iterator[tuple[str, Case]]:
    """Cells that do not differ."""
    for name, spread in SPREADS.items():
        yield f"equal, {name}", Case(spread)
    for noise in (skewed, heavy, bimodal):
        yield f"equal, wide, {noise.__name__}", Case(0.4, noise)
    yield "equal, wide, evaluated every 500 steps", Case(0.4, eval_every=500)
    yield "equal, wide, half not solved", Case(0.4, budget=MEDIAN)
    yield "others three times as wide, one mean", Case(0.2, wider=3, equal_means=True)
    yield "others three times as wide, one mean logarithm", Case(0.2, wider=3)
    yield "others skewed, one mean logarithm, wide", Case(0.4, others=skewed)


def different() -> Iterator[tuple[str, Case]]:
    """One cell is faster."""
    for name, spread in SPREADS.items():
        yield name, Case(spread, faster=1.5)
    for noise in (skewed, heavy, bimodal):
        yield f"wide, {noise.__name__}", Case(0.4, noise, faster=1.5)
    yield "medium, evaluated every 250 steps", Case(0.2, faster=1.5, eval_every=250)
    yield "medium, half of the others not solved", Case(0.2, faster=1.5, budget=MEDIAN)


def table(title: str, cases: Iterator[tuple[str, Case]], trials: int, column: int) -> None:
    """Print the rates of the cases."""
    names = [f"{seeds} seeds, {scale}" for seeds in SEEDS for scale in ("steps", "logarithms")]
    print(f"| {title} | {' | '.join(names)} |\n|{'---|' * (len(names) + 1)}")
    for name, case in cases:
        found = [rate[column] for seeds in SEEDS for rate in rates(case, seeds, trials).values()]
        print(f"| {name} | {' | '.join(f'{rate:.3f}' for rate in found)} |", flush=True)
    print()


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000)
    trials = parser.parse_args().trials
    table("any difference is claimed", alike(), trials, 0)
    table("the difference of 1.5 times is found", different(), trials, 1)


if __name__ == "__main__":
    main()
