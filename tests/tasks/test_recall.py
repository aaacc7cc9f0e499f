"""Associative recall: everything occurs, and as often as it should."""

import pytest

from seqtrain.tasks.recall import Recall


def test_every_pair_is_asked_for_and_every_symbol_comes():
    batch = Recall(seed=5, pairs=3, keys=4, values=5, delay=2).train_batch(0, 6000)
    asked = (batch.inputs[0:6:2] == batch.inputs[-1]).sum(1)
    assert asked.tolist() == pytest.approx([2000] * 3, rel=0.1)
    for steps, low, high in (([0, 2, 4, -1], 0, 4), ([1, 3, 5], 4, 9), ([6, 7], 9, 13)):
        for step in steps:
            counts = batch.inputs[step].bincount(minlength=13)
            assert counts[low:high].tolist() == pytest.approx([6000 / (high - low)] * (high - low), rel=0.15)
