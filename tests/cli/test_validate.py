"""`seqtrain validate`, and every shipped config."""

import re

import pytest
from conftest import SMALL, SMALL_SETS

from seqtrain.system.shipped import config_paths


def test_a_text_path_may_start_with_the_home_directory(seqtrain, text_folder, monkeypatch):
    monkeypatch.setenv("HOME", str(text_folder.parent))
    assert seqtrain("validate", "words", "task.path=~/text").code == 0


@pytest.mark.parametrize("name", list(config_paths()))
def test_every_shipped_config_validates_and_trains(seqtrain, name):
    config = config_paths()[name].read_text()
    text = "name: language_model" in config
    sized = not any(f"name: {task}\n" in config for task in ("counting", "timing", "series", "sequences", "tagging"))
    sets = ("task.path=shipped:stories",) if text else SMALL_SETS if sized else ()
    sets += ("model.depth=3",) if "hidden_size: [" in config else ()
    assert seqtrain("validate", name, *sets[:1], "--json").json["parameters"] > 0
    assert seqtrain("train", name, *SMALL, *sets, "--json").json["steps"] == 4


@pytest.mark.parametrize("name", [name for name, path in config_paths().items() if "_model" in path.read_text("utf-8")])
def test_configs_of_texts_count_in_epochs(seqtrain, name):
    train = seqtrain("validate", name, "task.path=shipped:stories", "--json").json["settings"]["train"]
    assert (train["epochs"] > 0, train["steps"], train["eval_every"]) == (True, None, None)


def test_validate_shows_the_name_that_was_given(seqtrain):
    assert "config quickstart: valid" in " ".join(seqtrain("validate", "quickstart", *SMALL).out.split())
    assert "a run directory, which stands for its config" in re.sub(r"[\s│]+", " ", seqtrain("validate", "--help").out)


def test_validate_reports_faults_of_config_data_and_cell_at_once(seqtrain, tmp_path):
    (tmp_path / "empty.txt").write_text("")
    result = seqtrain("validate", "words", "task.path=empty.txt", "model.cell=nowhere:X", "device=cuda:7", "--json")
    assert result.code == 2
    assert "device is 'cuda:7'" in result.err
    assert "empty.txt" in result.err
    assert "there is no module nowhere" in result.err
