"""Predictions for a table: against a slow loop over steps, known forecasts, and what an evaluation scores."""

import csv
import math
from datetime import date, datetime
from types import SimpleNamespace

import numpy as np
import polars
import pytest
import torch

import seqtrain
from seqtrain.config import config_from
from seqtrain.inference.load import load_trained, restore
from seqtrain.inference.predictions import series as predictor
from seqtrain.runs.train import train
from seqtrain.system.errors import ConfigError, DataError

QUICK = {"model": {"cell": "lstm", "hidden_size": 5}, "train": {"epochs": 1, "batch_size": 4}, "threads": 1}


def write(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.fixture
def trained(tmp_path):
    """Train on a table and return the run: `trained(rows, horizon=2)`; the first cells of `rows` are its header."""

    def trained(rows, **settings):
        path = write(tmp_path / "table.csv", rows) if isinstance(rows, list) else rows
        task = {"name": "series", "path": str(path), "targets": ["y"]} | settings
        return train({"task": task} | QUICK, out=tmp_path / "run", overwrite=True).path

    return trained


def table(T=40, ids=("b", "a"), seed=0, absent=()):
    """Rows of several series in a random order; the last rows have only what is known ahead."""
    draw = np.random.default_rng(seed)
    rows = []
    for n, name in enumerate(ids):
        for t in range(T - 3 * n + 6):
            own = ["", ""] if t >= T - 3 * n else [round(n + draw.normal(), 3), round(draw.normal(), 3)]
            known = round(draw.normal(), 3)
            rows.append([name, 1900 + t, *own, "" if t >= T - 3 * n else round(draw.normal(), 3), known])
    for n, column in absent:
        rows[n][column] = ""
    draw.shuffle(rows)
    return [["who", "year", "y", "z", "x", "k"], *rows]


def slow(run, rows, steps, *, targets, inputs=(), known=(), horizon=1, differences=False, missing="refuse", **_):
    """The forecasts by series, by a loop over single steps in plain Python."""
    loaded = load_trained(run)
    scale = {
        name: (mean, spread or 1.0)
        for name, mean, spread in zip(
            *(loaded.header.fitted[key] for key in ("columns", "mean", "spread")), strict=True
        )
    }
    header, *body = rows
    series = {}
    for row in sorted(body, key=lambda row: (row[0], row[1])):
        cells = dict(zip(header, row, strict=True))
        numbers = {k: math.nan if v == "" else v for k, v in cells.items()}
        series.setdefault(row[0], []).append(numbers)
    found = {}
    for name, own in series.items():
        end = max(t for t, row in enumerate(own) if not all(math.isnan(row[target]) for target in targets)) + 1

        def value(t, column, own=own):
            """The last known value; NaN before there is one."""
            while t >= 0 and math.isnan(own[t][column]):
                t -= 1
            return own[t][column] if t >= 0 else math.nan

        def read(t, own=own, value=value):
            vector = []
            for column in (*targets, *inputs):
                now = value(t, column)
                if column in targets and differences:
                    now -= value(t - 1, column)
                mean, spread = scale[column]
                vector.append(0.0 if math.isnan(now) else (now - mean) / spread)
            for ahead in range(1, horizon + 1):
                for column in known:
                    mean, spread = scale[column]
                    vector.append((value(t + ahead, column) - mean) / spread if t + ahead < len(own) else 0.0)
            if missing == "mask":
                vector += [-1.0 if math.isnan(own[t][column]) else 1.0 for column in (*targets, *inputs)]
            return vector

        state, t, guesses = None, 0, []
        while len(guesses) < steps:
            outputs, state = loaded.model(torch.tensor(read(t))[None, None], None, state)
            t += 1
            if t == end + len(guesses):
                block = outputs.detach().reshape(horizon, len(targets)).tolist()
                base = [value(t - 1, column) if differences else 0.0 for column in targets]
                for guess in block:
                    values = [b + g * scale[c][1] + scale[c][0] for b, g, c in zip(base, guess, targets, strict=True)]
                    if end + len(guesses) == len(own):
                        own.append(dict.fromkeys(header, math.nan))
                    own[end + len(guesses)] |= dict(zip(targets, values, strict=True))
                    guesses.append(values)
        found[name] = guesses[:steps]
    return found


CASES = [
    {"targets": ["y"]},
    {"targets": ["y", "z"], "differences": True, "horizon": 2},
    {"targets": ["y"], "known": ["k"], "horizon": 2, "differences": True},
    {"targets": ["y", "z"], "known": ["k"], "horizon": 3, "missing": "mask"},
    {"targets": ["y"], "known": ["k"], "missing": "forward", "differences": True},
]


@pytest.mark.parametrize("settings", CASES, ids=str)
def test_forecasts_equal_those_of_a_loop_over_single_steps(trained, settings):
    absent = [(3, 2), (4, 2), (39, 3), (50, 2)] if settings.get("missing") else []
    rows = table(absent=absent)
    if not (absent or settings.get("known")):  # a table without later rows
        rows = [row for row in rows if row[2] != ""]
    run = trained(rows, id="who", time="year", **settings) if not settings.get("known") else None
    if run is None:  # trained on the rows with targets, as the later ones have none
        run = trained([row for row in rows if row[2:5] != ["", "", ""]], id="who", time="year", **settings)
        write(run.parent / "table.csv", rows)
    result = seqtrain.predict(run, horizon=5)
    wanted = slow(run, rows, 5, **settings)
    first = list(dict.fromkeys(row[0] for row in rows[1:]))
    assert result.columns["who"] == [name for name in first for _ in range(5)]
    assert result.columns["year"] == [{"b": 1940, "a": 1937}[name] + n for name in first for n in range(5)]
    for n, name in enumerate(settings["targets"]):
        flat = [row[n] for key in first for row in wanted[key]]
        assert result.columns[name] == pytest.approx(flat, abs=1e-4)
    assert list(result.columns) == ["who", "year", *settings["targets"]]
    one = seqtrain.predict(run, horizon=1)
    if settings.get("horizon", 1) == 1:
        assert one.columns["y"] == pytest.approx([result.columns["y"][0], result.columns["y"][5]], rel=1e-6)


def test_a_long_series_is_read_in_windows_with_its_state(trained, monkeypatch):
    rows = [row for row in table(T=90) if row[2] != ""]
    run = trained(rows, id="who", time="year")
    whole = seqtrain.predict(run, horizon=3).columns
    monkeypatch.setattr(predictor, "LONGEST_WINDOW", 8)
    monkeypatch.setattr(predictor, "TOGETHER", 1)
    assert seqtrain.predict(run, horizon=3).columns["y"] == pytest.approx(whole["y"], rel=1e-5)


@pytest.mark.parametrize("settings", [{"horizon": 1}, {"horizon": 2, "differences": True, "inputs": ["x"]}], ids=str)
def test_the_end_of_a_shortened_table_is_what_an_evaluation_scores_there(trained, tmp_path, settings):
    rows = [row for row in table(T=60, ids=["a"]) if row[2] != ""]
    rows = [rows[0], *sorted(rows[1:], key=lambda row: row[1])]
    run = trained(rows, time="year", **settings)
    restored = restore(run, quiet=True)
    (batch,) = restored.task.eval_batches("test", 1)
    outputs, _ = restored.model(batch.inputs, batch.lengths)
    first, steps = int(batch.scored[:, 0].nonzero()[0]), settings["horizon"]
    for origin in (first, len(rows) - 2 - steps):
        short = write(tmp_path / "short.csv", rows[: origin + 2])
        forecast = seqtrain.predict(run, short).columns
        scaled = outputs[origin, 0].detach().double().numpy()
        base = rows[origin + 1][2] if settings.get("differences") else 0
        assert forecast["y"] == pytest.approx(restored.task.scaler.restore_targets(scaled) + base, abs=1e-4)
        assert forecast["year"] == [1900 + origin + 1 + n for n in range(steps)]


class Rule:
    """A model with a known answer, in the units of the data, for the last value and change that it reads."""

    def __init__(self, fitted, answer):
        self.mean, self.spread, self.answer = fitted["mean"][0], fitted["spread"][0] or 1.0, answer

    def __call__(self, x, _, state):
        last = x[..., :1].double() * self.spread + self.mean
        return (self.answer(last) - self.mean) / self.spread, (state or 0) + len(x)


@pytest.mark.parametrize("steps", [1, 3, 8])
def test_known_forecasts(trained, monkeypatch, steps):
    """Persistence; a value that doubles; a line, of which the model gives the changes for three steps at once."""
    rows = [["y"], *[[3.0 * t] for t in range(40)]]
    for settings, answer, wanted in (
        ({}, lambda last: last, [117.0] * steps),
        ({}, lambda last: 2 * last, [117.0 * 2**n for n in range(1, steps + 1)]),
        (
            {"differences": True, "horizon": 3},
            lambda change: torch.cat([change * n for n in (1, 2, 3)], -1),
            [117.0 + 3 * n for n in range(1, steps + 1)],
        ),
    ):
        run = trained(rows, **settings)
        rule = Rule(load_trained(run).header.fitted, answer)
        monkeypatch.setattr("seqtrain.inference.predictions.load_trained", lambda run, rule=rule: with_model(run, rule))
        result = seqtrain.predict(run, horizon=steps)
        assert result.columns == {"step": list(range(41, 41 + steps)), "y": pytest.approx(wanted, rel=1e-4)}


def with_model(run, model):
    return load_trained(run)._replace(model=model)


def test_later_values_change_nothing(trained, tmp_path):
    rows = [row for row in table(T=50, ids=["a"]) if row[2] != ""]
    rows = [rows[0], *sorted(rows[1:], key=lambda row: row[1])]
    run = trained(rows, time="year", inputs=["x"], horizon=2)
    before = seqtrain.predict(run, write(tmp_path / "a.csv", rows[:40])).columns
    later = [[*row[:2], "", *[1e6, 1e6, 1e6]] for row in rows[40:45]]
    assert seqtrain.predict(run, write(tmp_path / "b.csv", [*rows[:40], *later])).columns == before


def test_a_short_table_with_other_times_needs_no_splits(trained, tmp_path):
    rows = [["year", "y"], *[[1900 + t, t % 7] for t in range(60)]]
    run = trained(rows, time="year", valid_from=1930, test_from=1945, season=7)
    short = write(tmp_path / "short.csv", [["year", "y"], [10, 1.0], [20, 2.0]])
    assert seqtrain.predict(run, short, horizon=2).columns["year"] == [30, 40]
    (tmp_path / "table.csv").unlink()
    assert seqtrain.predict(run, short).columns["year"] == [30]


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        (["2023-11-01", "2023-12-01", "2024-01-01"], ["2024-02-01", "2024-03-01"]),
        (["2023-11-30", "2023-12-31", "2024-01-31"], ["2024-02-29", "2024-03-31"]),
        (["2023-07-01", "2023-08-01", "2023-09-01"], ["2023-10-01", "2023-11-01"]),
        (["2022-09-30", "2022-12-31", "2023-03-31"], ["2023-06-30", "2023-09-30"]),
        (["2023-01-01", "2023-04-01", "2023-07-01"], ["2023-10-01", "2024-01-01"]),
        (["2021-05-17", "2022-05-17", "2023-05-17"], ["2024-05-17", "2025-05-17"]),
        (["20240226", "20240227", "20240228"], ["20240229", "20240301"]),
        (["2024-01-01 22:00", "2024-01-01 23:00", "2024-01-02 00:00"], ["2024-01-02 01:00", "2024-01-02 02:00"]),
        (["2024-01-01T00:00:30Z", "2024-01-01T00:01:00Z"], ["2024-01-01T00:01:30Z", "2024-01-01T00:02:00Z"]),
        (["2024-01-01", "2024-01-01 12:00:00"], ["2024-01-02 00:00:00", "2024-01-02 12:00:00"]),
        ([1, 3, 5, 9], [11, 13]),
        (["1998.0", "1999.0"], [2000, 2001]),
        ([date(2024, 1, 5), date(2024, 1, 12)], [date(2024, 1, 19), date(2024, 1, 26)]),
        ([datetime(2024, 1, 31, 9), datetime(2024, 2, 29, 9)], [datetime(2024, 3, 31, 9), datetime(2024, 4, 30, 9)]),
    ],
    ids=str,
)
def test_times_go_on_as_they_are_written(trained, tmp_path, written, wanted):
    run = trained([["t", "y"], *[[t, t % 5] for t in range(40)]], time="t", missing="forward")
    values = {"t": written, "y": [1.0] * len(written)}
    if isinstance(written[0], date):
        polars.DataFrame(values).write_parquet(tmp_path / "other.parquet")
    else:
        polars.DataFrame(values).write_csv(tmp_path / "other.csv")
    (file,) = tmp_path.glob("other.*")
    assert seqtrain.predict(run, file, horizon=2).columns["t"] == wanted


