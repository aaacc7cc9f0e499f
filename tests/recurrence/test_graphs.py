"""Recorded passes. There is no GPU here: a recording runs the pass again, over the same arrays as a graph would."""

import gc
from contextlib import contextmanager
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
import torch
from beside_plain_loop import assert_same, random_state, results, with_random_weights
from torch.utils.checkpoint import checkpoint

from seqtrain.cells import GRUCell, LSTMCell, OdysseyCell, PeepholeCell
from seqtrain.recurrence import graphs
from seqtrain.recurrence.triton_loop import unroll_triton

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")

T, B, I, H = 3, 3, 2, 4
CELLS = {
    "peephole": lambda: PeepholeCell(I, H),
    "gru": lambda: GRUCell(I, H, reset="before"),
    "full gate recurrence": lambda: OdysseyCell(I, H, ablation="full_gate_recurrence"),
}


def flatten(value):
    return [part for item in value for part in flatten(item)] if isinstance(value, tuple) else [value]


@pytest.fixture
def recorded(float64, monkeypatch):
    """The passes that were recorded."""
    made = []

    def record(run, pool):
        made.append(first := run())

        def repeat():
            for to, source in zip(flatten(first), flatten(run()), strict=True):
                if to is not None:
                    to.copy_(source)

        return repeat, first, "pool"

    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(graphs, "_record", record)
    monkeypatch.setattr(graphs, "_can_record", lambda _: True)
    monkeypatch.setattr(graphs, "_memory", lambda _: 2**30)
    monkeypatch.setattr(graphs, "_recordings", graphs._Recordings())
    torch.manual_seed(0)
    return made


def forget(recorded):
    """How many passes were recorded since the last call."""
    count = len(recorded)
    recorded.clear()
    return count


@pytest.mark.parametrize("name", CELLS)
def test_a_recording_equals_the_plain_loop_with_new_values(name, recorded):
    cell = with_random_weights(CELLS[name]())
    for _ in range(2):
        assert_same(unroll_triton, cell, torch.randn(T, B, I), random_state(cell, B))
    assert not recorded
    for _ in range(3):
        with torch.no_grad():
            for parameter in cell.parameters():
                parameter += 0.1
        assert_same(unroll_triton, cell, torch.randn(T, B, I), random_state(cell, B))
    assert forget(recorded) == 2  # a forward and a backward pass, once
    for lengths in ([2, 0, 3], [3, 1, 1], [1, 2, 3], [0, 3, 2], [3, 3, 1]):
        x = torch.randn(T, B, I)
        assert_same(unroll_triton, cell, x, random_state(cell, B), lengths=torch.tensor(lengths), reverse=True)
    assert forget(recorded) == 2


def test_passes_that_differ_do_not_share_a_recording(recorded):
    cell, x = with_random_weights(LSTMCell(I, H)).float(), torch.randn(2, B, I).float()

    def run(reverse, low):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=low):
            return unroll_triton(cell, x, reverse=reverse)[0]

    ways = [(False, False), (True, False), (False, True)]
    launched = [run(*way) for way in ways]
    for _ in range(3):
        assert all(torch.equal(run(*way), outputs) for way, outputs in zip(ways, launched, strict=True))
    assert forget(recorded) == len(ways)


@pytest.mark.parametrize(
    ("steps", "is_cuda", "is_capturing", "wanted"),
    [(8, True, False, True), (7, True, False, False), (8, False, False, False), (8, True, True, False)],
)
def test_short_passes_and_those_that_somebody_records_are_not_recorded(
    steps, is_cuda, is_capturing, wanted, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: is_capturing)
    inputs = SimpleNamespace(w=SimpleNamespace(is_cuda=is_cuda), x_gates=torch.empty(steps, B, H))
    assert graphs._can_record(inputs) == wanted


def test_two_layers_of_one_kind_do_not_share_a_recording(recorded):
    layers = [with_random_weights(PeepholeCell(H, H)) for _ in range(2)]
    plain = [results(unroll_triton, layers[0], x := torch.randn(T, B, H))]
    for _ in range(4):
        x_here = x.clone().requires_grad_()
        first, _ = unroll_triton(layers[0], x_here)
        second, _ = unroll_triton(layers[1], first)
        alone = unroll_triton(layers[0], x)[0]
        (first + 0 * second + 0 * alone).sum().backward()
    found = results(unroll_triton, layers[0], x)
    assert torch.equal(found["outputs"], plain[0]["outputs"])
    assert recorded


def test_a_recording_is_in_use_until_no_backward_pass_can_follow(recorded):
    cell, x = with_random_weights(PeepholeCell(I, H)), torch.randn(T, B, I, requires_grad=True)
    for _ in range(2):
        unroll_triton(cell, x)
    outputs = unroll_triton(cell, x)[0]
    weighting = torch.randn(T, B, H)
    wanted = torch.autograd.grad((outputs * weighting).sum(), [x], retain_graph=True)[0]
    unroll_triton(cell, 2 * x)[0].sum().backward()  # another recording, as the first may be asked again
    again = torch.autograd.grad((outputs * weighting).sum(), [x])[0]
    assert torch.equal(again, wanted)
    assert forget(recorded) == 4
    del outputs
    gc.collect()
    for _ in range(3):
        unroll_triton(cell, x)[0].sum().backward()
    assert not recorded


