"""What the names and scales of an exported model say is what its task reads and predicts."""

from pathlib import Path

import numpy as np
import pytest
import torch

from seqtrain.config import config_from
from seqtrain.config.build import build_task
from seqtrain.inference.load import Trained
from seqtrain.interchange.meaning import meaning_of
from seqtrain.runs.checkpoint import header_of
from seqtrain.system.errors import CheckpointError

T = 40


def read(task):
    """A task, and what a checkpoint of it says about the inputs and outputs."""
    config = config_from({"task": task, "model": {"cell": "gru"}}, "test")
    own = build_task(config)
    return own, meaning_of(Trained(Path("best.safetensors"), config, header_of(config, own), torch.nn.Module()))


@pytest.fixture
def table(tmp_path):
    """Columns by name, in a file with one missing value of x."""
    draw = np.random.default_rng(0)
    columns = {name: np.round(draw.normal(3, 5, T), 3) for name in ("y", "z", "x", "k")}
    columns["x"][5] = np.nan
    lines = [
        ",".join("" if np.isnan(value) else str(value) for value in row) for row in zip(*columns.values(), strict=True)
    ]
    (tmp_path / "table.csv").write_text("\n".join([",".join(columns), *lines]) + "\n")
    return tmp_path / "table.csv", columns


def value_of(name, columns, t):
    """The number that a name stands for at a step; None if the step has none."""
    if name.startswith("1 if "):
        return -1.0 if np.isnan(columns[name.split()[2]][t]) else 1.0
    if name.startswith("change of "):
        column, _, later = name.removeprefix("change of ").partition(", from now to ")
        start, end = (t, t + int(later.split()[0])) if later else (t - 1, t)
        own = columns[column]
        return own[end] - own[start] if start >= 0 and end < T else None
    column, _, later = name.partition(", ")
    at = t + int(later.split()[0]) if later else t
    return columns[column][at] if at < T else None


CASES = [
    {"targets": ["y"]},
    {"targets": ["y", "z"], "horizon": 3, "known": ["k"]},
    {"targets": ["y", "z"], "horizon": 2, "differences": True, "inputs": ["x"], "missing": "mask"},
    {"targets": ["y"], "horizon": 0, "inputs": ["x"], "known": ["k"], "missing": "mask"},
]


@pytest.mark.parametrize("settings", CASES, ids=str)
def test_of_a_table(table, settings):
    path, columns = table
    task, meaning = read({"name": "series", "path": str(path), **settings})
    batches = [*task.eval_batches("test", 1)]
    for side, tensors in (("inputs", [b.inputs for b in batches]), ("outputs", [b.targets for b in batches])):
        numbers, compared = getattr(meaning, side), 0
        found = torch.cat(tensors)[:, 0].numpy()
        assert found.shape[1] == len(numbers.names)
        for n, (name, mean, spread) in enumerate(zip(*numbers, strict=True)):
            for t in range(len(found)):
                value = value_of(name, columns, t)
                if value is not None and not np.isnan(value) and not np.isnan(found[t, n]):
                    assert found[t, n] == pytest.approx((value - mean) / spread, abs=1e-5), (name, t)
                    compared += 1
        assert compared > 0.7 * (T - 3 if side == "inputs" else 1) * len(numbers.names)


@pytest.mark.parametrize("predict", ["class", "number", "next_step"])
def test_of_sequences(tmp_path, predict):
    draw, lines, own = np.random.default_rng(0), [], {}
    for n in range(20):
        values = draw.integers(0, 2, (4, 2)) if predict == "next_step" else np.round(draw.normal(2, 3, (4, 2)), 3)
        own[f"s{n}"] = values
        lines += [f"s{n},{t},{a},{b},{'ab'[n % 2] if predict == 'class' else n}" for t, (a, b) in enumerate(values)]
    (tmp_path / "long.csv").write_text("\n".join(["who,t,a,b,label", *lines]) + "\n")
    task = {"name": "sequences", "path": str(tmp_path / "long.csv"), "id": "who", "step": "t", "inputs": ["a", "b"]}
    targets = {} if predict == "next_step" else {"targets": ["label"]}
    built, meaning = read(task | {"predict": predict} | targets)
    assert meaning.inputs.names == ["a", "b"]
    ahead = ["a, 1 step ahead", "b, 1 step ahead"]
    assert meaning.outputs.names == {"class": ["a", "b"], "number": ["label"], "next_step": ahead}[predict]
    assert meaning.probabilities == {"class": "softmax", "number": None, "next_step": "sigmoid"}[predict]
    inputs = torch.cat([batch.inputs for batch in built.eval_batches("test", 1)], 1).numpy()
    if predict == "next_step":
        assert meaning.inputs.mean is None
        (batch,) = built.eval_batches("test", 100)
        assert np.array_equal(inputs[0], [meaning.start] * inputs.shape[1])  # and then the targets of the step before
        assert np.array_equal(inputs[1:], batch.targets[:-1].numpy())
        return
    assert meaning.start is None
    wanted = [(values - meaning.inputs.mean) / meaning.inputs.spread for values in own.values()]
    for b in range(inputs.shape[1]):
        assert min(np.abs(inputs[:, b] - one).max() for one in wanted) < 1e-5
    if predict == "number":
        (mean,), (spread,) = meaning.outputs.mean, meaning.outputs.spread
        restored = torch.cat([batch.targets for batch in built.eval_batches("test", 1)]).numpy() * spread + mean
        assert np.abs(restored - np.rint(restored)).max() < 1e-4
        assert restored.min() >= -1e-4


def test_what_does_not_fit_the_model_is_refused(table):
    path, _ = table
    config = config_from(
        {"task": {"name": "series", "path": str(path), "targets": ["y"]}, "model": {"cell": "gru"}}, "test"
    )
    header = header_of(config, build_task(config))
    header = header.model_copy(update={"spec": header.spec._replace(input_size=2)})
    with pytest.raises(CheckpointError, match="do not fit its model"):
        meaning_of(Trained(path, config, header, torch.nn.Module()))
