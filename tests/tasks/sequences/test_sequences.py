"""Sequences: what is read and predicted against a slow reader, the same from all four forms; divisions; faults."""

import contextlib
import csv
import math
from types import SimpleNamespace

import numpy as np
import polars
import pytest
import torch

from seqtrain.config import config_from
from seqtrain.config.build import build_model, build_task
from seqtrain.system.errors import ConfigError, DataError
from seqtrain.training import loop

MODEL = {"cell": "gru", "hidden_size": 4}


def build(path, fitted=None, **settings):
    """A task on a file."""
    task = {"name": "sequences", "path": str(path)} | settings
    return build_task(config_from({"task": task, "model": MODEL}, "test"), fitted=fitted)


def drawn(N=20, seed=0, classes="xyz"):
    """Sequences of two numbers: `(name, [T, 2], class, person)`."""
    draw = np.random.default_rng(seed)
    return [
        (f"s{n}", np.round(draw.normal(n % 3, 1, (int(draw.integers(1, 9)), 2)), 3), classes[n % 3], f"p{n % 5}")
        for n in range(N)
    ]


def write_csv(path, header, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def long_rows(sequences):
    """The rows of a long table, in a random order."""
    rows = [
        [name, t, *values, label, person]
        for name, own, label, person in sequences
        for t, values in enumerate(own.tolist())
    ]
    np.random.default_rng(1).shuffle(rows)
    return rows


LONG = {"id": "who", "step": "t", "targets": ["label"], "inputs": ["a", "b"]}
HEADER = ["who", "t", "a", "b", "label", "person"]


@pytest.fixture
def table(tmp_path):
    return write_csv(tmp_path / "long.csv", HEADER, long_rows(drawn()))


def by_sequence(task, split, batches):
    """The real inputs and the target of each sequence of some batches."""
    for batch in batches:
        for b in range(batch.size):
            T = len(batch.inputs) if batch.lengths is None else int(batch.lengths[b])
            assert not batch.inputs[T:, b].any()
            target = batch.targets[:T, b] if task.every_step else batch.targets[b]
            scored = None if batch.scored is None else batch.scored[:, b]
            if scored is not None:
                assert not scored[T:].any()
            yield batch.inputs[:T, b], target, None if scored is None else scored[:T]


def read(task, split, size=3):
    """All sequences of a split, as lists that can be sorted."""
    found = [
        (x.tolist(), y.tolist(), None if scored is None else scored.tolist())
        for x, y, scored in by_sequence(task, split, task.eval_batches(split, size))
    ]
    assert task.count_eval_batches(split, size) == len([*task.eval_batches(split, size)])
    return found


def names_in(task):
    return {split: {*own.names} for split, own in task.collections.items()}


def test_what_is_read_and_predicted(table):
    task = build(table, **LONG)
    own = {name: (values, label) for name, values, label, _ in drawn()}
    parts = names_in(task)
    train = np.concatenate([own[name][0] for name in parts["train"]])
    mean, spread = train.mean(0), train.std(0)
    assert (task.input_size, task.output_size, task.every_step) == (2, 3, False)
    for split, names in parts.items():
        wanted = sorted((((own[n][0] - mean) / spread).tolist(), "xyz".index(own[n][1])) for n in names)
        found = sorted((x, y) for x, y, _ in read(task, split))
        assert len(found) == len(wanted) > 0
        for (x, y), (want_x, want_y) in zip(found, wanted, strict=True):
            assert np.array(x) == pytest.approx(np.array(want_x), abs=1e-5)
            assert y == want_y


def test_a_pass_has_every_training_sequence_once_in_another_order(table):
    task = build(table, **LONG)
    steps = task.steps_in(1, 4)
    sizes = [len(task.parts["train"].sizes)] * 2
    orders = []
    for epoch in range(2):
        batches = [task.train_batch(step, 4) for step in range(epoch * steps, (epoch + 1) * steps)]
        orders.append([x.tolist() for x, _, _ in by_sequence(task, "train", batches)])
        assert task.epoch_at(epoch * steps, 4) == epoch
    assert [*map(len, orders)] == sizes
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(x for x, _, _ in read(task, "train"))
    assert orders[0] != orders[1]


# --- the four forms ---------------------------------------------------------------------------------------------


def in_folder(tmp_path, sequences):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, own, _, _ in sequences:
        write_csv(folder / f"{name}.csv", ["a", "b"], own.tolist())
    write_csv(folder / "labels.csv", ["file", "label", "person"], [[n, label, p] for n, _, label, p in sequences])
    return folder, {"targets": ["label"]}


def in_ts(tmp_path, sequences):
    lines = ["# a comment", "@problemName x", "@dimensions 2", "@classLabel true x y z", "@data"]
    for _, own, label, _ in sequences:
        padded = np.concatenate([own, np.full((9 - len(own), 2), np.nan)])
        lines.append(":".join([*(",".join(map(str, column)) for column in padded.T.tolist()), label]))
    (tmp_path / "x.ts").write_text("\n".join(lines) + "\n")
    return tmp_path / "x.ts", {}


def in_npz(tmp_path, sequences):
    arrays = {
        "inputs": np.concatenate([own for _, own, _, _ in sequences]),
        "lengths": np.array([len(own) for _, own, _, _ in sequences]),
        "labels": np.array([label for _, _, label, _ in sequences]),
        "extra": np.zeros(3),
    }
    np.savez(tmp_path / "x.npz", **arrays)
    return tmp_path / "x.npz", {}


def in_padded_npz(tmp_path, sequences):
    inputs = np.full((len(sequences), 12, 2), 7.0)
    for n, (_, own, _, _) in enumerate(sequences):
        inputs[n, : len(own)] = own
    lengths = np.array([len(own) for _, own, _, _ in sequences])
    np.savez(tmp_path / "y.npz", inputs=inputs, lengths=lengths, labels=[label for _, _, label, _ in sequences])
    return tmp_path / "y.npz", {}


def in_parquet(tmp_path, sequences):
    polars.DataFrame(long_rows(sequences), schema=HEADER, orient="row").write_parquet(tmp_path / "x.parquet")
    return tmp_path / "x.parquet", LONG


@pytest.mark.parametrize("form", [in_folder, in_ts, in_npz, in_padded_npz, in_parquet])
def test_every_form_gives_the_same_batches(form, table, tmp_path):
    wanted = build(table, **LONG, valid_ids=["s3", "s4"], test_ids=["s7", "s11", "s12"])
    path, settings = form(tmp_path, drawn())
    whole = [name for own in build(path, **settings).collections.values() for name in own.names]
    key = sorted(whole, key=lambda name: int("".join(filter(str.isdigit, name))))  # the names differ from form to form
    valid, test = ([key[n] for n in numbers] for numbers in ((3, 4), (7, 11, 12)))
    task = build(path, **settings, valid_ids=valid, test_ids=test)
    assert task.fitted["mean"] == pytest.approx(wanted.fitted["mean"])
    for split in ("train", "valid", "test"):
        for (x, y, _), (want_x, want_y, _) in zip(sorted(read(task, split)), sorted(read(wanted, split)), strict=True):
            assert np.array(x) == pytest.approx(np.array(want_x), abs=1e-5)
            assert y == want_y


def test_padding_and_what_is_not_read_are_counted(tmp_path):
    sequences = drawn()
    steps = sum(len(own) for _, own, _, _ in sequences)
    assert build(in_ts(tmp_path, sequences)[0]).facts("test")["padding_steps"] == 9 * 20 - steps
    assert build(in_padded_npz(tmp_path, sequences)[0]).facts("test")["padding_steps"] == 12 * 20 - steps
    assert build(in_npz(tmp_path, sequences)[0]).facts("test")["arrays_not_read"] == 1
    folder, settings = in_folder(tmp_path, sequences)
    write_csv(folder / "more.csv", ["a", "b"], [[1, 2]])
    assert build(folder, **settings).facts("test")["files_without_label"] == 1


# --- divisions --------------------------------------------------------------------------------------------------


def test_each_class_has_its_share_of_every_part(tmp_path):
    sequences = [(f"s{n}", np.ones((1, 2)) * n, "x" if n % 4 else "y", "p") for n in range(200)]
    task = build(write_csv(tmp_path / "l.csv", HEADER, long_rows(sequences)), **LONG)
    for split, size in (("train", 140), ("valid", 30), ("test", 30)):
        labels = [*task.collections[split].labels]
        assert len(labels) == size
        assert labels.count("y") == pytest.approx(size / 4, abs=1)
    first = names_in(task)
    assert names_in(build(tmp_path / "l.csv", **LONG)) == first
    assert names_in(build(tmp_path / "l.csv", **LONG, division=1)) != first


def test_a_group_is_in_one_part(table):
    task = build(table, **LONG, group="person")
    people = [{*own.groups} for own in task.collections.values()]
    assert all(people)
    assert sorted(person for own in people for person in own) == [f"p{n}" for n in range(5)]


@pytest.mark.parametrize("division", range(6))
def test_a_large_group_makes_no_small_part_large(tmp_path, division):
    sequences = [(f"s{n}", np.ones((1, 2)), "xy"[n % 2], f"p{min(n, 10)}") for n in range(100)]
    path = write_csv(tmp_path / "l.csv", HEADER, long_rows(sequences))
    task = build(path, **LONG, group="person", division=division)
    assert len(task.collections["train"]) >= 90


def test_a_column_names_the_parts(tmp_path):
    rows = [[*row[:5], "train" if int(row[0][1:]) < 12 else "valid" if int(row[0][1:]) < 16 else "test"]
            for row in long_rows(drawn())]  # fmt: skip
    path = write_csv(tmp_path / "l.csv", HEADER, rows)
    task = build(path, **LONG, part="person")
    assert {split: len(own) for split, own in names_in(task).items()} == {"train": 12, "valid": 4, "test": 4}
    assert names_in(task)["test"] == {"s16", "s17", "s18", "s19"}
    write_csv(path, HEADER, [[*row[:5], "Train"] for row in rows])
    with pytest.raises(DataError, match="belongs to 'Train'"):
        build(path, **LONG, part="person")


def test_files_of_their_own(tmp_path):
    sequences = drawn()
    first, second = (write_csv(tmp_path / n, HEADER, long_rows(own)) for n, own in
                     (("a.csv", sequences[:12]), ("b.csv", sequences[12:])))  # fmt: skip
    task = build(first, **LONG, test_path=str(second))
    assert names_in(task)["test"] == {f"s{n}" for n in range(12, 20)}
    assert len(task.collections["train"]) + len(task.collections["valid"]) == 12
    assert task.collections["valid"]


def test_nothing_of_the_test_leaks_into_the_rest(tmp_path):
    sequences = drawn()
    held = {"valid_ids": ["s1", "s2", "s3"], "test_ids": ["s4", "s5"]}
    path = write_csv(tmp_path / "l.csv", HEADER, long_rows(sequences))
    before = build(path, **LONG, **held)
    for n in (4, 5):
        sequences[n] = (sequences[n][0], sequences[n][1] * 100, "x", "p9")
    write_csv(path, HEADER, long_rows(sequences))
    after = build(path, **LONG, **held)
    assert before.fitted == after.fitted
    for split in ("train", "valid"):
        assert read(before, split) == read(after, split)
        assert before.fingerprints()[split] == after.fingerprints()[split]
        assert before.baseline(split) == after.baseline(split)
    assert read(before, "test") != read(after, "test")


def test_a_class_that_only_the_test_has_is_refused_with_its_place(tmp_path):
    sequences = drawn()
    sequences[4] = (*sequences[4][:2], "new", "p")
    path = write_csv(tmp_path / "l.csv", HEADER, sorted(long_rows(sequences)))
    with pytest.raises(DataError, match=r"l\.csv:\d+: label 'new', which no sequence of the training part has"):
        build(path, **LONG, valid_ids=["s1", "s2"], test_ids=["s4", "s5"])


# --- labels of steps, numbers, binary vectors --------------------------------------------------------------------


def test_labels_of_steps(tmp_path):
    rows = [["s0", 0, 1.0, "x"], ["s0", 1, 2.0, ""], ["s0", 2, 3.0, "y"], ["s1", 0, 4.0, "y"], ["s2", 0, 5.0, "x"]]
    path = write_csv(tmp_path / "l.csv", ["who", "t", "a", "label"], rows)
    task = build(path, id="who", step="t", targets=["label"], predict="step_class", valid_ids=["s1"], test_ids=["s2"])
    ((x, y, scored),) = read(task, "train")
    assert np.array(x).shape == (3, 1)
    assert (y, scored) == ([0, 0, 1], [True, False, True])
    model = build_model(config_from({"task": {"name": "copy_memory"}, "model": MODEL}, "t"), task.spec)
    assert loop.evaluate(model, task, "train", 2)["accuracy"] in (0, 0.5, 1)
    assert task.baseline("train")["accuracy"] == 0.5
    with pytest.raises(DataError, match=r"l\.csv:4: label y differs from x in the first row of its sequence"):
        build(path, id="who", step="t", targets=["label"], valid_ids=["s1"], test_ids=["s2"])


def test_numbers_are_scaled_and_judged_in_their_units(tmp_path):
    rows = [[f"s{n}", t, n + t, 10 * n, 3.0 - n] for n in range(20) for t in range(1 + n % 3)]
    path = write_csv(tmp_path / "l.csv", ["who", "t", "a", "u", "v"], rows)
    task = build(path, id="who", step="t", targets=["u", "v"], predict="number")
    train, test = ([int(name[1:]) for name in names_in(task)[split]] for split in ("train", "test"))
    u, mean = 10 * np.array(test), 10 * np.mean(train)
    baseline = task.baseline("test")
    v = 3 - np.array(test) - (3 - np.mean(train))
    both = ((u - mean) ** 2).mean() + (v**2).mean()
    assert baseline["rmse of the mean"] == pytest.approx(math.sqrt(both / 2), rel=1e-5)
    model = build_model(config_from({"task": {"name": "copy_memory"}, "model": MODEL}, "t"), task.spec)
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()  # predicts the mean of the training
    figures = loop.evaluate(model, task, "test", 2)
    assert figures["rmse_u"] == pytest.approx(math.sqrt(((u - mean) ** 2).mean()), rel=1e-5)
    assert figures["rmse"] == pytest.approx(baseline["rmse of the mean"], rel=1e-5)
    assert baseline["rmse of 1-NN (DTW)"] < figures["rmse"]


def chorales(tmp_path, N=9):
    draw = np.random.default_rng(0)
    own = [(draw.random((int(draw.integers(2, 9)), 5)) < 0.3).astype(np.uint8) for _ in range(N)]
    lengths = np.array([len(one) for one in own])
    np.savez(tmp_path / "c.npz", inputs=np.concatenate(own), lengths=lengths)
    return tmp_path / "c.npz", own


def test_the_next_binary_vector(tmp_path):
    """The loss is the mean over steps of summed binary cross-entropies, each step of each sequence once."""
    path, own = chorales(tmp_path)
    task = build(path, predict="next_step", valid_ids=["0"], test_ids=["3", "5", "8"])
    model = build_model(config_from({"task": {"name": "copy_memory"}, "model": MODEL}, "t"), task.spec).eval()
    total, steps = 0.0, 0
    for n in (3, 5, 8):
        state = None
        before = torch.zeros(1, 1, 5)
        for vector in torch.from_numpy(own[n]).float():
            with torch.no_grad():
                outputs, state = model(before, state=state)
            p = outputs[0, 0].double().sigmoid()
            total -= float(torch.where(vector > 0, p, 1 - p).log().sum())
            before, steps = vector.view(1, 1, 5), steps + 1
    figures = loop.evaluate(model, task, "test", 2)
    assert figures["loss"] == pytest.approx(total / steps, rel=1e-6)
    assert task.facts("test")["steps"] == steps == sum(len(own[n]) for n in (3, 5, 8))


def test_baselines_of_binary_vectors(tmp_path):
    path, own = chorales(tmp_path)
    task = build(path, predict="next_step", valid_ids=["0"], test_ids=["3", "5", "8"])
    train = [own[n] for n in (1, 2, 4, 6, 7)]
    ones, steps = sum(one.sum(0) for one in train), sum(map(len, train))
    counts = {(was, key): [1, 2] for was in (0, 1) for key in range(5)}
    for one in train:
        for before, now in zip([np.zeros(5, int), *one[:-1]], one, strict=True):
            for key in range(5):
                counts[int(before[key]), key][0] += now[key]
                counts[int(before[key]), key][1] += 1
    always, after, total = 0.0, 0.0, 0
    for n in (3, 5, 8):
        for before, now in zip([np.zeros(5, int), *own[n][:-1]], own[n], strict=True):
            total += 1
            for key in range(5):
                p = (ones[key] + 1) / (steps + 2)
                q = counts[int(before[key]), key][0] / counts[int(before[key]), key][1]
                always -= math.log(p if now[key] else 1 - p)
                after -= math.log(q if now[key] else 1 - q)
    baseline = task.baseline("test")
    assert baseline["loss of frequencies"] == pytest.approx(always / total)
    assert baseline["loss of the step before"] == pytest.approx(after / total)
    assert baseline["loss"] == pytest.approx(min(always, after) / total)


# --- metrics and baselines of classes -----------------------------------------------------------------------------


def test_metrics_of_classes_have_known_values():
    from seqtrain.tasks.sequences.classes import Classes, tally_of

    truth, answers = torch.tensor([0, 0, 0, 0, 1, 1, 2]), torch.tensor([0, 0, 1, 3, 1, 0, 2])
    figures = Classes(["a", "b", "c", "d", "e"], by_step=False).summarise(tally_of(answers, truth, 5).means())
    assert figures["accuracy"] == 4 / 7
    assert figures["balanced_accuracy"] == pytest.approx((2 / 4 + 1 / 2 + 1) / 3)
    assert figures["f1"] == pytest.approx((2 * 2 / (4 + 3) + 2 * 1 / (2 + 2) + 1 + 0) / 4)  # d is said, and never true
    assert set(figures) == {"accuracy", "balanced_accuracy", "f1"}


def warped(a, b):
    """Dynamic time warping as it is defined."""
    D = np.full((len(a) + 1, len(b) + 1), np.inf)
    D[0, 0] = 0
    for i in range(len(a)):
        for j in range(len(b)):
            D[i + 1, j + 1] = ((a[i] - b[j]) ** 2).sum() + min(D[i, j], D[i + 1, j], D[i, j + 1])
    return D[-1, -1]


def test_the_nearest_sequence(table):
    task = build(table, **LONG)
    train, test = (read(task, split) for split in ("train", "test"))
    right = 0
    for x, y, _ in test:
        near = min(train, key=lambda other: warped(np.array(x), np.array(other[0])))
        right += near[1] == y
    baseline = task.baseline("test")
    assert baseline["accuracy of 1-NN (DTW)"] == pytest.approx(right / len(test))
    most = max("xyz", key=lambda name: [*task.collections["train"].labels].count(name))
    share = [*task.collections["test"].labels].count(most) / len(test)
    assert baseline["accuracy of the most frequent class"] == pytest.approx(share)


def test_large_sets_have_no_nearest_sequence(table, monkeypatch):
    monkeypatch.setattr("seqtrain.tasks.sequences.neighbours.MOST_CELLS", 10)
    assert "accuracy of 1-NN (DTW)" not in build(table, **LONG).baseline("test")


def test_a_part_without_training_has_no_baseline(table):
    """An evaluation on another file may have nothing but a test."""
    task = build(table, fitted=build(table, **LONG).fitted, **LONG, fractions=[0.0, 0.0, 1.0])
    assert task.baseline("test") == {}


def test_a_constant_input_is_not_blown_up_by_rounding(tmp_path):
    """The mean of 56 times 0.1 is not 0.1, so that their standard deviation is not 0."""
    sequences = [(f"s{n}", np.tile([0.1, n % 2], (2, 1)), "xy"[n % 2], "p") for n in range(40)]
    path = write_csv(tmp_path / "l.csv", HEADER, long_rows(sequences))
    task = build(path, **LONG)
    assert task.fitted["spread"][0] == 0
    assert "constant in training, so that they tell nothing: a" in task.remarks(4)
    assert build(path, **LONG | {"targets": ["a"], "inputs": ["b"]}, predict="number").fitted["targets"]["spread"] == [
        0
    ]


def test_distances_do_not_depend_on_what_is_computed_together(table, monkeypatch):
    wanted = build(table, **LONG).baseline("test")
    monkeypatch.setattr("seqtrain.tasks.sequences.neighbours.CELLS_TOGETHER", 1)
    assert build(table, **LONG).baseline("test") == wanted


# --- missing values ---------------------------------------------------------------------------------------------


def test_missing_values(tmp_path):
    rows = [[f"s{n}", t, "" if (n, t) in ((0, 0), (1, 1)) else n + t, "xy"[n % 2]] for n in range(8) for t in range(3)]
    path = write_csv(tmp_path / "l.csv", ["who", "t", "a", "label"], rows)
    own = {"id": "who", "step": "t", "targets": ["label"], "valid_ids": ["s2", "s3"], "test_ids": ["s4", "s5"]}
    with pytest.raises(DataError) as refused:
        build(path, **own)
    lines = str(refused.value).splitlines()
    assert [line.split(": ")[0].rpartition("/")[2] for line in lines[:2]] == ["l.csv:2", "l.csv:6"]
    assert "task.missing=forward" in lines[2]
    train = [n + t for n in (0, 1, 6, 7) for t in range(3) if (n, t) not in ((0, 0), (1, 1))]
    mean, spread = np.mean(train), np.std(train)
    sequences = {"s0": [mean, 1, 2], "s1": [1, 1, 3], "s6": [6, 7, 8], "s7": [7, 8, 9]}  # the mean before a first value
    for missing, extra in (("forward", 0), ("mask", 1)):
        task = build(path, **own, missing=missing)
        assert (task.input_size, task.facts("test")["missing_values"]) == (1 + extra, 2)
        found = [np.array(x) for x, _, _ in read(task, "train")]
        wanted = sorted(((np.array(values) - mean) / spread).tolist() for values in sequences.values())
        assert np.array(sorted(x[:, 0].tolist() for x in found)) == pytest.approx(np.array(wanted), abs=1e-6)
        if extra:
            masks = sorted(x[:, 1].tolist() for x in found)
            assert masks == sorted([[-1, 1, 1], [1, -1, 1], [1, 1, 1], [1, 1, 1]])


# --- faults -----------------------------------------------------------------------------------------------------

FAULTS = [
    ("a,b\n1,2\n", {"id": "who", "targets": ["label"]}, "has no column 'label' (task.targets), 'who' (task.id)"),
    ("who,a,label\ns,1,x\n", {"targets": ["label"]}, "set task.id to one of 'who', 'a', 'label'"),
    ("who,a,label\ns,1,x\n", {"id": "who"}, "which column holds the labels is not said"),
    ("who,a,label\ns,q,x\nr,1,y\n", {"id": "who", "targets": ["label"]}, ":2: column 'a' has 'q', which is no number"),
    ("who,a,label\ns,1,\" \"\nr,1,y\nq,1,x\n", {"id": "who", "targets": ["label"], "valid_ids": ["r"],
     "test_ids": ["q"]}, ":2: has no label"),
    ("who,a,g,label\ns,1,,x\nr,1,g,y\n", {"id": "who", "targets": ["label"], "group": "g"}, ":2: column 'g' is empty"),
    ("who,a\ns,1\nr,\nq,1\n", {"id": "who", "predict": "next_step", "valid_ids": ["r"], "test_ids": ["q"]},
     "write 0 or 1, as each number is to be predicted"),
    ("who,a,label\ns,1,x\ns,2,y\nr,1,\nq,1,x\n", {"id": "who", "targets": ["label"], "predict": "step_class",
     "valid_ids": ["r"], "test_ids": ["q"]}, ":4: no step of valid has a label"),
    ("who,a,label\n,1,x\nr,1,y\n", {"id": "who", "targets": ["label"]}, ":2: column 'who' is empty"),
    ("who,a,label\ns,1,\nr,1,y\nq,1,x\n", {"id": "who", "targets": ["label"], "valid_ids": ["r"], "test_ids": ["q"]},
     ":2: has no label"),
    ("who,a,label\ns,1,x\nr,1,x\nq,1,x\n", {"id": "who", "targets": ["label"], "valid_ids": ["r"], "test_ids": ["q"]},
     "the training part has 1 classes"),
    ("who,t,a,label\ns,1,1,x\ns,1,2,x\n", {"id": "who", "step": "t", "targets": ["label"]}, "has this step, 1, twice"),
    ("who,a,label\ns,1,x\nr,1,y\n", {"id": "who", "targets": ["label"], "valid_ids": ["z"], "test_ids": ["r"]},
     "there is no such sequence"),
    ("who,label\ns,x\nr,y\n", {"id": "who", "targets": ["label"]}, "has no column of numbers"),
    ("who,a,label\ns,1,x\nr,1,y\n", {"id": "who", "targets": ["label"]}, "no sequence is left for"),
    ("who,a\ns,1\nr,0.5\nq,1\n", {"id": "who", "predict": "next_step", "valid_ids": ["r"], "test_ids": ["q"]},
     ":3: a is 0.5"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "settings", "fault"), FAULTS, ids=[fault for _, _, fault in FAULTS])
def test_faults_of_a_table(tmp_path, text, settings, fault):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError) as refused:
        build(tmp_path / "t.csv", **settings)
    assert fault in str(refused.value)


