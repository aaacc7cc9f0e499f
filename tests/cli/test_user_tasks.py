"""A task of the user in every verb."""

import shutil
import sys
from pathlib import Path

import pytest
from conftest import SMALL

import seqtrain as package
from seqtrain.inference.load import load_model
from seqtrain.runs.checkpoint import load_checkpoint, save_checkpoint
from seqtrain.system.errors import CheckpointError

TASKS_FILE = '''
from typing import Annotated
import sys
import torch
from pydantic import Field
from seqtrain.tasks import Affects, Batch, Classification, GeneratedTask, HiddenFact, Null, Task


class Echo(Classification):
    """At every step, name the symbol that stood `lag` steps before."""

    every_step = True
    reach = "eval_length"
    stretch = 2

    valid_size: Annotated[int, Affects.EVALUATION] = 6
    test_size: Annotated[int, Affects.EVALUATION] = 6
    symbols: Annotated[int, Field(ge=2, le=9)] = 3
    """Symbols to choose from."""
    lag: Annotated[int, Field(ge=1), Affects.DATA] = 1
    length: Annotated[int, Affects.DATA] = 5
    eval_length: Annotated[int | None, Null(lambda s: 2 * s.length, text="twice length"), Affects.EVALUATION] = None
    workers: Annotated[int, Affects.MACHINE] = 1

    @classmethod
    def faults(cls, settings):
        if settings.length <= settings.lag:
            yield "length", f"is {settings.length}; it must be more than lag, {settings.lag}"

    def __post_init__(self):
        self.input_size = self.output_size = self.symbols

    def draw(self, T, B, generator):
        inputs = torch.randint(self.symbols, (T, B), generator=generator)
        scored = (torch.arange(T) >= self.lag)[:, None].expand(T, B)
        return Batch(inputs, inputs.roll(self.lag, 0), scored=scored)

    def sample(self, batch_size, generator):
        return self.draw(self.length, batch_size, generator)

    def sample_fixed(self, split, size):
        return self.draw(self.eval_length or 2 * self.length, size, self.generator(split))

    def hidden_facts(self, batch):
        return [HiddenFact("first symbol", batch.inputs[0].expand_as(batch.inputs), batch.inputs >= 0, ("a", "b", "c"))]


class Letters(Echo):
    words = next_token = True
    solvable = False

    def __post_init__(self):
        super().__post_init__()
        self.vocabulary = list("abcdefghi"[: self.symbols])


class Half(GeneratedTask):
    every_step = True


class NoTask:
    pass


class Named(Echo):
    name = "echo"


class Folder(Echo):
    folder: str = "data"


class Leaves(Echo):
    def sample(self, batch_size, generator):
        sys.exit(0)


class Fails(Echo):
    def train_batch(self, step, batch_size):
        if step > 2:
            raise OSError("my own")
        return super().train_batch(step, batch_size)
'''

ECHO = ("quickstart", *SMALL, "task=my_task:Echo")


@pytest.fixture
def own_task(seqtrain, tmp_path, monkeypatch):
    (tmp_path / "my_task.py").write_text(TASKS_FILE)
    forget(monkeypatch)
    return seqtrain


def forget(monkeypatch):
    """As in a new process."""
    monkeypatch.delitem(sys.modules, "my_task", raising=False)


def test_a_users_task_works_in_every_verb(own_task, quick_check):
    trained = own_task("train", *ECHO, "--out", "run", "--json").json
    assert (trained["task"], trained["own_task"]["reach"]) == ("my_task:Echo", "eval_length")
    assert own_task("eval", "run", "--json").json["accuracy"] == trained["test"]["accuracy"]
    assert own_task("train", "run", "--resume", "train.steps=6").code == 0
    assert own_task("validate", *ECHO, "--json").json["task"] == "my_task:Echo"
    assert "train quickstart task=my_task:Echo" in own_task("tasks", "my_task:Echo").err
    listed = own_task("tasks", "my_task:Echo", "--json").json["tasks"][0]
    assert (listed["metric"]["name"], listed["options"]["symbols"]["kind"]) == ("accuracy", "whole number from 2 to 9")
    assert "null for twice length" in own_task("settings", "my_task:Echo").out or listed["options"]["eval_length"]
    assert own_task("settings", "my_task:Echo", "--json").json["settings"][0]["name"] == "task: my_task:Echo"
    checked = own_task("check", *ECHO)
    assert checked.code == 0, checked.err
    assert "scored steps" in checked.out
    assert "not proved" in checked.out


