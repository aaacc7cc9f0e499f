"""`results.tex`, and pictures for a paper."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from samples import run
from test_report import ODD, markdown_cells

from seqtrain.comparison.latex import escaped, latex_of, number
from seqtrain.comparison.load_runs import Group
from seqtrain.comparison.records import Question, Results, Tuning, TuningPoint
from seqtrain.comparison.report import report
from seqtrain.comparison.request import cell_label
from seqtrain.system.pictures import encoded

pytestmark = pytest.mark.usefixtures("drawn_in_full")

PRINTED = {
    r"\textbackslash{}": "\\", r"\textasciicircum{}": "^", r"\textasciitilde{}": "~", r"\textless{}": "<",
    r"\textgreater{}": ">", r"\textbar{}": "|", r"\textasciigrave{}": "`", "''": '"', "-{}": "-",
    **{f"\\{character}": character for character in "{}$&#%_"},
}  # fmt: skip
"""What LaTeX prints for each command."""

MATHEMATICS = r"(?<!\\)\$(.*?)(?<!\\)\$"


def printed(latex: str) -> str:
    """What a reader sees; a sign, a comma or a power in mathematics as plain text."""
    latex = re.sub(MATHEMATICS, lambda found: found[1].replace("{,}", ","), latex)
    names = sorted(map(re.escape, PRINTED), key=len, reverse=True)
    return re.sub("|".join(names), lambda found: PRINTED[found[0]], latex)


def check_closed(latex: str) -> None:
    """Every brace and every environment is closed in turn; outside of comments no line has a bare special character."""
    code = "\n".join(line for line in latex.splitlines() if not line.startswith("%"))
    assert "--" not in code  # LaTeX prints a dash
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", code):
        depth += 1 if brace == "{" else -1
        assert depth >= 0
    assert depth == 0
    open_ones = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", code):
        if kind == "begin":
            open_ones.append(name)
        else:
            assert open_ones.pop() == name
    assert open_ones == []
    assert re.search(r"(?<!\\)[#%_^~]", re.sub(MATHEMATICS, "", code)) is None


def compile_it(latex: str, folder: Path) -> None:
    """Have LaTeX read it, where there is one."""
    if (program := shutil.which("pdflatex")) is None:
        return
    document = rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}{latex}\end{{document}}"
    (folder / "a.tex").write_text(document)
    done = subprocess.run([program, "-halt-on-error", "a.tex"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


def rows(latex: str) -> list[list[str]]:
    """The rows of the first table, with what a reader sees in each cell."""
    (table,) = re.findall(r"\\toprule\n(.*?)\\bottomrule", latex, re.DOTALL)[:1]
    lines = [line.strip().removesuffix(r" \\") for line in table.splitlines() if line.endswith(r"\\")]
    return [[printed(cell.strip()) for cell in re.split(r"(?<!\\)&", line)] for line in lines]


@pytest.fixture
def undrawn(monkeypatch):
    """Nothing is drawn, which takes longer than all the rest."""
    monkeypatch.setattr("seqtrain.comparison.plots.draw", lambda *_, **__: {})


def made(out: Path, *groups: Group, **question: object) -> Results:
    question = Question(**{"reference": "lstm"} | question)
    return report(groups, question, [], out, quiet=True)


def test_the_known_text(tmp_path, undrawn):
    """Written by hand from the figures of the runs: p is 2 / 2^6 for six pairs of one sign; nothing is bold."""
    fast = [run(seed, 0.5, step=50 + seed) for seed in range(6)]
    slow = [run(seed, 1234.0, step=100 + 2 * seed, parameters=1234) for seed in range(6)]
    latex = latex_of(made(tmp_path, Group("lstm", None, slow), Group("gru", None, fast)))
    assert latex == (tmp_path / "results.tex").read_text()
    table = r"""
  \begin{tabular}{lrrrrrl}
    \toprule
    cell & hidden & weights & test m, 95\,\% interval & solved & median steps & verdict \\
    \midrule
    lstm & 1 & $1{,}234$ & $1{,}234$, $1{,}234$ to $1{,}234$ & 6 of 6 & 105 & reference \\
    gru & 1 & 1 & 0.5, 0.5 to 0.5 & 6 of 6 & 52.5 & better \\
    \bottomrule
  \end{tabular}
