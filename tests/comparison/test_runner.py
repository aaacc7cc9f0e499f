"""A comparison from its command to its results."""

import json
import shlex
import signal
from pathlib import Path

import pytest
import yaml
from samples import QUICK

from seqtrain.comparison.execution.dispatch import Failure, Trained, run_here
from seqtrain.comparison.execution.run import Workplace
from seqtrain.runs import trainer
from seqtrain.runs.checkpoint import load_checkpoint
from seqtrain.runs.directory import RunDir


def test_compare_trains_skips_and_draws(seqtrain, drawn_in_full):
    command = ("compare", "quickstart", *QUICK, "--cells", "rnn,gru", "--seeds", 2, "--json")
    first = seqtrain(*command)
    assert first.code == 0
    assert [row["cell"] for row in first.json["cells"]] == ["rnn", "gru"]
    assert Path(first.json["pictures"]["curves"]).read_bytes()[:4] == b"\x89PNG"
    row = first.json["cells"][0]
    values = row["metric"]["values"]
    assert row["metric"]["mean"] == pytest.approx(sum(values) / 2)
    assert row["metric"]["sd"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    assert row["of_baseline"] == pytest.approx(row["metric"]["mean"] * 6)
    assert (row["runs"], row["solved"], row["median_steps_to_solve"]) == (2, 0, None)
    remark = "2 seeds cannot show a difference at 5 % in 1 comparison, whatever the results: --seeds 6 can"
    remark += " if the difference is large, and 12 are advised"
    assert first.err.splitlines()[0] == remark  # before anything is trained
    again = seqtrain(*command)
    assert again.err.count("done already") == 4
    assert again.json == first.json | {"command": again.json["command"]}
    more = seqtrain("compare", "quickstart", *QUICK, "--cells", "rnn,gru,coupled", "--seeds", 2)
    assert more.err.count("done already") == 4
    assert "coupled" in more.out
    assert "baseline" in more.out


def test_a_signal_in_the_last_evaluation_stops_a_comparison(seqtrain, monkeypatch):
    original = trainer._test_figures

    def interrupted(*arguments):
        signal.raise_signal(signal.SIGINT)
        return original(*arguments)

    monkeypatch.setattr(trainer, "_test_figures", interrupted)
    stopped = seqtrain("compare", "quickstart", *QUICK, "--cells", "rnn,gru", "--seeds", 1, "--json")
    assert stopped.code == 130
    assert stopped.json == {"status": "interrupted"}
    assert [path.name for path in Path("runs/compare-quickstart").glob("*seed*")] == ["quickstart-rnn-seed0"]


def test_compare_gives_every_cell_the_same_data(compared):
    prints = {}
    for path in Path("runs/compare-quickstart").glob("*-seed*"):
        header = load_checkpoint(RunDir(path).last).header
        prints.setdefault(header.config["seed"], set()).add(header.fingerprints["test"])
    assert [len(of_a_seed) for of_a_seed in prints.values()] == [1, 1]
    assert prints[0] != prints[1]


def test_a_diverging_run_is_a_row(seqtrain, drawn_in_full):
    wild = ("optimizer=sgd", "optimizer.lr=1e38", "optimizer.clip_norm=null", "model.cell.nonlinearity=relu")
    result = seqtrain(
        "compare", "quickstart", "model.cell=rnn", *QUICK, *wild, "--cells", "rnn,lstm", "--seeds", 1, "--json"
    )
    assert result.code == 0
    assert [row["diverged"] for row in result.json["cells"]] == [1, 1]
    assert "lstm has no nonlinearity; compared without" in result.err


def test_a_diverged_run_is_done(seqtrain):
    wild = (
        "optimizer=sgd",
        "optimizer.lr=1e38",
        "optimizer.clip_norm=null",
        "model.cell={name: rnn, nonlinearity: relu}",
    )
    command = ("compare", "quickstart", *QUICK, *wild, "--cells", "rnn", "--seeds", 2, "--json")
    assert seqtrain(*command).json["cells"][0]["diverged"] == 2
    assert seqtrain(*command).err.count("done already") == 2


def test_runs_from_before_a_setting_existed_are_done_all_the_same(compared):
    command = ("compare", "quickstart", *QUICK, "--cells", "rnn", "--seeds", 1)
    path = Path("runs/compare-quickstart/quickstart-rnn-seed0/config.yaml")
    config = yaml.safe_load(path.read_text())
    del config["train"]["on_divergence"], config["engine"]
    path.write_text(yaml.safe_dump(config))
    assert "done already" in compared(*command).err
    config["train"]["on_divergence"] = "skip"
    path.write_text(yaml.safe_dump(config))
    assert "holds a run with train.on_divergence 'skip' (now 'stop')" in compared(*command).err


def test_two_comparisons_do_not_share_a_folder(seqtrain):
    folder = RunDir(Path("o"))
    folder.create()
    with folder.locked():
        refused = seqtrain("compare", "quickstart", *QUICK, "--cells", "rnn", "--seeds", 1, "--out", "o")
    assert (refused.code, list(Path("o").glob("*seed*"))) == (2, [])
    assert "o: " in refused.err


def test_vary_compares_at_each_value(seqtrain, drawn_in_full):
    command = ("compare", "quickstart", *QUICK, "--cells", "rnn,gru", "--seeds", 2)
    done = seqtrain(*command, "--vary", "task.length=5,9", "--eval-lengths", "7,9", "--json").json
    assert [(row["cell"], row["at"]) for row in done["cells"]] == [("rnn", 5), ("gru", 5), ("rnn", 9), ("gru", 9)]
    assert [row["variant"] for row in done["cells"]] == ["adding/halves/length=5/v1"] * 2 + [
        "adding/halves/length=9/v1"
    ] * 2
    assert done["longest_solved"] == {"rnn": None, "gru": None}
    assert set(done["pictures"]) == {"curves", "success"}
    assert len(done["lengths"]) == 4 * 2
    assert [row["trained"] for row in done["lengths"]] == [False, False] * 2 + [False, True] * 2
    for row in done["lengths"]:
        if row["trained"]:
            (own,) = [one for one in done["cells"] if (one["cell"], one["at"]) == (row["cell"], row["at"])]
            assert row["metric"]["mean"] == pytest.approx(own["metric"]["mean"])
    other = done["lengths"][0]
    run = next(run for run in done["runs"] if (run["row"], run["at"]) == (other["cell"], other["at"]))
    assert seqtrain("eval", run["run"], "task.length=7", "--json").json["mse"] == other["metric"]["values"][0]
    gathered = seqtrain("compare", "runs/compare-quickstart", "--out", "again", "--reference", "rnn", "--json").json
    assert (gathered["varied"], gathered["level"]) == ("task.length", 0.05)
    assert sorted(json.dumps(row["metric"]) for row in gathered["cells"]) == sorted(
        json.dumps(row["metric"]) for row in done["cells"]
    )
    seqtrain("train", "quickstart", *QUICK, "task.length=5", "task.variant=anywhere", "--out", "else")
    refused = seqtrain("compare", "runs/compare-quickstart", "else")
    assert (refused.code, "are not of one task" in refused.err) == (2, True)


def test_level_and_reference_are_those_asked_for(seqtrain):
    done = seqtrain(
        "compare", "quickstart", *QUICK, "--cells", "rnn,gru", "--seeds", 1, "--level", "0.2", "--reference", "gru",
        "--json",
    ).json  # fmt: skip
    assert (done["level"], done["reference"]) == (0.2, "gru")
    assert done["cells"][0]["versus"]["reference"] == "gru"
    own = seqtrain("compare", "quickstart", *QUICK, "--cells", "rnn,lstm", "--seeds", 1, "--json").json
    assert own["reference"] == "lstm"


def test_a_cell_that_cannot_fit_is_refused_before_any_is_trained(seqtrain):
    huge = "model.hidden_size=[100000, 100000, 100000]"
    refused = seqtrain("compare", "quickstart", *QUICK, huge, "--cells", "lstm,gru", "--out", "o")
    assert (refused.code, "model.hidden_size: training needs at least" in refused.err) == (2, True)
    assert not list(Path("o").iterdir())


def test_dry_run_prints_commands_that_do_the_same(seqtrain, monkeypatch):
    """Run by hand, the commands leave nothing to do, first those that tune, then those that are reported."""
    command = ("compare", "quickstart", *QUICK, "--cells", "rnn,{name: gru, reset: before}", "--seeds", 1)
    command += ("--grid", "optimizer.lr=1e-3,1e-2", "--tuning-seeds", 1)
    for runs in (4, 2):
        dry = seqtrain(*command, "--dry-run")
        lines = dry.out.splitlines()
        assert (dry.code, len(lines)) == (0, runs)
        for line in lines:
            assert seqtrain(*shlex.split(line)[1:]).code == 0
    done = seqtrain(*command, "--json")
    assert done.err.count("done already") == 6
    assert seqtrain(*command, "--dry-run").out == ""
    assert seqtrain(*command, "--dry-run", "--json").json == {"commands": []}
    assert seqtrain(*command, "--dry-run", "--assert", "rnn.solved >").code == 2
    assert [row["cell"] for row in done.json["cells"]] == ["rnn", "gru reset=before"]


def test_assertions_decide_the_exit_code(seqtrain):
    command = ("compare", "quickstart", *QUICK, "--cells", "rnn,{name: gru, reset: before}", "--seeds", 1)
    held = seqtrain(*command, "--assert", "rnn.runs == 1", "--assert", "'gru reset=before'.test.mse > 0", "--json")
    assert held.code == 0
    assert [one["holds"] for one in held.json["assertions"]] == [True, True]
    failed = seqtrain(*command, "--assert", "rnn.test.mse < 0", "--quiet", "--json")
    assert failed.code == 4
    assert "--assert rnn.test.mse < 0: does not hold" in failed.err
    assert failed.json["assertions"][0]["holds"] is False
    slip = seqtrain(*command, "--assert", "rnn.test.msa < 0", "--assert", "rnn.runs == 1", "--quiet", "--json")
    assert (slip.code, slip.json["cells"], len(slip.json["assertions"])) == (2, held.json["cells"], 1)
    assert (
        "--assert rnn.test.msa < 0: rnn.test.msa is not there; choose one of accuracy, loss, mse (did you mean 'mse'?)"
        in slip.err
    )
    gathered = seqtrain("compare", "runs/compare-quickstart", "--assert", "rnn.solved >= 1")
    assert gathered.code == 4
    unknown = seqtrain(*command, "--assert", "rnm.test.mse < 0", "--out", "nothing-is-trained")
    assert (unknown.code, "did you mean 'rnn'?" in unknown.err) == (2, True)
    assert not Path("nothing-is-trained").exists()


def failing(monkeypatch, *names, code=1):
    """Let a cluster train all runs but these."""
    monkeypatch.setattr("seqtrain.comparison.place.find_spec", lambda _: True)
    monkeypatch.setattr("seqtrain.comparison.plots.draw", lambda *_, **__: {})

    def train(self, runs, *, quiet):
        failed = [run for run in runs if run.out.name in names]
        run_here([run for run in runs if run not in failed], quiet=quiet)
        return Trained(0, [Failure(run, code, "given up after 3 further attempts:\nKilledWorker") for run in failed])

    monkeypatch.setattr(Workplace, "train", train)


def test_runs_that_a_cluster_could_not_train_are_left_out_and_named(seqtrain, monkeypatch):
    """The others are compared, the exit code says so, and the same command tries them again."""
    command = ("compare", "quickstart", *QUICK, "--cells", "rnn,gru", "--seeds", 2, "--out", "o", "--on", "dask")
    with monkeypatch.context() as patched:
        failing(patched, "quickstart-gru-seed1")
        failed = seqtrain(*command, "--assert", "gru.test.mse < 0", "--json")
        assert failed.code == 1
        (run,) = failed.json["failed"]
        assert (run["row"], run["run"]) == ("gru", "o/quickstart-gru-seed1")
        assert [row["runs"] for row in failed.json["cells"]] == [2, 1]
        note = "o/quickstart-gru-seed1 failed and is left out: given up after 3 further attempts: KilledWorker"
        assert note in failed.json["notes"]
        for name in ("report.html", "results.md"):
            assert "gru-seed1" in (Path("o") / name).read_text()
        assert "<td>failed</td>" in Path("o/report.html").read_text()
        failing(patched, "quickstart-gru-seed1", code=2)
        wrong = seqtrain(*command)
        assert (wrong.code, "failed and is left out" in wrong.out) == (2, True)
    failing(monkeypatch)
    again = seqtrain(*command, "--json")
    assert (again.code, "failed" in again.json, again.json["cells"][1]["runs"]) == (0, False, 2)


def test_nothing_is_compared_or_tuned_without_the_runs_that_it_needs(seqtrain, monkeypatch):
    command = ("compare", "quickstart", *QUICK, "--cells", "rnn,gru", "--seeds", 1, "--out", "o", "--on", "dask")
    failing(monkeypatch, "quickstart-rnn-seed0", "quickstart-rnn-lr=0.01-seed1000000")
    refused = seqtrain(*command)
    assert refused.code == 1
    assert "o/quickstart-rnn-seed0: failed: given up after" in refused.err
    assert "no run of rnn, the reference, is done; correct the cause, and repeat the same command" in refused.err
    tuned = seqtrain(*command[:-3], "t", "--grid", "optimizer.lr=0.01,0.02", "--tuning-seeds", 1, "--on", "dask")
    assert tuned.code == 1
    assert "lr=0.01-seed1000000: failed" in tuned.err
    assert "nothing can be chosen without them" in tuned.err
    assert not Path("t/results.json").exists()


def test_values_of_one_cell_need_a_run_of_the_first(seqtrain, monkeypatch):
    """Of cells that are compared at each value, it stays so if no run of all but one could be trained."""
    options = ("--seeds", 1, "--vary", "optimizer.lr=0.02,0.01", "--on", "dask", "--json")
    first, second, other = (f"quickstart-{name}-seed0" for name in ("rnn-lr=0.02", "rnn-lr=0.01", "gru-lr=0.02"))
    command = ("compare", "quickstart", *QUICK, *options, "--cells")
    failing(monkeypatch, first)
    refused = seqtrain(*command, "rnn", "--out", "o")
    assert (refused.code, "no run of rnn at 0.02, the reference, is done" in refused.err) == (1, True)
    failing(monkeypatch, second)
    alone = seqtrain(*command, "rnn", "--out", "o")
    assert (alone.code, [row["at"] for row in alone.json["cells"]]) == (1, [0.02])
    assert "rnn at 0.02 is the only row, so there is nothing to compare it with" in alone.json["notes"]
    failing(monkeypatch, other, "quickstart-gru-lr=0.01-seed0")
    cells = seqtrain(*command, "rnn,gru", "--reference", "rnn", "--out", "o")
    assert (cells.code, [row["versus"] for row in cells.json["cells"]]) == (1, [None, None])
