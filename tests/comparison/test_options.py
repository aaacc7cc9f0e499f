"""What `seqtrain compare` refuses before it trains."""

from pathlib import Path

import pytest
from samples import QUICK


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
