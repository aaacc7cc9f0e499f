"""The verb `compare` as people and scripts meet it."""

import csv
import io
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from conftest import SMALL, SMALL_SETS

from seqtrain.compare import executor as jobs
from seqtrain.config import load_config
from seqtrain.runs.checkpoint import load_checkpoint

QUICK = (*SMALL, *SMALL_SETS)


def test_compare_trains_skips_and_draws(seqtrain):
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
    told = "2 seeds cannot show a difference at 5 % in 1 comparison, whatever the results: --seeds 6 can"
    assert first.err.splitlines()[0] == told  # before anything is trained
    again = seqtrain(*command)
    assert again.err.count("done already") == 4
    assert again.json == first.json | {"command": again.json["command"]}
    more = seqtrain("compare", "quickstart", *QUICK, "--cells", "rnn,gru,coupled", "--seeds", 2)
    assert more.err.count("done already") == 4
    assert "coupled" in more.out
    assert "baseline" in more.out


def test_compare_counts_seeds_from_the_configs_own(seqtrain):
    seqtrain("compare", "quickstart", *QUICK, "seed=5", "--cells", "rnn", "--seeds", 2)
    found = sorted(path.name for path in Path("runs/compare-quickstart").glob("*seed*"))
    assert found == ["quickstart-rnn-seed5", "quickstart-rnn-seed6"]


def test_a_signal_in_the_last_evaluation_stops_a_comparison(seqtrain, monkeypatch):
    import seqtrain.runs.trainer as module

    original = module._test_figures

    def interrupted(*arguments):
        signal.raise_signal(signal.SIGINT)
        return original(*arguments)

    monkeypatch.setattr(module, "_test_figures", interrupted)
    stopped = seqtrain("compare", "quickstart", *QUICK, "--cells", "rnn,gru", "--seeds", 1, "--json")
    assert stopped.code == 130
    assert stopped.json == {"status": "interrupted"}
    assert [path.name for path in Path("runs/compare-quickstart").glob("*seed*")] == ["quickstart-rnn-seed0"]


def test_compare_gives_every_cell_the_same_data(seqtrain):
    seqtrain("compare", "quickstart", *QUICK, "--cells", "rnn,lstm", "--seeds", 2)
    prints = {}
    for path in Path("runs/compare-quickstart").glob("*/last.safetensors"):
        header = load_checkpoint(path).header
        prints.setdefault(header.config["seed"], set()).add(header.fingerprints["test"])
    assert [len(found) for found in prints.values()] == [1, 1]
    assert prints[0] != prints[1]


def test_a_diverging_run_is_a_row(seqtrain):
    wild = ("optimizer=sgd", "optimizer.lr=1e38", "optimizer.clip_norm=null", "model.cell.nonlinearity=relu")
    result = seqtrain(
        "compare", "quickstart", "model.cell=rnn", *QUICK, *wild, "--cells", "rnn,lstm", "--seeds", 1, "--json"
    )
    assert result.code == 0
    assert [row["diverged"] for row in result.json["cells"]] == [1, 1]
    assert "lstm has no nonlinearity; compared without" in result.err


def test_compare_carries_the_options_that_other_cells_have(seqtrain):
    seqtrain("compare", "copy-memory", *QUICK, "task.length=5", "--cells", "lstm,gru,rnn", "--seeds", 1)
    found = {
        path.parent.name: json.dumps(path.read_text())
        for path in Path("runs/compare-copy-memory").glob("*/config.yaml")
    }
    assert "chrono: 150" in found["copy-memory-gru-seed0"]
    assert "chrono" not in found["copy-memory-rnn-seed0"]


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
    import shutil

    shutil.copytree("r/forward0", "r/copy")
    assert "is the same run as" in seqtrain("compare", "r/forward0", "r/copy").err
    seqtrain("train", "quickstart", *QUICK, "--out", "r/other")
    assert "are not of one task" in seqtrain("compare", "r/other", "r/forward0").err


def test_compare_refuses(seqtrain):
    for arguments, wanted in (
        (("quickstart", "--cells", "rnn,gruu"), "did you mean 'gru'?"),
        (("quickstart", "--cells", "rnn,rnn"), "rnn stands twice"),
        (("quickstart", "words"), "takes one config, or run directories; got quickstart, words"),
        (("nowhere",), "no shipped config of that name"),
    ):
        refused = seqtrain("compare", *arguments)
        assert (refused.code, refused.out) == (2, "")
        assert wanted in refused.err
    seqtrain("compare", "quickstart", *QUICK, "--cells", "rnn", "--seeds", 1)
    Path("a.txt").write_text("a")
    for arguments, wanted in (
        (("--budget", "steps=2.7"), "--budget steps=2.7: steps are whole; write a whole number"),
        (("--vary", "task.length=.nan,5"), "two or more different plain values"),
        ((f"seed={2**63 - 1}", "--seeds", 2), "the seeds counted from there go beyond"),
        ((f"seed={2**63 - 10**6}", "--grid", "optimizer.lr=1,2"), "the seeds counted from there go beyond"),
        (("--seeds", 10_001), "Invalid value for '--seeds'"),
    ):
        refused = seqtrain("compare", "quickstart", "--cells", "rnn", *arguments)
        assert (refused.code, refused.out) == (2, "")
        assert wanted in refused.err, refused.err
    idle = seqtrain("compare", "runs/compare-quickstart", "--jobs", 2)
    assert (idle.code, "--jobs 2: there is nothing to train among runs that exist" in idle.err) == (2, True)
    odd = seqtrain("compare", "runs/compare-quickstart", "a.txt", "nowhere", "--seeds", 2).err.splitlines()
    assert "a.txt: holds no run" in odd[0]
    assert "nowhere: there is no such run directory" in odd[1]
    assert "--seeds: says what to train" in odd[2]
    changed = seqtrain("compare", "quickstart", *QUICK, "model.hidden_size=9", "--cells", "rnn", "--seeds", 1)
    assert changed.code == 2
    assert "holds a run with model.hidden_size 6 (now 9)" in changed.err


