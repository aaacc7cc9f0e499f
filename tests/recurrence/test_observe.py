"""What is seen of a cell: by which names, when, and that looking changes nothing."""

from typing import NamedTuple

import pytest
import torch

from seqtrain.cells import Cell, HiddenState, LSTMCell
from seqtrain.models.zoneout import Zoneout
from seqtrain.recurrence import observe, unroll_reference

T, B, I, H = 5, 3, 2, 4


class Leaky(Cell):
    """A user's cell with a gate of its own; it names it unless told not to."""

    def __init__(self, named=True):
        super().__init__(I, H)
        self.line = torch.nn.Linear(I, H)
        self.named = named

    def project(self, x):
        return self.line(x)

    def initial_state(self, batch_size):
        return HiddenState(torch.zeros(batch_size, H))

    def step(self, x_gates, state):
        leak = torch.sigmoid(x_gates)
        if self.named:
            leak = self.observe(leak=leak)
        return HiddenState(leak * state.hidden + (1 - leak))


class Pair(NamedTuple):
    hidden: torch.Tensor
    other: torch.Tensor


class Double(Cell):
    """Two cells that use the same names."""

    def __init__(self):
        super().__init__(I, H)
        self.one, self.two = Leaky(), Leaky()

    def project(self, x):
        return torch.stack([self.one.project(x), self.two.project(x)], -1)

    def initial_state(self, batch_size):
        return Pair(torch.zeros(batch_size, H), torch.zeros(batch_size, H))

    def step(self, x_gates, state):
        one = self.one.step(x_gates[..., 0], HiddenState(state.hidden))
        two = self.two.step(x_gates[..., 1], HiddenState(state.other))
        return Pair(one.hidden, two.hidden)


def leak_by_hand(cell, x):
    return 1 / (1 + torch.exp(-(x @ cell.line.weight.T + cell.line.bias)))


@pytest.fixture
def x():
    torch.manual_seed(0)
    return torch.randn(T, B, I)


def test_a_users_cell_is_seen_by_the_names_that_it_gives(x):
    cell = Leaky()
    observed = observe(cell, x, lengths=torch.tensor([5, 2, 0]))
    assert list(observed.activations) == ["leak", "hidden"]
    leak = leak_by_hand(cell, x)
    torch.testing.assert_close(observed.activations["leak"][:, 0], leak[:, 0])
    torch.testing.assert_close(observed.activations["leak"][:2, 1], leak[:2, 1])
    assert not observed.activations["leak"][2:, 1].any()
    assert torch.equal(observed.activations["hidden"], observed.outputs)


def test_a_cell_that_names_nothing_is_seen_by_its_state_and_what_it_projects(x):
    cell = Leaky(named=False)
    observed = observe(cell, x)
    assert list(observed.activations) == ["x_gates", "hidden"]
    assert torch.equal(observed.activations["x_gates"], cell.line(x))


def test_two_cells_that_use_the_same_name_are_told_apart(x):
    cell = Double()
    observed = observe(cell, x)
    assert list(observed.activations) == ["leak", "two.leak", "hidden", "other"]
    torch.testing.assert_close(observed.activations["leak"], leak_by_hand(cell.one, x))
    torch.testing.assert_close(observed.activations["two.leak"], leak_by_hand(cell.two, x))


def test_a_wrapped_cell_keeps_its_names(x):
    """The gates are those of the cell, the state is what zoneout leaves of it."""
    cell = LSTMCell(I, H)
    zoned = Zoneout(cell, 0.5, 0.25, None, training=False)
    observed = observe(zoned, x)
    assert list(observed.activations) == ["i", "f", "g", "o", "hidden", "cell"]
    assert torch.equal(observed.activations["hidden"], unroll_reference(zoned, x)[0])
    first = torch.sigmoid(cell.project(x)[0])  # the state before is zero
    torch.testing.assert_close(observed.activations["i"][0], first[:, :H])


def test_steps_are_told_one_by_one_with_gradients(x):
    cell, times, gradients = LSTMCell(I, H), [], {}

    def on_step(t, activations, state):
        times.append((t, list(activations)))
        assert state.cell is activations["cell"]
        activations["f"].register_hook(lambda gradient: gradients.setdefault(t, gradient))

    observed = observe(cell, x, reverse=True, on_step=on_step)
    assert times == [(t, ["i", "f", "g", "o", "cell", "hidden"]) for t in reversed(range(T))]
    assert observed.activations == {}
    observed.outputs.sum().backward()
    assert sorted(gradients) == list(range(T))
    assert not gradients[T - 1].any()  # the first of the walk, which forgets nothing
    assert all(gradients[t].all() for t in range(T - 1))


@pytest.mark.parametrize("fails", [False, True])
def test_looking_leaves_the_cell_as_it_was(x, fails):
    cell = Leaky()
    seen = cell.observer = lambda _: None
    if fails:
        with pytest.raises(ZeroDivisionError):
            observe(cell, x, on_step=lambda *_: 1 / 0)
    else:
        observe(cell, x)
    assert cell.observer is seen


def test_naming_returns_the_values_as_they_are():
    cell, one, two = Leaky(), torch.ones(1), torch.zeros(1)
    assert cell.observe(one=one) is one
    found = cell.observe(two=two, one=one)
    assert found[0] is two
    assert found[1] is one
