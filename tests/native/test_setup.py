"""setup.py builds the variants that the machine and the compiler can have, and notes why not the others."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]

COMPILER = """#!/bin/sh
# Knows no AVX-512; what it compiles is empty.
echo "$@" >> {folder}/commands
case "$*" in *-mavx512f*) echo "c++: error: no such option: -mavx512f" >&2; exit 1;; esac
while [ "$#" -gt 1 ]; do [ "$1" = -o ] && : > "$2"; shift; done
"""


@pytest.fixture
def build(tmp_path):
    """Build in a copy, by another compiler: the notes, and the libraries that there are then."""
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, tmp_path)
    native = tmp_path / "seqtrain/native"
    shutil.copytree(CHECKOUT / "seqtrain/native/csrc", native / "csrc")
    compiler = tmp_path / "compiler"
    compiler.write_text(COMPILER.format(folder=tmp_path))
    compiler.chmod(0o755)

    def build(machine="x86_64", compiler=compiler, **more):
        code = f"import platform, runpy; platform.machine = lambda: {machine!r}; runpy.run_path('setup.py')"
        command = [sys.executable, "-c", code, "-q", "build_ext", "--inplace"]
        environment = {**os.environ, "CC": str(compiler), "CXX": str(compiler), **more}
        environment.pop("ARCHFLAGS", None)
        ended = subprocess.run(command, check=False, cwd=tmp_path, env=environment, capture_output=True, text=True)
        notes = native / "not_built.json"
        there = sorted(path.stem.removeprefix("engine_") for path in native.glob("engine_*"))
        return ended, json.loads(notes.read_text()) if notes.exists() else None, there

    return build


@pytest.mark.skipif(os.name == "nt", reason="the compiler is a shell script")
def test_each_variant_alone_may_fail(build, tmp_path):
    (tmp_path / "seqtrain/native/engine_avx512.so").touch()  # of an earlier installation
    ended, notes, there = build()
    assert ended.returncode == 0
    assert notes == {"avx512": "c++: error: no such option: -mavx512f"}
    assert there == ["avx2", "portable"]
    assert "no such option" in ended.stdout + ended.stderr
    commands = (tmp_path / "commands").read_text()
    assert "-std=c++17" in commands
    assert "openmp" not in commands
    ended, notes, there = build(SEQTRAIN_REQUIRE_ENGINE="1")
    assert ended.returncode == 1
    assert "the engine cannot be built" in ended.stderr


@pytest.mark.skipif(os.name == "nt", reason="the compiler is a shell script")
def test_another_machine_has_one_variant(build, tmp_path):
    ended, notes, there = build("aarch64")
    assert (ended.returncode, notes, there) == (0, {}, ["portable"])
    assert "-mavx" not in (tmp_path / "commands").read_text()


@pytest.mark.skipif(os.name == "nt", reason="the compiler is a shell script")
def test_without_a_compiler_all_is_noted(build, tmp_path):
    ended, notes, there = build("aarch64", compiler=tmp_path / "none")
    assert (ended.returncode, there) == (0, [])
    assert "none" in notes["portable"]
