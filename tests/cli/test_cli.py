"""The command line as scripts meet it: streams, exit codes, files, messages."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from conftest import SMALL, SMALL_SETS
from tqdm import tqdm

from seqtrain.cells import CELLS
from seqtrain.inference.load import load_model
from seqtrain.runs.checkpoint import save_checkpoint
from seqtrain.system.errors import CheckpointError
from seqtrain.system.runtime import keep_freed_memory
from seqtrain.system.shipped import config_paths
from seqtrain.tasks import TASKS

QUICK = (*SMALL, *SMALL_SETS)

MY_CELLS = """
from typing import NamedTuple
import torch
from torch import nn
from seqtrain.cells import Cell


class Memory(NamedTuple):
    hidden: torch.Tensor


class MyCell(Cell):
    def __init__(self, input_size, hidden_size, *, decay: float = 0.9):
        super().__init__(input_size, hidden_size)
        self.inputs = nn.Linear(input_size, hidden_size)
        self.decay = decay

    def project(self, x):
        return self.inputs(x)

    def step(self, x_gates, state):
        return Memory(self.decay * state.hidden + torch.tanh(x_gates))

    def initial_state(self, batch_size):
        return Memory(self.inputs.weight.new_zeros(batch_size, self.hidden_size))


class Half(Cell):
    def project(self, x):
        return x


class NoCell:
    pass


class Refuses(MyCell):
    def __init__(self, input_size, hidden_size):
        raise ValueError("no")


class WrongState(MyCell):
    def step(self, x_gates, state):
        return Memory(torch.zeros(1, 7))
