"""The native engine against the plain loop in float64: outputs, final state and every gradient."""

import copy
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seqtrain.cells import CoupledCell, GRUCell, HiddenState, LSTMCell, LSTMState, PeepholeCell, RNNCell
from seqtrain.native import buffer_pool as memory
from seqtrain.native import library as native
from seqtrain.native.gemm import Sources, gradients_of_weights, product
from seqtrain.native.library import VARIANTS, library
from seqtrain.recurrence import choose_loop, unroll, unroll_reference
from seqtrain.recurrence.fused import unroll_fused, why_not_fused
from seqtrain.recurrence.kernels import KERNELS

CELLS = {
    "lstm": (LSTMCell, {}),
    "peephole": (PeepholeCell, {}),
    "coupled": (CoupledCell, {}),
    "coupled_peepholes": (CoupledCell, {"peepholes": True}),
    "gru_after": (GRUCell, {"reset": "after"}),
    "gru_before": (GRUCell, {"reset": "before"}),
    "rnn_tanh": (RNNCell, {"nonlinearity": "tanh"}),
    "rnn_relu": (RNNCell, {"nonlinearity": "relu"}),
}

SHAPES = st.tuples(
    st.integers(1, 7),  # T
    st.integers(1, 9) | st.just(50),  # B
    st.integers(1, 5),  # I
    st.integers(1, 40) | st.sampled_from([64, 100, 128]),  # H
)


pytestmark = pytest.mark.skipif(
    isinstance(library(), str) and shutil.which("g++") is None, reason="there is no compiler to build the engine with"
)


@pytest.fixture(params=VARIANTS)
def variant(request, monkeypatch):
    if VARIANTS.index(request.param) < VARIANTS.index(native.processor()):
        pytest.skip(f"this processor has no {request.param}")
    monkeypatch.setenv("SEQTRAIN_NATIVE", request.param)
    return request.param


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def cell_of(kernel, I, H, **options):
    kind, own = CELLS[kernel]
    cell = kind(I, H, **own, **options)
    for name, parameter in cell.named_parameters():
        if not name.startswith("w_"):  # biases, peepholes and initial states are zero in a new cell
            parameter.data.add_(0.3 * torch.randn_like(parameter))
    return cell


def state_of(cell, B):
    return cell.state_type(*(torch.randn(B, cell.hidden_size) for _ in cell.state_type._fields))


def results(run, cell, x, state, dtype, **options):
    """Outputs, final state and all gradients of a random weighting of them, by name."""
    cell = copy.deepcopy(cell).to(dtype)
    x = x.to(dtype, copy=True).requires_grad_()
    start = None if state is None else type(state)(*(s.to(dtype, copy=True).requires_grad_() for s in state))
    outputs, last = run(cell, x, start, **options)
    found = {"outputs": outputs, **{f"last {name}": part for name, part in last._asdict().items()}}
    random = torch.Generator().manual_seed(1)
    sum((part * torch.randn(part.shape, generator=random).to(dtype)).sum() for part in found.values()).backward()
    gradients = {"x": x, **dict(cell.named_parameters()), **({} if start is None else start._asdict())}
    return {**found, **{f"d {name}": tensor.grad for name, tensor in gradients.items()}}


def assert_same(cell, x, state=None, **options):
    expected = results(unroll_reference, cell, x, state, torch.float64, **options)
    got = results(unroll_fused, cell, x, state, torch.float32, **options)
    assert got.keys() == expected.keys()
    for name in got:
        scale = max(1.0, expected[name].abs().max().item()) if expected[name].numel() else 1.0
        torch.testing.assert_close(got[name].double(), expected[name], rtol=0, atol=4e-6 * scale, msg=name)


def test_every_kernel_is_tested():
    assert tuple(CELLS) == tuple(KERNELS)