def test_ids_keep_their_type_and_a_series_of_one_row_the_distance_of_the_others(trained, tmp_path):
    rows = [["n", "t", "y"], *[[n, 10 * t, t % 5 + n] for n in (1, 2) for t in range(40)]]
    run = trained(rows, time="t", id="n")
    polars.DataFrame({"n": [2, 7, 7], "t": [50, 10, 20], "y": [1.0, 2.0, 3.0]}).write_parquet(tmp_path / "o.parquet")
    columns = seqtrain.predict(run, tmp_path / "o.parquet", horizon=2).columns
    assert (columns["n"], columns["t"]) == ([2, 2, 7, 7], [60, 70, 30, 40])
    polars.DataFrame({"n": [2], "t": [50], "y": [1.0]}).write_parquet(tmp_path / "o.parquet")
    with pytest.raises(DataError, match="single row in each series"):
        seqtrain.predict(run, tmp_path / "o.parquet")


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_labels_of_each_row_in_the_order_of_the_file(trained, tmp_path, monkeypatch, direction):
    rows = [row for row in table(T=30) if row[2] != ""]
    monkeypatch.setitem(QUICK, "model", {"cell": "lstm", "hidden_size": 4, "direction": direction})
    run = trained(rows, id="who", time="year", horizon=0, inputs=["x", "k"])
    without = [[row[0], row[1], row[4], row[5]] for row in rows]  # no label column
    result = seqtrain.predict(run, write(tmp_path / "new.csv", without))
    monkeypatch.setattr(predictor, "MOST_READ", 1)  # one series after another
    assert seqtrain.predict(run).columns["y"] == pytest.approx(result.columns["y"], abs=1e-5)
    assert [result.columns["who"], result.columns["year"]] == [
        [row[0] for row in rows[1:]],
        [row[1] for row in rows[1:]],
    ]
    loaded = load_trained(run)
    fitted = loaded.header.fitted
    for name in "ab":
        places = sorted((n for n, row in enumerate(rows[1:]) if row[0] == name), key=lambda n: rows[n + 1][1])
        x = [[(rows[n + 1][c] - fitted["mean"][i]) / fitted["spread"][i] for i, c in ((1, 4), (2, 5))] for n in places]
        outputs, _ = loaded.model(torch.tensor(x)[:, None])
        wanted = outputs[:, 0, 0].double().detach().numpy() * fitted["spread"][0] + fitted["mean"][0]
        assert [result.columns["y"][n] for n in places] == pytest.approx(wanted, abs=1e-5)


