"""One cell at several values of a setting: each value is judged against the first."""

import json
from pathlib import Path

import pytest
from rich.console import Console
from samples import QUICK, run

from seqtrain.cli.compare_table import compare_tables
from seqtrain.comparison.aggregate import summarise
from seqtrain.comparison.api import Compared
from seqtrain.comparison.assertions import parse_conditions
from seqtrain.comparison.load_runs import Group
from seqtrain.comparison.records import Question, Results, RowKey
from seqtrain.comparison.report import report

ONLY = "lstm is the only cell, so there is nothing to compare it with; name others with --cells"


def groups_of(rows, key="value", **options):
    """A group of the cell `lstm` for each value of a setting: `{"float32": [1.0, 2.0]}`, a figure a seed."""
    options |= {"stop": key == "step"}
    return [
        Group("lstm", at, [run(seed, **{key: figure}, **options) for seed, figure in enumerate(own)])
        for at, own in rows.items()
    ]


def compared(groups, varied="precision", **question):
    return summarise(groups, Question(reference="lstm", varied=varied, **question)).as_json()


def verdicts(results):
    return [row["versus"] and row["versus"]["verdict"] for row in results["cells"]]


def test_the_second_value_is_judged_against_the_first():
    """Of the 256 patterns of eight signs of 1, 9 have a sum of 6 or more, and as many one of -6 or less."""
    figures = [10.0, 12.0, 14.0, 16.0, 18.0, 20.0, 22.0, 24.0]
    higher = [figure + (1 if seed else -1) for seed, figure in enumerate(figures)]
    results = compared(groups_of({"float32": figures, "bfloat16": higher}))
    versus = results["cells"][1]["versus"]
    assert results["cells"][0]["versus"] is None
    assert (versus["at"], versus["reference"], versus["reference_at"]) == ("bfloat16", "lstm", "float32")
    assert (versus["pairs"], versus["better_in"], versus["worse_in"], versus["tests"]) == (8, 1, 7, 1)
    assert versus["p"] == versus["p_corrected"] == pytest.approx(18 / 256)
    assert versus["difference"]["mean"] == pytest.approx(6 / 8)
    assert versus["verdict"] == "not distinguishable"
    assert results["verdicts"][0].startswith(
        "lstm at bfloat16 is not distinguishable from lstm at float32: test m of lstm at bfloat16 minus that of lstm "
        "at float32 is +0.75 (95 % interval"
    )
    assert "; lstm at bfloat16 is better in 1 of 8 seeds, worse in 7, equal in 0; p = 0.07" in results["verdicts"][0]
    assert results["summary"].startswith(
        "In test m, lstm at bfloat16 is not distinguishable from lstm at float32. Solved:"
    )
    assert results["question"] == "Which precision is better on adding: lstm at float32 or lstm at bfloat16?"
    assert not any("only cell" in note for note in results["notes"])


@pytest.mark.parametrize(("factor", "verdict"), [(2, "worse"), (0.5, "better")])
def test_steps_to_solve_are_compared_by_their_ratio(factor, verdict):
    """Six pairs of one sign: p is 2 of 64."""
    steps = [100, 120, 140, 160, 180, 200]
    results = compared(groups_of({1e-3: steps, 1e-2: [int(factor * each) for each in steps]}, "step"), "optimizer.lr")
    versus = results["cells"][1]["versus"]
    assert (results["outcome"], versus["verdict"], versus["p"]) == ("steps to solve", verdict, pytest.approx(2 / 64))
    assert versus["ratio"]["mean"] == pytest.approx(factor)
    assert results["summary"].startswith(f"In steps to solve, lstm at 0.01 is {verdict} than lstm at 0.001.")


def test_three_values_are_corrected_together_and_pairs_are_by_seed():
    """Holm: the smaller p, 2 of 256, is doubled, the larger, 2 of 128 of the seven seeds of both, counts once."""
    first = [float(seed) for seed in range(8)]
    groups = groups_of({8: first, 16: [each + 1 for each in first], 4: [each - 2 for each in first]})
    groups[2] = groups[2]._replace(runs=groups[2].runs[:0:-1])  # without seed 0, in another order
    results = compared(groups, "model.hidden_size")
    assert verdicts(results) == [None, "worse", "better"]
    second, third = (row["versus"] for row in results["cells"][1:])
    assert [second["reference_at"], third["reference_at"]] == [8, 8]
    assert (second["p"], second["p_corrected"]) == (pytest.approx(2 / 256), pytest.approx(4 / 256))
    assert (third["pairs"], third["p"], third["p_corrected"]) == (7, pytest.approx(2 / 128), pytest.approx(2 / 128))
    assert third["difference"]["mean"] == pytest.approx(-2)
    assert "after Holm's correction over 2" in results["verdicts"][0]