TS = "@problemName x\n@classLabel true x y\n@data\n"
FAULTS_OF_TS = [
    ("", "has no line @data"),
    (TS, "has no sequence below @data"),
    (TS + "1,2:3,4:x\n1,2:y\n", ":5: has 1 dimensions, not 2"),
    (TS + "1,2:3:x\n", ":4: has dimensions of different lengths, 1 to 2 steps"),
    (TS + "1,oops:x\n", ":4: dimension 1 has 'oops', which is no number"),
    (TS + "?,NaN:x\n", ":4: has no value"),
    (TS + "1,2:x\n1,2\n", ":5: has no label, as there is no colon"),
    (TS + "1,2:?\n" + 9 * "1,2:x\n1,2:y\n", ":4: has no label"),
    ("@dimensions ²\n@classLabel\ttrue x y\n@data\n1,oops:x\n", ":4: dimension 1 has 'oops'"),
    (TS + "1,inf:x\n", ":4: has an infinite value"),
    ("@timeStamps true\n@data\n(0,1):x\n", "has time stamps"),
    ("@data\n1,2,3\n", "has no labels"),
]


@pytest.mark.parametrize(("text", "fault"), FAULTS_OF_TS, ids=[fault for _, fault in FAULTS_OF_TS])
def test_faults_of_a_ts_file(tmp_path, text, fault):
    (tmp_path / "x.ts").write_text(text)
    with pytest.raises(DataError) as refused:
        build(tmp_path / "x.ts")
    assert fault in str(refused.value)


