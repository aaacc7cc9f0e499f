"""What `seqtrain export` does whatever the format."""

import json
import re
from importlib.util import find_spec
from typing import get_args

import exported
import pytest
import torch
import yaml
from conftest import SMALL, SMALL_SETS
from safetensors.torch import load_file
from torch import nn

from seqtrain import ConfigError, export, load_model, train
from seqtrain.cells import CELLS
from seqtrain.cells.odyssey import Ablation
from seqtrain.config.build import build_task
from seqtrain.inference.load import load_trained
from seqtrain.interchange import safetensors_format
from seqtrain.interchange.content import Options
from seqtrain.interchange.samples import inputs_of
from seqtrain.runs.checkpoint import load_checkpoint, save_checkpoint


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained run."""
    return train("quickstart", (*SMALL, *SMALL_SETS), out=tmp_path_factory.mktemp("export") / "run").path


def test_the_cells_to_export_are_those_that_there_are():
    """Every other test of exports takes its cells from there."""
    assert {cell["name"] for cell in exported.CELLS} == CELLS.keys()
    assert set(exported.ABLATIONS) == set(get_args(Ablation))


def test_the_folder_for_the_hub_has_weights_config_and_card(seqtrain, run, tmp_path):
    called = seqtrain("export", run, "--to", "safetensors", "--out", "hub", "--license", "mit", "--json")
    assert called.code == 0
    assert called.json["files"] == ["hub/model.safetensors", "hub/README.md"]
    assert called.json["bytes"] == sum(file.stat().st_size for file in (tmp_path / "hub").iterdir())
    weights, trained = load_file(tmp_path / "hub/model.safetensors"), load_model(run).state_dict()
    assert weights.keys() == trained.keys()
    assert all(torch.equal(weights[name], trained[name]) for name in trained)

    _, metadata, card = (tmp_path / "hub/README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(metadata) == {
        "license": "mit",
        "library_name": "seqtrain",
        "tags": ["seqtrain", "recurrent", "lstm", "adding"],
    }
    summary = json.loads((run / "summary.json").read_text())
    shown = re.search(r"^\| mse \| (\S+) \| (\S+) \|$", card, re.MULTILINE)
    assert float(shown[1]) == pytest.approx(summary["test"]["mse"], rel=1e-3)
    assert float(shown[2]) == pytest.approx(summary["baseline"]["mse"], rel=1e-3)
    config = re.search(r"```yaml\n(.*?)```", card, re.DOTALL)[1]
    assert yaml.safe_load(config) == yaml.safe_load((run / "config.yaml").read_text())

    for command in re.search(r"```sh\n(.*?)```", card, re.DOTALL)[1].splitlines():
        _, verb, file, *rest = command.split()
        if verb == "eval":
            assert seqtrain(verb, f"hub/{file}", *rest, "--json").json["mse"] == summary["test"]["mse"]


def test_without_a_license_the_card_says_unknown(seqtrain, run, tmp_path):
    called = seqtrain("export", run / "last.safetensors", "--to", "safetensors", "--out", "hub")
    assert called.code == 0
    assert "--license NAME says another" in called.err
    card = (tmp_path / "hub/README.md").read_text()
    assert "license: unknown\n" in card
    assert "On the test set" not in card  # its figures are those of the best checkpoint
    assert not [name for name in load_file(tmp_path / "hub/model.safetensors") if name.startswith("training/")]
    assert load_checkpoint(run / "last.safetensors").header.training is not None
    assert load_checkpoint(tmp_path / "hub/model.safetensors").header.training is None


def test_the_card_of_a_text_model_says_how_to_generate(seqtrain, text_folder, tmp_path):
    assert seqtrain("train", "words", *SMALL, f"task.path={text_folder}", "--out", "run").code == 0
    assert seqtrain("export", "run", "--to", "safetensors", "--out", "hub").code == 0
    (command,) = re.findall(r"^seqtrain (generate .*)$", (tmp_path / "hub/README.md").read_text(), re.MULTILINE)
    verb, file, *rest = command.split()
    assert seqtrain(verb, f"hub/{file}", *rest).code == 0


def test_the_card_says_where_the_first_weights_came_from():
    one = exported.trained({"name": "gru"})
    cards = [
        safetensors_format.write(own, Options()).files["README.md"].decode()
        for own in (one, one._replace(header=one.header.model_copy(update={"imported": "theirs.pt"})))
    ]
    assert "`seqtrain import-torch` read its first weights from `theirs.pt`" in cards[1]
    assert "import-torch" not in cards[0]


def test_a_file_is_no_folder_for_the_hub(seqtrain, run, tmp_path):
    (tmp_path / "hub").write_text("mine")
    called = seqtrain("export", run, "--to", "safetensors", "--out", "hub", "--overwrite")
    assert called.code == 2
    assert "hub: is no folder, and --to safetensors writes several files; choose another name with --out" in called.err
    assert (tmp_path / "hub").read_text() == "mine"


PAIRS = """
import torch
from seqtrain.tasks import Batch, Classification

class Pairs(Classification):
    every_step = True
    input_size, output_size = 5, 2

    def sample(self, batch_size, generator):
        x = torch.randint(5, (4, batch_size, 2), generator=generator)
        return Batch(x, (x.sum(2) > 4).long())
