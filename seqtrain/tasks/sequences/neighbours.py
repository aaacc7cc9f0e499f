"""The nearest training sequence by dynamic time warping: a strong baseline for small sets.

The distance of two sequences a and b is the smallest sum of squared distances of their steps along a path that starts
at both beginnings, ends at both ends, and goes one step forward in a, in b, or in both (Sakoe & Chiba 1978); a distance
of two steps is over all inputs (the dependent form, Shokoohi-Yekta et al. 2017).
"""

import numpy as np
from numpy.typing import NDArray

from seqtrain.tasks.sequences.part import Part

NEIGHBOUR = "1-NN (DTW)"

MOST_CELLS = 3e8
"""Pairs of steps that are compared at most, some seconds of work; larger sets have no such baseline."""

CELLS_TOGETHER = 1 << 23


def nearest(train: Part, part: Part) -> NDArray[np.int64] | None:
    """`[N]`, the number of the nearest training sequence of each sequence; None if that takes too long."""
    longest = int(train.sizes.max()) * int(part.sizes.max())
    if longest * len(train.sizes) * len(part.sizes) > MOST_CELLS:
        return None
    a, b = _padded(part), _padded(train)
    pairs = max(1, CELLS_TOGETHER // longest)
    columns = min(pairs, len(b))
    rows = max(1, pairs // columns)
    found: NDArray[np.float64] = np.empty((len(a), len(b)))
    for i in range(0, len(a), rows):
        for j in range(0, len(b), columns):
            block = np.s_[i : i + rows], np.s_[j : j + columns]
            found[block] = distances(a[block[0]], part.sizes[block[0]], b[block[1]], train.sizes[block[1]])
    closest: NDArray[np.int64] = found.argmin(1)
    return closest


def _padded(part: Part) -> NDArray[np.float64]:
    """`[N, T, I]`."""
    whole = np.zeros((len(part.sizes), int(part.sizes.max()), part.inputs.shape[1]))
    for n, size in enumerate(part.sizes):
        whole[n, :size] = part.sequence(n)
    return whole


def distances(
    a: NDArray[np.float64], a_sizes: NDArray[np.int64], b: NDArray[np.float64], b_sizes: NDArray[np.int64]
) -> NDArray[np.float64]:
    """`[M, N]`, between sequences `[M, Ta, I]` and `[N, Tb, I]` of these lengths.

    The costs of all pairs are summed diagonal after diagonal, i + j = d, as each needs the two diagonals before it.
    """
    M, Ta, I = a.shape
    N, Tb, _ = b.shape
    x, y = a.reshape(M * Ta, I), b.reshape(N * Tb, I)
    cost = ((x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * x @ y.T).clip(0)
    cost = cost.reshape(M, Ta, N, Tb).transpose(1, 3, 0, 2)  # [Ta, Tb, M, N]
    found = np.zeros((M, N))
    before, last = (np.full((Ta + 1, M, N), np.inf) for _ in range(2))  # by i + 1; row 0 is outside
    before[0] = 0.0  # the start, before both first steps
    for d in range(Ta + Tb - 1):
        i = np.arange(max(0, d - Tb + 1), min(d, Ta - 1) + 1)
        now = np.full_like(last, np.inf)
        now[i + 1] = cost[i, d - i] + np.minimum(np.minimum(last[i], last[i + 1]), before[i])
        ends_a, ends_b = np.nonzero(a_sizes[:, None] + b_sizes == d + 2)
        found[ends_a, ends_b] = now[a_sizes[ends_a], ends_a, ends_b]
        before, last = last, now
        before[0] = np.inf
    return found
