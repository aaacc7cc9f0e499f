"""A cell of the user in every verb."""

import sys
from pathlib import Path

import pytest
from conftest import SMALL, SMALL_SETS

from seqtrain.inference.load import load_model
from seqtrain.runs.checkpoint import load_checkpoint, save_checkpoint
from seqtrain.system.errors import CheckpointError

QUICK = (*SMALL, *SMALL_SETS, "task.length=9")
WORDS = ("words", *SMALL, "task.path=shipped:stories/valid.txt")

FAILING = """
from seqtrain.cells.rnn import RNNCell


class Failing(RNNCell):
    calls = 0

    def step(self, x_gates, state):
        self.calls += 1
        if self.calls > 500:  # more than it takes to try the cell before the run
            {line}
        return super().step(x_gates, state)
"""


@pytest.mark.parametrize("line", ["raise OSError('my own')", "open('/nowhere/at/all')", "raise RuntimeError('my own')"])
def test_an_error_of_a_cell_while_it_trains_is_told_with_its_traceback(seqtrain, line):
    """An OSError is no exception: it says nothing of our output, and it is not bad input."""
    Path("failing.py").write_text(FAILING.format(line=line))
    with pytest.raises((OSError, RuntimeError), match=r"my own|/nowhere/at/all"):
        seqtrain("train", "quickstart", *QUICK, "task.length=100", "model.cell=failing:Failing", "--out", "run")


MY_CELLS = """
from enum import Enum
from pathlib import Path
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


class Letter(Enum):
    A = "a"


class Odd(MyCell):
    def __init__(
        self, input_size, hidden_size, *, letter: Letter = Letter.A, path: Path = None, pair: tuple[int, int] = (1, 2),
        rate: float = None, count: int = 1.5, function=torch.tanh, options: int = 1, model_dump: int = 2, _own: int = 3,
    ):
        super().__init__(input_size, hidden_size)
        self.decay = {"a": 0.1, "b": 0.2, Letter.A: 0.3}[letter]


class Half(Cell):
    def project(self, x):
        return x


class NoCell:
    pass


class Refuses(MyCell):
    def __init__(self, input_size, hidden_size):
        raise ValueError("no")


class Narrow(MyCell):
    def step(self, x_gates, state):
        return Memory(torch.tanh(x_gates)[:, :3])


class OneRow(MyCell):
    def step(self, x_gates, state):
        return Memory(torch.tanh(x_gates)[:1])


class Leaves(MyCell):
    def step(self, x_gates, state):
        raise SystemExit(0)


class Quits(MyCell):
    def step(self, x_gates, state):
        if len(x_gates) > 2:  # not when it is tried
            raise SystemExit(0)
        return super().step(x_gates, state)


class WrongState(MyCell):
    def step(self, x_gates, state):
        return Memory(torch.zeros(1, 7))
"""


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
    text = own_cell("train", *WORDS, cell, "--json")
    assert text.code == 0
    assert own_cell("train", *WORDS, cell, "train.steps=6", "--resume").code == 0


def test_a_run_holds_the_defaults_and_the_code_of_a_users_cell(own_cell, tmp_path, monkeypatch):
    """The user's code may change: a run is not continued, or counted as done, with other code."""
    run, cell = ("quickstart", *QUICK, "model.cell=my_cells:MyCell"), tmp_path / "my_cells.py"
    assert own_cell("train", *run, "--out", "run").code == 0
    assert "decay: 0.9" in Path("run/config.yaml").read_text()
    assert own_cell("train", *run, "--out", "run", "--resume", "train.steps=6").code == 0
    compare = ("compare", *run, "--cells", "my_cells:MyCell", "--seeds", "1", "--out", "comparison")
    assert own_cell(*compare).code == 0
    assert "done already" in own_cell(*compare).err
    cell.write_text(MY_CELLS.replace("decay: float = 0.9", "decay: float = 0.25"))
    monkeypatch.delitem(sys.modules, "my_cells")
    has_changed = "the code of my_cells:MyCell has changed"
    for verb in ("train", *run, "--out", "run"), ("train", "run"):
        refused = own_cell(*verb, "--resume", "train.steps=8")
        assert (refused.code, has_changed in refused.err) == (2, True)
    refused = own_cell(*compare)
    assert (refused.code, "holds a run with another code of my_cells:MyCell" in refused.err) == (2, True)
    evaluated = own_cell("eval", "run")
    assert (evaluated.code, has_changed in evaluated.err) == (0, True)
    assert load_model("run").stack.cells()[0][0].decay == 0.9


