"""How good the best of n candidates is, and which cell is best at which number of candidates."""

import random
import statistics
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import pytest
from samples import result, run
from test_latex import check_closed
from test_report import _Tags as Tags

from seqtrain.cli.compare_table import compare_tables
from seqtrain.comparison import plots, tuning
from seqtrain.comparison.aggregate import summarise
from seqtrain.comparison.latex import latex_of
from seqtrain.comparison.load_runs import Group
from seqtrain.comparison.plan import Contender, PlannedRun
from seqtrain.comparison.records import Question, Tuning, TuningPoint
from seqtrain.comparison.report import described, rendered
from seqtrain.comparison.request import Setting, Tune
from seqtrain.comparison.tuning import at_the_edge, choose
from seqtrain.comparison.tuning_budget import (
    best_figure,
    best_so_far,
    budget_notes,
    budget_sentences,
    budgets_shown,
    expected_best,
    how_chosen,
    tried,
    unsolved_budgets,
)
from seqtrain.system.tables import Grid


def test_the_expected_best_is_the_mean_over_all_choices():
    """Against every choice of n of the candidates; what is best is a matter of the rank, not of the figure."""
    candidates = [((rank,), figure) for rank, figure in ((3, 0.5), (1, 0.9), (5, 0.2), (4, 0.4), (2, 7.0), (4, 0.4))]
    found = expected_best(candidates)
    for count in range(1, 7):
        every = [max(choice, key=lambda each: each[0])[1] for choice in combinations(candidates, count)]
        assert found[count - 1] == pytest.approx(statistics.fmean(every), rel=1e-12)
    assert found[0] == pytest.approx(statistics.fmean(figure for _, figure in candidates))
    assert found[-1] == 0.2
    assert expected_best([((rank,), 0.1) for rank in range(7)]) == [0.1] * 7


def test_the_estimate_is_unbiased():
    """The mean of many estimates is the expected smallest of n uniform numbers, 1 / (n + 1).

    The mean of the estimate with replacement is not. The weights of many candidates sum to 1.
    """
    source, sums = random.Random(0), [0.0] * 8
    for _ in range(2000):
        figures = [source.random() for _ in range(8)]
        sums = [a + b for a, b in zip(sums, expected_best([((-figure,), figure) for figure in figures]), strict=True)]
    for count, total in enumerate(sums, 1):
        assert total / 2000 == pytest.approx(1 / (count + 1), abs=0.008)
    biased = sum(((1 - (place - 1) / 8) ** 8 - (1 - place / 8) ** 8) * place / 9 for place in range(1, 9))
    assert abs(biased - 1 / 9) > 0.04
    assert expected_best([((rank,), float(rank > 0)) for rank in range(1000)])[:3] == pytest.approx([0.999, 1, 1])


def test_candidates_that_depend_on_each_other_have_a_best_so_far():
    assert best_so_far([((2,), 0.5), ((1,), 0.1), ((2,), 0.4), ((3,), 0.6)]) == [0.5, 0.5, 0.5, 0.6]
    assert budgets_shown(1) == [1]
    assert budgets_shown(6) == [1, 2, 3, 4, 5, 6]
    assert budgets_shown(10) == [*range(1, 11)]
    assert budgets_shown(20) == [1, 2, 3, 5, 10, 20]


def test_a_selection_of_the_columns_is_said():
    assert budget_notes([entry("a", [0.5] * 10)]) == []
    assert budget_notes([entry("a", [0.5] * 11)]) == ["The numbers n are a selection; results.json has all."]


def entry(cell, best_of, at=None, **fields):
    points = [TuningPoint(**{"optimizer.lr": 0.1 * n}, valid=1.0, solved=0, runs=1) for n, _ in enumerate(best_of, 1)]
    shared = {"method": "random", "judged_by": "validation m", "chosen": {"optimizer.lr": 0.1}, "at_the_edge": []}
    return Tuning(**{**shared, "cell": cell, "at": at, "best_of": best_of, "points": points} | fields)


