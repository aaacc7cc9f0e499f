"""Hidden facts: what a sequence tells, read again by a slow program that knows a task from its documentation."""

import pytest
import torch

from seqtrain.config import config_from
from seqtrain.config.build import build_task
from seqtrain.tasks import TASKS, Task


def facts_of(settings, count=40):
    """For each sequence, what it reads, and its facts as `{name: {step: value}}`."""
    task = build_task(config_from({"task": settings, "model": {"cell": "lstm"}}, "test"))
    batch = next(task.eval_batches("test", count))
    lengths = [len(batch.inputs)] * batch.size if batch.lengths is None else batch.lengths.tolist()
    for n, length in enumerate(lengths):
        facts = {}
        for fact in task.hidden_facts(batch):
            assert not bool(fact.known[length:, n].any())
            steps = fact.known[:, n].nonzero()[:, 0].tolist()
            values = fact.values[:, n].tolist()
            facts[fact.name] = {t: fact.classes[values[t]] if fact.classes else pytest.approx(values[t]) for t in steps}
        yield task, batch.inputs[:length, n].tolist(), facts


def test_recall():
    for _, read, facts in facts_of({"name": "recall", "pairs": 2, "delay": 3}):
        for pair in (0, 1):
            value = str(read[2 * pair + 1] - 8)
            assert facts[f"value of pair {pair + 1}"] == dict.fromkeys(range(2 * pair + 1, len(read) - 1), value)


def test_temporal_order():
    for _, read, facts in facts_of({"name": "temporal_order", "symbols": 3, "length": 40}):
        marks = [(t, "X" if symbol == 6 else "Y") for t, symbol in enumerate(read) if symbol >= 6]
        assert len(marks) == 3
        for number, (t, mark) in enumerate(marks, 1):
            assert facts[f"mark {number}"] == dict.fromkeys(range(t, len(read)), mark)


def test_parity():
    for _, read, facts in facts_of({"name": "parity", "length": 5}):
        odd = [sum(read[: t + 1]) % 2 for t in range(len(read))]
        assert facts["parity so far"] == {t: ("even", "odd")[value] for t, value in enumerate(odd)}


@pytest.mark.parametrize("language", ["ab", "abc"])
def test_counting(language):
    for _, read, facts in facts_of({"name": "counting", "language": language, "train_limit": 3, "limit": 9}):
        word = "".join(language[symbol] for symbol in read[1:])
        n = word.count("a")
        assert word == "".join(letter * n for letter in language)
        wanted = {}
        for t, letter in enumerate(word, 1):
            done = word[:t].count(letter)
            wanted[t] = done if letter == "a" else n - done
        assert facts == {"count": wanted}


def test_brackets():
    for _, read, facts in facts_of({"name": "brackets", "length": 30, "train_length": 10, "kinds": 3}):
        stack, depth, kind = [], {}, {}
        for t, symbol in enumerate(read):
            if symbol < 3:
                stack.append(symbol)
            else:
                assert stack.pop() == symbol - 3
            depth[t] = len(stack)
            if stack:
                kind[t] = str(stack[-1])
        assert facts == {"open brackets": depth, "kind opened last": kind}


def test_long_lag():
    for _, read, facts in facts_of({"name": "long_lag", "lag": 6}):
        assert facts == {"second symbol": dict.fromkeys(range(1, len(read)), "xy"[read[1]])}


def test_embedded_reber():
    for task, read, facts in facts_of({"name": "embedded_reber"}):
        word = "".join("BTPSXVE"[symbol] for symbol in read)
        assert word[-2:] == "E" + word[1]
        assert facts == {"second symbol": dict.fromkeys(range(1, len(read) - 1), word[1])}
        assert task.name == "embedded_reber"


@pytest.mark.parametrize("variant", ["noisy_signal", "noisy_targets"])
def test_two_sequence(variant):
    right = total = 0
    for _, read, facts in facts_of({"name": "two_sequence", "length": 12, "signal": 4, "variant": variant}, 200):
        mean = sum(value for (value,) in read[:4])
        assert len(set(facts["class"].values())) == 1
        assert [*facts["class"]] == [*range(3, len(read))]
        right += facts["class"][3] == ("1" if mean > 0 else "2")
        total += 1
    assert right == total  # four numbers of 1 or -1, with noise of variance 0.2 at most


