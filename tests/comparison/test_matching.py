"""Equal sizes, equal step times, equal budgets."""

import json
import os
import re
from pathlib import Path

import pytest
from conftest import SMALL_SETS
from samples import QUICK

from seqtrain.comparison import matching
from seqtrain.config import load_config
from seqtrain.config.build import build_task


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
    cost = {"rnn": 1, "gru": 3, "lstm": 4}
    timed = []

    def ratio(config, reference, task):
        timed.append(config.model.cell.name)
        return cost[config.model.cell.name] * config.model.hidden_size / (cost["lstm"] * reference.model.hidden_size)

    monkeypatch.setattr(matching, "relative_step_time", ratio)
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
    taken, clock = [], [0.0]

    def trial(name, _):
        def step(number):
            taken.append((number, name))
            clock[0] += 100 if number < 2 else {"a": 1, "b": 2}[name]  # the first two are to warm up

        return step

    monkeypatch.setattr(matching, "trial", trial)
    monkeypatch.setattr(matching.time, "perf_counter", lambda: clock[0])
    assert matching.step_seconds([("a", None), ("b", None)], 1) == [1, 2]
    assert taken == [(number, name) for number in range(3) for name in "ab"]
    taken.clear()
    matching.step_seconds([("a", None), ("b", None)], 1, 5.0)
    assert len(taken) == 2 * (2 + 5)  # until the faster one, too, was timed for 5 seconds


def test_step_times_are_real_ones():
    small, large = (
        load_config("quickstart", [*SMALL_SETS, f"model.hidden_size={size}", "task.length=50"]) for size in (4, 256)
    )
    task = build_task(small)
    assert matching.relative_step_time(large, small, task) > 3
    fast, slow = matching.step_seconds([(small, task), (large, task)], 5)
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
    monkeypatch.setattr(matching, "step_seconds", lambda those, *_: [0.5] * len(those))
    command = ("compare", "quickstart", *QUICK, "--cells", "rnn", "--seeds", 1, "--budget", "seconds=2", "--json")
    assert seqtrain(*command).json["runs"][0]["steps"] == 4
    monkeypatch.setattr(matching, "step_seconds", lambda those, *_: [0.1] * len(those))
    assert seqtrain(*command).json["runs"][0]["steps"] == 4


@pytest.mark.parametrize(
    "spoilt", ["[" * 100_000, "[]", '"x"', "entry: null", 'entry: {"settings": 5, "off": 0}', "pipe"]
)
def test_timings_that_cannot_be_read_are_made_anew(seqtrain, monkeypatch, spoilt):
    monkeypatch.setattr(matching, "step_seconds", lambda those, *_: [0.5] * len(those))
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


TINY = """
from typing import NamedTuple
import torch
from seqtrain.cells import Cell


class State(NamedTuple):
    hidden: torch.Tensor


class Tiny(Cell):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.w = torch.nn.Parameter(torch.ones(hidden_size))

    def project(self, x):
        return x.sum(-1, keepdim=True) * self.w

    def step(self, x_gates, state):
        return State(torch.tanh(x_gates + state.hidden))

    def initial_state(self, batch_size):
        return State(self.w.new_zeros(batch_size, self.hidden_size))
"""


def test_a_size_that_parameters_make_unusual_is_told_with_its_time(seqtrain, tmp_path):
    """A cell of few weights a unit becomes very wide, before anything is trained."""
    (tmp_path / "tiny.py").write_text(TINY)
    command = ("compare", "quickstart", *QUICK, "--match", "params", "--seeds", 1, "--dry-run", "--cells")
    told = seqtrain(*command, "lstm,tiny:Tiny").err
    assert re.search(
        r"tiny:Tiny has hidden size \d{2,} by --match params, [\d.]+ times that of the config; "
        r"its training step takes [\d.]+ (times as long as|of the time of) that of lstm; --match step-time",
        told,
    )
    assert "has hidden size" not in seqtrain(*command, "lstm,gru").err
