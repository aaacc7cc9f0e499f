"""Every cell against its equations restated in NumPy, against torch.nn, and against identities between cells."""

import inspect
import math
import re
from typing import get_args

import numpy as np
import pytest
import torch
from torch import nn

from seqtrain.cells import CELLS
from seqtrain.cells.odyssey import Ablation
from seqtrain.recurrence import observe, unroll_reference
from seqtrain.recurrence.fused import unroll_fused

I, H, B, T = 3, 5, 4, 7

VARIANTS = {
    "rnn": [{}, {"nonlinearity": "relu"}],
    "lstm": [{}],
    "peephole": [{}],
    "coupled": [{}, {"peepholes": True}],
    "gru": [{"reset": "after"}, {"reset": "before"}],
    "odyssey": [{"ablation": ablation} for ablation in get_args(Ablation)],
}
ALL = [pytest.param(name, options, id=f"{name}-{options}") for name, all_ in VARIANTS.items() for options in all_]


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def pre(p, x, h, gate, order):
    """W_x x + W_h h + b of one gate, with its rows found by hand."""
    rows = slice(order.index(gate) * H, (order.index(gate) + 1) * H)
    return x @ p["w_x"][rows].T + h @ p["w_h"][rows].T + p["b"][rows]


# Each oracle gives every activation of a step by name: the gates in the cell's order, then the fields of the state.


def rnn_oracle(p, x, h, nonlinearity="tanh"):
    a = pre(p, x, h, "h", "h")
    new = np.tanh(a) if nonlinearity == "tanh" else np.maximum(a, 0)
    return {"h": new, "hidden": new}


def lstm_oracle(p, x, h, c):
    i, f, o = (sigmoid(pre(p, x, h, gate, "ifgo")) for gate in "ifo")
    g = np.tanh(pre(p, x, h, "g", "ifgo"))
    new = f * c + i * g
    return {"i": i, "f": f, "g": g, "o": o, "hidden": o * np.tanh(new), "cell": new}


def peephole_oracle(p, x, h, c):
    p_i, p_f, p_o = p["p"]
    i = sigmoid(pre(p, x, h, "i", "ifgo") + p_i * c)
    f = sigmoid(pre(p, x, h, "f", "ifgo") + p_f * c)
    g = np.tanh(pre(p, x, h, "g", "ifgo"))
    new = f * c + i * g
    o = sigmoid(pre(p, x, h, "o", "ifgo") + p_o * new)
    return {"i": i, "f": f, "g": g, "o": o, "hidden": o * np.tanh(new), "cell": new}


def coupled_oracle(p, x, h, c, peepholes=False):
    p_f, p_o = p["p"] if peepholes else (0.0, 0.0)
    f = sigmoid(pre(p, x, h, "f", "fgo") + p_f * c)
    g = np.tanh(pre(p, x, h, "g", "fgo"))
    new = f * c + (1 - f) * g
    o = sigmoid(pre(p, x, h, "o", "fgo") + p_o * new)
    return {"f": f, "g": g, "o": o, "hidden": o * np.tanh(new), "cell": new}


def gru_oracle(p, x, h, reset="after"):
    r, z = sigmoid(pre(p, x, h, "r", "rzn")), sigmoid(pre(p, x, h, "z", "rzn"))
    from_x = x @ p["w_x"][2 * H :].T + p["b"][2 * H :]
    u = p["w_h"][2 * H :].T
    n = np.tanh(from_x + r * (h @ u + p["b_hn"])) if reset == "after" else np.tanh(from_x + (r * h) @ u)
    return {"r": r, "z": z, "n": n, "hidden": (1 - z) * n + z * h}


def odyssey_oracle(p, x, h, c, i_=None, f_=None, o_=None, ablation="none"):
    order = {"no_input_gate": "fgo", "no_forget_gate": "igo", "no_output_gate": "ifg", "coupled": "fgo"}
    order = order.get(ablation, "ifgo")

    def gate(name, c):
        a = pre(p, x, h, name, order)
        if ablation != "no_peepholes":
            a += p["p"][order.replace("g", "").index(name)] * c
        if ablation == "full_gate_recurrence":
            to = p["w_gates"]["ifo".index(name) * H :][:H]
            a += i_ @ to[:, :H].T + f_ @ to[:, H : 2 * H].T + o_ @ to[:, 2 * H :].T
        return sigmoid(a)

    f = np.ones_like(c) if ablation == "no_forget_gate" else gate("f", c)
    i = 1 - f if ablation == "coupled" else np.ones_like(c) if ablation == "no_input_gate" else gate("i", c)
    g = pre(p, x, h, "g", order)
    g = g if ablation == "no_input_activation" else np.tanh(g)
    new = f * c + i * g
    o = np.ones_like(c) if ablation == "no_output_gate" else gate("o", new)
    hidden = o * (new if ablation == "no_output_activation" else np.tanh(new))
    gates = {"i": i, "f": f, "g": g, "o": o}
    return {name: gates[name] for name in order} | {"hidden": hidden, "cell": new}


