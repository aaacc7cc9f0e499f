"""What a folder remembers of its comparison."""

import shlex
import shutil
from pathlib import Path

from samples import QUICK


def test_a_comparison_that_is_still_tuned_is_not_gathered(seqtrain):
    grid = ("--grid", "optimizer.lr=1e-3,1e-2", "--tuning-seeds", 1)
    line = seqtrain("compare", "quickstart", *QUICK, "--cells", "rnn", "--seeds", 1, *grid, "--out", "o", "--dry-run")
    seqtrain(*shlex.split(line.out.splitlines()[0])[1:])
    refused = seqtrain("compare", "o")
    assert (refused.code, refused.out) == (2, "")
    assert "o: is a comparison without a run to compare yet" in refused.err


def test_a_condition_on_a_finished_comparison_changes_nothing_in_its_report(seqtrain):
    seqtrain(
        "compare", "quickstart", *QUICK, "--cells", "rnn,gru", "--seeds", 1, "--eval-lengths", "30", "--out", "o",
        "--grid", "optimizer.lr=1e-3,1e-2",
    )  # fmt: skip
    before = {name: Path("o", name).read_text() for name in ("results.md", "results.csv")}
    assert "| 30 |" in before["results.md"]
    assert seqtrain("compare", "o", "--assert", "rnn.runs == 1").code == 0
    assert {name: Path("o", name).read_text() for name in before} == before


def test_runs_that_are_started_by_hand_are_gathered_as_they_were_asked_for(seqtrain):
    """The same result as without --dry-run, but for times and where it lies, also while some runs are missing."""
    command = ("compare", "quickstart", *QUICK, "--cells", "rnn,gru", "--seeds", 2, "--reference", "rnn")
    command += ("--match", "params", "--level", "0.2", "--eval-lengths", "30")
    wanted = seqtrain(*command, "--out", "at-once", "--json").json
    lines = seqtrain(*command, "--out", "by-hand", "--dry-run").out.splitlines()
    assert len(lines) == 4
    for line in lines[:3]:
        seqtrain(*shlex.split(line)[1:])
    early = seqtrain("compare", "by-hand", "--out", "early", "--json")
    assert (early.json["reference"], early.json["level"]) == ("rnn", 0.2)  # of the folder
    early = seqtrain("compare", "by-hand", "--json")
    assert early.json["notes"][0] == "runs of this comparison that are not there yet: 1"
    assert (early.json["reference"], len(early.json["runs"])) == ("rnn", 3)
    seqtrain(*command, "--out", "by-hand", "--dry-run")
    seqtrain(*shlex.split(lines[3])[1:])
    found = seqtrain("compare", "by-hand", "--json").json
    same = ("reference", "match", "level", "varied", "timed", "tuning", "verdicts", "lengths", "notes")
    assert {key: found[key] for key in same} == {key: wanted[key] for key in same}
    assert [row["off"] for row in found["cells"]] == [row["off"] for row in wanted["cells"]]
    assert not Path("by-hand/question.json").exists()


def test_a_folder_means_the_last_comparison_in_it(seqtrain):
    command = ("compare", "quickstart", *QUICK, "--cells", "rnn,gru", "--match", "params", "--out", "o")
    seqtrain(*command, "--seeds", 2)
    seqtrain(*command, "--seeds", 1, "--reference", "gru")
    found = seqtrain("compare", "o", "--json")
    assert [row["runs"] for row in found.json["cells"]] == [1, 1]
    assert (found.json["match"], found.json["reference"]) == ("params", "gru")
    assert (
        "left out, as this comparison did not ask for them: o/quickstart-gru-seed1, o/quickstart-rnn-seed1" in found.err
    )
    named = seqtrain("compare", *sorted(map(str, Path("o").glob("*seed*"))), "--out", "named", "--json").json
    assert [row["runs"] for row in named["cells"]] == [2, 2]


def test_a_comparison_is_gathered_under_its_own_names(seqtrain):
    """Alone, `gru reset=before` would be called gru, and the reference be missing."""
    cells = "{name: gru, reset: before}, rnn"
    made = seqtrain("compare", "quickstart", *QUICK, "--cells", cells, "--seeds", 1, "--match", "params", "--json").json
    again = seqtrain("compare", "runs/compare-quickstart", "--json").json
    for key in ("cells", "verdicts", "reference", "match", "notes"):
        assert again[key] == made[key]
    assert len(made["verdicts"]) == 1


def test_runs_of_one_name_in_two_folders_are_not_taken_for_each_other(seqtrain):
    """The results lie in the folder of one of them, which has the name of the other, too."""
    for folder, cell in (("y", "gru"), ("x", "lstm")):
        assert seqtrain("train", "quickstart", *QUICK, f"model.cell={cell}", "--out", f"{folder}/s").code == 0
    first = seqtrain("compare", "y/s", "x/s", "--out", "x", "--json").json
    for again in (("x",), ("y/s", "x/s", "--out", "x")):
        rows = seqtrain("compare", *again, "--json").json["cells"]
        figures = {row["cell"]: row["metric"]["mean"] for row in first["cells"]}
        assert all(row["metric"]["mean"] == figures[row["cell"]] for row in rows)


