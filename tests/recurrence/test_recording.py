"""What torch traces, exports, watches or transforms is the plain loop: right on other inputs than the example."""

import subprocess
import sys
from functools import partial

import pytest
import torch
from torch import nn
from torch.export import Dim
from torch.func import functional_call, grad, hessian, jvp, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from seqtrain.cells import CELLS, LSTMCell
from seqtrain.models import SequenceModel
from seqtrain.models.stack import Stack
from seqtrain.native.library import library
from seqtrain.native.recording import is_recorded
from seqtrain.nn import Recurrent
from seqtrain.recurrence import choose_loop, unroll, unroll_reference

pytestmark = [
    pytest.mark.skipif(isinstance(library(), str), reason="the engine is not installed"),
    pytest.mark.filterwarnings(
        "ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning", "ignore:The .grad attr"
    ),
]

T = 3


def model_of(cell="lstm", direction="bidirectional"):
    """A small model that has been loaded: it runs in the engine, and it is asked, not trained."""
    torch.manual_seed(0)
    stack = Stack(CELLS[cell], 2, [5, 4], direction=direction)
    stack.loop = choose_loop("auto", stack.cells()[0][0])
    assert stack.loop.name.startswith("fused")
    return SequenceModel(nn.Identity(), stack, nn.Linear(stack.output_size, 3), every_step=True).eval()


class Scores(nn.Module):
    """The scores of a model alone."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x, lengths=None):
        return self.model(x, lengths)[0]


@pytest.fixture
def scores():
    return Scores(model_of())


def assert_same(found, wanted):
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def x_of(B=4):
    return torch.randn(T, B, 2)


@pytest.mark.parametrize("cell", ["lstm", "gru", "peephole"])
@pytest.mark.parametrize("with_gradient", [False, True])
def test_jit_trace(cell, with_gradient):
    model = Scores(model_of(cell))
    with torch.set_grad_enabled(with_gradient):
        traced = torch.jit.trace(model, x_of())
    for x in (x_of(), x_of(7), x_of(1)):
        assert_same(traced(x), model(x))
    with pytest.raises(RuntimeError, match="Expected 3 elements in a list but found 4"):
        traced(torch.randn(T + 1, 4, 2))


def test_jit_trace_with_lengths(scores):
    traced = torch.jit.trace(scores, (x_of(), torch.tensor([3, 1, 0, 2])))
    x, lengths = x_of(5), torch.tensor([0, 2, 3, 3, 1])
    assert_same(traced(x, lengths), scores(x, lengths))


@pytest.mark.parametrize("pre_dispatch", [False, True])
@pytest.mark.parametrize("tracing_mode", ["real", "symbolic"])
def test_make_fx(scores, tracing_mode, pre_dispatch):
    trace = partial(make_fx, tracing_mode=tracing_mode, pre_dispatch=pre_dispatch, _allow_non_fake_inputs=True)
    graph, x = trace(scores)(x_of()), x_of()
    assert_same(graph(x), scores(x))


@pytest.mark.parametrize("strict", [False, True])
def test_export(scores, strict):
    batch = Dim("batch")
    inputs = (x_of(), torch.tensor([3, 1, 0, 2]))
    program = torch.export.export(scores, inputs, dynamic_shapes=({1: batch}, {0: batch}), strict=strict)
    x, lengths = x_of(7), torch.tensor([0, 2, 3, 3, 1, 1, 2])
    assert_same(program.module()(x, lengths), scores(x, lengths))
    with pytest.raises(AssertionError, match="Guard failed"):
        program.module()(torch.randn(T + 1, 7, 2), lengths)


def test_export_of_the_whole_model_with_its_state():
    model = model_of(direction="forward")
    program = torch.export.export(model, (x_of(),)).module()
    x = x_of()
    for found, wanted in zip(*(torch.utils._pytree.tree_leaves(run(x)) for run in (program, model)), strict=True):
        assert_same(found, wanted)


def test_compile_leaves_the_engine_as_it_is(scores):
    compiled = torch.compile(scores, backend="eager")
    for x in (x_of(), x_of(7)):
        assert torch.equal(compiled(x), scores(x))
    compiled(x).sum().backward()
    found = [parameter.grad.clone() for parameter in scores.parameters()]
    scores.zero_grad()
    scores(x).sum().backward()
    for mine, its in zip(found, scores.parameters(), strict=True):
        assert_same(mine, its.grad)
    cell = LSTMCell(2, 5)
    with pytest.raises(torch._dynamo.exc.Unsupported, match="one graph needs engine: reference"):
        torch.compile(lambda x: unroll(cell, x)[0], backend="eager", fullgraph=True)(x)
    whole = torch.compile(lambda x: unroll(cell, x, engine="reference")[0], backend="eager", fullgraph=True)
    assert_same(whole(x), unroll(cell, x)[0])


def test_compile_of_layers_for_a_model_of_ones_own():
    layers = Recurrent("peephole", 2, 5)
    outputs, state = torch.compile(layers, backend="eager")(x := x_of())
    wanted, last = layers(x)
    assert torch.equal(outputs, wanted)
    assert all(map(torch.equal, state, last))


def test_symbolic_trace_is_refused(scores):
    with pytest.raises(torch.fx.proxy.TraceError):
        torch.fx.symbolic_trace(scores)


FAKE = """
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from seqtrain.cells import LSTMCell
from seqtrain.recurrence import unroll, unroll_fused

