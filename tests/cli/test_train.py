"""`seqtrain train`: streams, files, messages."""

import json
import re
from functools import partial
from pathlib import Path

import pytest
from conftest import SMALL, SMALL_SETS
from tqdm import tqdm

QUICK = (*SMALL, *SMALL_SETS)


def test_train_and_eval_give_the_same_figures(seqtrain):
    trained = seqtrain("train", "quickstart", *QUICK, "--json")
    assert trained.code == 0
    assert trained.json["run"] == "runs/quickstart-lstm-seed0"
    evaluated = seqtrain("eval", trained.json["run"], "--json")
    for name, value in trained.json["test"].items():
        assert evaluated.json[name] == value
    assert evaluated.json["step"] == trained.json["best"]["step"]
    valid = seqtrain("eval", "runs/quickstart-lstm-seed0/last.safetensors", "--split", "valid", "--json").json
    last = json.loads(Path("runs/quickstart-lstm-seed0/metrics.jsonl").read_text().splitlines()[-1])
    assert (last["step"], last["mse"], last["loss"]) == (valid["step"], valid["mse"], valid["loss"])


def test_without_json_train_and_eval_print_tables(seqtrain):
    trained = seqtrain("train", "quickstart", *QUICK, "--out", "here")
    assert "not solved" in trained.out
    assert "baseline mse" in trained.out
    assert Path("here/best.safetensors").exists()
    assert "adding/halves/length=100/v1" in seqtrain("eval", "here").out


def test_quiet_silences_stderr(seqtrain):
    assert "starting" in seqtrain("train", "quickstart", *QUICK, "--out", "a", "--resume", "--json").err
    assert seqtrain("train", "quickstart", *QUICK, "--out", "b", "--resume", "--json", "--quiet").err == ""


def test_progress_lines_when_stderr_is_no_terminal(seqtrain, monkeypatch):
    monkeypatch.setattr("seqtrain.system.progress.LINE_EVERY_S", 0.0)
    lines = seqtrain("train", "quickstart", *QUICK).remarks.splitlines()
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
    shown = seqtrain("train", *text_of_three_windows, length, "train.log_every=1").err
    assert re.findall(r": step (\d/\d, epoch [\d/]+), (?:loss|about)", shown) == wanted


def test_the_bar_on_a_text_shows_the_epoch(seqtrain, text_of_three_windows, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr("seqtrain.system.progress.tqdm", partial(tqdm, mininterval=0))
    shown = seqtrain("train", *text_of_three_windows, "train.epochs=2", "train.log_every=1").err
    assert re.search(r"words-lstm-seed0: .*1/6 \[\S+ left, epoch=1/2", shown), shown
    assert "epoch=2/2, valid perplexity=" in shown  # at 80 columns there is no room for the loss


def test_a_run_is_only_overwritten_on_request(seqtrain):
    seqtrain("train", "quickstart", *QUICK)
    refused = seqtrain("train", "quickstart", *QUICK)
    assert refused.code == 2
    assert "--resume" in refused.err
    assert "--overwrite" in refused.err
    assert seqtrain("train", "quickstart", *QUICK, "--overwrite").code == 0
    assert seqtrain("train", "quickstart", *QUICK, "--resume").code == 0
    assert "give one of them" in seqtrain("train", "quickstart", "--resume", "--overwrite").err


def test_a_run_directory_serves_as_the_config(seqtrain):
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


def test_odd_names_of_files_in_the_picture_and_the_table(seqtrain, drawn_in_full, tmp_path):
    (tmp_path / "a$\\foo$ [red]x.txt").write_text("the cat saw\n" * 90)
    trained = seqtrain("train", "words", *SMALL, "task.path=a$\\foo$ [red]x.txt", "--out", "run")
    assert trained.code == 0, trained.err
    compared = seqtrain("compare", "run")
    assert (compared.code, "[red]x.txt" in compared.out) == (0, True)


def test_directories_that_cannot_be_written(seqtrain, tmp_path):
    (tmp_path / "file").write_text("mine")
    for arguments in (("--out", "file"), ("--out", "file/x"), ("--out", "x" * 300)):
        refused = seqtrain("train", "quickstart", *QUICK, *arguments)
        assert (refused.code, refused.out) == (2, "")
        assert refused.err.startswith("seqtrain: ")
    assert (tmp_path / "file").read_text() == "mine"
    for odd in ("", "--json"):
        assert seqtrain("train", "quickstart", *QUICK, "--out", odd).code == 2


def test_train_warns_of_unknown_words_unless_quiet(seqtrain, text_folder):
    (text_folder / "valid.txt").write_text("the fox saw 2 trees\n")
    settings = ("words", f"task.path={text_folder}", *SMALL)
    assert "of the validation text is <unk>, which the training text never has" in seqtrain("train", *settings).err
    assert seqtrain("train", *settings, "--overwrite", "--quiet").err == ""


def test_the_table_of_a_run_that_ran_out_of_patience(seqtrain):
    shown = seqtrain(
        "train", "quickstart", *SMALL, "train.steps=40", "train.patience=1", "optimizer.lr=1e-30", "--out", "p"
    )
    assert "finished, not solved, out of patience after 4 of 40 steps" in " ".join(shown.out.split())


@pytest.mark.parametrize("name", ["words", "characters"])
def test_a_small_text_is_evaluated_after_every_epoch(seqtrain, tmp_path, name):
    lines = [f"the {('cat', 'dog', 'bird')[n % 3]} saw {n % 7} trees\n" for n in range(900)]
    (tmp_path / "small.txt").write_text("".join(lines))  # 20 kB
    settings = ("task.path=small.txt", "model.hidden_size=6", "train.epochs=3")
    steps = seqtrain("train", name, *settings, "--out", "run", "--json").json["steps"]
    records = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert steps % 3 == 0
    assert [r["step"] for r in records if r["split"] == "valid"] == [steps // 3, steps // 3 * 2, steps]


def test_a_missing_text_is_reported_with_its_source(seqtrain):
    refused = seqtrain("train", "ptb-small")
    assert refused.code == 2
    assert "ptb-small.yaml:8: task.path is 'data/ptb', but there is no" in refused.err
    assert "simple-examples.tgz" in refused.err


def test_too_little_memory_is_a_message_without_a_traceback(seqtrain, monkeypatch):
    def none(*_):
        raise MemoryError("none")

    monkeypatch.setattr("seqtrain.training.loop.train_step", none)
    result = seqtrain("train", "quickstart", *QUICK)
    assert (result.code, result.out) == (2, "")
    assert "not enough memory; make model.hidden_size" in result.err
