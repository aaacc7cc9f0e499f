"""The files of a comparison."""

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from samples import QUICK, run

from seqtrain.cli.compare_table import compare_tables
from seqtrain.comparison.load_runs import Group
from seqtrain.comparison.records import Question
from seqtrain.comparison.report import report
from seqtrain.comparison.request import cell_label

pytestmark = pytest.mark.usefixtures("drawn_in_full")


def test_a_line_a_run_in_csv(compared):
    lines = list(csv.DictReader(io.StringIO(Path("runs/compare-quickstart/results.csv").read_text())))
    assert len(lines) == 4
    for line in lines:
        summary = json.loads(Path(line["run"], "summary.json").read_text())
        config = yaml.safe_load(Path(line["run"], "config.yaml").read_text())
        assert line["cell"] == config["model"]["cell"]["name"]
        assert float(line["best_valid"]) == summary["best"]["value"]
        assert float(line["test_mse"]) == summary["test"]["mse"]
        assert [line[key] for key in ("seed", "steps", "parameters")] == [
            str(summary[key]) for key in ("seed", "steps", "parameters")
        ]


class _Tags(HTMLParser):
    """That every tag is closed in turn, and what addresses there are."""

    VOID = ("meta", "img", "br", "link", "input", "hr")

    def __init__(self):
        super().__init__()
        self.open, self.addresses = [], []

    def handle_starttag(self, tag, attributes):
        self.addresses += [value for name, value in attributes if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in ("li", "p", "tr", "td", "th"):
            while self.open[-1] != tag:
                assert self.open.pop() in ("li", "p", "tr", "td", "th")
        assert self.open.pop() == tag


def test_results_in_every_form(seqtrain):
    done = seqtrain(
        "compare", "quickstart", *QUICK, "--cells", "rnn,lstm", "--seeds", 2, "--eval-lengths", "8",
        "--grid", "optimizer.lr=1e-3,2e-3", "--json",
    ).json  # fmt: skip
    out = Path("runs/compare-quickstart")
    assert json.loads((out / "results.json").read_text()) == done
    assert set(done["files"]) == {"results.json", "results.csv", "results.md", "results.tex", "report.html"}
    with (out / "results.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [(line["cell"], line["seed"]) for line in lines] == [
        ("rnn", "0"),
        ("rnn", "1"),
        ("lstm", "0"),
        ("lstm", "1"),
    ]
    assert float(lines[3]["test_mse"]) == done["cells"][1]["metric"]["values"][1]
    table = (out / "results.md").read_text()
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in rows[:4]}) == 1
    assert "| lstm |" in table
    assert done["verdicts"][0] in table
    page = (out / "report.html").read_text()
    tags = _Tags()
    tags.feed(page)
    assert tags.open == []
    assert len(tags.addresses) == 3
    assert all(address.startswith("data:image/png;base64,") for address in tags.addresses)  # nothing from elsewhere
    for wanted in ("no run of either was solved", "Tuning", "At other lengths", "seqtrain compare quickstart", "Holm"):
        assert wanted in page


def test_names_cannot_break_the_report(seqtrain, tmp_path):
    folder = tmp_path / "<b>&text"
    folder.mkdir()
    for split in ("train", "valid", "test"):
        (folder / f"{split}.txt").write_text("a b c d e f g h i j k l m n o p q r s t u v w x y z\n" * 4)
    small = ("model.hidden_size=6", "train.steps=2", "train.batch_size=2", "task.window=5", f"task.path={folder}")
    assert seqtrain("compare", "words", *small, "--cells", "rnn", "--seeds", 1).code == 0
    assert "<b>" not in Path("runs/compare-words/report.html").read_text()


ODD = "a|b\n# c `d` <b>[red]*e*$f"


def markdown_cells(line):
    """The cells of a row of a table, as GitHub divides it: at each "|" without a backslash."""
    return re.split(r"(?<!\\)\|", line)[1:-1]


@pytest.mark.parametrize("varied", [None, "task.path"])
def test_names_cannot_break_the_files_and_the_table(tmp_path, varied):
    """An option of a cell, a value, a text's name and a command with characters of Markdown, HTML, CSV and rich."""
    cell = cell_label({"name": "_mine:Cell", "mode": ODD})
    at = None if varied is None else ODD
    groups = [Group(name, at, [run(seed, variant=ODD) for seed in (0, 1)]) for name in ("lstm", cell)]
    question = Question(reference="lstm", varied=varied, command=ODD)
    results = report(groups, question, [], tmp_path, quiet=True)
    lines = (tmp_path / "results.md").read_text().splitlines()
    rows = [markdown_cells(line) for line in lines if line.startswith("|")]
    assert len(rows) == 4
    assert {len(row) for row in rows} == {len(rows[0])}
    shown = r"_mine:Cell mode=a|b\n# c `d` <b>[red]*e*$f"
    assert cell == shown
    assert re.sub(r"\\(\W|_)", r"\1", rows[3][0]).strip() == shown
    assert not any(line.startswith("# c") for line in lines)
    assert r"`` a|b\n# c `d` <b>[red]*e*$f ``" in " ".join(lines)
    with (tmp_path / "results.csv").open(newline="") as file:
        assert [row["cell"] for row in csv.DictReader(file)] == ["lstm", "lstm", shown, shown]
    assert json.loads((tmp_path / "results.json").read_text())["cells"][1]["cell"] == shown
    page = (tmp_path / "report.html").read_text()
    assert "<b>[red]" not in page
    console = Console(width=200)
    with console.capture() as printed:
        console.print(compare_tables(results))
    assert "[red]*e*$f" in printed.get()
    assert printed.get().count("[red]") >= 3
