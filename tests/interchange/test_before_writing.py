"""What `seqtrain export` looks at before it writes, and what stays if it cannot write."""

import copy
from pathlib import Path

import pytest
import torch
from conftest import SMALL, SMALL_SETS
from exported import trained

from seqtrain import Differs, export, train
from seqtrain.interchange import export as module
from seqtrain.interchange.content import Check, Content
from seqtrain.interchange.formats import FORMATS
from seqtrain.interchange.samples import draw_state, inputs_of, rounding_of
from seqtrain.runs.checkpoint import load_checkpoint, save_checkpoint
from seqtrain.system import outputs
from seqtrain.system.errors import SeqtrainError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained run."""
    return train("quickstart", (*SMALL, *SMALL_SETS), out=tmp_path_factory.mktemp("before") / "run").path


@pytest.mark.parametrize("to", FORMATS)
def test_weights_that_are_not_finite_are_exported_nowhere(seqtrain, run, to, tmp_path):
    checkpoint = load_checkpoint(run / "best.safetensors").for_evaluation()
    checkpoint.weights["head.bias"][0] = torch.nan
    save_checkpoint(tmp_path / "broken.safetensors", checkpoint)
    called = seqtrain("export", "broken.safetensors", "--to", to)
    assert called.code == 2
    assert called.err.startswith(
        "seqtrain: broken.safetensors: head.bias: has numbers that are not finite; use another"
    )
    assert [*tmp_path.iterdir()] == [tmp_path / "broken.safetensors"]


def test_rounding_is_the_distance_from_float64():
    one, lengths = trained({"name": "gru"}, "words", depth=2), torch.tensor([9, 0, 4])
    x, state = inputs_of(one).draw(9, 3), draw_state(one.model, 3)
    exact = [[type(part)(*(value.double() for value in part)) for part in layer] for layer in state]
    with torch.no_grad():
        ours, _ = one.model(x, lengths, state)
        wanted, _ = copy.deepcopy(one.model).double()(x, lengths, exact)
    at_least = float((ours - wanted).abs().max() / wanted.abs().max().clamp(min=1))
    assert 0 < at_least <= rounding_of(one.model, x, lengths, state) < 1e-5


@pytest.mark.parametrize(
    ("difference", "rounding", "is_right"),
    [(9e-6, 0.0, True), (2e-5, 1e-6, False), (3e-4, 1e-4, True), (1.1e-3, 1e-4, False)],
)
def test_a_model_may_be_as_far_from_the_exported_one_as_from_itself(
    run, monkeypatch, difference, rounding, is_right, tmp_path
):
    content = Content({"model.onnx": b"content"}, check=Check("a runtime", difference, rounding))
    monkeypatch.setitem(module.WRITERS, "onnx", lambda *_: content)
    if not is_right:
        with pytest.raises(Differs, match="off the model, more than 1e-05; nothing is written"):
            export(run, "onnx", tmp_path / "model.onnx")
        assert not [*tmp_path.iterdir()]
        return
    exported = export(run, "onnx", tmp_path / "model.onnx")
    assert any("amplifies rounding" in remark for remark in exported.remarks) == (difference > 1e-5)


def test_a_model_that_amplifies_rounding_is_exported_with_a_remark(monkeypatch, tmp_path):
    """A plain RNN with large weights: chaos, in which no two programs agree."""
    one = trained({"name": "rnn"}, hidden_size=64, depth=2)
    with torch.no_grad():
        for parameter in one.model.stack.parameters():
            parameter.mul_(4.0)
    monkeypatch.setattr(module, "load_trained", lambda _: one)
    exported = export("best.safetensors", "torch", tmp_path / "model.pt2")
    assert exported.check.difference > 1e-5
    assert exported.check.rounding > 1e-5
    assert any("amplifies rounding" in remark for remark in exported.remarks)


def test_the_checkpoint_itself_is_not_replaced(seqtrain, run):
    assert seqtrain("export", run, "--to", "safetensors", "--out", "hub").code == 0
    before = Path("hub/model.safetensors").read_bytes()
    called = seqtrain("export", "hub/model.safetensors", "--to", "safetensors", "--out", "hub", "--overwrite")
    assert called.code == 2
    assert "hub/model.safetensors: is the checkpoint itself; choose another name with --out" in called.err
    assert Path("hub/model.safetensors").read_bytes() == before


def test_a_folder_is_no_file_and_no_readme_of_another_project_is_replaced(seqtrain, run, tmp_path):
    called = seqtrain("export", run, "--to", "safetensors", "--out", "model.safetensors")
    assert called.code == 2
    assert "writes a folder of several files; leave the ending out" in called.err
    (tmp_path / "README.md").write_text("# My project\n")
    called = seqtrain("export", run, "--to", "safetensors", "--out", ".", "--overwrite")
    assert called.code == 2
    assert "README.md: is no model card of seqtrain, and would be replaced" in called.err
    assert [*tmp_path.iterdir()] == [tmp_path / "README.md"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SeqtrainError("the disk is full")])
def test_nothing_new_stays_of_several_files_if_one_cannot_be_written(run, monkeypatch, error, tmp_path):
    write = outputs.write_output

    def failing(path, content):
        if path.name == "README.md":
            raise error
        write(path, content)

    monkeypatch.setattr(outputs, "write_output", failing)
    with pytest.raises(type(error)):
        export(run, "safetensors", tmp_path / "hub")
    assert not [*tmp_path.iterdir()]


def test_ctrl_c_while_a_file_is_written_leaves_none(run, monkeypatch, tmp_path):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(run, "c", tmp_path / "model.h")
    assert not [*tmp_path.iterdir()]


def test_a_link_to_nothing_is_not_replaced_unasked(seqtrain, run, tmp_path):
    (tmp_path / "model.h").symlink_to(tmp_path / "elsewhere.h")
    called = seqtrain("export", run, "--to", "c", "--out", "model.h")
    assert called.code == 2
    assert "exists already; replace it with --overwrite" in called.err
    assert (tmp_path / "model.h").is_symlink()


def test_the_card_of_a_last_checkpoint_has_no_figures_and_says_so(seqtrain, run):
    called = seqtrain("export", run / "last.safetensors", "--to", "safetensors", "--out", "hub")
    assert called.code == 0
    assert "the model card has no figures" in called.err
    assert "On the test set" not in Path("hub/README.md").read_text()
    assert "no figures" not in seqtrain("export", run, "--to", "safetensors", "--out", "best").err


def test_the_ending_pth_is_that_of_weights_too(run, tmp_path):
    assert export(run, "torch", tmp_path / "model.pth").facts["recurrent"] == "nn.LSTM(2, 6)"
    assert "recurrent" in torch.load(tmp_path / "model.pth", weights_only=True)
