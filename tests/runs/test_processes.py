"""One run on several processes, as `torchrun` starts them: what they leave, and how they end together."""

import json
import os
import signal
import socket
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import pytest
from conftest import SMALL, SMALL_SETS
from forked import SEQTRAIN, Forked

from seqtrain.config import load_config
from seqtrain.runs import trainer
from seqtrain.runs.train import train
from seqtrain.system.errors import ConfigError, LostProcess
from seqtrain.system.process_group import ProcessGroup

TIMING = ("elapsed_s", "sequences_per_s", "tokens_per_s")
SHARDS = ("quickstart", *SMALL, *SMALL_SETS, "train.shards=4", "train.steps=40", "threads=1")
CODE = (
    "import sys, types; sys.modules['seqtrain.runs.curve'] = types.SimpleNamespace(as_png=lambda *_: b'')\n" + SEQTRAIN
)
"""Without the picture, which takes longer than the training."""

LONG = (*SHARDS, "train.steps=100000", "train.eval_every=100000", "train.log_every=1")


class Group:
    """`seqtrain ARGUMENTS` on several processes."""

    def __init__(self, folder, size, *arguments):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(size),
                 "LOCAL_WORLD_SIZE": str(size), "TORCHELASTIC_RUN_ID": "test"}  # fmt: skip
        self.members = [
            Forked(CODE, *arguments, folder=folder, environment={**os.environ, **place, "RANK": str(rank)})
            for rank in range(size)
        ]

    def ended(self):
        """Exit codes, standard outputs, and standard errors."""
        return [list(part) for part in zip(*(member.communicate() for member in self.members), strict=True)]

    def at_step(self, run, step):
        """Wait until the run has done a step."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            lines = (run / "metrics.jsonl").read_bytes().splitlines() if (run / "metrics.jsonl").exists() else []
            if any(line.endswith(b"}") and json.loads(line)["step"] >= step for line in lines):
                return
            time.sleep(0.01)
        pytest.fail("it did not train")

    def close(self):
        for member in self.members:
            member.close()


@pytest.fixture
def together(tmp_path):
    """Start a group; all of its processes are gone in the end."""
    groups = []

    def start(size, *arguments):
        groups.append(Group(tmp_path, size, *arguments))
        return groups[-1]

    yield start
    for group in groups:
        group.close()


def content(run: Path):
    """What equal runs have in common."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    metrics = [{key: value for key, value in record.items() if key not in TIMING} for record in records]
    return [(run / name).read_bytes() for name in ("last.safetensors", "best.safetensors")], metrics


def test_two_processes_leave_what_one_leaves_and_process_0_speaks(together, seqtrain, tmp_path):
    codes, outs, errors = together(2, "train", *SHARDS, "--out", "two").ended()
    assert codes == [0, 0]
    assert "lstm on adding" in outs[0]
    assert outs[1] == ""
    assert errors[1] == ""
    assert seqtrain("train", *SHARDS, "--out", "one").code == 0
    assert content(tmp_path / "two") == content(tmp_path / "one")
    one, two = (json.loads((tmp_path / name / "summary.json").read_text()) for name in ("one", "two"))
    assert two["test"] == one["test"]


def test_when_a_process_is_killed_the_run_is_saved_and_goes_on_with_another_number(together, seqtrain, tmp_path):
    group = together(2, "train", *LONG, "train.save_every=100000", "--out", "run", "--quiet")
    group.at_step(tmp_path / "run", 5)
    group.members[1].send_signal(signal.SIGKILL)
    (code, killed), _, (error, _) = group.ended()
    assert (code, killed) == (1, -signal.SIGKILL)
    saved = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert saved["status"] == "interrupted"
    assert "another process of this run has ended" in error
    assert f"saved at step {saved['steps']}; go on with seqtrain train run --resume" in error
    steps = f"train.steps={saved['steps'] + 6}"
    for out, more in (("run", ["--resume"]), ("whole", [])):
        assert seqtrain("train", *LONG, steps, "--out", out, *more).code == 0
    assert content(tmp_path / "run") == content(tmp_path / "whole")


def test_a_signal_saves_and_stops_all(together, seqtrain, tmp_path):
    group = together(2, "train", *LONG, "--out", "run", "--quiet")
    group.at_step(tmp_path / "run", 3)
    for member in (group.members[1], *group.members):  # torchrun passes on what the terminal has sent already
        member.send_signal(signal.SIGINT)
    codes, _, (error, other) = group.ended()
    assert codes == [130, 130]
    assert "interrupted and saved" in error
    assert other == ""
    steps = json.loads((tmp_path / "run" / "summary.json").read_text())["steps"] + 4
    again = together(4, "train", *LONG, f"train.steps={steps}", "--out", "run", "--quiet", "--resume")
    assert again.ended()[0] == [0] * 4
    assert seqtrain("train", *LONG, f"train.steps={steps}", "--out", "whole").code == 0
    assert content(tmp_path / "run") == content(tmp_path / "whole")


