"""The path through torch's functions, which is cuDNN on a GPU and is tested on the CPU, beside the plain loop."""

import pytest
import torch
from beside_plain_loop import assert_same, random_state, results, with_random_weights

from seqtrain.cells import GRUCell, LSTMCell, PeepholeCell, RNNCell
from seqtrain.recurrence.cudnn import unroll_cudnn, why_not_cudnn

CELLS = {
    "lstm": (LSTMCell, {}),
    "lstm, two biases": (LSTMCell, {"biases": 2}),
    "gru": (GRUCell, {}),
    "rnn": (RNNCell, {"biases": 2}),
    "rnn, relu": (RNNCell, {"nonlinearity": "relu"}),
}

T, B, I, H = 6, 4, 3, 5
LENGTHS = torch.tensor([4, 0, 6, 1])


@pytest.fixture(autouse=True)
def _double(float64):
    torch.manual_seed(0)


def make(name, **options):
    kind, own = CELLS[name]
    return with_random_weights(kind(I, H, **own, **options))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("name", CELLS)
def test_equals_the_plain_loop(name, lengths, reverse):
    x = torch.randn(T, B, I)
    options = {"lengths": lengths, "reverse": reverse}
    cell = make(name)
    assert_same(unroll_cudnn, cell, x, **options)
    assert_same(unroll_cudnn, cell, x, random_state(cell, B), **options)
    assert_same(unroll_cudnn, make(name, learn_initial_state=True), x, **options)
    single = make(name).float()
    assert_same(unroll_cudnn, single, x.float(), rtol=1e-4, atol=1e-5, **options)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_padding_never_changes_a_result(name, reverse):
    cell, x = make(name), torch.randn(T, B, I)
    state, options = random_state(cell, B), {"lengths": LENGTHS, "reverse": reverse}
    plain = results(unroll_cudnn, cell, x, state, **options)
    for column, length in enumerate(LENGTHS):
        x[length:, column] = float("nan")
    padded = results(unroll_cudnn, cell, x, state, **options)
    assert all(torch.equal(plain[key], padded[key]) for key in plain)
    assert not plain["outputs"][4:, 0].any()
    assert torch.equal(plain["last hidden"][1], state.hidden[1])


def test_nothing_to_do():
    cell, x = make("lstm"), torch.randn(T, B, I)
    state = random_state(cell, B)
    outputs, last = unroll_cudnn(cell, x, state, lengths=torch.zeros(B, dtype=torch.long))
    assert not outputs.any()
    assert torch.equal(last.cell, state.cell)
    assert unroll_cudnn(cell, x[:, :0])[0].shape == (T, 0, H)


@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("name", CELLS)
def test_autocast_multiplies_in_bfloat16_and_returns_float32(name, lengths):
    cell, x = make(name).float(), torch.randn(T, B, I).float()
    exact = results(unroll_cudnn, cell, x, lengths=lengths)
    with torch.autocast("cpu", torch.bfloat16):
        found = results(unroll_cudnn, cell, x, lengths=lengths)
    for key, values in found.items():
        assert values.dtype == torch.float32
        scale = exact[key].abs().max()
        assert (values - exact[key]).abs().max() < 0.05 * scale
        assert not torch.equal(values, exact[key])


def test_one_array_holds_all_weights():
    """Else torch would copy each of them at every call on a GPU."""
    from seqtrain.recurrence.cudnn import _weights

    cell = make("gru")
    weights = _weights(cell, torch.float64)
    start = weights[0].data_ptr()
    for weight in weights:
        assert weight.data_ptr() == start
        assert weight.is_contiguous()
        start += 8 * weight.numel()
    assert weights[0].untyped_storage().nbytes() == start - weights[0].data_ptr()


def test_what_it_cannot_run_is_refused():
    x = torch.randn(T, B, I)
    assert why_not_cudnn(GRUCell(I, H, reset="before")) == "cuDNN has no function for GRUCell"
    with pytest.raises(ValueError, match="cuDNN has no function for PeepholeCell"):
        unroll_cudnn(PeepholeCell(I, H), x)
    cell = make("lstm")
    cell.observer = print
    assert "has an observer" in why_not_cudnn(cell)
    cell = make("lstm")
    with pytest.raises(ValueError, match=r"x is torch.float32 .*; this cell needs torch.float64 \[6, 4, 3\] on cpu"):
        unroll_cudnn(cell, x.float())
    with pytest.raises(ValueError, match=r"hidden is torch.float64 \[3, 5\]"):
        unroll_cudnn(cell, x, cell.initial_state(3))
    with pytest.raises(ValueError, match="state is a HiddenState; a LSTMCell needs a LSTMState"):
        unroll_cudnn(cell, x, make("gru").initial_state(B))
    with pytest.raises(ValueError, match="lengths must be 4 whole numbers from 0 to 6"):
        unroll_cudnn(cell, x, lengths=torch.tensor([1, 2, 3, 7]))