def test_runs_from_before_a_setting_existed_are_done_all_the_same(seqtrain):
    command = ("compare", "quickstart", *QUICK, "--cells", "rnn", "--seeds", 1)
    seqtrain(*command)
    path = Path("runs/compare-quickstart/quickstart-rnn-seed0/config.yaml")
    config = yaml.safe_load(path.read_text())
    del config["train"]["on_divergence"], config["engine"]
    path.write_text(yaml.safe_dump(config))
    assert "done already" in seqtrain(*command).err
    config["train"]["on_divergence"] = "skip"
    path.write_text(yaml.safe_dump(config))
    assert "holds a run with train.on_divergence 'skip' (now 'stop')" in seqtrain(*command).err


def test_everything_that_is_wrong_is_said_at_once(seqtrain):
    wrong = {
        "--level": 2, "--eval-lengths": "x", "--cells": "lsmt,{name: rmn},gru", "--grid": "optimizer.lr=1",
        "--budget": "hours=1", "--match": "param", "--vary": "seed=1,2", "--assert": "a >",
    }  # fmt: skip
    refused = seqtrain("compare", "quickstart", "task.lenght=3", *(word for pair in wrong.items() for word in pair))
    told = [line.removeprefix("seqtrain: ").split()[0].rstrip(":") for line in refused.err.splitlines()]
    wanted = ["--level", "--eval-lengths", "--cells", "--cells", "--grid", "--budget", "--match", "--vary", "--assert"]
    assert (refused.code, told) == (2, [*wanted, "task.lenght=3"])


def test_two_comparisons_do_not_share_a_folder(seqtrain):
    from seqtrain.runs.directory import RunDir

    folder = RunDir(Path("o"))
    folder.create()
    with folder.locked():
        refused = seqtrain("compare", "quickstart", *QUICK, "--cells", "rnn", "--seeds", 1, "--out", "o")
    assert (refused.code, list(Path("o").glob("*seed*"))) == (2, [])
    assert "o: " in refused.err


def test_points_are_in_the_order_of_their_numbers_and_a_run_counts_once(seqtrain):
    for length in (30, 5, 100):
        seqtrain("train", "quickstart", *QUICK, f"task.length={length}", "--out", f"r/{length}")
    found = seqtrain("compare", "r/30", "r/5", "r/100", Path("r/5").absolute(), "--out", "o", "--json").json
    assert [(row["at"], row["runs"]) for row in found["cells"]] == [(5, 1), (30, 1), (100, 1)]


def test_compare_tells_ablations_apart(seqtrain):
    cells = "{name: odyssey, ablation: none}, {name: odyssey, ablation: no_forget_gate}"
    found = seqtrain("compare", "quickstart", *QUICK, "--cells", cells, "--seeds", 1, "--json").json
    rows = {row["cell"]: row["parameters"] for row in found["cells"]}
    gate = 6 * (2 + 6 + 1) + 6  # of 6 units: from 2 inputs and 6 outputs, a bias and a peephole
    assert rows["odyssey ablation=none"] == rows["odyssey ablation=no_forget_gate"] + gate
    assert {run["engine"] for run in found["runs"]} == {"reference"}
    gathered = seqtrain("compare", "runs/compare-quickstart", "--json").json
    assert {row["cell"]: row["parameters"] for row in gathered["cells"]} == rows


# --- what is equal over the cells -------------------------------------------------------------------------------


def test_match_params_brings_the_cells_to_the_same_size(seqtrain):
    """The nearest there is: one unit more or less is farther off."""
    found = seqtrain(
        "compare", "quickstart", *QUICK, "model.hidden_size=30", "--match", "params", "--seeds", 1, "--json"
    )
    rows = {row["cell"]: row for row in found.json["cells"]}
    wanted = rows["lstm"]["parameters"]
    assert rows["lstm"]["hidden_size"] == 30
    weights = {  # gates (H (I + H) + H), vectors, head
        "rnn": lambda H: H * (2 + H) + H + H + 1,
        "peephole": lambda H: 4 * (H * (2 + H) + H) + 3 * H + H + 1,
        "coupled": lambda H: 3 * (H * (2 + H) + H) + H + 1,
        "gru": lambda H: 3 * (H * (2 + H) + H) + H + H + 1,
    }
    for cell, count in weights.items():
        H = rows[cell]["hidden_size"]
        assert rows[cell]["parameters"] == count(H)
        assert abs(count(H) - wanted) <= min(abs(count(H + 1) - wanted), abs(count(H - 1) - wanted))
        assert rows[cell]["off"] == pytest.approx(count(H) / wanted - 1)
    assert "hidden sizes matched by params: rnn" in found.err
    assert "different sizes" not in json.dumps(found.json["notes"])
    plain = seqtrain("compare", "quickstart", *QUICK, "--seeds", 1, "--out", "plain", "--json").json
    assert "lstm has" in " ".join(plain["notes"]) or "peephole has" in " ".join(plain["notes"])