@pytest.mark.parametrize("kernel", KERNELS)
@given(
    shape=SHAPES,
    reverse=st.booleans(),
    start=st.sampled_from(["zero", "given", "learnt"]),
    lengths=st.none() | st.lists(st.integers(0, 7), min_size=50, max_size=50),
    count=st.integers(1, 3),
    seed=st.integers(0, 99),
)
@example(shape=(3, 2, 4, 1), reverse=True, start="given", lengths=[2, 0] * 25, count=2, seed=0)
@example(shape=(1, 1, 1, 3), reverse=False, start="zero", lengths=None, count=3, seed=0)
@example(shape=(6, 5, 2, 17), reverse=True, start="learnt", lengths=[4, 2, 0, 1, 3] * 10, count=2, seed=0)
@example(shape=(4, 13, 2, 100), reverse=False, start="given", lengths=None, count=1, seed=0)
@example(shape=(8, 32, 2, 5), reverse=True, start="zero", lengths=None, count=2, seed=0)
@example(shape=(2, 300, 2, 5), reverse=False, start="zero", lengths=None, count=2, seed=0)
@example(shape=(7, 50, 2, 1), reverse=False, start="given", lengths=None, count=2, seed=0)
@example(shape=(3, 7, 3, 650), reverse=True, start="given", lengths=None, count=3, seed=0)
@settings(deadline=None, max_examples=25)
def test_equals_the_plain_loop(kernel, shape, reverse, start, lengths, count, seed):
    T, B, I, H = shape
    torch.manual_seed(seed)
    cell, x = cell_of(kernel, I, H, learn_initial_state=start == "learnt"), torch.randn(T, B, I)
    state = state_of(cell, B) if start == "given" else None
    lengths = None if lengths is None else torch.tensor(lengths[:B]).clamp(max=T)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(count)
        assert_same(cell, x, state, reverse=reverse, lengths=lengths)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_build_equals_the_plain_loop(kernel, variant):
    torch.manual_seed(0)
    for T, B, I, H in ((1, 1, 1, 1), (5, 3, 2, 17), (4, 50, 3, 100), (3, 7, 4, 128)):
        cell = cell_of(kernel, I, H)
        lengths = torch.randint(0, T + 1, (B,))
        assert_same(cell, torch.randn(T, B, I), state_of(cell, B), lengths=lengths, reverse=True)
        assert_same(cell, torch.randn(T, B, I))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_few_rows_beside_a_large_matrix(kernel, batch, threads):
    """Threads then split the hidden units instead of the rows, and wait for one another."""
    torch.manual_seed(0)
    threads(3)
    cell, x = cell_of(kernel, 3, 181), torch.randn(6, batch, 3)
    assert_same(cell, x, state_of(cell, batch))
    assert_same(cell, x, lengths=torch.tensor([4, 0, 6, 3, 5])[:batch], reverse=True)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("size", [1e-30, 1e-4, 30.0, 1e4, 1e30])
def test_extreme_inputs_give_numbers(kernel, size, variant):
    if kernel == "rnn_relu" and size > 1e4:
        pytest.skip("relu does not saturate")
    torch.manual_seed(0)
    cell = cell_of(kernel, 2, 18)
    cell.b.data.zero_()
    x = size * torch.randn(3, 4, 2)
    found = results(unroll_fused, cell, x, None, torch.float32)
    assert all(tensor.isfinite().all() for tensor in found.values())
    expected, _ = unroll_reference(copy.deepcopy(cell).double(), x.double())
    torch.testing.assert_close(found["outputs"].double(), expected, rtol=2e-5, atol=1e-6 * min(size, 1.0))


@pytest.mark.parametrize("kernel", KERNELS)
def test_infinite_inputs_saturate_and_nan_stays(kernel, variant):
    torch.manual_seed(0)
    cell = cell_of(kernel, 1, 17)
    cell.w_x.data.fill_(1.0)
    x = torch.tensor([float("inf"), -float("inf"), float("nan")])[None, :, None]
    outputs, _ = unroll_fused(cell, x)
    expected, _ = unroll_reference(cell, x)
    torch.testing.assert_close(outputs, expected, equal_nan=True)
    assert outputs[0, 2].isnan().all()


def test_functions_are_accurate_to_a_few_units_in_the_last_place(variant):
    """An RNN without recurrence is tanh; a coupled cell that starts from zero is sigmoid times tanh of its cell."""
    cell = RNNCell(1, 1)
    cell.w_x.data.fill_(1.0)
    x = torch.cat([torch.linspace(-12, 12, 40001), torch.logspace(-30, 1, 4001), -torch.logspace(-30, 1, 4001)])
    outputs, _ = unroll_fused(cell, x.view(1, -1, 1))
    expected = x.double().tanh()
    assert ((outputs.flatten() - expected).abs() / expected.abs().clamp(min=1e-37)).max() < 4 * 2**-24

    cell = LSTMCell(1, 1, forget_bias=0.0)
    cell.w_x.data.copy_(torch.tensor([[1.0], [0.0], [0.0], [0.0]]))  # c' = sigmoid(x) * tanh(b_g)
    cell.b.data[2] = 20.0
    x = torch.linspace(-80, 80, 40001)
    _, state = unroll_fused(cell, x.view(1, -1, 1))
    expected = x.double().sigmoid()
    assert ((state.cell.flatten() - expected).abs() / expected).max() < 8 * 2**-24


