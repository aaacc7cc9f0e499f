"""Bad checkpoints are refused; the same with thousands of files is `python tests/runs/hostile_checkpoints.py`."""

import os
import shutil
import sys
import warnings
from pathlib import Path

import pytest
import torch
from hostile_checkpoints import (
    CANARY,
    KINDS,
    attack,
    call,
    command_of,
    foreign,
    lies,
    lying_archives,
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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about the odd tensors that are saved
        yield tmp_path / "runs"


def test_bad_checkpoints_get_a_sentence(folder):
    counts, failures = attack(60, 3, folder, ("adding", "words"))
    assert failures == []
    assert counts["refused"] == 60


def test_what_the_lies_are_made_of_is_accepted(folder):
    """So that each is refused for what it changes."""
    for kind in KINDS:
        path = Path(kind, "last.pt")
        content = torch.load(path, weights_only=True)
        path.write_bytes(with_lie(content, "variant", content["variant"], folder))
        for verb in verbs_of(kind):
            assert verb == "model" or call(*command_of(verb, kind, str(path)))[0] == 0, (kind, verb)
    averaged = torch.load("averaged/last.pt", weights_only=True)["training"]["average"]
    assert averaged["count"] > 0


def test_lies_about_an_archive_never_reach_the_unpickler(folder, monkeypatch):
    whole = Path("words/last.pt").read_bytes()
    reached, load = set(), torch.load
    monkeypatch.setattr(torch, "load", lambda *args, **options: reached.add(name) or load(*args, **options))
    for name, content in (*lying_archives(whole), *foreign()):
        if callable(content):
            continue
        Path("bad.pt").write_bytes(content)
        with pytest.raises(CheckpointError) as caught:
            load_checkpoint(Path("bad.pt"))
        assert str(caught.value).startswith("bad.pt: "), name
    assert reached == {"nested dicts", "an empty stack", "a far place"}  # of which no memory is asked
    assert not Path(CANARY).exists()


def test_lies_about_the_contents_never_reach_a_model(folder, monkeypatch):
    content = torch.load("averaged/last.pt", weights_only=True)
    monkeypatch.setattr("seqtrain.inference.load.build_model", lambda *_: pytest.fail(f"a model is built: {told}"))
    for place, value, verbs in lies(content):
        if "model" in verbs:
            told = f"{place} = {value!r:.60}"
            Path("bad.pt").write_bytes(with_lie(content, place, value, folder))
            with pytest.raises(SeqtrainError):
                load_model("bad.pt")
    assert not Path(CANARY).exists()


@pytest.mark.parametrize("kind", ["words", "averaged", "both ways"])
def test_lies_about_the_training_state_never_reach_a_run(folder, monkeypatch, kind):
    path = Path(kind, "last.pt")
    content = torch.load(path, weights_only=True)
    monkeypatch.setattr("seqtrain.runs.trainer._train", lambda *_, **__: pytest.fail(f"goes on: {told}"))
    for place, value, verbs in lies(content):
        if verbs == ("resume",):
            told = f"{place} = {value!r:.60}"
            path.write_bytes(with_lie(content, place, value, folder))
            code, out, err = call(*command_of("resume", kind, str(path)))
            assert (code, out) == (2, ""), told
            assert err.startswith(f"seqtrain: {path}: "), told


def test_a_resumed_run_knows_at_once_that_its_best_checkpoint_is_damaged(folder):
    best, last = Path("adding/best.pt"), Path("adding/last.pt").read_bytes()
    best.write_bytes(best.read_bytes()[:-1])
    code, out, err = call(*command_of("resume", "adding", "adding/last.pt"))
    assert (code, out) == (2, "")
    assert err.startswith("seqtrain: adding/best.pt: is not a seqtrain checkpoint (damaged")
    assert "remove it to go on without it" in err
    assert Path("adding/last.pt").read_bytes() == last
    best.unlink()
    assert call(*command_of("resume", "adding", "adding/last.pt"))[0] == 0
