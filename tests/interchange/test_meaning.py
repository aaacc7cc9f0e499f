"""What the names and scales of an exported model say is what its task reads and predicts."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from seqtrain.config import config_from
from seqtrain.config.build import build_model, build_task
from seqtrain.inference.load import Trained
from seqtrain.interchange.meaning import meaning_of
from seqtrain.interchange.metadata import metadata_of
from seqtrain.runs.checkpoint import header_of
from seqtrain.system.errors import CheckpointError
from seqtrain.tasks.tagging.features import shape_of, symbols_of

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
    columns["c"] = np.full(T, 2.5)
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
    {"targets": ["y"], "horizon": 0, "inputs": ["x", "c"], "known": ["k"], "missing": "mask"},
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


LABELS = {
    "class": lambda n, _: "ab"[n % 2],
    "step_class": lambda _, t: "ab"[t % 2],
    "number": lambda n, _: n,
    "step_number": lambda n, t: n + t,
    "next_step": lambda _, t: t,
}


@pytest.mark.parametrize("predict", LABELS)
def test_of_sequences(tmp_path, predict):
    draw, lines, own = np.random.default_rng(0), [], {}
    with_marks = predict in ("class", "step_number")
    for n in range(20):
        values = draw.integers(0, 2, (4, 2)) if predict == "next_step" else np.round(draw.normal(2, 3, (4, 2)), 3)
        rows = [[str(value) for value in row] for row in values]
        there = np.ones((4, 2))
        if with_marks and n % 2:
            rows[1][0], there[1, 0], values[1, 0] = "", -1.0, values[0, 0]  # the last known value
        own[f"s{n}"] = (values, there)
        lines += [f"s{n},{t},{a},{b},{LABELS[predict](n, t)}" for t, (a, b) in enumerate(rows)]
    (tmp_path / "long.csv").write_text("\n".join(["who,t,a,b,label", *lines]) + "\n")
    task = {"name": "sequences", "path": str(tmp_path / "long.csv"), "id": "who", "step": "t", "inputs": ["a", "b"]}
    targets = {} if predict == "next_step" else {"targets": ["label"]}
    built, meaning = read(task | {"predict": predict} | targets | ({"missing": "mask"} if with_marks else {}))
    marks = [f"1 if {name} is there, -1 if it is missing" for name in "ab"] if with_marks else []
    assert meaning.inputs.names == ["a", "b", *marks]
    ahead = ["a, 1 step ahead", "b, 1 step ahead"]
    assert (
        meaning.outputs.names
        == {"class": ["a", "b"], "number": ["label"], "next_step": ahead}[predict.removeprefix("step_")]
    )
    probabilities = {"class": "softmax", "number": None, "next_step": "sigmoid"}
    assert meaning.probabilities == probabilities[predict.removeprefix("step_")]
    inputs = torch.cat([batch.inputs for batch in built.eval_batches("test", 1)], 1).numpy()
    if predict == "next_step":
        assert meaning.inputs.mean is None
        (batch,) = built.eval_batches("test", 100)
        assert np.array_equal(inputs[0], [meaning.start] * inputs.shape[1])  # and then the targets of the step before
        assert np.array_equal(inputs[1:], batch.targets[:-1].numpy())
        return
    assert meaning.start is None
    numbers = [np.concatenate(both, 1) if with_marks else both[0] for both in own.values()]
    wanted = [(one - meaning.inputs.mean) / meaning.inputs.spread for one in numbers]
    for b in range(inputs.shape[1]):
        assert min(np.abs(inputs[:, b] - one).max() for one in wanted) < 1e-5
    if predict.endswith("number"):
        (mean,), (spread,) = meaning.outputs.mean, meaning.outputs.spread
        restored = torch.cat([batch.targets for batch in built.eval_batches("test", 1)]).numpy() * spread + mean
        assert np.abs(restored - np.rint(restored)).max() < 1e-4
        assert restored.min() >= -1e-4


TAGS = {"name": "tagging", "path": "shipped:agreement.txt", "fractions": [0.7, 0.1, 0.2]}


@pytest.mark.parametrize(("suffixes", "shape"), [(2, True), (1, False), (0, True), (0, False)])
def test_of_a_tagger(suffixes, shape):
    """The oracle is `symbols_of`, which makes the inputs of the task."""
    words = ["sheep", "Barn", "near", "the"]
    task, meaning = read(TAGS | {"suffixes": suffixes, "shape": shape})
    learnt = task.fitted["alphabets"]
    symbols = symbols_of(words, learnt, suffixes, shape=shape).view(len(words), -1)
    assert len(meaning.alphabets) == symbols.shape[1] == 1 + suffixes + shape
    for own, alphabet, column in zip(meaning.alphabets, learnt, symbols.T.tolist(), strict=True):
        last = re.fullmatch(r"its last (\d )?characters?", own.what)
        known = meaning.symbols[own.first : own.first + own.size]
        assert known == alphabet
        for word, symbol in zip(words, column, strict=True):
            part = word[-int(last[1] or 1) :] if last else {"the word": word, "its shape": shape_of(word)}[own.what]
            assert symbol == own.first + known.index(part if part in known else "<unk>")
    assert meaning.outputs.names == [*task.fitted["tags"], "any other tag"]


@pytest.mark.parametrize("side", ["input_size", "output_size"])
@pytest.mark.parametrize("name", ["series", "tagging"])
def test_what_does_not_fit_the_model_is_refused(table, name, side):
    path, _ = table
    task = TAGS if name == "tagging" else {"name": name, "path": str(path), "targets": ["y"]}
    config = config_from({"task": task, "model": {"cell": "gru"}}, "test")
    header = header_of(config, build_task(config))
    header = header.model_copy(update={"spec": header.spec._replace(**{side: getattr(header.spec, side) + 1})})
    with pytest.raises(CheckpointError, match="do not fit its model"):
        meaning_of(Trained(path, config, header, torch.nn.Module()))


# --- the strings of every format --------------------------------------------------------------------------------


def strings_of(task, **model):
    """A task, and the metadata of a new model for it. All but two strings are JSON."""
    config = config_from({"task": task, "model": {"cell": "gru", "hidden_size": 3} | model}, "test")
    own = build_task(config)
    header = header_of(config, own)
    strings = metadata_of(Trained(Path("best.safetensors"), config, header, build_model(config, header.spec)))
    plain = ("task", "probabilities")
    return own, {name: text if name in plain else json.loads(text) for name, text in strings.items()}


def test_the_strings_of_a_text(text_folder):
    task, strings = strings_of({"name": "language_model", "path": str(text_folder)})
    assert strings.keys() == {"task", "config", "vocabulary", "start", "probabilities"}
    assert strings["vocabulary"] == task.vocabulary
    assert strings["vocabulary"][strings["start"]] == "<eos>"
    assert strings["probabilities"] == "softmax"
    assert strings["task"].startswith("language_model/")
    assert strings["config"]["task"]["path"] == text_folder.name
    assert str(text_folder.parent) not in json.dumps(strings)


def test_the_strings_of_a_tagger():
    task, strings = strings_of(TAGS | {"suffixes": 1})
    assert strings.keys() == {"task", "config", "vocabulary", "alphabets", "outputs", "probabilities"}
    sizes = [*map(len, task.fitted["alphabets"])]
    assert strings["alphabets"] == [
        {"what": "the word", "first": 0, "size": sizes[0]},
        {"what": "its last character", "first": sizes[0], "size": sizes[1]},
        {"what": "its shape", "first": sizes[0] + sizes[1], "size": sizes[2]},
    ]
    assert len(strings["vocabulary"]) == sum(sizes)
    assert strings["outputs"] == {"names": [*task.fitted["tags"], "any other tag"]}
    assert strings["config"]["task"]["path"] == "shipped:agreement.txt"


def test_the_strings_of_a_table_with_differences(table):
    path, _ = table
    task, strings = strings_of({"name": "series", "path": str(path), "targets": ["y"], "differences": True})
    assert strings.keys() == {"task", "config", "inputs", "outputs"}
    assert strings["inputs"]["names"] == ["change of y"]
    assert strings["outputs"]["names"] == ["change of y, from now to 1 step ahead"]
    for side in ("inputs", "outputs"):
        assert strings[side]["mean"] == task.fitted["mean"]
        assert strings[side]["spread"] == task.fitted["spread"]
    assert strings["config"]["task"]["path"] == "table.csv"
    assert str(path.parent) not in json.dumps(strings)


OWN_TASK = """
import torch
from seqtrain.tasks import Batch, Classification

class Mine(Classification):
    every_step = True
    input_size = output_size = 3
    fitted = {"measured": [1, 2]}

    def sample(self, batch_size, generator):
        x = torch.randint(3, (5, batch_size), generator=generator)
        return Batch(x, x)
"""


def test_the_strings_of_a_task_of_the_user(tmp_path, monkeypatch):
    (tmp_path / "task_with_strings.py").write_text(OWN_TASK)
    monkeypatch.chdir(tmp_path)
    task = {"name": "task_with_strings:Mine"}
    _, strings = strings_of(task, cell={"name": "gru", "learn_initial_state": True})
    assert strings.keys() == {"task", "config", "fitted"}  # the state that is learnt starts from zero
    assert strings["fitted"] == {"measured": [1, 2]}
    assert str(tmp_path) not in json.dumps(strings)