MEASURING = """

class Measuring(MyCell):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.decay = float(torch.full((2,), 0.25).sum())
"""


def test_a_users_cell_may_compute_with_numbers_when_it_is_made(own_cell, tmp_path):
    """A model without numbers, on which a checkpoint is checked before it is loaded, cannot be made of such a cell."""
    (tmp_path / "my_cells.py").write_text(MY_CELLS + MEASURING)
    trained = own_cell("train", "quickstart", *QUICK, "model.cell=my_cells:Measuring", "--json")
    assert trained.code == 0
    assert own_cell("eval", trained.json["run"], "--json").json["mse"] == trained.json["test"]["mse"]
    cells = ("--cells", "my_cells:Measuring,rnn", "--seeds", "1", "--match", "params")
    assert own_cell("compare", "quickstart", *QUICK, *cells).code == 0


@pytest.mark.parametrize(
    "option",
    [
        "letter: b", "path: here", "pair: [1, 2]", "rate: null", "rate: 0.5", "count: 2", "function: tanh",
        "options: 2", "model_dump: 3", "_own: 4",
    ],
)  # fmt: skip
def test_an_option_that_no_section_can_have_goes_to_the_constructor(own_cell, recwarn, option):
    assert own_cell("validate", "quickstart", f"model.cell={{name: my_cells:Odd, {option}}}").code == 0
    assert not [one for one in recwarn if "pydantic" in str(one.message).lower()]
    refused = own_cell("validate", "quickstart", "model.cell={name: my_cells:Odd, letter: c}")
    assert "cannot take a step: KeyError: 'c'" in refused.err


def test_cells_lists_a_users_cell_from_its_signature(own_cell):
    listed = own_cell("cells", "my_cells:MyCell", "gru", "--json").json["cells"]
    assert [cell["name"] for cell in listed] == ["my_cells:MyCell", "gru"]
    decay = listed[0]["options"]["decay"]
    assert (decay["kind"], decay["default"], decay["required"]) == ("number", 0.9, False)
    assert "decay: number (default 0.9)" in own_cell("cells", "my_cells:MyCell").out
    refused = own_cell("cells", "my_cells:YourCell")
    assert (refused.code, refused.out) == (2, "")
    assert "did you mean 'MyCell'?" in refused.err


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
def test_a_checkpoint_alone_imports_no_code(own_cell, tmp_path, monkeypatch, word):
    """Neither from the folder that the checkpoint names, nor a script here that holds no such class."""
    run = own_cell("train", *WORDS, "model.cell=my_cells:MyCell", "--json").json["run"]
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
    path = tmp_path / run / "best.safetensors"
    checkpoint = load_checkpoint(path)
    checkpoint.header.config["model"]["cell"] = cell
    save_checkpoint(path, checkpoint)
    for command in (["eval", run], ["generate", run], ["predict", path]):
        refused = own_cell(*command)
        assert (refused.code, refused.out) == (2, "")
        assert refused.err.startswith(f"seqtrain: {command[1] if command[1] == path else path.relative_to(tmp_path)}: ")
        assert f"its cell, {cell['name']}, is not part of seqtrain" in refused.err
        assert not (tmp_path / "ran").exists()
    with pytest.raises(CheckpointError, match="is not part of seqtrain"):
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


def test_an_option_of_a_users_cell_has_an_effect(own_cell):
    results = [
        own_cell("train", "quickstart", *QUICK, f"model.cell={{name: my_cells:MyCell, decay: {decay}}}",
                 "--out", f"r{decay}", "--json").json["test"]["mse"]
        for decay in (0.1, 0.9)
    ]  # fmt: skip
    assert results[0] != results[1]