FAULTS_OF_NPZ = [
    ({"x": np.ones(3)}, "has no array 'inputs'"),
    ({"inputs": np.ones((3, 2))}, "add up to S"),
    ({"inputs": np.ones((3, 2)), "lengths": np.array([1, 1])}, "add up to S"),
    ({"inputs": np.ones((3, 2)), "lengths": np.array([0, 3])}, "whole numbers from 1"),
    ({"inputs": np.ones((3, 2, 1)), "lengths": np.array([1, 1, 3])}, "give N lengths up to T"),
    ({"inputs": np.ones((3, 2, 1))}, "has no array of labels"),
    ({"inputs": np.ones((3, 2, 1)), "labels": np.ones(2)}, "labels are (2,)"),
    ({"inputs": np.full((3, 2, 1), np.inf), "labels": np.ones(3)}, "infinite"),
    ({"inputs": np.ones((3, 2, 1)), "lengths": np.array([1, 1, 2**63 + 1], np.uint64), "labels": np.ones(3)}, "up to"),
    ({"inputs": np.ones((9, 2, 1)), "labels": np.array([1, 2, np.nan] * 3)}, "sequence 2: has no label"),
    ({"inputs": np.ones((9, 2, 1)), "labels": np.array(["a", "", "b"] * 3)}, "sequence 1: has no label"),
    ({"inputs": np.ones((3, 2, 2)), "labels": np.ones(3), "columns": ["a", "a"]}, "'a' more than once"),
    ({"inputs": np.array([["a"]]), "lengths": np.array([1])}, "make them numbers"),
    ({"inputs": np.array([[1], [2, 3]], object)}, "holds Python objects"),
]