def test_a_signal_to_another_process_stops_process_0(together, tmp_path):
    group = together(2, "train", *LONG, "--out", "run", "--quiet")
    group.at_step(tmp_path / "run", 3)
    group.members[1].send_signal(signal.SIGTERM)
    codes, _, (error, _) = group.ended()
    assert codes == [143, 143]
    assert "interrupted and saved" in error


def test_a_divergence_ends_all_with_3(together, tmp_path):
    codes, _, (error, other) = together(2, "train", *SHARDS, "optimizer=sgd", "optimizer.lr=1e30", "--quiet").ended()
    assert codes == [3, 3]
    assert "diverged" in error
    assert other == ""


def test_bad_input_ends_all_and_is_told_once(together):
    codes, _, errors = together(2, "train", *SHARDS, "train.shards=1").ended()
    assert codes == [2, 1]
    assert (
        "train.shards is 1, which 2 processes cannot share equally; use train.shards=2, or start a number of "
        "processes that divides it" in errors[0]
    )
    assert errors[1] == ""


class Fake(ProcessGroup):
    """Process 0 or 1 of two, the other of which is gone when all stop."""

    def share(self, value=None):
        return value if self.leads else pytest.fail("waits for what process 0 has read")

    def highest(self, number):  # noqa: ARG002
        raise LostProcess("another process of this run has ended")


def test_resume_with_overwrite_is_refused_by_process_0(monkeypatch):
    for rank, error in ((0, ConfigError), (1, pytest.fail.Exception)):
        monkeypatch.setattr("seqtrain.runs.train.process_group", partial(nullcontext, Fake(rank, 2)))
        with pytest.raises(error):
            train("quickstart", resume=True, overwrite=True)


def test_a_process_that_is_killed_while_all_stop_leaves_a_summary(monkeypatch, tmp_path):
    monkeypatch.setattr(trainer, "fit", lambda *_, **__: "interrupted")
    config = load_config("quickstart", [*SMALL, *SMALL_SETS, "train.shards=2"])
    ended = trainer.train_run(config, tmp_path / "run", quiet=True, group=Fake(0, 2))
    assert (ended.exit_code, ended.summary.status) == (1, "interrupted")
    assert "another process of this run has ended; saved at step 0" in ended.message
    assert (tmp_path / "run" / "summary.json").exists()


def test_only_train_runs_on_several_processes(seqtrain, monkeypatch):
    for name, value in (("TORCHELASTIC_RUN_ID", "test"), ("WORLD_SIZE", "2"), ("RANK", "0")):
        monkeypatch.setenv(name, value)
    found = seqtrain("eval", "run")
    assert found.code == 2
    assert "torchrun started 2 processes, which can only train together; start eval without it" in found.err
    monkeypatch.setenv("RANK", "1")
    assert seqtrain("eval", "run") == (2, "", "")


@pytest.mark.parametrize("arguments", [("train",), ("train", "quickstart", "--stepps"), ("train", "--help")])
def test_process_0_alone_tells_how_the_command_is_used(seqtrain, monkeypatch, arguments):
    alone = seqtrain(*arguments)
    for name, value in (("TORCHELASTIC_RUN_ID", "test"), ("WORLD_SIZE", "2"), ("RANK", "1")):
        monkeypatch.setenv(name, value)
    assert alone.out + alone.err
    assert seqtrain(*arguments) == (alone.code, "", "")


@pytest.mark.parametrize("differs", ["valid", "train"])
def test_processes_with_other_data_are_refused(together, differs, monkeypatch):
    change = {
        "valid": "Adding.fingerprint = lambda self, split: 'other'",
        "train": "old = Adding.train_batch; Adding.train_batch = lambda self, step, size: old(self, step + 1, size)",
    }[differs]
    code = f"import os\nif os.environ['RANK'] == '1':\n    from seqtrain.tasks.marked_numbers import Adding; {change}\n"
    monkeypatch.setitem(Group.__init__.__globals__, "CODE", code + CODE)
    codes, _, errors = together(2, "train", *SHARDS, "--quiet").ended()
    assert codes == [1, 2]
    assert "process 1: its data are not those of process 0; give all machines the same files" in errors[1]
