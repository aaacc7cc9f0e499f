"""Running parity: evaluated on longer sequences, and solved only if their ends are right too."""

import pytest
import torch
from conftest import answer

from seqtrain.tasks.parity import Parity


def test_evaluated_on_four_times_the_length():
    task = Parity(seed=5, length=30, valid_size=4)
    assert len(task.train_batch(0, 2).inputs) == 30
    assert [len(batch.inputs) for split in ("valid", "test") for batch in task.eval_batches(split, 2000)] == [120, 120]
    shorter = Parity(seed=5, length=30, eval_length=7)
    assert len(next(shorter.eval_batches("test", 9)).inputs) == 7


@pytest.mark.parametrize(("wrong", "solved"), [(5, True), (20, False)])
def test_solved_at_the_last_step_too(wrong, solved):
    task = Parity(seed=5, length=30, valid_size=1000)
    batch = next(task.eval_batches("valid", 1000))
    outputs = torch.nn.functional.one_hot(batch.targets, 2) * 1.0
    outputs[-1, :wrong] = outputs[-1, :wrong].roll(1, -1)
    means = task.measure(answer(outputs), batch).means()
    assert means == {"accuracy": pytest.approx(1 - wrong / 120_000), "accuracy_at_end": pytest.approx(1 - wrong / 1000)}
    assert task.solved(means) is solved
