"""Files of a run that are damaged, or made to do harm: a sentence that names the file, no hang, nothing lost."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from conftest import SMALL_SETS

from seqtrain.comparison.load_runs import read_runs
from seqtrain.config import load_config
from seqtrain.runs.trainer import train_run
from seqtrain.system.errors import CheckpointError

pytestmark = pytest.mark.usefixtures("drawn_in_full")

QUICK = ("model.hidden_size=4", "train.steps=4", "train.eval_every=2", "train.batch_size=4", "task.length=10")
DEEP = "[" * 100_000
BOMB = "\na: &a [x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefghij", "bcdefghijk", strict=True)
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    for seed in (0, 1):
        train_run(load_config("quickstart", [*QUICK, *SMALL_SETS, f"seed={seed}"]), folder / f"r{seed}", quiet=True)
    return folder


@pytest.fixture
def hx(trained, tmp_path):
    """A copy of two good runs, and an end to whatever would wait for ever."""

    def too_long(*unused):
        raise AssertionError("hangs")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(20)
    shutil.copytree(trained, tmp_path / "hx")
    yield tmp_path / "hx"
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def contents(folder):
    """Every file with its size and how it begins; of what is no file, what it is."""
    return {
        path: (path.stat().st_size, beginning(path)) if path.is_file() else path.lstat().st_mode
        for path in folder.rglob("*")
    }


def beginning(path):
    with path.open("rb") as file:
        return file.read(1 << 20)


def instead(make):
    """A change that puts something else in the place of a file."""

    def change(path):
        path.unlink()
        make(path)

    return change


NO_FILES = {
    "pipe": instead(os.mkfifo),
    "folder": instead(Path.mkdir),
    "loop": instead(lambda path: path.symlink_to(path.name)),
    "device": instead(lambda path: path.symlink_to("/dev/zero")),
}


def huge(path):
    with path.open("ab") as file:
        file.truncate(1 << 40)


def summary_with(**fields):
    return lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def summary_without(*names):
    def change(path):
        summary = json.loads(path.read_text())
        path.write_text(json.dumps({key: value for key, value in summary.items() if key not in names}))

    return change


def appended(text):
    return lambda path: path.write_text(path.read_text() + text)


SUMMARIES = {
    "deep": lambda path: path.write_text(DEEP),
    "rather deep": lambda path: path.write_text('{"status": ' * 400 + "1" + "}" * 400),
    "not UTF-8": lambda path: path.write_bytes(b'{"status": "\xff"}'),
    "a list": lambda path: path.write_text("[]"),
    "huge": huge,
    "half a character": lambda path: path.write_text(path.read_text().replace("adding/halves", "\\ud800")),
    "NaN": summary_with(elapsed_s=float("nan")),
    "metric text": summary_with(metric="mse"),
    "metric of another": summary_with(metric={"name": "accuracy", "higher_is_better": True}),
    "metric without direction": summary_with(metric={"name": "mse"}),
    "test without metric": summary_with(test={"loss": 1}),
    "test list": summary_with(test=[1]),
    "test text": summary_with(test={"loss": 1, "mse": "1"}),
    "test nested": summary_with(test={"loss": 1, "mse": {"a": [1]}}),
    "test too large": summary_with(test={"loss": 1, "mse": 1e308}),
    "no steps": summary_without("planned_steps", "steps", "best"),
    "no engine": summary_without("engine"),
    "no throughput": summary_without("sequences_per_s"),
    "other throughput": summary_with(a_per_s="x"),
    "throughput text": summary_with(sequences_per_s="fast"),
    "no budget": summary_with(planned_steps=0),
    "best list": summary_with(best=[]),
    "best text": summary_with(best={"step": 1, "value": "x"}),
    "baseline empty": summary_with(baseline={}),
    "baseline text": summary_with(baseline={"mse": "x"}),
    "seed list": summary_with(seed=[0]),
    "seed text": summary_with(seed="0"),
    "seed huge": summary_with(seed=10**4000),
    "seed of another": summary_with(seed=7),
    "seed true": summary_with(seed=False),
    "solved text": summary_with(solved_at_step="soon"),
    "hidden size": summary_with(hidden_size=[[4]]),
    "no parameters": summary_with(parameters=0),
    "status list": summary_with(status=["finished"]),
    "status unknown": summary_with(status="great"),
    "variant dict": summary_with(variant={}),
    "task list": summary_with(task=[]),
    "task of another": summary_with(task="parity"),
    "elapsed text": summary_with(elapsed_s="1"),
    "threads dict": summary_with(threads={}),
}

CONFIGS = {
    "bomb": appended(BOMB),
    "deep": appended("\na: " + "[" * 5000),
    "huge": huge,
    "a date": lambda path: path.write_text(path.read_text().replace("seed: 0", "seed: 2020-13-13")),
    "seed text": lambda path: path.write_text(path.read_text().replace("seed: 0", "seed: x")),
    "cell list": lambda path: path.write_text(path.read_text().replace("name: lstm", "name: [lstm]")),
    "number keys": appended("\n1: {2: 3}\n"),
    "half a character": appended('\n"\\ud800": 1\n'),
    "text": lambda path: path.write_text("hello"),
    "not UTF-8": lambda path: path.write_bytes(b"seed: \xff"),
    "section": lambda path: path.write_text("model: 5"),
}

METRICS = {
    "deep": appended('{"step": 4, "split": ' + DEEP + "\n"),
    "list": appended("[]\n"),
    "no keys": appended("{}\n"),
    "text": appended('{"step": 4, "split": "valid", "elapsed_s": 1, "mse": "x"}\n'),
    "list of values": appended('{"step": 4, "split": "valid", "elapsed_s": 1, "mse": [1]}\n'),
    "huge step": appended('{"step": 1' + "0" * 4000 + ', "split": "valid", "elapsed_s": 1}\n'),
    "step text": appended('{"step": "4", "split": "valid", "elapsed_s": 1}\n'),
    "split list": appended('{"step": 4, "split": ["valid"], "elapsed_s": 1}\n'),
    "NaN": appended('{"step": 4, "split": "valid", "elapsed_s": NaN}\n'),
    "too large": appended('{"step": 4, "split": "valid", "elapsed_s": 1, "mse": 1.7e308}\n'),
    "huge": huge,
}

CHANGES = [
    pytest.param(name, change, id=f"{name}: {which}")
    for name, changes in {
        "summary.json": SUMMARIES | NO_FILES,
        "config.yaml": CONFIGS | NO_FILES,
        "metrics.jsonl": METRICS | NO_FILES,
    }.items()
    for which, change in changes.items()
    if (name, which) != ("metrics.jsonl", "loop")  # a link to nothing is no metrics
]


@pytest.mark.parametrize(("name", "change"), CHANGES)
def test_what_is_no_run_is_not_compared(hx, name, change):
    change(hx / "r0" / name)
    before = contents(hx)
    with pytest.raises(CheckpointError) as refused:
        read_runs([hx / "r0", hx / "r1"])
    assert str(hx / "r0") in str(refused.value)
    assert name in str(refused.value) or "was killed" in str(refused.value)
    assert len(str(refused.value)) < 1000
    assert contents(hx) == before


@pytest.mark.parametrize("which", ["deep", "metric text", "no steps", "pipe", "half a character"])
def test_compare_says_which_file_is_wrong(seqtrain, hx, which):
    (SUMMARIES | NO_FILES)[which](hx / "r0/summary.json")
    refused = seqtrain("compare", "hx")
    assert (refused.code, refused.out) == (2, "")
    assert "hx/r0: holds no finished run that can be compared (hx/r0/summary.json: " in refused.err
    assert "leave the run out" in refused.err


def test_the_sentence_names_what_is_missing_and_what_is_wrong(hx):
    summary_without("planned_steps", "steps")(hx / "r0/summary.json")
    summary_with(seed="x")(hx / "r0/summary.json")
    with pytest.raises(CheckpointError, match=r"lacks steps, planned_steps; seed is 'x'; it should be a valid integer"):
        read_runs([hx / "r0"])


@pytest.mark.parametrize("change", SUMMARIES.values(), ids=SUMMARIES)
def test_a_summary_that_is_none_is_written_anew(seqtrain, hx, change):
    good, metrics = json.loads((hx / "r0/summary.json").read_text()), (hx / "r0/metrics.jsonl").read_bytes()
    change(hx / "r0/summary.json")
    assert seqtrain("train", "hx/r0", "--resume").code == 0
    found = json.loads((hx / "r0/summary.json").read_text())
    timing = {"elapsed_s", "sequences_per_s", "threads", "versions"}
    assert {key: found[key] for key in found.keys() - timing} == {key: good[key] for key in good.keys() - timing}
    assert (hx / "r0/metrics.jsonl").read_bytes() == metrics


RESUMED = [
    *((name, *pair) for name in ("summary.json", "config.yaml", "metrics.jsonl") for pair in NO_FILES.items()),
    *(("config.yaml", *pair) for pair in CONFIGS.items()),
    *(("metrics.jsonl", *pair) for pair in METRICS.items() if pair[0] != "too large"),
]


@pytest.mark.parametrize(("name", "which", "change"), RESUMED, ids=[f"{name}: {which}" for name, which, _ in RESUMED])
def test_a_run_is_not_resumed_over_what_is_none_of_its_files(seqtrain, hx, name, which, change):
    change(hx / "r0" / name)
    before = contents(hx)
    refused = seqtrain("train", "hx/r0", "--resume")
    looped = (name, which) == ("config.yaml", "loop")  # then there is no config
    assert (refused.code, "hx/r0" if looped else f"hx/r0/{name}") == (
        2,
        refused.err[(at := refused.err.index("hx/r0")) :][: len("hx/r0" if looped else f"hx/r0/{name}")],
    ), at
    assert contents(hx) == before


@pytest.mark.parametrize("option", ["--resume", "--overwrite"])
def test_nothing_is_lost_over_a_folder_in_the_place_of_a_file(seqtrain, hx, option):
    NO_FILES["folder"](hx / "r0/summary.json")
    before = contents(hx)
    refused = seqtrain("train", "quickstart", *QUICK, *SMALL_SETS, "--out", "hx/r0", option)
    assert (refused.code, "hx/r0/summary.json: is not a regular file" in refused.err) == (2, True)
    assert contents(hx) == before


def test_records_out_of_order_are_not_cut_off(seqtrain, hx):
    metrics = hx / "r0/metrics.jsonl"
    metrics.write_text('{"step": 99, "split": "valid", "elapsed_s": 1}\n' + metrics.read_text())
    before = contents(hx)
    refused = seqtrain("train", "hx/r0", "--resume")
    assert (refused.code, "step 2 comes after step 99; put the records in order" in refused.err) == (2, True)
    assert contents(hx) == before


def test_what_stands_where_a_file_is_written_first_is_not_waited_for(seqtrain, hx):
    os.mkfifo(hx / "r0/summary.json.tmp")
    (hx / "r0/config.yaml.tmp").symlink_to(hx / "r1/config.yaml")
    other = (hx / "r1/config.yaml").read_bytes()
    assert seqtrain("train", "hx/r0", "--resume").code == 0
    assert (hx / "r1/config.yaml").read_bytes() == other


def results_with(**fields):
    return summary_with(**fields)


RESULTS = {
    "deep": lambda path: path.write_text(DEEP),
    "a list": lambda path: path.write_text("[]"),
    "of something else": lambda path: path.write_text('{"accuracy": 1}'),
    "huge": huge,
    "cells number": results_with(cells=3),
    "cells empty": results_with(cells=[]),
    "cells without a name": results_with(cells=[{"at": None}]),
    "runs of lists": results_with(runs=[[]]),
    "no such name": results_with(runs=[{"row": "lstm", "at": None, "run": "\0"}]),
    "at list": results_with(cells=[{"cell": "lstm", "at": [1]}]),
    "off text": results_with(cells=[{"cell": "lstm", "at": None, "off": "x"}]),
    "cell twice": results_with(cells=[{"cell": "lstm", "at": None}] * 2),
    "varied dict": results_with(varied={}),
    "command list": results_with(command=["x"]),
    "match list": results_with(match=[]),
    "level text": results_with(level="x"),
    "reference dict": results_with(reference={}),
    "reference unknown": results_with(reference="x"),
    "tuning number": results_with(tuning=3),
    "tuning empty": results_with(tuning=[{}]),
    "tuning untried": results_with(
        tuning=[{"cell": "lstm", "at": None, "chosen": {"seed": 1}, "at_the_edge": [],
                 "points": [{"valid": 1, "solved": 0, "runs": 1}]}]
    ),
    "lengths text": results_with(lengths=["x"]),
    "pipe": NO_FILES["pipe"],
    "folder": NO_FILES["folder"],
}  # fmt: skip


@pytest.mark.parametrize("change", RESULTS.values(), ids=RESULTS)
def test_a_results_file_of_another_form_is_not_overwritten(seqtrain, hx, change):
    (hx / "results.json").write_text(RESULT)
    change(hx / "results.json")
    before = contents(hx)
    refused = seqtrain("compare", "hx")
    assert (refused.code, refused.out) == (2, "")
    assert "hx/results.json: " in refused.err
    assert "choose another folder with --out" in refused.err
    assert contents(hx) == before


RESULT = json.dumps(
    {
        "reference": "lstm", "level": 0.05, "command": "made by hand", "cells": [{"cell": "lstm", "at": None}],
        "runs": [{"row": "lstm", "at": None, "run": f"hx/r{seed}"} for seed in (0, 1)],
    }
)  # fmt: skip


def test_results_of_the_same_runs_are_taken_over(seqtrain, hx):
    """Else the test above could refuse whatever it is given."""
    (hx / "results.json").write_text(RESULT)
    assert seqtrain("compare", "hx", "--json").json["command"] == "made by hand"
