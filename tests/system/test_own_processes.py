"""Processes of our own, in a folder with files that have the names of modules."""

import subprocess
import sys
from pathlib import Path

import pytest

import seqtrain
from seqtrain.system.processes import python_command

NAMES = ("copy", "signal", "queue", "statistics", "random", "types", "numpy", "yaml", "typer", "rich")


@pytest.fixture
def shadowed(tmp_path, monkeypatch):
    """The current folder, in which these names belong to the user."""
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text("print('mine')\nraise RuntimeError('of the user')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(seqtrain.__file__).parents[1]))


@pytest.mark.usefixtures("shadowed")
@pytest.mark.parametrize("command", [python_command("seqtrain", "--version"), [sys.executable, "-m", "seqtrain", "-h"]])
def test_a_file_of_the_current_folder_is_none_of_our_modules(command):
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "seqtrain" in ran.stdout
    assert "mine" not in ran.stdout


def test_the_current_folder_is_searched_last_and_only_if_this_process_searches_it(tmp_path, monkeypatch):
    """A module that a cell imports late is found here and there, or nowhere."""
    monkeypatch.chdir(tmp_path)
    elsewhere = [folder for folder in sys.path if folder not in ("", str(tmp_path))]
    root = str(Path(seqtrain.__file__).parents[1])
    for path, added in ((elsewhere, [root]), (["", *elsewhere], [root, str(tmp_path)])):
        monkeypatch.setattr(sys, "path", path)
        assert f"sys.path += {added!r};" in python_command("seqtrain")[3]