def test_inspect_has_the_hidden_facts_of_a_users_task(own_task, monkeypatch):
    monkeypatch.setattr("seqtrain.inspection.pictures.write_pictures", lambda *_: [])
    monkeypatch.setattr("seqtrain.inspection.page.write_page", lambda *_: None)
    inspected = own_task("inspect", *ECHO, "task.valid_size=40", "task.test_size=40")
    assert (inspected.code, "first symbol" in inspected.out) == (0, True), inspected.err


def test_its_name_alone_may_be_set(own_task):
    Path("c.yaml").write_text("task: {name: 'my_task:Echo', lag: 2}\nmodel: {cell: rnn}\n")
    assert own_task("validate", "c.yaml", "--json").json["settings"]["task"]["lag"] == 2
    renamed = own_task("validate", "c.yaml", "task.name=my_task:Letters", "--json").json["settings"]
    assert (renamed["task"]["lag"], renamed["model"]["embedding_size"]) == (2, 128)


def test_a_config_that_is_data_names_the_run_by_the_class(own_task):
    data = {"task": "my_task:Echo", "model": {"cell": "rnn"}}
    assert str(package.train(data, SMALL).path) == "runs/Echo-rnn-seed0"


def test_eval_takes_the_settings_that_the_class_allows(own_task):
    assert own_task("train", *ECHO, "--out", "run").code == 0
    longer = own_task("eval", "run", "task.length=7", "--json").json
    assert longer["changed"]["task.length"] == 7
    assert "/eval_length=None" not in longer["variant"]
    assert "eval_length=14" in longer["variant"]  # as it follows from length again
    assert own_task("eval", "run", "task.workers=3", "--json").json["changed"] == {}
    for override, wanted in {
        "task.symbols=4": "task.symbols: belongs to the weights in run/best.safetensors and cannot be changed",
        "task.name=my_task:Letters": "task.name: belongs to the weights",
        "task.lag=0": "task.lag is 0; it must be at least 1",
        "task.lag=5": "task.length is 5; it must be more than lag, 5",
        "task.leg=2": "task.leg is not a setting of the task; choose one of",
    }.items():
        refused = own_task("eval", "run", override)
        assert (refused.code, wanted in refused.err) == (2, True), refused.err


def test_a_resumed_run_may_change_what_affects_no_result(own_task):
    assert own_task("train", *ECHO, "--out", "run").code == 0
    assert own_task("train", "run", "task.workers=2", "train.steps=6", "--resume").code == 0
    refused = own_task("train", "run", "task.lag=2", "--resume")
    assert (refused.code, "was saved with task.lag 1, the config says 2" in refused.err) == (2, True)


def test_another_code_is_another_task(own_task, monkeypatch):
    compare = ("compare", *ECHO, "--cells", "rnn", "--seeds", "1", "--out", "compared")
    assert own_task("train", *ECHO, "--out", "run").code == 0
    assert own_task(*compare).code == 0
    assert "done already" in own_task(*compare).err
    Path("my_task.py").write_text(
        TASKS_FILE.replace("Annotated[int, Affects.DATA] = 5", "Annotated[int, Affects.DATA] = 6")
    )
    forget(monkeypatch)
    changed = "the code of my_task:Echo has changed"
    for verb in ("train", *ECHO, "--out", "run"), ("train", "run"):
        refused = own_task(*verb, "--resume", "train.steps=8")
        assert (refused.code, changed in refused.err) == (2, True), refused.err
    refused = own_task(*compare)
    assert (refused.code, "holds a run with another code of my_task:Echo" in refused.err) == (2, True)
    evaluated = own_task("eval", "run")
    assert (evaluated.code, changed in evaluated.err) == (0, True)
    assert own_task("train", *ECHO, "task.length=5", "seed=1", "--out", "other").code == 0
    refused = own_task("compare", "run", "other")
    assert (refused.code, "are not of one task and cannot be compared" in refused.err) == (2, True)
    assert refused.err.count("(code ") == 2


def test_finished_runs_are_compared_in_another_folder_without_the_code(own_task, tmp_path, monkeypatch):
    cells = ("--cells", "rnn,gru", "--seeds", "2", "--jobs", "2")
    compared = own_task("compare", *ECHO, "--vary", "task.lag=1,2", *cells, "--out", "compared")
    assert compared.code == 0, compared.err
    (tmp_path / "my_task.py").unlink()
    (tmp_path / "away").mkdir()
    shutil.move(tmp_path / "compared", tmp_path / "away/compared")
    monkeypatch.chdir(tmp_path / "away")
    forget(monkeypatch)
    again = own_task("compare", "compared", "--json")
    assert again.code == 0, again.err
    assert again.json["varied"] == "task.lag"
    assert again.json["solvable"]
    assert [row["metric"]["mean"] is not None for row in again.json["cells"]] == [True] * 4
    assert "my_task" not in sys.modules


