"""What to type: help pages have examples that work, and each verb says what to do next."""

import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from conftest import SMALL, SMALL_SETS

from seqtrain.cells import CELLS
from seqtrain.cli.app import app
from seqtrain.cli.guide import EXAMPLES, after_training
from seqtrain.comparison import parse_request
from seqtrain.config import load_config
from seqtrain.runs.records import traits_of
from seqtrain.tasks import TASKS
from seqtrain.tasks.metrics import Metric

ROOT = typer.main.get_command(app)


def commands(group, prefix=""):
    """Every command by its full name."""
    for name, command in group.commands.items():
        yield f"{prefix}{name}", command
        if hasattr(command, "commands"):
            yield from commands(command, f"{name} ")


COMMANDS = dict(commands(ROOT))


def test_every_help_page_has_its_examples(seqtrain):
    assert set(EXAMPLES) == set(COMMANDS)
    for name, lines in EXAMPLES.items():
        page = re.sub(r"\s+", " ", seqtrain(*name.split(), "--help").out)
        assert 2 <= len(lines) <= 3
        assert all(line in page and line.startswith(f"seqtrain {name}") for line in lines)


@pytest.mark.parametrize(
    ("name", "line"), [(name, line) for name, lines in EXAMPLES.items() for line in lines], ids=lambda text: text[:50]
)
def test_an_example_is_understood(name, line, tmp_path, monkeypatch):
    """The arguments and options are those of the verb; configs, settings and cells exist."""
    monkeypatch.chdir(tmp_path)
    Path("my_text.txt").write_text("the cat sat on the mat\n" * 200)
    words = shlex.split(line)[1 + len(name.split()) :]
    context = COMMANDS[name].make_context(name, words)
    if name in ("train", "validate", "check"):
        load_config(context.params["config"], context.params["overrides"] or ())
    if name == "import-torch":
        load_config(context.params["like"], context.params["overrides"] or ())
    if name == "compare" and not context.params["targets"][0].startswith("runs/"):
        chosen = {
            key: context.params[key] for key in ("cells", "seeds", "match", "vary", "jobs") if context.params[key]
        }
        parse_request(context.params["targets"], **chosen)
    assert set(context.params.get("names") or ()) - {"train", "optimizer", "adam", "adding"} <= set(CELLS)


def test_the_bare_command_names_what_to_start_with(seqtrain):
    for arguments in ((), ("--help",)):
        called = seqtrain(*arguments)
        assert "seqtrain train quickstart" in called.out + called.err


def next_lines(called):
    return [line for line in called.err.splitlines() if line.startswith("next: ")]


def test_every_verb_says_what_to_do_next(compared, tmp_path):
    run = "runs/compare-quickstart/quickstart-gru-seed0"
    for arguments, wanted in (
        (("train", run, "--resume"), f"seqtrain compare {run}/config.yaml"),
        (("train", run, "--resume"), f"seqtrain eval {run} task.length=N"),
        (("eval", run), f"seqtrain compare {run}"),
        (("validate", "quickstart", "seed=2"), "seqtrain train quickstart seed=2"),
        (("compare", "runs/compare-quickstart"), "open runs/compare-quickstart/report.html"),
        (("compare", "quickstart", "--dry-run", "--out", "dry", "--cells", "rnn"), "seqtrain compare dry"),
        (("bench", "--cells", "rnn", "--shapes", "2,2,2,2", "--rounds", 3), "seqtrain compare quickstart --cells rnn"),
        (("cells", "gru"), "seqtrain train quickstart model.cell=gru"),
        (("tasks", "adding"), "seqtrain configs"),
        (("settings", "train"), "seqtrain validate"),
        (("configs",), "seqtrain train NAME"),
    ):
        (line,) = next_lines(compared(*arguments))
        assert wanted in line
        assert next_lines(compared(*arguments, "--json")) == []
        if "quiet" in {option.name for option in COMMANDS[arguments[0]].params}:
            assert next_lines(compared(*arguments, "--quiet")) == []