def test_without_gradients_there_is_no_backward_pass(recorded):
    cell, x = with_random_weights(LSTMCell(I, H)), torch.randn(T, B, I)
    with torch.inference_mode():
        inferred = [unroll_triton(cell, x)[0] for _ in range(4)]
    with torch.no_grad():
        outputs = unroll_triton(cell, x)[0]
    assert all(torch.equal(outputs, other) for other in inferred)
    assert forget(recorded) == 1
    for _ in range(3):
        unroll_triton(cell, x)[0].sum().backward()
    assert forget(recorded) == 2


def test_the_oldest_recordings_make_room(recorded, monkeypatch):
    cell, sizes = with_random_weights(LSTMCell(I, H)), []
    size = (4 * T * B * 4 * H + 3 * 4 * H * H) * 8
    monkeypatch.setattr(graphs, "_memory", lambda _: 1.8 * size / graphs.MEMORY_SHARE)

    def run(columns, times=1):
        for _ in range(times):
            with torch.no_grad():
                unroll_triton(cell, torch.randn(T, columns, I))
        sizes.append(forget(recorded))

    for columns in (B, B - 1, B, B - 2, B, B - 1):
        run(columns, 4)
    assert sizes == [1, 1, 0, 1, 0, 1]  # the fourth takes the room of the second
    run(20 * B, 5)
    run(B, 3)
    assert sizes[-2:] == [0, 0]  # what can have no room takes none from others
    run(B - 2, 2)
    assert sizes[-1] == 0  # what was forgotten is not recorded at once again


def test_the_weights_count_as_memory_of_a_recording(recorded, monkeypatch):
    cell = with_random_weights(LSTMCell(I, 32))
    monkeypatch.setattr(graphs, "_memory", lambda _: 2 * cell.w_h.nbytes / graphs.MEMORY_SHARE)
    with torch.no_grad():
        for _ in range(4):
            unroll_triton(cell, torch.randn(1, 1, I))
    assert not recorded


def test_a_pass_that_finds_no_memory_to_be_recorded_is_launched(recorded, monkeypatch):
    tries = []

    def no_memory(run, pool):
        tries.append(run)
        raise torch.OutOfMemoryError("none left")

    monkeypatch.setattr(graphs, "_record", no_memory)
    cell = with_random_weights(PeepholeCell(I, H))
    for _ in range(5):
        assert_same(unroll_triton, cell, torch.randn(T, B, I), random_state(cell, B))
    assert len(tries) == 1


def test_a_pass_whose_saved_tensors_are_watched_is_not_recorded(recorded, monkeypatch):
    cell, other = (with_random_weights(PeepholeCell(H, H)) for _ in range(2))
    monkeypatch.setattr(graphs, "_can_record", lambda _: not graphs._saves_elsewhere())
    x, gradients = torch.randn(1, B, H, requires_grad=True), []
    for _ in range(4):  # each pass is computed again, which must save as many tensors
        outputs = checkpoint(lambda x: unroll_triton(other, unroll_triton(cell, x)[0])[0], x, use_reentrant=False)
        gradients += torch.autograd.grad(outputs.sum(), [x])
    assert all(torch.equal(gradients[0], gradient) for gradient in gradients)
    assert not recorded


def test_a_recording_rounds_products_as_it_was_asked_to(recorded):
    cell, matmul = with_random_weights(LSTMCell(I, H)), torch.backends.cuda.matmul
    before = matmul.fp32_precision if hasattr(matmul, "fp32_precision") else pytest.skip("torch has no such setting")
    with torch.no_grad():
        for precision, recordings in (("ieee", 1), ("tf32", 1), ("ieee", 0)):
            matmul.fp32_precision = precision
            for _ in range(3):
                unroll_triton(cell, torch.randn(1, B, I))
            matmul.fp32_precision = before
            assert forget(recorded) == recordings


def test_a_pass_is_recorded_beside_its_own_stream_which_comes_back(monkeypatch):
    """The streams are names here, `DEVICE.NUMBER`."""
    current, entered = ["cuda:1.0"], []

    @contextmanager
    def on(stream):
        before, current[0] = current[0], stream
        try:
            yield
        finally:
            current[0] = before

    @contextmanager
    def fail(_graph, *, stream, **_):
        entered.append(stream)
        current[0] = stream
        raise RuntimeError("no recording")
        yield

    monkeypatch.setattr(graphs, "_stream_beside", lambda stream: f"beside {stream}")
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: None)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: current[0])
    monkeypatch.setattr(torch.cuda, "stream", on)
    monkeypatch.setattr(torch.cuda, "graph", fail)
    with pytest.raises(RuntimeError, match="no recording"):
        graphs._record(lambda: None, None)
    assert entered == ["beside cuda:1.0"]
    assert current == ["cuda:1.0"]


def test_a_rare_kind_is_not_recorded(recorded):
    cell = with_random_weights(LSTMCell(I, H))
    for _ in range(2):
        for columns in range(1, graphs.MOST_KINDS + 3):
            with torch.no_grad():
                unroll_triton(cell, torch.randn(1, columns, I))
    with torch.no_grad():
        unroll_triton(cell, torch.randn(1, 1, I))
    assert not recorded


def test_another_precision_has_a_recording_of_its_own(recorded):
    cell, x = with_random_weights(PeepholeCell(I, H)).float(), torch.randn(T, B, I).float()
    with torch.no_grad():
        exact = [unroll_triton(cell, x)[0] for _ in range(4)]
        assert forget(recorded) == 1
        with torch.autocast("cpu", torch.bfloat16):
            rounded = [unroll_triton(cell, x)[0] for _ in range(4)]
    assert forget(recorded) == 1
    assert all(torch.equal(outputs, rounded[0]) for outputs in rounded)
    assert not torch.equal(exact[-1], rounded[-1])