def test_layers_of_different_sizes_keep_their_proportions(seqtrain):
    found = seqtrain(
        "compare", "quickstart", *QUICK, "model.hidden_size=[40, 20]", "--match", "params", "--cells", "rnn,lstm",
        "--seeds", 1, "--json",
    ).json  # fmt: skip
    low, high = found["cells"][0]["hidden_size"]
    assert low > 60
    assert high == pytest.approx(low / 2, abs=1)


def test_match_step_time_is_measured_once(seqtrain, monkeypatch):
    """A clock of the test's own: a step of the rnn takes one unit for each of its hidden units, of the gru three."""
    from seqtrain.compare import matching as match

    cost = {"rnn": 1, "gru": 3, "lstm": 4}
    timed = []

    def ratio(config, reference, task):
        timed.append(config.model.cell.name)
        return cost[config.model.cell.name] * config.model.hidden_size / (cost["lstm"] * reference.model.hidden_size)

    monkeypatch.setattr(match, "relative_step_time", ratio)
    command = (
        "compare",
        "quickstart",
        *QUICK,
        "--match",
        "step-time",
        "--cells",
        "rnn,lstm,gru",
        "--seeds",
        1,
        "--json",
    )
    first = seqtrain(*command).json
    assert [row["hidden_size"] for row in first["cells"]] == [24, 6, 8]
    assert [row["off"] for row in first["cells"]] == [0, 0, 0]
    other = ("model.cell=rnn", "--cells", "gru", "--json")  # another cell to be as fast as, in the same folder
    cost["lstm"] = 1
    found = seqtrain("compare", "quickstart", *QUICK, "--match", "step-time", "--seeds", 1, *other)
    assert "holds a run with model.hidden_size 8 (now 2)" in found.err
    cost["lstm"] = 4
    timed.clear()
    again = seqtrain(*command)
    assert timed == []
    assert again.err.count("done already") == 3
    assert again.json["cells"] == first["cells"]


def test_what_equal_hidden_sizes_leave_over_is_beside_the_reference(seqtrain):
    """An LSTM has four blocks of weights for the plain RNN's one, and the same head: 6 outputs and a bias."""
    cells = ("--cells", "lstm,rnn", "--reference", "rnn", "--seeds", 1)
    rows = seqtrain("compare", "quickstart", *QUICK, *cells, "--json").json["cells"]
    one = 6 * (2 + 6 + 1)
    assert [row["off"] for row in rows] == [pytest.approx((4 * one + 7) / (one + 7) - 1), 0]


def test_step_times_are_taken_in_turns(monkeypatch):
    from seqtrain.compare import matching as match

    taken, clock = [], [0.0]

    def trial(name, _):
        def step(number):
            taken.append((number, name))
            clock[0] += 100 if number < 2 else {"a": 1, "b": 2}[name]  # the first two are to warm up

        return step

    monkeypatch.setattr(match, "trial", trial)
    monkeypatch.setattr(match.time, "perf_counter", lambda: clock[0])
    assert match.step_seconds([("a", None), ("b", None)], 1) == [1, 2]
    assert taken == [(number, name) for number in range(3) for name in "ab"]
    taken.clear()
    match.step_seconds([("a", None), ("b", None)], 1, 5.0)
    assert len(taken) == 2 * (2 + 5)  # until the faster one, too, was timed for 5 seconds


def test_step_times_are_real_ones():
    from seqtrain.compare.matching import relative_step_time, step_seconds
    from seqtrain.config import load_config
    from seqtrain.config.build import build_task

    small, large = (
        load_config("quickstart", [*SMALL_SETS, f"model.hidden_size={size}", "task.length=50"]) for size in (4, 256)
    )
    task = build_task(small)
    assert relative_step_time(large, small, task) > 3
    fast, slow = step_seconds([(small, task), (large, task)], 5)
    assert 0 < fast < slow


@pytest.mark.parametrize(
    ("budget", "steps"), [("steps=3", 3), ("sequences=22", 6), ("seconds=1e-9", None), ("tokens=50", None)]
)
def test_budgets(seqtrain, budget, steps):
    """Batches of 4 sequences; a budget that is used up within one begins it."""
    done = seqtrain("compare", "quickstart", *QUICK, "--cells", "rnn", "--seeds", 1, "--budget", budget, "--json")
    if steps is None:
        assert done.code == 2
        wanted = "is less than one step of rnn" if "seconds" in budget else "choose one of steps, seconds, sequences"
        assert wanted in done.err
    else:
        assert done.json["runs"][0]["steps"] == steps


def test_a_budget_of_tokens_on_a_text(seqtrain, text_folder):
    small = ("model.hidden_size=6", "train.batch_size=4", "task.window=5", f"task.path={text_folder}")
    done = seqtrain("compare", "words", *small, "--cells", "rnn", "--seeds", 1, "--budget", "tokens=100", "--json")
    assert done.json["runs"][0]["steps"] == 5
    assert done.json["cells"][0]["solvable"] is False
    table = seqtrain("compare", "words", *small, "--cells", "rnn", "--seeds", 1, "--budget", "tokens=100").out
    assert "solved" not in table
    assert "valid perplexity" in table


