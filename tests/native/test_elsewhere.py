"""The engine of other machines and compilers; the whole check is a command, see elsewhere.py."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
import elsewhere

SOURCE = elsewhere.CHECKOUT / "seqtrain/native/csrc/engine.cpp"


@pytest.mark.skipif(
    not all(map(shutil.which, ("aarch64-linux-gnu-g++", "qemu-aarch64"))),
    reason="there is no ARM64 compiler and emulator",
)
def test_every_kernel_on_arm64(tmp_path):
    program = elsewhere.compiled(["aarch64-linux-gnu-g++", "-O0", "-static"], tmp_path)
    worst, calls = elsewhere.check(["qemu-aarch64", program], [(3, 7, 3, 6)])
    assert worst < 2e-5
    assert calls > 100


@pytest.mark.skipif(shutil.which("clang++") is None, reason="there is no clang")
def test_clang_takes_the_source():
    command = [
        "clang++",
        "-fsyntax-only",
        "-Wall",
        "-Werror",
        "-std=c++17",
        "-mavx512f",
        "-mavx512dq",
        "-mavx512vl",
        "-mfma",
        SOURCE,
    ]
    assert subprocess.run(command, check=False, capture_output=True, text=True).stderr == ""
