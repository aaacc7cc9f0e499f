"""What an installation carries, and that it works away from the checkout."""

import os
import platform
import shutil
import subprocess
import sys
import tomllib
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

import seqtrain
from seqtrain.native.library import VARIANTS
from seqtrain.system import shipped
from seqtrain.tasks.stories.corpus import write_corpus

CHECKOUT = Path(__file__).parents[1]


def test_the_embedded_corpus_is_what_its_command_writes(tmp_path):
    write_corpus(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["test.txt", "train.txt", "valid.txt"]
    for name in names:
        assert (tmp_path / name).read_bytes() == (shipped.folder("data") / "stories" / name).read_bytes()


def test_every_package_is_listed():
    listed = set(tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    root = Path(seqtrain.__file__).parent
    found = {".".join(("seqtrain", *path.parent.relative_to(root).parts)) for path in root.rglob("__init__.py")}
    assert found == {name for name in listed if "shipped" not in name}


def test_a_plain_install_finds_configs_and_text_from_anywhere(tmp_path):
    """Installed without the checkout and without a compiler: shipped configs and texts are found, and a run works."""
    target = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", target, CHECKOUT],
        check=True, capture_output=True, env=os.environ | {"CC": "false", "CXX": "false"},
    )  # fmt: skip
    work = tmp_path / "work"
    work.mkdir()
    environment = os.environ | {"PYTHONPATH": str(target)}
    where = "import seqtrain; print(seqtrain.__file__)"
    python = [sys.executable]
    found = subprocess.run(
        [*python, "-c", where], cwd=work, env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout.startswith(str(target))
    command = ["train", "words", "train.steps=1", "model.hidden_size=4", "--json"]
    ran = subprocess.run(
        [*python, "-m", "seqtrain", *command], cwd=work, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    wanted = "the compiled engine for portable is missing, as its compilation failed"
    assert f"engine: {wanted}" in ran.stderr
    said = subprocess.run(
        [*python, "-m", "seqtrain", "--version"], cwd=work, env=environment, capture_output=True, text=True, check=True
    )
    assert said.stdout.splitlines()[1].startswith(f"engine: none; {wanted}")
    assert "false" in said.stdout  # the compiler
    assert (target / "seqtrain" / "py.typed").exists()
    assert (target / "seqtrain" / "shipped_configs" / shipped.SCHEMA).exists()  # which completion reads


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no compiler")
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_engine_is_compiled_where_there_is_a_compiler(variant):
    """The installation goes on without the engine if it cannot be compiled: somebody has to notice."""
    if platform.machine() in ("x86_64", "AMD64") or variant == "portable":
        newest = max(path.stat().st_mtime for path in (CHECKOUT / "seqtrain/native/csrc").iterdir())
        compiled = CHECKOUT / f"seqtrain/native/engine_{variant}{EXTENSION_SUFFIXES[-1]}"
        assert compiled.stat().st_mtime >= newest, "older than its source: pip install -e ."