@pytest.mark.parametrize("kernel", KERNELS)
def test_padding_never_changes_a_result(kernel):
    torch.manual_seed(0)
    cell, x, lengths = cell_of(kernel, 2, 5), torch.randn(6, 3, 2), torch.tensor([4, 0, 2])
    state = state_of(cell, 3)
    plain = results(unroll_fused, cell, x, state, torch.float32, lengths=lengths)
    for b, length in enumerate(lengths):
        x[length:, b] = float("nan")
    padded = results(unroll_fused, cell, x, state, torch.float32, lengths=lengths)
    assert all(torch.equal(plain[name], padded[name]) for name in plain)
    assert not plain["outputs"][4:, 0].any()
    assert torch.equal(plain["last hidden"][1], state.hidden[1])


@pytest.mark.parametrize("kernel", KERNELS)
def test_same_bytes_twice(kernel, threads):
    torch.manual_seed(0)
    cell, x = cell_of(kernel, 3, 33), torch.randn(9, 7, 3)
    for count in (1, 3):
        threads(count)
        first, second = (results(unroll_fused, cell, x, None, torch.float32) for _ in range(2))
        assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("reverse", [False, True])
def test_inference_gives_the_same_bytes(kernel, reverse):
    torch.manual_seed(0)
    cell, x, lengths = cell_of(kernel, 3, 20), torch.randn(8, 4, 3), torch.tensor([8, 3, 0, 5])
    state = state_of(cell, 4)
    outputs, last = unroll_fused(cell, x, state, lengths=lengths, reverse=reverse)
    assert outputs.requires_grad
    with torch.no_grad():
        same, same_last = unroll_fused(cell, x, state, lengths=lengths, reverse=reverse)
    assert not same.requires_grad
    assert torch.equal(outputs, same)
    assert all(torch.equal(a, b) for a, b in zip(last, same_last, strict=True))


@pytest.mark.parametrize("kernel", KERNELS)
def test_backward_twice_gives_the_same_gradients(kernel):
    torch.manual_seed(0)
    cell, x = cell_of(kernel, 3, 20), torch.randn(5, 4, 3, requires_grad=True)
    outputs, _ = unroll_fused(cell, x)
    tensors = [x, *cell.parameters()]
    first = torch.autograd.grad(outputs.sum(), tensors, retain_graph=True)
    second = torch.autograd.grad(outputs.sum(), tensors)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("kernel", KERNELS)
def test_only_what_needs_a_gradient_gets_one(kernel):
    torch.manual_seed(0)
    cell, x = cell_of(kernel, 3, 20), torch.randn(5, 4, 3)
    whole = results(unroll_fused, cell, x, None, torch.float32)
    for name, parameter in cell.named_parameters():
        cell.requires_grad_(False)
        parameter.requires_grad_(True)
        outputs, last = unroll_fused(cell, x)
        random = torch.Generator().manual_seed(1)
        sum((part * torch.randn(part.shape, generator=random)).sum() for part in (outputs, *last)).backward()
        assert torch.equal(parameter.grad, whole[f"d {name}"])


