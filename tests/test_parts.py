"""The small parts: metrics, random numbers, JSON, checkpoints, run directories."""

import hashlib
import json
import math
import os
import random
import re
import struct

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from seqtrain.runs.checkpoint import Checkpoint, Header, encoded, load_checkpoint, save_checkpoint
from seqtrain.runs.directory import RunDir, checkpoint_path
from seqtrain.runs.records import MetricsRecord
from seqtrain.runs.resume import check_free
from seqtrain.system import strict_json
from seqtrain.system.errors import CheckpointError
from seqtrain.system.files import UnwritableError, write_whole
from seqtrain.system.rng import generator, seeded_global_generator
from seqtrain.tasks import Spec
from seqtrain.tasks.metrics import Metric, Tally, perplexity
from seqtrain.training.state import TrainingRecord


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
    with seeded_global_generator("x"):
        first = torch.rand(2)
    assert torch.equal(torch.rand(2), wanted)
    with seeded_global_generator("x"):
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


HEADER = Header(
    config={"lr": 0.1, "name": 'a "quoted" \\ name'},
    variant="v",
    fingerprints={},
    spec=Spec(2, True, 2, True, True),
    vocabulary=["<unk>", "ü\n\U0001f600"],
    counts=[3, 2**40],
    step=7,
    training=TrainingRecord(lr=0.1, averaged=None, evaluated_at=7, losses=[0.1, -0.0, 5e-324, 1.7e308, 1 / 3]),
)
SHARED = torch.arange(12.0).reshape(3, 4)
WEIGHTS = {
    "head.weight": SHARED,
    "encoder.weight": SHARED,
    "stack.transposed": SHARED.T,
    "stack.part": SHARED[1:],
    "stack.scalar": torch.tensor(3),
    "stack.empty": torch.zeros(0, 4),
    **{
        f"stack.{dtype}": torch.zeros(3).to(dtype) for dtype in (torch.float64, torch.bfloat16, torch.bool, torch.uint8)
    },
}


def test_checkpoints_read_back_and_the_same_content_gives_the_same_bytes(tmp_path):
    checkpoint = Checkpoint(HEADER, WEIGHTS, {"optimizer/0/step": torch.tensor(7.0)})
    for name in ("a", "b"):
        save_checkpoint(tmp_path / name, checkpoint)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    loaded = load_checkpoint(tmp_path / "a")
    assert loaded.header == HEADER.model_copy(update={"sha256": loaded.header.sha256})
    assert str(loaded.header.training.losses) == str(HEADER.training.losses)  # -0.0 too
    for saved, read in ((checkpoint.weights, loaded.weights), (checkpoint.training, loaded.training)):
        assert saved.keys() == read.keys()
        for name, tensor in saved.items():
            assert (read[name].dtype, read[name].shape) == (tensor.dtype, tensor.shape)
            assert torch.equal(read[name], tensor)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}


def test_numbers_keep_their_last_bit():
    drawn = struct.unpack("<10000d", random.Random(0).randbytes(80_000))
    losses = [number for number in drawn if math.isfinite(number)]
    header = HEADER.model_copy(update={"training": TrainingRecord(lr=0.1, averaged=None, losses=losses)})
    read = Header.model_validate_json(header.model_dump_json()).training.losses
    assert struct.pack(f"<{len(read)}d", *read) == struct.pack(f"<{len(losses)}d", *losses)


def test_other_programs_read_a_checkpoint(tmp_path):
    """The weights alone with safetensors, the plain values with its header and a JSON parser."""
    path = tmp_path / "best.safetensors"
    save_checkpoint(path, Checkpoint(HEADER, WEIGHTS, {"optimizer/0/step": torch.tensor(7.0)}).for_evaluation())
    loaded = load_file(path)
    assert loaded.keys() == WEIGHTS.keys()
    assert all(torch.equal(loaded[name], weight) for name, weight in WEIGHTS.items())
    with safe_open(path, "pt") as file:
        values = json.loads(file.metadata()["seqtrain"])
    assert (values["config"], values["vocabulary"]) == (HEADER.config, HEADER.vocabulary)
    zeroed = path.read_bytes().replace(values["sha256"].encode(), b"0" * 64)
    assert values["sha256"] == hashlib.sha256(zeroed).hexdigest()


def test_the_checksum_covers_every_byte(tmp_path):
    """No bit can change, no byte can be missing or added."""
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, Checkpoint(HEADER, {"w": torch.arange(3.0)}, {}))
    whole = path.read_bytes()
    damaged = [whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :] for at in range(len(whole))]
    for content in (*damaged, whole[:-1], whole + b"\n", whole[1:], b"x" + whole, whole[:300], b""):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"damaged|has format"):
            load_checkpoint(path)


@pytest.mark.parametrize("format_", [1, 3, 5, 30])
def test_a_checkpoint_of_another_format(tmp_path, format_):
    """Before format 4 they were archives of torch.save."""
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, Checkpoint(HEADER, {}, {}))
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'\\"format\\":4,', b'\\"format\\":%d,' % format_))
    problem = f"has format {format_}, which another version of seqtrain wrote and reads (this one: 4)"
    if format_ < 4:
        torch.save({"format": format_}, path)
        problem = "is an archive of torch.save, as an older seqtrain wrote and reads (this one: format 4)"
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert str(caught.value) == f"{path}: {problem}; use another checkpoint, or train anew"


@pytest.mark.parametrize("name", ["last.pt", "best.pt"])
def test_a_run_directory_of_an_older_seqtrain(tmp_path, name):
    run = RunDir(tmp_path)
    (tmp_path / name).touch()
    run.config.touch()
    message = f"{tmp_path / name}: was written by an older seqtrain, whose checkpoints this one cannot read; "
    with pytest.raises(CheckpointError, match=re.escape(message + "use that version, or train anew")):
        checkpoint_path(tmp_path)
    with pytest.raises(CheckpointError, match=re.escape(message) + ".*--overwrite"):
        check_free(run, resume=True, overwrite=False)
    run.clear()
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_saved_is_refused():
    with pytest.raises(CheckpointError, match=r"safetensors cannot store stack.c \(torch\.complex128\); use"):
        encoded(Checkpoint(HEADER, WEIGHTS | {"stack.c": torch.zeros(2, dtype=torch.complex128)}, {}))
    with pytest.raises(CheckpointError, match=r"safetensors cannot store stack.s .*; use dense tensors"):
        encoded(Checkpoint(HEADER, WEIGHTS | {"stack.s": torch.eye(2).to_sparse()}, {}))
    large = HEADER.model_copy(update={"vocabulary": ["x" * 100_000] * 400})
    with pytest.raises(CheckpointError, match=r"a vocabulary of 400 tokens is too large .* smaller task\.max_size"):
        encoded(Checkpoint(large, WEIGHTS, {}))


def test_a_vocabulary_of_a_million_words_is_saved(tmp_path):
    words = ["<unk>", *(f'"wörd-{number}"' for number in range(999_999))]
    header = HEADER.model_copy(
        update={"spec": Spec(10**6, True, 10**6, True, True), "vocabulary": words, "counts": [10**6] * 10**6}
    )
    save_checkpoint(tmp_path / "large", Checkpoint(header, {}, {}))
    assert load_checkpoint(tmp_path / "large").header.vocabulary == words


def test_what_a_run_argument_means(tmp_path):
    run = RunDir(tmp_path)
    with pytest.raises(CheckpointError, match="is not a run directory"):
        checkpoint_path(tmp_path)
    run.last.touch()
    with pytest.raises(CheckpointError, match=r"never evaluated, or it was removed; give .*last\.safetensors"):
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
