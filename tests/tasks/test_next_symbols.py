"""The tasks whose targets are sets of symbols: their baselines, metrics and strings."""

import math
from collections import Counter, defaultdict
from itertools import pairwise

import pytest
import torch
from batches import columns, make
from conftest import answer

from seqtrain.tasks import Task

CASES = [
    ("embedded_reber", {"valid_size": 60, "test_size": 60}),
    ("counting", {"language": "ab", "train_limit": 5, "limit": 20}),
    ("counting", {"language": "abc", "train_limit": 5, "limit": 20}),
    ("brackets", {"kinds": 1, "test_size": 300}),
    ("brackets", {"kinds": 3, "test_size": 300}),
]
cases = pytest.mark.parametrize(
    ("name", "options"), CASES, ids=[f"{n}-{'-'.join(map(str, o.values()))}" for n, o in CASES]
)


def strings(task, split):
    return [pair for batch in task.eval_batches(split, 100) for pair in columns(batch)]


def figures(task, outputs, batch):
    return task.summarise({"loss": 0.0} | task.measure(answer(outputs), batch).means())


# --- baselines -------------------------------------------------------------------------------------


@cases
def test_baseline_is_the_best_guess_from_the_current_symbol(name, options):
    """The frequencies of next symbols after each symbol, counted and scored one step at a time."""
    task = make(name, options)
    followers, steps = defaultdict(Counter), Counter()
    for inputs, targets in strings(task, "test"):
        for symbol, row in zip(inputs, targets, strict=True):
            steps[symbol] += 1
            followers[symbol].update(v for v, there in enumerate(row) if there)
    nats = 0.0
    for symbol, seen in steps.items():
        for often in followers[symbol].values():
            for cases in (often, seen - often):
                nats -= cases * math.log(cases / seen) if cases else 0.0
    assert task.baseline("test")["loss"] == pytest.approx(nats / steps.total(), rel=1e-6)


def test_no_guess_from_the_current_symbol_gets_a_reber_string_right():
    task = make("embedded_reber", {})
    assert task.baseline("test")["accuracy"] == 0
    for inputs, targets in strings(task, "test"):
        after = [row for symbol, row in zip(inputs, targets, strict=True) if symbol == inputs[1]]
        assert after[0] == [1, 0, 0, 0, 0, 0, 0]  # B
        assert after[-1] == [0, 0, 0, 0, 0, 0, 1]  # E


@pytest.mark.parametrize("language", ["ab", "abc"])
def test_without_a_memory_counting_fails_at_two(language):
    """Of all models with one set for each current symbol, the best accepts n = 1 and fails at 2."""
    task = make("counting", {"language": language, "train_limit": 5, "limit": 10})
    batch = next(task.eval_batches("test", 10))
    V = len(language) + 1
    sets = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * V)
    best = 0
    for a in sets:
        if not torch.equal(a > 0, torch.tensor([True, True] + [False] * (V - 2))):
            continue  # the set after the first a
        for b in sets:
            for c in sets if language == "abc" else sets[:1]:
                after = {0: a, 1: b, V - 1: torch.tensor([1.0] + [-1.0] * (V - 1))} | ({2: c} if V == 4 else {})
                table = torch.stack([after[symbol] for symbol in range(V)])
                best = max(best, figures(task, table[batch.inputs], batch)["first_failure"])
    assert task.baseline("test")["first_failure"] == best == 2


# --- metrics ---------------------------------------------------------------------------------


def test_a_reber_string_is_right_if_possible_symbols_have_the_largest_outputs():
    """Only the order counts; a tie of an impossible and a possible symbol at one step makes the string wrong."""
    task = make("embedded_reber", {})
    batch = task.train_batch(0, 8)
    outputs = batch.targets - 3.0  # all below zero
    assert figures(task, outputs, batch)["accuracy"] == 1
    possible, impossible = batch.targets[4, 5].argmax(), batch.targets[4, 5].argmin()
    outputs[4, 5, impossible] = outputs[4, 5, possible]
    assert figures(task, outputs, batch)["accuracy"] == 7 / 8


@pytest.mark.parametrize(("right", "solved"), [(1.0, True), (0.995, False)])
def test_embedded_reber_is_solved_if_every_string_is_right(right, solved):
    assert make("embedded_reber", {}).solved({"accuracy": right}) is solved


def test_first_failure_is_the_smallest_n_with_a_wrong_step():
    task = make("counting", {"train_limit": 5, "limit": 20})
    (batch,) = task.eval_batches("valid", 20)
    right = batch.targets - 0.5
    assert figures(task, right, batch)["first_failure"] == 21
    for n, step in ((17, 34), (14, 3), (9, 18), (11, 0)):  # n, and which of its steps is wrong
        right[step, n - 1] *= -1
    assert figures(task, right, batch)["first_failure"] == 9
    pieces = task.measure(answer(right), batch)
    again = None
    for start in range(0, 20, 7):
        part = batch.rows(start, min(start + 7, 20))
        measured = task.measure(answer(right[: len(part.inputs), start : start + 7]), part)
        again = measured if again is None else again.merge(measured)
    assert again == pieces


