"""Series: what is read and predicted against a slow reader of the file; nothing leaks; baselines; faults of tables."""

import csv
import json
import math

import numpy as np
import polars
import pytest
import torch

import seqtrain as package
from seqtrain.config import config_from
from seqtrain.config.build import build_model, build_task
from seqtrain.system.errors import ConfigError, DataError
from seqtrain.training import loop


@pytest.fixture
def make(tmp_path):
    """A task on a table of rows: `make(rows, targets=["y"])`."""

    def make(rows, name="table.csv", fitted=None, **settings):
        path = tmp_path / name
        if isinstance(rows, str):
            path.write_text(rows)
        else:
            with path.open("w", newline="") as file:
                csv.writer(file).writerows(rows)
        task = {"name": "series", "path": str(path), "targets": ["y"]} | settings
        return build_task(
            config_from({"task": task, "model": {"cell": "gru", "hidden_size": 4}}, "test"), fitted=fitted
        )

    return make


def table(T=40, ids=("b", "a"), seed=0):
    """Rows of several series in a random order, with a header."""
    draw = np.random.default_rng(seed)
    rows = []
    for n, name in enumerate(ids):
        for t in range(T - 3 * n):
            rows.append([name, 1900 + t, *np.round(draw.normal(n, 1 + n, 4), 3)])
    draw.shuffle(rows)
    return [["who", "year", "y", "x", "k", "z"], *rows]


def slow(rows, *, targets, inputs=(), known=(), horizon=1, differences=False, cut=(0.7, 0.85)):
    """By series and step: what is read and what must be predicted, scaled, and the split of the step."""
    header, *body = rows
    series = {}
    for row in sorted(body, key=lambda row: (row[0], row[1])):
        series.setdefault(row[0], []).append(dict(zip(header, row, strict=True)))
    cuts = {name: tuple(round(share * len(own)) for share in cut) for name, own in series.items()}

    def changed(own, t, name):
        if name in targets and differences:
            return own[t][name] - own[t - 1][name] if t else math.nan
        return own[t][name]

    def scale(name):
        values = [changed(own, t, name) for key, own in series.items() for t in range(cuts[key][0])]
        values = [value for value in values if not math.isnan(value)]
        return np.mean(values), np.std(values)

    scales = {name: scale(name) for name in (*targets, *inputs, *known)}

    def scaled(value, name):
        return 0.0 if math.isnan(value) else (value - scales[name][0]) / scales[name][1]

    found = []
    for key, own in series.items():
        T = len(own)
        for t in range(T):
            read = [scaled(changed(own, t, name), name) for name in (*(targets if horizon else ()), *inputs)]
            for ahead in range(1, horizon + 1) if horizon else [0]:
                read += [scaled(own[t + ahead][name], name) if t + ahead < T else 0.0 for name in known]
            last, first = t + horizon, t + 1 if horizon else t
            bounds = [0, *cuts[key], T]
            split = [n for n in range(3) if bounds[n] <= first and last < bounds[n + 1]]
            wanted = []
            for ahead in range(1, horizon + 1) if horizon else [0]:
                for name in targets:
                    later = own[t + ahead][name] if t + ahead < T else math.nan
                    wanted.append((later - (own[t][name] if differences else 0) - scales[name][0]) / scales[name][1])
            if split:
                found.append((("train", "valid", "test")[split[0]], read, wanted))
    return found


def scored_in(batches):
    for batch in batches:
        for t, b in batch.scored.nonzero().tolist():
            yield batch.inputs[t, b].tolist(), batch.targets[t, b].tolist()


CASES = [
    {"targets": ["y"]},
    {"targets": ["y"], "horizon": 3, "inputs": ["x"], "known": ["k"]},
    {"targets": ["y", "z"], "differences": True, "inputs": ["x"], "horizon": 2},
    {"targets": ["y"], "inputs": ["x"], "known": ["k"], "horizon": 0},
]


