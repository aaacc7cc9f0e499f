"""Predictions for whole sequences: against single passes of the model, for files without labels, and their pictures."""

import csv
from pathlib import Path

import numpy as np
import polars
import pytest
import torch

from seqtrain.config import config_from
from seqtrain.inference.evaluate import evaluate
from seqtrain.inference.load import load_model, load_trained
from seqtrain.inference.predictions import judged, predict
from seqtrain.runs.trainer import train_run
from seqtrain.system.errors import ConfigError, DataError


def write(name, header, rows):
    with Path(name).open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return name


def rows(N=30, seed=0):
    draw = np.random.default_rng(seed)
    return [
        [f"s{n}", t, round(draw.normal(n % 2), 3), "xy"[n % 2], n % 2 * 10.0]
        for n in range(N)
        for t in range(int(draw.integers(1, 7)))
    ]


HEADER = ["who", "t", "a", "label", "u"]


def trained(**settings):
    task = {"name": "sequences", "id": "who", "step": "t", "inputs": ["a"]} | settings
    model = {"cell": "gru", "hidden_size": 5, "direction": settings.pop("direction", "forward")}
    if task["predict"] != "next_step":
        model["direction"] = "bidirectional"
    config = {"task": task, "model": model, "train": {"epochs": 3, "batch_size": 8}}
    train_run(config_from(config, "test"), Path("run"), quiet=True)
    return Path("run")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def singly(run, own, by_step):
    """The outputs of each sequence of rows, read alone with the training's scaling."""
    loaded = load_trained(run)
    fitted = loaded.header.fitted
    found = []
    for name in dict.fromkeys(row[0] for row in own):
        values = [row[2] for row in sorted((row for row in own if row[0] == name), key=lambda row: row[1])]
        x = (torch.tensor(values, dtype=torch.float64) - fitted["mean"][0]) / fitted["spread"][0]
        with torch.no_grad():
            outputs, _ = loaded.model(x.float().view(-1, 1, 1))
        found.append(outputs[:, 0] if by_step else outputs)
    return torch.cat(found).double()


@pytest.mark.parametrize("predict_", ["class", "step_class"])
def test_classes_with_probabilities(predict_):
    run = trained(path=write("t.csv", HEADER, rows()), predict=predict_, targets=["label"])
    new = [row[:3] for row in rows(9, seed=5)]
    table = predict(run, write("new.csv", HEADER[:3], new))
    shares = singly(run, new, predict_ == "step_class").softmax(-1)
    assert table.columns["probability_x"] == pytest.approx(shares[:, 0].tolist(), abs=1e-5)
    assert table.columns["probability_y"] == pytest.approx(shares[:, 1].tolist(), abs=1e-5)
    assert table.columns["label"] == ["xy"[k] for k in shares.argmax(-1)]
    assert table.predicted == ["label", "probability_x", "probability_y"]
    if predict_ == "step_class":
        assert table.columns["who"] == [row[0] for row in new]
        assert table.columns["t"] == [str(row[1]) for row in new]
    else:
        assert table.columns["who"] == [f"s{n}" for n in range(9)]
    assert table.draw is None  # there are no labels


def test_numbers():
    run = trained(path=write("t.csv", HEADER, rows()), predict="number", targets=["u"])
    fitted = singly(run, rows(7, seed=5), by_step=False)[:, 0]
    table = predict(run, write("new.csv", HEADER, rows(7, seed=5)))
    scaling = load_trained(run).header.fitted["targets"]
    wanted = fitted.numpy() * scaling["spread"][0] + scaling["mean"][0]
    assert np.array(table.columns["u"]) == pytest.approx(wanted, abs=1e-4)
    assert table.draw() is not None


def test_the_step_after_the_end():
    draw = np.random.default_rng(0)
    vectors = [[f"s{n}", t, *draw.integers(0, 2, 2)] for n in range(12) for t in range(1 + n % 4)]
    run = trained(path=write("t.csv", ["who", "t", "c", "d"], vectors), inputs=["c", "d"], predict="next_step")
    table = predict(run)
    model = load_model(run)
    for n in range(12):
        own = torch.tensor([[0, 0], *(row[2:] for row in vectors if row[0] == f"s{n}")]).float()
        with torch.no_grad():
            outputs, _ = model(own[:, None])
        share = outputs[-1, 0].sigmoid()
        assert (table.columns["probability_c"][n], table.columns["probability_d"][n]) == pytest.approx(
            tuple(share.tolist()), abs=1e-5
        )