@pytest.mark.parametrize(("arrays", "fault"), FAULTS_OF_NPZ, ids=[fault for _, fault in FAULTS_OF_NPZ])
def test_faults_of_a_npz_file(tmp_path, arrays, fault):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(DataError) as refused:
        build(tmp_path / "x.npz")
    assert fault in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "arrays", "fault"),
    [
        ({"id": "who"}, {"who": list("aabcdefgh")}, "who has 'a' more than once"),
        ({"group": "who"}, {"who": ["", *"abcdefgh"]}, "who is empty at 0"),
        ({"predict": "number", "targets": ["a", "b"]}, {"a": np.ones(9), "b": np.ones(9)}, "task.targets names more"),
        ({"predict": "number"}, {"labels": np.full(9, np.inf)}, "labels hold infinite"),
    ],
)
def test_faults_of_what_a_npz_file_has_beside_inputs(tmp_path, settings, arrays, fault):
    np.savez(tmp_path / "x.npz", inputs=np.ones((9, 2, 1)), **({"labels": list("xyxyxyxyx")} | arrays))
    with pytest.raises(DataError, match=fault):
        build(tmp_path / "x.npz", **settings)


def test_labels_are_the_same_texts_in_all_forms(tmp_path):
    """As a CSV file has them: no bytes, and no `.0` of a whole number."""
    inputs, plain = np.ones((30, 2, 1)), np.arange(30) % 2 + 1
    for n, labels in enumerate((plain, plain.astype(">f8"), plain.astype("S1"), plain.astype(str))):
        np.savez(tmp_path / f"{n}.npz", inputs=inputs, labels=labels)
        assert build(tmp_path / f"{n}.npz").fitted["classes"] == ["1", "2"]
    who = [f"s{n}" for n in range(30)]
    frame = polars.DataFrame({"who": who, "a": np.arange(30), "label": plain.astype(float)})
    frame.write_parquet(tmp_path / "x.parquet")
    assert build(tmp_path / "x.parquet", id="who", targets=["label"]).fitted["classes"] == ["1", "2"]


