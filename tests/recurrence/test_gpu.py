"""What is chosen on a GPU. There is none here, so the tensors of the CPU are taken for those of a GPU."""

import pytest
import torch

from seqtrain.cells import CELLS, GRUCell, LSTMCell
from seqtrain.config import load_config
from seqtrain.config.build import build_model, build_task
from seqtrain.recurrence import choose_loop, dispatch, triton_loop, unroll, unroll_reference

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
    for name in ("unroll_cudnn", "unroll_triton", "unroll_reference", "unroll_fused"):
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


@pytest.mark.parametrize(
    ("hidden_size", "precision", "wanted"), [(128, "", "cudnn"), (129, "", "triton"), (8, "bfloat16", "triton")]
)
def test_an_lstm_runs_in_triton_where_cudnn_is_slower(hidden_size, precision, wanted, chosen, monkeypatch):
    monkeypatch.setattr(triton_loop, "find_spec", lambda _: True)
    cell = CELLS["lstm"](I, hidden_size)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        assert [chosen(cell, engine) for engine in ("auto", "fused")] == [f"unroll_{wanted}"] * 2
        assert choose_loop("auto", cell).name == choose_loop("fused", cell).name == wanted
        monkeypatch.setattr(triton_loop, "find_spec", lambda _: None)
        assert chosen(cell, "auto") == "unroll_cudnn"
        assert choose_loop("fused", cell).name == "cudnn"


@pytest.mark.parametrize("cell", [CELLS["peephole"](I, H), CELLS["odyssey"](I, H), GRUCell(I, H, reset="before")])
def test_all_other_cells_run_in_triton_where_it_is_installed(cell, chosen, monkeypatch):
    monkeypatch.setattr(triton_loop, "find_spec", lambda _: True)
    assert [chosen(cell, engine) for engine in ("auto", "fused")] == ["unroll_triton"] * 2
    assert chosen(cell, "reference") == "unroll_reference"
    assert choose_loop("auto", cell).name == choose_loop("fused", cell).name == "triton"
    monkeypatch.setattr(triton_loop, "find_spec", lambda _: None)
    assert chosen(cell, "auto") == "unroll_reference"
    assert choose_loop("auto", cell)[::2] == ("reference", None)
    with pytest.raises(ValueError, match="Triton is not installed"):
        choose_loop("fused", cell)


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


@pytest.mark.parametrize(("precision", "wanted"), [("float32", "cudnn"), ("bfloat16", "triton")])
def test_a_model_names_the_loop_of_its_precision(precision, wanted, monkeypatch):
    monkeypatch.setattr(triton_loop, "find_spec", lambda _: True)
    config = load_config("quickstart", [f"precision={precision}"])
    assert build_model(config, build_task(config).spec).stack.loop.name == wanted
