"""What is special about single tasks: the distribution of their sequences, their baseline, their metrics."""

import math
from collections import Counter

import pytest
import torch
from batches import NUMBERS, columns, make, perfect
from conftest import answer

# --- adding, multiplication, temporal order ----------------------------------------------------------

MARKED = [
    (name, {"length": length, "variant": variant})
    for name in NUMBERS
    for length, variant in ((30, "halves"), (31, "anywhere"), (30, "hochreiter"))
]


@pytest.mark.parametrize(("name", "options"), MARKED)
def test_the_baseline_of_marked_numbers_is_the_variance_of_the_targets(name, options):
    task = make(name, options)
    targets = torch.cat([task.train_batch(step, 20_000).targets for step in range(10)])
    assert task.baseline("test")["mse"] == pytest.approx(float(targets.var()), rel=0.01)


@pytest.mark.parametrize(
    ("name", "variant", "inside", "outside"),
    [
        ("adding", "halves", 0.079, 0.081),
        ("adding", "hochreiter", 0.039, 0.041),
        ("multiplication", "halves", 0.039, 0.041),
        ("multiplication", "hochreiter", 0.039, 0.041),
    ],
)
def test_an_answer_is_right_within_the_tolerance(name, variant, inside, outside):
    task = make(name, {"variant": variant})
    batch = task.train_batch(0, 50)
    assert task.measure(answer(batch.targets + inside), batch).means()["accuracy"] == 1
    assert task.measure(answer(batch.targets - outside), batch).means()["accuracy"] == 0


def test_all_lengths_and_places_of_marks_occur():
    """Every allowed length and place occurs, including the first and the last one."""
    for name in ("adding", "multiplication"):
        lengths, marks = set(), [set(), set()]
        for inputs, _ in columns(make(name, {"length": 30, "variant": "hochreiter"}).train_batch(0, 3000)):
            lengths.add(len(inputs))
            marks[0].update(step for step, (_, marker) in enumerate(inputs) if marker == 1)
        assert lengths == {30, 31, 32, 33}
        assert marks[0] == set(range(1, 14))
    lengths, marks = set(), [set(), set()]
    for inputs, _ in columns(make("temporal_order", {"length": 40}).train_batch(0, 3000)):
        lengths.add(len(inputs))
        for place, step in enumerate(step for step, symbol in enumerate(inputs) if symbol in (6, 7)):
            marks[place].add(step)
    assert lengths == {40, 41, 42, 43, 44}
    assert marks == [set(range(4, 9)), set(range(20, 25))]
    marks = [set(), set()]
    for inputs, _ in columns(make("adding", {"length": 9}).train_batch(0, 500)):
        for place, step in enumerate(step for step, (_, marker) in enumerate(inputs) if marker == 1):
            marks[place].add(step)
    assert marks == [set(range(4)), set(range(4, 9))]


# --- long lag, parity, recall, selective copy --------------------------------------------------------


def test_after_the_lag_a_sequence_of_long_lag_ends_with_probability_one_tenth():
    batch = make("long_lag", {"lag": 5, "distractors": 3}).train_batch(0, 100_000)
    more = batch.lengths - 8  # b, x or y, 5 distractors, e
    for k in range(4):
        assert float((more == k).float().mean()) == pytest.approx(0.1 * 0.9**k, rel=0.04)
    assert float(more.float().mean()) == pytest.approx(9, rel=0.03)
    counts = batch.inputs[2:7].flatten().bincount(minlength=7)
    assert counts.tolist() == pytest.approx([0] * 4 + [500_000 / 3] * 3, rel=0.02)
    assert float(batch.targets.float().mean()) == pytest.approx(0.5, abs=0.02)


def test_parity_is_evaluated_on_four_times_the_length():
    task = make("parity", {"length": 30, "valid_size": 4})
    assert len(task.train_batch(0, 2).inputs) == 30
    assert [len(batch.inputs) for split in ("valid", "test") for batch in task.eval_batches(split, 2000)] == [120, 120]
    shorter = make("parity", {"length": 30, "eval_length": 7})
    assert len(next(shorter.eval_batches("test", 9)).inputs) == 7


