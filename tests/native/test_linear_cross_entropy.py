"""The output layer in the engine against `cross_entropy` of torch in double precision."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from seqtrain.native import linear_cross_entropy as module
from seqtrain.native.library import VARIANTS, library
from seqtrain.native.linear_cross_entropy import linear_cross_entropy

pytestmark = pytest.mark.skipif(isinstance(library(), str), reason="the engine is not installed")


CAPABILITY = torch.backends.cpu.get_cpu_capability().lower()
RUNNABLE = VARIANTS[VARIANTS.index(CAPABILITY) :] if CAPABILITY in VARIANTS else ["portable"]


@pytest.fixture(autouse=True)
def engine_only(monkeypatch):
    """Small layers run in the engine too."""
    monkeypatch.setattr(module, "FEWEST_WORDS", 1)


def layer(N, H, V, *, with_bias=True, size=1.0):
    torch.manual_seed(0)
    features, weight = torch.randn(N, H), size * torch.randn(V, H) / max(1, H) ** 0.5
    return features, weight, size * torch.randn(V) if with_bias else None, torch.randint(V, (N,))


def with_gradients(run, features, weight, bias, targets, dtype=torch.float32, upstream=1.0):
    given = [None if one is None else one.to(dtype).requires_grad_() for one in (features, weight, bias)]
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


@settings(max_examples=80, deadline=None)
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
