"""Products in bfloat16 beside rounded factors in double precision, and float32 within the bound of rounding."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from seqtrain.cells import CoupledCell, GRUCell, LSTMCell, PeepholeCell, RNNCell
from seqtrain.native.gemm import Sources, gradients_of_weights, product
from seqtrain.native.library import library
from seqtrain.native.linear import linear
from seqtrain.native.storage import Storage, has_pairs, storage, why_no_gain
from seqtrain.recurrence import fused, unroll, unroll_reference

pytestmark = pytest.mark.skipif(isinstance(library(), str), reason=str(library()))

ROUNDING = 2.0**-7 + 2.0**-16
"""The relative error of a product whose factors were both rounded to 8 bits: (1 + 2^-8)^2 - 1."""
FORMS = [
    Storage.ROUNDED,
    pytest.param(Storage.PAIRS, marks=pytest.mark.skipif(not has_pairs(), reason="no vdpbf16ps on this processor")),
]
CELLS = {
    "rnn": lambda: RNNCell(5, 19),
    "relu": lambda: RNNCell(5, 19, nonlinearity="relu"),
    "lstm": lambda: LSTMCell(5, 19),
    "peephole": lambda: PeepholeCell(5, 19),
    "coupled": lambda: CoupledCell(5, 19),
    "gru": lambda: GRUCell(5, 19),
    "gru-before": lambda: GRUCell(5, 19, reset="before"),
}
FIRST = torch.linspace(-0.7, 0.9, 57).view(3, 19)
"""The state to start from, and multiples of it where a state has several parts."""


def rounded(values: Tensor) -> Tensor:
    return values.to(torch.bfloat16).to(values.dtype)


@pytest.fixture(params=FORMS)
def form(request, monkeypatch):
    monkeypatch.setattr(fused, "storage", lambda: request.param)
    return request.param


@pytest.mark.parametrize("form", FORMS)
def test_each_factor_is_rounded_to_the_nearest_bfloat16(form):
    bits = np.random.default_rng(0).integers(0, 2**32, 20_000, dtype=np.uint32)
    ties = np.arange(2**16, dtype=np.uint32)[::7] << 16 | 0x8000
    numbers = torch.from_numpy(np.concatenate([bits, ties, ties - 1, ties + 1]).view(np.float32))
    numbers = numbers[~(numbers.abs() < 2.0**-126)]  # the engine takes subnormal numbers for zero
    as_row = product(numbers[:, None], torch.ones(1, 1), storage=form)[:, 0]
    as_column = product(torch.ones(1, 1), numbers[None, :], storage=form)[0]
    for found in (as_row, as_column):
        assert torch.equal(found.nan_to_num(123.0), rounded(numbers).nan_to_num(123.0))
        assert torch.equal(found.isnan(), numbers.isnan())


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=40, deadline=None)
@given(
    sizes=st.tuples(st.integers(1, 70), st.sampled_from([1, 2, 3, 31, 32, 33, 100, 513, 1025]), st.integers(1, 70)),
    transposed=st.tuples(st.booleans(), st.booleans()),
    seed=st.integers(0, 2**31),
)
def test_a_product_has_rounded_factors_and_sums_in_float32(form, sizes, transposed, seed):
    rows, depth, columns = sizes
    torch.manual_seed(seed)
    a, b, bias = torch.randn(rows, depth), torch.randn(depth, columns), torch.randn(columns)
    a, b = (x.t().contiguous().t() if turn else x for x, turn in zip((a, b), transposed, strict=True))
    found = product(a, b, bias, storage=form).double()
    magnitude = a.abs().double() @ b.abs().double()
    sums = depth * 2.0**-24 * (magnitude + bias.abs())
    exact = rounded(a).double() @ rounded(b).double() + bias
    assert ((found - exact).abs() <= 2 * sums + 1e-30).all()
    in_float32 = product(a, b, bias).double()
    assert ((found - in_float32).abs() <= ROUNDING * magnitude + 3 * sums).all()
    assert depth < 10 or not torch.equal(found, in_float32)


@pytest.mark.parametrize("form", FORMS)
def test_gradients_of_weights_have_rounded_factors(form):
    first, second, d = torch.randn(101, 7), torch.randn(90, 30), torch.randn(101, 40)
    found = gradients_of_weights([Sources(first, 0), Sources(second, 11)], d, storage=form)
    exact = [rounded(d).double().t() @ rounded(first).double(), rounded(d[11:]).double().t() @ rounded(second).double()]
    for one, other in zip(found, exact, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-5)


class RoundedLinear(torch.autograd.Function):
    """What the engine does in a product, in any precision: rounded factors in both passes."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(rounded(x), rounded(weight))
        product = rounded(x) @ rounded(weight).t()
        return product if bias is None else product + bias

    @staticmethod
    def backward(ctx, d):
        x, weight = ctx.saved_tensors
        flat = rounded(d).flatten(0, -2)
        return (
            rounded(d) @ weight,
            flat.t() @ x.flatten(0, -2),
            d.flatten(0, -2).sum(0) if ctx.needs_input_grad[2] else None,
        )