@pytest.mark.parametrize(("wrong", "solved"), [(5, True), (20, False)])
def test_parity_is_solved_if_the_last_step_is_right_too(wrong, solved):
    task = make("parity", {"length": 30, "valid_size": 1000})
    batch = next(task.eval_batches("valid", 1000))
    outputs = torch.nn.functional.one_hot(batch.targets, 2) * 1.0
    outputs[-1, :wrong] = outputs[-1, :wrong].roll(1, -1)
    means = task.measure(answer(outputs), batch).means()
    assert means == {"accuracy": pytest.approx(1 - wrong / 120_000), "accuracy_at_end": pytest.approx(1 - wrong / 1000)}
    assert task.solved(means) is solved


def test_recall_asks_for_every_pair_and_has_every_symbol():
    batch = make("recall", {"pairs": 3, "keys": 4, "values": 5, "delay": 2}).train_batch(0, 6000)
    asked = (batch.inputs[0:6:2] == batch.inputs[-1]).sum(1)
    assert asked.tolist() == pytest.approx([2000] * 3, rel=0.1)
    for steps, low, high in (([0, 2, 4, -1], 0, 4), ([1, 3, 5], 4, 9), ([6, 7], 9, 13)):
        for step in steps:
            counts = batch.inputs[step].bincount(minlength=13)
            assert counts[low:high].tolist() == pytest.approx([6000 / (high - low)] * (high - low), rel=0.15)


def test_letters_of_selective_copy_are_anywhere():
    """All places have a letter with equal frequency, and all letters have equal frequency."""
    batch = make("selective_copy", {"length": 8, "letters": 3, "alphabet": 5}).train_batch(0, 8000)
    torch.testing.assert_close((batch.inputs[:8] < 5).float().mean(1), torch.full((8,), 3 / 8), rtol=0.06, atol=0)
    counts = batch.targets[-3:].flatten().bincount(minlength=6)
    assert counts.tolist() == pytest.approx([4800] * 5 + [0], rel=0.06)


def test_only_recalled_letters_count_in_selective_copy():
    task = make("selective_copy", {"length": 20, "letters": 4})
    batch = task.train_batch(0, 30)
    outputs = torch.nn.functional.one_hot(batch.targets, 9) * 1.0
    outputs[:-4] = outputs[:-4].roll(1, -1)
    outputs[-1] = outputs[-1].roll(1, -1)
    assert task.measure(answer(outputs), batch).means() == {"accuracy": 0.75}


# --- stories -----------------------------------------------------------------------------------------


def test_the_baseline_of_stories_is_the_word_frequencies():
    task = make("stories", {"distance": 20})
    train = Counter(t for step in range(40) for _, ts in columns(task.train_batch(step, 100)) for t in ts)
    test = [t for batch in task.eval_batches("test", 500) for _, ts in columns(batch) for t in ts]
    nats = -sum(math.log(train[t] / train.total()) for t in test) / len(test)
    assert task.baseline("test")["loss"] == pytest.approx(nats, rel=0.01)
    assert task.baseline("test")["perplexity"] == pytest.approx(math.exp(nats), rel=0.03)


def test_recall_of_stories_at_the_exact_distance_and_in_ranges():
    task = make("stories", {"distance": 60}, valid_size=400)
    batch = next(task.eval_batches("valid", 400))
    outputs = perfect(task, batch)
    exact = batch.marks == 60
    outputs[exact] = outputs[exact].roll(1, -1)  # every word marked at exactly 60 is wrong, all others right
    means = task.measure(answer(outputs), batch).means()
    assert means["recall"] == 0
    assert means["recall_at_25"] == means["recall_at_50"] == 1
    assert 0 < means["recall_at_60"] < 1
    assert 0.4 < float(exact.sum()) / 400 < 0.65
    assert (batch.marks > 0).sum() == 400
