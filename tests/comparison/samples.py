"""What the tests of comparisons share: quick settings, and runs that are made up."""

import functools
from pathlib import Path

from conftest import SMALL, SMALL_SETS

from seqtrain.comparison.aggregate import summarise
from seqtrain.comparison.load_runs import FinishedRun, Group
from seqtrain.comparison.records import Question
from seqtrain.config import load_config
from seqtrain.config.resolve import resolved
from seqtrain.runs.records import MetricsRecord, Summary

QUICK = (*SMALL, *SMALL_SETS)


@functools.cache
def _config(*overrides):
    return resolved(load_config("quickstart", overrides))


def run(seed, value=1.0, step=None, *, stop=True, budget=1000, higher=False, settings=(), metrics=(), **fields):
    """A run of the adding task that is made up, with metric `m`.

    value : of the metric, in the best validation and on the test set.
    step : at which it was solved.
    budget : its steps.
    fields : others of its summary.
    """
    config = _config(
        f"train.stop_when_solved={str(stop).lower()}", "train.batch_size=4", "train.eval_every=50",
        f"train.steps={budget}", *settings,
    )  # fmt: skip
    summary = {
        "status": "finished", "task": "adding", "variant": "v", "cell": "x", "direction": "forward", "depth": 1,
        "hidden_size": 1, "parameters": 1, "seed": seed, "steps": step or budget, "planned_steps": budget,
        "metric": {"name": "m", "higher_is_better": higher}, "best": {"step": 1, "value": value},
        "test": None if value is None else {"m": value}, "baseline": {"m": 0.5}, "solved_at_step": step,
        "elapsed_s": 1.0, "sequences_per_s": 1.0, "engine": "reference", "device": "cpu", "threads": 1,
    }  # fmt: skip
    records = [MetricsRecord(**record) for record in metrics]
    config = config.model_copy(update={"seed": seed})
    return FinishedRun(Path(f"x{seed}"), config, Summary(**summary | fields), records)


def result(*groups, gathered=False, **question):
    """The results of rows that are made up, as JSON data: `("a", runs), ("b", runs)`."""
    groups = [Group(cell, None, runs) for cell, runs in groups]
    return summarise(groups, Question(**{"reference": "a"} | question), gathered=gathered).as_json()
