"""`seqtrain predict` from the command line: files, tables, pictures, and options that do not apply."""

import json
from pathlib import Path

import polars
import pytest
from conftest import SMALL

QUICK = ("train.epochs=1", "model.hidden_size=4", "threads=1", "-q")


@pytest.fixture
def run(seqtrain):
    assert seqtrain("train", "sunspots", *QUICK, "--out", "run").code == 0
    return Path("run")


def test_a_forecast_as_a_table_as_json_and_as_files(seqtrain, run):
    shown = seqtrain("predict", run, "--horizon", 40)
    assert shown.out.startswith("forecast of 40 steps: ")
    lines = shown.out.splitlines()
    assert [lines[n].split()[0] for n in (4, 23, 24, 25, 34)] == ["2009", "2028", "...", "2039", "2048"]
    assert "... 10 rows more" in shown.out
    assert shown.err == "next: seqtrain predict run --plot predictions.png draws it\n"
    result = seqtrain("predict", run, "--horizon", 40, "--out", "new/f.csv", "--json")
    assert result.err == "new/f.csv written\n"
    rows = result.json["rows"]
    assert [row["year"] for row in rows] == list(range(2009, 2049))
    assert result.json["files"] == {"out": "new/f.csv"}
    assert [*polars.read_csv("new/f.csv").iter_rows(named=True)] == rows
    seqtrain("predict", run, "--horizon", 40, "--out", "f.parquet")
    assert polars.read_parquet("f.parquet").equals(polars.DataFrame(rows))
    assert not [*Path().glob("**/*.tmp")]


@pytest.mark.parametrize(("ending", "start"), [("png", b"\x89PNG"), ("SVG", b"<?xml"), ("pdf", b"%PDF")])
def test_a_picture(seqtrain, run, ending, start):
    drawn = seqtrain("predict", run, "--plot", f"a.{ending}")
    assert drawn.code == 0
    assert Path(f"a.{ending}").read_bytes().startswith(start)
    assert drawn.err.splitlines() == [
        f"a.{ending} written",
        "next: seqtrain predict run --out predictions.csv writes the table",
    ]


def test_files_are_not_overwritten_unless_asked_for(seqtrain, run):
    Path("a.csv").write_text("mine\n")
    refused = seqtrain("predict", run, "--out", "a.csv", "--json")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.endswith(
        "a.csv: exists already; replace it with --overwrite, or choose another name with --out\n"
    )
    assert Path("a.csv").read_text() == "mine\n"
    assert seqtrain("predict", run, "--out", "a.csv", "--overwrite").code == 0
    assert Path("a.csv").read_text().startswith("year,sunspots\n2009,")
    Path("d.png").mkdir()
    for options, wanted in (
        (["--out", "a.txt"], "--out is 'a.txt'; its ending says what to write, so let it end in .csv or .parquet"),
        (["--plot", "a"], "--plot is 'a'; its ending says what to write, so let it end in .png, .svg or .pdf"),
        (["--plot", "d.png"], "d.png: is no file that --plot could write"),
        (["--out", "a.csv/b.csv"], "a.csv/b.csv: cannot be written"),
        (["--overwrite"], "--overwrite is for the files of --out and --plot; give one of them, or leave it out"),
    ):
        refused = seqtrain("predict", run, *options)
        assert (refused.code, refused.out) == (2, "")
        assert wanted in refused.err


def test_options_that_do_not_apply_are_refused(seqtrain, run, text_folder):
    small = (*SMALL, "model.embedding_size=4", f"task.path={text_folder}")
    seqtrain("train", "words", *small, "--out", "words")
    Path("t.csv").write_text("y,x\n" + "".join(f"{t % 3},{t}\n" for t in range(60)))
    labels = {"task": {"name": "series", "path": "t.csv", "targets": ["y"], "inputs": ["x"], "horizon": 0}}
    Path("labels.yaml").write_text(json.dumps(labels | {"model": {"cell": "gru"}}))
    assert seqtrain("train", "labels.yaml", *QUICK, "--out", "labels").code == 0
    for target, options, wanted in (
        (
            run,
            ["--prompt", "", "--top", 3],
            ["--prompt, --top: run holds a model of task 'series', which continues no text"],
        ),
        (
            "words",
            ["my text.txt", "--horizon", 3, "--plot", "a.png"],
            [
                "--horizon, --plot: words: holds a model of task 'language_model', which reads no table; leave it out",
                "my text.txt: words: holds a model of task 'language_model', which reads no table; "
                "seqtrain score words 'my text.txt' scores the lines of a text, and --prompt asks what comes next",
            ],
        ),
        ("labels", ["--horizon", 1], ["--horizon is for forecasts, but the model labels each row"]),
    ):
        refused = seqtrain("predict", target, *options)
        assert (refused.code, refused.out) == (2, "")
        for line, part in zip(refused.err.splitlines(), wanted, strict=True):
            assert part in line
    shown = seqtrain("predict", "labels", "--plot", "labels.png")
    assert shown.out.startswith("60 labels: ")
    assert "... 30 rows more" in shown.out