def test_a_budget_in_seconds_is_kept_when_repeated(seqtrain, monkeypatch):
    from seqtrain.compare import matching as match

    monkeypatch.setattr(match, "step_seconds", lambda those, *_: [0.5] * len(those))
    command = ("compare", "quickstart", *QUICK, "--cells", "rnn", "--seeds", 1, "--budget", "seconds=2", "--json")
    assert seqtrain(*command).json["runs"][0]["steps"] == 4
    monkeypatch.setattr(match, "step_seconds", lambda those, *_: [0.1] * len(those))
    assert seqtrain(*command).json["runs"][0]["steps"] == 4


@pytest.mark.parametrize(
    "spoilt", ["[" * 100_000, "[]", '"x"', "entry: null", 'entry: {"settings": 5, "off": 0}', "pipe"]
)
def test_timings_that_cannot_be_read_are_made_anew(seqtrain, monkeypatch, spoilt):
    from seqtrain.compare import matching as match

    monkeypatch.setattr(match, "step_seconds", lambda those, *_: [0.5] * len(those))
    command = ("compare", "quickstart", *QUICK, "--cells", "rnn", "--seeds", 1, "--budget", "seconds=2", "--json")
    first = seqtrain(*command).json
    path = Path("runs/compare-quickstart/measured.json")
    content = path.read_text()
    if spoilt == "pipe":
        path.unlink()
        os.mkfifo(path)
    elif spoilt.startswith("entry: "):
        (key,) = json.loads(content)
        path.write_text(json.dumps({key: json.loads(spoilt.removeprefix("entry: "))}))
    else:
        path.write_text(spoilt)
    assert seqtrain(*command).json["cells"] == first["cells"]
    assert path.read_text() == content


# --- tuning -----------------------------------------------------------------------------------------------------


def test_a_grid_is_tuned_on_validation_with_other_seeds(seqtrain):
    """With a learning rate of 1e-9 nothing is learnt, so it is never chosen; the test set has no say."""
    rates = ("--grid", "optimizer.lr=1e-9,1e-2,1.1e-2", "--grid", "train.batch_size=4,8")
    command = (
        "compare", "quickstart", *QUICK, "train.steps=40", "train.eval_every=40", "--cells", "rnn,gru", "--seeds", 2,
        *rates, "--json",
    )  # fmt: skip
    done = seqtrain(*command).json
    tuning = sorted(path.name for path in Path("runs/compare-quickstart/tuning").iterdir())
    assert len(tuning) == 2 * 3 * 2 * 2
    assert all(name.endswith(("-seed1000000", "-seed1000001")) for name in tuning)
    for entry, row in zip(done["tuning"], done["cells"], strict=True):
        best = min(entry["points"], key=lambda point: point["valid"])
        assert entry["chosen"] == {key: best[key] for key in ("optimizer.lr", "train.batch_size")}
        assert entry["chosen"]["optimizer.lr"] != 1e-9
        assert ("optimizer.lr" in entry["at_the_edge"]) == (entry["chosen"]["optimizer.lr"] == 1.1e-2)
        runs = [run for run in done["runs"] if run["row"] == row["cell"]]
        for run in runs:
            told = (Path(run["run"]) / "config.yaml").read_text()
            assert f"lr: {entry['chosen']['optimizer.lr']}" in told
        assert sorted(run["seed"] for run in runs) == [0, 1]
    assert seqtrain(*command).json["tuning"] == done["tuning"]
    gathered = seqtrain("compare", "runs/compare-quickstart", "--json").json
    assert (gathered["tuning"], gathered["match"]) == (done["tuning"], "hidden")


def test_a_grid_may_choose_the_optimizer(seqtrain):
    """The settings of one optimizer are no settings of the other, but what nobody set is no setting."""
    grid = ("--grid", "optimizer.name=adam,sgd", "--tuning-seeds", 1)
    done = seqtrain("compare", "quickstart", *QUICK, "--cells", "rnn", "--seeds", 1, *grid, "--json")
    assert done.code == 0, done.err
    found = sorted(path.name for path in Path("runs/compare-quickstart/tuning").iterdir())
    assert [yaml.safe_load(Path("runs/compare-quickstart/tuning", name, "config.yaml").read_text())["optimizer"]["name"]
            for name in found] == ["adam", "sgd"]  # fmt: skip


def test_a_grid_over_sizes_leaves_nothing_matched(seqtrain):
    grid = ("--grid", "model.hidden_size=3,6", "--tuning-seeds", 1)
    command = ("compare", "quickstart", *QUICK, "--cells", "rnn,gru", "--seeds", 1, *grid)
    done = seqtrain(*command, "--json").json
    assert (done["match"], [row["off"] for row in done["cells"]]) == (None, [None, None])
    assert "--match hidden sets the sizes; leave one of them out" in seqtrain(*command, "--match", "hidden").err


def test_a_comparison_that_is_still_tuned_is_not_gathered(seqtrain):
    grid = ("--grid", "optimizer.lr=1e-3,1e-2", "--tuning-seeds", 1)
    line = seqtrain("compare", "quickstart", *QUICK, "--cells", "rnn", "--seeds", 1, *grid, "--out", "o", "--dry-run")
    seqtrain(*shlex.split(line.out.splitlines()[0])[1:])
    refused = seqtrain("compare", "o")
    assert (refused.code, refused.out) == (2, "")
    assert "o: is a comparison without a run to compare yet" in refused.err