@pytest.mark.parametrize("settings", CASES, ids=str)
def test_what_is_read_and_predicted(make, settings):
    rows = table()
    task = make(rows, id="who", time="year", window=7, **settings)
    wanted = slow(rows, **settings)
    for split in ("train", "valid", "test"):
        own = sorted((read, want) for name, read, want in wanted if name == split)
        if split == "train":
            batches = [task.train_batch(step, 3) for step in range(task.steps_in(1, 3))]
            assert task.epoch_at(len(batches), 3) == 1
        else:
            batches = [*task.eval_batches(split, 1)]
            assert task.count_eval_batches(split, 1) == len(batches)
        found = sorted(scored_in(batches))
        assert len(found) == len(own) > 0
        for (read, want), (slow_read, slow_want) in zip(found, own, strict=True):
            assert read == pytest.approx(slow_read, abs=1e-5)
            assert want == pytest.approx(slow_want, abs=1e-5)


def test_windows_follow_each_other_and_start_afresh(make):
    task = make(table(T=60), id="who", time="year", window=8)
    batches = [task.train_batch(step, 2) for step in range(task.steps_in(1, 2))]
    assert [batch.fresh for batch in batches] == [True] + [False] * (len(batches) - 1)
    assert {batch.size for batch in batches} == {2}
    labels = make(table(T=60), id="who", time="year", window=8, horizon=0, inputs=["x"])
    assert all(labels.train_batch(step, 2).fresh for step in range(labels.steps_in(1, 2)))


def test_few_series_are_cut_into_pieces_no_shorter_than_a_window(make):
    task = make(table(T=100, ids=["a"]), time="year", window=10)
    assert [task.trained_together(size) for size in (1, 3, 50)] == [1, 3, 6]
    assert task.train_batch(0, 50).size == 6


def test_the_future_changes_nothing_before_it(make):
    """Values after the start of the test, and then after that of validation, are changed."""
    rows = table(T=50, ids=["a"])
    settings = {"time": "year", "inputs": ["x"], "known": ["k"], "horizon": 2, "valid_from": 1930, "test_from": 1940}
    task = make(rows, **settings)
    for start, splits in ((1940, ("train", "valid")), (1930, ("train",))):
        other = [rows[0], *([row[0], row[1], *(v + 99 * (row[1] >= start) for v in row[2:])] for row in rows[1:])]
        changed = make(other, name=f"{start}.csv", **settings)
        assert changed.fitted == task.fitted
        for split in splits:
            assert changed.fingerprints()[split] == task.fingerprints()[split]
        pairs = [(task.train_batch(step, 4), changed.train_batch(step, 4)) for step in range(task.steps_in(1, 4))]
        if "valid" in splits:
            pairs += zip(task.eval_batches("valid", 1), changed.eval_batches("valid", 1), strict=True)
        for one, two in pairs:
            assert torch.equal(one.inputs, two.inputs)
            assert torch.equal(one.targets.nan_to_num(9.0), two.targets.nan_to_num(9.0))
        assert changed.fingerprints()["test"] != task.fingerprints()["test"]


def test_metrics_are_in_the_units_of_the_data(make):
    rows = table(T=30)
    task = make(rows, id="who", time="year", targets=["y", "z"], horizon=2)
    config = config_from(
        {
            "task": {
                "name": "series",
                "path": str(task.path),
                "targets": ["y", "z"],
                "horizon": 2,
                "id": "who",
                "time": "year",
            },
            "model": {"cell": "gru", "hidden_size": 4},
        },
        "test",
    )
    model = build_model(config, task.spec).eval()
    figures = loop.evaluate(model, task, "test", 5)
    errors = []
    spread, mean = np.array(task.fitted["spread"][:2] * 2), np.array(task.fitted["mean"][:2] * 2)
    for batch in task.eval_batches("test", 5):
        outputs = model.predict(batch.inputs, batch.lengths)[0].outputs.detach()
        for t, b in batch.scored.nonzero().tolist():
            errors.append((outputs[t, b].numpy() * spread + mean) - (batch.targets[t, b].numpy() * spread + mean))
    errors = np.array(errors)
    assert figures["rmse"] == pytest.approx(math.sqrt((errors**2).mean()), rel=1e-5)
    assert figures["mae"] == pytest.approx(abs(errors).mean(), rel=1e-5)
    assert figures["rmse_z"] == pytest.approx(math.sqrt((errors[:, [1, 3]] ** 2).mean()), rel=1e-5)
    assert figures["loss"] == pytest.approx(((errors / spread) ** 2).mean(), rel=1e-4)


