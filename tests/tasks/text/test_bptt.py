"""Windows of a text: every step once in a pass, computed on their own, with sizes as published."""

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
