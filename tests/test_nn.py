"""`seqtrain.nn.Recurrent` beside `torch.nn.LSTM`, `GRU` and `RNN` with the same weights."""

import copy
import io
from typing import NamedTuple

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence

from seqtrain.cells import CELLS, Cell, GRUCell
from seqtrain.nn import Recurrent
from seqtrain.recurrence import unroll_reference

T, B, I, H, L = 5, 3, 2, 4, 2

KINDS = {
    "lstm": (nn.LSTM, {"biases": 2}, {}),
    "gru": (nn.GRU, {}, {}),
    "rnn": (nn.RNN, {"biases": 2, "nonlinearity": "relu"}, {"nonlinearity": "relu"}),
}
"""The module of torch, our options, and its options."""


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def pair(name, dtype, **arguments):
    """A module of torch and ours with its weights."""
    make_peer, ours, theirs = KINDS[name]
    peer = make_peer(I, H, L, dtype=dtype, **arguments, **theirs)
    mine = Recurrent(name, I, H, L, dtype=dtype, **arguments, **ours)
    with torch.no_grad():
        for layer, directions in enumerate(mine.stack.cells()):
            for cell, suffix in zip(directions, ("", "_reverse"), strict=False):
                for parameter, values in zip(cell.parameters(), of_torch(peer, layer, suffix), strict=True):
                    parameter.copy_(values)
    return peer, mine