@pytest.mark.parametrize("kernel", KERNELS)
def test_any_layout_of_input_and_gradient(kernel):
    torch.manual_seed(0)
    cell, x = cell_of(kernel, 3, 20), torch.randn(4, 3, 5).permute(2, 0, 1)  # [5, 4, 3]
    assert_same(cell, x)
    state = cell.state_type(*(torch.randn(20, 4).t() for _ in cell.state_type._fields))
    assert_same(cell, x, state)
    outputs, _ = unroll_fused(cell, x)
    outputs.sum().backward()  # its gradient is one number, seen as an array
    expected, _ = unroll_reference(double := copy.deepcopy(cell).double(), x.double())
    double.zero_grad()
    expected.sum().backward()
    torch.testing.assert_close(cell.w_h.grad.double(), double.w_h.grad, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_loss_on_the_final_state_alone(kernel):
    torch.manual_seed(0)
    cell, x = cell_of(kernel, 3, 20), torch.randn(5, 4, 3)
    double = copy.deepcopy(cell).double()
    unroll_fused(cell, x)[1].hidden.square().sum().backward()
    unroll_reference(double, x.double())[1].hidden.square().sum().backward()
    for mine, its in zip(cell.parameters(), double.parameters(), strict=True):
        torch.testing.assert_close(mine.grad.double(), its.grad, rtol=1e-5, atol=1e-5)


class OwnLSTM(LSTMCell):
    pass


def test_says_what_it_does_not_serve(monkeypatch):
    assert why_not_fused(LSTMCell(2, 3)) is None
    assert "OwnLSTM" in why_not_fused(OwnLSTM(2, 3))
    assert "float64" in why_not_fused(LSTMCell(2, 3).double())
    assert "meta" in why_not_fused(LSTMCell(2, 3).to("meta"))
    monkeypatch.setenv("SEQTRAIN_NATIVE", "abacus")
    assert "there is no engine 'abacus'; SEQTRAIN_NATIVE may be avx512, avx2, portable" in library()
    assert "there is no engine 'abacus'" in why_not_fused(LSTMCell(2, 3))


@pytest.mark.parametrize(
    ("x", "state", "lengths", "wanted"),
    [
        (torch.zeros(3, 2, 4), None, None, r"x is torch.float32 \[3, 2, 4\] on cpu; the engine needs .* \[3, 2, 5\]"),
        (torch.zeros(3, 2, 5).double(), None, None, "x is torch.float64"),
        (torch.zeros(3, 2, 5), LSTMState(torch.zeros(2, 6), torch.zeros(1, 6)), None, r"cell is .* \[1, 6\]"),
        (torch.zeros(3, 2, 5), None, torch.tensor([4, 1]), "lengths must be 2 whole numbers from 0 to 3"),
        (torch.zeros(3, 2, 5), None, torch.tensor([-1, 1]), "lengths must be 2 whole numbers from 0 to 3"),
        (torch.zeros(3, 2, 5), None, torch.tensor([1]), "lengths must be 2 whole numbers from 0 to 3"),
    ],
)
def test_refuses_what_would_be_read_beyond_its_end(x, state, lengths, wanted):
    with pytest.raises(ValueError, match=wanted):
        unroll_fused(LSTMCell(5, 6), x, state, lengths=lengths)


def test_a_model_chooses_its_loop_once(monkeypatch):
    cell = LSTMCell(2, 3)
    for engine in ("auto", "fused"):
        loop = choose_loop(engine, cell)
        assert (loop.name, loop.missing) == (f"fused-{native.variant()}", None)
    double, x = copy.deepcopy(cell).double(), torch.randn(2, 3, 2)
    assert choose_loop("auto", cell).unroll(double, x.double())[0].dtype == torch.float64  # converted since
    assert choose_loop("reference", cell) == ("reference", unroll_reference, None)
    assert choose_loop("auto", OwnLSTM(2, 3)) == ("reference", unroll_reference, None)
    with pytest.raises(ValueError, match="the engine has no kernel for OwnLSTM"):
        choose_loop("fused", OwnLSTM(2, 3))
    monkeypatch.setenv("SEQTRAIN_NATIVE", "abacus")
    name, chosen, missing = choose_loop("auto", cell)
    assert (name, chosen) == ("reference", unroll_reference)
    assert "no engine 'abacus'" in missing
    with pytest.raises(ValueError, match="no engine 'abacus'"):
        choose_loop("fused", cell)


@pytest.fixture
def calls(monkeypatch):
    """The names of the loops that `unroll` calls."""
    names = []

    def noting(name, loop):
        def call(*arguments, **options):
            names.append(name)
            return loop(*arguments, **options)

        monkeypatch.setattr(f"seqtrain.recurrence.dispatch.{name}", call)

    noting("unroll_fused", unroll_fused)
    noting("unroll_reference", unroll_reference)
    return names


@pytest.mark.parametrize(("engine", "called"), [
    ((), "unroll_fused"), (("auto",), "unroll_fused"), (("fused",), "unroll_fused"),
    (("reference",), "unroll_reference"),
])  # fmt: skip
@pytest.mark.parametrize("kernel", KERNELS)
def test_unroll_takes_the_engine_that_is_asked_for(calls, kernel, engine, called):
    cell, x = cell_of(kernel, 3, 5), torch.randn(4, 2, 3)
    outputs, state = unroll(cell, x, **dict(zip(("engine",), engine, strict=False)))
    assert calls == [called]
    wanted, last = unroll_reference(cell, x)
    torch.testing.assert_close(outputs, wanted)
    torch.testing.assert_close(tuple(state), tuple(last))


def test_unroll_takes_the_plain_loop_where_the_engine_cannot_run_the_cell(calls, monkeypatch):
    x = torch.randn(4, 2, 3)
    unroll(OwnLSTM(3, 5), x)
    unroll(LSTMCell(3, 5).double(), x.double())
    watched, seen = LSTMCell(3, 5), []
    watched.observer = seen.append
    unroll(watched, x)
    assert len(seen) == 8  # the gates, and the cell, of four steps
    monkeypatch.setenv("SEQTRAIN_NATIVE", "abacus")
    unroll(LSTMCell(3, 5), x)
    assert calls == ["unroll_reference"] * 4


def test_insisting_on_the_engine_says_why_it_cannot_run_the_cell(monkeypatch):
    x, watched = torch.randn(4, 2, 3), LSTMCell(3, 5)
    watched.observer = print
    for cell, reason in (
        (OwnLSTM(3, 5), "the engine has no kernel for OwnLSTM"),
        (LSTMCell(3, 5).double(), "the engine computes in float32, not in float64"),
        (watched, "this LSTMCell has an observer"),
    ):
        with pytest.raises(ValueError, match=reason):
            unroll(cell, x, engine="fused")
    with pytest.raises(ValueError, match=r"x is torch\.float64"):
        unroll(LSTMCell(3, 5), x.double(), engine="fused")
    with pytest.raises(ValueError, match="engine is 'fast'; use one of auto, reference, fused"):
        unroll(LSTMCell(3, 5), x, engine="fast")
    monkeypatch.setenv("SEQTRAIN_NATIVE", "abacus")
    with pytest.raises(ValueError, match="no engine 'abacus'"):
        unroll(LSTMCell(3, 5), x, engine="fused")


def test_a_single_step_of_a_single_sequence_is_taken_by_the_plain_loop(calls):
    """Generating a text is nothing but such steps, and packing the weights for the engine takes longer than one."""
    for shape in ((1, 1, 2), (2, 1, 2), (1, 2, 2)):
        unroll(LSTMCell(2, 3), torch.ones(shape))
    assert calls == ["unroll_reference", "unroll_fused", "unroll_fused"]


def test_what_the_engine_cannot_do_is_refused():
    cell, x = LSTMCell(3, 5), torch.randn(4, 2, 3, requires_grad=True)
    with pytest.raises(RuntimeError, match="no gradients of gradients"):
        torch.autograd.grad(unroll_fused(cell, x)[0].sum(), x, create_graph=True)
    for engine in ("auto", "reference"):
        many = torch.func.vmap(lambda x, engine=engine: unroll(cell, x, engine=engine)[0])(x.detach()[None])
        torch.testing.assert_close(many[0], unroll_reference(cell, x)[0])
    with pytest.raises(ValueError, match=r"transformed by torch\.func"):
        torch.func.vmap(lambda x: unroll(cell, x, engine="fused")[0])(x.detach()[None])
    cell.step = lambda *_: None
    assert why_not_fused(cell) is not None


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"lengths": torch.tensor([2.5, 4.0])}, "lengths must be 2 whole numbers"),
        ({"lengths": torch.tensor([float("nan"), 2.0])}, "lengths must be 2 whole numbers"),
        ({"state": HiddenState(torch.zeros(2, 5))}, "state is a HiddenState; a LSTMCell needs a LSTMState"),
        ({"b": torch.zeros(7)}, "b is torch.float32"),
        ({"w_h": torch.zeros(20, 4)}, "w_h is torch.float32"),
        ({"w_x": torch.zeros(20, 2)}, "w_x is torch.float32"),
    ],
)
def test_nothing_is_otherwise_than_the_engine_believes(change, wanted):
    cell, options = LSTMCell(3, 5), {}
    for name, value in change.items():
        if name in ("b", "w_h", "w_x"):
            setattr(cell, name, torch.nn.Parameter(value))
        else:
            options[name] = value
    with pytest.raises(ValueError, match=wanted):
        unroll_fused(cell, torch.randn(4, 2, 3), **options)
    peephole = PeepholeCell(3, 5)
    peephole.p = torch.nn.Parameter(torch.zeros(1, 5))
    with pytest.raises(ValueError, match=r"p is torch\.float32"):
        unroll_fused(peephole, torch.randn(4, 2, 3))


