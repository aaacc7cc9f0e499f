"""Windows of a text: every step once in a pass, computed on their own, with sizes as published."""

import tracemalloc

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seqtrain.tasks.text.bptt import Windows


@given(length=st.integers(1, 400), size=st.integers(1, 60), seed=st.none() | st.integers(0, 50))
def test_every_pass_covers_the_columns_once(length, size, seed):
    windows, step = Windows(length, size, seed), 0
    for epoch in range(3):
        expected = 0
        while (window := windows.at(step)).epoch == epoch:
            assert window.start == expected
            assert window.size >= min(size, 5)
            expected += window.size
            step += 1
        assert expected >= length > window.start
        assert windows.steps(epoch + 1) == step
    late = Windows(length, size, seed)
    assert late.at(step - 1) == windows.at(step - 1)


def test_sizes_are_drawn_as_published():
    sizes = torch.tensor([size for _, _, size in map(Windows(2_000_000, 70, 0).at, range(20_000))]).double()
    assert not (sizes < 5).any()
    long = sizes[sizes > 52]
    assert len(long) / len(sizes) == pytest.approx(0.95, abs=0.01)
    assert float(long.mean()) == pytest.approx(69.5, abs=0.2)  # sizes are rounded down
    assert float(long.std()) == pytest.approx(5, abs=0.2)
    assert float(sizes[sizes < 52].mean()) == pytest.approx(34.5, abs=0.6)


def test_sizes_depend_on_the_seed_and_the_pass():
    def sizes(seed, first):
        return [Windows(1000, 70, seed).at(step)[1:] for step in range(first, first + 8)]

    again = Windows(1000, 70, 0)
    assert sizes(0, 0) != sizes(1, 0)
    assert sizes(0, 0) == sizes(0, 0)
    assert sizes(0, 0) != sizes(0, again.steps(1))


def test_the_memory_of_random_windows_does_not_grow_with_the_passes():
    """A window of each of 200 passes would be 3 MiB of tuples."""
    windows = Windows(2_000, 20, seed=0)
    windows.steps(2)
    tracemalloc.start()
    try:
        steps = windows.steps(200)
        assert windows.at(steps - 1).epoch == 199
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_random_windows_are_the_same_in_any_order_and_as_ever():
    """The sizes are those of earlier versions, so a run of theirs can be resumed."""
    forward, backward = Windows(100, 20, seed=3), Windows(100, 20, seed=3)
    steps = range(forward.steps(4))
    seen = [forward.at(step) for step in steps]
    assert [backward.at(step) for step in reversed(steps)] == seen[::-1]
    assert [window.size for window in seen[:8]] == [25, 27, 16, 17, 24, 17, 13, 13]


def test_memory_of_windows_is_counted():
    assert Windows(1_000_000, 20).bytes == 0
    assert Windows(1_000_000, 20, seed=0).bytes == 200_000 * 24