def test_a_run_without_a_metric_is_held_against_those_of_all_values():
    """The best is 1, the worst 5, of the first value: what is missing counts as 5 + (5 - 1)."""
    results = compared(groups_of({"float32": [1.0, 5.0], "bfloat16": [None, 3.0]}))
    assert results["cells"][1]["versus"]["difference"]["mean"] == pytest.approx(((9 - 1) + (3 - 5)) / 2)


def test_other_numbers_of_steps_are_judged_by_those_that_all_had():
    """Solved at 700 of 1000 steps, or not solved in 500: neither was solved within 500."""
    groups = [
        Group("lstm", budget, [run(seed, step=step, budget=budget) for seed in range(6)])
        for budget, step in ((1000, 700), (500, None))
    ]
    results = compared(groups, "train.steps")
    assert results["cells"][1]["versus"]["difference"]["mean"] == 0
    assert any("what was solved later than the shortest ends counts as unsolved" in each for each in results["notes"])
    assert not any("also in" in note for note in results["notes"])


def test_a_budget_in_seconds_is_judged_by_the_share_of_it():
    """One value is twice as fast, and so has twice the steps; the other is solved after a smaller part of its own."""
    groups = [
        Group("lstm", at, [run(seed, step=step, budget=budget, sequences_per_s=speed) for seed in range(6)])
        for at, budget, step, speed in (("float32", 500, 100, 10.0), ("bfloat16", 1000, 300, 10.0))
    ]
    results = compared(groups, timed=True)
    assert results["cells"][1]["versus"]["ratio"]["mean"] == pytest.approx(1.5)
    assert any(
        "the values did not train equally long: lstm at float32 200, lstm at bfloat16 400 seconds" in note
        for note in results["notes"]
    )


@pytest.mark.parametrize("varied", ["task.length", "task.valid_size", "task"])
def test_a_setting_of_the_task_makes_another_problem(varied):
    results = compared(groups_of({50: [10] * 8, 100: [20] * 8}, "step"), varied)
    assert verdicts(results) == [None, None]
    assert results["verdicts"] == []
    assert ONLY in results["notes"]
    assert results["question"] == f"Which is better on adding over {varied}: lstm?"
    assert results["longest_solved"] == ({"lstm": 100} if varied == "task.length" else None)


def test_several_cells_are_compared_at_each_value():
    groups = [
        Group(cell, at, [run(seed, value=seed + more, stop=False) for seed in range(6)])
        for at, more in (("float32", 0.0), ("bfloat16", 1.0))
        for cell in ("lstm", "gru")
    ]
    results = compared(groups)
    assert [row["versus"] and row["versus"]["reference_at"] for row in results["cells"]] == [
        None, "float32", None, "bfloat16"
    ]  # fmt: skip
    assert results["cells"][3]["versus"]["difference"]["mean"] == 0
    assert results["verdicts"][1].startswith("gru and lstm at bfloat16: too few seeds")
    assert results["question"] == "Which is better on adding over precision: lstm or gru?"
    # of two cells that were asked for, only the runs of one are there yet
    asked = [RowKey(cell=group.cell, at=group.at) for group in groups]
    assert verdicts(compared([groups[0], groups[2]], cells=asked)) == [None, None]


def test_a_value_without_another_yet_is_said_to_be_alone():
    groups = groups_of({"float32": [1.0, 2.0]})
    asked = [RowKey(cell="lstm", at=at) for at in ("float32", "bfloat16")]
    results = compared(groups, cells=asked)
    assert verdicts(results) == [None]
    assert "lstm at float32 is the only row, so there is nothing to compare it with" in results["notes"]


def test_sizes_are_compared_with_that_of_the_first_value():
    groups = [*groups_of({8: [1.0] * 6}, parameters=100), *groups_of({16: [2.0] * 6}, parameters=250)]
    results = compared(groups, "model.hidden_size", match="hidden")
    assert [row["off"] for row in results["cells"]] == [0, pytest.approx(1.5)]
    assert "the models are of different sizes: lstm at 16 has 2.5 times the parameters of lstm at 8" in results["notes"]


def test_settings_that_differ_beside_the_varied_one_are_named():
    """All options of an optimizer belong to it."""
    groups = [
        *groups_of({"adam": [1.0]}, settings=("optimizer=adam",)),
        *groups_of({"sgd": [1.0]}, settings=("optimizer=sgd", "train.patience=3")),
    ]
    assert any(
        note == "the values do not differ in optimizer.name alone, but also in train.patience"
        for note in compared(groups, "optimizer.name")["notes"]
    )


def test_runs_that_diverged_are_named_with_their_value():
    groups = [*groups_of({"float32": [1.0]}), *groups_of({"bfloat16": [2.0]}, status="diverged")]
    assert any(note.startswith("diverged: lstm at bfloat16 1 of 1;") for note in compared(groups)["notes"])


