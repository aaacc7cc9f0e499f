"""Timing: its sequences in training and evaluation, and which spikes count."""

import torch
from batches import make
from conftest import answer


def task_and_batch(**options):
    task = make("timing", options)
    (batch,) = task.eval_batches("valid", 250)
    return task, batch


def spikes(task, fires, batch):
    outputs = torch.stack([1 - fires.float(), fires.float()], -1)
    return task.measure(answer(outputs), batch).means()["spikes"]


def test_the_evaluated_sequence_repeats_the_rhythm():
    task, batch = task_and_batch(interval=[3, 5, 2], train_spikes=2, spikes=5)
    fires = batch.targets[:, 0].nonzero()[:, 0] + 1
    assert fires.tolist() == [3, 8, 10, 13, 18]
    assert batch.inputs.shape == (18, 1, 1)
    assert task.count_eval_batches("test", 250) == 1
    assert task.fingerprint("valid") == make(
        "timing", {"interval": [3, 5, 2], "train_spikes": 2, "spikes": 5}
    ).fingerprint("test")


def test_the_default_sequence_has_a_thousand_spikes():
    _, batch = task_and_batch()
    assert batch.inputs.shape == (10_000, 1, 1)
    assert batch.targets.sum() == 1000
    assert batch.targets[9::10].all()


def test_training_sequences_end_anywhere_between_the_first_and_the_last_spike():
    task = make("timing", {"interval": [3, 5], "train_spikes": 3})
    batch = task.train_batch(0, 1000)
    assert set(batch.lengths.tolist()) == set(range(3, 12))
    assert int(batch.scored.sum()) == int(batch.lengths.sum())


def test_spikes_count_until_the_first_wrong_step():
    task, batch = task_and_batch(interval=4, train_spikes=2, spikes=10)
    right = batch.targets == 1
    assert spikes(task, right, batch) == 10
    for step, expected in ((3, 0), (7, 1), (39, 9)):  # a missing spike
        fires = right.clone()
        fires[step] = False
        assert spikes(task, fires, batch) == expected
    for step, expected in ((0, 0), (4, 1), (38, 9)):  # an additional spike
        fires = right.clone()
        fires[step] = True
        assert spikes(task, fires, batch) == expected
    assert spikes(task, right.roll(1, 0), batch) == 0
    assert task.solved({"spikes": 10.0})
    assert not task.solved({"spikes": 9.0})
