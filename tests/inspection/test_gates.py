"""Gates: a NumPy restatement of their statistics, closed forms, and what padding must not change."""

import math

import numpy as np
import pytest
import torch
from inspected import made

from seqtrain.cells import CELLS
from seqtrain.inspection.gates import gates, half_life
from seqtrain.tasks.base import Batch


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_gates(cell, x):
    """The gates `[T, B, H]` of an LSTM by its equations, in NumPy."""
    w_x, w_h, b = (p.detach().double().numpy() for p in (cell.w_x, cell.w_h, cell.b))
    T, B = x.shape[:2]
    H = cell.hidden_size
    h = c = np.zeros((B, H))
    kept = {name: [] for name in "ifgo"}
    for t in range(T):
        i, f, g, o = np.split(x[t] @ w_x.T + h @ w_h.T + b, 4, axis=-1)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        c = f * c + i * g
        h = o * np.tanh(c)
        for name, value in zip("ifgo", (i, f, g, o), strict=True):
            kept[name].append(value)
    return {name: np.stack(values) for name, values in kept.items()}


def test_statistics_are_those_of_the_equations():
    model, task = made({"name": "adding", "length": 9}, cell="lstm")
    (cell,) = model.stack.cells()[0]
    with torch.no_grad():
        cell.w_x.mul_(20)  # some values beyond 0.1 and 0.9
    batches = [*task.eval_batches("valid", 4)][:3]
    (found,) = gates(model, batches)
    x = torch.cat([batch.inputs for batch in batches], 1).double().numpy()
    for name, values in lstm_gates(cell, x).items():
        flat = values.reshape(-1, values.shape[-1])
        activation = found.activations[name]
        low = flat < (0.1 if name != "g" else -0.9)
        assert activation.is_gate == (name != "g")
        np.testing.assert_allclose(activation.mean.numpy(), flat.mean(0), rtol=1e-5)
        np.testing.assert_allclose(activation.low.numpy(), low.mean(0), atol=1e-9)
        np.testing.assert_allclose(activation.high.numpy(), (flat > 0.9).mean(0), atol=1e-9)
        assert float(activation.high.sum() + activation.low.sum()) > 0
    mean = found.activations["f"].mean.numpy()
    np.testing.assert_allclose(found.half_life.numpy(), np.log(0.5) / np.log(mean), rtol=1e-9)


KEEPS = {"rnn": None, "lstm": "f", "peephole": "f", "coupled": "f", "gru": "z", "odyssey": "f"}


@pytest.mark.parametrize("name", CELLS)
def test_the_half_life_of_a_constant_gate_has_a_closed_form(name):
    model, task = made({"name": "adding", "length": 9}, cell=name)
    (cell,) = model.stack.cells()[0]
    assert cell.keeps == KEEPS[name]
    if cell.keeps is not None:
        for parameter in (cell.w_x, cell.w_h):
            cell.block(parameter, cell.keeps).zero_()
        cell.block(cell.b, cell.keeps).fill_(3.0)
    (found,) = gates(model, [next(task.eval_batches("valid", 4))])
    if cell.keeps is None:
        assert found.half_life is None
        assert math.isclose(found.spectral_radius, 1, rel_tol=1e-5)  # orthogonal
    else:
        assert found.spectral_radius is None
        wanted = math.log(2) / math.log1p(math.exp(-3.0))
        np.testing.assert_allclose(found.half_life.numpy(), np.full(cell.hidden_size, wanted), rtol=1e-5)


def test_half_lives_at_the_limits():
    assert half_life(torch.tensor([0.0, 0.5, 1.0])).tolist() == [0.0, 1.0, math.inf]


def test_padding_does_not_count():
    model, task = made({"name": "embedded_reber"}, cell="gru", depth=2, hidden_size=4)
    batch = next(task.eval_batches("valid", 5))
    together = gates(model, [batch])
    alone = []
    for b, length in enumerate(batch.lengths.tolist()):
        one = batch.rows(b, b + 1)
        alone.append(Batch(one.inputs[:length], one.targets[:length], None, one.scored[:length]))
    apart = gates(model, alone)
    for one, other in zip(together, apart, strict=True):
        assert one.place == other.place
        for name, activation in one.activations.items():
            torch.testing.assert_close(activation.mean, other.activations[name].mean)
            torch.testing.assert_close(activation.high, other.activations[name].high)


def test_the_plain_network_shows_its_radius_and_saturation():
    model, task = made({"name": "adding", "length": 9}, cell="rnn")
    (cell,) = model.stack.cells()[0]
    with torch.no_grad():
        cell.w_h.copy_(torch.diag(torch.tensor([0.1, -0.7, 0.2, 0.3, 0.4])))
        cell.b.copy_(torch.tensor([9.0, -9.0, 0.0, 0.0, 0.0]))
    (found,) = gates(model, [next(task.eval_batches("valid", 4))])
    assert math.isclose(found.spectral_radius, 0.7, rel_tol=1e-6)
    state = found.activations["hidden"]
    assert not state.is_gate
    assert (state.high[0], state.low[1]) == (1, 1)


def test_peepholes():
    model, task = made({"name": "adding", "length": 9}, cell="peephole")
    (cell,) = model.stack.cells()[0]
    with torch.no_grad():
        cell.p.copy_(torch.arange(15.0).view(3, 5))
    (found,) = gates(model, [next(task.eval_batches("valid", 4))])
    assert {name: row.tolist() for name, row in found.peepholes.items()} == {
        "i": [0, 1, 2, 3, 4], "f": [5, 6, 7, 8, 9], "o": [10, 11, 12, 13, 14],
    }  # fmt: skip
    model, _ = made({"name": "adding", "length": 9}, cell={"name": "coupled", "peepholes": True})
    (found,) = gates(model, [next(task.eval_batches("valid", 4))])
    assert [*found.peepholes] == ["f", "o"]


def test_the_state_is_carried_from_batch_to_batch():
    model, task = made({"name": "adding", "length": 9}, cell="lstm")
    whole = next(task.eval_batches("valid", 4))
    parts = [Batch(whole.inputs[:5], whole.targets), Batch(whole.inputs[5:], whole.targets, fresh=False)]
    (one,), (two,) = gates(model, [whole]), gates(model, parts)
    torch.testing.assert_close(one.activations["cell"].mean, two.activations["cell"].mean)


@pytest.mark.parametrize(("cell", "field"), [("lstm", "memory"), ("gru", "hidden")])
def test_zoneout_lengthens_the_half_life(cell, field):
    """The state becomes p times the old one and 1 - p times the new one."""
    plain, task = made({"name": "adding", "length": 9}, cell=cell)
    zoned, _ = made({"name": "adding", "length": 9}, cell=cell, **{f"zoneout_{field}": 0.5})
    zoned.load_state_dict(plain.state_dict())
    batch = next(task.eval_batches("valid", 4))
    (one,) = gates(zoned, [batch])
    factor = 0.5 + 0.5 * one.activations[one.keeps].mean
    np.testing.assert_allclose(one.half_life.numpy(), math.log(0.5) / factor.log().numpy(), rtol=1e-6)
