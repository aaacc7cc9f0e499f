"""Standard output and standard error of the command line: who reads them, and what is on them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import SMALL, SMALL_SETS

from seqtrain.system.signals import stop_requests

TRAIN = ("train", "quickstart", *SMALL, *SMALL_SETS, "task.length=9", "threads=1", "--out", "run")


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def no_reader():
    """A pipe that nobody reads any more."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@pytest.mark.parametrize(
    "command",
    [("settings",), ("settings", "--json"), ("compare", "quickstart", "--dry-run", "--out", "dry"), TRAIN],
)
def test_a_reader_of_the_result_that_has_gone_is_no_fault(start, no_reader, command):
    assert start(*command, stdout=no_reader).wait() == 0
    if command[0] == "train":
        assert json.loads(Path("run/summary.json").read_text())["status"] == "finished"


def test_a_reader_of_the_log_that_has_gone_ends_no_training(start, no_reader):
    """The run says several lines on its way."""
    assert start(*TRAIN, "--resume", stderr=no_reader).wait() == 0
    assert json.loads(Path("run/summary.json").read_text())["status"] == "finished"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_the_log_ends_no_training_and_under_the_result_is_said(start):
    with Path("/dev/full").open("w") as full:
        assert start(*TRAIN, "--resume", stderr=full.fileno()).wait() == 0
        code, _, err = start("settings", stdout=full.fileno()).communicate()
    assert (code, "No space left on device" in err) == (2, True)


def test_json_is_ascii_where_the_terminal_is_not_utf8(seqtrain):
    Path("text.txt").write_text("la forêt 你好\n" * 60, "utf-8")
    assert seqtrain("train", "words", *SMALL, "model.embedding_size=4", "task.path=text.txt", "--out", "run").code == 0
    ask = [sys.executable, "-m", "seqtrain", "predict", "run", "--prompt", "la forêt 你好", "--json"]
    done = subprocess.run(ask, capture_output=True, env=os.environ | {"PYTHONIOENCODING": "cp1252"})
    assert json.loads(done.stdout.decode("ascii"))["prompt"] == ["la", "forêt", "你好"]


CHATTY = """
from typing import NamedTuple
import torch
from seqtrain.cells import Cell

print("imported")


class State(NamedTuple):
    hidden: torch.Tensor


class Chatty(Cell):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        print("made")
        self.w = torch.nn.Linear(input_size, hidden_size)

    def project(self, x):
        return self.w(x)

    def step(self, x_gates, state):
        print("stepped")
        return State(torch.tanh(x_gates))

    def initial_state(self, batch_size):
        return State(self.w.weight.new_zeros(batch_size, self.hidden_size))
"""


def test_what_a_users_cell_prints_is_no_part_of_the_result(seqtrain):
    Path("chatty.py").write_text(CHATTY)
    cell, small = "model.cell=chatty:Chatty", (*SMALL, *SMALL_SETS, "task.length=9")
    for command in (
        ("validate", "quickstart", *small, cell),
        ("train", "quickstart", *small, cell, "--out", "run"),
        ("eval", "run"),
        ("compare", "quickstart", *small, "--cells", "chatty:Chatty,rnn", "--seeds", 1),
    ):
        called = seqtrain(*command, "--json")
        assert called.code == 0
        assert isinstance(json.loads(called.out), dict)
        assert "made" in called.err


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"])
def test_a_signal_that_was_ignored_at_the_start_stays_ignored(name):
    number = getattr(signal, name)
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with stop_requests() as request:
            os.kill(os.getpid(), number)
            assert signal.getsignal(number) is signal.SIG_IGN
        assert request.signal_number is None
    finally:
        signal.signal(number, before)


TALKING = """
import os
from seqtrain.cells.rnn import RNNCell

print("on import")
os.system("echo from a process")

class Talking(RNNCell):
    def initial_state(self, batch_size):
        os.write(1, b"past Python\\n")
        return super().initial_state(batch_size)
"""


def test_whatever_a_cell_writes_the_result_is_one_json_object(start):
    Path("talking.py").write_text(TALKING)
    code, out, err = start(*TRAIN, "model.cell=talking:Talking", "--json").communicate()
    assert code == 0
    assert json.loads(out)["status"] == "finished"
    for written in ("on import", "from a process", "past Python"):
        assert written in err
