"""The gradient through time: autograd on the plain loop, finite differences, known factors."""

import copy
import math

import pytest
import torch
from inspected import made

from seqtrain.inspection.gradient import SMALLEST, gradient_through_time
from seqtrain.recurrence import Loop, unroll_reference
from seqtrain.tasks.base import Batch

CASES = [
    ({"name": "adding", "length": 12}, {"cell": "lstm"}),
    ({"name": "adding", "length": 12}, {"cell": "gru", "depth": 2}),
    ({"name": "temporal_order"}, {"cell": "rnn", "direction": "backward"}),
    ({"name": "temporal_order", "length": 20}, {"cell": "lstm"}),
    ({"name": "copy_memory", "length": 3}, {"cell": "peephole", "depth": 2}),
    ({"name": "embedded_reber"}, {"cell": "coupled"}),
    ({"name": "lookaround"}, {"cell": "gru", "direction": "bidirectional", "depth": 2}),
    ({"name": "adding", "length": 12}, {"cell": {"name": "odyssey", "ablation": "full_gate_recurrence"}}),
]


def batch_of(task, count=3):
    return next(task.eval_batches("valid", count))


def autograd_norms(model, task, batch, direction):
    """The norms `[T, B]` by `retain_grad` on the tensors of the plain loop, for one prediction of each sequence."""
    model = copy.deepcopy(model).double()
    kept = []

    def unroll(cell, x, state=None, **options):
        states = []

        def keep(t, x_gates, new):
            for part in new:
                part.retain_grad()
            states.append((t, new))

        result = unroll_reference(cell, x, state, on_step=keep, **options)
        kept.append(states)
        return result

    model.stack.loop = Loop("reference", unroll)
    inputs = batch.inputs.double() if batch.inputs.is_floating_point() else batch.inputs
    prediction, _ = model.predict(inputs, batch.lengths)
    T, B = batch.inputs.shape[:2]
    if model.every_step:
        losses = torch.zeros(())
        for b in range(B):
            scored = [t for t in range(T) if batch.scored is None or batch.scored[t, b]]
            if batch.lengths is not None:
                scored = [t for t in scored if t < batch.lengths[b]]
            one = torch.zeros(T, B, dtype=torch.bool)
            one[scored[-1] if direction == "forward" else scored[0], b] = True
            judged = Batch(batch.inputs, batch.targets, batch.lengths, one, batch.marks)
            losses = losses + task.loss(prediction, judged)[0]
    else:
        targets = batch.targets.double() if batch.targets.is_floating_point() else batch.targets
        losses = task.loss(prediction, Batch(batch.inputs, targets, batch.lengths))[0]
    losses.backward()
    tables = []
    for states in kept:
        fields = states[0][1]._fields
        tables.append({name: torch.zeros(T, B, dtype=torch.double) for name in fields})
        for t, state in states:
            for name in fields:
                gradient = getattr(state, name).grad
                if gradient is not None:
                    tables[-1][name][t] = gradient.norm(dim=-1)
    return tables


@pytest.mark.parametrize(("task", "model"), CASES, ids=lambda case: str(case)[:40])
@pytest.mark.parametrize("window", [1, 4, 1000])
def test_norms_are_those_of_autograd(task, model, window):
    model, task = made(task, **model)
    batch = batch_of(task)
    T, B = batch.inputs.shape[:2]
    lengths = torch.full((B,), T) if batch.lengths is None else batch.lengths
    curves = gradient_through_time(model, task, batch, window=window)
    tables = {direction: autograd_norms(model, task, batch, direction) for direction in ("forward", "backward")}
    cells = [(layer + 1, d) for layer, cells in enumerate(model.stack.cells()) for d in directions_of(model)]
    assert {curve.place for curve in curves} == {*cells}
    for curve in curves:
        table = tables[curve.place.direction][cells.index(curve.place)][curve.field]
        for b in range(B):
            steps = steps_of(batch, model, b, int(lengths[b]), curve.place.direction)
            got = curve.norms[:, b]
            assert torch.allclose(got[: len(steps)], table[steps, b], rtol=1e-9, atol=1e-300)
            assert bool(got[len(steps) :].isnan().all())


def directions_of(model):
    return ["backward" if reverse else "forward" for reverse in model.stack.reversed]