def rounded_linear(x, weight, bias=None):
    return RoundedLinear.apply(x, weight, bias)


def rounded_addmm(base, x, weight):
    return base + rounded_linear(x, weight.t())


def run(cell, x, d, unrolled, first=None, **options):
    cell.zero_grad()
    x = x.detach().clone().requires_grad_()
    given = [x]
    if first is not None:
        zero = cell.initial_state(x.shape[1])
        given += [(first.to(x.dtype) * n).requires_grad_() for n in range(1, len(zero) + 1)]
        first = type(zero)(*given[1:])
    outputs, last = unrolled(cell, x, first, **options)
    (outputs * d).sum().backward()
    results = [outputs, *last, *(tensor.grad for tensor in (*given, *cell.parameters()))]
    return [result.detach() for result in results]


def runs_in_both(make, monkeypatch, **options):
    """The engine in bfloat16, and the plain loop in double precision with rounded factors."""
    torch.manual_seed(1)
    cell, x, d = make(), torch.randn(4, 3, 5), torch.randn(4, 3, 19)
    found = run(cell, x, d, fused.unroll_fused, **options)
    with monkeypatch.context() as patch:
        patch.setattr(F, "linear", rounded_linear)
        patch.setattr(torch, "addmm", rounded_addmm)
        exact = run(cell.double(), x.double(), d.double(), unroll_reference, **options)
    return found, exact


@pytest.mark.parametrize(
    "options",
    [{}, {"reverse": True, "lengths": torch.tensor([4, 2, 0])}, {"first": FIRST}],
    ids=["", "padded", "carried"],
)
@pytest.mark.parametrize("make", CELLS.values(), ids=CELLS)
def test_the_engine_rounds_the_factors_of_its_products_and_nothing_else(make, options, form, monkeypatch):
    """A number beside the middle of two bfloat16 may be rounded to the other one, so a few may be further apart."""
    for one, other in zip(*runs_in_both(make, monkeypatch, **options), strict=True):
        apart = (one - other).abs() / (1 + other.abs())
        assert (apart > 2e-6).double().mean() <= 0.1
        assert apart.max() < 0.02


@pytest.mark.parametrize("make", CELLS.values(), ids=CELLS)
def test_float32_is_further_away_than_that(make, monkeypatch):
    """The test above would fail for products in float32."""
    monkeypatch.setattr(fused, "storage", lambda: Storage.FLOAT32)
    found, exact = runs_in_both(make, monkeypatch)
    apart = [((one - other).abs() > 2e-6).double().mean() for one, other in zip(found, exact, strict=True)]
    assert apart[0] > 0.3  # the outputs
    assert sum(apart) > 0.5 * len(apart)


@pytest.mark.parametrize("storage", [Storage.FLOAT32, *FORMS])
@pytest.mark.parametrize("make", CELLS.values(), ids=CELLS)
def test_the_bytes_do_not_depend_on_the_number_of_threads(make, storage, monkeypatch):
    monkeypatch.setattr(fused, "storage", lambda: storage)
    torch.manual_seed(2)
    before = torch.get_num_threads()
    for batch, hidden in ((131, 19), (9, 130)):
        cell = type(make())(5, hidden)
        x, d, lengths = torch.randn(6, batch, 5), torch.randn(6, batch, hidden), torch.randint(0, 7, (batch,))
        try:
            results = []
            for threads in (1, 2, 3, 7):
                torch.set_num_threads(threads)
                results.append(run(cell, x, d, fused.unroll_fused, lengths=lengths))
        finally:
            torch.set_num_threads(before)
        for other in results[1:]:
            for one, two in zip(results[0], other, strict=True):
                assert torch.equal(one, two)


