"""The output layer in the engine against `cross_entropy` of torch in double precision."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.func import grad
from torch.nn import functional as F

from seqtrain.native import linear_cross_entropy as module
from seqtrain.native.library import VARIANTS, library
from seqtrain.native.linear_cross_entropy import linear_cross_entropy
from seqtrain.native.storage import Storage, has_pairs

pytestmark = pytest.mark.skipif(isinstance(library(), str), reason="the engine is not installed")


CAPABILITY = torch.backends.cpu.get_cpu_capability().lower()
RUNNABLE = VARIANTS[VARIANTS.index(CAPABILITY) :] if CAPABILITY in VARIANTS else ["portable"]


@pytest.fixture(autouse=True)
def engine_only(monkeypatch):
    """Small layers run in the engine too."""
    monkeypatch.setattr(module, "FEWEST_WORDS", 1)
    monkeypatch.setattr(module, "FEWEST_ROWS", 1)


def layer(N, H, V, *, with_bias=True, size=1.0):
    torch.manual_seed(0)
    features, weight = torch.randn(N, H), size * torch.randn(V, H) / max(1, H) ** 0.5
    return features, weight, size * torch.randn(V) if with_bias else None, torch.randint(V, (N,))


def with_gradients(run, features, weight, bias, targets, dtype=torch.float32, upstream=1.0):
    given = [
        None if one is None else one.detach().to(dtype, copy=True).requires_grad_() for one in (features, weight, bias)
    ]
    nats = run(*given, targets)
    nats.backward(torch.as_tensor(upstream, dtype=dtype).expand(nats.shape))
    return nats.detach(), *(None if one is None else one.grad for one in given)


def torch_nats(reduction):
    return lambda features, weight, bias, targets: F.cross_entropy(
        F.linear(features, weight, bias), targets, reduction=reduction
    )


def ours(reduction):
    return lambda *given: linear_cross_entropy(*given, reduction=reduction)


def assert_close(found, wanted, rtol=2e-5):
    for one, exact in zip(found, wanted, strict=True):
        if exact is not None:
            atol = rtol * max(1.0, float(exact.abs().max())) if exact.numel() else 0
            torch.testing.assert_close(one.double(), exact.double(), rtol=rtol, atol=atol, equal_nan=True)


SIZES = st.tuples(
    st.integers(0, 70) | st.sampled_from([255, 256, 257, 600]),  # N
    st.integers(1, 70) | st.sampled_from([128, 300]),  # H
    st.integers(1, 130) | st.sampled_from([1536, 1537, 3001]),  # V
)


@settings(max_examples=60, deadline=None)
@given(
    variant=st.sampled_from(RUNNABLE),
    sizes=SIZES,
    with_bias=st.booleans(),
    reduction=st.sampled_from(["sum", "none"]),
    upstream=st.sampled_from([1.0, -3.5]),
)
@example(RUNNABLE[0], (700, 65, 3001), True, "sum", 1 / 700)
@example(RUNNABLE[-1], (1, 1, 1), True, "none", 1.0)
def test_it_is_cross_entropy(variant, sizes, with_bias, reduction, upstream):
    given = layer(*sizes, with_bias=with_bias)
    exact = with_gradients(torch_nats(reduction), *given, torch.float64, upstream)
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setenv("SEQTRAIN_NATIVE", variant)
        assert_close([ours(reduction)(*given)], exact[:1])
        with torch.enable_grad():
            assert_close(with_gradients(ours(reduction), *given, upstream=upstream), exact)


def infinite_bias(given):
    given[2][3] = -torch.inf  # a word that cannot occur
    given[3][:2] = 3
    return given


def infinite_weight(given):
    given[1][5] = torch.inf
    return given


def nan_weight(given):
    given[1][700, 2] = torch.nan
    return given


def nan_feature(given):
    given[0][1, 1] = torch.nan
    return given


def all_impossible(given):
    given[2][:] = -torch.inf
    return given


@pytest.mark.parametrize("change", [infinite_bias, infinite_weight, nan_weight, nan_feature, all_impossible])
def test_what_is_not_finite_is_seen_as_in_torch(change):
    given = change(layer(5, 4, 1537))
    found = with_gradients(ours("none"), *given)
    for one, exact in zip(found, with_gradients(torch_nats("none"), *given, torch.float64), strict=True):
        torch.testing.assert_close(one.double(), exact, rtol=1e-4, atol=1e-4, equal_nan=True)


@pytest.mark.parametrize("size", [1e-30, 1e4])
def test_scores_of_any_size(size):
    given = layer(37, 5, 1537, size=size)
    exact = with_gradients(torch_nats("sum"), *given, torch.float64)
    assert_close(with_gradients(ours("sum"), *given)[:1], exact[:1], 1e-5)
    plain = with_gradients(torch_nats("sum"), *given)
    for one, other, wanted in zip(with_gradients(ours("sum"), *given), plain, exact, strict=True):
        error, usual = ((tensor.double() - wanted).abs().max() for tensor in (one, other))
        assert error <= 4 * usual + 1e-5 * wanted.abs().max()


@pytest.mark.parametrize("sizes", [(300, 33, 3001), (3, 200, 5000), (600, 40, 600)])
def test_the_bytes_do_not_depend_on_the_number_of_threads(sizes):
    before, given, all_found = torch.get_num_threads(), layer(*sizes), []
    try:
        for threads in (1, 2, 2, 3, 7):
            torch.set_num_threads(threads)
            all_found.append(with_gradients(ours("sum"), *given))
    finally:
        torch.set_num_threads(before)
    for found in all_found[1:]:
        assert all(map(torch.equal, found, all_found[0]))


def test_no_gradient_is_computed_that_is_not_wanted(monkeypatch):
    asked = []
    run = module._run
    monkeypatch.setattr(module, "_run", lambda *given: asked.append(given[4:]) or run(*given))
    features, weight, bias, targets = layer(7, 5, 600)
    features.requires_grad_()
    linear_cross_entropy(features, weight, bias, targets).backward()  # weights are frozen
    assert asked == [((True, False, False, False, False, False),)]
    with torch.no_grad():
        linear_cross_entropy(features, weight.requires_grad_(), bias, targets)
    linear_cross_entropy(features, weight, bias, targets, reduction="none")
    assert asked[1:] == [(), ()]


@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_a_graph_can_be_used_twice_and_gradients_differentiated(reduction):
    features, weight, bias, targets = layer(6, 5, 600)
    exact = with_gradients(torch_nats("sum"), features, weight, bias, targets, torch.float64)
    given = [one.requires_grad_() for one in (features, weight, bias)]
    nats = ours(reduction)(*given, targets).sum()
    for times in (1, 2):
        nats.backward(retain_graph=True)
        assert_close([one.grad / times for one in given], exact[1:])

    def penalty(run):
        (slope,) = torch.autograd.grad(run(*given, targets).sum(), features, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), given[:2])

    assert_close(penalty(ours(reduction)), penalty(torch_nats(reduction)))


def test_odd_inputs_are_computed_as_in_torch():
    features, weight, _, targets = layer(6, 4, 600)
    odd = [features.t().contiguous().t(), weight.flip(0).t().contiguous().t().flip(0), None]
    exact = with_gradients(torch_nats("sum"), features, weight, None, targets, torch.float64)
    wide = torch.stack([targets, targets], 1)[:, 0]
    assert_close(with_gradients(ours("sum"), *odd, wide), exact)
    assert ours("sum")(*layer(6, 0, 600)).isfinite()
    assert ours("sum")(features.double(), weight.double(), None, targets).dtype == torch.float64
    with torch.autocast("cpu"):
        assert ours("none")(features, weight, None, targets).dtype == torch_nats("none")(*odd, targets).dtype


def test_targets_are_checked():
    features, weight, bias, targets = layer(6, 4, 600)
    targets[2] = -100  # torch ignores these
    torch.testing.assert_close(*(run("sum")(features, weight, bias, targets) for run in (ours, torch_nats)))
    for wrong in (-1, 600):
        targets[2] = wrong
        with pytest.raises(IndexError, match="out of"):
            ours("sum")(features, weight, bias, targets)
        with pytest.raises(IndexError, match="out of"):  # the engine itself, before it reads or writes there
            module._run((features, weight, bias), targets, Storage.FLOAT32)


def test_torch_func_goes_the_plain_way():
    given = layer(6, 4, 600)
    assert_close([grad(ours("sum"))(*given)], with_gradients(torch_nats("sum"), *given)[1:2])


def test_a_saved_tensor_of_another_type_is_refused():
    given = layer(6, 4, 600)
    with torch.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: x.double() if x.is_floating_point() else x):
        nats = ours("none")(given[0].requires_grad_(), *given[1:])
    with pytest.raises(RuntimeError, match="it was float32 on cpu"):
        nats.sum().backward()


def test_gradients_become_those_of_the_parameters_without_a_copy(monkeypatch):
    places, run = [], module._run

    def recorded(*given):
        losses, gradients = run(*given)
        places.append(gradients[1].data_ptr())
        return losses, gradients

    monkeypatch.setattr(module, "_run", recorded)
    features, weight, bias, targets = layer(6, 40, 600)
    (linear_cross_entropy(features, weight.requires_grad_(), bias, targets) / 6).backward()
    assert [weight.grad.data_ptr()] == places


def rounded(values):
    return values.to(torch.bfloat16).to(values.dtype)


FORMS = [Storage.ROUNDED, *([Storage.PAIRS] if has_pairs() else [])]


@settings(max_examples=30, deadline=None)
@given(form=st.sampled_from(FORMS), sizes=SIZES.filter(lambda sizes: sizes[0] > 0), with_bias=st.booleans())
@example(FORMS[-1], (600, 65, 3001), True)
def test_products_have_rounded_factors_under_autocast(form, sizes, with_bias):
    features, weight, bias, targets = given = layer(*sizes, with_bias=with_bias)
    with pytest.MonkeyPatch.context() as patch, torch.autocast("cpu", torch.bfloat16):
        patch.setattr(module, "storage", lambda: form)
        nats, d_features, d_weight, d_bias = with_gradients(ours("sum"), *given)
    exact = with_gradients(torch_nats("sum"), rounded(features), rounded(weight), bias, targets, torch.float64)
    assert nats.dtype == d_weight.dtype == torch.float32
    assert_close([nats], exact[:1])
    if with_bias:
        assert_close([d_bias], exact[3:])  # its sums have no factors
    scores = F.linear(rounded(features).double(), rounded(weight).double(), bias if bias is None else bias.double())
    slopes = (scores.softmax(-1) - F.one_hot(targets, sizes[2])).abs()
    for found, wanted, magnitude in (
        (d_features, exact[1], slopes @ weight.abs().double()),
        (d_weight, exact[2], slopes.t() @ features.abs().double()),
    ):
        assert ((found - wanted).abs() <= 2.0**-8 * magnitude + 2e-5 * wanted.abs().max() + 1e-6).all()