def test_what_a_forecast_needs_of_the_future(trained, tmp_path):
    full = table(T=40, ids=["a"])
    full = [full[0], *sorted(full[1:], key=lambda row: row[1])]
    rows, later = full[:41], full[41:]
    run = trained(rows, time="year", inputs=["x"], known=["k"], horizon=2)
    file = tmp_path / "new.csv"
    for given, steps, wanted in (
        ([], 2, r"new\.csv:41: the last row with a target; column 'k' is needed for 2 steps after it, and none are"),
        (later[:1], 1, "column 'k' is needed for 2 steps after it, and 1 is there .+\nadd rows at the end"),
        (later[:4], 4, r"column 'x' is needed for 2 steps after it, and 0|none"),
        (later[:4], 3, "the future of these inputs is unknown; forecast 2 steps .--horizon 2., train with a longer"),
        ([[*later[0][:5], ""], *later[1:]], 2, "column 'k' is needed for 2 steps after it, and 1 is there"),
    ):
        write(file, [*rows, *given])
        with pytest.raises(DataError, match=wanted):
            seqtrain.predict(run, file, horizon=steps)
    write(file, [*rows, *later[:2]])
    assert len(seqtrain.predict(run, file).columns["y"]) == 2
    scenario = [[*row[:4], 0.5, row[5]] for row in later[:4]]  # an input whose future is given after all
    write(file, [*rows, *scenario])
    assert len(seqtrain.predict(run, file, horizon=4).columns["y"]) == 4