def of_torch(peer, layer, suffix, gradient=False):
    """Weights of torch, or their gradients, in the order of a cell's parameters: w_x, w_h, b, and b_h or b_hn."""
    whole = (getattr(peer, f"{name}_l{layer}{suffix}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    w_x, w_h, b, b_h = (one.grad if gradient else one.detach() for one in whole)
    if not isinstance(peer, nn.GRU):
        return w_x, w_h, b, b_h
    added = torch.cat([b_h[: 2 * H], b_h.new_zeros(H)])  # r and z see both biases as one; n has a second one
    return w_x, w_h, b if gradient else b + added, b_h[2 * H :]


def state_of(mine, *batch):
    directions = 2 if mine.bidirectional else 1
    parts = [torch.randn(L * directions, *batch, H, dtype=next(mine.parameters()).dtype) for _ in range(2)]
    return tuple(parts) if mine.stack.cells()[0][0].remembers_apart() else parts[0]


def leaves(*outputs):
    return [leaf for leaf in torch.utils._pytree.tree_leaves(outputs) if leaf is not None]


def watched(tensor):
    """A copy of its own, with gradient if it is real; a packed sequence also holds None."""
    return None if tensor is None else tensor.detach().clone().requires_grad_(tensor.is_floating_point())


def assert_alike(peer, mine, *inputs, tolerance):
    """Outputs, state, and the gradients of a random weighting of them for every weight and input."""
    results = []
    for module in (peer, mine):
        copies = torch.utils._pytree.tree_map(watched, inputs)
        found = leaves(*module(*copies))
        torch.manual_seed(1)
        found = [part for part in found if part.is_floating_point()]
        sum((part * torch.randn_like(part)).sum() for part in found).backward()
        results.append([*found, *(one.grad for one in leaves(*copies) if one.requires_grad)])
    for layer, directions in enumerate(mine.stack.cells()):
        for cell, suffix in zip(directions, ("", "_reverse"), strict=False):
            results[0].extend(of_torch(peer, layer, suffix, gradient=True))
            results[1].extend(parameter.grad for parameter in cell.parameters())
    assert len(results[0]) == len(results[1])
    for wanted, found in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_equals_torch(name, bidirectional, dtype, tolerance):
    peer, mine = pair(name, dtype, bidirectional=bidirectional)
    assert_alike(peer, mine, torch.randn(T, B, I, dtype=dtype), tolerance=tolerance)
    for module in (peer, mine):
        module.zero_grad()
        module.batch_first = True
    assert_alike(peer, mine, torch.randn(B, T, I, dtype=dtype), state_of(mine, B), tolerance=tolerance)
    for module in (peer, mine):
        module.zero_grad()
    assert_alike(peer, mine, torch.randn(T, I, dtype=dtype), state_of(mine), tolerance=tolerance)  # one sequence


@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_packed_sequences_equal_torch(name, with_state):
    """Not sorted by length, so that the order of the state and of the result matters."""
    peer, mine = pair(name, torch.float64, bidirectional=True, batch_first=True)
    sequences = [torch.randn(length, I, dtype=torch.float64) for length in (2, T, 1)]
    state = (state_of(mine, 3),) if with_state else ()
    found, wanted = (module(pack_sequence(sequences, enforce_sorted=False), *state) for module in (mine, peer))
    for ours, theirs in zip(leaves(*found), leaves(*wanted), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    assert pad_packed_sequence(found[0])[1].tolist() == [2, T, 1]
    packed = pack_sequence([*reversed(sequences[:2])])  # sorted: without indices
    assert_alike(peer, mine, packed, tolerance=1e-10)


def test_a_cell_without_a_peer_runs_layer_by_layer():
    mine = Recurrent("peephole", 5, 7, num_layers=2, bidirectional=True)
    x = torch.randn(T, B, 5)
    outputs, (h, c) = mine(x)
    assert (outputs.shape, h.shape, c.shape) == ((T, B, 14), (4, B, 7), (4, B, 7))
    wanted, ends = x, []
    for ahead, back in mine.stack.cells():
        halves = unroll_reference(ahead, wanted), unroll_reference(back, wanted, reverse=True)
        wanted = torch.cat([half for half, _ in halves], -1)
        ends.extend(end for _, end in halves)
    torch.testing.assert_close(outputs, wanted)
    torch.testing.assert_close(h, torch.stack([end.hidden for end in ends]))
    torch.testing.assert_close(c, torch.stack([end.cell for end in ends]))


@pytest.mark.parametrize("name", CELLS)
def test_two_halves_with_the_state_carried_are_the_whole(name):
    mine = Recurrent(name, I, H, L)
    x = torch.randn(T, B, I)
    whole, end = mine(x)
    first, state = mine(x[:2])
    second, last = mine(x[2:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    for one, other in zip(leaves(last), leaves(end), strict=True):
        torch.testing.assert_close(one, other)


class Counted(NamedTuple):
    hidden: torch.Tensor
    steps: torch.Tensor


class Sum(Cell):
    """The sum of its inputs, and how many there were."""

    def project(self, x):
        return x.sum(-1, keepdim=True)

    def step(self, x_gates, state):
        return Counted(state.hidden + x_gates, state.steps + 1)

    def initial_state(self, batch_size):
        return Counted(torch.zeros(batch_size, self.hidden_size), torch.zeros(batch_size, dtype=torch.long))


def test_a_cell_of_the_users_own():
    mine = Recurrent(Sum, I, H, L, batch_first=True)
    outputs, (hidden, steps) = mine(torch.ones(B, T, I))
    assert outputs[0, :, 0].tolist() == [8.0, 24.0, 48.0, 80.0, 120.0]
    assert hidden[:, 0, 0].tolist() == [10.0, 120.0]
    assert steps.tolist() == [[T] * B] * L


def test_options_of_a_cell():
    cell = Recurrent(GRUCell, I, H, reset="before", forget_bias=2.0).stack.cells()[0][0]
    assert cell.b_hn is None
    assert cell.block(cell.b, "z").tolist() == [2.0] * H
    learnt = Recurrent("coupled", I, H, L, peepholes=True, learn_initial_state=True)
    learnt.stack.cells()[1][0].initial_cell.data.fill_(3.0)
    x = torch.randn(T, B, I)
    zero = torch.zeros(L, B, H)
    assert not torch.equal(learnt(x)[0], learnt(x, (zero, zero))[0])
    torch.testing.assert_close(learnt(x)[0], learnt(x, (zero, torch.stack([zero[0], zero[0] + 3])))[0])


def test_dropout_is_that_of_torch_between_layers_in_training():
    """The second layer passes its inputs on, so that the outputs show what was dropped."""
    mine = Recurrent("rnn", 1, 1000, L, dropout=0.3, nonlinearity="relu")
    with torch.no_grad():
        for (cell,) in mine.stack.cells():
            cell.w_h.zero_()
            cell.w_x.copy_(torch.eye(*cell.w_x.shape) if cell.input_size > 1 else torch.ones(1000, 1))
    x = torch.ones(T, B, 1)
    outputs, _ = mine(x)
    kept = outputs != 0
    torch.testing.assert_close(outputs[kept], torch.full_like(outputs[kept], 1 / 0.7))
    assert kept.float().mean().item() == pytest.approx(0.7, abs=0.02)  # four deviations: 15,000 draws
    assert not torch.equal(kept[0], kept[1])  # a new mask at each step, as in torch
    assert not torch.equal(outputs, mine(x)[0])
    torch.manual_seed(5)
    first = mine(x)[0]
    torch.manual_seed(5)
    assert torch.equal(mine(x)[0], first)
    assert torch.equal(mine.eval()(x)[0], torch.ones(T, B, 1000))
    with pytest.warns(UserWarning, match=r"dropout is 0\.3, but it acts between layers, and num_layers is 1"):
        Recurrent("lstm", I, H, dropout=0.3)
    with pytest.raises(AttributeError, match="no setter"):
        mine.dropout = 0.5


def test_it_is_saved_copied_and_moved():
    mine, x = Recurrent("lstm", I, H, L, bidirectional=True, biases=2), torch.randn(T, B, I)
    wanted = mine(x)[0]
    other = Recurrent("lstm", I, H, L, bidirectional=True, biases=2)
    other.load_state_dict(mine.state_dict())
    file = io.BytesIO()
    torch.save(mine, file)
    file.seek(0)
    for twin in (other, copy.deepcopy(mine), torch.load(file, weights_only=False)):
        assert torch.equal(twin(x)[0], wanted)
    twin.flatten_parameters()
    torch.testing.assert_close(twin.to(torch.float64)(x.double())[0], wanted.double(), rtol=1e-5, atol=1e-6)
    assert next(Recurrent("gru", I, H, device="meta", dtype=torch.float64).parameters()).is_meta
    assert repr(mine).startswith("Recurrent(\n  2, 4, num_layers=2, bidirectional=True\n")
    names = [f"stack.layers.{layer}.{direction}.b_h" for layer in range(L) for direction in range(2)]
    assert [name for name in mine.state_dict() if name.endswith(".b_h")] == names


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (("lstn", 2, 4), {}, ValueError, "cell is 'lstn'; use one of rnn, lstm, peephole"),
        ((nn.LSTM, 2, 4), {}, TypeError, "a class derived from seqtrain.cells.Cell"),
        (("lstm", 0, 4), {}, ValueError, "input_size is 0; it must be at least 1"),
        (("lstm", 2, 4.0), {}, TypeError, "hidden_size is 4.0; it must be a whole number"),
        (("lstm", 2, 4, 0), {}, ValueError, "num_layers is 0; it must be at least 1"),
        (("lstm", 2, 4, 1, False), {}, ValueError, "bias is False, but every cell has a bias"),
        (("lstm", 2, 4), {"proj_size": 3}, ValueError, "proj_size is 3, but no cell projects its output"),
        (("lstm", 2, 4, 2), {"dropout": 1.0}, ValueError, "dropout is 1.0; it must be from 0 to below 1"),
        (("lstm", 2, 4), {"dtype": torch.int32}, ValueError, "dtype is torch.int32"),
        (("lstm", 2, 4), {"engine": "fast"}, ValueError, "engine is 'fast'; use one of auto, reference, fused"),
        (("gru", 2, 4), {"resets": "after"}, TypeError, "cell 'gru' has no option 'resets'; it has chrono"),
        ((GRUCell, 2, 4), {"reset": "befor"}, ValueError, "reset is 'befor'; input should be 'after' or 'before'"),
        (("gru", 2, 4), {"forget_bias": 1.0, "chrono": 9}, ValueError, "both set the same bias"),
        ((Sum, 2, 4), {"reset": "after"}, TypeError, "unexpected keyword argument 'reset'"),
    ],
)
def test_arguments_that_cannot_work_are_refused(arguments, options, error, message):
    with pytest.raises(error) as refused:
        Recurrent(*arguments, **options)
    assert message in str(refused.value)


def test_inputs_of_another_shape_are_refused():
    lstm, gru = Recurrent("lstm", I, H, L), Recurrent("gru", I, H, L)
    x, h = torch.randn(T, B, I), torch.randn(L, B, H)
    for module, inputs, message in (
        (lstm, (x[0, 0],), r"x has the shape \[2\]; it must have 3 dimensions, or 2 for a single sequence"),
        (lstm, (torch.randn(T, B, I + 1),), "the inputs have 3 numbers in each step; this model needs 2"),
        (lstm, (x, h), r"the state has the shapes .*; these inputs need hidden \[2, 3, 4\], cell \[2, 3, 4\]"),
        (lstm, (x, (h, h[:1])), r"shapes \[2, 3, 4\], \[1, 3, 4\]; these inputs need"),
        (gru, (x, (h, h)), r"these inputs need hidden \[2, 3, 4\]"),
        (gru, (x[:, 0], h), r"the state has the shapes"),
        (gru, (x, h[:, :2]), r"the state has the shapes \[2, 2, 4\]"),
    ):
        with pytest.raises(ValueError, match=message):
            module(*inputs)