cell, real = LSTMCell(2, 5), torch.randn(3, 4, 2)
with FakeTensorMode(allow_non_fake_inputs=True) as mode:
    for x in (real, torch.randn(3, 4, 2)):
        outputs, state = unroll(cell, x, lengths=torch.tensor([3, 1, 0, 2]))
        assert type(outputs) is FakeTensor and outputs.shape == (3, 4, 5) and state.cell.shape == (4, 5)
    fake = LSTMCell(2, 5)
    assert unroll(fake, x)[0].shape == (3, 4, 5)
    try:
        unroll_fused(cell, real)
    except ValueError as error:
        assert "cannot be traced" in str(error)
    else:
        raise AssertionError
assert type(unroll(cell, mode.from_tensor(real))[0]) is FakeTensor
"""


def test_fake_tensors():
    """In a process of its own: what reads a fake tensor's memory would end this one."""
    ran = subprocess.run([sys.executable, "-c", FAKE], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_functions_of_functions(scores):
    many = torch.randn(2, T, 4, 2)
    assert_same(vmap(scores)(many), torch.stack([scores(x) for x in many]))
    x, direction, step = x_of(), x_of(), 1e-2
    slope = (scores(x + step * direction) - scores(x - step * direction)) / (2 * step)
    torch.testing.assert_close(jvp(scores, (x,), (direction,))[1], slope, rtol=1e-2, atol=1e-3)
    weights = {name: 2 * value.detach() for name, value in scores.named_parameters()}
    found = grad(lambda weights: functional_call(scores, weights, (x,)).square().sum())(weights)
    double = Scores(model_of())
    double.load_state_dict(weights)
    assert_same(functional_call(scores, weights, (x,)), double(x))
    double(x).square().sum().backward()
    for name, parameter in double.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-4, atol=1e-5)
    assert hessian(lambda scale: scores(x * scale).sum())(torch.tensor(1.0)).isfinite()


@pytest.mark.parametrize("with_gradient", [False, True])
def test_derivatives_in_forward_mode(scores, with_gradient):
    scores.requires_grad_(with_gradient)
    x, direction = x_of(), x_of()
    with torch.autograd.forward_ad.dual_level():
        outputs = scores(torch.autograd.forward_ad.make_dual(x, direction))
        found = torch.autograd.forward_ad.unpack_dual(outputs).tangent
    assert_same(found, jvp(scores, (x,), (direction,))[1])


def test_a_transform_of_the_backward_pass_alone_is_refused():
    x = x_of().requires_grad_()
    outputs, _ = unroll(LSTMCell(2, 5), x)
    back = partial(torch.autograd.grad, outputs, x, retain_graph=True)
    many = torch.randn(3, *outputs.shape)
    for transformed in (
        lambda: back(many, is_grads_batched=True),
        lambda: vmap(back)(many),
        lambda: make_fx(back)(many[0]),
    ):
        with pytest.raises(RuntimeError, match="use the plain loop for the whole computation, engine: reference"):
            transformed()


def test_tensors_without_numbers(scores):
    """A loaded model on the meta device, whose results have shapes alone."""
    scores.to("meta")
    lengths = torch.tensor([3, 1, 0, 2], device="meta")
    assert scores(x_of().to("meta"), lengths).shape == (T, 4, 3)
    with pytest.raises(ValueError, match=r"lengths must be 4 whole numbers .* got torch.int64 \[3\] on meta"):
        scores(x_of().to("meta"), lengths[:3])


class Watched(torch.Tensor):
    pass


class Counting(TorchDispatchMode):
    count = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        self.count += function is torch.ops.aten.addmm.default
        return function(*arguments, **(options or {}))


class Passing(TorchFunctionMode):
    def __torch_function__(self, function, types, arguments=(), options=None):
        return function(*arguments, **(options or {}))


def test_what_watches_torch_sees_each_step():
    cell, x = LSTMCell(2, 5), x_of()
    assert type(unroll(cell, x.as_subclass(Watched))[0]) is Watched
    with Counting() as mode, torch.no_grad():
        unroll(cell, x)
    assert mode.count >= T
    for watching in (Counting(), Passing()):
        with watching, pytest.raises(ValueError, match="use the plain loop for the whole computation"):
            unroll(cell, x, engine="fused")


def test_what_computes_as_usual_keeps_the_engine():
    x = nn.Parameter(x_of())
    assert not is_recorded(x)
    with torch.device("cpu"), torch.inference_mode():
        assert not is_recorded(x)
        found = unroll(LSTMCell(2, 5), x, engine="fused")[0]
    assert found.shape == (T, 4, 5)
    cell = LSTMCell(2, 5)
    saved = torch.utils.checkpoint.checkpoint(lambda x: unroll(cell, x, engine="fused")[0], x, use_reentrant=False)
    assert_same(torch.autograd.grad(saved.sum(), x)[0], torch.autograd.grad(unroll_reference(cell, x)[0].sum(), x)[0])
