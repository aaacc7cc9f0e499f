"""What identifies the code of a user's cell, and importing it by its file."""

import sys
from pathlib import Path

import pytest

from seqtrain.config.plugins import import_class
from seqtrain.config.user_code import fingerprint
from seqtrain.models.settings import UserCell


def import_cell(name, folder):
    return import_class(UserCell(name=name, folder=folder))


CELL = """
from typing import NamedTuple
import torch
from seqtrain.cells import Cell
import shared_helper


class State(NamedTuple):
    hidden: torch.Tensor


class Mine(Cell):
    def project(self, x):
        return x[..., :1].expand(*x.shape[:-1], self.hidden_size)

    def step(self, x_gates, state):
        return State(x_gates * shared_helper.FACTOR)

    def initial_state(self, batch_size):
        return State(torch.zeros(batch_size, self.hidden_size))
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write files by their names; modules of these names are forgotten in the end."""
    before = dict(sys.modules)
    monkeypatch.chdir(tmp_path)

    def write(folder, **files):
        for name, content in files.items():
            path = tmp_path / folder / f"{name.replace('__', '/', 1)}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return (tmp_path / folder).resolve()

    yield write
    for name in sys.modules.keys() - before.keys():
        if name.partition(".")[0] in ("mine", "shared_helper", "other"):
            del sys.modules[name]


def test_comments_docstrings_and_layout_do_not_count_and_code_does(write):
    folder = write("a", mine="x = 1\ndef f(a):\n    return a + x\n")
    one = fingerprint(folder, "mine")
    write(
        "a",
        mine='"""What it is."""\n\nx = 1  # a number\n\n\ndef f(a):\n    """Adds."""\n    return (a\n        + x)\n',
    )
    assert fingerprint(folder, "mine") == one
    write("a", mine="x = 1\ndef f(a):\n    return a - x\n")
    assert fingerprint(folder, "mine") != one


@pytest.mark.parametrize(
    ("line", "file"),
    [
        ("import other", "other.py"),
        ("from other import y", "other.py"),
        ("def f():\n    import other", "other.py"),
        ("import package.inner as i", "package/inner.py"),
        ("from package import inner", "package/inner.py"),
        ("import package.inner", "package/__init__.py"),
        ("import package.inner", "package/sibling.py"),
    ],
)
def test_modules_that_it_imports_from_its_folder_count(write, line, file):
    folder = write("a", mine=f"{line}\n", other="y = 1\n", unused="y = 1\n", package__sibling="y = 1\n")
    write("a", package____init__="", package__inner="from . import sibling\n")
    one = fingerprint(folder, "mine")
    write("a", unused="y = 2\n")
    assert fingerprint(folder, "mine") == one
    (folder / file).write_text("y = 2\n")
    assert fingerprint(folder, "mine") != one


def test_the_same_code_in_another_folder_has_the_same_fingerprint(write):
    one, other = (write(name, mine="import other\n", other="y = 1\n") for name in ("a", "b"))
    assert fingerprint(one, "mine") == fingerprint(other, "mine")


def test_cells_of_one_name_in_two_folders_keep_their_code_and_their_helpers(write):
    folders = [write(name, mine=CELL, shared_helper=f"FACTOR = {n}\n") for n, name in enumerate(("a", "b"))]
    import torch

    def factor(folder):
        return float(import_cell("mine:Mine", str(folder))(1, 1).step(torch.ones(1, 1), None).hidden)

    assert [factor(folder) for folder in (*folders, *folders)] == [0, 1, 0, 1]
    first = import_cell("mine:Mine", str(folders[0]))
    assert import_cell("mine:Mine", str(folders[0])) is first
    write("a", shared_helper="FACTOR = 5\n")
    assert [factor(folder) for folder in folders] == [5, 1]


def test_a_module_of_the_program_is_used_if_it_is_the_file_and_left_alone_if_not(write, monkeypatch):
    one, other = (write(name, mine=CELL, shared_helper="FACTOR = 1\n") for name in ("a", "b"))
    monkeypatch.syspath_prepend(str(one))
    import mine

    assert import_cell("mine:Mine", str(one)) is mine.Mine
    assert import_cell("mine:Mine", str(other)) is not mine.Mine
    assert sys.modules["mine"] is mine


def test_path_and_current_folder_are_as_before(write):
    folder, path = write("a", mine=CELL, shared_helper="FACTOR = 1\n"), list(sys.path)
    import_cell("mine:Mine", str(folder))
    assert sys.path == path
    assert Path.cwd() != folder


@pytest.mark.parametrize(
    "line", ["import helper", "import importlib; helper = importlib.import_module('helper')"], ids=["import", "call"]
)
@pytest.mark.parametrize("place", ["cells", "."])
def test_helpers_of_the_current_folder_and_of_import_module_are_part_of_the_code(tmp_path, monkeypatch, line, place):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells/mine.py").write_text(f"{line}\n")
    before = fingerprint(tmp_path / "cells", "mine")
    (tmp_path / place / "helper.py").write_text("K = 1\n")
    first = fingerprint(tmp_path / "cells", "mine")
    (tmp_path / place / "helper.py").write_text("K = 2  # changed\n")
    second = fingerprint(tmp_path / "cells", "mine")
    (tmp_path / place / "helper.py").write_text("K = 2\n")
    assert len({before, first, second}) == 3
    assert fingerprint(tmp_path / "cells", "mine") == second