def test_faults_of_a_table(trained, tmp_path):
    rows = [["who", "y"], *[["a", t % 5] for t in range(30)], *[["b", t % 3] for t in range(30)]]
    run = trained(rows, id="who")
    file = tmp_path / "new.csv"
    for given, wanted in (
        ([["who", "z"], ["a", 1]], "has no column 'y'"),
        ([*rows, ["c", ""], ["c", ""]], "column 'y' of 'c' has no value to go on from"),
        ([*rows[:5], ["a", ""], *rows[5:]], r"new\.csv:6: column 'y' has no value\n1 missing value in all; give these"),
        ([*rows, ["a", "many"]], r"new\.csv:62: column 'y' has 'many', which is no number"),
    ):
        with pytest.raises(DataError, match=wanted):
            seqtrain.predict(run, write(file, given))
    with pytest.raises(DataError, match="no such file"):
        seqtrain.predict(run, tmp_path / "none.csv")
    with pytest.raises(ConfigError, match="--horizon is 0; it must be from 1 to 100,000 steps"):
        seqtrain.predict(run, horizon=0)


def test_the_band_holds_80_percent_of_the_errors_on_the_validation_set(trained):
    """The forecast is persistence, so that the errors are differences of the table."""
    draw = np.random.default_rng(1)
    values = np.cumsum(draw.normal(size=300)).round(4)
    run = trained([["y"], *[[value] for value in values]])
    loaded = load_trained(run)
    loaded = loaded._replace(model=Rule(loaded.header.fitted, lambda last: last))
    (axes,) = predictor.predict_series(loaded, None, 4, quiet=True).draw().axes
    (band,) = axes.collections
    for ahead in range(1, 5):
        errors = [values[t + ahead] - values[t] for t in range(209, 254) if t + ahead < 255]
        drawn = [y for x, y in band.get_paths()[0].vertices if x == 300 + ahead]
        wanted = values[-1] + np.quantile(errors, [0.1, 0.9])
        assert [min(drawn), max(drawn)] == pytest.approx(wanted, abs=1e-3)


