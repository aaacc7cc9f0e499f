"""The public names of seqtrain, as a program uses them."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from conftest import SMALL, SMALL_SETS

import seqtrain as package
from seqtrain import (
    CELLS,
    CheckpointError,
    ConfigError,
    SeqtrainError,
    compare,
    evaluate,
    load_model,
    load_text_model,
    train,
)
from seqtrain.config import load_config
from seqtrain.inference.predictions import Predictions

QUICK = (*SMALL, *SMALL_SETS)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train("quickstart", QUICK, out=tmp_path_factory.mktemp("api") / "run")


@pytest.fixture(scope="module")
def run(trained) -> Path:
    """A trained run."""
    return trained.path


DATA = {"task": "adding", "model": {"cell": "gru"}}


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A comparison on a config as data; beside it is a run that has the name of a setting."""
    folder, before = tmp_path_factory.mktemp("api"), Path.cwd()
    os.chdir(folder)
    Path("task.length=5").mkdir()
    Path("task.length=5/summary.json").touch()
    try:
        yield compare(DATA, [*QUICK, "task.length=5"], cells="gru", seeds=1)
    finally:
        os.chdir(before)


@pytest.fixture
def pandas(monkeypatch):
    """In the place of pandas, which the tests do not need: a frame is the rows and the columns that it is made of."""
    module = ModuleType("pandas")
    module.DataFrame = lambda rows, columns=None: (rows, columns)
    monkeypatch.setitem(sys.modules, "pandas", module)


def test_all_names_exist_and_dir_lists_them():
    assert dir(package) == sorted(package.__all__)
    for name in package.__all__:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="module 'seqtrain' has no attribute 'load_modell'"):
        package.load_modell  # noqa: B018


@pytest.mark.parametrize("name", package.__all__)
def test_every_name_is_documented(name):
    assert name in package.__doc__
    assert getattr(package, name).__doc__


