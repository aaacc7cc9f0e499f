"""Trained models at other lengths."""

from pathlib import Path

import pytest
from samples import run

from seqtrain.comparison.length_generalization import length_row
from seqtrain.comparison.load_runs import Group

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
    group = Group("rnn", 7, [run(seed, settings=("task.length=5",)) for seed in range(3)])
    row = length_row(group, "task.length", 5, [1.0, 3.0, 2.0], 2)
    assert (row.solved, row.runs, row.trained, row.metric.mean, row.at) == (2, 3, True, 2.0, 7)
    assert row.metric.low == 0.0  # of an error; Student's interval begins at -0.48
    assert length_row(group, "task.length", 6, [1.0], 0).trained is False
