"""What is chosen on a GPU. There is none here, so the tensors of the CPU are taken for those of a GPU."""

from importlib.util import find_spec

import pytest
import torch

from seqtrain.cells import CELLS, GRUCell, LSTMCell
from seqtrain.recurrence import choose_loop, dispatch, unroll, unroll_reference

T, B, I, H = 3, 2, 2, 4


@pytest.fixture(autouse=True)
def _on_a_gpu(monkeypatch):
    monkeypatch.setattr(dispatch, "is_on_gpu", lambda _: True)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    torch.manual_seed(0)


@pytest.fixture
def chosen(monkeypatch):
    """The loop that runs a cell, and what it was given."""
    calls = []
    for name in ("unroll_cudnn", "unroll_launches", "unroll_reference", "unroll_fused"):
        monkeypatch.setattr(dispatch, name, lambda *_, loop=name, **__: calls.append(loop))

    def loop_of(cell, engine):
        unroll(cell, torch.randn(T, B, I), engine=engine)
        return calls.pop()

    return loop_of


@pytest.mark.parametrize("name", ["lstm", "gru", "rnn"])
def test_cells_of_torch_run_on_cudnn(name, chosen):
    cell = CELLS[name](I, H)
    assert [chosen(cell, engine) for engine in ("auto", "fused")] == ["unroll_cudnn"] * 2
    assert chosen(cell, "reference") == "unroll_reference"
    assert choose_loop("auto", cell).name == choose_loop("fused", cell).name == "cudnn"
    assert choose_loop("reference", cell).name == "reference"
    cell.observer = print  # somebody watches the gates
    assert chosen(cell, "auto") == "unroll_reference"


@pytest.mark.parametrize("cell", [CELLS["peephole"](I, H), CELLS["odyssey"](I, H), GRUCell(I, H, reset="before")])
def test_kernels_in_triton_must_be_asked_for(cell, chosen):
    assert chosen(cell, "auto") == "unroll_reference"
    assert chosen(cell, "fused") == "unroll_launches"
    assert choose_loop("auto", cell)[::2] == ("reference", None)
    if find_spec("triton") is None:
        with pytest.raises(ValueError, match="Triton is not installed"):
            choose_loop("fused", cell)
    else:
        assert choose_loop("fused", cell).name == "triton"


def test_a_cell_that_no_kernel_runs():
    class Mine(LSTMCell):
        pass

    cell, x = Mine(I, H), torch.randn(T, B, I)
    assert torch.equal(unroll(cell, x)[0], unroll_reference(cell, x)[0])
    for refused in (lambda: unroll(cell, x, engine="fused"), lambda: choose_loop("fused", cell)):
        with pytest.raises(ValueError, match="there is no kernel in Triton for Mine"):
            refused()


def test_unroll_gives_what_the_plain_loop_gives():
    cell, x = LSTMCell(I, H, biases=2), torch.randn(T, B, I)
    loop = choose_loop("auto", cell)
    outputs, state = loop.unroll(cell, x, lengths=[3, 1], reverse=True)
    wanted, last = unroll_reference(cell, x, lengths=torch.tensor([3, 1]), reverse=True)
    torch.testing.assert_close(outputs, wanted)
    torch.testing.assert_close(tuple(state), tuple(last))
