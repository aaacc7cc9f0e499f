"""What a unit keeps: hand-built cells that hold a fact for a known time, in a known unit."""

import math

import pytest
import torch
from inspected import made
from torch import nn

from seqtrain.cells.base import Cell, HiddenState
from seqtrain.inspection import kept as module
from seqtrain.inspection import watch
from seqtrain.inspection.kept import what_is_kept
from seqtrain.models import SequenceModel, Stack
from seqtrain.models.model import OneHot
from seqtrain.tasks.base import Batch
from seqtrain.tasks.facts import HiddenFact, constant

SYMBOLS, UNITS, UNIT, HOLDS = 4, 6, 2, 7


class Latch(Cell):
    """Unit `UNIT` holds the first symbol for `HOLDS` steps; the other units show the present one, scrambled."""

    gates = ("keep",)

    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.mix = nn.Parameter(torch.randn(input_size, hidden_size, generator=torch.Generator().manual_seed(0)))

    def project(self, x):
        return x

    def step(self, x_gates, state):
        age = state.hidden[:, :1] + 1
        symbol = x_gates.argmax(1, keepdim=True).float()
        held = torch.where(age == 1, symbol, state.hidden[:, UNIT : UNIT + 1])
        held = torch.where(age > HOLDS + 1, torch.zeros_like(held), held)
        new = x_gates @ self.mix
        new = torch.cat([age, new[:, 1:UNIT], held, new[:, UNIT + 1 :]], 1)
        if self.observer is not None:
            self.observe(keep=(age <= HOLDS + 1).float().expand(-1, self.hidden_size))
        return HiddenState(new)

    def initial_state(self, batch_size):
        return HiddenState(torch.zeros(batch_size, self.hidden_size))


def latch():
    stack = Stack(Latch, SYMBOLS, [UNITS], direction="forward")
    return SequenceModel(OneHot(SYMBOLS), stack, nn.Identity(), every_step=True)


def sequences(T=12, N=400, seed=1):
    inputs = torch.randint(SYMBOLS, (T, N), generator=torch.Generator().manual_seed(seed))
    return Batch(inputs, inputs)


def first_symbol(batch):
    T, names = len(batch.inputs), tuple("abcd")
    return [constant("first symbol", batch.inputs[0], 0, T - 1, T, names)]


@pytest.fixture(scope="module")
def task():
    return made({"name": "copy_memory", "length": 3}, cell="rnn")[1]


@pytest.mark.parametrize("together", [1, 900, 1 << 15])
def test_a_latch_holds_its_symbol_as_long_as_it_does(task, together, monkeypatch):
    monkeypatch.setattr(watch, "TOGETHER", together)
    (found,) = what_is_kept(latch(), task, sequences(), first_symbol)
    best = found.best(state=True)
    assert (best.name, best.one.unit, best.one.chance) == ("hidden", UNIT, 0.25)
    assert found.steps == [0, 1, 2, 3, 4, 6, 7, 8, 10, 11]
    for step, one, every in zip(found.steps, best.one_at, best.every_at, strict=True):
        if step <= HOLDS:
            assert one.score == 1
            assert step == 0 or one.unit == UNIT  # at first, others show the present symbol
        else:
            assert max(one.score, every.score) < 0.5
    early, late = best.one.by_step[: 1 + HOLDS - 2], best.one.by_step[-3:]
    assert min(early) > 2 * max(late)
    assert best.one.is_found()
    assert found.best(state=False).name == "keep"
    assert not found.best(state=False).one.is_found()


def test_examples_show_the_unit_over_its_sequence(task):
    (found,) = what_is_kept(latch(), task, sequences(), first_symbol)
    one, two = found.examples
    assert one.label != two.label
    for example in found.examples:
        symbol = "abcd".index(example.label)
        assert example.inputs[0] == str(symbol)
        held = example.unit["hidden"].tolist()
        assert held == [symbol] * (HOLDS + 1) + [0] * (12 - HOLDS - 1)
        assert example.unit["keep"].tolist() == [1] * (HOLDS + 1) + [0] * (12 - HOLDS - 1)
        assert (example.start, example.end) == (0, 11)


def test_a_fact_that_is_told_later_and_padding(task):
    """The first symbol after step 0 that is not 0: the latch does not hold it."""
    batch, generator = sequences(20), torch.Generator().manual_seed(3)
    lengths = torch.randint(8, 21, (batch.size,), generator=generator)
    batch = Batch(batch.inputs, batch.inputs, lengths)

    def at(batch):
        return (batch.inputs[1:] > 0).long().argmax(0) + 1

    def told(batch):
        values = batch.inputs.gather(0, at(batch)[None])[0]
        return [constant("later", values, at(batch), 10**6, len(batch.inputs), tuple("abcd"))]

    (found,) = what_is_kept(latch(), task, batch, told)
    assert found.steps[-1] == int((lengths - 1 - at(batch)).max())
    best = found.best(state=True)
    assert best.every_at[0].score > 0.9  # the present symbol
    assert all(one is None or one.score < 0.55 for one in best.every_at[1:])
    sizes = [0 if one is None else int(one.labels.known.sum()) for one in best.one_at]
    assert sizes[0] == batch.size // 2
    assert sizes[-2] < batch.size // 2  # only those that are so long


def test_facts_that_are_noise_are_not_found(task):
    """The rate of false alarms over many facts that have nothing to do with what the cell read."""
    generator = torch.Generator().manual_seed(5)

    def noise(batch):
        T, N = batch.inputs.shape
        facts = [constant(f"{n}", torch.randint(2, (N,), generator=generator), 0, T - 1, T, ("a", "b"))
                 for n in range(30)]  # fmt: skip
        numbers = [HiddenFact(f"x{n}", torch.randn(T, N, generator=generator), torch.ones(T, N, dtype=torch.bool))
                   for n in range(30)]  # fmt: skip
        return [*facts, *numbers]

    found = what_is_kept(latch(), task, sequences(T=5, N=100), noise)
    assert len(found) == 60
    alarms = sum(kept.best(state=True).one.is_found() for kept in found)
    assert alarms / 60 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 60)


def test_a_fact_that_no_sequence_has(task):
    def never(batch):
        return [HiddenFact("never", batch.inputs, torch.zeros_like(batch.inputs, dtype=torch.bool), tuple("abcd"))]

    assert what_is_kept(latch(), task, sequences(), never) == []


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_each_state_and_gate_is_read_once(cell):
    model, own = made({"name": "parity", "length": 4}, cell=cell, direction="bidirectional", hidden_size=3)
    batch = next(own.eval_batches("test", 60))
    (found,) = what_is_kept(model, own, batch, own.hidden_facts)
    names = {"rnn": ["hidden"], "lstm": ["i", "f", "g", "o", "hidden", "cell"], "gru": ["r", "z", "n", "hidden"]}
    for direction in ("forward", "backward"):
        own_names = [each.name for each in found.readings if each.place.direction == direction]
        assert sorted(own_names) == sorted(names[cell])
    assert {each.name for each in found.readings if each.is_state} == {"hidden", "cell"} & {*names[cell]}
    assert len(found.examples) == module.EXAMPLES
