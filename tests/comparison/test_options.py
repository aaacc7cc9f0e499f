"""What `seqtrain compare` refuses before it trains."""

from pathlib import Path

import pytest
from samples import QUICK

from seqtrain.comparison.options import parse_request
from seqtrain.config import find_config
from seqtrain.system.errors import ConfigError


def test_targets_that_cannot_be(compared):
    for arguments, wanted in (
        (("quickstart", "--cells", "rnn,gruu"), "did you mean 'gru'?"),
        (("quickstart", "--cells", "rnn,rnn"), "rnn stands twice"),
        (("quickstart", "words"), "takes one config, or run directories; got quickstart, words"),
        (("nowhere",), "no shipped config of that name"),
    ):
        refused = compared("compare", *arguments)
        assert (refused.code, refused.out) == (2, "")
        assert wanted in refused.err
    Path("a.txt").write_text("a")
    for arguments, wanted in (
        (("--budget", "steps=2.7"), "--budget steps=2.7: steps are whole; write a whole number"),
        (("--vary", "task.length=.nan,5"), "two or more different plain values"),
        ((f"seed={2**63 - 1}", "--seeds", 2), "the seeds counted from there go beyond"),
        ((f"seed={2**63 - 10**6}", "--grid", "optimizer.lr=1,2"), "the seeds counted from there go beyond"),
        (("--seeds", 10_001), "Invalid value for '--seeds'"),
    ):
        refused = compared("compare", "quickstart", "--cells", "rnn", *arguments)
        assert (refused.code, refused.out) == (2, "")
        assert wanted in refused.err, refused.err
    idle = compared("compare", "runs/compare-quickstart", "--jobs", 2)
    assert (idle.code, "--jobs 2: there is nothing to train among runs that exist" in idle.err) == (2, True)
    odd = compared("compare", "runs/compare-quickstart", "a.txt", "nowhere", "--seeds", 2).err.splitlines()
    assert "a.txt: holds no run" in odd[0]
    assert "nowhere: there is no such run directory" in odd[1]
    assert "--seeds: says what to train" in odd[2]
    changed = compared("compare", "quickstart", *QUICK, "model.hidden_size=9", "--cells", "rnn", "--seeds", 1)
    assert changed.code == 2
    assert "holds a run with model.hidden_size 6 (now 9)" in changed.err


def test_names_may_have_an_equals_sign(seqtrain):
    Path("lr=0.1.yaml").write_text(Path(find_config("quickstart")).read_text())
    (Path("folder=1") / "sub").mkdir(parents=True)
    for out in ("runs/lr=0.1", "lr=0.3", "train.steps=4"):
        assert seqtrain("train", "lr=0.1.yaml", *QUICK, f"seed={len(out)}", "--out", out).code == 0

    def request(*targets):
        return parse_request(targets, cells="rnn", seeds=1)

    for settings in ((), ("train.steps=4",)):  # there is a run of this name, but beside a config it is a setting
        assert request("lr=0.1.yaml", *settings).config.train.steps == (4 if settings else 3000)
        assert request(*settings, "quickstart").name == "quickstart"
    runs = [Path(name) for name in ("runs/lr=0.1", "lr=0.3", "train.steps=4")]
    assert parse_request([*map(str, runs)]).runs == tuple(runs)
    assert parse_request(["train.steps=4"]).runs == (Path("train.steps=4"),)
    for targets, wanted in (
        (("runs/lr=0.1", "runs/lr=0.2"), "runs/lr=0.2: there is no such run directory"),
        (("runs/lr=0.1", "lr=0.2"), "lr=0.2: there is no such run directory"),
        (("runs/lr=0.1", "folder=1"), "folder=1: holds no run"),
        (("runs/lr=0.1", "train.steps=5"), "train.steps=5: says what to train; leave it out"),
        (("lr=0.2.yaml",), "lr=0.2.yaml: no such file"),
        (("runs/lr=0.2",), "runs/lr=0.2: no such run"),
        (("folder=1",), "folder=1: is a folder without a run"),
        (("quickstart", "lr=0.1.yaml"), "takes one config, or run directories; got quickstart, lr=0.1.yaml"),
        (("quickstart", "trian.steps=5"), "trian.steps=5"),
        (("quickstart", f"task.path={'x' * 5000}"), "task.path"),
        (("train.steps=5",), "takes one config, or run directories; got neither"),
    ):
        with pytest.raises(ConfigError) as refused:
            parse_request(targets)
        assert wanted in str(refused.value)


def test_everything_that_is_wrong_is_said_at_once(seqtrain):
    wrong = {
        "--level": 2, "--eval-lengths": "x", "--cells": "lsmt,{name: rmn},gru", "--grid": "optimizer.lr=1",
        "--budget": "hours=1", "--match": "param", "--vary": "seed=1,2", "--assert": "a >",
    }  # fmt: skip
    refused = seqtrain("compare", "quickstart", "task.lenght=3", *(word for pair in wrong.items() for word in pair))
    options = [line.removeprefix("seqtrain: ").split()[0].rstrip(":") for line in refused.err.splitlines()]
    wanted = ["--level", "--eval-lengths", "--cells", "--cells", "--grid", "--budget", "--match", "--vary", "--assert"]
    assert (refused.code, sorted(options)) == (2, sorted([*wanted, "task.lenght=3"]))


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
        (("--vary", "train.log_every=1,2"), "--vary train.log_every: it changes only what training writes"),
        (("--grid", "model.cell.name=rnn,lstm"), "--grid model.cell.name: --cells names the cells"),
        (("--grid", "task.length=5,6"), "--grid task.length: each cell would get a task of its own; use --vary"),
        (("--grid", "model.hidden_size=5,6", "--match", "params"), "--match params sets the sizes"),
        (("--vary", "train.steps=5,6", "--budget", "steps=5"), "--budget sets it for every run"),
        (("--grid", "train.batch_size=5,6", "--budget", "sequences=50"), "the budget buys other steps"),
        (("--cells", "gru,{name: gru, reset: after}"), "gru and gru reset=after are the same cell"),
        (("--eval-lengths", "1"), "--eval-lengths: "),
        (("--vary", "train.patience=2,3", "--cells", "{name: rnn, nonlinearity: tanh},rnn"), "are the same cell"),
        (("--grid", "task.length=5,6", "--vary", "task.length=5,6"), "task.length stands twice"),
        (("--budget", "hours=3"), "--budget hours=3: write one of steps, sequences, tokens, seconds"),
        (("--budget", "steps=-3"), "--budget steps=-3"),
        (("--tuning-seeds", "3"), "there is no --grid to tune"),
        (("--level", "5"), "--level is 5; it must lie between 0.001 and 0.5"),
        (("--eval-lengths", "long"), "write whole numbers with commas between"),
        (("--reference", "gruu"), "is no cell of this comparison"),
        (("--cells", "5,rnn"), "write names with commas between"),
        (("--cells", "{name: gru, resett: after}"), "resett"),
        (("--assert", "lstm.test.mse"), "is not one comparison of two terms"),
    ],
)
def test_options_that_cannot_be(seqtrain, options, wanted):
    refused = seqtrain("compare", "quickstart", *QUICK, *options)
    assert (refused.code, refused.out) == (2, "")
    assert wanted in refused.err
    assert not Path("runs/compare-quickstart").exists()
