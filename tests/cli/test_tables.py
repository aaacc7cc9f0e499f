"""Tables in terminals of several widths: every row keeps its name, and figures and words stay whole."""

import io
import json
import re
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len

from seqtrain.cells import CELLS
from seqtrain.cli.bench import bench_tables
from seqtrain.cli.check import check_table
from seqtrain.cli.predict import predict_table
from seqtrain.cli.render import print_result
from seqtrain.comparison.execution.dispatch import progress_table
from seqtrain.comparison.plan import PlannedRun
from seqtrain.inference.task_verification import Finding
from seqtrain.inference.text_model import NextToken, Predicted
from seqtrain.recurrence.benchmark import Shape, bench
from seqtrain.system.progress import Progress
from seqtrain.system.shipped import config_paths
from seqtrain.system.streams import to_stderr
from seqtrain.system.tables import Column, Facts, Grid
from seqtrain.tasks import TASKS

WIDTHS = (40, 60, 80, 120)
LONG = "my_cells:AVeryLongNameOfACellThatSomebodyChose"
WIDE = "遺伝的構造を持つ記憶細胞の長い名前"


@pytest.fixture
def printed(monkeypatch, capsys):
    """What the given parts look like in a terminal of a width; without a width, in a pipe."""

    def show(width, *parts):
        monkeypatch.setenv("COLUMNS", str(width)) if width else monkeypatch.delenv("COLUMNS", raising=False)
        capsys.readouterr()
        print_result(None, False, lambda _: parts)
        return capsys.readouterr().out

    return show


def words(text):
    return re.findall(r"[^\s;]+", text)


def assert_whole(out, width, cells):
    """Each of these stands in the output uncut, and only a word that is longer than the line makes it too long."""
    for cell in cells:
        assert cell in re.sub(r"\s+", " ", out), cell
    assert not re.search(r"…", out)
    for line in out.splitlines():
        assert cell_len(line.rstrip()) <= width or len(line.split()) == 1, line


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["lstm", LONG, WIDE])
def test_a_row_keeps_its_name_and_its_figures_in_any_width(printed, width, name):
    table = Grid("title", (Column("cell"), Column("long\nname", 2), Column("mean"), Column("interval", 1)))
    table.add(name, "12,345", "0.0008073", "0.0006158 to 0.0009989")
    table.add("other", "1", "2.25", "-", dim=True)
    out = printed(width, table)
    assert_whole(out, width, [name, "0.0008073", "other", "2.25"])
    _, _, missing = out.replace("\n", " ").partition("too narrow to show")
    for figure, column in (("12,345", "long name"), ("0.0006158 to 0.0009989", "interval")):
        assert (figure in out) != (column in missing)
    assert ("--json" in missing) == bool(missing)


def test_columns_go_in_the_stated_order_and_a_line_says_which(printed):
    table = Grid("", tuple(Column(name * 9, drop) for name, drop in (("a", 0), ("b", 2), ("c", 0), ("d", 1))))
    table.add("1", "2", "3", "4")
    for width, left_out in ((60, None), (40, "ddddddddd;"), (30, "bbbbbbbbb, ddddddddd;")):
        out = printed(width, table).replace("\n", " ")
        assert ("too narrow to show" in out) == bool(left_out)
        assert left_out is None or f"too narrow to show {left_out}" in out
    out = printed(20, table)
    assert words(out) == ["1", "b" * 9, "2", "c" * 9, "3", "d" * 9, "4"]


def test_a_pipe_has_one_line_a_row_and_all_columns(printed):
    table = Grid("", (Column("name"), Column("what", is_text=True)))
    table.add(LONG, "word " * 100)
    facts = Facts("", [("path", "a b " * 100)])
    for part in (table, facts, "- sentence " * 50):
        assert len([line for line in printed(None, part).splitlines() if re.search(r"\w{4}", line)]) <= 2
    assert "a b " * 100 in printed(None, facts)


@pytest.mark.parametrize("width", WIDTHS)
def test_facts_break_at_spaces_and_keep_their_indent(printed, width):
    path = "runs/a-very-long-folder-name/with/another/one-below/best.safetensors"
    rows = [("task", "adding"), ("checkpoint", f"{path} (step 5)"), ("x", "y " * 70)]
    out = printed(width, Facts("lstm on adding", rows))
    assert_whole(out, width, ["task", "adding", path, "(step 5)"])
    assert all(line.startswith((" " * 4, " task", " checkpoint", " x")) for line in out.splitlines()[1:])
    assert len({line.index("y") for line in out[out.rindex(" x ") :].splitlines()}) == 1


@pytest.mark.parametrize("width", WIDTHS)
def test_the_table_of_check_keeps_its_words(printed, width):
    findings = [
        Finding("gradients", True, "fused beside the plain loop: stack.layers.0.0.b differs most, by 3e-07; " * 2),
        Finding("resume", False, "runs/a/very/long/path/that/has/no/space/in/it/at/all/last.safetensors differs"),
    ]
    out = printed(width, check_table("quickstart", findings))
    whole = [word for finding in findings for word in finding.found.rstrip("; ").split()]
    assert_whole(out, width, ["gradients", "resume", "NO", *(word.rstrip(";") for word in whole)])