SUNSPOTS = {
    "path": "shipped:sunspots.csv",
    "targets": ["sunspots"],
    "time": "year",
    "valid_from": 1921,
    "test_from": 1956,
    "season": 11,
    "lags": 9,
}


def test_baselines_of_the_sunspots():
    """Published figures of the same split, and a regression with loops."""
    task = build_task(config_from({"task": {"name": "series"} | SUNSPOTS, "model": {"cell": "rnn"}}, "test"))
    found = task.baseline("test")
    assert found["rmse of persistence"] == pytest.approx(33.42, abs=0.005)
    assert found["rmse of seasonal"] == pytest.approx(39.11, abs=0.005)
    assert found["rmse of AR(9)"] == pytest.approx(19.49, abs=0.005)
    assert found["rmse"] == found["rmse of AR(9)"]
    assert task.facts("test")["steps"] == 53
    assert (task.fitted["mean"], task.fitted["spread"]) == (
        pytest.approx([43.5], abs=0.05),
        pytest.approx([34.2], abs=0.05),
    )


def test_baselines_further_ahead(make):
    draw = np.random.default_rng(3)
    values = [0.0, 1.0]
    for _ in range(198):
        values.append(0.5 * values[-1] - 0.3 * values[-2] + 1 + 0.1 * draw.normal())
    rows = [["y"], *([value] for value in values)]
    task = make(rows, horizon=3, season=5, lags=2)
    y, errors = np.array(values), {"persistence": [], "seasonal": [], "AR(2)": []}
    X = np.array([[y[t - 1], y[t - 2], 1] for t in range(2, 140)])
    a, b, c = np.linalg.lstsq(X, y[2:140], rcond=None)[0]
    for t in range(169, 197):
        one = a * y[t] + b * y[t - 1] + c
        two = a * one + b * y[t] + c
        three = a * two + b * one + c
        errors["persistence"] += [y[t] - y[t + k] for k in (1, 2, 3)]
        errors["seasonal"] += [y[t + k - 5] - y[t + k] for k in (1, 2, 3)]
        errors["AR(2)"] += [guess - y[t + k] for k, guess in ((1, one), (2, two), (3, three))]
    for name, own in errors.items():
        assert task.baseline("test")[f"rmse of {name}"] == pytest.approx(math.sqrt(np.mean(np.square(own))), rel=1e-6)
    best = make(rows, name="b.csv", horizon=3)
    assert any(name.startswith("rmse of AR(") for name in best.baseline("test"))


def test_baselines_of_labels(make):
    rows = table(T=80, ids=["a"])
    rows = [rows[0], *([*row[:2], 3 * row[3] - row[4], *row[3:]] for row in rows[1:])]
    task = make(rows, time="year", inputs=["x"], known=["k"], horizon=0)
    assert task.baseline("test")["rmse of linear"] == pytest.approx(0, abs=1e-9)
    train = [row[2] for row in sorted(rows[1:], key=lambda row: row[1])][:56]
    test = [row[2] for row in sorted(rows[1:], key=lambda row: row[1])][68:]
    wanted = math.sqrt(np.mean([(value - np.mean(train)) ** 2 for value in test]))
    assert task.baseline("test")["rmse of mean"] == pytest.approx(wanted)