"""
    assert table in latex
    assert (
        r"    gru is better than lstm: gru has 0.5 times the steps to solve of lstm (95 \% interval 0.5 to 0.5)"
        in latex
    )
    assert "p = 0.031" in latex
    assert rf"\label{{tab:{re.sub('[^A-Za-z0-9]+', '-', tmp_path.name)}-results}}" in latex
    assert r"\caption{Which is better on adding: lstm or gru?}" in latex
    assert (
        r"    Task adding, test m (lower is better); steps to solve decides, level 0.05, reference lstm.\par" in latex
    )
    assert "textbf" not in latex
    check_closed(latex)
    compile_it(latex, tmp_path)


@pytest.mark.parametrize("varied", [None, "task.path"])
def test_the_table_is_that_of_the_markdown_whatever_the_names(tmp_path, varied, undrawn):
    cell = cell_label({"name": "_mine:Cell", "mode": ODD + r"\end{table}--- ~^\}"})
    at = None if varied is None else ODD
    runs = [run(seed, -1.5e-7 * (seed + 1), variant=ODD) for seed in (0, 1, 2)]
    made(tmp_path, *(Group(name, at, runs) for name in ("lstm", cell)), varied=varied, command=f"{ODD}\n\\oops")
    latex = (tmp_path / "results.tex").read_text()
    check_closed(latex)
    compile_it(latex, tmp_path)
    lines = [line for line in (tmp_path / "results.md").read_text().splitlines() if line.startswith("|")]
    markdown = [[re.sub(r"\\(\W|_)", r"\1", each).strip() for each in markdown_cells(line)] for line in lines]
    seen = rows(latex)
    assert seen[2][0] == cell == markdown[3][0]
    plain = [[re.sub(r" \\times 10\^\{-(\d)\}", r"e-0\1", each).replace(r"\,", " ") for each in row] for row in seen]
    assert plain == [markdown[0], *markdown[2:]]


def test_two_comparisons_in_a_paper_have_different_labels(tmp_path, undrawn):
    """Also with characters that a label may not have; a folder without any letter has a name, too."""
    groups = [Group("lstm", None, [run(0)]), Group("gru", None, [run(0)])]
    found = []
    for name in ("first", "a_b%{x}--2 é", "__"):
        (tmp_path / name).mkdir()
        made(tmp_path / name, *groups)
        found += re.findall(r"\\label\{(.*)\}", (tmp_path / name / "results.tex").read_text())
    assert found == ["tab:first-results", "tab:a-b-x-2-results", "tab:comparison-results"]


def test_a_paper_has_the_facts_without_advice_for_the_command_line(tmp_path, undrawn):
    """The other reports, for the user, keep the advice."""
    small = [run(seed, best={"step": 1000, "value": 1.0}) for seed in (0, 1)]
    large = [run(seed, parameters=3, best={"step": 1000, "value": 1.0}) for seed in (0, 1)]
    edge = Tuning(cell="gru", at=None, chosen={"optimizer.lr": 0.1}, at_the_edge=["optimizer.lr"], points=[
        TuningPoint(**{"optimizer.lr": 0.1}, valid=1.0, solved=0, runs=1)], method="random", best_of=[1.0])  # fmt: skip
    results = made(tmp_path, Group("lstm", None, small), Group("gru", None, large), tuning=[edge])
    latex = (tmp_path / "results.tex").read_text()
    markdown = (tmp_path / "results.md").read_text()
    pairs = {
        "gru has 3.0 times the parameters of lstm": "--match params makes them equal",
        "4 of 4 runs improved until the end": "train longer",
        "so steps to solve cannot tell": "train longer, or judge by the metric",
        "near an end of its range": "widen it with --range",
    }
    for fact, advice in pairs.items():
        assert fact in printed(latex)
        assert advice not in printed(latex)
        assert f"{fact}; {advice}" in markdown
    assert "facts" not in results.as_json()


@pytest.mark.parametrize(
    ("text", "latex"),
    [("1e-05", r"$1 \times 10^{-5}$"), ("-0.5", "$-0.5$"), ("12,345", "$12{,}345$"), ("0.5", "0.5"), ("-", "-")],
)
def test_numbers(text, latex):
    assert number(text) == latex


def test_a_text_stays_in_its_line():
    assert "\n" not in escaped("a\nb\u2028c\rd")
    assert printed(escaped('--- a_b 50% {x} \\y ~ ^ <|> `q` "z" $1 &#')) == '--- a_b 50% {x} \\y ~ ^ <|> `q` "z" $1 &#'


STARTS = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF-"}


@pytest.mark.parametrize("form", ["svg", "pdf"])
def test_pictures_for_a_paper(tmp_path, form):
    """The page keeps its PNGs."""
    drawn = made(tmp_path, Group("lstm", None, [run(seed) for seed in (0, 1)]), drawn_as=form).pictures
    assert all(path.endswith(f".{form}") for path in drawn.values())
    assert all(Path(path).read_bytes().startswith(STARTS[form]) for path in drawn.values())
    assert all(Path(path).with_suffix(".png").read_bytes().startswith(STARTS["png"]) for path in drawn.values())
    assert (tmp_path / "report.html").read_text().count("data:image/png;base64,") == len(drawn)


@pytest.mark.parametrize("form", STARTS)
def test_the_same_figure_gives_the_same_bytes(form, monkeypatch):
    figures = []
    for clock in ("1000000000", "1700000000"):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", clock)  # where matplotlib takes the time from, if it writes one
        figure = Figure(figsize=(2, 2))
        figure.subplots().plot([1, 2])
        figures.append(encoded(figure, form))
    assert figures[0] == figures[1]
    assert figures[0].startswith(STARTS[form])


def test_a_folder_remembers_the_form_of_its_pictures(compared):
    folder = Path("runs/compare-quickstart")
    done = compared("compare", folder, "--pictures", "svg", "--json")
    assert done.code == 0, done.err
    drawn = [Path(path) for path in done.json["pictures"].values()]
    assert {path.suffix for path in drawn} == {".svg"}
    for path in drawn:
        path.unlink()
    assert compared("compare", folder, "--json").json["pictures"] == done.json["pictures"]
    assert all(path.exists() for path in drawn)


def test_the_question_of_a_dry_run_keeps_the_form(seqtrain):
    planned = seqtrain("compare", "quickstart", "--cells", "rnn", "--seeds", 1, "--pictures", "pdf", "--dry-run", "-q")
    assert planned.code == 0
    assert json.loads(Path("runs/compare-quickstart/question.json").read_text())["drawn_as"] == "pdf"


@pytest.mark.parametrize("verb", ["compare", "inspect"])
def test_an_unknown_form_is_refused_before_any_work(seqtrain, verb):
    refused = seqtrain(verb, "quickstart", "--pictures", "jpg")
    assert refused.code == 2
    assert "--pictures jpg: choose one of" in refused.err
    assert list(Path().iterdir()) == []
