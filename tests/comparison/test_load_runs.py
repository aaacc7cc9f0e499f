"""Comparing runs that were trained one by one."""

import json
import shutil
from pathlib import Path

from samples import QUICK, result, run

from seqtrain.comparison.load_runs import group_runs
from seqtrain.tasks.marked_numbers import Adding


def test_compare_gathers_run_directories(seqtrain):
    for direction in ("forward", "bidirectional"):
        for seed in (0, 1):
            seqtrain(
                "train", "lookaround", *QUICK, f"model.direction={direction}", f"seed={seed}",
                "--out", f"r/{direction}{seed}",
            )  # fmt: skip
    result = seqtrain("compare", *sorted(map(str, Path("r").iterdir())), "--out", "gathered", "--json")
    assert [(row["cell"], row["runs"]) for row in result.json["cells"]] == [
        ("lstm direction=bidirectional", 2),
        ("lstm direction=forward", 2),
    ]
    assert Path("gathered/curves.png").exists()
    folder = seqtrain("compare", "r", "--json").json
    assert (folder["cells"], folder["pictures"]["curves"]) == (result.json["cells"], "r/curves.png")
    assert seqtrain("compare", *sorted(map(str, Path("r").iterdir())), "--json").json["cells"] == result.json["cells"]

    shutil.copytree("r/forward0", "r/copy")
    assert "is the same run as" in seqtrain("compare", "r/forward0", "r/copy").err
    seqtrain("train", "quickstart", *QUICK, "--out", "r/other")
    assert "are not of one task" in seqtrain("compare", "r/other", "r/forward0").err


def test_points_are_in_the_order_of_their_numbers_and_a_run_counts_once(seqtrain):
    for length in (30, 5, 100):
        seqtrain("train", "quickstart", *QUICK, f"task.length={length}", "--out", f"r/{length}")
    found = seqtrain("compare", "r/30", "r/5", "r/100", Path("r/5").absolute(), "--out", "o", "--json").json
    assert [(row["at"], row["runs"]) for row in found["cells"]] == [(5, 1), (30, 1), (100, 1)]


def test_only_finished_runs_are_gathered_each_seed_once(seqtrain):
    seqtrain("train", "quickstart", *QUICK, "--out", "r/a")
    seqtrain("train", "quickstart", *QUICK, "threads=1", "--out", "r/b")
    twice = seqtrain("compare", "r")
    assert (twice.code, "r/b: has the cell and the seed of r/a" in twice.err) == (2, True)
    summary = json.loads(Path("r/b/summary.json").read_text())
    Path("r/b/summary.json").write_text(json.dumps(summary | {"status": "interrupted", "test": None}))
    stopped = seqtrain("compare", "r")
    assert (stopped.code, "r/b: is interrupted, not finished; go on with" in stopped.err) == (2, True)
    Path("r/b/summary.json").unlink()
    killed = seqtrain("compare", "r")
    assert (killed.code, "r/b: was killed, or is being trained; go on with: seqtrain train r/b" in killed.err) == (
        2,
        True,
    )
    Path("r/b/config.yaml").write_text("model: 5")
    Path("r/b/summary.json").write_text(json.dumps(summary))
    odd = seqtrain("compare", "r")
    assert (odd.code, "r/b: holds no finished run" in odd.err) == (2, True)