def test_a_torn_npz_file_is_told(tmp_path):
    """Some damage is found by the checksum, some before, and some is in what is not read."""
    np.savez_compressed(tmp_path / "x.npz", inputs=np.random.default_rng(0).normal(size=(30, 9, 2)), labels=[1, 2] * 15)
    whole = (tmp_path / "x.npz").read_bytes()
    told = set()
    for place in range(30, len(whole), 41):
        (tmp_path / "x.npz").write_bytes(whole[:place] + bytes(9) + whole[place + 9 :])
        with contextlib.suppress(DataError):
            build(tmp_path / "x.npz")
            continue
        told.add(place)
    assert len(told) > 50


def test_a_file_that_is_none(tmp_path):
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04 torn")
    for name in ("x.npz", "none.npz", "none.ts", "none.csv"):
        with pytest.raises(DataError, match=name):
            build(tmp_path / name, id="a", targets=["b"]) if name.endswith("csv") else build(tmp_path / name)


def test_faults_of_a_folder(tmp_path):
    folder, settings = in_folder(tmp_path, drawn())
    rows = [["s1.csv", "x"], ["gone", "y"], ["s1", "x"]]
    write_csv(folder / "labels.csv", ["file", "label"], rows)
    with pytest.raises(DataError, match=r"labels\.csv:3: column 'file' has 'gone'"):
        build(folder, **settings)
    write_csv(folder / "labels.csv", ["file", "label"], [rows[0], rows[2]])
    with pytest.raises(DataError, match=r"labels\.csv:3: names s1\.csv again"):
        build(folder, **settings)
    outside = write_csv(tmp_path / "out.csv", ["a", "b"], [[1, 2]])
    for name in ("../out.csv", str(outside), "n" * 300, ""):
        write_csv(folder / "labels.csv", ["file", "label"], [rows[0], [name, "y"]])
        with pytest.raises(DataError, match=r"labels\.csv:3: column 'file' has .*no such table"):
            build(folder, **settings)
    write_csv(folder / "labels.csv", ["file", "label"], [rows[0], ["none/../s1", "y"]])
    with pytest.raises(DataError, match=r"labels\.csv:3: names s1\.csv again"):
        build(folder, **settings)
    (folder / "labels.csv").unlink()
    with pytest.raises(DataError, match=r"has no labels\.csv"):
        build(folder, **settings)
    for name in ("group", "part"):
        with pytest.raises(DataError, match=rf"so task\.{name} names nothing"):
            build(folder, targets=["b"], predict="step_number", **{name: "person"})
    for file in folder.glob("*.csv"):
        write_csv(file, ["a", "b"], [[5, 2], [3, 4]])
    write_csv(folder / "s1.csv", ["a", "b"], [[5, 2], [3, 4], [5, 6]])
    with pytest.raises(DataError, match=r"s1\.csv:4: has this step, 5, twice"):
        build(folder, predict="next_step", step="a", inputs=["b"])