@pytest.mark.parametrize("width", WIDTHS[1:])
@pytest.mark.parametrize("name", [*CELLS, *TASKS])
def test_definitions_fit_and_equations_never_break(printed, seqtrain, width, name, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    verb = "cells" if name in CELLS else "tasks"
    out = seqtrain(verb, name).out
    monkeypatch.setenv("COLUMNS", "500")
    wide = seqtrain(verb, name).out
    assert out.split() == wide.split()
    lines = [re.sub(r"\s+", " ", line) for line in out.splitlines()]
    for equation in re.findall(r"^ {6}(\S+ +=.*?)(?: {3,}.*)?$", wide, re.MULTILINE):
        assert any(re.sub(r"\s+", " ", equation) in line for line in lines)
    for line in out.splitlines():
        assert cell_len(line) <= width or " = " in line or len(line.split()) == 1


@pytest.fixture(scope="module")
def timed():
    return bench(["lstm", "gru-before"], [Shape(100, 2, 3, 4)], 3)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_tables_of_bench_keep_cells_and_figures(printed, width, timed):
    out = printed(width, *bench_tables(timed))
    for row in timed.rows:
        figures = [f"{row.train.ms[name]:.3g}" for name in ("ours", "torch_nn")]
        assert_whole(out, width, [row.cell, "100,2,3,4", *figures])


@pytest.mark.parametrize("width", WIDTHS[1:])
def test_every_verb_keeps_its_names_and_figures(compared, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    folder = "runs/compare-quickstart"
    run = f"{folder}/quickstart-gru-seed0"
    result = compared("compare", folder, "--eval-lengths", "8", "--json").json
    means = [f"{row['metric']['mean']:.4g}" for row in result["cells"]]
    lengths = [f"{row['metric']['mean']:.4g}" for row in result["lengths"]]
    out = compared("compare", folder, "--eval-lengths", "8").out
    assert_whole(out, width, ["rnn", "gru", "baseline", "0.1667", *means, *lengths, *words(result["verdicts"][0])])
    summary = json.loads(Path(run, "summary.json").read_text())
    shown = [f"{run}/best.safetensors", f"{summary['test']['mse']:.4g}", summary["variant"]]
    assert_whole(compared("eval", run).out, width, shown)
    assert_whole(compared("train", run, "--resume").out, width, [run, *shown[1:]])
    out = compared("validate", path := str(config_paths()["quickstart"])).out
    assert_whole(out, width, ["17,217", "adding/halves/length=100/v1", f"{path}: valid"])
    assert_whole(compared("configs").out, width, [*config_paths(), "multiplication"])
    assert_whole(compared("settings").out, width, ["optimizer: adam", "learn_initial_state: true"])


@pytest.mark.parametrize("width", WIDTHS)
def test_the_table_of_predict_keeps_long_and_wide_tokens(printed, width):
    rows = [NextToken(WIDE, 0.25), NextToken("x" * 50, 0.1251), NextToken("\n", 0.0625)]
    out = printed(width, *predict_table(Predicted("m", "word", [WIDE], ["the", "cat"], [], rows)))
    assert_whole(out, width, [WIDE, "x" * 50, "'\\n'", "0.25", "0.1251", "0.0625"])


@pytest.mark.parametrize("width", WIDTHS)
def test_the_table_of_runs_under_way_keeps_their_names(printed, width, tmp_path):
    out = printed(width, progress_table([(PlannedRun(None, tmp_path / LONG), 75.0)], 3, 9))
    assert_whole(out, width, [LONG, "3 of 9 runs done, 1 running"])


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self):
        return True


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("label", ["quickstart-lstm-seed0", f"quickstart-{LONG}-seed0", WIDE * 3])
def test_the_progress_bar_keeps_its_bar_and_whole_figures(monkeypatch, width, label):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr("tqdm.std._screen_shape_wrapper", lambda: lambda _: (width, 24))
    with Progress(1_000_000, done=400_000, label=label) as progress:
        figures = {"loss": 0.0008073, "sequences/s": 12345.0, "valid mse": 0.0006158}
        progress.show(**figures)
        bar = str(progress._bar)
    assert cell_len(bar) <= width
    assert re.search(r"[█▉▊▋▌▍▎▏# ]{10} 400000/1000000 \[.* left", bar)
    assert bar.endswith("]")
    assert width == 60 or "valid mse=0.0006158" in bar
    for shown in re.findall(r"(\w[\w ]*(?:/s)?)=([^,\]]+(?:,\d+)?)", bar):
        assert shown in [("loss", "0.0008073"), ("sequences/s", "12,345"), ("valid mse", "0.0006158")]
    assert label[-4:] in bar


def test_a_long_message_breaks_at_spaces_on_a_terminal_and_never_in_a_file(monkeypatch):
    message = "seqtrain: runs/a/very/long/path/that/has/no/space/in/it/at/all/last.safetensors: " + "is damaged " * 20
    monkeypatch.setenv("COLUMNS", "60")
    for stream, lines in ((Terminal(), 6), (io.StringIO(), 1)):
        monkeypatch.setattr(sys, "stderr", stream)
        to_stderr(message)
        assert stream.getvalue().split() == message.split()
        assert len(stream.getvalue().splitlines()) == lines
