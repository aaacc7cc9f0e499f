"""Depth, direction, merging, dropout and heads."""

import pytest
import torch
from torch import nn

from seqtrain.cells import CELLS
from seqtrain.models import (
    OneHot,
    SequenceModel,
    Stack,
    count_parameters,
    detach_state,
    pack_state,
    unpack_state,
)
from seqtrain.models.stack import drop
from seqtrain.recurrence import unroll
from seqtrain.rng import generator

T, B, I, H = 6, 3, 2, 4


@pytest.fixture(autouse=True)
def _double(float64):
    torch.manual_seed(0)


def make_stack(cell="lstm", **options):
    return Stack(lambda size: CELLS[cell](size, H), I, **options)


def test_a_stack_feeds_each_layer_the_one_below():
    stack, x = make_stack(depth=3), torch.randn(T, B, I)
    wanted = x
    for (cell,) in stack.cells():
        wanted, state = unroll(cell, wanted)
    outputs, final, _ = stack(x)
    assert torch.equal(outputs, wanted)
    assert torch.equal(final, state.hidden)


@pytest.mark.parametrize("merge", ["concat", "sum"])
def test_bidirectional_is_a_forward_and_a_backward_half(merge):
    stack, x = make_stack(direction="bidirectional", merge=merge), torch.randn(T, B, I)
    lengths = torch.tensor([6, 4, 1])
    (ahead, back) = stack.cells()[0]
    outputs, final, _ = stack(x, lengths)
    a, a_end = unroll(ahead, x, lengths=lengths)
    b, b_end = unroll(back, x, lengths=lengths, reverse=True)
    if merge == "concat":
        assert torch.equal(outputs, torch.cat([a, b], -1))
        assert torch.equal(final, torch.cat([a_end.hidden, b_end.hidden], -1))
    else:
        assert torch.equal(outputs, a + b)
        assert torch.equal(final, a_end.hidden + b_end.hidden)
    assert stack.output_size == final.shape[-1]


def test_bidirectional_equals_torch():
    stack, x = make_stack(direction="bidirectional", depth=2), torch.randn(T, B, I)
    peer = nn.LSTM(I, H, num_layers=2, bidirectional=True)
    with torch.no_grad():
        for layer, cells in enumerate(stack.cells()):
            for cell, suffix in zip(cells, ("", "_reverse"), strict=True):
                getattr(peer, f"weight_ih_l{layer}{suffix}").copy_(cell.w_x)
                getattr(peer, f"weight_hh_l{layer}{suffix}").copy_(cell.w_h)
                getattr(peer, f"bias_ih_l{layer}{suffix}").copy_(cell.b)
                getattr(peer, f"bias_hh_l{layer}{suffix}").zero_()
    wanted, (end, _) = peer(x)
    outputs, final, _ = stack(x)
    torch.testing.assert_close(outputs, wanted)
    torch.testing.assert_close(final, torch.cat([end[-2], end[-1]], -1))


def test_packed_sequences_of_torch_agree_with_lengths():
    stack, x = make_stack(direction="bidirectional"), torch.randn(T, B, I)
    lengths = torch.tensor([6, 4, 1])
    peer = nn.LSTM(I, H, bidirectional=True)
    with torch.no_grad():
        for cell, suffix in zip(stack.cells()[0], ("", "_reverse"), strict=True):
            for ours, theirs in (("w_x", "weight_ih_l0"), ("w_h", "weight_hh_l0"), ("b", "bias_ih_l0")):
                getattr(peer, theirs + suffix).copy_(getattr(cell, ours))
            getattr(peer, "bias_hh_l0" + suffix).zero_()
    packed, _ = peer(nn.utils.rnn.pack_padded_sequence(x, lengths))
    wanted, _ = nn.utils.rnn.pad_packed_sequence(packed)
    torch.testing.assert_close(stack(x, lengths)[0], wanted)


@pytest.mark.parametrize("every_step", [True, False])
def test_heads(every_step):
    model = SequenceModel(nn.Identity(), make_stack(), 5, every_step=every_step)
    x, lengths = torch.randn(T, B, I), torch.tensor([6, 4, 1])
    outputs, _ = model(x, lengths)
    hidden, state = unroll(model.stack.cells()[0][0], x, lengths=lengths)
    wanted = hidden if every_step else hidden[lengths - 1, torch.arange(B)]
    assert outputs.shape == ((T, B, 5) if every_step else (B, 5))
    assert torch.equal(outputs, model.head(wanted))
    if not every_step:
        assert torch.equal(wanted, state.hidden)


def test_one_hot():
    assert OneHot(3)(torch.tensor([[2, 0]])).tolist() == [[[0, 0, 1], [1, 0, 0]]]


def test_dropout_acts_between_layers_in_training_only():
    torch.manual_seed(0)
    stack, x = make_stack(depth=2, dropout=0.5), torch.randn(T, B, I)
    (lower,), (upper,) = stack.cells()
    masked = drop(unroll(lower, x)[0], 0.5, generator("m"))
    wanted, _ = unroll(upper, masked)
    assert torch.equal(stack(x, generator=generator("m"))[0], wanted)
    assert not torch.equal(stack(x, generator=generator("n"))[0], wanted)
    stack.eval()
    assert torch.equal(stack(x)[0], unroll(upper, unroll(lower, x)[0])[0])


def test_dropout_keeps_the_mean_and_drops_the_share():
    dropped = drop(torch.ones(100_000), 0.3, generator("x"))
    assert set(dropped.unique().tolist()) == {0.0, 1 / 0.7}
    assert abs(float((dropped == 0).double().mean()) - 0.3) < 0.01


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_state_survives_packing_and_detaching(cell):
    stack, x = make_stack(cell, depth=2), torch.randn(T, B, I)
    _, _, state = stack(x)
    assert state[0][0].hidden.requires_grad
    assert not detach_state(state)[0][0].hidden.requires_grad
    back = unpack_state(pack_state(state), stack, torch.device("cpu"))
    assert torch.equal(stack(x, state=back)[0], stack(x, state=state)[0])
    assert not torch.equal(stack(x, state=back)[0], stack(x)[0])
    assert unpack_state(None, stack, torch.device("cpu")) is None


@pytest.mark.parametrize(("cell", "per_unit"), [("rnn", 1), ("lstm", 4), ("peephole", 4), ("coupled", 3), ("gru", 3)])
def test_parameter_count(cell, per_unit):
    extra = {"peephole": 3 * H, "gru": H}.get(cell, 0)
    assert count_parameters(make_stack(cell)) == per_unit * H * (I + H + 1) + extra