@pytest.mark.parametrize(("first_failure", "solved"), [(100, False), (101, True)])
def test_counting_is_solved_at_twice_the_trained_n(first_failure, solved):
    task = make("counting", {"train_limit": 50, "limit": 200})
    assert task.solved({"first_failure": first_failure}) is solved


def test_work_in_tokens_counts_steps(monkeypatch):
    monkeypatch.setattr(Task, "work_unit", "tokens")
    task = make("brackets", {"train_length": 20})
    assert task.work(task.train_batch(0, 8)) == 160
    task = make("embedded_reber", {})
    batch = task.train_batch(0, 8)
    assert task.work(batch) == batch.lengths.sum()


# --- strings ---------------------------------------------------------------------------------


def test_reber_strings_of_training_validation_and_test_are_disjoint():
    task = make("embedded_reber", {})
    valid, test = ({str(inputs) for inputs, _ in strings(task, split)} for split in ("valid", "test"))
    train = {str(inputs) for step in range(300) for inputs, _ in columns(task.train_batch(step, 64))}
    assert len(valid) == len(test) == 256
    assert len(train) > 500
    assert not valid & test
    assert not train & (valid | test)


def test_training_strings_of_reber_have_all_frequencies():
    """For half of the seeds, the most frequent string is in training; both arcs of a node are equally frequent."""
    shortest = ["BTPSXVE".index(symbol) for symbol in "BTBTXSET"]
    seen, arcs = [], Counter()
    for seed in range(60):
        drawn = [inputs for inputs, _ in columns(make("embedded_reber", {}, seed=seed).train_batch(0, 100))]
        seen.append(shortest in drawn)
        for inputs in drawn:
            arcs.update([inputs[1], 10 + inputs[3]])
    assert 18 < sum(seen) < 42
    assert arcs[1] / 6000 == pytest.approx(0.5, abs=0.1)
    assert arcs[11] / 6000 == pytest.approx(0.5, abs=0.1)


def test_counting_evaluates_every_n_once():
    task = make("counting", {"language": "abc", "train_limit": 5, "limit": 23})
    for split in ("valid", "test"):
        assert [inputs.count(1) for inputs, _ in strings(task, split)] == list(range(1, 24))
        assert task.count_eval_batches(split, 10) == len(list(task.eval_batches(split, 10))) == 3


@pytest.mark.parametrize(
    ("distribution", "expected"),
    [
        ("uniform", [1 / 4, 1 / 4, 1 / 4, 1 / 4]),
        ("u_shaped", [3 / 8, 1 / 8, 1 / 8, 3 / 8]),
        ("short", [5 / 8, 15 / 56, 5 / 56, 1 / 56]),
        ("long", [1 / 56, 5 / 56, 15 / 56, 5 / 8]),
    ],
)
def test_counting_draws_n_from_the_distribution(distribution, expected):
    """The beta-binomial probabilities of four n by hand: products of rising factorials."""
    task = make("counting", {"train_limit": 4, "limit": 8, "length_distribution": distribution})
    ns = torch.tensor([inputs.count(0) for inputs, _ in columns(task.train_batch(0, 20_000))])
    assert (torch.bincount(ns, minlength=5)[1:] / 20_000).tolist() == pytest.approx(expected, abs=0.015)


def test_brackets_reach_their_depths_and_not_more():
    task = make("brackets", {"train_depth": 4, "depth": 7})

    def depths(inputs):
        opened = (torch.tensor(inputs) < 2).long() * 2 - 1
        return opened.cumsum(0).tolist()

    train = [depths(inputs) for inputs, _ in columns(task.train_batch(0, 200))]
    fixed = [depths(inputs) for inputs, _ in strings(task, "valid")]
    assert {depth for string in train for depth in string} == set(range(5))
    assert {depth for string in fixed for depth in string} == set(range(8))
    assert all(string[:8] == [1, 2, 3, 4, 5, 6, 7, 6] for string in fixed)
    assert {len(string) for string in fixed} == {100}
    ways = [b - a for string in train for a, b in pairwise(string) if 0 < a < 4]
    assert sum(way > 0 for way in ways) / len(ways) == pytest.approx(0.5, abs=0.05)


def test_accuracy_of_brackets_counts_closing_ones_after_the_trained_length():
    """The baseline is the most frequent answer there, counted one step at a time; all other steps do not count."""
    task = make("brackets", {"train_length": 20, "train_depth": 3, "length": 40, "depth": 5, "test_size": 300})
    answers = defaultdict(Counter)
    for inputs, targets in strings(task, "test"):
        for symbol, row in list(zip(inputs, targets, strict=True))[20:]:
            if symbol >= 2:
                answers[symbol][tuple(row)] += 1
    most_frequent = sum(max(counter.values()) for counter in answers.values())
    total = sum(counter.total() for counter in answers.values())
    assert task.baseline("test")["accuracy"] == pytest.approx(most_frequent / total)
    batch = next(task.eval_batches("test", 300))
    outputs = batch.targets - 0.5
    outputs[:20] *= -1
    outputs[batch.inputs < 2] *= -1
    assert figures(task, outputs, batch)["accuracy"] == 1
    outputs[20:] *= -1
    assert figures(task, outputs, batch)["accuracy"] == 0
    assert task.measure(answer(outputs), batch).counts["accuracy"] == total