@pytest.mark.parametrize(
    ("cell", "wanted"),
    [
        (
            "my_cells:MyCel",
            "has no class MyCel derived from seqtrain.cells.Cell; choose one of Half, Leaves, MyCell",
        ),
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
        ("my_cells:Narrow", "over 2 steps are [2, 2, 3]"),
        ("my_cells:OneRow", "over 2 steps are [2, 1, 4]"),
        ("my_cells:Leaves", "cannot take a step: SystemExit: 0"),
        ("leaving:X", "importing leaving failed: SystemExit: 0"),
        ("my_cells.py:MyCell", "names a file; write my_cells:Class"),
        ("{name: my_cells:MyCell, folder: elsewhere}", "there is no module my_cells in elsewhere"),
        ("{name: my_cells:MyCell, decay: 2024-01-01}", "model.cell.decay is '2024-01-01'; it must be a number"),
        ("broken:X", "importing broken failed: ZeroDivisionError"),
    ],
)
def test_wrong_user_cells(own_cell, tmp_path, cell, wanted):
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "leaving.py").write_text("import sys\nsys.exit(0)\n")
    result = own_cell("train", "quickstart", "model.hidden_size=4", f"model.cell={cell}")
    assert (result.code, result.out) == (2, "")
    assert wanted in result.err
    assert not Path("runs").exists()


def test_cells_of_one_name_are_told_apart_by_their_code(seqtrain, tmp_path):
    for folder, decay in (("a", 0.9), ("b", 0.25), ("c", 0.9)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "my_cells.py").write_text(
            MY_CELLS.replace("decay: float = 0.9", f"decay: float = {decay}")
        )
    for seed, folder in enumerate("abc"):
        cell = ("model.cell=my_cells:MyCell", f"model.cell.folder={folder}", f"seed={seed}")
        assert seqtrain("train", "quickstart", *QUICK, *cell, "--out", f"run-{folder}").code == 0
    assert "decay: 0.25" in Path("run-b/config.yaml").read_text()
    gathered = seqtrain("compare", "run-a", "run-b", "run-c", "--json").json
    rows = [(row["cell"], len(row["metric"]["values"])) for row in gathered["cells"]]
    assert [count for _, count in rows] == [2, 1]
    assert all("code=" in label for label, _ in rows)
    evaluated = seqtrain("eval", "run-b", "model.cell.folder=a")
    assert (evaluated.code, "the code of my_cells:MyCell has changed" in evaluated.err) == (0, True)


def test_a_project_that_moved_keeps_its_cell(seqtrain, tmp_path, monkeypatch):
    """The folder in the config of a run is gone; the same code in the current folder is the cell, other code is not."""
    (tmp_path / "old").mkdir()
    (tmp_path / "old/my_cells.py").write_text(MY_CELLS)
    monkeypatch.chdir(tmp_path / "old")
    assert seqtrain("train", "quickstart", *QUICK, "model.cell=my_cells:MyCell", "--out", "run").code == 0
    (tmp_path / "old").rename(tmp_path / "new")
    monkeypatch.chdir(tmp_path / "new")
    assert seqtrain("train", "run", "--resume", "train.steps=6").code == 0
    Path("my_cells.py").write_text(MY_CELLS.replace("torch.tanh(x_gates))", "torch.sin(x_gates))"))
    assert seqtrain("train", "run", "--resume", "train.steps=8").code == 2


@pytest.mark.parametrize("jobs", [None, 1, 2])
def test_a_cell_that_ends_the_program_does_not_decide_the_exit_code(own_cell, jobs):
    """Exit code 0 would say that the run is done."""
    run = ("train", "quickstart", *QUICK, "model.cell=my_cells:Quits")
    if jobs is not None:
        run = ("compare", "quickstart", *QUICK, "--cells", "my_cells:Quits,rnn", "--seeds", "1", "--jobs", jobs)
    ended = own_cell(*run)
    assert (ended.code, "the code of a cell ended the program, with exit code 0" in ended.err) == (2, True)
    assert not list(Path("runs").rglob("*Quits*/summary.json"))


LATE = """
import torch
from seqtrain.cells.rnn import RNNCell


class Late(RNNCell):
    calls = 0

    def step(self, x_gates, state):
        self.calls += self.training
        if self.calls > 700:  # more than the rehearsal takes, and the first save
            self.register_buffer("late", torch.zeros(1))
        return super().step(x_gates, state)
"""


def test_weights_that_a_cell_adds_while_it_trains_cost_no_earlier_save(seqtrain):
    """They are refused at the first save that has them; the one before it is whole."""
    Path("lately.py").write_text(LATE)
    refused = seqtrain(
        "train", "quickstart", *QUICK, "train.steps=20", "task.length=100", "model.cell=lately:Late", "--out", "run"
    )
    assert refused.code == 2
    assert "late' has no place in the model" in refused.err
    assert "make all weights when the cell is made" in refused.err
    assert seqtrain("eval", "run").code == 0
    assert load_checkpoint(Path("run/last.safetensors")).header.step >= 2
