"""The loop over time: order, state, lengths and direction."""

from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtrain.cells import CELLS, Cell
from seqtrain.recurrence import unroll, unroll_reference

NAMES = list(CELLS)


class Digits(NamedTuple):
    hidden: torch.Tensor


class AppendDigit(Cell):
    """h' = 10 h + x: the outputs spell the order of the steps."""

    def project(self, x):
        return x

    def step(self, x_gates, state):
        return Digits(10 * state.hidden + x_gates)

    def initial_state(self, batch_size):
        return Digits(torch.zeros(batch_size, 1))


@pytest.fixture(autouse=True)
def _double(float64):
    torch.manual_seed(0)


def digits(*columns):
    return torch.tensor(columns, dtype=torch.float64).T[..., None]  # [T, B, 1]


def numbers(outputs):
    return outputs[..., 0].T.tolist()


def test_steps_run_in_order():
    outputs, state = unroll_reference(AppendDigit(1, 1), digits([1, 2, 3], [4, 5, 6]))
    assert numbers(outputs) == [[1, 12, 123], [4, 45, 456]]
    assert state.hidden[:, 0].tolist() == [123, 456]


def test_reversed_steps_stay_at_their_places():
    outputs, state = unroll_reference(AppendDigit(1, 1), digits([1, 2, 3], [4, 5, 6]), reverse=True)
    assert numbers(outputs) == [[321, 32, 3], [654, 65, 6]]
    assert state.hidden[:, 0].tolist() == [321, 654]


def test_each_sequence_ends_and_reverses_at_its_own_length():
    x, lengths = digits([1, 2, 3], [4, 5, 9], [9, 9, 9]), torch.tensor([3, 2, 0])
    outputs, state = unroll_reference(AppendDigit(1, 1), x, lengths=lengths)
    assert numbers(outputs) == [[1, 12, 123], [4, 45, 0], [0, 0, 0]]
    assert state.hidden[:, 0].tolist() == [123, 45, 0]
    outputs, state = unroll_reference(AppendDigit(1, 1), x, lengths=lengths, reverse=True)
    assert numbers(outputs) == [[321, 32, 3], [54, 5, 0], [0, 0, 0]]
    assert state.hidden[:, 0].tolist() == [321, 54, 0]


def test_the_given_state_is_where_it_starts():
    outputs, _ = unroll_reference(AppendDigit(1, 1), digits([1, 2]), Digits(torch.tensor([[7.0]])))
    assert numbers(outputs) == [[71, 712]]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [None, torch.tensor([8, 3, 0])])
@pytest.mark.parametrize("name", NAMES)
def test_the_default_engine_gives_what_the_plain_loop_gives(name, lengths, reverse):
    cell, x = cell_of(name).float(), torch.randn(8, 3, 3).float()
    outputs, state = unroll(cell, x, lengths=lengths, reverse=reverse)
    wanted, last = unroll_reference(cell, x, lengths=lengths, reverse=reverse)
    torch.testing.assert_close(outputs, wanted)
    torch.testing.assert_close(tuple(state), tuple(last))


def cell_of(name):
    return CELLS[name](input_size=3, hidden_size=4, learn_initial_state=True)


@pytest.mark.parametrize("name", NAMES)
def test_two_halves_with_the_state_carried_are_the_whole(name):
    cell, x = cell_of(name), torch.randn(8, 2, 3)
    whole, end = unroll_reference(cell, x)
    first, middle = unroll_reference(cell, x[:3])
    second, last = unroll_reference(cell, x[3:], middle)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    torch.testing.assert_close(tuple(last), tuple(end))


@pytest.mark.parametrize("name", NAMES)
def test_reversed_is_forward_on_the_flipped_input(name):
    cell, x = cell_of(name), torch.randn(6, 2, 3)
    backward, state = unroll_reference(cell, x, reverse=True)
    flipped, end = unroll_reference(cell, x.flip(0))
    torch.testing.assert_close(backward, flipped.flip(0))
    torch.testing.assert_close(tuple(state), tuple(end))


@settings(max_examples=15, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    lengths=st.lists(st.integers(0, 6), min_size=1, max_size=4),
    extra=st.integers(0, 3),
    reverse=st.booleans(),
)
def test_padding_and_batch_mates_never_change_a_result(name, lengths, extra, reverse):
    """Each sequence alone and unpadded gives what it gives in a padded batch, gradients too, whatever the padding."""
    torch.manual_seed(sum(lengths))
    cell = cell_of(name)
    T, B = max(6, *lengths) + extra, len(lengths)
    x = torch.randn(T, B, 3, requires_grad=True)
    hostile = x.detach().clone()
    for column, length in enumerate(lengths):
        hostile[length:, column] = float("nan")
    hostile.requires_grad_()
    outputs, state = unroll_reference(cell, hostile, lengths=torch.tensor(lengths), reverse=reverse)
    outputs.sum().backward()
    batch_grads = {k: p.grad.clone() for k, p in cell.named_parameters() if p.grad is not None}
    cell.zero_grad()
    for column, length in enumerate(lengths):
        assert (outputs[length:, column] == 0).all()
        if length:
            alone, end = unroll_reference(cell, x[:length, column : column + 1], reverse=reverse)
            torch.testing.assert_close(outputs[:length, column : column + 1], alone)
            torch.testing.assert_close(state.hidden[column : column + 1], end.hidden)
            alone.sum().backward()
    for key, grad in batch_grads.items():
        single = dict(cell.named_parameters())[key].grad
        torch.testing.assert_close(grad, torch.zeros_like(grad) if single is None else single)
    for column, length in enumerate(lengths):
        assert (hostile.grad[length:, column] == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_extreme_inputs_stay_finite(name):
    cell = CELLS[name](3, 4)
    x = torch.tensor([1e4, -1e4, 0.0]).repeat(5, 2, 1)
    outputs, _ = unroll_reference(cell, x)
    outputs.sum().backward()
    assert outputs.isfinite().all()
    assert all(p.grad.isfinite().all() for p in cell.parameters())


@pytest.mark.parametrize("engine", ["auto", "reference"])
@pytest.mark.parametrize("name", ["lstm", "odyssey"])
def test_arguments_that_do_not_fit_are_refused_whatever_the_engine(engine, name):
    cell, x = CELLS[name](3, 4).float(), torch.randn(5, 2, 3, dtype=torch.float32)
    for wrong in (torch.zeros(5, 2, 4), torch.zeros(5, 3), torch.zeros(0, 2, 3)):
        with pytest.raises(ValueError, match=r"this cell needs \[T, B, 3\], T at least 1"):
            unroll(cell, wrong.float(), engine=engine)
    for wrong in ([6, 1], [5], [5.0, 3.0], [-1, 2], [[5, 3]]):
        with pytest.raises(ValueError, match="lengths must be 2 whole numbers from 0 to 5 on cpu"):
            unroll(cell, x, lengths=wrong, engine=engine)
    listed, _ = unroll(cell, x, lengths=[5, 3], engine=engine)
    given, _ = unroll(cell, x, lengths=torch.tensor([5, 3]), engine=engine)
    assert torch.equal(listed, given)