def test_a_binary_vector_that_is_none_is_refused():
    vectors = [[f"s{n}", t, n % 2] for n in range(12) for t in range(1 + n % 4)]
    run = trained(path=write("t.csv", ["who", "t", "a"], vectors), predict="next_step")
    with pytest.raises(DataError, match=r"other\.csv:2: a is 7"):
        predict(run, write("other.csv", ["who", "t", "a"], [["s", 0, 7]]))


def test_steps_of_a_folder_have_their_own_times():
    Path("folder").mkdir()
    for n in range(12):
        write(f"folder/{n}.csv", ["t", "a", "label"], [[90 - 10 * t, t + n % 2, "xy"[n % 2]] for t in range(3)])
    run = trained(path="folder", id=None, predict="step_class", targets=["label"])
    assert predict(run).columns["t"] == ["70", "80", "90"] * 12


def test_steps_without_times_count_from_1():
    run = trained(path=write("t.csv", HEADER, rows()), predict="step_class", targets=["label"], step=None)
    table = predict(run, write("new.csv", HEADER[:3], [["a", 5, 1], ["b", 7, 1], ["a", 3, 1]]))
    assert table.columns["step"] == [1, 2, 1]


def test_labels_of_the_file_change_nothing():
    run = trained(path=write("t.csv", HEADER, rows()), predict="class", targets=["label"])
    before = predict(run).columns
    write("other.csv", HEADER, [[*row[:3], "unheard of", 1] for row in rows()])
    assert predict(run, "other.csv").columns == before


def test_a_file_with_other_columns_or_missing_values_is_refused():
    run = trained(path=write("t.csv", HEADER, rows()), predict="class", targets=["label"])
    write("other.csv", ["who", "t", "b"], [["s", 0, 1]])
    with pytest.raises(DataError, match="has no column 'a'"):
        predict(run, "other.csv")
    write("other.csv", ["who", "t", "a"], [["s", 0, ""]])
    with pytest.raises(DataError, match=r"other\.csv:2: a has no value\n.*a model that is trained with task\.missing"):
        predict(run, "other.csv")
    with pytest.raises(ConfigError, match="--horizon"):
        predict(run, horizon=3)


def test_a_picture_of_an_evaluation_counts_the_split(monkeypatch):
    run = trained(path=write("t.csv", HEADER, rows()), predict="class", targets=["label"])
    seen = {}
    names = ("title", "names", "truth", "answers")
    monkeypatch.setattr(judged, "confusion", lambda *given: seen.update(zip(names, given, strict=True)))
    result = evaluate(run, picture=True)
    result.draw()
    assert seen["names"] == ["x", "y"]
    assert len(seen["truth"]) == result.data["sequences"]
    assert (seen["truth"] == seen["answers"]).double().mean() == pytest.approx(result.figures["accuracy"])


def test_a_confusion_matrix_has_the_truth_in_rows():
    figure = judged.confusion("t", ["a", "b"], torch.tensor([0, 0, 0, 1]), torch.tensor([1, 1, 0, 1]))
    axes = figure.axes[0]
    assert {(text.get_position(), text.get_text()) for text in axes.texts} == {
        ((1, 0), "2"), ((0, 0), "1"), ((1, 1), "1"),
    }  # fmt: skip
    assert axes.images[0].get_array().tolist() == [[1 / 3, 2 / 3], [0, 1]]
    assert "2 of 4 right" in axes.get_title()


def test_a_confusion_matrix_of_many_classes_shows_the_most_frequent():
    truth = torch.tensor([n for n in range(60) for _ in range(n + 1)])
    axes = judged.confusion("t", [f"c{n}" for n in range(60)], truth, truth).axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == [f"c{n}" for n in range(20, 60)]


def test_a_scatter_draws_what_is_known_of_each_target():
    truth = np.array([[1, np.nan, np.nan], [2, np.nan, 5], [np.nan, np.nan, 7]])
    axes = judged.scatter("t", ["a", "b", "c"], truth, np.full((3, 3), 4.0)).axes
    assert [axis.lines[1].get_xdata().tolist() for axis in axes] == [[1, 2], [], [5, 7]]
    assert [axis.get_title() for axis in axes] == ["a: rmse 2.55", "b: no labels", "c: rmse 2.236"]