def test_the_edge_of_a_grid_is_said():
    from seqtrain.compare.plan import Setting
    from seqtrain.compare.tuning import _edges

    grid = [
        Setting("a", (1, 2, 3)),
        Setting("b", (1, 2)),
        Setting("c", ("x", "y", "z")),
        Setting("d", (True, False, 2)),
    ]
    assert _edges({"a": 1, "b": 1, "c": "x", "d": True}, grid) == ["a", "b"]
    assert _edges({"a": 3, "b": 2, "c": "z", "d": True}, grid) == ["a", "b"]
    assert _edges({"a": 2, "b": 1, "c": "x", "d": True}, grid) == ["b"]


def test_tuning_does_not_look_at_the_test_set():
    from seqtrain.compare.load_runs import FinishedRun
    from seqtrain.compare.tuning import _score

    def rank(valid, test):
        summary = {
            "best": {"value": valid}, "test": {"m": test}, "solved_at_step": None, "planned_steps": 9, "steps": 9,
            "metric": {"name": "m", "higher_is_better": False},
        }  # fmt: skip
        return _score([FinishedRun(Path("x"), {}, summary, [])]).rank

    assert rank(0.1, 9.0) > rank(0.2, 0.0)
    assert rank(0.1, 9.0) == rank(0.1, 0.0)


def test_tuning_prefers_what_is_solved_and_then_what_is_solved_sooner():
    from seqtrain.compare.load_runs import FinishedRun
    from seqtrain.compare.tuning import _score

    def rank(*runs, higher=False):
        made = [
            {"best": {"value": value}, "solved_at_step": step, "planned_steps": 100, "steps": 100,
             "metric": {"higher_is_better": higher}}
            for value, step in runs
        ]  # fmt: skip
        return _score([FinishedRun(Path("x"), {}, summary, []) for summary in made]).rank

    assert rank((0.5, 50), (0.5, 50)) > rank((0.1, 10), (0.1, None))
    assert rank((0.5, 50), (0.5, 50)) > rank((0.1, 50), (0.1, 60))
    assert rank((0.1, None)) > rank((0.2, None))
    assert rank((0.1, None), higher=True) < rank((0.2, None), higher=True)
    assert rank((9.0, None), (9.0, None)) > rank((0.1, None), (None, None))


# --- curves -----------------------------------------------------------------------------------------------------


def test_vary_compares_at_each_value(seqtrain):
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


def test_vary_counts_how_far_cells_get():
    from seqtrain.compare.load_runs import FinishedRun, Group
    from seqtrain.compare.significance import longest_solved

    def group(at, *solved):
        runs = [FinishedRun(Path("x"), {}, {"solved_at_step": 5 if one else None}, []) for one in solved]
        return Group("rnn", at, runs)

    assert longest_solved([group(100, 0), group(50, 1)]) == {"rnn": 50}
    assert longest_solved([group("a", 1)]) is None
    assert longest_solved([group(True, 1)]) is None

    assert longest_solved([group(10, 1, 1, 0), group(20, 1, 1, 1), group(40, 1, 0, 0), group(80, 1, 1, 1)]) == {
        "rnn": 20
    }
    assert longest_solved([group(10, 1, 0), group(20, 1, 1)]) == {"rnn": None}


# --- many at a time ---------------------------------------------------------------------------------------------


def test_jobs_do_what_one_after_the_other_does(seqtrain):
    """The same numbers from processes of their own, the cores divided."""
    command = ("compare", "quickstart", *QUICK, "threads=1", "--cells", "rnn,gru", "--seeds", 1, "--json")
    alone = seqtrain(*command, "--out", "alone").json
    both = seqtrain(*command, "--jobs", 2, "--out", "both")
    assert both.err.count("finished after 4 steps") == 2
    assert [row["metric"] for row in both.json["cells"]] == [row["metric"] for row in alone["cells"]]
    assert sorted(path.name for path in Path("both").iterdir()) == sorted(path.name for path in Path("alone").iterdir())


def test_a_job_that_fails_is_said_and_ends_the_comparison(seqtrain, tmp_path):
    blocked = tmp_path / "out/quickstart-gru-seed0"
    blocked.parent.mkdir()
    blocked.write_text("in the way")
    failed = seqtrain("compare", "quickstart", *QUICK, "--cells", "gru", "--seeds", 1, "--jobs", 2, "--out", "out")
    assert failed.code == 2
    assert "quickstart-gru-seed0" in failed.err
    assert "Traceback" not in failed.err


def test_few_processes_train_many_runs(seqtrain, monkeypatch):
    """A worker goes on with the next run; each run is as it would be alone, whatever was trained before it."""
    started = []
    worker = jobs._Worker
    monkeypatch.setattr(jobs, "_Worker", lambda *arguments: started.append(worker(*arguments)) or started[-1])
    command = ("compare", "quickstart", *QUICK, "threads=1", "--cells", "rnn,lstm,gru", "--seeds", 2, "--json")
    many = seqtrain(*command, "--jobs", 2, "--out", "many").json
    assert (len(started), many["cells"][0]["runs"]) == (2, 2)
    alone = seqtrain(*command, "--out", "alone").json
    assert [row["metric"] for row in many["cells"]] == [row["metric"] for row in alone["cells"]]