def test_import_does_not_import_torch():
    code = (
        "import seqtrain, sys, os; print({'torch', 'numpy', 'pydantic'} & {*sys.modules}, os.getenv('GOMP_SPINCOUNT'))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    assert shown.stdout == "set() 1000\n"  # the second before torch reads it


def test_train_takes_a_path_a_name_a_run_or_data(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    by_name = train("quickstart", QUICK)
    assert by_name.path == Path("runs/quickstart-lstm-seed0")
    assert (by_name.exit_code, by_name.message) == (0, None)
    (tmp_path / "mine.yaml").write_text((by_name.path / "config.yaml").read_text())
    by_path = train(Path("mine.yaml"), out="by-path")
    by_run = train(by_name.path, overwrite=True)
    by_data = train(load_config("quickstart", QUICK).model_dump(), ["model.hidden_size=5"])
    assert [run.path for run in (by_path, by_run)] == [Path("by-path"), by_name.path]
    assert by_path.summary.test == by_run.summary.test == by_name.summary.test
    assert by_data.path == Path("runs/adding-lstm-seed0")
    assert by_data.summary.hidden_size == 5
    assert train({"task": "adding", "model": {"cell": "gru"}}, QUICK).summary.cell == "gru"
    assert train(by_name.path, ["train.steps=6"], resume=True).summary.steps == 6
    assert capfd.readouterr() == ("", "")


def test_train_reports_divergence_as_a_result(tmp_path):
    wild = ("optimizer=sgd", "optimizer.lr=1e38", "optimizer.clip_norm=null", "train.steps=50")
    diverged = train("quickstart", [*QUICK, *wild], out=tmp_path)
    assert (diverged.exit_code, diverged.summary.status) == (3, "diverged")
    assert "the step was withheld" in diverged.message


def test_errors_have_one_base(run):
    for error in (ConfigError, package.DataError, CheckpointError, package.Diverged):
        assert issubclass(error, SeqtrainError)
    with pytest.raises(ConfigError) as refused:
        train({"task": "addin", "model": {"cell": "lstm", "hidden_size": -1}})
    assert len(refused.value.faults) == 2
    with pytest.raises(SeqtrainError, match="holds a run already"):
        train("quickstart", QUICK, out=run)
    with pytest.raises(CheckpointError, match="no such file"):
        load_model("nowhere")


def test_load_model_and_load_text_model(run, tmp_path):
    outputs, _ = load_model(run)(torch.randn(5, 3, 2))
    assert outputs.shape == (3, 1)
    text = load_text_model(train("words", [*SMALL, "task.path=shipped:stories"], out=tmp_path).path)
    written = text.generate("the old", 5, temperature=0.8, seed=1)
    assert written.text.startswith("the old ")
    assert len(written.generated) == len(written.nats) == 5
    predicted = text.predict("the old", top=3)
    assert (predicted.unit, predicted.prompt, len(predicted.next)) == ("word", ["the", "old"], 3)


def test_unroll_runs_a_cell():
    cell = CELLS["peephole"](input_size=5, hidden_size=7)
    outputs, state = package.unroll(cell, torch.randn(4, 3, 5), lengths=torch.tensor([4, 1, 2]))
    assert outputs.shape == (4, 3, 7)
    assert torch.equal(outputs[3, 0], state.hidden[0])


def test_the_typed_program_runs(start, tmp_path):
    program = Path(__file__).with_name("typed_program.py").read_text()
    code, out, err = start(code=program, folder=tmp_path).communicate()
    assert (code, err) == (0, "")
    assert out.startswith("--resume and --overwrite: ")


def test_compare_trains_or_gathers(tmp_path, capfd):
    trained = compare("quickstart", QUICK, cells="rnn,gru", seeds=2, conditions=["gru.test.mse > 1e9"], out=tmp_path)
    assert trained.exit_code == 4
    assert [row.cell for row in trained.results.cells] == ["rnn", "gru"]
    folders = [tmp_path / f"quickstart-{cell}-seed{seed}" for cell in ("rnn", "gru") for seed in (0, 1)]
    gathered = compare(folders, out=tmp_path / "gathered")
    assert gathered.exit_code == 0
    assert [row.metric.values for row in gathered.results.cells] == [row.metric.values for row in trained.results.cells]
    with pytest.raises(ConfigError, match="did you mean 'lstm'"):
        compare("quickstart", cells="lstn")
    assert capfd.readouterr().out == ""


def test_records_of_a_run_are_its_metrics(trained, pandas):
    lines = [json.loads(line) for line in (trained.path / "metrics.jsonl").read_text().splitlines()]
    assert [record.as_json() for record in trained.records] == lines
    assert trained.frame() == (lines, None)
    last = trained.records[-1]
    assert (last.split, last.step, last.metrics["mse"]) == ("valid", 4, lines[-1]["mse"])


def test_records_of_another_run_are_refused(tmp_path):
    first = train("quickstart", QUICK, out=tmp_path)
    again = train("quickstart", [*QUICK, "seed=1"], out=tmp_path, overwrite=True)
    assert len(again.records) == 4
    with pytest.raises(CheckpointError, match="does not hold the run of this result any more"):
        first.frame()


def test_records_of_a_comparison_are_its_table(compared, pandas):
    first, *lines = csv.reader(Path("runs/compare-adding/results.csv").read_text().splitlines())
    rows, columns = compared.frame()
    assert columns == first
    assert [["" if value is None else str(value) for value in row.values()] for row in rows] == lines
    assert [(run.row, str(run.seed), run.run) for run in compared.records] == [(x[0], x[2], x[9]) for x in lines]
    stopped = compared._replace(results=None)
    assert (stopped.records, stopped.frame()) == ([], ([], []))
    assert "interrupted" in stopped._repr_html_()


def test_a_frame_of_predictions_has_its_columns(pandas):
    predictions = Predictions("best.safetensors", "series", "t.csv", 2, {"year": [1, 2], "y": [0.5, None]}, ["y"])
    assert predictions.frame() == ([{"year": 1, "y": 0.5}, {"year": 2, "y": None}], ["year", "y"])


def test_without_pandas_a_frame_says_what_to_install(trained, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(SeqtrainError, match=r"needs pandas, which is not installed: pip install pandas$"):
        trained.frame()


def test_a_notebook_shows_results_as_small_tables(trained, compared):
    shown = trained._replace(path=Path("a<b>&c"))._repr_html_()
    assert "<td>status</td><td>finished</td>" in shown
    assert "<td>run</td><td>a&lt;b&gt;&amp;c</td>" in shown
    assert "<tr><td>gru</td><td>1</td><td>0</td>" in compared._repr_html_()


def test_compare_takes_a_config_as_data(compared):
    assert compared.records[0].run == "runs/compare-adding/adding-gru-seed0"
    assert compared.records[0].variant == "adding/halves/length=5/v1"
    assert compared.records[0].test == train(DATA, [*QUICK, "task.length=5"]).summary.test
    assert DATA == {"task": "adding", "model": {"cell": "gru"}}
    with pytest.raises(ConfigError) as refused:
        compare({"task": "addin", "model": {"hidden_size": -1}}, cells="lstn")
    assert len(refused.value.faults) == 4
    with pytest.raises(ConfigError, match="runs/a: is not an override"):
        compare(DATA, "runs/a")


def test_numbers_that_the_command_line_refuses_are_refused(run):
    with pytest.raises(ConfigError, match="--seeds is 0; it must be from 1 to 10,000"):
        compare("quickstart", cells="rnn", seeds=0)
    for dynamic, decay, message in (
        (-1.0, None, "--dynamic is -1; it must be a finite learning rate from 0"),
        (0.1, 5.0, "--dynamic-decay is 5; it must be from 0 to 1"),
    ):
        with pytest.raises(ConfigError, match=message):
            evaluate(run, dynamic=dynamic, dynamic_decay=decay)


def test_a_single_text_is_one_override_and_what_is_no_text_is_none(tmp_path):
    assert train("quickstart", QUICK, out=tmp_path / "a").summary.steps == 4
    assert train(tmp_path / "a", "train.steps=5", resume=True).summary.steps == 5
    compared = compare(tmp_path / "a", out=tmp_path / "b", conditions="lstm.test.mse > 0")
    assert (compared.exit_code, [one.holds for one in compared.results.assertions]) == (0, [True])
    with pytest.raises(ConfigError, match=r"task\.lenght is not a setting of task 'adding'"):
        compare("quickstart", "task.lenght=5", out=tmp_path / "c")
    with pytest.raises(ConfigError, match="--jobs is 0; it must be from 1 to 1,024"):
        compare("quickstart", QUICK, out=tmp_path / "c", jobs=0)
    with pytest.raises(ConfigError, match="3 is not an override; write the text KEY=VALUE"):
        train("quickstart", [3])


@pytest.mark.parametrize("option", [{"vary": ["task.length=5,6"]}, {"budget": 5}])
def test_an_option_that_is_no_text_is_a_type_error(option):
    with pytest.raises(TypeError, match="it must be one text, as on the command line"):
        compare("quickstart", **option)