def test_missing_values(make):
    rows = [["t", "y"], *([t, "" if t in (3, 4, 20) else float(t)] for t in range(30) if t not in (8, 25))]
    with pytest.raises(DataError) as refused:
        make(rows, time="t")
    for words in (
        "table.csv:5: column 'y' has no value",
        "table.csv:9: a step is missing after this row",
        "5 missing",
        "task.missing=forward",
    ):
        assert words in str(refused.value)
    forward, mask = (
        make(rows, name="f.csv", time="t", missing="forward"),
        make(rows, name="m.csv", time="t", missing="mask"),
    )
    (a,), (b,) = forward.eval_batches("test", 1), mask.eval_batches("test", 1)
    assert (a.inputs.shape[2], b.inputs.shape[2]) == (1, 2)
    mean, spread = forward.fitted["mean"][0], forward.fitted["spread"][0]
    filled = [2 if t in (3, 4) else 7 if t == 8 else 19 if t == 20 else 24 if t == 25 else t for t in range(29)]
    assert (a.inputs[:, 0, 0] * spread + mean).tolist() == pytest.approx(filled, abs=1e-4)
    assert torch.equal(a.inputs[..., 0], b.inputs[..., 0])
    assert [t for t in range(29) if b.inputs[t, 0, 1] < 0] == [3, 4, 8, 20, 25]
    scored = a.scored[:, 0].nonzero()[:, 0].tolist()
    assert [t + 1 for t in scored] == [26, 27, 28, 29]  # 25 is missing, so that it is not judged
    known = [t for t in range(21) if t not in (3, 4, 8, 20)]
    assert mean == pytest.approx(np.mean(known))


@pytest.mark.parametrize(
    ("times", "valid_from"),
    [
        ([f"2001-{1 + t // 28:02}-{1 + t % 28:02}" for t in range(28)], "2001-01-21"),
        ([f"{2000 + t // 12}-{1 + t % 12:02}-01" for t in range(28)], "2001-09-01"),
        ([f"{2000 + t}-12-31" for t in range(28)], "2020-12-31"),
        ([f"2001-01-01 {t // 2:02}:{30 * (t % 2):02}:00" for t in range(28)], "2001-01-01 10:00:00"),
        ([f"{2000 + t // 4}-{3 * (t % 4) + 1:02}-01" for t in range(28)], "2005-01-01"),
        ([f"2001-01-01T{t // 2:02}:{30 * (t % 2):02}-03:30" for t in range(28)], "2001-01-01 13:30Z"),
        ([f"200101{1 + t:02}" for t in range(28)], "20010121"),
        ([10 * t for t in range(28)], 200),
    ],
    ids=["days", "months", "years", "half hours", "quarters", "half hours from UTC", "eight digits", "numbers"],
)
def test_times(make, times, valid_from):
    rows = [["t", "y"], *zip(times, np.arange(28.0), strict=True)]
    later = times[24]
    task = make(rows, time="t", valid_from=valid_from, test_from=later)
    assert [one.starts for one in task.series] == [(20, 24, 28)]
    gap = [row for n, row in enumerate(rows) if n != 6]
    assert (
        make(gap, name="gap.csv", time="t", missing="mask", valid_from=valid_from, test_from=later).missing_values == 1
    )


def test_a_parquet_file_is_the_same_table(make, tmp_path):
    rows = table()
    polars.DataFrame(
        {name: list(own) for name, own in zip(rows[0], zip(*rows[1:], strict=True), strict=True)}
    ).write_parquet(tmp_path / "t.parquet")
    task = make(rows, id="who", time="year", inputs=["x"])
    other = build_task(
        config_from(
            {
                "task": {
                    "name": "series",
                    "path": str(tmp_path / "t.parquet"),
                    "targets": ["y"],
                    "id": "who",
                    "time": "year",
                    "inputs": ["x"],
                },
                "model": {"cell": "rnn"},
            },
            "test",
        )
    )
    assert other.fingerprints() == task.fingerprints()
    assert other.fitted["mean"] == pytest.approx(task.fitted["mean"])


def test_separators_and_a_byte_order_mark(make):
    plain = make("t,y\n" + "".join(f"{t},{t * t % 7}\n" for t in range(20)), time="t")
    for separator in ";\t|":
        text = "\ufefft,y\n" + "".join(f"{t},{t * t % 7}\n" for t in range(20))
        assert make(text.replace(",", separator), name="o.csv", time="t").fingerprints() == plain.fingerprints()