SETTINGS = [
    ({"predict": "next_step", "targets": ["a"]}, "targets"),
    ({"predict": "next_step", "missing": "mask"}, "missing"),
    ({"targets": ["a", "b"]}, "targets"),
    ({"valid_ids": ["a"]}, "test_ids"),
    ({"part": "p", "group": "g"}, "group"),
    ({"part": "p", "division": 1}, "division"),
    ({"part": "p", "valid_ids": ["a"], "test_ids": ["b"]}, "part"),
    ({"part": "p", "test_path": "b.csv"}, "test_path"),
    ({"test_path": "b.csv", "fractions": [0.5, 0.25, 0.25]}, "fractions"),
    ({"fractions": [0.5, 0.25, 0.5]}, "fractions"),
    ({"targets": ["a"], "inputs": ["b", "a"]}, "inputs"),
    ({"inputs": ["b", "b"]}, "inputs"),
    ({"targets": ["a", "a"], "predict": "number"}, "targets"),
]


@pytest.mark.parametrize(("settings", "named"), SETTINGS, ids=str)
def test_settings_that_do_not_fit(settings, named):
    with pytest.raises(ConfigError, match=rf"task\.{named}"):
        config_from({"task": {"name": "sequences", "path": "a.csv", "id": "w"} | settings, "model": MODEL}, "test")


