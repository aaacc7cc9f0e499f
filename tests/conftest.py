"""What all tests share. Maths runs in float64; nothing here needs the network or a GPU."""

import functools
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import forked
import pytest
from hypothesis import settings

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # before torch is loaded; see seqtrain/__init__.py
import torch
import typer.main

from seqtrain.__main__ import main
from seqtrain.comparison import plots
from seqtrain.models import Prediction
from seqtrain.runs import curve

settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")  # the suite judges a change, not the luck of a draw


@pytest.fixture(scope="session", autouse=True)
def _one_setting_for_all() -> None:
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)  # tensors here are tiny


as_png = curve.as_png
"""Draws a learning curve. Only the tests of curves do, as it takes longer than the training of most others."""


encoded = plots.encoded
"""Makes a picture of a plot of a comparison, which takes longer than the plot; see `drawn_in_full`."""


@pytest.fixture(scope="session", autouse=True)
def _instead_of_a_picture() -> None:
    curve.as_png = lambda *_: b"not drawn"
    plots.encoded = lambda *_: b"not drawn"


@pytest.fixture
def drawn_in_full(monkeypatch) -> None:
    """The pictures of comparisons are real ones: for tests of pictures, and of names and numbers that may break one."""
    monkeypatch.setattr(plots, "encoded", encoded)


@pytest.fixture(scope="session", autouse=True)
def _one_parser() -> None:
    """Typer makes the parser of the command line at each call, always the same one; here it is made once."""
    typer.main.get_command = functools.cache(typer.main.get_command)


flush = os.fsync


def _no_flush(file: Any) -> None:
    """Flush what is no file and no folder, or is not open: that may fail. The others need not outlive this machine."""
    mode = os.fstat(file if isinstance(file, int) else file.fileno()).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        flush(file)


@pytest.fixture(scope="session", autouse=True)
def _quick_disk() -> None:
    """Nobody waits for the disk in this process; processes that tests start do."""
    os.fsync = _no_flush


@pytest.fixture
def float64():
    """Build modules and tensors in double precision for the length of a test."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


class Called(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def remarks(self) -> str:
        """Standard error before its last line, which says what to do next."""
        lines = self.err.splitlines(keepends=True)
        assert lines.pop().startswith("next: ")
        return "".join(lines)


@pytest.fixture
def seqtrain(monkeypatch, tmp_path, capsys) -> Callable[..., Called]:
    """The command line, in this process and in an empty folder: `seqtrain("train", "quickstart", "--json")`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)  # as pytest-xdist sets it

    def call(*arguments: object) -> Called:
        monkeypatch.setattr(sys, "argv", ["seqtrain", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
            raise SystemExit(0)
        out, err = capsys.readouterr()
        return Called(ended.value.code or 0, out, err)

    return call


@pytest.fixture
def start() -> Iterator[Callable[..., forked.Forked]]:
    """The command line as a process: `start("train", "quickstart")`; with `code`, which runs it in another way."""
    started = []

    def start(*arguments: object, code: str = forked.SEQTRAIN, **options: Any) -> forked.Forked:
        started.append(forked.Forked(code, *arguments, **options))
        return started[-1]

    yield start
    for process in started:
        process.close()


@pytest.fixture
def quick_check(monkeypatch) -> None:
    """The processes of `seqtrain check` are forked."""
    replaced = SimpleNamespace(run=forked.run, DEVNULL=subprocess.DEVNULL)
    monkeypatch.setattr("seqtrain.inference.verification.subprocess", replaced)


@pytest.fixture
def text_folder(tmp_path) -> Path:
    """A tiny corpus in the usual layout."""
    folder = tmp_path / "text"
    folder.mkdir()
    for split, count in (("train", 60), ("valid", 12), ("test", 12)):
        lines = [f"the {('cat', 'dog', 'bird')[n % 3]} saw {n % 5} trees\n" for n in range(count)]
        (folder / f"{split}.txt").write_text("".join(lines), encoding="utf-8")
    return folder


SMALL = (
    "model.hidden_size=6",
    "train.steps=4",
    "train.batch_size=4",
    "train.eval_every=2",
    "train.log_every=2",
)
"""Overrides that make any config quick."""

SMALL_SETS = ("task.valid_size=12", "task.test_size=12")
"""Likewise, for tasks that draw their own sequences."""


def answer(outputs: torch.Tensor) -> Prediction:
    """What a model would say whose head gives these outputs."""
    return Prediction(torch.nn.Identity(), outputs, outputs)


@pytest.fixture(scope="session")
def trained_comparison(tmp_path_factory) -> Path:
    """A folder in which rnn and gru were compared with two seeds."""
    from seqtrain.comparison import answer, parse_request

    folder, before = tmp_path_factory.mktemp("comparison"), Path.cwd()
    os.chdir(folder)
    try:
        targets = ("quickstart", *SMALL, *SMALL_SETS)
        answer(parse_request(targets, cells="rnn,gru", seeds=2, command="seqtrain compare quickstart"), quiet=True)
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def compared(seqtrain, trained_comparison, tmp_path) -> Callable[..., Called]:
    """The command line in a folder with a finished comparison, `runs/compare-quickstart`."""
    shutil.copytree(trained_comparison / "runs", tmp_path / "runs")
    return seqtrain