@pytest.fixture
def reported(tmp_path):
    """The results of two values with their files, in the folder of the test."""
    steps = [100, 120, 140, 160, 180, 200]
    groups = groups_of({"float32": steps, "bfloat16": [each // 2 for each in steps]}, "step")
    question = Question(reference="lstm", varied="precision", match="hidden")
    return report(groups, question, [], tmp_path, quiet=True)


def test_the_files_name_the_reference_at_its_value(reported, tmp_path):
    sentence = "lstm at bfloat16 is better than lstm at float32"
    markdown = (tmp_path / "results.md").read_text()
    assert "reference lstm at float32.\n" in markdown
    rows = [line.split(" | ") for line in markdown.splitlines() if line.startswith("| lstm")]
    assert [(row[1], row[-1].removesuffix(" |")) for row in rows] == [("float32", "reference"), ("bfloat16", "better")]
    latex = (tmp_path / "results.tex").read_text()
    assert "reference lstm at float32.\\par" in latex
    assert [line.split(" & ")[-1] for line in latex.splitlines() if line.startswith("    lstm &")] == [
        "reference \\\\", "better \\\\"
    ]  # fmt: skip
    page = (tmp_path / "report.html").read_text()
    assert page.count("(reference)") == 1
    assert "Differences are taken by seed against lstm at float32, on logarithms" in page
    assert "how many more or fewer a row has than lstm at float32" in page
    assert all(sentence in text for text in (markdown, latex, page))
    assert set(reported.pictures) == {"steps", "curves", "success"}
    assert Compared(reported, 0)._repr_html_().count("reference") == 1


def test_the_terminal_has_the_verdict_and_one_baseline(reported):
    console = Console(width=200)
    with console.capture() as printed:
        for part in compare_tables(reported):
            console.print(part)
    text = " ".join(printed.get().split())
    assert "- lstm at bfloat16 is better than lstm at float32: lstm at bfloat16 has 0.5 times the steps" in text
    assert "only cell" not in text
    assert text.count("baseline") == 1


def test_conditions_may_use_the_verdict(reported):
    (condition,) = parse_conditions(["'lstm at bfloat16'.versus.p_corrected <= 0.05"], [])
    assert condition.check(reported.cells).holds


def test_results_of_an_earlier_version_are_read(reported, tmp_path):
    """Their verdicts were at one value each, and do not say so."""
    data = json.loads((tmp_path / "results.json").read_text())
    del data["cells"][1]["versus"]["reference_at"]
    old = Results.from_text(json.dumps(data).encode())
    assert old.cells[1].versus.reference_at == "bfloat16"
    assert old.as_json()["cells"] == data["cells"]
    assert Question.from_text(json.dumps(data).encode()).fault() is None


@pytest.mark.parametrize(("varied", "cells"), [(None, ["lstm"]), ("precision", ["lstm", "gru"])])
def test_a_question_that_cannot_be_about_values_is_refused(varied, cells):
    rows = [{"cell": cell, "at": None} for cell in cells]
    runs = [{"row": cell, "at": None, "run": cell} for cell in cells]
    text = json.dumps({"reference": "lstm", "varied": varied, "between": "values", "cells": rows, "runs": runs})
    assert Question.from_text(text.encode()).fault() == "it compares values, but has no varied setting or several cells"


@pytest.mark.parametrize(
    ("vary", "few"),
    [
        ("optimizer.lr=1e-3,2e-3,4e-3", "6 seeds cannot show a difference at 5 % in 2 comparisons"),
        ("optimizer.lr=1e-3,2e-3", None),
        ("task.length=5,6,7", None),
    ],
)
def test_too_few_seeds_are_told_before_training(seqtrain, vary, few):
    planned = seqtrain("compare", "quickstart", *QUICK, "--cells", "lstm", "--seeds", 6, "--vary", vary, "--dry-run")
    assert planned.code == 0
    assert (few or "cannot show a difference") in planned.err if few else "cannot show" not in planned.err


def test_a_folder_keeps_its_first_value(seqtrain):
    """Smaller values that come later are no new reference; a folder of an earlier version gets its verdict, too."""
    command = ("compare", "quickstart", *QUICK, "--cells", "lstm", "--seeds", 2, "--vary", "optimizer.lr=4e-3,1e-3")
    done = seqtrain(*command, "--json").json
    assert done["cells"][1]["versus"]["reference_at"] == 4e-3
    again = seqtrain("compare", "runs/compare-quickstart", "--json").json
    assert [row["versus"] for row in again["cells"]] == [row["versus"] for row in done["cells"]]
    assert (again["question"], again["verdicts"]) == (done["question"], done["verdicts"])
    path = Path("runs/compare-quickstart/results.json")
    data = json.loads(path.read_text())
    del data["between"], data["cells"][1]["versus"]
    path.write_text(json.dumps(data))
    assert seqtrain("compare", path.parent, "--json").json["verdicts"] == done["verdicts"]
    runs = sorted(str(each) for each in Path("runs/compare-quickstart").glob("*seed*"))
    named = seqtrain("compare", *runs, "--out", "named", "--json").json
    assert [row["cell"] for row in named["cells"]] == ["lstm lr=0.001", "lstm lr=0.004"]
    assert named["cells"][1]["versus"]["reference"] == "lstm lr=0.001"