"""


def test_train_eval_and_the_files_between(seqtrain):
    trained = seqtrain("train", "quickstart", *QUICK, "--json")
    assert trained.code == 0
    assert trained.json["run"] == "runs/quickstart-lstm-seed0"
    evaluated = seqtrain("eval", trained.json["run"], "--json")
    for name, value in trained.json["test"].items():
        assert evaluated.json[name] == value
    assert evaluated.json["step"] == trained.json["best"]["step"]
    valid = seqtrain("eval", "runs/quickstart-lstm-seed0/last.pt", "--split", "valid", "--json").json
    last = json.loads(Path("runs/quickstart-lstm-seed0/metrics.jsonl").read_text().splitlines()[-1])
    assert (last["step"], last["mse"], last["loss"]) == (valid["step"], valid["mse"], valid["loss"])


def test_tables_for_people(seqtrain):
    trained = seqtrain("train", "quickstart", *QUICK, "--out", "here")
    assert "not solved" in trained.out
    assert "baseline mse" in trained.out
    assert Path("here/best.pt").exists()
    assert "adding/halves/length=100/v1" in seqtrain("eval", "here").out


def test_quiet_and_streams(seqtrain):
    loud = seqtrain("train", "quickstart", *QUICK, "--out", "a", "--resume", "--json")
    assert json.loads(loud.out)
    assert "starting" in loud.err
    quiet = seqtrain("train", "quickstart", *QUICK, "--out", "b", "--resume", "--json", "--quiet")
    assert quiet.err == ""


def test_progress_lines_when_stderr_is_no_terminal(seqtrain, monkeypatch):
    monkeypatch.setattr("seqtrain.system.progress.LINE_EVERY_S", 0.0)
    lines = seqtrain("train", "quickstart", *QUICK).err.splitlines()
    assert len(lines) == 4
    assert re.fullmatch(
        r"quickstart-lstm-seed0: step 4/4, loss \S+, sequences/s \S+, valid mse \S+, about 0 s left", lines[-1]
    )


@pytest.fixture
def text_of_three_windows(text_folder):
    (text_folder / "train.txt").write_text("a b c d e\n" * 4)  # 24 tokens: 2 columns of 12, 3 windows of 5 at most
    return ("words", f"task.path={text_folder}", "task.window=5", "train.batch_size=2", "model.hidden_size=4")


@pytest.mark.parametrize(
    ("length", "wanted"),
    [
        ("train.epochs=2", ["1/6, epoch 1/2", "2/6, epoch 1/2", "3/6, epoch 1/2", "4/6, epoch 2/2", "5/6, epoch 2/2",
                            "6/6, epoch 2/2"]),
        ("train.steps=4", ["1/4, epoch 1", "2/4, epoch 1", "3/4, epoch 1", "4/4, epoch 2"]),
    ],
)  # fmt: skip
def test_progress_on_a_text_shows_the_epoch(seqtrain, text_of_three_windows, monkeypatch, length, wanted):
    monkeypatch.setattr("seqtrain.system.progress.LINE_EVERY_S", 0.0)
    told = seqtrain("train", *text_of_three_windows, length, "train.log_every=1").err
    assert re.findall(r": step (\d/\d, epoch [\d/]+), (?:loss|about)", told) == wanted


def test_the_bar_on_a_text_shows_the_epoch(seqtrain, text_of_three_windows, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr("seqtrain.system.progress.tqdm", partial(tqdm, mininterval=0))
    told = seqtrain("train", *text_of_three_windows, "train.epochs=2", "train.log_every=1").err
    assert re.search(r"words-lstm-seed0: .*1/6 \[\S+ left, epoch=1/2", told), told
    assert "epoch=2/2, loss=" in told


def test_overwriting(seqtrain):
    seqtrain("train", "quickstart", *QUICK)
    refused = seqtrain("train", "quickstart", *QUICK)
    assert refused.code == 2
    assert "--resume" in refused.err
    assert "--overwrite" in refused.err
    assert seqtrain("train", "quickstart", *QUICK, "--overwrite").code == 0
    assert seqtrain("train", "quickstart", *QUICK, "--resume").code == 0
    assert "give one of them" in seqtrain("train", "quickstart", "--resume", "--overwrite").err


def test_a_run_that_is_there_and_one_that_is_not(seqtrain):
    absent = seqtrain("train", "runs/nosuch")
    assert (absent.code, absent.out) == (2, "")
    assert "runs/nosuch: no such run, and no such config file; give a config, which can make that run" in absent.err
    seqtrain("train", "quickstart", *QUICK, "--out", "runs/there")
    assert "runs/there: holds a run already; go on with --resume, replace it" in seqtrain("train", "runs/there").err
    assert seqtrain("train", "runs/there", "train.steps=6", "--resume", "--json").json["steps"] == 6


def test_divergence_is_exit_3_with_strict_json(seqtrain):
    wild = ("optimizer=sgd", "optimizer.lr=1e38", "optimizer.clip_norm=null", "train.steps=50")
    diverged = seqtrain("train", "quickstart", *QUICK, *wild, "--json", "--quiet")
    assert diverged.code == 3
    assert diverged.json["status"] == "diverged"
    assert "the step was withheld" in diverged.err


# --- eval -------------------------------------------------------------------------------------------------------


@pytest.fixture
def trained(seqtrain):
    seqtrain("train", "temporal-order", *QUICK, "--out", "run", "--quiet")
    return seqtrain


def test_eval_takes_other_lengths_and_says_so(trained):
    result = trained("eval", "run", "task.length=150", "task.test_size=20", "--json").json
    assert result["variant"] == "temporal_order/symbols=2/length=150/v1"
    assert result["changed"] == {"task.length": 150, "task.test_size": 20}
    assert "not as trained: task.length=150" in trained("eval", "run", "task.length=150").out
    assert trained("eval", "run", "train.eval_batch_size=3", "--json").code == 0


def test_eval_of_parity_takes_longer_sequences_yet(seqtrain):
    seqtrain("train", "parity", *QUICK, "task.length=6", "--out", "run", "--quiet")
    assert seqtrain("eval", "run", "--json").json["variant"] == "parity/length=6/eval_length=24/v1"
    longer = seqtrain("eval", "run", "task.eval_length=90", "--json").json
    assert longer["variant"] == "parity/length=6/eval_length=90/v1"
    assert longer["baseline"]["accuracy_at_end"] == 0.5
    assert 0 <= longer["accuracy_at_end"] <= 1


@pytest.mark.parametrize(
    ("override", "wanted"),
    [
        ("task.symbols=3", "task.symbols=3: the weights in run/best.pt do not allow it"),
        ("model.hidden_size=9", "model.hidden_size: belongs to the weights in run/best.pt"),
        ("task=adding", "task.name"),
        ("train.steps=9", "train.steps: belongs to the weights"),
        ("task.lenght=9", "did you mean 'length'?"),
        ("seed=4", "seed: belongs to the weights"),
    ],
)
def test_eval_refuses_what_the_weights_do_not_allow(trained, override, wanted):
    refused = trained("eval", "run", override)
    assert refused.code == 2
    assert wanted in refused.err
    assert refused.out == ""


@pytest.mark.parametrize(
    ("name", "farther", "bound"),
    [
        ("counting", "task.limit=450", "task.train_limit=5"),
        ("counting", "task.limit=450", "task.length_distribution=short"),
        ("brackets", "task.length=140", "task.train_depth=2"),
        ("timing", "task.spikes=50", "task.train_spikes=3"),
    ],
)
def test_eval_goes_farther_but_leaves_training_alone(seqtrain, name, farther, bound):
    sets = SMALL_SETS if name == "brackets" else ()
    seqtrain("train", name, *SMALL, *sets, "--out", "run", "--quiet")
    assert seqtrain("eval", "run", "--json").json["changed"] == {}
    assert farther.removeprefix("task.") in seqtrain("eval", "run", farther, "--json").json["variant"]
    refused = seqtrain("eval", "run", bound)
    assert refused.code == 2
    assert f"{bound.split('=')[0]}: belongs to the weights" in refused.err


def test_eval_of_a_text_model(seqtrain, text_folder):
    seqtrain("train", "words", *SMALL, f"task.path={text_folder}", "--out", "run")
    whole = seqtrain("eval", "run", "--json").json
    assert whole["perplexity"] > 1
    other = text_folder.parent / "other.txt"
    other.write_text("the cat saw a zebra\n" * 40)
    elsewhere = seqtrain("eval", "run", f"task.path={other}", "--json").json
    assert elsewhere["perplexity"] != whole["perplexity"]
    assert elsewhere["data"] == {  # 12 tokens, two lines: all but the first are predicted, "a" and "zebra" unknown
        "text": f"{other}, the last 5 %",
        "tokens": 11,
        "vocabulary_size": 2 + len(["the", "cat", "dog", "bird", "saw", "trees"]) + 5,
        "unk_share": pytest.approx(4 / 11),
    }
    assert whole["data"]["text"] == str(text_folder / "test.txt")
    all_of_it = seqtrain("eval", "run", f"task.path={other}", "task.fractions=[0,0,1]", "--json").json
    assert all_of_it["data"]["tokens"] == 40 * 6 - 1
    assert "unk share" in seqtrain("eval", "run").out
    assert "cannot be laid out in so many columns" in seqtrain("train", "words", "train.batch_size=99999").err
    (text_folder / "test.txt").write_text("the dog saw 1 trees\n" * 4)
    changed = seqtrain("eval", "run")
    assert changed.code == 2
    assert "the test data are not those it was trained with" in changed.err
    (text_folder / "test.txt").unlink()
    assert "lacks test.txt" in seqtrain("eval", "run").err
    assert seqtrain("eval", "run", f"task.path={other}").code == 0  # a text that moved is named anew


def test_the_training_text_is_evaluated_as_any_other(seqtrain, text_folder):
    seqtrain("train", "words", *SMALL, f"task.path={text_folder}", "--out", "run")
    (other := text_folder.parent / "other").mkdir()
    for split in ("train", "valid", "test"):
        (other / f"{split}.txt").write_text((text_folder / "train.txt").read_text())
    trained_on = seqtrain("eval", "run", "--split", "train", "--json").json
    same_text = seqtrain("eval", "run", f"task.path={other}", "--json").json
    assert (trained_on["split"], trained_on["data"].pop("text")) == ("train", str(text_folder / "train.txt"))
    assert same_text["data"].pop("text") == str(other / "test.txt")
    for figure in ("loss", "perplexity", "bits_per_character", "baseline", "data"):
        assert trained_on[figure] == same_text[figure]
    assert trained_on["data"]["tokens"] == 60 * 6 - 1
    assert trained_on["loss"] != seqtrain("eval", "run", "--json").json["loss"]
    assert "lstm on language_model, train set" in seqtrain("eval", "run", "--split", "train").out


def test_sequences_that_are_drawn_anew_are_no_training_set(trained):
    refused = trained("eval", "run", "--split", "train")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err == (
        "seqtrain: --split is 'train', but task temporal_order draws what it trains on anew and keeps none of it to "
        "evaluate; choose one of test, valid\n"
    )
    assert (
        "--split is 'dev'; choose one of test, valid, or train (of a text)"
        in trained("eval", "run", "--split", "dev").err
    )


def test_runs_on_different_texts_are_not_compared(seqtrain, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "t.txt").write_text(f"the {name} saw\n" * 90)
        seqtrain("train", "words", *SMALL, f"task.path={name}/t.txt", "--out", f"run-{name}")
    assert "are not of one task" in seqtrain("compare", "run-a", "run-b").err


def test_odd_names_survive_the_picture_and_the_table(seqtrain, tmp_path):
    (tmp_path / "a$\\foo$ [red]x.txt").write_text("the cat saw\n" * 90)
    trained = seqtrain("train", "words", *SMALL, "task.path=a$\\foo$ [red]x.txt", "--out", "run")
    assert trained.code == 0, trained.err
    compared = seqtrain("compare", "run")
    assert (compared.code, "[red]x.txt" in compared.out) == (0, True)


def test_what_the_disk_refuses_is_a_sentence(seqtrain, tmp_path):
    (tmp_path / "file").write_text("mine")
    for arguments in (("--out", "file"), ("--out", "file/x"), ("--out", "x" * 300)):
        refused = seqtrain("train", "quickstart", *QUICK, *arguments)
        assert (refused.code, refused.out) == (2, "")
        assert refused.err.startswith("seqtrain: ")
    assert (tmp_path / "file").read_text() == "mine"
    for odd in ("", "--json"):
        assert seqtrain("train", "quickstart", *QUICK, "--out", odd).code == 2


def test_training_remarks_on_unknown_words_unless_quiet(seqtrain, text_folder):
    (text_folder / "valid.txt").write_text("the fox saw 2 trees\n")
    settings = ("words", f"task.path={text_folder}", *SMALL)
    assert "of the validation text is <unk>, which the training text never has" in seqtrain("train", *settings).err
    assert seqtrain("train", *settings, "--overwrite", "--quiet").err == ""


def test_a_run_out_of_patience_says_so(seqtrain):
    shown = seqtrain(
        "train", "quickstart", *SMALL, "train.steps=40", "train.patience=1", "optimizer.lr=1e-12", "--out", "p"
    )
    assert "finished, not solved, out of patience after 4 of 40 steps" in " ".join(shown.out.split())


def test_eval_shows_how_far_it_is(trained, monkeypatch):
    monkeypatch.setattr("seqtrain.system.progress.LINE_EVERY_S", 0.0)
    assert "eval run: batch 4/4" in (told := trained("eval", "run", "train.eval_batch_size=3").err), told
    assert trained("eval", "run", "--quiet").err == ""


def test_eval_batch_size_acts_in_eval(trained, monkeypatch):
    import seqtrain.inference.load as module

    asked = []
    original = module.evaluate
    monkeypatch.setattr(module, "evaluate", lambda *a: asked.append(a[3]) or original(*a))
    trained("eval", "run", "train.eval_batch_size=3")
    assert asked == [3]


def test_home_is_expanded(seqtrain, text_folder, monkeypatch):
    monkeypatch.setenv("HOME", str(text_folder.parent))
    assert seqtrain("validate", "words", "task.path=~/text").code == 0


def test_eval_of_nothing(seqtrain, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.pt").write_bytes(b"no")
    for argument, wanted in (
        ("nowhere", "no such checkpoint"),
        ("empty", "is not a run directory"),
        ("x.pt", "is not a seqtrain checkpoint"),
    ):
        result = seqtrain("eval", argument)
        assert (result.code, result.out) == (2, "")
        assert wanted in result.err


# --- a user's own cell ------------------------------------------------------------------------------------------


@pytest.fixture
def own_cell(seqtrain, tmp_path, monkeypatch):
    (tmp_path / "my_cells.py").write_text(MY_CELLS)
    monkeypatch.delitem(sys.modules, "my_cells", raising=False)
    return seqtrain


def test_a_users_cell_works_in_every_verb(own_cell):
    cell = "model.cell={name: my_cells:MyCell, decay: 0.5}"
    assert own_cell("validate", "quickstart", cell).code == 0
    trained = own_cell("train", "quickstart", *QUICK, cell, "--json")
    assert trained.json["run"] == "runs/quickstart-my_cells.MyCell-seed0"
    assert trained.json["cell"] == "my_cells:MyCell"
    assert own_cell("eval", trained.json["run"], "--json").json["mse"] == trained.json["test"]["mse"]
    compared = own_cell("compare", "quickstart", *QUICK, "--cells", "my_cells:MyCell,rnn", "--seeds", 1, "--json")
    assert [row["cell"] for row in compared.json["cells"]] == ["my_cells:MyCell", "rnn"]
    text = own_cell("train", "words", *SMALL, cell, "--json")
    assert text.code == 0
    assert own_cell("train", "words", *SMALL, cell, "train.steps=6", "--resume").code == 0


def test_a_users_cell_is_found_beside_the_config(own_cell, tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    (tmp_path / "my_cells.py").rename(tmp_path / "sub/cells_elsewhere.py")
    (tmp_path / "sub/c.yaml").write_text("task: adding\nmodel: {cell: 'cells_elsewhere:MyCell'}\n")
    trained = own_cell("train", "sub/c.yaml", *QUICK, "--json").json
    monkeypatch.delitem(sys.modules, "cells_elsewhere")  # as in a new process
    refused, cure = own_cell("eval", trained["run"]), f"model.cell.folder={tmp_path / 'sub'}"
    assert refused.code == 2
    assert cure in refused.err
    assert own_cell("eval", trained["run"], cure, "--json").json["mse"] == trained["test"]["mse"]
    repeated = own_cell("train", f"{trained['run']}/config.yaml", "--out", "again", "--json").json
    assert repeated["test"] == trained["test"]
    compared = own_cell("compare", "sub/c.yaml", *QUICK, "--seeds", 1, "--json")
    assert [row["cell"] for row in compared.json["cells"]] == [
        "rnn",
        "lstm",
        "peephole",
        "coupled",
        "gru",
        "cells_elsewhere:MyCell",
    ]
    assert "compared without" not in compared.err  # the folder of its own cell is no option of the others


def test_a_users_cell_that_moved_is_found_by_naming_its_folder(own_cell, tmp_path, monkeypatch):
    (tmp_path / "my_cells.py").rename(tmp_path / "moving_cells.py")
    trained = own_cell("train", "quickstart", *QUICK, "model.cell=moving_cells:MyCell", "--json").json
    (tmp_path / "away").mkdir()
    (tmp_path / "moving_cells.py").rename(tmp_path / "away/moving_cells.py")
    monkeypatch.delitem(sys.modules, "moving_cells")
    refused = own_cell("eval", trained["run"])
    assert refused.code == 2
    assert "model.cell.folder=FOLDER" in refused.err
    moved = own_cell("eval", trained["run"], "model.cell.folder=away", "--json")
    assert moved.json["mse"] == trained["test"]["mse"]


@pytest.mark.parametrize("word", ["folder", "package", "script", "standard library"])
def test_no_code_is_imported_on_a_checkpoints_word(own_cell, tmp_path, monkeypatch, word):
    """Neither from the folder that the checkpoint names, nor a script here that holds no such class."""
    run = own_cell("train", "words", *SMALL, "model.cell=my_cells:MyCell", "--json").json["run"]
    (tmp_path / "away").mkdir()
    script = "open('ran', 'w').close()\n"
    (tmp_path / "away/evil.py").write_text(script + (tmp_path / "my_cells.py").read_text())
    (tmp_path / "away/__init__.py").touch()
    (tmp_path / "setup_all.py").write_text(script)
    cell = {
        "folder": {"name": "evil:MyCell", "folder": str(tmp_path / "away")},
        "package": {"name": "away.evil:MyCell", "folder": str(tmp_path)},
        "script": {"name": "setup_all:MyCell", "folder": str(tmp_path)},
        "standard library": {"name": "this:MyCell", "folder": None},
    }[word]
    path = tmp_path / run / "best.pt"
    content = torch.load(path, weights_only=True)
    content["config"]["model"]["cell"] = cell
    save_checkpoint(path, content)
    for command in (["eval", run], ["generate", run], ["predict", path]):
        refused = own_cell(*command)
        assert (refused.code, refused.out) == (2, "")
        assert refused.err.startswith(f"seqtrain: {command[1] if command[1] == path else path.relative_to(tmp_path)}: ")
        assert f"its cell is somebody's own code, {cell['name']}" in refused.err
        assert not (tmp_path / "ran").exists()
    with pytest.raises(CheckpointError, match="somebody's own code"):
        load_model(path)
    assert not {"evil", "away", "setup_all", "this"} & sys.modules.keys()
    if word == "folder":
        monkeypatch.syspath_prepend("away")
        assert own_cell("generate", run, "--tokens", 2).code == 0  # the cure
        assert (tmp_path / "ran").exists()
        del sys.modules["evil"]


def test_two_cells_of_one_class_name_are_compared(own_cell, tmp_path):
    (tmp_path / "other_cells.py").write_text((tmp_path / "my_cells.py").read_text())
    both = "my_cells:MyCell,other_cells:MyCell"
    compared = own_cell("compare", "quickstart", *QUICK, "--cells", both, "--seeds", 1, "--json").json
    assert [row["cell"] for row in compared["cells"]] == both.split(",")


def test_an_option_of_a_users_cell_acts(own_cell):
    results = [
        own_cell("train", "quickstart", *QUICK, f"model.cell={{name: my_cells:MyCell, decay: {decay}}}",
                 "--out", f"r{decay}", "--json").json["test"]["mse"]
        for decay in (0.1, 0.9)
    ]  # fmt: skip
    assert results[0] != results[1]


@pytest.mark.parametrize(
    ("cell", "wanted"),
    [
        ("my_cells:MyCel", "has no class MyCel derived from seqtrain.cells.Cell; choose one of Half, MyCell, Refuses"),
        ("my_cells:NoCell", "has no class NoCell derived from"),
        ("my_cells:Half", "does not define initial_state, step"),
        ("my_cellz:MyCell", "there is no module my_cellz in"),
        (
            "{name: my_cells:MyCell, depth: 3}",
            "model.cell.depth is not a setting of the cell; choose one of decay, name",
        ),
        ("{name: my_cells:MyCell, decay: fast}", "model.cell.decay is 'fast'; it must be a number"),
        ("my_cells:Refuses", "cannot take a step: ValueError: no"),
        ("my_cells:WrongState", "over 2 steps are [2, 1, 7]"),
        ("{name: my_cells:MyCell, decay: 2024-01-01}", "model.cell.decay is datetime.date(2024, 1, 1); it must be"),
        ("broken:X", "importing broken failed: ZeroDivisionError"),
    ],
)
def test_wrong_user_cells(own_cell, tmp_path, cell, wanted):
    (tmp_path / "broken.py").write_text("1 / 0\n")
    result = own_cell("train", "quickstart", f"model.cell={cell}")
    assert (result.code, result.out) == (2, "")
    assert wanted in result.err
    assert not Path("runs").exists()


# --- listing ----------------------------------------------------------------------------------------------------


def test_lists(seqtrain):
    cells = seqtrain("cells", "--json").json["cells"]
    assert [cell["name"] for cell in cells] == list(CELLS)
    assert "p_o * c'" in seqtrain("cells").out
    tasks = seqtrain("tasks", "--json").json["tasks"]
    assert [task["name"] for task in tasks] == list(TASKS)
    assert all(option["description"] for entry in cells + tasks for option in entry["options"].values())
    assert seqtrain("cells", "gru", "--json").json["cells"] == [cells[list(CELLS).index("gru")]]
    assert "reset: after | before (default" in seqtrain("cells", "gru").out
    assert "did you mean 'gru'?" in seqtrain("cells", "gruu").err
    named = [entry["name"] for entry in seqtrain("settings", "optimizer", "train", "--json").json["settings"]]
    assert named == ["train", *(f"optimizer: {name}" for name in ("adam", "adamw", "sgd", "rmsprop"))]
    for name in ("optimizer.adam", "adam", "betas"):
        found = seqtrain("settings", name, "--json").json["settings"]
        assert "optimizer: adam" in [entry["name"] for entry in found]
    assert [entry["name"] for entry in seqtrain("settings", "threads", "--json").json["settings"]] == ["config"]
    refused = seqtrain("settings", "optimiser")
    assert refused.code == 2
    assert "did you mean 'optimizer'?" in refused.err
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


def test_showing_a_config_that_is_none(seqtrain):
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


@pytest.mark.parametrize("name", list(config_paths()))
def test_every_shipped_config_validates_and_trains(seqtrain, name):
    config = config_paths()[name].read_text()
    text = "name: language_model" in config
    sized = not any(f"name: {task}\n" in config for task in ("counting", "timing"))
    sets = ("task.path=shipped:stories",) if text else SMALL_SETS if sized else ()
    sets += ("model.depth=3",) if "hidden_size: [" in config else ()
    assert seqtrain("validate", name, *sets[:1], "--json").json["parameters"] > 0
    assert seqtrain("train", name, *SMALL, *sets, "--json").json["steps"] == 4


@pytest.mark.parametrize("name", ["words", "characters"])
def test_a_small_text_is_evaluated_after_every_epoch(seqtrain, tmp_path, name):
    lines = [f"the {('cat', 'dog', 'bird')[n % 3]} saw {n % 7} trees\n" for n in range(900)]
    (tmp_path / "small.txt").write_text("".join(lines))  # 20 kB
    settings = ("task.path=small.txt", "model.hidden_size=6", "train.epochs=3")
    steps = seqtrain("train", name, *settings, "--out", "run", "--json").json["steps"]
    records = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert steps % 3 == 0
    assert [r["step"] for r in records if r["split"] == "valid"] == [steps // 3, steps // 3 * 2, steps]


@pytest.mark.parametrize("name", [name for name, path in config_paths().items() if "_model" in path.read_text("utf-8")])
def test_configs_of_texts_count_in_epochs(seqtrain, name):
    train = seqtrain("validate", name, "task.path=shipped:stories", "--json").json["settings"]["train"]
    assert (train["epochs"] > 0, train["steps"], train["eval_every"]) == (True, None, None)


def test_a_text_that_is_not_there_is_looked_for_where_it_is_found(seqtrain):
    refused = seqtrain("train", "ptb-small")
    assert refused.code == 2
    assert "ptb-small.yaml:7: task.path is 'data/ptb', but there is no" in refused.err
    assert "simple-examples.tgz" in refused.err


def test_validate_reports_faults_of_config_data_and_cell_at_once(seqtrain, tmp_path):
    (tmp_path / "empty.txt").write_text("")
    result = seqtrain("validate", "words", "task.path=empty.txt", "model.cell=nowhere:X", "device=cuda:7", "--json")
    assert result.code == 2
    assert len(result.err.splitlines()) == 2 or len(result.err.splitlines()) == 3
    assert "device is 'cuda:7'" in result.err
    assert "there is no module nowhere" in result.err


def test_memory_that_is_not_there_is_a_sentence(seqtrain, monkeypatch):
    def none(*_):
        raise MemoryError("none")

    monkeypatch.setattr("seqtrain.training.loop.train_step", none)
    result = seqtrain("train", "quickstart", *QUICK)
    assert (result.code, result.out) == (2, "")
    assert "not enough memory; make model.hidden_size" in result.err


# --- bench ------------------------------------------------------------------------------------------------------


def test_bench_times_each_cell_on_each_shape(seqtrain):
    arguments = ("--cells", "lstm,gru-before", "--shapes", "3,2,4,5 2,2,1,3", "--rounds", 3)
    result = seqtrain("bench", *arguments, "--json").json
    shapes = [{"T": 3, "B": 2, "I": 4, "H": 5}, {"T": 2, "B": 2, "I": 1, "H": 3}]
    assert [(row["cell"], row["shape"]) for row in result["rows"]] == [
        (cell, shape) for cell in ("lstm", "gru-before") for shape in shapes
    ]
    for row in result["rows"]:
        for mode in ("forward", "train"):
            ms, ratio = row[mode]["ms"], row[mode]["ratio"]
            assert all(low <= ms[name] <= high for name, (low, high) in row[mode]["middle_half_ms"].items())
            assert ratio == {name: pytest.approx(ms[name] / ms["ours"]) for name in ("torch_nn", "plain", "floor")}
    for cell, mean in zip(("lstm", "gru-before"), result["means"], strict=True):
        ratios = [row["train"]["ratio"]["torch_nn"] for row in result["rows"] if row["cell"] == cell]
        assert mean["train"]["torch_nn"] == {
            "geometric_mean": pytest.approx((ratios[0] * ratios[1]) ** 0.5), "least": min(ratios)
        }  # fmt: skip
    assert result["memory"] == "system"
    assert "peak_bytes" not in result["rows"][0]
    small = ("--cells", "rnn", "--shapes", "3,2,4,5", "--rounds", 3, "--threads", 1, "--memory", "--keep-memory")
    kept = seqtrain("bench", *small, "--json").json
    assert kept["memory"] == ("kept" if keep_freed_memory() else "system")
    assert kept["threads"] == 1
    assert set(kept["rows"][0]["peak_bytes"]) == {"ours", "torch_nn"}
    table = seqtrain("bench", *arguments, "--keep-memory", "--threads", 1).out
    assert "gru-before" in table
    assert "1 thread" in table


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("--shapes", ""), "--shapes '': is no shape"),
        (("--shapes", "99999999999999999999,1,1,1"), "whole numbers from 1 to 1,000,000"),
        (("--cells", ""), "--cells '': choose one of"),
        (("--threads", 100000), "4096"),
    ],
)
def test_bench_refuses_what_cannot_be(seqtrain, arguments, wanted):
    refused = seqtrain("bench", *arguments)
    assert (refused.code, refused.out) == (2, "")
    assert wanted in refused.err


def test_bench_says_that_the_engine_is_missing(seqtrain, monkeypatch):
    monkeypatch.setenv("SEQTRAIN_NATIVE", "abacus")
    told = seqtrain("bench", "--cells", "lstm", "--shapes", "2,2,2,2", "--rounds", 3)
    assert "engine: there is no engine 'abacus'" in told.err
    assert "what is timed as ours is the plain loop" in told.err
    assert "engine: reference" in told.out


def test_bench_refuses_at_once_what_it_does_not_know(seqtrain):
    refused = seqtrain("bench", "--cells", "lstm,gruu", "--shapes", "1,2,3", "--shapes", "1,2,3,0 1,x,1,1")
    assert (refused.code, refused.out) == (2, "")
    assert [line.split(":")[1].strip() for line in refused.err.splitlines()] == [
        "--cells gruu", "--shapes 1,2,3", "--shapes 1,2,3,0", "--shapes 1,x,1,1",
    ]  # fmt: skip


# --- as a process -----------------------------------------------------------------------------------------------


def process(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "seqtrain", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_exits_by_its_number(tmp_path, number, code):
    run = tmp_path / "run"
    command = ("train", "quickstart", *SMALL_SETS, "train.steps=1000000", "train.log_every=1", "--out", str(run))
    child = process(*command, "--json")
    try:
        for _ in range(600):
            if (run / "metrics.jsonl").exists() and (run / "metrics.jsonl").stat().st_size > 500:
                break
            time.sleep(0.1)
        child.send_signal(number)
        out, err = child.communicate(timeout=60)
    finally:
        child.kill()
    assert child.returncode == code, err
    assert json.loads(out)["status"] == "interrupted"
    assert "go on with --resume" in err
    assert json.loads((run / "summary.json").read_text())["steps"] > 0
    assert (run / "last.pt").exists()


SLOW_STEP = """
import sys, time
import seqtrain.runs.trainer
from seqtrain.__main__ import main