GOOD = "".join(f"{t},{t % 5}\n" for t in range(20))


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("t , y\n" + GOOD.replace(",", " , "), {}),
        ('"t","y"\n' + "".join(f'"{t}","{t % 5}"\n' for t in range(20)), {}),
        ("t,y\n" + GOOD + "\n\n", {}),
        ("t,y,note,note\n" + GOOD.replace("\n", ",a,b\n"), {}),
        ('t;y;"a, b, c"\n' + GOOD.replace(",", ";").replace("\n", ";0\n"), {}),
        ("t,y\r\n" + GOOD.replace("\n", "\r\n"), {}),
        ("t,y\n" + GOOD.replace(",", ".0,"), {}),
    ],
    ids=["white space", "quotes", "empty end", "other columns alike", "commas in quotes", "CRLF", "times of pandas"],
)
def test_other_ways_to_write_the_same_table(make, text, settings):
    assert make(text, time="t", **settings).fingerprints() == make("t,y\n" + GOOD, time="t").fingerprints()


def test_a_quote_in_the_name_of_a_column(make):
    """Two quotes stand for one, as in the cells."""
    task = make('t,"rain ""mm"""\n' + GOOD, time="t", targets=['rain "mm"'])
    assert task.fitted["columns"] == ['rain "mm"']
    as_it_is = make('t,"a""""b"\n' + GOOD, time="t", targets=['a""b'])
    assert as_it_is.fitted["columns"] == ['a""b']


def test_empty_lines_at_the_end_are_counted(make):
    assert make("t,y\n" + GOOD + "\n,\n\n", time="t").facts("test")["empty_lines"] == 3
    assert "empty_lines" not in make("t,y\n" + GOOD, time="t").facts("test")


def test_the_names_of_series_are_no_missing_values(make):
    """NA is the code of Namibia; an empty name is no name."""
    rows = [[name, t, t % 5] for t in range(20) for name in ("NA", "-", " None ")]
    task = make([["who", "t", "y"], *rows], id="who", time="t")
    assert [(one.name, len(one.values)) for one in task.series] == [("-", 20), ("NA", 20), ("None", 20)]
    with pytest.raises(DataError, match=r"table\.csv:62: column 'who' is empty; every row needs the name"):
        make([["who", "t", "y"], *rows, ["", 99, 1]], id="who", time="t")


def test_all_series_have_the_step_of_the_longest(make):
    """A series with two rows, or with a row a week, does not have steps of its own."""
    days = [["a", t, t % 5] for t in range(40)]
    weeks = [["b", 7 * t, t] for t in range(5)]
    task = make([["who", "t", "y"], *weeks, *days], id="who", time="t", missing="forward")
    assert [len(one.values) for one in task.series] == [40, 29]
    with pytest.raises(DataError, match=r"table\.csv:2: comes at 3, after 0, but most rows"):
        make([["who", "t", "y"], ["b", 3, 1], ["b", 0, 1], *[[w, 2 * t, y] for w, t, y in days]], id="who", time="t")


def test_times_with_their_distance_from_utc(make, tmp_path):
    """The clocks of Berlin go from 02:00 to 03:00 on 31 March 2024."""
    utc = polars.datetime_range(
        polars.datetime(2024, 3, 30, 22), polars.datetime(2024, 4, 1, 21), "1h", time_zone="UTC", eager=True
    )
    local = utc.dt.convert_time_zone("Europe/Berlin")
    values = [n % 7 for n in range(len(utc))]
    own = {"time": "t", "valid_from": "2024-03-31 12:00", "test_from": "2024-04-01 02:00"}
    polars.DataFrame({"t": local, "y": values}).write_parquet(tmp_path / "t.parquet")
    task = {"name": "series", "path": str(tmp_path / "t.parquet"), "targets": ["y"]} | own
    parquet = build_task(config_from({"task": task, "model": {"cell": "rnn"}}, "test"))
    assert [one.starts for one in parquet.series] == [(12, 26, 48)]
    for name, form in (("a", "%Y-%m-%d %H:%M%:z"), ("b", "%Y-%m-%dT%H:%M:%S%z")):
        rows = [["t", "y"], *zip(local.dt.strftime(form), values, strict=True)]
        cuts = {"valid_from": "2024-03-31T10:00Z", "test_from": "2024-04-01 02:00:00+02:00"}
        assert [one.starts for one in make(rows, name=name, **own | cuts).series] == [(12, 26, 48)]
    naive = [["t", "y"], *zip(local.dt.strftime("%Y-%m-%d %H:%M"), values, strict=True)]
    with pytest.raises(DataError, match="a step is missing after this row"):
        make(naive, time="t")
    mixed = [rows[0], ["2024-03-30 22:00", 1], *rows[1:]]
    with pytest.raises(DataError, match=r"table\.csv:2: column 't' has '2024-03-30 22:00', which is no time"):
        make(mixed, time="t")