def test_autocast_asks_for_bfloat16():
    assert storage() is Storage.FLOAT32
    with torch.autocast("cpu", torch.float16):
        assert storage() is Storage.FLOAT32
    with torch.autocast("cpu", torch.bfloat16):
        assert storage() is (Storage.PAIRS if why_no_gain() is None else Storage.ROUNDED)
        with torch.autocast("cpu", enabled=False):
            assert storage() is Storage.FLOAT32


@pytest.mark.parametrize("engine", ["fused", "reference"])
@pytest.mark.parametrize("make", CELLS.values(), ids=CELLS)
def test_states_and_outputs_stay_float32_under_autocast(make, engine):
    torch.manual_seed(3)
    cell, x = make(), torch.randn(30, 4, 5)
    in_float32, _ = unroll(cell, x, engine=engine)
    with torch.autocast("cpu", torch.bfloat16):
        outputs, state = unroll(cell, x.bfloat16(), engine=engine)
        start = cell.state_type(*(torch.ones(4, 19).bfloat16() for _ in state))
        _, state = unroll(cell, x, start, engine=engine)  # from an encoder under autocast
    assert {outputs.dtype, *(part.dtype for part in state)} == {torch.float32}
    apart = (outputs - in_float32).abs().max()
    assert 1e-4 < apart < 0.05
    (gradient,) = torch.autograd.grad(outputs.sum(), [cell.w_h])
    assert gradient.dtype == torch.float32
    assert gradient.isfinite().all()


def test_a_linear_layer_rounds_factors_and_keeps_its_sums():
    torch.manual_seed(4)
    x, weight, bias = (torch.randn(*shape, requires_grad=True) for shape in ((3, 5, 40), (17, 40), (17,)))
    d = torch.randn(3, 5, 17)
    with torch.autocast("cpu", torch.bfloat16):
        found = linear(x, weight, bias)
    exact = rounded_linear(*(part.double() for part in (x, weight, bias)))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-5)
    mine = torch.autograd.grad(found, [x, weight, bias], d)
    theirs = torch.autograd.grad(exact, [x, weight, bias], d.double())
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(linear(x, weight, bias), F.linear(x, weight, bias))


def test_a_linear_layer_computes_the_gradients_that_are_wanted():
    x, weight, bias = torch.randn(3, 4), torch.randn(2, 4), torch.zeros(2, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        linear(x, weight, bias).sum().backward()
    assert torch.equal(bias.grad, torch.full((2,), 3.0))


def test_a_linear_layer_has_no_gradients_of_gradients_in_bfloat16():
    x, weight = torch.randn(3, 4), torch.randn(2, 4, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        result = linear(x, weight)
    with pytest.raises(RuntimeError, match="no gradients of gradients"):
        torch.autograd.grad(result.sum(), weight, create_graph=True)


def test_a_linear_layer_reads_any_layout_and_no_rows():
    x, weight = torch.randn(6, 4).t(), torch.randn(6, 2).t()
    conjugate = torch.complex(torch.zeros(3, 6), torch.randn(3, 6)).conj().imag  # its negation is pending
    for rows in (x, conjugate, torch.empty(0, 6)):
        with torch.autocast("cpu", torch.bfloat16):
            found = linear(rows, weight)
        torch.testing.assert_close(found, rounded(rows) @ rounded(weight).t(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("make", CELLS.values(), ids=CELLS)
def test_a_single_step_is_computed_in_float32(make):
    torch.manual_seed(5)
    cell, x = make(), torch.randn(1, 3, 5)
    with torch.inference_mode():
        exact, _ = unroll(cell, x)
        with torch.autocast("cpu", torch.bfloat16):
            found, state = unroll(cell, x)
            longer, _ = unroll(cell, torch.cat([x, x]))
    assert torch.equal(found, exact)
    assert state.hidden.dtype == torch.float32
    assert not torch.equal(longer[:1], exact)