def test_a_worker_that_dies_is_said_with_its_last_words(seqtrain, tmp_path):
    """Not a fault of the input, so exit code 1; a cell may crash, or the system may kill for memory."""
    (tmp_path / "fatal.py").write_text(
        "import os, sys\nfrom seqtrain.cells.rnn import RNNCell\n"
        "class Fatal(RNNCell):\n"
        "    def step(self, *inputs):\n"
        "        if 'worker' in sys.argv[0]:\n"
        "            os.write(2, b'last words')\n"
        "            os._exit(77)\n"
        "        return super().step(*inputs)\n"
    )
    died = seqtrain(
        "compare", "quickstart", *QUICK, "--cells", "fatal:Fatal,gru", "--seeds", 1, "--jobs", 2, "--out", "o"
    )
    assert died.code == 1
    assert "o/quickstart-fatal.Fatal-seed0: its process ended with exit code 77: last words" in died.err
    assert "Traceback" not in died.err


def test_what_a_cell_prints_is_no_answer(seqtrain, tmp_path):
    (tmp_path / "loud.py").write_text(
        "from seqtrain.cells.rnn import RNNCell\n"
        "class Loud(RNNCell):\n"
        "    def __init__(self, input_size, hidden_size):\n"
        "        super().__init__(input_size, hidden_size)\n"
        "        print(5)\n"
    )
    done = seqtrain(
        "compare", "quickstart", *QUICK, "--cells", "loud:Loud,gru", "--seeds", 1, "--jobs", 2, "--out", "o"
    )
    assert done.code == 0
    assert done.err.count("finished after 4 steps") == 2


