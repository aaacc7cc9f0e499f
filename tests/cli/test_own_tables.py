"""A table of the user's from the command line: training, another table, a comparison, and what is said about rules."""

import json
from pathlib import Path

import pytest

QUICK = ("train.epochs=2", "model.hidden_size=4", "threads=1")


@pytest.fixture
def run(seqtrain):
    assert seqtrain("train", "sunspots", *QUICK, "--out", "run", "-q").code == 0
    return Path("run")


def test_a_model_that_a_rule_beats_is_said_so(seqtrain, run):
    shown = seqtrain("eval", run)
    assert "baseline rmse of persistence  33.42" in shown.out
    assert "baseline rmse of AR(9)        19.49" in shown.out
    value = seqtrain("eval", run, "--json").json["rmse"]
    assert value > 19.49
    assert f"rmse {value:.4g} is no better than that of AR(9), 19.49" in shown.out
    compared = seqtrain("compare", "sunspots", *QUICK, "--cells", "rnn", "--seeds", 1, "--out", "cmp", "-q")
    assert "no better than AR(9) (rmse 19.49): rnn" in compared.out


def test_another_table_is_scaled_as_the_one_of_training(seqtrain, run):
    rows = [f"{1700 + t},{1000 + t % 7}" for t in range(300)]
    Path("other.csv").write_text("year,sunspots\n" + "\n".join(rows) + "\n")
    other = seqtrain("eval", run, "task.path=other.csv", "--json").json
    same = seqtrain("eval", run, "--json").json
    assert other["data"]["steps"] == 44
    # The changes of this table are 1 and -6: small beside the sunspots' spread of about 22.
    assert other["loss"] < 0.2 < same["loss"]


def test_a_table_that_changed_is_refused_on_resume(seqtrain):
    Path("t.csv").write_text("year,sunspots\n" + "".join(f"{1700 + t},{t * t % 11}\n" for t in range(300)))
    options = ("sunspots", *QUICK, "task.path=t.csv", "--out", "run", "-q")
    assert seqtrain("train", *options).code == 0
    Path("t.csv").write_text("year,sunspots\n" + "".join(f"{1700 + t},{t * t % 13}\n" for t in range(300)))
    refused = seqtrain("train", *options, "train.epochs=3", "--resume")
    assert refused.code == 2
    assert "data are not those it was trained with; restore the file that task.path named" in refused.err


def test_several_faults_are_lines(seqtrain):
    Path("t.csv").write_text(
        "year,sunspots\n" + "".join(f"{1700 + t},{'' if t in (3, 5) else 2}\n" for t in range(300))
    )
    refused = seqtrain("train", "sunspots", "task.path=t.csv")
    assert (refused.code, refused.out) == (2, "")
    for line, place in zip(refused.err.splitlines(), ("t.csv:5", "t.csv:7", "task.missing=forward"), strict=True):
        assert place in line


def test_what_was_read_is_in_the_summary_and_on_the_screen(seqtrain):
    shown = seqtrain("train", "sunspots", *QUICK, "--out", "run", "-q").out
    data = json.loads(Path("run/summary.json").read_text())["data"]
    assert (data["steps"], data["missing_values"]) == (53, 0)
    assert data == seqtrain("eval", "run", "--json").json["data"]
    assert " missing values" in shown