def test_what_changes_after_forward_does_not_change_backward():
    torch.manual_seed(0)
    cell, x, lengths = LSTMCell(3, 5), torch.randn(4, 2, 3), torch.tensor([2, 9, 4])[::2]
    expected = results(unroll_reference, cell, x, None, torch.float32, lengths=lengths)
    outputs, _ = unroll_fused(cell, x, lengths=lengths)
    lengths.fill_(1)
    d_outputs = torch.randn(4, 2, 5)
    before = d_outputs.clone()
    outputs.backward(d_outputs)
    assert torch.equal(d_outputs, before)
    torch.testing.assert_close(outputs, expected["outputs"])
    wanted = copy.deepcopy(cell)
    wanted.zero_grad()
    unroll_reference(wanted, x, lengths=torch.tensor([2, 4]))[0].backward(d_outputs)
    torch.testing.assert_close(cell.w_h.grad, wanted.w_h.grad)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_gradient_that_is_handed_in_stays_as_it_is(kernel):
    cell = cell_of(kernel, 3, 5)
    _, last = unroll_fused(cell, torch.randn(4, 2, 3), state_of(cell, 2))
    given = [torch.randn(5, 2).t() for _ in last]
    before = [d.clone() for d in given]
    torch.autograd.backward(last, given)
    assert all(torch.equal(a, b) for a, b in zip(given, before, strict=True))


