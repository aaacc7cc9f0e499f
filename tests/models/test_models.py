"""Depth, direction, merging, dropout and heads."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from seqtrain.cells import CELLS, LSTMState
from seqtrain.models import (
    AdaptiveHead,
    Dropout,
    OneHot,
    Prediction,
    SequenceModel,
    Stack,
    TiedHead,
    count_parameters,
    detach_state,
)
from seqtrain.models.dropout import drop, embed
from seqtrain.models.head import Linear, token_nats
from seqtrain.native.library import library
from seqtrain.recurrence import choose_loop, unroll_reference
from seqtrain.system.rng import generator

T, B, I, H = 6, 3, 2, 4


@pytest.fixture(autouse=True)
def _double(float64):
    torch.manual_seed(0)


def make_stack(cell="lstm", depth=1, **options):
    return Stack(CELLS[cell], I, [H] * depth, **({"direction": "forward"} | options))


def test_each_layer_reads_the_layer_below():
    stack, x = make_stack(depth=3), torch.randn(T, B, I)
    wanted = x
    for (cell,) in stack.cells():
        wanted, state = unroll_reference(cell, wanted)
    outputs, final, _ = stack(x)
    assert torch.equal(outputs, wanted)
    assert torch.equal(final, state.hidden)


@pytest.mark.parametrize("merge", ["concat", "sum"])
def test_bidirectional_is_a_forward_and_a_backward_half(merge):
    stack, x = make_stack(direction="bidirectional", merge=merge), torch.randn(T, B, I)
    lengths = torch.tensor([6, 4, 1])
    (ahead, back) = stack.cells()[0]
    outputs, final, _ = stack(x, lengths)
    a, a_end = unroll_reference(ahead, x, lengths=lengths)
    b, b_end = unroll_reference(back, x, lengths=lengths, reverse=True)
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
def test_the_head_reads_every_step_or_the_last_one(every_step):
    model = SequenceModel(nn.Identity(), make_stack(), nn.Linear(H, 5), every_step=every_step)
    x, lengths = torch.randn(T, B, I), torch.tensor([6, 4, 1])
    outputs, _ = model(x, lengths)
    hidden, state = unroll_reference(model.stack.cells()[0][0], x, lengths=lengths)
    wanted = hidden if every_step else hidden[lengths - 1, torch.arange(B)]
    assert outputs.shape == ((T, B, 5) if every_step else (B, 5))
    assert torch.equal(outputs, model.head(wanted))
    if not every_step:
        assert torch.equal(wanted, state.hidden)


def test_one_hot_vectors():
    assert OneHot(3)(torch.tensor([[2, 0]])).tolist() == [[[0, 0, 1], [1, 0, 0]]]
    assert OneHot(3)(torch.tensor([[[2, 0], [1, 1]]])).tolist() == [[[1, 0, 1], [0, 2, 0]]]  # several a step: their sum


def test_dropout_acts_between_layers_in_training_only():
    torch.manual_seed(0)
    stack, x = make_stack(depth=2, dropout=Dropout(dropout=0.5)), torch.randn(T, B, I)
    (lower,), (upper,) = stack.cells()
    masked = drop(unroll_reference(lower, x)[0], 0.5, generator("m"))
    wanted, _ = unroll_reference(upper, masked)
    assert torch.equal(stack(x, generator=generator("m"))[0], wanted)
    assert not torch.equal(stack(x, generator=generator("n"))[0], wanted)
    stack.eval()
    assert torch.equal(stack(x)[0], unroll_reference(upper, unroll_reference(lower, x)[0])[0])


def test_all_kinds_of_dropout_act_in_their_places():
    """Compared with a computation that draws the same masks in order: symbols, input, w_h, between, w_h, output."""
    dropout = Dropout(
        embedding_dropout=0.3, input_dropout=0.4, dropout=0.5, output_dropout=0.2, weight_drop=0.6, locked_dropout=True
    )
    stack = make_stack(depth=2, dropout=dropout)
    model = SequenceModel(nn.Embedding(7, I), stack, nn.Linear(H, 5), every_step=True, dropout=dropout)
    symbols, before = torch.randint(7, (T, B)), copy.deepcopy(model.state_dict())
    draw = generator("m")

    def mask(keep, *shape):
        return torch.empty(shape).bernoulli_(keep, generator=draw) / keep

    x = (model.encoder.weight * mask(0.7, 7, 1))[symbols] * mask(0.6, 1, B, I)
    for layer, keep in zip(stack.cells(), (0.5, 0.8), strict=True):
        cell = copy.deepcopy(layer[0])
        cell.w_h.data *= mask(0.4, *cell.w_h.shape)
        x = unroll_reference(cell, x)[0] * mask(keep, 1, B, H)
    assert torch.equal(model(symbols, generator=generator("m"))[0], model.head(x))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.eval()
    whole = stack(model.encoder(symbols))[0]
    assert torch.equal(model(symbols)[0], model.head(whole))


def test_dropped_weights_have_no_gradient_and_the_others_a_scaled_one():
    stack, x = make_stack(dropout=Dropout(weight_drop=0.5)), torch.randn(T, B, I)
    cell = stack.cells()[0][0]
    stack(x, generator=generator("m"))[0].sum().backward()
    mask = drop(torch.ones_like(cell.w_h), 0.5, generator("m"))
    twin = copy.deepcopy(cell)
    twin.w_h.data *= mask
    unroll_reference(twin, x)[0].sum().backward()
    torch.testing.assert_close(cell.w_h.grad, twin.w_h.grad * mask)
    assert (cell.w_h.grad[mask == 0] == 0).all()
    torch.testing.assert_close(cell.b.grad, twin.b.grad)


@pytest.mark.skipif(isinstance(library(), str), reason="there is no engine here")
@pytest.mark.parametrize("cell", ["lstm", "coupled", "gru", "rnn"])
def test_the_engine_drops_weights_as_the_plain_loop_does(cell):
    stack = make_stack(cell, depth=2, dropout=Dropout(weight_drop=0.5, dropout=0.2, locked_dropout=True)).float()
    x, results = torch.randn(T, B, I).float(), []
    for engine in ("reference", "fused"):
        stack.loop = choose_loop(engine, stack.cells()[0][0])
        stack.zero_grad()
        outputs, _, _ = stack(x, generator=generator("m"))
        outputs.square().sum().backward()
        results.append([outputs.detach(), *(parameter.grad.clone() for parameter in stack.parameters())])
    for plain, fused in zip(*results, strict=True):
        torch.testing.assert_close(fused, plain)


def test_dropped_weights_leave_the_cell_as_it_was():
    stack = make_stack("peephole", dropout=Dropout(weight_drop=0.5))
    (cell,) = stack.cells()[0]
    parameter, before = cell.w_h, cell.w_h.detach().clone()
    x = torch.randn(T, B, I)
    outputs, _, _ = stack(x, generator=generator("m"))
    assert not torch.equal(outputs, unroll_reference(cell, x)[0])
    assert cell.w_h is parameter
    assert torch.equal(parameter, before)


def test_locked_dropout_is_the_same_at_all_steps():
    dropout, x = Dropout(locked_dropout=True), torch.ones(50, 4, 6)
    masked = dropout.features(x, 0.5, generator("m"))
    assert torch.equal(masked, masked[:1].expand(50, 4, 6))
    assert masked[0].unique().tolist() == [0.0, 2.0]
    free = Dropout().features(x, 0.5, generator("m"))
    assert not torch.equal(free, free[:1].expand(50, 4, 6))
    rows = dropout.features(torch.ones(50, 6), 0.5, generator("m"))  # [B, F]: there are no steps
    assert not torch.equal(rows, rows[:1].expand(50, 6))


def test_a_dropped_symbol_is_dropped_everywhere():
    symbols = torch.randint(5, (40, 6))
    vectors = embed(symbols, torch.ones(5, 3), 0.5, generator("m"))
    for symbol in range(5):
        assert len(vectors[symbols == symbol].unique()) == 1
    assert vectors.unique().tolist() == [0.0, 2.0]


@pytest.mark.parametrize("probability", [0.0, 0.4])
def test_vectors_of_several_symbols_are_added(probability):
    """Against NumPy; a symbol is dropped everywhere or nowhere, and the others of its step stay."""
    symbols, weight = torch.randint(5, (7, 3, 4)), torch.randn(5, 2, requires_grad=True)
    vectors = embed(symbols, weight, probability, generator("m"))
    kept = drop(torch.ones(5, 1), probability, generator("m"))[:, 0].numpy()
    table, wanted, counts = weight.detach().numpy(), np.zeros((7, 3, 2)), np.zeros(5)
    for t, b, f in np.ndindex(7, 3, 4):
        symbol = int(symbols[t, b, f])
        wanted[t, b] += kept[symbol] * table[symbol]
        counts[symbol] += kept[symbol]
    np.testing.assert_allclose(vectors.detach().numpy(), wanted)
    vectors.sum().backward()
    np.testing.assert_allclose(weight.grad.numpy(), counts[:, None].repeat(2, 1))
    assert not probability or 0 < (kept == 0).sum() < 5


@pytest.mark.parametrize("kind", ["one-hot", "embedded"])
def test_a_model_of_several_symbols_is_one_of_the_summed_vectors(kind):
    """As a model that reads these sums as they are."""
    encoder = OneHot(5) if kind == "one-hot" else nn.Embedding(5, 5)
    stack = Stack(CELLS["gru"], 5, [H], direction="bidirectional", merge="concat")
    symbols, lengths = torch.randint(5, (T, B, 3)), torch.tensor([T, 2, 4])
    head = nn.Linear(2 * H, 2)
    outputs, _ = SequenceModel(encoder, stack, head, every_step=True)(symbols, lengths)
    summed = sum(encoder(column) for column in symbols.unbind(-1))
    wanted, _ = SequenceModel(nn.Identity(), stack, head, every_step=True)(summed, lengths)
    torch.testing.assert_close(outputs, wanted)


@pytest.mark.parametrize("training", [True, False])
def test_zoneout_keeps_part_of_the_old_state(training):
    """Compared with the equations; the output of a step is the new state."""
    stack, x = make_stack(dropout=Dropout(zoneout_hidden=0.3, zoneout_memory=0.6)), torch.randn(T, B, I)
    stack.train(training)
    draw, (cell,) = generator("m"), stack.cells()[0]
    h = c = torch.zeros(B, H)
    outputs = []
    for x_gates in cell.project(x):
        new = cell.step(x_gates, LSTMState(h, c))
        if training:
            stay_h, stay_c = (torch.empty(B, H).bernoulli_(p, generator=draw) for p in (0.3, 0.6))
        else:
            stay_h, stay_c = 0.3, 0.6
        h, c = stay_h * h + (1 - stay_h) * new.hidden, stay_c * c + (1 - stay_c) * new.cell
        outputs.append(h)
    actual, final, ((state,),) = stack(x, generator=generator("m"))
    torch.testing.assert_close(actual, torch.stack(outputs))
    torch.testing.assert_close(final, h)
    torch.testing.assert_close(state.cell, c)


def test_backward_zoneout_does_not_depend_on_padding():
    stack, x = make_stack(direction="backward", dropout=Dropout(zoneout_hidden=0.5)), torch.randn(T, B, I)
    stack.eval()
    lengths = torch.tensor([6, 4, 1])
    outputs, final, _ = stack(x, lengths)
    alone, end, _ = stack(x[:4, 1:2])
    torch.testing.assert_close(outputs[:4, 1:2], alone)
    torch.testing.assert_close(final[1:2], end)
    assert not outputs[4:, 1].any()


def test_layers_can_have_different_sizes():
    stack = Stack(CELLS["gru"], I, [5, 7, 3], direction="bidirectional")
    assert [cell.hidden_size for layer in stack.cells() for cell in layer] == [5, 5, 7, 7, 3, 3]
    assert [cell.input_size for layer in stack.cells() for cell in layer] == [I, I, 10, 10, 14, 14]
    assert stack(torch.randn(T, B, I))[0].shape == (T, B, 6)


@pytest.mark.parametrize("size", [3, H])
def test_a_tied_head_scores_by_the_embedding(size):
    embedding = nn.Embedding(6, size)
    head = TiedHead(embedding, H)
    head.bias.data.normal_()
    features = torch.randn(T, B, H)
    projected = features if size == H else features @ head.projection.weight.t()
    torch.testing.assert_close(head(features), projected @ embedding.weight.t() + head.bias)
    model = SequenceModel(embedding, make_stack(), head, every_step=True)
    assert count_parameters(model) == count_parameters(model.stack) + 6 * size + 6 + (0 if size == H else 3 * H)
    assert not any("embedding" in name for name in head.state_dict())
    twin = copy.deepcopy(model)
    twin.encoder.weight.data.zero_()
    assert not twin.head(features)[..., :].sub(twin.head.bias).any()


@pytest.mark.parametrize("tied", [False, True])
def test_a_fused_loss_is_that_of_the_scores(tied):
    V, H = 1100, 8
    head = TiedHead(nn.Embedding(V, 6), H) if tied else Linear(H, V)
    weight = head.weight
    features, targets = torch.randn(9, 10, H, requires_grad=True), torch.randint(V, (9, 10))
    scored = torch.rand(9, 10) < 0.9

    def results(*, fused):
        total, count = Prediction(head, features, features, fused_loss=fused).cross_entropy(targets, scored)
        nats = token_nats(head, features[scored], targets[scored], fused=fused)
        return (
            total,
            *torch.autograd.grad(total / count, [features, weight, *head.parameters()][: 4 if tied else 2]),
            nats,
        )

    for found, wanted in zip(results(fused=True), results(fused=False), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("loss", ["cross_entropy", "outputs", "features"])
@pytest.mark.parametrize("factors", [0, 2])
def test_the_gradient_of_a_tied_weight_is_that_of_both_its_uses(loss, factors):
    embedding = nn.Embedding(1100, I)
    model = SequenceModel(embedding, make_stack(), TiedHead(embedding, H), every_step=True)
    symbols = torch.randint(9, (12, 8, factors) if factors else (12, 8))
    targets = torch.randint(1100, (12, 8))

    def gradients(*, fused):
        model.fused_loss = fused
        model.zero_grad()
        prediction, _ = model.predict(symbols)
        if loss == "cross_entropy":
            total = prediction.cross_entropy(targets)[0]
        else:
            total = getattr(prediction, loss).square().sum()
        total.backward()
        return {name: parameter.grad for name, parameter in model.named_parameters()}

    found, wanted = gradients(fused=True), gradients(fused=False)
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-4)
    assert embedding.weight.grad.layout is torch.strided


def test_hooks_of_a_head_see_its_scores():
    head, seen = Linear(8, 1100), []
    head.register_forward_hook(lambda _, __, scores: seen.append(scores.shape))
    features, targets = torch.randn(70, 8), torch.randint(1100, (70,))
    Prediction(head, features, features, fused_loss=True).cross_entropy(targets)
    assert seen == [(70, 1100)]


def test_an_adaptive_head_gives_a_distribution_and_its_negative_log_likelihood():
    head = AdaptiveHead(8, 20, [4, 10], 2.0)
    features, targets = torch.randn(T, B, 8), torch.randint(20, (T, B))
    scores = head(features)
    torch.testing.assert_close(scores.exp().sum(-1), torch.ones(T, B))
    prediction = Prediction(head, features, features)
    total, count = prediction.cross_entropy(targets)
    torch.testing.assert_close(total, -scores.gather(-1, targets[..., None]).sum())
    assert count == T * B
    scored = torch.rand(T, B) < 0.5
    total, count = prediction.cross_entropy(targets, scored)
    torch.testing.assert_close(total, -scores.gather(-1, targets[..., None])[..., 0][scored].sum())
    assert count == scored.sum()
    assert count_parameters(head) == 8 * (4 + 2) + 6 + (8 * 4 + 4 * 6) + (8 * 2 + 2 * 10)


def test_an_adaptive_head_keeps_its_sums_in_float32_under_autocast():
    head = AdaptiveHead(8, 20, [4, 10], 2.0).float()
    features, targets = torch.randn(30, 8).float(), torch.arange(30) % 20
    exact = token_nats(head, features, targets, fused=True)
    with torch.autocast("cpu", torch.bfloat16):
        nats, scores = token_nats(head, features, targets, fused=True), head(features)
    assert nats.dtype == scores.dtype == torch.float32
    torch.testing.assert_close(nats, -scores.gather(-1, targets[:, None])[:, 0])
    assert 1e-5 < (nats - exact).abs().max() < 0.05


def test_dropout_preserves_the_mean_and_drops_with_its_probability():
    dropped = drop(torch.ones(100_000), 0.3, generator("x"))
    assert set(dropped.unique().tolist()) == {0.0, 1 / 0.7}
    assert abs(float((dropped == 0).double().mean()) - 0.3) < 0.01


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_detached_state_is_the_same_without_its_gradient(cell):
    stack, x = make_stack(cell, depth=2), torch.randn(T, B, I)
    _, _, state = stack(x)
    assert state[0][0].hidden.requires_grad
    assert not detach_state(state)[0][0].hidden.requires_grad
    assert torch.equal(stack(x, state=detach_state(state))[0], stack(x, state=state)[0])
    assert not torch.equal(stack(x, state=detach_state(state))[0], stack(x)[0])


@pytest.mark.parametrize(
    ("cell", "per_unit"), [("rnn", 1), ("lstm", 4), ("peephole", 4), ("coupled", 3), ("gru", 3), ("odyssey", 4)]
)
def test_the_number_of_parameters(cell, per_unit):
    extra = {"peephole": 3 * H, "gru": H, "odyssey": 3 * H}.get(cell, 0)
    assert count_parameters(make_stack(cell)) == per_unit * H * (I + H + 1) + extra
