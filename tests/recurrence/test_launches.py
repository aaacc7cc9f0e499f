"""The kernels for a GPU, in Triton's interpreter on the CPU, beside the plain loop."""

import copy
import os
from importlib.util import find_spec

import pytest
import torch

from seqtrain.cells import CoupledCell, GRUCell, LSTMCell, OdysseyCell, PeepholeCell, RNNCell
from seqtrain.recurrence import unroll_reference
from seqtrain.recurrence.launches import unroll_launches, why_not_launches

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
    """A cell whose every parameter is random, so that nothing hides behind a zero."""
    kind, own = CELLS[name]
    cell = kind(I, hidden, **own, **options)
    for parameter in cell.parameters():
        parameter.data.normal_(std=0.6)
    return cell


def state_of(cell, batch=B):
    return cell.state_type(*(torch.randn(batch, cell.hidden_size) for _ in cell.state_type._fields))


def results(run, cell, x, state=None, **options):
    """Outputs, last state and all gradients of a random weighting of them, by name."""
    cell = copy.deepcopy(cell)
    x = x.detach().clone().requires_grad_()
    start = None if state is None else type(state)(*(part.detach().clone().requires_grad_() for part in state))
    outputs, last = run(cell, x, start, **options)
    found = {"outputs": outputs, **{f"last {name}": part for name, part in last._asdict().items()}}
    random = torch.Generator().manual_seed(1)
    sum((part * torch.randn(part.shape, generator=random).to(part.dtype)).sum() for part in found.values()).backward()
    gradients = {"x": x, **dict(cell.named_parameters()), **({} if start is None else start._asdict())}
    return {**found, **{f"d {name}": tensor.grad for name, tensor in gradients.items()}}


def assert_same(cell, *inputs, rtol=1e-10, atol=1e-10, **options):
    found, wanted = (results(run, cell, *inputs, **options) for run in (unroll_launches, unroll_reference))
    assert found.keys() == wanted.keys()
    for name in found:
        torch.testing.assert_close(
            found[name], wanted[name], rtol=rtol, atol=atol, msg=lambda text, n=name: f"{n}: {text}"
        )


@without_triton
@pytest.mark.parametrize("name", CELLS)
def test_equals_the_plain_loop(name):
    cell, x = make(name), torch.randn(T, B, I)
    assert_same(cell, x, state_of(cell))
    assert_same(cell, x, state_of(cell), lengths=LENGTHS, reverse=True)


@without_triton
@pytest.mark.parametrize("name", ["peephole", "gru", "full_gate_recurrence"])
def test_lengths_directions_and_learnt_states(name):
    x = torch.randn(T, B, I)
    assert_same(make(name, learn_initial_state=True), x, lengths=LENGTHS)
    assert_same(make(name), x, reverse=True)
    assert_same(make(name).float(), x.float(), rtol=1e-4, atol=1e-5)


@without_triton
@pytest.mark.parametrize("name", ["coupled with peepholes", "gru"])
def test_more_units_than_one_program_computes(name):
    cell = make(name, hidden=100)
    for parameter in cell.parameters():
        parameter.data.mul_(0.2)
    assert_same(cell, torch.randn(2, 6, I), state_of(cell, 6))


@without_triton
@pytest.mark.parametrize("name", ["peephole", "gru", "full_gate_recurrence"])
def test_autocast_multiplies_in_bfloat16_and_keeps_states_in_float32(name):
    cell, x = make(name).float(), torch.randn(T, B, I).float()
    exact = results(unroll_launches, cell, x)
    with torch.autocast("cpu", torch.bfloat16):
        found = results(unroll_launches, cell, x)
    for key, values in found.items():
        assert values.dtype == torch.float32
        assert (values - exact[key]).abs().max() < 0.05 * exact[key].abs().max()
    rounded = found["last hidden"].bfloat16().float()
    assert not torch.equal(found["last hidden"], rounded)
    assert not torch.equal(found["d w_h"], exact["d w_h"])


@without_triton
def test_padding_may_hold_anything_and_extreme_sums_saturate():
    cell, x = make("peephole"), torch.randn(T, B, I)
    plain = results(unroll_launches, cell, x, lengths=LENGTHS)
    for column, length in enumerate(LENGTHS):
        x[length:, column] = float("nan")
    padded = results(unroll_launches, cell, x, lengths=LENGTHS)
    assert all(torch.equal(plain[key], padded[key]) for key in plain)
    outputs, _ = unroll_launches(cell, 1e4 * torch.randn(T, B, I))
    assert outputs.isfinite().all()
    assert outputs.abs().max() <= 1


@without_triton
def test_backward_twice_gives_the_same_and_second_derivatives_are_refused():
    cell, x = make("gru"), torch.randn(T, B, I, requires_grad=True)
    outputs, _ = unroll_launches(cell, x)
    first = torch.autograd.grad(outputs.sum(), [x, cell.w_h], retain_graph=True)
    second = torch.autograd.grad(outputs.sum(), [x, cell.w_h], retain_graph=True)
    assert all(map(torch.equal, first, second))
    with pytest.raises(RuntimeError, match="no gradients of gradients; use engine: reference"):
        torch.autograd.grad(outputs.sum(), [x], create_graph=True)
    with torch.no_grad():
        assert torch.equal(unroll_launches(cell, x)[0], outputs)


def test_what_it_cannot_run_is_refused(monkeypatch):
    x = torch.randn(T, B, I)
    assert why_not_launches(RNNCell(I, H)) == "there is no kernel in Triton for RNNCell"
    assert why_not_launches(GRUCell(I, H)) == "there is no kernel in Triton for GRUCell"
    with pytest.raises(ValueError, match="there is no kernel in Triton for RNNCell"):
        unroll_launches(RNNCell(I, H), x)
    monkeypatch.setattr("seqtrain.recurrence.launches.find_spec", lambda _: None)
    assert why_not_launches(make("peephole")) == (
        "Triton is not installed; PyTorch's builds for CUDA on Linux bring it along"
    )
    monkeypatch.setattr("seqtrain.recurrence.launches.find_spec", lambda _: True)
    assert "not in bfloat16" in why_not_launches(make("peephole").bfloat16())
    with pytest.raises(ValueError, match=r"hidden is torch.float64 \[3, 5\] on cpu"):
        unroll_launches(cell := make("peephole"), torch.randn(T, 4, I), cell.initial_state(3))
    changed = make("peephole")
    changed.step = None
    assert "no kernel" in why_not_launches(changed)
    monkeypatch.delenv("TRITON_INTERPRET")
    assert "TRITON_INTERPRET" not in os.environ
    assert why_not_launches(make("peephole")) == "the kernels in Triton run on a GPU, not on cpu"