def test_a_worker_stops_when_whoever_asked_is_gone(tmp_path, monkeypatch):
    """The parent was killed: the run under way is saved, and its directory is free for the next."""
    monkeypatch.chdir(tmp_path)
    long = load_config("quickstart", [*QUICK, "train.steps=1000000", "threads=1"])
    with subprocess.Popen(
        [sys.executable, "-m", "seqtrain.compare.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as worker:
        print(json.dumps({"config": long.model_dump(), "out": "run"}), file=worker.stdin, flush=True)
        ends = time.monotonic() + 60
        while not Path("run/last.safetensors").exists():
            assert time.monotonic() < ends
            time.sleep(0.05)
        worker.stdin.close()
        assert json.loads(worker.stdout.readline())["code"] == 143
    assert json.loads(Path("run/summary.json").read_text())["status"] == "interrupted"


def test_a_condition_on_a_finished_comparison_changes_nothing_in_its_report(seqtrain):
    seqtrain(
        "compare", "quickstart", *QUICK, "--cells", "rnn,gru", "--seeds", 1, "--eval-lengths", "30", "--out", "o",
        "--grid", "optimizer.lr=1e-3,1e-2",
    )  # fmt: skip
    before = {name: Path("o", name).read_text() for name in ("results.md", "results.csv")}
    assert "| 30 |" in before["results.md"]
    assert seqtrain("compare", "o", "--assert", "rnn.runs == 1").code == 0
    assert {name: Path("o", name).read_text() for name in before} == before


def test_a_signal_stops_the_jobs_and_the_same_command_goes_on(tmp_path):
    command = [
        sys.executable, "-m", "seqtrain", "compare", "quickstart", "train.steps=100000", "train.eval_every=20",
        "train.stop_when_solved=false", "model.hidden_size=6", *SMALL_SETS, "--cells", "rnn,gru", "--seeds", "1",
        "--jobs", "2", "--out", "out", "--json",
    ]  # fmt: skip
    steps = [0, 0]
    for _ in range(2):
        running = subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        ends = time.monotonic() + 60
        while not all(now > before for now, before in zip(_last_steps(tmp_path), steps, strict=False)) or (
            len(_last_steps(tmp_path)) < 2
        ):
            assert time.monotonic() < ends
            time.sleep(0.1)
        running.send_signal(signal.SIGTERM)
        out, err = running.communicate(timeout=60)
        assert (running.returncode, json.loads(out)) == (143, {"status": "interrupted"})
        for path in tmp_path.glob("out/quickstart-*"):
            assert json.loads((path / "summary.json").read_text())["status"] == "interrupted", err
        steps = _last_steps(tmp_path)


def _last_steps(folder):
    """Of the last record of each run, in the order of their names."""
    lines = [path.read_text().splitlines() for path in sorted(folder.glob("out/*/metrics.jsonl"))]
    return [json.loads(records[-1])["step"] for records in lines if records]


def test_the_cores_are_divided_among_the_jobs(seqtrain, monkeypatch):
    monkeypatch.setattr(jobs, "cores", lambda: 7)
    seqtrain("compare", "quickstart", *QUICK, "--cells", "rnn", "--seeds", 1, "--jobs", 3, "--out", "o")
    assert json.loads(Path("o/quickstart-rnn-seed0/summary.json").read_text())["threads"] == 2


def test_the_board_shows_what_is_running(seqtrain):
    from rich.console import Console

    from seqtrain.compare.executor import _board
    from seqtrain.compare.plan import PlannedRun

    seqtrain("train", "quickstart", *QUICK, "--out", "r/a")
    job = SimpleNamespace(run=PlannedRun(None, Path("r/a")), started_at=time.monotonic() - 75)
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(_board([job], 3, 9))
    shown = console.export_text()
    assert "3 of 9 runs done, 1 running" in shown
    row = next(line.split() for line in shown.splitlines() if line.strip().startswith("a "))
    assert (row[1], row[3]) == ("4", "75")


TINY = ("model.hidden_size=4", "train.steps=4", "train.eval_every=2", "train.batch_size=4")


@pytest.mark.parametrize(
    ("config", "setting", "length"),
    [("adding-hochreiter", "length", 30), ("brackets", "length", 100), ("counting", "limit", 60),
     ("long-lag", "lag", 30), ("parity", "eval_length", 70), ("recall", "delay", 20), ("stories", "distance", 12),
     ("timing", "spikes", 20), ("two-sequence", "length", 50), ("lookaround", "length", 30)],
)  # fmt: skip
def test_every_task_is_evaluated_at_what_it_calls_its_length(seqtrain, config, setting, length):
    command = ("compare", config, *TINY, "--cells", "lstm", "--seeds", 1)
    (row,) = seqtrain(*command, "--eval-lengths", length, "--json").json["lengths"]
    assert (row["setting"], row["length"], row["trained"]) == (f"task.{setting}", length, False)
    run = next(Path(f"runs/compare-{config}").glob("*seed0"))
    alone = seqtrain("eval", run, f"task.{setting}={length}", "--json").json
    assert alone[alone["metric"]["name"]] == row["metric"]["mean"]


def test_what_the_baseline_does_is_not_solved(seqtrain):
    """Of strings of 100 brackets with one kind, 99.4 % of the answers are the same."""
    command = ("compare", "brackets", *TINY, "--cells", "lstm", "--seeds", 1, "--eval-lengths", 100, "--json")
    (row,) = seqtrain(*command).json["lengths"]
    assert (row["metric"]["mean"] > 0.99, row["solved"]) == (True, 0)


def test_a_row_of_another_length_counts_what_is_solved():
    from seqtrain.compare.length_generalization import _row
    from seqtrain.compare.load_runs import FinishedRun, Group

    run = FinishedRun(Path("x"), {"task": {"length": 5}}, {"task": "adding", "metric": {"name": "m"}}, [])
    results = [{"m": 1.0, "solved": True}, {"m": 3.0, "solved": False}, {"m": 2.0, "solved": True}]
    row = _row(Group("rnn", 7, [run] * 3), "task.length", 5, results)
    assert (row["solved"], row["runs"], row["trained"], row["metric"]["mean"], row["at"]) == (2, 3, True, 2.0, 7)
    assert row["metric"]["low"] == 0.0  # of an error; Student's interval begins at -0.48


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
    assert early.json["reference"] == "gru"  # the first: in another folder nothing is known
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


# --- what is left behind ----------------------------------------------------------------------------------------


def test_a_line_a_run_in_csv(seqtrain):
    seqtrain("compare", "quickstart", *QUICK, "--cells", "rnn,gru", "--seeds", 2, "--out", "o")
    lines = list(csv.DictReader(io.StringIO(Path("o/results.csv").read_text())))
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


def test_what_the_pictures_show(tmp_path, monkeypatch):
    """Lines, bands, baseline and intervals by their numbers, on the axes that are saved."""
    from seqtrain.compare import plots as pictures
    from seqtrain.compare.load_runs import FinishedRun, Group, row_of
    from seqtrain.compare.statistics import mean_interval, share_interval

    def made(seed, solved, curve):
        summary = {
            "task": "adding", "variant": "v", "metric": {"name": "mse", "higher_is_better": False}, "seed": seed,
            "baseline": {"mse": 0.5}, "status": "finished", "solved_at_step": solved, "test": {"mse": 0.1 * (seed + 1)},
            "hidden_size": 1, "parameters": 1, "steps": 20, "planned_steps": 20, "sequences_per_s": 1.0,
        }  # fmt: skip
        metrics = [{"split": "valid", "step": step, "mse": value} for step, value in curve.items()]
        return FinishedRun(Path("x"), {"train": {}}, summary, metrics)

    saved = {}
    monkeypatch.setattr(pictures, "_save", lambda figure, path: saved.update({path.stem: figure}))
    runs = [made(0, 10, {10: 0.2}), made(1, None, {10: 0.4, 20: 0.3})]
    groups = [Group("a", 7, runs)]
    rows = [row_of(group) for group in groups]
    pictures.draw(groups, rows, None, tmp_path)
    lines = {line.get_label(): line for line in saved["curves"].axes[0].lines}
    mean = lines["a (solved 1 of 2)"]
    assert list(mean.get_xdata()) == [10, 20]
    assert list(mean.get_ydata()) == pytest.approx([0.3, 0.25])  # the one that stopped keeps its last value
    assert set(lines["baseline 0.5"].get_ydata()) == {0.5}
    band = saved["curves"].axes[0].collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((0, mean_interval([0.2, 0.4]).high))
    spots = [(list(line.get_xdata()), line.get_marker()) for line in saved["metric"].axes[0].lines]
    assert ([0.1, 0.2], "o") in [(pytest.approx(x), marker) for x, marker in spots]
    (cross,) = [x for x, marker in spots if marker == "D"]
    assert cross == pytest.approx([0.15])
    pictures.draw(groups, rows, "task.length", tmp_path)
    (bar,) = saved["success"].axes[0].containers
    (segment,) = bar.lines[2][0].get_segments()
    wilson = share_interval(1, 2)
    assert [point[1] for point in segment] == pytest.approx([wilson.low, wilson.high])
    assert list(bar.lines[0].get_ydata()) == [0.5]


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
    assert set(done["files"]) == {"results.json", "results.csv", "results.md", "report.html"}
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
    assert len(tags.addresses) == 2
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
    assert seqtrain("compare", "r", "--level", "7").code == 2
    assert seqtrain("compare", "r", "--eval-lengths", "1").code == 2
    seqtrain("train", "quickstart", *QUICK, "model.cell=lstm", "optimizer.lr=0.1", "--out", "r/lstm")
    notes = seqtrain("compare", "r", "--json").json["notes"]
    assert any("not differ in the cell alone, but also in optimizer.lr" in note for note in notes)


def test_a_comparison_is_gathered_under_its_own_names(seqtrain):
    """Alone, `gru reset=before` would be called gru, and the reference be missing."""
    cells = "{name: gru, reset: before}, rnn"
    made = seqtrain("compare", "quickstart", *QUICK, "--cells", cells, "--seeds", 1, "--match", "params", "--json").json
    again = seqtrain("compare", "runs/compare-quickstart", "--json").json
    for key in ("cells", "verdicts", "reference", "match", "notes"):
        assert again[key] == made[key]
    assert len(made["verdicts"]) == 1


def test_options_of_the_configs_cell_reach_cells_with_options_of_their_own(seqtrain):
    done = seqtrain(
        "compare", "copy-memory", *QUICK, "task.length=5", "--cells", "lstm,{name: gru, reset: before}",
        "--seeds", 1, "--json",
    ).json  # fmt: skip
    assert "chrono: 150" in (Path(done["runs"][1]["run"]) / "config.yaml").read_text()
    assert "reset: before" in (Path(done["runs"][1]["run"]) / "config.yaml").read_text()


def test_level_and_reference_are_those_asked_for(seqtrain):
    done = seqtrain(
        "compare", "quickstart", *QUICK, "--cells", "rnn,gru", "--seeds", 1, "--level", "0.2", "--reference", "gru",
        "--json",
    ).json  # fmt: skip
    assert (done["level"], done["reference"]) == (0.2, "gru")
    assert done["cells"][0]["versus"]["reference"] == "gru"
    own = seqtrain("compare", "quickstart", *QUICK, "--cells", "rnn,lstm", "--seeds", 1, "--json").json
    assert own["reference"] == "lstm"


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


def test_a_cell_that_cannot_fit_is_refused_before_any_is_trained(seqtrain):
    huge = "model.hidden_size=[100000, 100000, 100000]"
    refused = seqtrain("compare", "quickstart", *QUICK, huge, "--cells", "lstm,gru", "--out", "o")
    assert (refused.code, "model.hidden_size: training needs at least" in refused.err) == (2, True)
    assert not list(Path("o").iterdir())


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


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (("--match", "size"), "--match size: choose one of hidden, params, step-time"),
        (("--grid", "optimizer.lr=1e-3"), "write a setting and two or more different plain values, e.g. optimizer.lr="),
        (("--grid", "optimizer.lr=1e-3,1e-3"), "two or more different plain values"),
        (("--vary", "model.hidden_size=[6,6],[4,4]"), "two or more different plain values"),
        (("--vary", "task.length"), "e.g. task.length=50,100,200"),
        (("--vary", "task.lenght=5,6"), "task.lenght"),
        (("--vary", "seed=1,2"), "--vary seed: --seeds counts the seeds"),
        (("--vary", "model.cell=rnn,lstm"), "--vary model.cell: --cells names the cells"),
        (("--vary", "threads=1,2"), "--vary threads: it changes nothing but the time"),
        (("--grid", "model.cell.name=rnn,lstm"), "--grid model.cell.name: --cells names the cells"),
        (("--grid", "task.length=5,6"), "--grid task.length: each cell would get a task of its own; use --vary"),
        (("--grid", "model.hidden_size=5,6", "--match", "params"), "--match params sets the sizes"),
        (("--vary", "train.steps=5,6", "--budget", "steps=5"), "--budget sets it for every run"),
        (("--grid", "train.batch_size=5,6", "--budget", "sequences=50"), "the budget buys other steps"),
        (("--cells", "gru,{name: gru, reset: after}"), "gru and gru reset=after are the same cell"),
        (("--eval-lengths", "1"), "--eval-lengths: "),
        (("--vary", "train.log_every=2,3", "--cells", "{name: rnn, nonlinearity: tanh},rnn"), "are the same cell"),
        (("--grid", "task.length=5,6", "--vary", "task.length=5,6"), "task.length stands twice"),
        (("--budget", "hours=3"), "--budget hours=3: write one of steps, sequences, tokens, seconds"),
        (("--budget", "steps=-3"), "--budget steps=-3"),
        (("--tuning-seeds", "3"), "there is no --grid to tune"),
        (("--level", "5"), "--level is 5; it must lie between 0.001 and 0.5"),
        (("--eval-lengths", "long"), "write whole numbers with commas between"),
        (("--reference", "gruu"), "is no cell of this comparison"),
        (("--cells", "5,rnn"), "write names with commas between"),
        (("--cells", "{name: gru, resett: after}"), "resett"),
        (("--assert", "lstm.test.mse"), "ends where a comparison is needed"),
    ],
)
def test_options_that_cannot_be(seqtrain, options, wanted):
    refused = seqtrain("compare", "quickstart", *QUICK, *options)
    assert (refused.code, refused.out) == (2, "")
    assert wanted in refused.err
    assert not Path("runs/compare-quickstart").exists()
