"""Selective copying: where the letters lie, and which of the answers count."""

import pytest
import torch
from conftest import answer

from seqtrain.tasks.selective_copy import SelectiveCopy


def test_letters_lie_anywhere():
    """Each place holds a letter as often as any other, and each letter comes as often."""
    batch = SelectiveCopy(seed=5, length=8, letters=3, alphabet=5).train_batch(0, 8000)
    torch.testing.assert_close((batch.inputs[:8] < 5).float().mean(1), torch.full((8,), 3 / 8), rtol=0.06, atol=0)
    counts = batch.targets[-3:].flatten().bincount(minlength=6)
    assert counts.tolist() == pytest.approx([4800] * 5 + [0], rel=0.06)


def test_only_the_recalled_letters_count():
    task = SelectiveCopy(seed=5, length=20, letters=4)
    batch = task.train_batch(0, 30)
    outputs = torch.nn.functional.one_hot(batch.targets, 9) * 1.0
    outputs[:-4] = outputs[:-4].roll(1, -1)
    outputs[-1] = outputs[-1].roll(1, -1)
    assert task.measure(answer(outputs), batch).means() == {"accuracy": 0.75}