def test_a_comparison_that_moved_keeps_its_question(seqtrain, monkeypatch, tmp_path):
    """Reference, level, matching, tuning and lengths belong to the folder, wherever it is gathered from."""
    command = ("compare", "quickstart", *QUICK, "--cells", "rnn,gru", "--seeds", 2, "--reference", "rnn")
    command += ("--match", "params", "--level", "0.2", "--eval-lengths", "30", "--grid", "optimizer.lr=1e-3,1e-2")
    seqtrain(*command, "--tuning-seeds", 1, "--out", "here/one")
    wanted = seqtrain("compare", "here/one", "--json").json
    Path("here").rename("there")
    monkeypatch.chdir(tmp_path / "there")
    found = [seqtrain("compare", "one", "--json").json]
    monkeypatch.chdir("/")
    found.append(seqtrain("compare", tmp_path / "there/one", "--json").json)
    found.append(seqtrain("compare", tmp_path / "there/one", "--out", tmp_path / "elsewhere", "--json").json)
    shutil.rmtree(next((tmp_path / "there/one").glob("quickstart-gru*seed1")))
    fewer = seqtrain("compare", tmp_path / "there/one", "--json").json
    assert (fewer["reference"], fewer["level"], len(fewer["runs"])) == ("rnn", 0.2, 3)
    same = ("reference", "match", "level", "varied", "timed", "tuning", "verdicts", "lengths", "notes")
    for gathered in found:
        assert {key: gathered[key] for key in same} == {key: wanted[key] for key in same}
    assert wanted["reference"] == "rnn"
    assert wanted["tuning"]


def test_results_of_other_runs_are_not_overwritten(seqtrain):
    for name in ("a", "b", "c"):
        seqtrain("train", "quickstart", *QUICK, f"seed={ord(name)}", "--out", f"runs/{name}")
    assert seqtrain("compare", "runs/a", "runs/b", "--reference", "lstm").code == 0
    before = Path("runs/compare/results.json").read_text()
    for again in (("runs/a", "runs/b"), ("runs/b", "runs/a", "runs/c")):  # the same, and more
        assert seqtrain("compare", *again).code == 0
    after = Path("runs/compare/results.json").read_text()
    assert before != after
    for targets in (("runs/a", "runs/c"), ("runs/c",), ("quickstart", *QUICK, "--cells", "rnn", "--seeds", 1)):
        out = ("--out", "runs/compare") if targets[0] == "quickstart" else ()
        refused = seqtrain("compare", *targets, *out)
        assert (refused.code, refused.out) == (2, "")
        assert "runs/compare: holds the results of a comparison of other runs, such as " in refused.err
        assert "choose another folder with --out" in refused.err
    assert Path("runs/compare/results.json").read_text() == after
    assert not list(Path("runs/compare").glob("*-seed*"))


def test_results_of_a_part_do_not_overwrite_those_of_the_whole(seqtrain):
    command = ("compare", "quickstart", *QUICK, "--seeds", 1, "--out", "o")
    assert "are replaced" not in seqtrain(*command, "--cells", "rnn,gru").err
    first = Path("o/results.json").read_text()
    refused = seqtrain("compare", "o/quickstart-rnn-seed0", "--out", "o")
    assert (refused.code, "o: holds the results of a comparison of other runs" in refused.err) == (2, True)
    assert Path("o/results.json").read_text() == first
    again = seqtrain(*command, "--cells", "rnn,lstm")
    assert (again.code, "o: the results of 1 other run in this folder are replaced" in again.err) == (0, True)
    shutil.rmtree("o/quickstart-rnn-seed0")
    assert seqtrain("compare", "o").code == 0  # the folder itself, of which a run was removed
    shutil.move("o", "moved")
    assert seqtrain(*command[:-1], "moved", "--cells", "rnn,lstm,gru").code == 0


def test_a_folder_with_the_runs_of_two_questions_answers_the_last_one(seqtrain):
    """At the config's own length, both questions train the same run under two names."""
    command = ("compare", "quickstart", *QUICK, "--cells", "lstm,gru", "--seeds", 1, "--out", "o")
    seqtrain(*command, "--vary", "task.length=50,100")
    before = seqtrain(*command, "--json").json
    again = seqtrain("compare", "o", "--json")
    assert again.code == 0, again.err
    assert "left out, as this comparison did not ask for them: o/quickstart-gru-length=100-seed0" in again.err
    assert [row["metric"] for row in again.json["cells"]] == [row["metric"] for row in before["cells"]]
