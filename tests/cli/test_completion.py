"""What the Tab key offers, as the shells ask for it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import typer
import yaml
from typer.testing import CliRunner

from seqtrain.cells import CELLS
from seqtrain.cli import app, completion
from seqtrain.comparison.request import Match
from seqtrain.config.describe import all_keys
from seqtrain.system.shipped import config_paths
from seqtrain.tasks import TASKS
from seqtrain.training.optimizers import OPTIMIZERS


@pytest.fixture
def bash(monkeypatch, tmp_path):
    """What bash shows for a command line; it cuts words at "=", as readline does."""
    monkeypatch.chdir(tmp_path)

    def complete(line: str) -> list[str]:
        words = line.replace("=", " = ").split(" ") if "=" in line else line.split(" ")
        words = [word for word in words[:-1] if word] + [words[-1]]
        environment = {"_SEQTRAIN_COMPLETE": "complete_bash", "COMP_WORDS": "\n".join(words)}
        environment["COMP_CWORD"] = str(len(words) - 1)
        done = CliRunner().invoke(app, [], env=environment, prog_name="seqtrain")
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.output.split()

    return complete


def test_every_key_is_offered_and_no_other(bash):
    """The settings that the models declare, with all tasks and cells, against those of the shipped schema."""
    own = {f"{key}=" for key in all_keys() if not key.endswith((".folder", ".code"))} - {"model=", "train="}
    assert {word for word in bash("seqtrain compare x ") if word.endswith("=")} == own


@pytest.mark.parametrize("name", ["quickstart", "words", "parity", "counting"])
def test_the_keys_are_those_of_the_task_of_the_config(bash, name):
    task = yaml.safe_load(config_paths()[name].read_text())["task"]["name"]
    section = {f"task.{setting}=" for setting in _settings(task)}
    assert {word for word in bash(f"seqtrain train {name} task.") if word.endswith("=")} == section


def _settings(task: str) -> list[str]:
    from seqtrain.config.describe import settings_of
    from seqtrain.config.schema import TASK_SECTIONS

    return [setting.name for setting in settings_of(TASK_SECTIONS[task])]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("tra", ["track", "train"]),
        ("train quick", ["quickstart"]),
        ("train quickstart task.len", ["task.length=", "task.length=100"]),
        ("train quickstart train.stop", [f"train.stop_when_solved={word}" for word in ("", "true", "false")]),
        ("train quickstart train.stop_when_solved=", ["true", "false"]),
        ("train quickstart train.stop_when_solved=f", ["false"]),
        ("train quickstart seed=3 optimizer=", list(OPTIMIZERS)),
        ("train quickstart optimizer=sgd optimizer.mom", ["optimizer.momentum=", "optimizer.momentum=0.0"]),
        ("train quickstart optimizer=adam optimizer.mom", []),
        ("train quickstart task=parity task.le", ["task.length=", "task.length=50"]),
        ("train quickstart model.cell=pee", ["peephole"]),
        ("imp", ["import-torch"]),
        ("import-torch model.pt --like quick", ["quickstart"]),
        ("import-torch model.pt --ignore a --like quickstart task.length=", ["100"]),
        ("import-torch model.pt --like parity --rename a=b model.cell=pee", ["peephole"]),
        ("compare quickstart --tune ", ["random:20", "optuna:20"]),
        ("compare quickstart --range optimizer.l", ["optimizer.lr=", "optimizer.lr=0.001,"]),
        ("cells ", list(CELLS)),
        ("tasks adding ad", ["adding"]),
        ("tasks ", list(TASKS)),
        ("settings warm", ["warmup"]),
        ("configs show word-", ["word-lm", "word-lm-fast"]),
        ("configs copy quicks", ["quickstart"]),
        ("compare quickstart --match ", list(get_args(Match))),
        ("compare quickstart --cells lstm,g", ["lstm,gru"]),
        ("compare quickstart --vary optimizer.lr", ["optimizer.lr=", "optimizer.lr=0.001,"]),
        ("compare quickstart --pictures ", ["png", "svg", "pdf"]),
        ("compare quickstart --jo", ["--jobs"]),
        ("inspect quickstart --at b", ["best"]),
        ("eval x --split va", ["valid"]),
    ],
)
def test_what_is_offered(bash, line, offered):
    assert sorted(bash(f"seqtrain {line}")) == sorted(offered)


def test_runs_are_offered_wherever_they_are(bash):
    for run in ("runs/a", "runs/compare-x/lstm-seed0", "here"):
        Path(run).mkdir(parents=True)
        Path(run, "summary.json").touch()
    Path("runs/other").mkdir()
    assert bash("seqtrain eval ") == ["here", "runs/a", "runs/compare-x"]
    assert bash("seqtrain eval ru") == ["runs/a", "runs/compare-x"]
    assert bash("seqtrain generate runs/compare-x/") == ["runs/compare-x/lstm-seed0"]
    assert bash("seqtrain compare runs/a runs/c") == ["runs/compare-x"]
    Path("mine.yaml").write_text("task: {name: parity}\nmodel: {cell: lstm}\n")
    assert "mine.yaml" in bash("seqtrain train ")
    assert set(bash("seqtrain validate mine.yaml task.eval")) == {"task.eval_length=", "task.eval_length=null"}


def test_zsh_and_fish_get_whole_words(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    line = {"_TYPER_COMPLETE_ARGS": "seqtrain train quickstart model.cell=l"}
    zsh = CliRunner().invoke(app, [], env=line | {"_SEQTRAIN_COMPLETE": "complete_zsh"}, prog_name="seqtrain")
    assert '"model.cell=lstm"' in zsh.output
    fish = line | {"_SEQTRAIN_COMPLETE": "complete_fish", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    assert CliRunner().invoke(app, [], env=fish, prog_name="seqtrain").output == "model.cell=lstm\n"


def test_whatever_goes_wrong_nothing_is_printed(monkeypatch):
    def fails():
        raise ValueError("a broken file")

    monkeypatch.setattr(completion, "_schema", fails)
    context = typer.Context(typer.main.get_command(app))
    context.params = {"overrides": ["model.cell", "="]}
    assert completion.overrides(context, "x") == []
    assert completion.cells(context, "") == []


def test_a_shell_gets_its_answer_without_torch(tmp_path):
    """A process as the shell starts it. It takes 0.3 s; loading torch alone would take more than a second."""
    code = (
        "import sys, atexit; sys.argv = ['seqtrain']\n"
        "atexit.register(lambda: print({'torch', 'numpy', 'yaml'} & set(sys.modules), file=sys.stderr))\n"
        "from seqtrain.__main__ import main; main()"
    )
    asked = {
        "_SEQTRAIN_COMPLETE": "complete_bash",
        "COMP_WORDS": "seqtrain\ntrain\nquickstart\ntask.le",
        "COMP_CWORD": "3",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=os.environ | asked, capture_output=True, text=True, check=True
    )
    assert (done.stdout.split(), done.stderr) == (["task.length=", "task.length=100"], "set()\n")


def test_the_scripts_for_the_shells_are_in_the_help(seqtrain):
    assert "--install-completion" in seqtrain("--help").out