@pytest.mark.parametrize(("task", "wanted"), [("series", "draws a forecast"), ("sequences", "writes a table")])
def test_what_suits_the_users_data_comes_next(task, wanted):
    summary = SimpleNamespace(traits=traits_of(TASKS[task]), test={}, task=task)
    assert wanted in after_training(SimpleNamespace(path=Path("run"), summary=summary), "my.yaml", [])


@pytest.mark.parametrize(
    ("config", "overrides", "wanted"),
    [
        ("quickstart", [], "compare quickstart asks"),
        ("quickstart", ["model.cell=my_cells:MyCell"], "compare 'the run/config.yaml' asks"),
        ("the run", [], "compare 'the run/config.yaml' asks"),
    ],
)
def test_what_was_trained_is_compared_next(config, overrides, wanted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("the run").mkdir()
    trained = SimpleNamespace(path=Path("the run"), summary=SimpleNamespace(traits=traits_of(TASKS["adding"]), test={}))
    assert wanted in after_training(trained, config, overrides)


def test_a_language_model_is_used_next(seqtrain, text_folder):
    small = (*SMALL, "model.embedding_size=4", f"task.path={text_folder}")
    (line,) = next_lines(seqtrain("train", "words", *small, "--out", "run"))
    assert "seqtrain generate run" in line
    assert "seqtrain predict run" in line
    assert "seqtrain generate run" in next_lines(seqtrain("eval", "run"))[0]
    assert next_lines(seqtrain("predict", "run", "--prompt", "the cat"))[0].endswith("generate run --prompt 'the cat'")
    for options, wanted in (
        ((), "another --seed, or --temperature 0.7 for likelier words"),
        (("--temperature", 0.5), "another --seed, or a higher --temperature for less likely words"),
        (("--temperature", 0), "--temperature 0.7, with which each --seed gives another text"),
        (("--top-k", 1), "a larger --top-k, with which each --seed gives another text"),
    ):
        (line,) = next_lines(seqtrain("generate", "run", "--tokens", 2, *options))
        assert line == f"next: {wanted}; seqtrain eval run measures the model"
    called = seqtrain(
        "generate", "run", "--prompt", "the", "--tokens", 2, "--temperature", 0, "--seed", 3, "--top-k", 4
    )
    assert called.remarks == "--temperature 0 always takes the most likely token, so it ignores --seed, --top-k\n"
    called = seqtrain("generate", "run", "--prompt", "the", "--tokens", 2, "--temperature", 0, "--samples", 2)
    assert called.remarks == "--temperature 0 always takes the most likely token, so all 2 texts are the same\n"


def test_a_result_far_worse_than_its_baseline_is_said(seqtrain):
    small = (*SMALL, *SMALL_SETS, "optimizer.lr=1", "optimizer.clip_norm=null")
    for called in (seqtrain("train", "quickstart", *small, "--out", "run"), seqtrain("eval", "run")):
        assert re.search(r"mse [\d,.]+ is far worse than the baseline's 0\.1", called.out)
        assert re.search(r"engine \S+, float32", called.out)
    called = seqtrain("compare", "quickstart", *small, "--cells", "lstm", "--seeds", 1, "--out", "c")
    assert "far worse than the baseline, a guess without a memory: lstm" in called.out


def test_what_is_far_worse():
    mse, accuracy = Metric("mse", higher_is_better=False), Metric("accuracy", higher_is_better=True)
    assert "mse 3 is far worse than the baseline's 1" in mse.far_worse(3.0, 1.0)
    assert "accuracy 0.1 is far worse" in accuracy.far_worse(0.1, 0.5)
    for metric, value, baseline in (
        (mse, 1.4, 1.0), (mse, 0.1, 1.0), (mse, None, 1.0), (mse, 3.0, None), (mse, 3.0, 0.0),
        (accuracy, 0.4, 0.5), (accuracy, 0.9, 0.5), (accuracy, None, 0.5), (mse, float("inf"), 1.0),
    ):  # fmt: skip
        assert metric.far_worse(value, baseline) is None