def test_hooks_on_saved_tensors():
    torch.manual_seed(0)
    cell, x = LSTMCell(3, 5), torch.randn(4, 2, 3)
    unroll_reference(cell, x)[0].sum().backward()
    wanted = cell.w_h.grad.clone()
    cell.zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.t() if t.dim() == 2 else t.transpose(0, 1).contiguous(),
                                                  lambda t: t.t() if t.dim() == 2 else t.transpose(0, 1)):  # fmt: skip
        unroll_fused(cell, x)[0].sum().backward()
    torch.testing.assert_close(cell.w_h.grad, wanted)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.half(), lambda t: t):
        outputs, _ = unroll_fused(cell, x)
        with pytest.raises(RuntimeError, match=r"came back as torch.float16"):
            outputs.sum().backward()


@pytest.mark.parametrize(("T", "B", "I"), [(4, 0, 3), (4, 2, 0)])
def test_nothing_in_nothing_out(T, B, I):
    cell, x = cell_of("lstm", 3, 5), torch.randn(T, B, I)
    cell.w_x = torch.nn.Parameter(torch.randn(20, I))
    cell.input_size = I
    torch.testing.assert_close(unroll_fused(cell, x)[0], unroll_reference(cell, x)[0])


def test_a_lazily_negated_input():
    cell, x = LSTMCell(3, 5), torch.randn(4, 2, 3, dtype=torch.complex64).conj().imag
    assert x.is_neg()
    torch.testing.assert_close(unroll_fused(cell, x)[0], unroll_reference(cell, x)[0])


def test_what_is_lazily_negated_and_has_no_gaps():
    torch.manual_seed(0)
    cell, x = PeepholeCell(3, 5), torch.randn(4, 2, 3)
    for name in ("w_x", "w_h", "b", "p"):
        setattr(cell, name, torch.nn.Parameter(torch._neg_view(torch.randn_like(getattr(cell, name)))))
    state = LSTMState(torch._neg_view(torch.randn(2, 5)), torch._neg_view(torch.randn(2, 5)))
    d_outputs = torch._neg_view(torch.randn(4, 2, 5))
    assert all(part.is_neg() for part in (cell.w_h, state.cell, d_outputs))
    grads = []
    for run in (unroll_reference, unroll_fused):
        cell.zero_grad()
        outputs, _ = run(cell, x, state)
        outputs.backward(d_outputs)
        grads.append([outputs.detach(), *(parameter.grad.clone() for parameter in cell.parameters())])
    for wanted, found in zip(*grads, strict=True):
        torch.testing.assert_close(found, wanted)