def test_copy_memory():
    for _, read, facts in facts_of({"name": "copy_memory", "length": 4}):
        T = len(read)
        assert facts["letter 1"] == dict.fromkeys(range(T - 9), str(read[0]))
        assert facts["letter 10"] == dict.fromkeys(range(9, T), str(read[9]))


def test_selective_copy():
    for _, read, facts in facts_of({"name": "selective_copy", "length": 9, "letters": 3, "alphabet": 4}):
        letters = [(t, str(symbol)) for t, symbol in enumerate(read) if symbol < 4]
        T = len(read)
        assert facts["letter 1"] == dict.fromkeys(range(letters[0][0], T - 2), letters[0][1])
        assert facts["letter 3"] == dict.fromkeys(range(letters[2][0], T), letters[2][1])


def test_lookaround():
    for _, read, facts in facts_of({"name": "lookaround", "length": 12, "offset": 3, "symbols": 4}):
        assert facts == {"symbol 3 steps before": {t: str(read[t - 3]) for t in range(3, 12)}}


@pytest.mark.parametrize("variant", ["halves", "hochreiter"])
@pytest.mark.parametrize("name", ["adding", "multiplication"])
def test_marked_numbers(name, variant):
    for _, read, facts in facts_of({"name": name, "variant": variant, "length": 24}):
        wanted, seen = {}, []
        for t, (value, marker) in enumerate(read):
            if marker == 1:
                seen.append(value)
            if seen and name == "adding":
                wanted[t] = 0.5 + sum(seen) / 4 if variant == "hochreiter" else sum(seen)
            elif seen:
                wanted[t] = seen[0] if len(seen) == 1 else seen[0] * seen[1]
        assert facts == {("sum so far" if name == "adding" else "product so far"): wanted}


def test_stories():
    answers = {"place": {"France": "French", "China": "Chinese"}, "number": {"key": "was", "keys": "were"},
               "gender": {"Anna": "she", "Adam": "he"}}  # fmt: skip
    seen = set()
    for task, read, facts in facts_of({"name": "stories", "distance": 15}, 300):
        words = [task.vocabulary[symbol] for symbol in read]
        told = {"I": ("place", 4), "the": ("number", 1)}
        name, start = told.get(words[0], ("gender", 0))
        closing = {"place": ("fluent", 1), "number": (")", 1), "gender": ("then", 1)}[name][0]
        end = len(words) - 1 - words[::-1].index(closing)
        (own,) = [fact for fact, values in facts.items() if values]
        assert own == name
        assert [*facts[name]] == [*range(start, end + 1)]
        (value,) = set(facts[name].values())
        if words[start] in answers[name]:
            assert value == answers[name][words[start]]
            seen.add(value)
        if end + 1 < len(words):
            assert words[end + 1] == value
    assert seen == {"French", "Chinese", "was", "were", "she", "he"}


def test_every_task_with_a_memory_names_what_it_needs():
    """A new task must say what its model has to remember, or stand here."""
    without = {name for name, task in TASKS.items() if task.hidden_facts is Task.hidden_facts}
    assert without == {"timing", "series", "sequences", "tagging"}  # all sequences of timing are the same


def test_predictions_that_need_a_memory():
    for settings, step in [({"name": "stories", "distance": 12}, None), ({"name": "embedded_reber"}, -2)]:
        task = build_task(config_from({"task": settings, "model": {"cell": "lstm"}}, "test"))
        batch = next(task.eval_batches("test", 30))
        needing = task.memory_predictions(batch)
        assert bool((needing.sum(0) == 1).all())
        if step is not None:
            assert torch.equal(needing.long().argmax(0), batch.lengths + step)
        else:
            ends = torch.stack([fact.known for fact in task.hidden_facts(batch)]).any(0)
            assert torch.equal(needing.long().argmax(0), ends.shape[0] - 1 - ends.flip(0).long().argmax(0))