ORACLES = {
    "rnn": rnn_oracle,
    "lstm": lstm_oracle,
    "peephole": peephole_oracle,
    "coupled": coupled_oracle,
    "gru": gru_oracle,
    "odyssey": odyssey_oracle,
}


def make(name, options, seed=0, input_size=I):
    """A cell whose every parameter is random, so that nothing hides behind a zero."""
    torch.manual_seed(seed)
    cell = CELLS[name](input_size=input_size, hidden_size=H, **options)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.normal_(std=0.7)
    return cell


def random_state(cell):
    return type(cell.initial_state(B))(*(torch.randn(B, H) for _ in cell.initial_state(B)))


def test_every_cell_has_an_oracle():
    assert set(ORACLES) == set(VARIANTS) == set(CELLS)


def numpy_parameters(cell):
    return {key: value.detach().numpy() for key, value in cell.named_parameters()}


@pytest.mark.parametrize(("name", "options"), ALL)
def test_a_step_is_the_equations(float64, name, options):
    cell = make(name, options)
    x, state = torch.randn(T, B, I), random_state(cell)
    new = cell.step(cell.project(x)[2], state)
    wanted = ORACLES[name](numpy_parameters(cell), x[2].numpy(), *(part.numpy() for part in state), **options)
    for field, values in new._asdict().items():
        np.testing.assert_allclose(values.detach().numpy(), wanted[field], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [None, [7, 3, 1, 5]])
@pytest.mark.parametrize(("name", "options"), ALL)
def test_all_activations_are_observed_by_name_over_time(float64, name, options, lengths, reverse):
    """Each sequence is restated alone, from a random state, through its own steps."""
    cell, x = make(name, options), torch.randn(T, B, I)
    state, limits = random_state(cell), None if lengths is None else torch.tensor(lengths)
    observed = observe(cell, x, state, lengths=limits, reverse=reverse)
    for column, length in enumerate(lengths or [T] * B):
        old = [part[column : column + 1].numpy() for part in state]
        for t in reversed(range(length)) if reverse else range(length):
            wanted = ORACLES[name](numpy_parameters(cell), x[t, column : column + 1].numpy(), *old, **options)
            old = [wanted[field] for field in state._fields]
            assert list(observed.activations) == list(wanted)
            for key, values in wanted.items():
                found = observed.activations[key][t, column : column + 1].numpy()
                np.testing.assert_allclose(found, values, rtol=1e-9, atol=1e-12)
        assert not any(values[length:, column].any() for values in observed.activations.values())
    outputs, last = unroll_reference(cell, x, state, lengths=limits, reverse=reverse)
    assert torch.equal(observed.outputs, outputs)
    assert all(torch.equal(one, other) for one, other in zip(observed.state, last, strict=True))


PEERS = [
    pytest.param("rnn", {}, lambda: nn.RNN(I, H), id="rnn-tanh"),
    pytest.param("rnn", {"nonlinearity": "relu"}, lambda: nn.RNN(I, H, nonlinearity="relu"), id="rnn-relu"),
    pytest.param("lstm", {}, lambda: nn.LSTM(I, H), id="lstm"),
    pytest.param("gru", {"reset": "after"}, lambda: nn.GRU(I, H), id="gru-after"),
]


