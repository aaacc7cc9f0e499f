"""The small parts: metrics, random numbers, JSON, checkpoints, run directories."""

import hashlib
import io
import json
import math
import os
import re
import zipfile

import pytest
import torch

from seqtrain.runs.checkpoint import FORMAT, load_checkpoint, save_checkpoint
from seqtrain.runs.directory import RunDir, checkpoint_path
from seqtrain.runs.records import MetricsRecord
from seqtrain.runs.seal import seal
from seqtrain.system import strict_json
from seqtrain.system.errors import CheckpointError
from seqtrain.system.files import UnwritableError, write_whole
from seqtrain.system.rng import generator, lent_global_generator
from seqtrain.tasks.metrics import Metric, Tally, perplexity


def test_tally_divides_once():
    whole = Tally().add("a", 10.0, 4).add("b", torch.tensor(1.0), torch.tensor(2))
    whole.merge(Tally().add("a", 2.0, 1).add("c", 0.0, 0))
    means = whole.means()
    assert means["a"] == 12 / 5
    assert means["b"] == 0.5
    assert math.isnan(means["c"])


@pytest.mark.parametrize("higher", [True, False])
def test_better_never_takes_what_is_not_finite(higher):
    metric = Metric("m", higher)
    assert metric.better(1.0, None)
    assert metric.better(2.0, 1.0) is higher
    assert metric.better(1.0, 2.0) is not higher
    assert not metric.better(1.0, 1.0)
    for wrong in (math.nan, math.inf, -math.inf):
        assert not metric.better(wrong, None)
        assert not metric.better(wrong, 1.0)


def test_perplexity():
    assert perplexity(math.log(7)) == pytest.approx(7)
    assert perplexity(1e6) == math.inf


def test_generators_are_named():
    draws = [torch.rand(4, generator=generator(*key)) for key in ((0, "a", 1), (0, "a", 1), (0, "a", 2), (0, "b", 1))]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0], draws[3])


def test_the_global_generator_is_given_back():
    torch.manual_seed(0)
    wanted = torch.rand(2)
    torch.manual_seed(0)
    with lent_global_generator("x"):
        first = torch.rand(2)
    assert torch.equal(torch.rand(2), wanted)
    with lent_global_generator("x"):
        assert torch.equal(torch.rand(2), first)


def test_strict_json():
    value = {"a": [math.nan, 1.5, (math.inf,)], "b": {"c": -math.inf}, 3: "ü"}
    assert json.loads(strict_json.dumps(value)) == {"a": [None, 1.5, [None]], "b": {"c": None}, "3": "ü"}


def test_write_whole_leaves_the_old_file_if_the_new_cannot_be_renamed(tmp_path, monkeypatch):
    path = tmp_path / "f"
    write_whole(path, b"old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UnwritableError, match="disk full"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"


TRAINING = {
    "step": 1,
    "evaluated_at": 0,
    "best_step": None,
    "best_value": None,
    "stalled": 0,
    "cuts": 0,
    "stalled_since_cut": 0,
    "solved_at_step": None,
    "window_loss": 0.5,
    "window_norm": 0.5,
    "window_steps": 1,
    "skipped_steps": 0,
    "losses": [],
    "carried": None,
    "optimizer": {"state": {}, "param_groups": [{"lr": 0.1, "params": [0]}]},
    "average": None,
}
CONTENT = {
    "config": {},
    "variant": "v",
    "fingerprints": {},
    "spec": (1, False, 1, True, False),
    "vocabulary": None,
    "counts": None,
    "model": {},
    "training": TRAINING,
}


def test_checkpoints_read_back_and_do_not_hold_their_name(tmp_path):
    content = CONTENT | {"model": {"w": torch.arange(3.0)}}
    save_checkpoint(tmp_path / "a.pt", content)
    save_checkpoint(tmp_path / "b.pt", content)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()
    assert torch.equal(load_checkpoint(tmp_path / "a.pt")["model"]["w"], torch.arange(3.0))
    assert torch.load(tmp_path / "a.pt", weights_only=True)["format"] == FORMAT
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".tmp"] == []


def test_a_checkpoint_is_sealed_from_its_first_byte_to_its_last(tmp_path):
    """No bit of it can change, none can be missing, none can be added; and the seal is a comment to other readers."""
    path = tmp_path / "c.pt"
    save_checkpoint(path, CONTENT | {"model": {"w": torch.arange(3.0)}})
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        comment = archive.comment
        assert archive.testzip() is None
    found = re.fullmatch(rb"seqtrain checkpoint, format 3, sha256 ([0-9a-f]{64})", comment)
    assert found[1].decode() == hashlib.sha256(whole.removesuffix(comment)).hexdigest()
    places = [*range(0, len(whole), 7), *range(len(whole) - len(comment) - 100, len(whole))]
    damaged = [whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :] for at in places]
    for content in (*damaged, whole[:-1], whole + b"\n", whole[: -len(comment)], b"x" + whole, comment, b""):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"damaged|has format"):
            load_checkpoint(path)


@pytest.mark.parametrize("format_", [1, 2, 4, 30])
def test_a_checkpoint_of_another_format(tmp_path, format_):
    """Those before 3 had no seal."""
    path = tmp_path / "c.pt"
    content = {"format": format_} | CONTENT
    if format_ < 3:
        torch.save(content, path)
    else:
        buffer = io.BytesIO()
        torch.save(content, buffer)
        seal(buffer, format_)
        path.write_bytes(buffer.getvalue())
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert str(caught.value) == (
        f"{path}: has format {format_}, this seqtrain reads 3; use the seqtrain that wrote it, or train anew"
    )


def test_what_a_run_argument_means(tmp_path):
    run = RunDir(tmp_path)
    with pytest.raises(CheckpointError, match="is not a run directory"):
        checkpoint_path(tmp_path)
    run.last.touch()
    with pytest.raises(CheckpointError, match=r"never evaluated; give .*last\.pt"):
        checkpoint_path(tmp_path)
    run.best.touch()
    assert checkpoint_path(tmp_path) == run.best
    assert checkpoint_path(run.last) == run.last


def test_a_torn_metrics_line_is_cut_off(tmp_path):
    run = RunDir(tmp_path)
    for step in (1, 2, 3):
        run.append(MetricsRecord(step=step, split="train", elapsed_s=step * 1.5))
    with run.metrics.open("a") as file:
        file.write('{"step": 4, "elap')
    assert [record.step for record in run.read_metrics()] == [1, 2, 3]
    assert run.rewind_metrics(2) == 3.0
    assert run.metrics.read_text().count("\n") == 2


def test_a_blank_line_loses_no_metrics_and_a_broken_one_is_said(tmp_path):
    run = RunDir(tmp_path)
    run.metrics.write_text("\n")
    run.append(MetricsRecord(step=1, split="train", elapsed_s=1.0))
    assert run.rewind_metrics(5) == 1.0
    assert [record.step for record in run.read_metrics()] == [1]
    run.metrics.write_text("nonsense\n" + run.metrics.read_text())
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl:1: is not a record"):
        run.rewind_metrics(5)