def test_a_summary_without_what_it_must_say_of_the_task_is_refused(own_task):
    assert own_task("train", *ECHO, "--out", "run").code == 0
    summary = Path("run/summary.json")
    summary.write_text(summary.read_text().replace('"own_task"', '"own_tusk"'))
    refused = own_task("compare", "run", "run")
    assert (refused.code, "lacks own_task, which says what my_task:Echo is" in refused.err) == (2, True), refused.err


def test_sizes_lengths_and_dry_runs(own_task):
    cells = ("--cells", "rnn,lstm", "--seeds", "1")
    matched = own_task("compare", *ECHO, *cells, "--match", "params", "--eval-lengths", "4,9", "--json")
    assert matched.code == 0, matched.err
    assert [row["length"] for row in matched.json["lengths"]] == [4, 9, 4, 9]
    refused = own_task("compare", *ECHO, *cells, "--eval-lengths", "1.5")
    assert refused.code == 2
    planned = own_task("compare", *ECHO, *cells, "--out", "planned", "--dry-run")
    assert (planned.code, planned.out.count("seqtrain train")) == (0, 2)
    config = planned.out.split()[2]
    assert own_task("train", config, "--out", "planned/run", "--quiet").code == 0


@pytest.fixture
def hostile(own_task, tmp_path, monkeypatch):
    """A run whose checkpoint names code in a folder that nobody has named, and which writes a file when it runs."""
    run = Path(own_task("train", *ECHO, "--json").json["run"])
    (tmp_path / "away").mkdir()
    (tmp_path / "away/evil.py").write_text("open('ran', 'w').close()\n" + TASKS_FILE)
    for file in run.glob("*.safetensors"):
        checkpoint = load_checkpoint(file)
        checkpoint.header.config["task"] |= {"name": "evil:Echo", "folder": str(tmp_path / "away")}
        save_checkpoint(file, checkpoint)
    config = (run / "config.yaml").read_text().replace("my_task:Echo", "evil:Echo")
    (run / "config.yaml").write_text(config.replace(f"folder: {tmp_path}", f"folder: {tmp_path / 'away'}"))
    summary = (run / "summary.json").read_text()
    (run / "summary.json").write_text(summary.replace("my_task:Echo", "evil:Echo"))
    forget(monkeypatch)
    yield run
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_or_a_finished_run_alone_imports_no_code(own_task, hostile, tmp_path):
    for command in (["eval", hostile], ["inspect", hostile], ["eval", hostile / "last.safetensors"]):
        refused = own_task(*command)
        assert (refused.code, refused.out) == (2, "")
        assert "its task, evil:Echo, is not part of seqtrain" in refused.err
        assert f"task.folder={tmp_path / 'away'} behind eval" in refused.err
    refused = own_task("compare", hostile, hostile, "--eval-lengths", "4,5")
    assert (refused.code, "its task, evil:Echo, is not part of seqtrain" in refused.err) == (2, True), refused.err
    assert load_model(hostile)  # of the cell, which needs no task