@pytest.mark.parametrize("kind", ["list", "struct", "date", "duration", "categories"])
def test_a_column_of_another_kind_is_refused(make, tmp_path, kind):
    days = polars.date_range(polars.date(2000, 1, 1), polars.date(2000, 1, 20), eager=True)
    column = {
        "list": polars.Series([[1.0]] * 20),
        "struct": polars.Series([{"a": 1}] * 20),
        "date": days,
        "duration": days - days[0],
        "categories": polars.Series(["a", "b"] * 10, dtype=polars.Categorical),
    }[kind]
    polars.DataFrame({"y": column}).write_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"t\.parquet.*column 'y' (holds|has)"):
        make("y\n1\n", path=str(tmp_path / "t.parquet"))


@pytest.mark.parametrize(
    ("text", "settings", "wanted"),
    [
        ("", {}, "is empty"),
        ("t,y\n", {}, "has no rows below its header"),
        ("t,z\n" + GOOD, {}, "has no column 'y' (task.targets); name one of its columns: 't', 'z'"),
        ("t,y\n" + GOOD, {"time": "when"}, "has no column 'when'"),
        ("t,y\n0,1\n1,two\n2,inf\n" + GOOD, {}, ":3: column 'y' has 'two', which is no number"),
        ("t,y\n0,1\n1,two\n2,inf\n" + GOOD, {}, ":4: column 'y' has 'inf'"),
        ("t,y\n" + GOOD + "5,9\n", {"time": "t"}, ":22: has the same time, 5, as another row"),
        ("t,y\n" + GOOD + "30.5,9\n", {"time": "t"}, ":22: column 't' has '30.5', which is no time"),
        (
            "t,y\n" + "".join(f"{10 * t + 3 * (t == 7)},{t % 5}\n" for t in range(20)),
            {"time": "t"},
            "table.csv:9: comes at 73, after 60, but most rows are at another distance in time",
        ),
        ("t,y\n" + GOOD + "999999,9\n", {"time": "t", "missing": "mask"}, ":22: comes at 999999, after 19"),
        ("t,y\n" + GOOD + ",3\n", {"time": "t"}, ":22: column 't' is empty"),
        (
            "t,y\n" + GOOD,
            {"time": "t", "valid_from": "soon", "test_from": 18},
            "task.valid_from is 'soon', but column 't' has times as '0'",
        ),
        (
            "t,y\n" + GOOD,
            {"time": "t", "valid_from": 18, "test_from": 12},
            "is not before task.test_from 12; make it earlier",
        ),
        ("t,y\n" + GOOD, {"time": "t", "valid_from": 12, "test_from": 12}, "12 is not before task.test_from 12"),
        ("t,y\n" + GOOD, {"horizon": 19}, "part has no step to predict"),
        ("t,y\n0,1\n", {}, "part has no step to predict"),
        ("t,y\n0,1,2\n" + GOOD, {}, "is no table"),
        ("t,y,y\n" + GOOD.replace("\n", ",1\n"), {}, "has several columns with the name 'y'"),
        ("t,y, y\n" + GOOD.replace("\n", ",1\n"), {}, "has several columns with the name 'y'"),
        ("t,y\n,\n,\n", {}, "has no rows below its header"),
        ("t,y\n" + GOOD.replace(",", ",1e30"), {}, "numbers are too large in column y; use another unit"),
        ("t,y\n" + GOOD, {"fractions": [1, 0, 0]}, "the valid part has no step to predict"),
        ("t,y\n" + GOOD, {"fractions": [0, 0, 1]}, "the train part has no step to predict"),
        ("t,y\n" + GOOD, {"time": "t", "valid_from": -5, "test_from": 9}, "the train part has no step to predict"),
        ("t,y\n" + GOOD, {"time": "t", "valid_from": 5, "test_from": 99}, "the test part has no step to predict"),
        (
            "t,y\n" + "".join(f"{t},{'' if 14 <= t < 17 else t}\n" for t in range(20)),
            {"missing": "forward"},
            "the valid part has no step to predict",
        ),
    ],
)
def test_faults_of_tables(make, text, settings, wanted):
    with pytest.raises(DataError, match=r"table\.csv|task\.") as refused:
        make(text, **settings)
    assert wanted in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"horizon": 0}, "with horizon 0 the targets are no inputs; name the columns to read"),
        ({"horizon": 0, "inputs": ["x"], "differences": True}, "horizon 0 labels each step"),
        ({"inputs": ["y"]}, "has 'y', a target"),
        ({"valid_from": 3}, "give both, or fractions"),
        ({"valid_from": 3, "test_from": 5}, "set task.time"),
        ({"valid_from": 3, "test_from": 5, "time": "year", "fractions": [0.5, 0.2, 0.3]}, "remove one of the two"),
        ({"fractions": [0.5, 0.2, 0.2]}, "add up to 0.9"),
        ({"targets": ["y", "x", "y"]}, "targets has 'y' more than once"),
        ({"inputs": ["x", "x"]}, "inputs has 'x' more than once"),
        ({"known": ["x", "x"]}, "known has 'x' more than once"),
        ({"horizon": 0, "inputs": ["x"], "season": 7}, "season is of a baseline of forecasts"),
        ({"horizon": 0, "inputs": ["x"], "lags": 7}, "lags is of a baseline of forecasts"),
    ],
)
def test_settings_that_do_not_fit(make, settings, wanted):
    with pytest.raises(ConfigError, match=wanted):
        make(table(), **settings)