def test_gathering_takes_the_options_that_need_no_training(seqtrain):
    for cell in ("rnn", "gru"):
        seqtrain("train", "quickstart", *QUICK, f"model.cell={cell}", "--out", f"r/{cell}")
    plain = seqtrain("compare", "r", "--out", "o", "--json").json
    assert (plain["reference"], plain["level"], plain["lengths"]) == ("gru", 0.05, [])
    asked = seqtrain(
        "compare", "r", "--out", "o", "--reference", "rnn", "--level", "0.1", "--eval-lengths", "7", "--json"
    ).json
    assert (asked["reference"], asked["level"], asked["lengths"][0]["length"]) == ("rnn", 0.1, 7)
    for first, second in (("rnn", "gru"), ("gru", "rnn")):
        named = seqtrain("compare", f"r/{first}", f"r/{second}", "--out", "named", "--json").json
        assert named["reference"] == first
    folder = seqtrain("compare", "named")
    assert (folder.code, folder.out) == (2, "")
    assert f"its runs, which lie elsewhere; repeat the command that wrote it: {named['command']}" in folder.err
    twice = seqtrain("compare", "r/gru", "r/gru", "--out", "twice")
    assert "r/gru: is given twice, and counts once" in twice.err
    assert "- gru is the only cell, so there is nothing to compare it with; name a run of another" in twice.out
    assert seqtrain("compare", "r", "--level", "7").code == 2
    assert seqtrain("compare", "r", "--eval-lengths", "1").code == 2
    seqtrain("train", "quickstart", *QUICK, "model.cell=lstm", "optimizer.lr=0.1", "--out", "r/lstm")
    notes = seqtrain("compare", "r", "--json").json["notes"]
    assert any("not differ in the cell alone, but also in optimizer.lr" in note for note in notes)


def test_settings_that_follow_from_others_do_not_tell_rows_apart():
    """The depth follows from a list of hidden sizes, and the merging of directions from the direction."""
    runs = [run(0, settings=settings) for settings in ((), ("model.hidden_size=[4,4]",))]
    both = [run(0, settings=("model.direction=bidirectional", *more)) for more in ((), ("model.merge=sum",))]
    assert [group.cell for group in group_runs([runs[0], runs[1]])] == [
        "lstm hidden_size=64",
        "lstm hidden_size=[4, 4]",
    ]
    assert [group.cell for group in group_runs([runs[0], both[0]])] == [
        "lstm direction=forward",
        "lstm direction=bidirectional",
    ]
    assert [group.cell for group in group_runs(both)] == ["lstm merge=concat", "lstm merge=sum"]
    assert "also in" not in " ".join(result(("a", runs[:1]), ("b", runs[1:2]))["notes"])
    assert "also in model.direction" in " ".join(result(("a", runs[:1]), ("b", both[:1]))["notes"])


def test_what_affects_no_result_does_not_tell_rows_apart(seqtrain):
    same = ("train.log_every=1", "train.save_every=1", "train.save_every_s=null", "threads=1")
    seqtrain("train", "quickstart", *QUICK, "--out", "r/a")
    seqtrain("train", "quickstart", *QUICK, *same, "seed=1", "--out", "r/b")
    assert [(row["cell"], row["runs"]) for row in seqtrain("compare", "r", "--json").json["cells"]] == [("lstm", 2)]


def test_runs_that_were_extended_get_the_verdicts_of_runs_that_were_so_long_from_the_start(seqtrain, monkeypatch):
    """Some of them are solved before the first end, and are not trained further."""
    monkeypatch.setattr(
        Adding, "solved", lambda _, means: int(means["mse"] * 1e6) % 4 == 0
    )  # in one evaluation of four
    for cell in ("rnn", "gru"):
        for seed in range(6):
            settings = (f"model.cell={cell}", f"seed={seed}", "train.stop_when_solved=true")
            name, train = f"{cell}-{seed}", ("train", "quickstart", *QUICK, *settings)
            assert seqtrain(*train, "train.steps=4", "--out", f"extended/{name}").code == 0
            assert seqtrain(*train, "train.steps=8", "--out", f"extended/{name}", "--resume").code == 0
            assert seqtrain(*train, "train.steps=8", "--out", f"whole/{name}").code == 0
    extended, whole = (seqtrain("compare", folder, "--json").json for folder in ("extended", "whole"))
    assert extended["verdicts"] == whole["verdicts"]
    for one, other in zip(extended["cells"], whole["cells"], strict=True):
        assert (one["solved"], one["steps_to_solve"], one["metric"]) == (
            other["solved"],
            other["steps_to_solve"],
            other["metric"],
        )
    assert 0 < sum(row["solved"] for row in whole["cells"]) < 12