@pytest.mark.parametrize(("predict_", "target"), [("class", "label"), ("step_number", "u")])
def test_without_labels_there_is_no_picture_and_nothing_is_written(seqtrain, predict_, target):
    run = trained(path=write("t.csv", HEADER, rows()), predict=predict_, targets=[target])
    write("new.csv", HEADER, [[*row[:3], "", ""] for row in rows(4)])
    refused = seqtrain("predict", run, "new.csv", "--plot", "p.png", "--out", "p.csv")
    assert (refused.code, "new.csv has no labels to draw" in refused.err) == (2, True)
    assert not Path("p.csv").exists()
    assert "--out predictions.csv" in seqtrain("predict", run, "new.csv").err


def test_the_command_line(seqtrain):
    run = trained(path=write("t.csv", HEADER, rows()), predict="class", targets=["label"])
    done = seqtrain("predict", run, "--out", "p.parquet", "--plot", "p.png", "--json")
    assert done.code == 0
    assert len(done.json["rows"]) == 30
    assert polars.read_parquet("p.parquet").columns == ["who", "label", "probability_x", "probability_y"]
    assert Path("p.png").read_bytes().startswith(b"\x89PNG")
    assert seqtrain("eval", run, "--plot", "e.svg").code == 0
    assert "<svg" in Path("e.svg").read_text()
    refused = seqtrain("eval", run, "--plot", "e.svg")
    assert (refused.code, "exists already" in refused.err) == (2, True)
    assert "--overwrite is for" in seqtrain("eval", run, "--overwrite").err


def test_a_table_alone_is_one_sequence():
    run = trained(path=write("t.csv", HEADER, rows()), predict="class", targets=["label"], group=None)
    own = [row for row in rows(9, seed=5) if row[0] == "s4"]
    whole = predict(run, write("new.csv", HEADER, own)).columns
    Path("folder").mkdir()
    folder = trained_in_folder(rows())
    alone = predict(folder, write("alone.csv", ["t", "a"], [row[1:3] for row in own])).columns
    assert (whole["who"], alone["sequence"]) == (["s4"], ["alone"])
    assert len(alone["label"]) == 1


def trained_in_folder(own):
    for name in {row[0] for row in own}:
        write(f"folder/{name}.csv", ["t", "a"], [row[1:3] for row in own if row[0] == name])
    write("folder/labels.csv", ["file", "label"], sorted({(row[0], row[3]) for row in own}))
    task = {"name": "sequences", "path": "folder", "step": "t", "targets": ["label"]}
    config = {"task": task, "model": {"cell": "gru", "hidden_size": 5}, "train": {"epochs": 1, "batch_size": 8}}
    train_run(config_from(config, "test"), Path("of_folder"), quiet=True)
    return Path("of_folder")


def test_what_is_not_read_is_said(capfd):
    np.savez("t.npz", inputs=np.random.default_rng(0).normal(size=(20, 3, 1)), labels=[0, 1] * 10, columns=["a"])
    task = {"name": "sequences", "path": "t.npz"}
    config = {"task": task, "model": {"cell": "gru", "hidden_size": 5}, "train": {"epochs": 1, "batch_size": 8}}
    train_run(config_from(config, "test"), Path("run"), quiet=True)
    np.savez("more.npz", inputs=np.ones((2, 3, 3)), columns=["b", "a", "c"])
    assert len(predict("run", "more.npz", quiet=False).columns["label"]) == 2
    assert "more.npz: inputs not read: 2" in capfd.readouterr().err


def test_numbers_that_hardly_repeat_are_no_classes():
    with pytest.raises(DataError, match=r"are 23 different numbers; set task\.predict=number"):
        trained(path=write("t.csv", HEADER, [[f"s{n}", 0, n, n / 7, n] for n in range(33)]),
                predict="class", targets=["label"])  # fmt: skip


@pytest.mark.parametrize(("file", "said"), [("-", "write standard input to a file"), ("task.horizon=4", "--horizon")])
def test_what_is_no_file(seqtrain, file, said):
    refused = seqtrain("predict", "run", file)
    assert (refused.code, said in refused.err) == (2, True)