def test_a_folder_is_no_table(make, tmp_path):
    with pytest.raises(DataError, match=r"is a folder; set task\.path to a CSV or Parquet file in it"):
        make(table(), path=str(tmp_path))


def test_both_directions_are_for_labels_only(make):
    def config(**settings):
        task = {"name": "series", "path": "t.csv", "targets": ["y"]} | settings
        return config_from({"task": task, "model": {"cell": "gru", "direction": "bidirectional"}}, "test")

    with pytest.raises(ConfigError, match="would show the model the values that it must forecast"):
        config()
    assert config(horizon=0, inputs=["x"]).model.direction == "bidirectional"


def test_a_trained_scaling_is_kept_for_another_table(make):
    task = make(table(), id="who", time="year")
    other = make(table(seed=9), name="o.csv", id="who", time="year", fitted=task.fitted)
    assert other.fitted == task.fitted
    for bad in (
        {},
        {"columns": ["z"], "mean": [0.0], "spread": [1.0]},
        {"columns": ["y"], "mean": [math.nan], "spread": [1.0]},
    ):
        with pytest.raises(DataError, match="checkpoint"):
            make(table(), name="c.csv", id="who", time="year", fitted=bad)


def test_another_table_is_evaluated_as_a_whole(make):
    """Without training rows there is nothing to fit a regression on; a label's mean is that of the training."""
    task = make(table(), id="who", time="year", fractions=[0.5, 0.2, 0.3])
    whole = make(table(seed=9), name="o.csv", id="who", time="year", fractions=[0, 0, 1], fitted=task.fitted)
    assert whole.facts("test")["steps"] == 39 + 36
    assert whole.baseline("test").keys() == {"loss", "rmse", "mae", "rmse of persistence"}
    with pytest.raises(DataError, match="the valid part has no step to predict"):
        whole.count_eval_batches("valid", 1)
    labels = {"horizon": 0, "inputs": ["x"], "time": "year"}
    task = make(table(ids="a"), name="l.csv", **labels)
    whole = make(table(ids="a", seed=9), name="w.csv", fractions=[0, 0, 1], fitted=task.fitted, **labels)
    errors = [row[2] - task.fitted["mean"][0] for row in table(ids="a", seed=9)[1:]]
    wanted = math.sqrt(np.mean(np.square(errors)))
    assert whole.baseline("test")["rmse of mean"] == pytest.approx(wanted)
    assert "rmse of linear" not in whole.baseline("test")


