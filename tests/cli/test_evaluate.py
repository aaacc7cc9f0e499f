"""`seqtrain eval`."""

from itertools import product
from pathlib import Path

import pytest
from conftest import SMALL, SMALL_SETS

from seqtrain import train
from seqtrain.runs.checkpoint import load_checkpoint, save_checkpoint
from seqtrain.tasks.temporal_order import TemporalOrder

QUICK = (*SMALL, *SMALL_SETS)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A trained run that all tests of this file share; none writes into it."""
    return train("temporal-order", QUICK, out=tmp_path_factory.mktemp("evaluate") / "run").path


def test_eval_at_another_length_names_it(seqtrain, run):
    result = seqtrain("eval", run, "task.length=150", "task.test_size=20", "--json").json
    assert result["variant"] == "temporal_order/symbols=2/length=150/v1"
    assert result["changed"] == {"task.length": 150, "task.test_size": 20}
    assert "not as trained: task.length=150" in seqtrain("eval", run, "task.length=150").out


def test_eval_of_parity_at_still_longer_lengths(seqtrain):
    seqtrain("train", "parity", *QUICK, "task.length=6", "--out", "run", "--quiet")
    assert seqtrain("eval", "run", "--json").json["variant"] == "parity/length=6/eval_length=24/v1"
    longer = seqtrain("eval", "run", "task.eval_length=90", "--json").json
    assert longer["variant"] == "parity/length=6/eval_length=90/v1"
    assert longer["baseline"]["accuracy_at_end"] == 0.5
    assert 0 <= longer["accuracy_at_end"] <= 1


@pytest.mark.parametrize(
    ("override", "wanted"),
    [
        ("task.symbols=3", "task.symbols=3: the weights in {run}/best.safetensors do not allow it"),
        ("model.hidden_size=9", "model.hidden_size: belongs to the weights in {run}/best.safetensors"),
        ("task=adding", "task.name"),
        ("train.steps=9", "train.steps: belongs to the weights"),
        ("task.lenght=9", "did you mean 'length'?"),
        ("seed=4", "seed: belongs to the weights"),
    ],
)
def test_eval_refuses_settings_that_belong_to_the_weights(seqtrain, run, override, wanted):
    refused = seqtrain("eval", run, override)
    assert (refused.code, refused.out) == (2, "")
    assert wanted.format(run=run) in refused.err


@pytest.mark.parametrize(
    ("name", "farther", "bound"),
    [
        ("counting", "task.limit=450", "task.train_limit=5"),
        ("counting", "task.limit=450", "task.length_distribution=short"),
        ("brackets", "task.length=140", "task.train_depth=2"),
        ("timing", "task.spikes=50", "task.train_spikes=3"),
    ],
)
def test_eval_changes_the_evaluated_set_but_not_the_training_set(seqtrain, name, farther, bound):
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
    for override in ((), ("task.window=5",)):  # the window changes no data
        changed = seqtrain("eval", "run", *override)
        assert changed.code == 2
        assert "the test data are not those it was trained with" in changed.err
    (text_folder / "test.txt").unlink()
    assert "lacks test.txt" in seqtrain("eval", "run").err
    moved = seqtrain("eval", "run", f"task.path={other}")  # a text that moved is named anew
    assert (moved.code, "test has 11 predictions: with fewer than 100" in moved.err) == (0, True)


def test_eval_of_the_training_text_equals_eval_of_its_copy(seqtrain, text_folder):
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


@pytest.mark.parametrize(("baseline", "solved"), [(1.0, False), (-1.0, True)])
def test_a_task_is_not_solved_where_the_baseline_is_as_good(seqtrain, run, monkeypatch, baseline, solved):
    monkeypatch.setattr(TemporalOrder, "solved", lambda *_: True)
    monkeypatch.setattr(TemporalOrder, "baseline", lambda *_: {"accuracy": baseline})
    assert seqtrain("eval", run, "--json").json["solved"] is solved


def test_a_generated_task_has_no_training_set_to_evaluate(seqtrain, run):
    refused = seqtrain("eval", run, "--split", "train")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err == (
        "seqtrain: --split is 'train', but task temporal_order has no fixed training set to "
        "evaluate; choose one of test, valid\n"
    )
    assert (
        "--split is 'dev'; choose one of test, valid, or train (of a text)"
        in seqtrain("eval", run, "--split", "dev").err
    )


def test_eval_shows_progress_in_batches_of_the_given_size(seqtrain, run, monkeypatch):
    monkeypatch.setattr("seqtrain.system.progress.LINE_EVERY_S", 0.0)
    shown = seqtrain("eval", run, "train.eval_batch_size=3").err  # 12 sequences
    assert "eval run: batch 4/4" in shown
    assert seqtrain("eval", run, "--quiet").err == ""


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (("--dynamic-decay", 0.5), "--dynamic-decay is 0.5, but there is no --dynamic to decay; add --dynamic LR"),
        (("--dynamic", "inf"), "--dynamic is inf; it must be a finite learning rate"),
        (("--dynamic", 0.1), "--dynamic learns from a text as it is read, and task temporal_order has none"),
    ],
)
def test_dynamic_evaluation_that_is_not_possible(seqtrain, run, options, wanted):
    refused = seqtrain("eval", run, *options)
    assert (refused.code, refused.out) == (2, "")
    assert wanted in refused.err


def test_eval_opens_no_device_that_only_the_checkpoint_names(seqtrain, text_folder):
    """A device may never end."""
    seqtrain("train", "words", *SMALL, f"task.path={text_folder}", "--out", "run", "--quiet")
    saved = load_checkpoint(Path("run/best.safetensors"))
    config = saved.header.config | {"task": saved.header.config["task"] | {"path": "/dev/null"}}
    header = saved.header.model_copy(update={"config": config})
    save_checkpoint(Path("bad.safetensors"), saved._replace(header=header))
    refused = seqtrain("eval", "bad.safetensors")
    assert (refused.code, refused.out) == (2, "")
    assert "bad.safetensors: task.path is '/dev/null', but /dev/null is not a regular file" in refused.err


def test_eval_of_what_is_not_a_checkpoint(seqtrain, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.safetensors").write_bytes(b"no")
    for argument, wanted in (
        ("nowhere", "no such file"),
        ("empty", "is not a run directory"),
        ("x.safetensors", "is not a seqtrain checkpoint"),
        ("run/config.yaml", "is a config, no checkpoint; give the run directory"),
    ):
        result = seqtrain("eval", argument)
        assert (result.code, result.out) == (2, "")
        assert wanted in result.err


@pytest.fixture(scope="module", params=["words", "characters"])
def text_run(request, tmp_path_factory) -> Path:
    """A trained run on a text of words, and of characters."""
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "trained.txt").write_text("a b b a\n" * 50)
    small = (*SMALL, "model.embedding_size=4", f"task.path={folder / 'trained.txt'}")
    return train(request.param, small, out=folder / "run").path


@pytest.mark.parametrize("text", ["a b a b", "a", "a ", "\n", "\n\n", "a\n", "b a", "a b a b\n" * 4, ""])
def test_a_text_of_any_length_is_evaluated_or_refused_in_a_sentence(seqtrain, tmp_path, text_run, text):
    (tmp_path / "short.txt").write_text(text)
    for split, fractions, dynamic in product(
        ("test", "valid", "train"), ("null", "[0,0,1]", "[1,0,0]", "[0,1,0]"), ((), ("--dynamic", "0.1"))
    ):
        settings = ("task.path=short.txt", f"task.fractions={fractions}")
        evaluated = seqtrain("eval", text_run, *settings, "--split", split, *dynamic, "--json")
        assert evaluated.code in (0, 2)
        if evaluated.code == 0:
            assert evaluated.json["loss"] > 0
        else:
            assert evaluated.err.count("seqtrain: ") == 1


def test_the_best_checkpoint_of_another_run_is_refused(seqtrain):
    for seed in (1, 2):
        seqtrain("train", "quickstart", *SMALL, *SMALL_SETS, f"seed={seed}", "--out", f"run{seed}", "--quiet")
    Path("run1/best.safetensors").write_bytes(Path("run2/best.safetensors").read_bytes())
    refused = seqtrain("eval", "run1")
    assert (refused.code, refused.out) == (2, "")
    assert (
        "run1/best.safetensors: is not the best checkpoint of this run, it was trained with another seed" in refused.err
    )
    Path("run1/last.safetensors").unlink()
    assert seqtrain("eval", "run1").code == 0


def test_another_folder_of_the_same_text_is_no_change_of_the_model(seqtrain, text_folder):
    seqtrain("train", "words", *SMALL, f"task.path={text_folder}", "--out", "run", "--quiet")
    assert seqtrain("eval", "run", "threads=1", "--json").json["changed"] == {}