@pytest.fixture
def no_flush():
    torch.set_flush_denormal(False)
    yield
    torch.set_flush_denormal(True)


@pytest.mark.usefixtures("no_flush")
@pytest.mark.parametrize("count", [1, 2])
def test_subnormal_numbers_are_flushed_in_products_and_in_the_recurrence(variant, threads, count):
    threads(count)
    assert torch.tensor(1e-20).square() > 0
    cell = RNNCell(1, 1, nonlinearity="relu")
    cell.w_h.data.fill_(0.0)
    cell.w_x.data.fill_(1e-20)
    assert not unroll_fused(cell, torch.full((1, 4, 1), 1e-20))[0].any()
    cell.w_h.data.fill_(1e-20)
    outputs, _ = unroll_fused(cell, torch.tensor([1.0, 0.0])[:, None, None].expand(2, 4, 1))
    assert outputs[0].flatten().tolist() == pytest.approx([1e-20] * 4)
    assert not outputs[1].any()


def test_long_sums_take_both_ways_to_share_the_work(threads):
    """Few rows of great depth are shared by columns, many rows by rows; both in several packed pieces."""
    torch.manual_seed(0)
    threads(3)
    for rows, depth, columns in ((7, 1100, 70), (1100, 600, 70)):
        a, b, bias = torch.randn(rows, depth), torch.randn(depth, columns), torch.randn(columns)
        expected = torch.addmm(bias.double(), a.double(), b.double())
        for left in (a, a.t().contiguous().t()):
            for right in (b, b.t().contiguous().t()):
                torch.testing.assert_close(product(left, right, bias).double(), expected, rtol=0, atol=1e-3)
    x, d = torch.randn(1100, 7), torch.randn(1100, 70)
    torch.testing.assert_close(
        gradients_of_weights([Sources(x, 0)], d)[0].double(), d.double().t() @ x.double(), rtol=0, atol=1e-3
    )


def test_large_arrays_are_used_again_but_never_while_they_live(monkeypatch):
    fresh, pool = [], memory._Pool()
    original = pool._fresh
    monkeypatch.setattr(pool, "_fresh", lambda size: fresh.append(size) or original(size))
    monkeypatch.setattr(memory, "_pool", pool)
    first = memory.empty(1 << 20)
    view = first[5:]
    del first
    second = memory.empty(1 << 20)  # the view still holds the first
    assert len(fresh) == 2
    del view
    third = memory.empty(1 << 20)
    assert len(fresh) == 2
    assert third.data_ptr() != second.data_ptr()
    assert not third._is_view()


def test_large_arrays_have_room_for_all_that_is_in_them():
    for count in (1 << 18, (1 << 22) + 1, (5 << 20) + 12345):
        array = memory.empty(count)
        array.fill_(1.0)
        assert array.untyped_storage().nbytes() >= 4 * count
    pool = memory._Pool()
    pool.give_back(pool.take(32 << 20))
    assert len(pool.take(4 << 20)) == 4 << 20  # a block eight times as large is left for others


def test_few_rows_are_split_by_units(threads):
    """Seen by the sums of bias gradients: rows are added up by thread, units are not, so the bytes are those of one."""
    torch.manual_seed(0)
    x, grads = torch.randn(3, 3, 4), []
    cell = cell_of("lstm", 4, 256)
    for count in (1, 3):
        threads(count)
        cell.zero_grad()
        unroll_fused(cell, x)[0].square().sum().backward()
        grads.append(cell.b.grad.clone())
    assert torch.equal(*grads)


def test_no_more_memory_is_held_than_was_in_use_at_once():
    pool = memory._Pool()
    for megabytes in (2, 4, 8, 16, 32, 2, 4):
        pool.give_back(pool.take(megabytes << 20))
        held = [*pool.free, *pool.returned]
        assert sum(map(len, held)) <= 32 << 20
    assert pool.peak == 32 << 20


def test_the_pool_serves_several_threads():
    def work(_):
        for size in (1 << 19, 1 << 20, 1 << 21) * 40:
            array = memory.empty(size)
            array[::4096] = threading.get_ident() % 1000
            assert (array[::4096] == threading.get_ident() % 1000).all()
        return True

    with ThreadPoolExecutor(6) as threads:
        assert all(threads.map(work, range(6)))