def test_reading_backward_is_refused_where_it_would_show_the_answer():
    task = {"name": "sequences", "path": "a.npz", "predict": "next_step"}
    with pytest.raises(ConfigError, match=r"would show the model the step that it must predict"):
        config_from({"task": task, "model": MODEL | {"direction": "bidirectional"}}, "test")


# --- a trained model ----------------------------------------------------------------------------------------------


def test_a_trained_model_keeps_its_classes_and_scaling(table, tmp_path):
    first = build(table, **LONG)
    other = write_csv(tmp_path / "o.csv", HEADER, [["s", 0, 5.0, 7.0, "z", "p"]])
    task = build(other, fitted=first.fitted, **LONG, fractions=[0.0, 0.0, 1.0])
    ((x, y, _),) = read(task, "test")
    mean, spread = np.array(first.fitted["mean"]), np.array(first.fitted["spread"])
    assert np.array(x) == pytest.approx(((np.array([[5.0, 7.0]]) - mean) / spread), rel=1e-5)
    assert y == 2
    with pytest.raises(DataError, match="no sequence belongs to valid"):
        next(task.eval_batches("valid", 1))


def test_the_shipped_gestures_are_what_their_generator_writes():
    from seqtrain.system.shipped import text_path
    from seqtrain.tasks.sequences.gestures import rows

    assert text_path("shipped:gestures.csv").read_text("utf-8") == "".join(f"{row}\n" for row in rows())