def test_a_task_in_another_folder_is_found_by_naming_it(own_task, tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    (tmp_path / "my_task.py").rename(tmp_path / "sub/my_task.py")
    (tmp_path / "sub/c.yaml").write_text("task: 'my_task:Echo'\nmodel: {cell: rnn}\n")
    trained = own_task("train", "sub/c.yaml", *SMALL, "--out", "run", "--json").json
    forget(monkeypatch)
    refused, cure = own_task("eval", "run"), f"task.folder={tmp_path / 'sub'}"
    assert (refused.code, cure in refused.err) == (2, True)
    assert own_task("eval", "run", cure, "--json").json["accuracy"] == trained["test"]["accuracy"]
    forget(monkeypatch)
    refused = own_task("train", *ECHO)
    assert "there is no module my_task in" in refused.err
    assert "task.folder=FOLDER, or put it on PYTHONPATH" in refused.err


def test_a_task_and_a_cell_of_the_users(own_task, tmp_path, monkeypatch):
    cell = "from seqtrain.cells.rnn import RNNCell\n\n\nclass Mine(RNNCell):\n    pass\n"
    (tmp_path / "mine.py").write_text(cell)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    trained = own_task("train", *ECHO, "model.cell=mine:Mine", "--out", "run", "--json").json
    for name in ("mine", "my_task"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert own_task("eval", "run", "task.lag=1", "--json").json["accuracy"] == trained["test"]["accuracy"]
    (tmp_path / "mine.py").unlink()
    for name in ("mine", "my_task"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(CheckpointError, match="its cell, mine:Mine, is not part of seqtrain"):
        package.evaluate("run")


def test_a_task_of_words_writes_without_its_code(own_task, tmp_path, monkeypatch):
    letters = ("quickstart", *SMALL, "task=my_task:Letters", "train.stop_when_solved=false")
    trained = own_task("train", *letters, "--out", "run", "--json")
    assert trained.code == 0, trained.err
    assert "embedding_size: 6" in Path("run/config.yaml").read_text()
    (tmp_path / "my_task.py").unlink()
    forget(monkeypatch)
    assert own_task("generate", "run", "--tokens", "3", "--prompt", "a b").code == 0
    assert own_task("predict", "run", "--prompt", "a b", "--json").json["next"]


@pytest.mark.parametrize(
    ("overrides", "wanted"),
    [
        (["task=my_task:Ekko"], "has no class Ekko derived from seqtrain.tasks.Task; choose one of"),
        (["task=my_task:NoTask"], "has no class NoTask derived from seqtrain.tasks.Task"),
        (["task=my_task:Half"], "does not define baseline, fixed_sizes, measure, sample; every task needs"),
        (["task=my_task:Named"], "sets name to 'echo'; remove that, as its name is module:Class"),
        (["task=my_task:Folder"], "takes the option folder, which has another meaning in a config; rename it"),
        (["task=my_tusk:Echo"], "there is no module my_tusk in"),
        (["task=my_task.py:Echo"], "names a file; write my_task:Class"),
        (["task=my_task:1"], "task.name is 'my_task:1'; write it as module:Class, such as my_task:MyTask"),
        (["task=broken:X"], "task 'broken:X': importing broken failed: ZeroDivisionError"),
        (["task=my_task:Echo", "task.symbols=two"], "task.symbols is 'two'; it must be a whole number"),
        (["task=my_task:Echo", "task.symbols=10"], "task.symbols is 10; it must be at most 9"),
        (["task=my_task:Echo", "task.simbols=3"], "task.simbols is not a setting of the task; choose one of"),
        (["task=my_task:Echo", "task.stretch=3"], "write `stretch: TYPE = VALUE` there to make it one"),
        (["task=my_task:Echo", "task.lag=9"], "task.length is 5; it must be more than lag, 9"),
        (["task=my_task:Echo", "train.epochs=2"], "draws its sequences anew and has no epochs"),
        (["task=my_task:Letters"], "has no rule for being solved"),
        (["task=my_task:Letters", "model.direction=bidirectional"], "would show the model the word it must predict"),
        (["task=my_task:Echo", "model.tied=true"], "task 'my_task:Echo' predicts no words"),
        (["task=my_task:Leaves"], "the code of a task ended the program, with exit code 0; a task must not"),
    ],
)  # fmt: skip
def test_wrong_user_tasks(own_task, tmp_path, overrides, wanted):
    (tmp_path / "broken.py").write_text("1 / 0\n")
    result = own_task("train", "quickstart", "train.steps=2", "model.hidden_size=4", *overrides)
    assert (result.code, result.out) == (2, ""), result.out
    assert wanted in result.err
    assert not Path("runs").exists() or not list(Path("runs").rglob("config.yaml"))


def test_all_faults_of_the_settings_are_told_at_once(own_task):
    refused = own_task("validate", *ECHO, "task.symbols=1", "task.simbols=3", "task.lag=two")
    assert [wanted in refused.err for wanted in ("task.symbols is 1", "task.simbols is not", "task.lag is 'two'")] == [
        True
    ] * 3


def test_an_error_of_a_task_while_it_trains_is_told_with_its_traceback(own_task):
    with pytest.raises(OSError, match="my own"):
        own_task("train", "quickstart", *SMALL, "task=my_task:Fails", "--out", "run")


def test_a_value_that_yaml_would_change_is_text_for_a_users_task(own_task, tmp_path):
    (tmp_path / "my_task.py").write_text(
        TASKS_FILE + '\n\nclass Tagged(Echo):\n    tag: str = ""\n    unit: str = ""\n'
    )
    told = own_task(
        "validate", "quickstart", *SMALL, "task=my_task:Tagged", "task.tag=poems #2", "task.unit=a: b", "--json"
    )
    assert told.code == 0, told.err
    assert (told.json["settings"]["task"]["tag"], told.json["settings"]["task"]["unit"]) == ("poems #2", "a: b")
