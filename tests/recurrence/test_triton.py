"""The kernels for a GPU, in Triton's interpreter on the CPU, beside the plain loop."""

import os
from importlib.util import find_spec

import pytest
import torch
from beside_plain_loop import assert_same, random_state, results, with_random_weights

from seqtrain.cells import CoupledCell, GRUCell, LSTMCell, OdysseyCell, PeepholeCell, RNNCell
from seqtrain.recurrence.triton_loop import unroll_triton, why_not_triton

without_triton = pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")

CELLS = {
    "lstm": (LSTMCell, {"biases": 2}),
    "peephole": (PeepholeCell, {}),
    "coupled": (CoupledCell, {}),
    "coupled with peepholes": (CoupledCell, {"peepholes": True}),
    "gru": (GRUCell, {"reset": "before"}),
    **{
        name: (OdysseyCell, {"ablation": name})
        for name in (
            "no_input_gate",
            "no_forget_gate",
            "no_output_gate",
            "no_input_activation",
            "no_output_activation",
            "coupled",
            "full_gate_recurrence",
        )
    },
}

T, B, I, H = 3, 3, 2, 5
LENGTHS = torch.tensor([2, 0, 3])


@pytest.fixture(autouse=True)
def _interpreted(float64, monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    torch.manual_seed(0)


def make(name, hidden=H, **options):
    kind, own = CELLS[name]
    return with_random_weights(kind(I, hidden, **own, **options))


@without_triton
@pytest.mark.parametrize("name", CELLS)
def test_equals_the_plain_loop(name):
    cell, x = make(name), torch.randn(T, B, I)
    assert_same(unroll_triton, cell, x, random_state(cell, B))
    assert_same(unroll_triton, cell, x, random_state(cell, B), lengths=LENGTHS, reverse=True)


@without_triton
@pytest.mark.parametrize("name", ["peephole", "gru", "full_gate_recurrence"])
def test_lengths_directions_and_learnt_states(name):
    x = torch.randn(T, B, I)
    assert_same(unroll_triton, make(name, learn_initial_state=True), x, lengths=LENGTHS)
    assert_same(unroll_triton, make(name), x, reverse=True)
    assert_same(unroll_triton, make(name).float(), x.float(), rtol=1e-4, atol=1e-5)


@without_triton
@pytest.mark.parametrize("name", ["coupled with peepholes", "gru"])
def test_more_units_than_one_program_computes(name):
    cell = make(name, hidden=100)
    for parameter in cell.parameters():
        parameter.data.mul_(0.2)
    assert_same(unroll_triton, cell, torch.randn(2, 6, I), random_state(cell, 6))


@without_triton
@pytest.mark.parametrize("name", ["peephole", "gru", "full_gate_recurrence"])
def test_autocast_multiplies_in_bfloat16_and_keeps_states_in_float32(name):
    cell, x = make(name).float(), torch.randn(T, B, I).float()
    exact = results(unroll_triton, cell, x)
    with torch.autocast("cpu", torch.bfloat16):
        found = results(unroll_triton, cell, x)
    for key, values in found.items():
        assert values.dtype == torch.float32
        assert (values - exact[key]).abs().max() < 0.05 * exact[key].abs().max()
    rounded = found["last hidden"].bfloat16().float()
    assert not torch.equal(found["last hidden"], rounded)
    assert not torch.equal(found["d w_h"], exact["d w_h"])


@without_triton
def test_padding_may_hold_anything_and_extreme_sums_saturate():
    cell, x = make("peephole"), torch.randn(T, B, I)
    plain = results(unroll_triton, cell, x, lengths=LENGTHS)
    for column, length in enumerate(LENGTHS):
        x[length:, column] = float("nan")
    padded = results(unroll_triton, cell, x, lengths=LENGTHS)
    assert all(torch.equal(plain[key], padded[key]) for key in plain)
    outputs, _ = unroll_triton(cell, 1e4 * torch.randn(T, B, I))
    assert outputs.isfinite().all()
    assert outputs.abs().max() <= 1


@without_triton
def test_backward_twice_gives_the_same_and_second_derivatives_are_refused():
    cell, x = make("gru"), torch.randn(T, B, I, requires_grad=True)
    outputs, _ = unroll_triton(cell, x)
    first = torch.autograd.grad(outputs.sum(), [x, cell.w_h], retain_graph=True)
    second = torch.autograd.grad(outputs.sum(), [x, cell.w_h], retain_graph=True)
    assert all(map(torch.equal, first, second))
    with pytest.raises(RuntimeError, match="no gradients of gradients; use engine: reference"):
        torch.autograd.grad(outputs.sum(), [x], create_graph=True)
    with torch.no_grad():
        assert torch.equal(unroll_triton(cell, x)[0], outputs)


def test_what_it_cannot_run_is_refused(monkeypatch):
    x = torch.randn(T, B, I)
    assert why_not_triton(RNNCell(I, H)) == "there is no kernel in Triton for RNNCell"
    assert why_not_triton(GRUCell(I, H)) == "there is no kernel in Triton for GRUCell"
    with pytest.raises(ValueError, match="there is no kernel in Triton for RNNCell"):
        unroll_triton(RNNCell(I, H), x)
    monkeypatch.setattr("seqtrain.recurrence.triton_loop.find_spec", lambda _: None)
    assert why_not_triton(make("peephole")) == (
        "Triton is not installed; PyTorch's builds for CUDA on Linux bring it along"
    )
    monkeypatch.setattr("seqtrain.recurrence.triton_loop.find_spec", lambda _: True)
    assert "not in bfloat16" in why_not_triton(make("peephole").bfloat16())
    with pytest.raises(ValueError, match=r"hidden is torch.float64 \[3, 5\] on cpu"):
        unroll_triton(cell := make("peephole"), torch.randn(T, 4, I), cell.initial_state(3))
    changed = make("peephole")
    changed.step = None
    assert "no kernel" in why_not_triton(changed)
    monkeypatch.delenv("TRITON_INTERPRET")
    assert "TRITON_INTERPRET" not in os.environ
    assert why_not_triton(make("peephole")) == "the kernels in Triton run on a GPU, not on cpu"
