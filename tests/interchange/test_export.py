"""What `seqtrain export` does whatever the format."""

import json
import re
from typing import get_args

import exported
import pytest
import torch
import yaml
from conftest import SMALL, SMALL_SETS
from safetensors.torch import load_file

from seqtrain import ConfigError, export, load_model, train
from seqtrain.cells import CELLS
from seqtrain.cells.odyssey import Ablation


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