def test_which_cell_is_best_is_said_for_every_budget():
    a, b = entry("a", [0.5, 0.4, 0.3, 0.3]), entry("b", [0.9, 0.4, 0.2, 0.1])
    assert budget_sentences([a, b]) == [
        "tuning budget: a has the lowest expected validation m with 1 random candidate (0.5), a and b from 2 on (0.4), "
        "b from 3 on (0.2), which is 0.1 with all 4"
    ]
    higher = [each.model_copy(update={"lower_is_better": False, "method": "optuna"}) for each in (a, b)]
    assert budget_sentences(higher) == [
        "tuning budget: b has the highest validation m after 1 candidate (0.9), a and b from 2 on (0.4), a from 3 on "
        "(0.3), which is 0.3 after all 4"
    ]
    assert budget_sentences([a, entry("c", [0.6] * 4)]) == [
        "tuning budget: a has the lowest expected validation m with any number from 1 to 4 random candidates "
        "(n = 1: 0.5, n = 4: 0.3)"
    ]
    assert budget_sentences([entry("a", [0.1], at=5), entry("b", [0.2], at=5)]) == [
        "tuning budget: a at 5 has the lowest expected validation m with 1 random candidate (0.1)"
    ]
    assert budget_sentences([a]) == []
    assert budget_sentences([entry("a", [None, None]), entry("b", [None, None])]) == []
    assert budget_sentences([Tuning(cell=cell, at=None, chosen={}, at_the_edge=[], points=[]) for cell in "ab"]) == []


@pytest.fixture
def chosen(monkeypatch):
    """What is chosen of runs that are made up: `chosen({"a": [[run, run], ...], "b": ...}, "random")`."""

    def choose_of(cells, method, *, timed=False):
        runs = {}
        candidates = []
        for cell, candidates_of in cells.items():
            for number, own in enumerate(candidates_of):
                path = Path(f"{cell}-{number}")
                runs[path] = own
                point = {"optimizer.lr": 0.001 * (number + 1)}
                candidates.append(Contender(cell, None, None, runs=[PlannedRun(None, path)], point=point))
        monkeypatch.setattr(tuning, "read_runs", lambda paths: runs[paths[0]])
        tune = None if method is None else Tune(method, len(candidates))
        request = SimpleNamespace(tune=tune, tuned=[Setting("optimizer.lr", (0.001, 1.0), "real")], is_timed=timed)
        return choose(candidates, request)

    return choose_of


def metric(*values, higher=False):
    return [run(seed, value, stop=False, higher=higher) for seed, value in enumerate(values)]


def test_the_figures_are_those_of_the_validation_metric(chosen):
    """With its direction; a candidate of which a run diverged counts as beyond the worst of all cells."""
    tried = {"a": [metric(1.0, 3.0), metric(0.5, 0.5)], "b": [metric(0.9, 0.9), metric(0.1, None)]}
    (first, second), (a, b) = chosen(tried, "random")
    assert (first.point["optimizer.lr"], second.point["optimizer.lr"]) == (0.002, 0.001)
    assert (a.judged_by, a.lower_is_better) == ("validation m", True)
    assert a.best_of == pytest.approx([(2 + 0.5) / 2, 0.5])
    assert b.best_of == pytest.approx([(0.9 + 2 + (2 - 0.5)) / 2, 0.9])
    tried = {"a": [metric(None, None, higher=True), metric(1.0, 3.0, higher=True), metric(0.5, 0.5, higher=True)]}
    (best,), (a,) = chosen(tried, "optuna")
    assert (a.lower_is_better, a.best_of, best.point["optimizer.lr"]) == (False, [-1, 2, 2], 0.002)
    _, (a,) = chosen({"a": [metric(None), metric(None)]}, "random")
    assert a.best_of == [None, None]


