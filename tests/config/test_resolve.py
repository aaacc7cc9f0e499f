"""The config of a run says what ran: no null is left that code would fill in later."""

from pathlib import Path

import pytest
import yaml
from conftest import SMALL, SMALL_SETS

from seqtrain.config import load_config
from seqtrain.config.diff import differences
from seqtrain.config.resolve import resolved, unresolved
from seqtrain.runs.trainer import train_run
from seqtrain.system.errors import CheckpointError

STEPS = ("train.steps=null", "train.eval_every=null", "train.eval_batch_size=null")


def test_defaults_that_depend_on_others_are_filled_in():
    train = resolved(load_config("quickstart", STEPS)).train
    assert (train.steps, train.eval_every, train.eval_batch_size, train.max_skips) == (3000, 200, 250, None)
    skipping = resolved(load_config("quickstart", [*STEPS, "train.on_divergence=skip"])).train
    assert skipping.max_skips == 10
    model = ("model.hidden_size=[5,3]", "model.depth=null")
    text = resolved(load_config("words", [*STEPS[1:], "train.epochs=2", *model]))
    assert (text.train.steps, text.train.epochs) == (None, 2)
    assert (text.train.eval_every, text.train.eval_batch_size) == (None, 1)
    assert (text.model.depth, text.model.embedding_size, text.model.merge) == (2, 5, None)
    both = resolved(
        load_config("lookaround", ["model.direction=bidirectional", "model.merge=null", "model.depth=null"])
    ).model
    assert (both.depth, both.embedding_size, both.merge) == (1, None, "concat")


@pytest.mark.parametrize("name", ["quickstart", "words", "lookaround"])
def test_what_is_given_stays_and_a_resolved_config_stays_as_it_is(name):
    config = load_config(name)
    found = resolved(config)
    changes = differences(config.model_dump(), found.model_dump())
    assert changes
    assert all(old is None and new is not None for old, new in changes.values())
    assert resolved(found) == found
    assert unresolved(found) == unresolved(config)
    assert resolved(unresolved(found)) == found


def test_what_the_cell_and_the_task_fill_in():
    parity = resolved(load_config("parity", ["task.length=50", "task.eval_length=null"]))
    assert (parity.task.eval_length, parity.model.cell.forget_bias) == (200, 1.0)
    spread = resolved(load_config("parity", ["model.cell=lstm", "model.init_range=0.1"]))
    assert spread.model.cell.forget_bias is None  # all biases start from the range
    assert resolved(load_config("parity", ["model.cell={name: lstm, chrono: 9}"])).model.cell.forget_bias is None


@pytest.mark.parametrize(("given", "evaluated"), [("null", 4 * 6), ("9", 9)])
def test_what_follows_from_a_setting_follows_it_in_an_evaluation(seqtrain, given, evaluated):
    """As if it had not been filled in; a value of its own stays."""
    small = ("task.length=5", f"task.eval_length={given}", "train.steps=2", "task.valid_size=4", "task.test_size=4")
    assert seqtrain("train", "parity", "model.hidden_size=3", *small, "--out", "run").code == 0
    assert seqtrain("eval", "run", "--json").json["variant"].startswith("parity/length=5/")
    longer = seqtrain("eval", "run", "task.length=6", "--json").json
    assert longer["variant"] == f"parity/length=6/eval_length={evaluated}/v1"
    assert longer["changed"] == {"task.length": 6}


@pytest.fixture
def small(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    free = ("train.eval_every=null", "train.eval_batch_size=null", "train.on_divergence=skip")
    return load_config("quickstart", [*SMALL, *SMALL_SETS, *free])


def test_the_config_of_a_run_says_what_ran_and_repeats_it(small):
    train_run(small, Path("a"), quiet=True)
    written = yaml.safe_load(Path("a/config.yaml").read_text())
    assert {written["train"][key] for key in ("eval_every", "eval_batch_size", "max_skips")} == {200, 250, 10}
    assert written["model"]["depth"] == 1
    train_run(load_config("a/config.yaml"), Path("b"), quiet=True)
    for name in ("config.yaml", "last.safetensors", "best.safetensors"):
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes()


@pytest.mark.parametrize("source", ["a", None])
def test_a_resume_compares_resolved_configs(small, source):
    """Both the config that the user gave and the one in the run directory go on with more steps."""
    train_run(small, Path("a"), quiet=True)
    base = load_config(source) if source else small
    longer = base.model_copy(update={"train": base.train.model_copy(update={"steps": 6})})
    assert train_run(longer, Path("a"), resume=True, quiet=True).summary.steps == 6
    other = base.model_copy(update={"train": longer.train.model_copy(update={"eval_every": 100})})
    with pytest.raises(CheckpointError, match=r"train\.eval_every 200, the config says 100"):
        train_run(other, Path("a"), resume=True, quiet=True)