def fit(*arguments, stop_requested, **hooks):
    print("ready", flush=True)
    while not stop_requested():
        time.sleep(0.01)
    print("noted", flush=True)
    time.sleep(60)

seqtrain.runs.trainer.fit = fit
main()
"""


def test_a_second_signal_stops_at_once_without_a_traceback(tmp_path):
    command = [sys.executable, "-c", SLOW_STEP, "train", "quickstart", *SMALL_SETS, "--out", "run", "--quiet"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    ) as child:  # fmt: skip
        try:
            for word in ("ready", "noted"):
                assert child.stdout.readline() == f"{word}\n"
                child.send_signal(signal.SIGINT)
            assert child.wait(timeout=50) == 130
            assert "Traceback" not in child.stderr.read()
        finally:
            child.kill()


def test_help_and_usage(seqtrain):
    assert "compare" in seqtrain("--help").out
    assert seqtrain("--version").out.startswith("seqtrain ")
    hint = "--steps is a setting, not an option; write train.steps=VALUE"
    assert hint in seqtrain("train", "quickstart", "--steps", 100).err
    assert hint in seqtrain("compare", "quickstart", "--steps=100").err
    for arguments in (("trian",), ("train",), ("train", "quickstart", "--no-such"), ("eval", "x", "--split", "dev")):
        result = seqtrain(*arguments)
        assert (result.code, result.out) == (2, "")


def test_our_own_fault_is_exit_1_with_a_traceback(tmp_path):
    breaking = (
        "import seqtrain.cli.catalog as c; c.cells = lambda names: 1 / 0; from seqtrain.__main__ import main; main()"
    )
    child = subprocess.run(
        [sys.executable, "-c", breaking, "cells"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert child.returncode == 1
    assert "ZeroDivisionError" in child.stderr


def test_help_does_not_import_torch():
    code = (
        "import sys, atexit; sys.argv = ['seqtrain', '--help']\n"
        "atexit.register(lambda: print({'torch', 'pydantic'} & set(sys.modules), file=sys.stderr))\n"
        "from seqtrain.__main__ import main; main()"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stderr == b"set()\n"


def test_every_thread_flushes_subnormals_to_zero():
    code = (
        "from seqtrain.system.runtime import prepare; prepare(4); import torch; assert torch.get_num_threads() == 4;"
        "x = torch.full((4_000_000,), 1e-30); assert int((x * 1e-10 != 0).sum()) == 0"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