@pytest.mark.parametrize("horizon", [0, 1, 4])
def test_a_series_that_begins_after_the_training_is_not_trained_on(make, horizon):
    rows = [["who", "t", "y", "x"], *(["a", t, t % 7, t] for t in range(60))]
    rows += [[name, t, 1000, 1000] for name, t0 in (("b", 50), ("c", 38)) for t in range(t0, t0 + 10)]
    task = make(rows, id="who", time="t", inputs=["x"], horizon=horizon, valid_from=40, test_from=45)
    for step in range(task.steps_in(1, 2)):
        batch = task.train_batch(step, 2)
        known = (batch.targets * task.fitted["spread"][0] + task.fitted["mean"][0])[batch.scored]
        assert horizon == 0 or bool((known < 900).any())
        allowed = 2 if horizon == 0 else max(0, 2 - horizon)  # steps 38 and 39 of the last series
        assert int((known > 900).sum()) <= allowed
    assert task.facts("test")["steps"] > 10


def test_a_column_that_is_constant_but_for_rounding_is_not_scaled(make):
    """0.1 has no exact binary form: the standard deviation of 43 of them is not 0."""
    rows = [["y", "x"], *([t % 7, 0.1 if t < 30 else 0.2] for t in range(43))]
    task = make(rows, inputs=["x"])
    assert task.fitted["spread"][1] == 0
    assert float(next(task.eval_batches("test", 1)).inputs.abs().max()) < 10
    line = make([["y"], *([0.1 * t + 1000] for t in range(43))], name="line.csv", differences=True)
    assert line.fitted["spread"] == [0]


def test_a_constant_column_is_said(make):
    rows = [["y", "x"], *([t % 7, 5] for t in range(40))]
    task = make(rows, inputs=["x"])
    assert task.remarks(4) == ["constant in training, so that they tell nothing: x"]
    assert bool((task.train_batch(0, 1).inputs[..., 1] == 0).all())


def test_missing_values_may_be_filled_in_an_evaluation(tmp_path):
    """A model that was trained without missing values reads a table that has some; a mask needs other weights."""
    lines = "".join(f"{t},{t * t % 7}\n" for t in range(30))
    (tmp_path / "t.csv").write_text("t,y\n" + lines)
    (tmp_path / "gap.csv").write_text("t,y\n" + lines.replace("8,1\n", "8,\n", 1))
    task = {"name": "series", "path": str(tmp_path / "t.csv"), "targets": ["y"], "time": "t"}
    train = {"epochs": None, "steps": 2, "eval_every": 2}
    config = {"task": task, "model": {"cell": "rnn", "hidden_size": 2}, "train": train}
    (tmp_path / "c.yaml").write_text(json.dumps(config))
    package.train(tmp_path / "c.yaml", [], out=tmp_path / "run")
    other = f"task.path={tmp_path / 'gap.csv'}"
    assert package.evaluate(tmp_path / "run", [other, "task.missing=forward"]).data["missing_values"] == 1
    with pytest.raises(ConfigError, match=r"the weights in .* do not allow it"):
        package.evaluate(tmp_path / "run", [other, "task.missing=mask"])


def test_labels_are_read_in_one_window(make, monkeypatch):
    """A model that reads backward needs the whole series."""
    monkeypatch.setattr("seqtrain.tasks.tables.pieces.LONGEST_WINDOW", 8)
    labels = make(table(ids="a"), time="year", horizon=0, inputs=["x"])
    assert [len(batch.inputs) for batch in labels.eval_batches("test", 1)] == [40]
    assert labels.count_eval_batches("test", 1) == 1
    forecasts = make(table(ids="a"), name="f.csv", time="year")
    assert [len(batch.inputs) for batch in forecasts.eval_batches("test", 1)] == [8, 8, 8, 8, 7]
    assert forecasts.count_eval_batches("test", 1) == 5
