"""Bad checkpoints are refused; the same with thousands of files is `python tests/runs/hostile_checkpoints.py`."""

import functools
import os
import shutil
import sys
from pathlib import Path

import pytest
from hostile_checkpoints import (
    CANARY,
    KINDS,
    attack,
    call,
    command_of,
    contents_of,
    described,
    false_files,
    foreign,
    lies,
    make_runs,
    verbs_of,
    with_lie,
)

from seqtrain import load_model
from seqtrain.runs.checkpoint import load_checkpoint
from seqtrain.system.errors import CheckpointError, SeqtrainError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Runs of all kinds."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", [])
        make_runs(tuple(KINDS))
        yield folder
        sys.modules.pop("own_cells", None)


@pytest.fixture
def folder(made, tmp_path, monkeypatch):
    """A copy of them, where one is."""
    shutil.copytree(made, tmp_path / "runs", ignore=shutil.ignore_patterns("pipe"))
    monkeypatch.chdir(tmp_path / "runs")
    monkeypatch.setattr(sys, "argv", [])
    os.mkfifo("pipe")
    return tmp_path / "runs"


def test_bad_checkpoints_get_a_sentence(folder):
    counts, failures = attack(60, 3, folder, ("adding", "words"))
    assert failures == []
    assert counts["refused"] == 60


def test_the_files_that_the_lies_change_are_accepted(folder):
    """So that each is refused for what it changes."""
    for kind in KINDS:
        path = Path(kind, "last.safetensors")
        contents, saved = contents_of(path), load_checkpoint(path)
        path.write_bytes(with_lie(contents, "variant", contents.values["variant"], folder))
        loaded = load_checkpoint(path)
        assert loaded.header == saved.header.model_copy(update={"sha256": loaded.header.sha256})
        for verb in verbs_of(kind):
            assert verb == "model" or call(*command_of(verb, kind, str(path)))[0] == 0, (kind, verb)
    assert contents_of(Path("averaged/last.safetensors")).values["training"]["averaged"] > 0


def test_files_that_are_false_about_themselves_are_refused(folder):
    for name, content in (*false_files(contents_of(Path("words/last.safetensors"))), *foreign()):
        if isinstance(content, functools.partial):
            content = content()
        if callable(content):
            continue
        Path("bad").write_bytes(content)
        with pytest.raises(CheckpointError) as caught:
            load_checkpoint(Path("bad"))
            pytest.fail(f"accepted: {name}")
        assert str(caught.value).startswith("bad: "), name
    assert not Path(CANARY).exists()


def test_false_contents_never_reach_a_model(folder, monkeypatch):
    contents = contents_of(Path("averaged/last.safetensors"))
    monkeypatch.setattr("seqtrain.inference.load.build_model", lambda *_: pytest.fail(f"a model is built: {lie}"))
    for place, value, verbs in lies(contents):
        if "model" in verbs:
            lie = described(place, value)
            Path("bad").write_bytes(with_lie(contents, place, value, folder))
            with pytest.raises(SeqtrainError):
                load_model("bad")
    assert not Path(CANARY).exists()


@pytest.mark.parametrize("kind", ["words", "averaged", "both ways"])
def test_a_false_training_state_never_reaches_a_run(folder, monkeypatch, kind):
    path = Path(kind, "last.safetensors")
    contents = contents_of(path)
    monkeypatch.setattr("seqtrain.training.state.TrainState.restore", lambda *_: pytest.fail(f"goes on: {lie}"))
    for place, value, verbs in lies(contents):
        if verbs == ("resume",):
            lie = described(place, value)
            path.write_bytes(with_lie(contents, place, value, folder))
            code, out, err = call(*command_of("resume", kind, str(path)))
            assert (code, out) == (2, ""), lie
            assert err.startswith(f"seqtrain: {path}: "), lie


def test_a_best_checkpoint_cannot_be_resumed(folder):
    shutil.copy("words/best.safetensors", "words/last.safetensors")
    code, out, err = call(*command_of("resume", "words", "words/last.safetensors"))
    assert (code, out) == (2, "")
    assert err.startswith("seqtrain: words/last.safetensors: holds no training state (it is a best checkpoint); ")


def test_a_resumed_run_knows_at_once_that_its_best_checkpoint_is_damaged(folder):
    best, last = Path("adding/best.safetensors"), Path("adding/last.safetensors").read_bytes()
    best.write_bytes(best.read_bytes()[:-1])
    code, out, err = call(*command_of("resume", "adding", "adding/last.safetensors"))
    assert (code, out) == (2, "")
    assert err.startswith("seqtrain: adding/best.safetensors: is damaged (its checksum does not fit")
    assert "remove it to go on without it" in err
    assert Path("adding/last.safetensors").read_bytes() == last
    best.unlink()
    assert call(*command_of("resume", "adding", "adding/last.safetensors"))[0] == 0