@pytest.mark.parametrize(("name", "options", "peer"), PEERS)
def test_unrolled_equals_torch(float64, name, options, peer):
    cell, module = make(name, options), peer()
    with torch.no_grad():
        module.weight_ih_l0.copy_(cell.w_x)
        module.weight_hh_l0.copy_(cell.w_h)
        module.bias_ih_l0.copy_(cell.b)
        module.bias_hh_l0.zero_()
        if name == "gru":
            module.bias_hh_l0[2 * H :] = cell.b_hn
    x, state = torch.randn(T, B, I), random_state(cell)
    start = tuple(part[None] for part in state)
    wanted, end = module(x, start if name == "lstm" else start[0])
    outputs, final = unroll_reference(cell, x, state)
    torch.testing.assert_close(outputs, wanted, rtol=1e-12, atol=1e-14)
    if name == "lstm":
        torch.testing.assert_close(final.cell, end[1][0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("name", "peer"), [("rnn", nn.RNN), ("lstm", nn.LSTM)])
@pytest.mark.parametrize("run", [unroll_reference, unroll_fused])
def test_two_biases_learn_as_in_torch(name, peer, run):
    """After steps of gradient descent the sums of the biases agree; a single bias falls behind."""
    torch.manual_seed(0)
    peer = peer(I, H)
    cells = {biases: CELLS[name](I, H, biases=biases) for biases in (1, 2)}
    with torch.no_grad():
        for cell in cells.values():
            cell.w_x.copy_(peer.weight_ih_l0)
            cell.w_h.copy_(peer.weight_hh_l0)
            cell.b.copy_(peer.bias_ih_l0)
        cells[1].b.add_(peer.bias_hh_l0)
        cells[2].b_h.copy_(peer.bias_hh_l0)
    x, wanted = torch.randn(T, B, I), torch.randn(T, B, H)

    def descend(module, call):
        optimizer = torch.optim.SGD(module.parameters(), lr=2.0)
        for _ in range(5):
            optimizer.zero_grad()
            (call(module) - wanted).square().mean().backward()
            optimizer.step()

    descend(peer, lambda module: module(x)[0])
    for cell in cells.values():
        descend(cell, lambda module: run(module, x)[0])
    both = peer.bias_ih_l0 + peer.bias_hh_l0
    torch.testing.assert_close(cells[2].bias(), both, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(cells[2].w_h, peer.weight_hh_l0, rtol=1e-5, atol=1e-6)
    assert float((cells[1].bias() - both).detach().abs().max()) > 0.01


@pytest.mark.parametrize(("name", "options"), ALL)
def test_gradients_of_inputs_state_and_parameters(float64, name, options):
    cell = make(name, options, seed=1)  # a seed for which no relu sits on its corner
    parameters = dict(cell.named_parameters())
    x = torch.randn(3, 2, I, requires_grad=True)
    start = [torch.randn(2, H, requires_grad=True) for _ in cell.initial_state(2)]
    state_type = type(cell.initial_state(2))

    def run(x, *tensors):
        values = dict(zip(parameters, tensors[len(start) :], strict=True))
        state = state_type(*tensors[: len(start)])

        class Bound:
            initial_state = cell.initial_state

            def project(self, x):
                return torch.func.functional_call(_Call(cell, "project"), prefixed(values), (x,))

            def step(self, gates, state):
                return torch.func.functional_call(_Call(cell, "step"), prefixed(values), (gates, state))

        outputs, final = unroll_reference(Bound(), x, state)
        return (outputs, *final)

    assert torch.autograd.gradcheck(run, (x, *start, *parameters.values()))


class _Call(nn.Module):
    def __init__(self, cell, method):
        super().__init__()
        self.cell, self.method = cell, method

    def forward(self, *arguments):
        return getattr(self.cell, self.method)(*arguments)


def prefixed(values):
    return {f"cell.{name}": value for name, value in values.items()}


# --- identities between cells ----------------------------------------------------------------------


def outputs_of(cell, x, state=None):
    return unroll_reference(cell, x, state)[0]


def test_peephole_with_zero_peepholes_is_the_lstm(float64):
    peephole, lstm = make("peephole", {}), CELLS["lstm"](I, H)
    with torch.no_grad():
        peephole.p.zero_()
    lstm.load_state_dict({k: v for k, v in peephole.state_dict().items() if k != "p"})
    x = torch.randn(T, B, I)
    torch.testing.assert_close(outputs_of(peephole, x), outputs_of(lstm, x))


def test_coupled_is_the_lstm_whose_input_gate_negates_the_forget_gate(float64):
    coupled, lstm = make("coupled", {}), CELLS["lstm"](I, H)
    with torch.no_grad():
        for name in ("w_x", "w_h", "b"):
            f, g, o = getattr(coupled, name).chunk(3)
            getattr(lstm, name).copy_(torch.cat([-f, f, g, o]))
    x = torch.randn(T, B, I)
    torch.testing.assert_close(outputs_of(coupled, x), outputs_of(lstm, x))


@pytest.mark.parametrize("reset", ["after", "before"])
def test_gru_with_open_reset_and_closed_update_is_the_tanh_rnn(float64, reset):
    gru, rnn = make("gru", {"reset": reset}), CELLS["rnn"](I, H)
    with torch.no_grad():
        gru.b[:H], gru.b[H : 2 * H] = 1e4, -1e4
        if reset == "after":
            gru.b_hn.zero_()
        for name in ("w_x", "w_h", "b"):
            getattr(rnn, name).copy_(getattr(gru, name)[2 * H :])
    x = torch.randn(T, B, I)
    torch.testing.assert_close(outputs_of(gru, x), outputs_of(rnn, x))


def test_same_seed_peephole_starts_as_the_lstm():
    torch.manual_seed(3)
    lstm = CELLS["lstm"](I, H)
    torch.manual_seed(3)
    peephole = CELLS["peephole"](I, H)
    x = torch.randn(T, B, I)
    assert torch.equal(unroll_fused(lstm, x)[0], unroll_fused(peephole, x)[0])
    # In the plain loop, torch rounds sigmoid(x) by where x lies in memory, which depends on the processor.
    torch.testing.assert_close(outputs_of(lstm, x), outputs_of(peephole, x), rtol=0, atol=2e-7)


# --- initialisation --------------------------------------------------------------------------------

GATED = [name for name, cell in CELLS.items() if "forget_bias" in inspect.signature(cell).parameters]
KEEP = {"lstm": (1, 4), "peephole": (1, 4), "coupled": (0, 3), "gru": (1, 3), "odyssey": (1, 4)}
"""Which block of b belongs to the gate on the old state, of how many; by hand."""


@pytest.mark.parametrize("name", GATED)
@pytest.mark.parametrize("bias", [None, 0.0, 2.5])
def test_effective_forget_bias(float64, name, bias):
    """With zero input and state, the share of an old memory that survives one step is sigmoid(forget_bias)."""
    cell = CELLS[name](I, H, **({} if bias is None else {"forget_bias": bias}))
    block, blocks = KEEP[name]
    wanted = 1.0 if bias is None else bias
    for place, part in enumerate(cell.b.detach().chunk(blocks)):
        assert torch.equal(part, torch.full((H,), wanted if place == block else 0.0))
    if name != "gru":
        state = cell.initial_state(1)._replace(cell=torch.full((1, H), 1e-3))
        with torch.no_grad():
            kept = cell.step(cell.project(torch.zeros(1, 1, I))[0], state).cell / 1e-3
        torch.testing.assert_close(kept, torch.full((1, H), 1 / (1 + math.exp(-wanted))))


@pytest.mark.parametrize("name", GATED)
def test_chrono_biases(float64, name):
    torch.manual_seed(0)
    cell = CELLS[name](I, 4000, chrono=100, recurrent_init="uniform")  # orthogonal takes seconds
    block, blocks = KEEP[name]
    parts = list(cell.b.detach().chunk(blocks))
    drawn = parts[block].exp()
    assert drawn.min() >= 1
    assert drawn.max() <= 99
    assert abs(float(drawn.mean()) - 50) < 2  # the mean of U[1, 99]
    if name in ("lstm", "peephole", "odyssey"):
        assert torch.equal(parts[0], -parts[1])


def test_chrono_and_forget_bias_exclude_each_other():
    with pytest.raises(ValueError, match="give one"):
        CELLS["lstm"](I, H, forget_bias=1.0, chrono=50)


@pytest.mark.parametrize("name", list(CELLS))
def test_input_init_is_glorot_uniform_per_gate(name):
    bound = math.sqrt(6 / (50 + 300))
    for block in CELLS[name](50, 300).w_x.detach().split(300):
        assert 0.99 * bound < block.abs().max() <= bound
        assert float(block.std()) == pytest.approx(bound / math.sqrt(3), rel=0.03)


@pytest.mark.parametrize("name", list(CELLS))
def test_recurrent_init(name):
    orthogonal = CELLS[name](I, H, recurrent_init="orthogonal")
    for block in orthogonal.w_h.detach().split(H):
        torch.testing.assert_close(block @ block.T, torch.eye(H), rtol=1e-5, atol=1e-5)
    uniform = CELLS[name](I, 300, recurrent_init="uniform").w_h.detach()
    bound = 1 / math.sqrt(300)
    assert uniform.abs().max() <= bound
    assert abs(float(uniform.std()) - bound / math.sqrt(3)) < 0.05 * bound


@pytest.mark.parametrize("name", list(CELLS))
def test_learnt_initial_state(name):
    cell = CELLS[name](I, H, learn_initial_state=True)
    plain = CELLS[name](I, H)
    fields = plain.initial_state(1)._fields
    assert sum(p.numel() for p in cell.parameters()) == sum(p.numel() for p in plain.parameters()) + H * len(fields)
    with torch.no_grad():
        for place, field in enumerate(fields):
            getattr(cell, f"initial_{field}").fill_(place + 1.0)
    state = cell.initial_state(B)
    for place, part in enumerate(state):
        assert torch.equal(part, torch.full((B, H), place + 1.0))
    unroll_reference(cell, torch.randn(T, B, I))[0].sum().backward()
    assert all(getattr(cell, f"initial_{field}").grad.abs().sum() > 0 for field in fields)


@pytest.mark.parametrize("name", list(CELLS))
def test_docstring_gives_equations_and_a_source(name):
    doc = CELLS[name].__doc__
    assert "h' =" in doc
    assert "Parameters" in doc
    assert re.search(r"\b(19|20)\d\d\b", doc)