def test_the_figures_are_steps_to_solve_where_these_decide(chosen):
    """An unsolved run counts with its budget; if no run of any cell is solved, the metric tells more."""
    tried = {
        "a": [[run(0, step=40, budget=100), run(1, step=60, budget=100)], [run(0, budget=100), run(1, budget=100)]],
        "b": [[run(0, step=80, budget=100), run(1, budget=100)], [run(0, step=20, budget=100), run(1, budget=100)]],
    }
    (_, best), (a, b) = chosen(tried, "random")
    assert (a.judged_by, a.best_of) == ("steps to solve", [75, 50])
    assert (best.point["optimizer.lr"], b.best_of) == (0.002, [75, 60])
    _, (a, _) = chosen(tried, "random", timed=True)
    assert (a.judged_by, a.best_of) == ("share of the time until solved", [0.75, 0.5])
    _, (a,) = chosen({"a": [[run(0, 0.4)], [run(0, 0.2)]]}, "random")
    assert (a.judged_by, a.best_of) == ("validation m", pytest.approx([0.3, 0.2]))


def test_the_first_of_equal_candidates_is_chosen_and_a_grid_has_no_figures(chosen):
    (best,), (record,) = chosen({"a": [metric(2.0), metric(1.0), metric(1.0)]}, None)
    assert best.point["optimizer.lr"] == 0.002
    assert record.as_json().keys() == {"cell", "at", "chosen", "at_the_edge", "points"}


def test_the_outer_tenth_of_a_range_is_its_edge():
    setting = [Setting("a", (1e-4, 1e-1), "real")]
    edges = [at_the_edge({"a": value}, setting) for value in (1e-4, 1.9e-4, 2.1e-4, 4.9e-2, 5.1e-2, 1e-1)]
    assert edges == [["a"], ["a"], [], [], ["a"], ["a"]]
    (remark,) = entry("a", [1.0], chosen={"a": 0.1}, at_the_edge=["a"]).remarks()
    assert remark.sentence() == "a: the best a tried is 0.1, near an end of its range; widen it with --range"


ENTRIES = [entry("a", [0.5, 0.4, 0.3]), entry("b", [0.9, 0.35, 0.123])]


def test_every_report_has_the_figures(tmp_path):
    groups = [Group(cell, None, [run(0), run(1)]) for cell in "ab"]
    results = summarise(groups, Question(reference="a", tuning=ENTRIES))
    files = {name: str(tmp_path / name) for name in ("report.html",)}
    results = results.model_copy(update={"files": files})
    printed = compare_tables(results)
    table = next(part for part in printed[1:] if isinstance(part, Grid))
    assert table.title == "tuning: expected validation m of the best of n random candidates, lower is better"
    assert [column.name for column in table.columns] == ["cell", "n=1", "n=2", "n=3"]
    assert table.rows == [("a", "0.5", "0.4", "0.3"), ("b", "0.9", "0.35", "0.123")]
    assert any(str(part).startswith("- tuning budget: a has the lowest expected") for part in printed)
    assert "| b | 0.9 | 0.35 | 0.123 |" in rendered("results.md.jinja", results, groups)
    page = rendered("report.html.jinja", results, groups)
    assert '<tr><td>b</td><td class="n">0.9</td><td class="n">0.35</td><td class="n">0.123</td></tr>' in page
    assert "Each cell tried the same 3 random candidates on validation" in page
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    latex = latex_of(results)
    check_closed(latex)
    assert r"b & 0.9 & 0.35 & 0.123 \\" in latex
    assert "(Dodge et al. 2019)" in latex
    assert "b 0.9 to 0.123" in described(results)["tuning"]
    grid = [each.model_copy(update={"method": None, "best_of": []}) for each in ENTRIES]
    results = summarise(groups, Question(reference="a", tuning=grid)).model_copy(update={"files": files})
    assert "Each cell tried every point of the grid on validation" in rendered("report.html.jinja", results, groups)
    assert not any("best of" in str(part) or "tuning budget" in str(part) for part in compare_tables(results))


def test_many_candidates_are_not_listed():
    many = entry("a", [0.5] * 21)
    assert many.listed == []
    groups = [Group("a", None, [run(0)])]
    results = summarise(groups, Question(reference="a", tuning=[many]))
    for text in (rendered("results.md.jinja", results, groups), latex_of(results)):
        assert "21 candidates, in results.json" in text
    assert "0.1: 1 (0 of 1 solved); 0.2: 1 (0 of 1 solved)" in rendered(
        "results.md.jinja", results.model_copy(update={"tuning": [entry("a", [0.5] * 2)]}), groups
    )