def test_pictures_of_many_series_and_of_labels(trained, tmp_path, capsys):
    rows = [["who", "t", "y", "z"], *[[f"s{n}", t, t % 5, n] for n in range(7) for t in range(30)]]
    run = trained(rows, id="who", time="t", targets=["y", "z"])
    (tmp_path / "moved.csv").write_bytes((tmp_path / "table.csv").read_bytes())
    (tmp_path / "table.csv").unlink()
    figure = predictor.predict_series(load_trained(run), tmp_path / "moved.csv", 2, quiet=False).draw()
    assert len(figure.axes) == 8
    assert "(8 of 14 series and targets)" in figure.get_suptitle()
    assert "the forecast has no band, as the errors on the validation set cannot be measured" in capsys.readouterr().err
    assert not any(axes.collections for axes in figure.axes)
    run = trained(rows, id="who", time="t", horizon=0, inputs=["z"])
    labels = seqtrain.predict(run).draw()
    assert [line.get_label() for line in labels.axes[0].lines] == ["data", "the model"]
    assert list(labels.axes[0].lines[0].get_ydata()) == [t % 5 for t in range(30)]


@pytest.mark.parametrize("horizon", [0, 1, 3])
def test_a_picture_of_an_evaluation_shows_each_step_beside_what_was_said_of_it(trained, horizon):
    """What is drawn gives the root mean squared error that the evaluation reports, at the steps of the split."""
    rows = [["t", "y", "z"], *[[t, t * t % 7, t % 3] for t in range(100)]]
    run = trained(rows, time="t", targets=["y"], horizon=horizon, inputs=["z"] if horizon == 0 else None)
    result = seqtrain.evaluate(run, picture=True)
    (axes,) = result.draw().axes
    data, said = axes.lines
    assert list(data.get_xdata()) == list(said.get_xdata()) == [*range(85, 100 - max(0, horizon - 1))]
    assert list(data.get_ydata()) == [t * t % 7 for t in data.get_xdata()]
    if horizon < 2:
        error = np.array(data.get_ydata()) - np.array(said.get_ydata())
        assert np.sqrt(np.mean(error**2)) == pytest.approx(result.figures["rmse"], rel=1e-4)


def test_a_model_of_another_task_predicts_nothing_for_a_file(tmp_path):
    header = SimpleNamespace(vocabulary=None)
    config = config_from({"task": "adding", "model": {"cell": "rnn"}}, "test")
    loaded = SimpleNamespace(path=tmp_path, config=config, header=header)
    with pytest.raises(seqtrain.CheckpointError, match="model of task 'adding', which predicts nothing for a file"):
        seqtrain.inference.predictions.predict_with(loaded, None, None)
