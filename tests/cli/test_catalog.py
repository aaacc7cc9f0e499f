"""`seqtrain cells`, `tasks`, `settings` and `configs`."""

from pathlib import Path

import pytest

from seqtrain.cells import CELLS
from seqtrain.system.shipped import config_paths
from seqtrain.tasks import TASKS
from seqtrain.training.optimizers import OPTIMIZERS


def test_cells_and_tasks(seqtrain):
    cells = seqtrain("cells", "--json").json["cells"]
    assert [cell["name"] for cell in cells] == list(CELLS)
    assert "p_o * c'" in seqtrain("cells").out
    tasks = seqtrain("tasks", "--json").json["tasks"]
    assert [task["name"] for task in tasks] == list(TASKS)
    assert all(option["description"] for entry in cells + tasks for option in entry["options"].values())
    assert seqtrain("cells", "gru", "--json").json["cells"] == [cells[list(CELLS).index("gru")]]
    assert "reset: after | before (default" in seqtrain("cells", "gru").out
    assert "did you mean 'gru'?" in seqtrain("cells", "gruu").err


def test_settings_without_a_name_are_all_of_them(seqtrain):
    listed = seqtrain("settings", "--json").json["settings"]
    titles = [entry["name"] for entry in listed]
    assert titles[0] == "config"
    assert {f"model.cell: {name}" for name in CELLS} | {f"task: {name}" for name in TASKS} <= set(titles)
    assert all(option["description"] for entry in listed for option in entry["options"].values())
    train = next(entry["options"] for entry in listed if entry["name"] == "train")
    assert train["batch_size"].items() >= {"name": "batch_size", "required": False}.items()
    assert "batch_size: whole number from 1" in seqtrain("settings", "train").out


def test_names_of_settings_that_do_not_exist(seqtrain):
    refused = seqtrain("settings", "optimiser", "nothing-of-the-kind")
    assert (refused.code, refused.out) == (2, "")
    first, second = refused.err.splitlines()
    assert first == "seqtrain: optimiser: there is no such section or setting; did you mean 'optimizer'?"
    assert second.endswith("seqtrain settings lists all")


def test_configs(seqtrain):
    configs = seqtrain("configs", "--json").json["configs"]
    assert {entry["name"] for entry in configs} == set(config_paths())
    assert all(len(entry["summary"]) > 20 for entry in configs)
    assert "quickstart" in seqtrain("configs").out


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ("task language_model", ["task: language_model"]),
        ("language_model task", ["task: language_model"]),
        ("task adding stories", ["task: adding", "task: stories"]),
        ("optimizer momentum train", ["train", "optimizer: sgd", "optimizer: rmsprop"]),
        ("model.cell lstm model", ["model", "model.cell: lstm"]),
        ("schedule patience", ["schedule: plateau"]),
        ("patience", ["train", "schedule: plateau"]),
        ("train patience schedule", ["train", "schedule: plateau"]),
        ("optimizer train", ["train", *(f"optimizer: {name}" for name in OPTIMIZERS)]),
        ("optimizer.adam", ["optimizer: adam"]),
        ("adam", ["optimizer: adam"]),
        ("betas", ["optimizer: adam", "optimizer: adamw"]),
        ("threads", ["config"]),
        ("task delay task.adding", ["task: adding", "task: recall"]),
        ("task", [f"task: {name}" for name in TASKS]),
    ],
)
def test_names_of_settings_narrow_each_other(seqtrain, names, wanted):
    found = seqtrain("settings", *names.split(), "--json").json["settings"]
    assert [entry["name"] for entry in found] == wanted


@pytest.mark.parametrize("name", list(config_paths()))
def test_a_config_is_shown_as_it_is_written(seqtrain, name):
    shown = seqtrain("configs", "show", name)
    assert (shown.code, shown.out, shown.err) == (0, config_paths()[name].read_text("utf-8"), "")


def test_showing_a_config_that_does_not_exist(seqtrain):
    refused = seqtrain("configs", "show", "quikstart")
    assert (refused.code, refused.out) == (2, "")
    assert "quikstart: is no shipped config; choose one of" in refused.err
    assert "did you mean 'quickstart'?" in refused.err


def test_copying_a_config(seqtrain):
    assert seqtrain("configs", "copy", "quickstart", "mine.yaml").code == 0
    assert seqtrain("validate", "mine.yaml").code == 0
    refused = seqtrain("configs", "copy", "quickstart", "mine.yaml")
    assert refused.code == 2
    assert "exists already and is not overwritten" in refused.err
    assert "did you mean 'quickstart'?" in seqtrain("configs", "copy", "quikstart", "x.yaml").err


def test_the_lists_that_a_users_cell_takes(seqtrain):
    Path("listed.py").write_text(
        "from seqtrain.cells.rnn import RNNCell\n\nclass Listed(RNNCell):\n"
        "    def __init__(self, input_size, hidden_size, *, widths: list[int] = [1], names: list = []):\n"
        "        super().__init__(input_size, hidden_size)\n"
    )
    shown = seqtrain("cells", "listed:Listed")
    assert shown.code == 0, shown.err
    assert "widths: list, each a whole number (default [1])" in shown.out
    assert "names: list (default [])" in shown.out