def steps_of(batch, model, b, length, direction):
    """The steps of a sequence in the order of their distance from the loss."""
    scored = [*range(length)] if not model.every_step or batch.scored is None else None
    if scored is None:
        scored = [t for t in range(length) if batch.scored[t, b]]
    if direction == "forward":
        return [*range(scored[-1] if model.every_step else length - 1, -1, -1)]
    return [*range(scored[0] if model.every_step else 0, length)]


def test_finite_differences():
    model, task = made({"name": "adding", "length": 6}, cell="lstm")
    batch = batch_of(task, 1)
    (hidden, cell) = gradient_through_time(model, task, batch)
    assert (hidden.field, cell.field) == ("hidden", "cell")
    double = copy.deepcopy(model).double().requires_grad_(False)
    (layer,) = double.stack.cells()[0]
    inputs, targets = batch.inputs.double(), batch.targets.double()

    def loss(state, start):
        _, end = unroll_reference(layer, inputs[start:], state)
        return float((double.head(end.hidden) - targets).square().sum())

    for distance in range(6):
        stop = 6 - distance
        _, state = unroll_reference(layer, inputs[:stop], None)
        for field, curve in (("hidden", hidden), ("cell", cell)):
            slopes = []
            for unit in range(5):
                moved = []
                for sign in (1, -1):
                    part = getattr(state, field).clone()
                    part[0, unit] += sign * 1e-6
                    new = state._replace(**{field: part})
                    if field == "cell":  # the output of the same step follows it
                        new = new._replace(hidden=state.hidden / state.cell.tanh() * part.tanh())
                    moved.append(loss(new, stop) if stop < 6 else end_loss(double, new, targets))
                slopes.append((moved[0] - moved[1]) / 2e-6)
            assert math.isclose(math.hypot(*slopes), float(curve.norms[distance, 0]), rel_tol=1e-6)


def end_loss(model, state, targets):
    return float((model.head(state.hidden) - targets).square().sum())


def relu_rnn(factor, size=3):
    """A linear network on positive inputs: `h' = factor * h + x`."""
    model, task = made({"name": "adding", "length": 50}, cell={"name": "rnn", "nonlinearity": "relu"}, hidden_size=size)
    (cell,) = model.stack.cells()[0]
    with torch.no_grad():
        cell.w_h.copy_(factor * torch.eye(size))
        cell.w_x.fill_(0.1)
        cell.b.fill_(1.0)
    return model, task


@pytest.mark.parametrize("factor", [0.5, 0.99, 1.0, 1.1])
def test_a_linear_network_has_the_factor_of_its_weights(factor):
    model, task = relu_rnn(factor)
    (curve,) = gradient_through_time(model, task, batch_of(task), window=7)
    assert curve.norms.shape == (50, 3)
    assert math.isclose(curve.factor_per_step(), factor, rel_tol=1e-5)  # the weights are float32
    wanted = {0.5: 7, 0.99: None, 1.0: None, 1.1: None}[factor]
    assert curve.fallen_to(0.01) == wanted


def test_where_float32_ends():
    model, task = relu_rnn(0.01)
    (curve,) = gradient_through_time(model, task, batch_of(task))
    start = float(curve.mean()[0])
    assert curve.fallen_below(SMALLEST) == math.ceil(math.log(start / SMALLEST, 100) - 1e-4)
    assert curve.fallen_to(0.5) == 1


def test_padding_and_neighbours_change_nothing():
    model, task = made({"name": "embedded_reber"}, cell="gru")
    batch = batch_of(task, 6)
    (together,) = gradient_through_time(model, task, batch)
    for b in range(6):
        length = int(batch.lengths[b])
        alone = batch.rows(b, b + 1)
        cut = Batch(alone.inputs[:length], alone.targets[:length], None, alone.scored[:length])
        (curve,) = gradient_through_time(model, task, cut)
        assert torch.allclose(curve.norms[:, 0], together.norms[: len(curve.norms), b], rtol=1e-12)


def test_the_model_stays_as_it_is():
    model, task = made({"name": "adding", "length": 12}, cell="lstm")
    before = copy.deepcopy(model.state_dict())
    gradient_through_time(model, task, batch_of(task))
    assert next(model.parameters()).dtype == torch.float32
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
