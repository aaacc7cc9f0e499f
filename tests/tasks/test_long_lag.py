"""The long time lag problem: how its sequences are drawn."""

import pytest

from seqtrain.tasks.long_lag import LongLag


def test_beyond_the_lag_a_sequence_ends_with_one_tenth_at_each_step():
    batch = LongLag(seed=5, lag=5, distractors=3).train_batch(0, 100_000)
    more = batch.lengths - 8  # b, x or y, 5 distractors, e
    for k in range(4):
        assert float((more == k).float().mean()) == pytest.approx(0.1 * 0.9**k, rel=0.04)
    assert float(more.float().mean()) == pytest.approx(9, rel=0.03)
    counts = batch.inputs[2:7].flatten().bincount(minlength=7)
    assert counts.tolist() == pytest.approx([0] * 4 + [500_000 / 3] * 3, rel=0.02)
    assert float(batch.targets.float().mean()) == pytest.approx(0.5, abs=0.02)