# --- what a change of one line could break unnoticed ---------------------------------------------------------------


def test_a_gap_is_not_filled_from_the_sequence_before():
    from seqtrain.tasks.sequences.collection import Collection
    from seqtrain.tasks.sequences.part import filled_within

    values = np.array([[1.0], [np.nan], [np.nan], [4.0]])
    own = Collection(["a", "b"], ["x"], values, np.array([2, 2]), lambda n, _: str(n))
    assert np.array_equal(filled_within(own), [[1], [1], [np.nan], [4]], equal_nan=True)


def test_labels_of_steps_in_a_folder_follow_the_steps(tmp_path):
    for n in range(10):
        rows = [[t, 0.5 * t, "xy"[t % 2 if n else 0]] for t in (4, 1, 3)]
        write_csv(tmp_path / f"{n}.csv", ["t", "a", "label"], rows)
    task = build(tmp_path, step="t", targets=["label"], predict="step_class")
    own = task.collections["train"]
    assert all([*own.labels[start : start + 3]] == ["y", "y", "x"] for start in own.starts[1:])
    assert task.facts("test")["classes"] == 2


def test_baseline_figures_by_hand(tmp_path):
    """The loss has the frequencies of the training; the mean error is a mean."""
    labels = [*"xxxyyx", *"xy", *"xyy"]
    rows = [[f"s{n}", 1, float(n), label, [0, 0, 3][n % 3] * (n > 5)] for n, label in enumerate(labels)]
    path = write_csv(tmp_path / "l.csv", ["who", "t", "a", "label", "u"], rows)
    own = {"id": "who", "valid_ids": ["s6", "s7"], "test_ids": ["s8", "s9", "s10"], "inputs": ["a"]}
    loss = -(math.log(5 / 8) + 2 * math.log(3 / 8)) / 3  # one more of each class
    assert build(path, targets=["label"], **own).baseline("test")["loss"] == pytest.approx(loss)
    assert build(path, targets=["u"], predict="number", **own).baseline("test")["mae"] == pytest.approx(1.0)


def test_frame_accuracy_counts_what_is_wrongly_said():
    from seqtrain.tasks.base import Batch
    from seqtrain.tasks.sequences.binary_steps import BinarySteps

    said, true = torch.tensor([[[1.0, 1.0, -1.0, -1.0]]]), torch.tensor([[[1.0, 0.0, 1.0, 0.0]]])
    tally = BinarySteps(4).measure(SimpleNamespace(outputs=said), Batch(said, true, None, None))
    assert tally.means()["frame_accuracy"] == pytest.approx(1 / 3)


def test_a_file_of_its_own_needs_no_groups(table, tmp_path):
    other = write_csv(tmp_path / "o.csv", HEADER[:5], [row[:5] for row in long_rows(drawn(6))])
    assert len(build(table, **LONG, group="person", test_path=str(other)).collections["test"]) == 6
