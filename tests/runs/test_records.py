"""The records of a run: each reads back what it wrote, in the order of the file, and refuses what is no record."""

import json

import pytest
from conftest import SMALL, SMALL_SETS

from seqtrain.config import load_config
from seqtrain.runs.directory import RunDir
from seqtrain.runs.records import LARGEST, MetricsRecord, Summary
from seqtrain.runs.trainer import train_run

HEAD = ["step", "split", "loss"]
TAIL = ["lr", "grad_norm", "elapsed_s", "sequences_per_s"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    config = load_config("quickstart", [*SMALL, *SMALL_SETS])
    return config, RunDir(folder), train_run(config, folder, quiet=True, overwrite=True).summary


def test_the_files_read_back_to_what_was_written(trained):
    _, run, summary = trained
    assert run.load_summary() == summary
    text = run.summary.read_text()
    run.write_summary(run.load_summary())
    assert run.summary.read_text() == text
    assert [record.line() for record in run.read_metrics()] == run.metrics.read_text().splitlines()


def test_the_keys_of_the_files_have_their_order(trained):
    _, run, _ = trained
    assert list(json.loads(run.summary.read_text())) == [
        "status", "task", "variant", "fingerprints", "cell", "direction", "depth", "hidden_size", "parameters", "seed",
        "steps",
        "skipped_steps", "planned_steps", "metric", "best", "lost_best_step",
        "test", "baseline", "solved_at_step", "elapsed_s",
        "sequences_per_s", "engine", "precision", "device", "threads", "versions", "divergence",
    ]  # fmt: skip
    keys = {record["split"]: list(record) for record in map(json.loads, run.metrics.read_text().splitlines())}
    assert keys == {"train": [*HEAD, "mse", *TAIL], "valid": [*HEAD, "mse", *TAIL, "accuracy"]}


def test_a_figure_that_is_too_large_to_square_is_written_but_not_compared(trained):
    config, _, summary = trained
    assert summary.fault_beside(config) is None
    large = summary.model_copy(update={"test": {"loss": 1.0, "mse": 10 * LARGEST}})
    assert Summary.from_text(json.dumps(large.as_json()).encode()) == large
    assert large.fault_beside(config) == "test.mse is 1e+151; at most 1e+150 can be compared"


def test_fields_that_are_not_known_are_kept(trained):
    _, _, summary = trained
    more = summary.as_json() | {"note": "mine", "metric": {"name": "mse", "higher_is_better": False, "unit": "1"}}
    assert Summary.from_text(json.dumps(more).encode()).as_json() == more


@pytest.mark.parametrize(
    ("figures", "fault"),
    [
        ('"mse": NaN', "mse is nan; it should be a finite number"),
        ('"mse": 1e999', "mse is inf; it should be a finite number"),
        ('"skipped_steps": 1' + "0" * 20, "skipped_steps is 100000000000000000000; it should be less than"),
        ('"lr": 1' + "0" * 4000, "lr is 1000000"),
        ('"mse": "1"', "mse is '1'; it should be a valid number"),
        ('"mse": true, "lr": [1]', "lr is [1]; it should be a valid number; mse is True; it should be a valid number"),
        ('"note": "\\ud800"', "is not a JSON object (Invalid JSON: "),
        ('"note": ' + "[" * 9999, "is not a JSON object (Invalid JSON: "),
    ],
)
def test_a_line_that_is_no_record_is_refused_with_every_fault(figures, fault):
    with pytest.raises(ValueError) as refused:  # noqa: PT011
        MetricsRecord.from_text(f'{{"step": 1, "split": "train", "elapsed_s": 1, {figures}}}'.encode())
    assert str(refused.value).startswith(fault)


def test_a_record_names_what_it_lacks():
    with pytest.raises(ValueError, match=r"^lacks split, elapsed_s; step is -1; it should be greater than or equal"):
        MetricsRecord.from_text(b'{"step": -1}')
    with pytest.raises(ValueError, match=r"^is not a JSON object"):
        MetricsRecord.from_text(b"[1]")


def test_the_metrics_of_the_task_are_known_by_name():
    record = MetricsRecord(step=1, split="valid", elapsed_s=2.0, mse=0.5, accuracy=1.0)
    assert record.metrics == {"mse": 0.5, "accuracy": 1.0}
    assert record.line() == ('{"step": 1, "split": "valid", "mse": 0.5, "elapsed_s": 2.0, "accuracy": 1.0}')