def solving(*steps, value=0.1):
    """The runs of a candidate, with a budget of 300 steps."""
    return [run(seed, value, step=step, budget=300) for seed, step in enumerate(steps)]


SOLVED = {
    "a": [solving(None, None), solving(100, None, value=0.2), solving(100, 200, value=0.3)],
    "b": [solving(None, None)] * 3,
}
"""Candidates of two cells; the better of the first cell have the worse validation values."""


def plain(text):
    """The text without what Markdown and LaTeX need to show its characters."""
    return text.replace("\\", "").replace("$geq$", ">=").replace("&gt;", ">")


@pytest.mark.parametrize("method", ["random", None])
def test_every_report_says_why_a_candidate_was_chosen(chosen, method):
    """The chosen one has the worst validation value, because its runs were solved."""
    _, tuning = chosen(SOLVED, method)
    assert tuning[0].chosen == {"optimizer.lr": 0.003}
    groups = [Group(cell, None, [run(0), run(1)]) for cell in "ab"]
    results = summarise(groups, Question(reference="a", tuning=tuning)).model_copy(update={"files": {}})
    candidates = (
        "0.001: 0.1 (0 of 2 solved); 0.002: 0.2 (1 of 2 solved, >= 200 steps); 0.003: 0.3 (2 of 2 solved, 150 steps)"
    )
    rule = "Chosen is the candidate with the most solved runs, then the fewest steps to solve, then the best mean"
    texts = [rendered(f"{name}.jinja", results, groups) for name in ("results.md", "report.html")]
    for text in [*texts, latex_of(results)]:
        assert candidates in plain(text)
        assert rule in text
        assert "tried: validation m (solved runs, mean steps to solve)" in text
    assert Tuning.from_text(tuning[0].model_dump_json().encode()) == tuning[0]


def test_the_rule_of_a_task_that_has_none_for_solved_is_that_of_the_metric():
    assert how_chosen("m", solvable=False) == "Chosen is the candidate with the best mean validation m."
    assert tried(entry("a", [0.5] * 2), solvable=False) == "0.1: 1; 0.2: 1"


def test_a_budget_that_was_not_enough_does_not_look_like_a_figure(chosen):
    """Of three candidates of which one was solved, only the best of three counts no run that was not solved."""
    _, (a, b) = chosen(SOLVED, "random")
    assert [best_figure(a, count) for count in (1, 2, 3)] == [">= 216.7", ">= 166.7", "150"]
    assert [best_figure(b, count) for count in (1, 2, 3)] == [">= 300"] * 3
    counted = "a figure with >= counts runs that were not solved, each with its whole budget"
    assert budget_notes([a, b]) == [f"A{counted[1:]}."]
    assert budget_sentences([a, b]) == [
        "tuning budget: a has the lowest expected steps to solve with any number from 1 to 3 random candidates "
        f"(n = 1: >= 216.7, n = 3: 150); {counted}"
    ]
    groups = [Group(cell, None, [run(0), run(1)]) for cell in "ab"]
    results = summarise(groups, Question(reference="a", tuning=[a, b])).model_copy(update={"files": {}})
    assert r"b & $\geq 300$ & $\geq 300$ & $\geq 300$ \\" in latex_of(results)
    assert "| a | >= 216.7 | >= 166.7 | 150 |" in rendered("results.md.jinja", results, groups)
    assert '<td class="n">&gt;= 216.7</td>' in rendered("report.html.jinja", results, groups)
    assert "b >= 300 to >= 300. A dashed line is the budget" in described(results)["tuning"]