"""


@pytest.mark.filterwarnings("ignore")  # of torch about itself
def test_two_symbols_a_step_of_a_task_of_the_user(seqtrain, tmp_path):
    """The code of the remark, and the modules that it is for, compute what the model does."""
    (tmp_path / "pairs.py").write_text(PAIRS)
    assert seqtrain("train", "quickstart", "task=pairs:Pairs", *SMALL, "--out", "run").code == 0
    assert seqtrain("export", "run", "--to", "c", "--json").json["facts"]["arguments"].startswith("x [2], ")
    for to in ("torch", "onnx") if find_spec("onnx") else ("torch",):
        called = seqtrain("export", "run", "--to", to, "--json")
        assert called.code == 0, called.err
        assert called.json["facts"]["inputs"].startswith("x int64 [steps, batch, 2]")
    called = seqtrain("export", "run", "--to", "torch", "--out", "model.pt", "--json")
    (remark,), one = called.json["remarks"], load_trained("run")
    x = inputs_of(one).draw(6, 3)
    read = eval(remark.removeprefix("the inputs are one-hot: "), {"torch": torch, "x": x})
    modules = {name: eval(code, {"nn": nn}) for name, code in called.json["facts"].items()}
    for name, weights in torch.load("model.pt", weights_only=True).items():
        if name in modules:
            modules[name].load_state_dict(weights)
    y = modules["head"](modules["recurrent"](read)[0])
    torch.testing.assert_close(y, one.model(x)[0], rtol=0, atol=1e-6)


def test_a_tagger_that_reads_words_alone_takes_one_symbol_a_step(seqtrain):
    alone = ("task.suffixes=0", "task.shape=false", "model.direction=forward")
    assert seqtrain("train", "agreement", *SMALL, *alone, "--out", "run").code == 0
    one = load_trained("run")
    (batch, *_) = build_task(one.config, fitted=one.header.fitted).eval_batches("test", 3)
    assert inputs_of(one).draw(*batch.inputs.shape[:2]).shape == batch.inputs.shape
    assert seqtrain("export", "run", "--to", "c", "--json").json["facts"]["arguments"].startswith("x [1], ")


def test_files_are_not_replaced_unasked(seqtrain, run):
    arguments = ("export", run, "--to", "safetensors", "--out", "hub")
    assert seqtrain(*arguments).code == 0
    again = seqtrain(*arguments)
    assert again.code == 2
    assert "exists already; replace it with --overwrite" in again.err
    assert seqtrain(*arguments, "--overwrite").code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--to is missing; choose one of "),
        (("--to", "tflite"), "--to is 'tflite'; choose one of "),
        (("--to", "safetensors", "--license", "mit: x"), "--license is 'mit: x'; give an identifier"),
        (("--to", "safetensors", "--license", "My: own"), "--license is 'My: own'; give an identifier"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(seqtrain, run, tmp_path, arguments, message):
    called = seqtrain("export", run, *arguments, "--out", tmp_path / "new")
    assert called.code == 2
    assert message in called.err
    assert not (tmp_path / "new").exists()


def test_a_program_gets_the_same(run, tmp_path):
    exported = export(run, "safetensors", tmp_path / "hub")
    assert exported.format == "safetensors"
    assert exported.check is None
    with pytest.raises(ConfigError, match="exists already"):
        export(run, "safetensors", tmp_path / "hub")


def strings_of(folder):
    """The model card, and the config in the checkpoint beside it."""
    config = load_checkpoint(folder / "model.safetensors").header.config
    return (folder / "README.md").read_text(), config


def test_what_is_published_names_files_without_their_folders(seqtrain, tmp_path, text_folder):
    assert seqtrain("train", "words", *SMALL, f"task.path={text_folder}", "--out", "run").code == 0
    assert seqtrain("export", "run", "--to", "safetensors", "--out", "hub").code == 0
    card, config = strings_of(tmp_path / "hub")
    assert config["task"]["path"] == text_folder.name
    assert str(tmp_path) not in card
    assert f"read `{text_folder.name}`, which is not here; give your own path" in card
    assert "Python code" not in card
    command = f"seqtrain eval model.safetensors task.path={text_folder.name}"
    assert command in card.splitlines()
    assert seqtrain(*command.replace("model.safetensors", "hub/model.safetensors").split()[1:]).code == 0


def test_a_text_that_comes_with_seqtrain_keeps_its_name_and_own_code_is_said_to_be_missing(seqtrain, tmp_path):
    (tmp_path / "mine.py").write_text("from seqtrain.cells import LSTMCell\n\n\nclass Mine(LSTMCell):\n    pass\n")
    settings = ("model.cell=mine:Mine", "model.direction=forward")
    assert seqtrain("train", "agreement", *SMALL, *settings, "--out", "run").code == 0
    assert seqtrain("export", "run", "--to", "safetensors", "--out", "hub").code == 0
    card, config = strings_of(tmp_path / "hub")
    assert config["task"]["path"] == "shipped:agreement.txt"
    assert "folder" not in config["model"]["cell"]
    assert str(tmp_path) not in card
    assert "The cell is Python code, which is not here" in card
    assert "give your own path" not in card
    assert "seqtrain eval model.safetensors" in card.splitlines()


@pytest.mark.skipif(torch.cuda.is_available(), reason="the device of the training is here")
def test_a_task_of_the_user_that_was_trained_on_a_gpu_is_exported_without_one(seqtrain, tmp_path):
    (tmp_path / "pairs.py").write_text(PAIRS)
    assert seqtrain("train", "quickstart", "task=pairs:Pairs", *SMALL, "--out", "run").code == 0
    checkpoint = load_checkpoint(tmp_path / "run/best.safetensors").for_evaluation()
    header = checkpoint.header.model_copy(update={"config": checkpoint.header.config | {"device": "cuda"}})
    save_checkpoint(tmp_path / "cuda.safetensors", checkpoint._replace(header=header))
    called = seqtrain("export", "cuda.safetensors", "--to", "c")
    assert called.code == 0, called.err