def test_a_table_has_one_kind_of_figure():
    """With --vary, steps to solve may decide at one value, and the metric at another where nothing was solved."""
    easy = entry("a", [70.0, 50.0], at=5, judged_by="steps to solve")
    hard = entry("a", [0.4, 0.3], at=9)
    groups = [Group("a", at, [run(0)]) for at in (5, 9)]
    results = summarise(groups, Question(reference="a", varied="task.length", tuning=[easy, hard]))
    results = results.model_copy(update={"files": {"report.html": ""}})
    titles = [part.title for part in compare_tables(results)[1:] if isinstance(part, Grid)]
    assert [title.split(" of the best")[0] for title in titles] == [
        "tuning: expected steps to solve",
        "tuning: expected validation m",
    ]
    for text in (rendered("results.md.jinja", results, groups), rendered("report.html.jinja", results, groups)):
        first, second = text.split("Expected validation m of the best of n random candidates, lower is better.")
        assert "Expected steps to solve of the best of n random candidates, lower is better." in first
        assert "a at 9" in second
        assert "a at 5" not in second.partition("How this was made")[0]
    latex = latex_of(results)
    check_closed(latex)
    assert r"\label{tab:comparison-budgets}" in latex
    assert r"\label{tab:comparison-budgets-2}" in latex
    assert "validation m of the best" in described(results)["tuning"]


def test_the_best_so_far_counts_what_was_not_solved_until_a_candidate_was(chosen):
    cells = {"a": [solving(None, None), solving(100, 200), solving(None, None)], "b": [solving(100, 100)] * 3}
    _, (a, b) = chosen(cells, "optuna")
    assert [best_figure(a, count) for count in (1, 2, 3)] == [">= 300", "150", "150"]
    assert unsolved_budgets([b]) == set()
    _, (a, _) = chosen(cells, "optuna", timed=True)
    assert (best_figure(a, 1), unsolved_budgets([a])) == (">= 1", {1.0})


def test_the_picture_shows_the_budget_that_was_not_enough(chosen, monkeypatch, tmp_path):
    saved = {}
    monkeypatch.setattr(plots, "_save", lambda figure, path: saved.update({path.name: figure}))
    groups = [Group(cell, None, [run(0)]) for cell in "ab"]
    rows = summarise(groups, Question(reference="a")).cells
    plots.draw(groups, rows, None, tmp_path, tuning=chosen(SOLVED, "random")[1])
    (line,) = [line for line in saved["tuning.png"].axes[0].lines if line.get_label() == "budget: not solved"]
    assert (list(line.get_ydata()), line.get_linestyle()) == ([300, 300], "--")


def test_the_picture_has_a_line_a_cell(monkeypatch, tmp_path):
    saved = {}
    monkeypatch.setattr(plots, "_save", lambda figure, path: saved.update({path.name: figure}))
    groups = [Group(cell, None, [run(0)]) for cell in "ab"]
    rows = summarise(groups, Question(reference="a")).cells
    for form in ("png", "svg"):
        drawn = plots.draw(groups, rows, None, tmp_path, form=form, tuning=ENTRIES)
        assert Path(drawn["tuning"]).name == f"tuning.{form}"
    assert {"tuning.png", "tuning.svg"} <= saved.keys()
    axes = saved["tuning.png"].axes[0]
    assert {line.get_label(): list(line.get_ydata()) for line in axes.lines} == {
        each.cell: each.best_of for each in ENTRIES
    }
    assert [list(line.get_xdata()) for line in axes.lines] == [[1, 2, 3]] * 2
    assert "expected validation m of the best of n random candidates" in axes.get_ylabel()
    assert "tuning" not in plots.draw(groups, rows, None, tmp_path)


def test_edited_figures_are_refused():
    made = result(("a", [run(0)]), ("b", [run(0)]), tuning=ENTRIES)
    asked = Question(**{name: made[name] for name in ("reference", "cells", "runs")})

    def fault(*entries):
        return asked.model_copy(update={"tuning": entries}).fault()

    assert fault(*ENTRIES) is None
    assert "another number of figures than of candidates" in fault(ENTRIES[0].model_copy(update={"best_of": [0.5]}))
    assert "different numbers of candidates" in fault(ENTRIES[0], entry("b", [1.0]))
