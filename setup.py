"""Build the engine: one C++ source, compiled for several kinds of processor.

The engine is optional: where a build of it fails, seqtrain installs all the same and runs without it. What was not
built, and why, is written to seqtrain/native/not_built.json, so that seqtrain can say so. Everything else is in
pyproject.toml.
"""

import json
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

SOURCES = Path("seqtrain/native/csrc")
REPORT = "not_built.json"
SUFFIX = ".pyd" if os.name == "nt" else ".so"

VARIANTS = {
    "avx512": ["-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma"],
    "avx2": ["-mavx2", "-mfma"],
    "portable": [],
}
"""What a compiler is told for each kind of processor; all but the last are for x86-64."""

OPTIONS = ["-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"]
UNIX = ["-std=c++17", "-O3", "-pthread", "-fvisibility=hidden", *OPTIONS]
CLANG_CL = ["/std:c++17", *(f"/clang:{option}" for option in ("-O3", *OPTIONS))]


class BuildEngine(build_ext):
    """Builds what it can, and writes down what it cannot."""

    def build_extensions(self) -> None:
        """Build all variants again: another compiler or other options may have built the files that exist."""
        self.force = True
        self.not_built: dict[str, str] = {}
        Path(self.build_lib, SOURCES.parent).mkdir(parents=True, exist_ok=True)
        super().build_extensions()
        Path(self.build_lib, SOURCES.parent, REPORT).write_text(json.dumps(self.not_built, indent=2) + "\n")
        if self.not_built and os.environ.get("SEQTRAIN_REQUIRE_ENGINE"):
            raise SystemExit(f"the engine cannot be built: {self.not_built}")

    def build_extension(self, ext: Extension) -> None:
        """Build a variant, or keep the reason why not."""
        Path(self.get_ext_fullpath(ext.name)).unlink(missing_ok=True)
        output: list[str] = []
        try:
            self._prepare(ext)
            with _collected(output):
                super().build_extension(ext)
        except Exception as error:
            reason = next((line.strip() for line in output if re.search(r"\berror[ :]", line)), str(error))
            self.not_built[_variant(ext)] = reason
            self.warn(f"the engine for {_variant(ext)} cannot be built: {reason}")

    def _prepare(self, ext: Extension) -> None:
        """Choose the compiler and its options."""
        ext.extra_compile_args = UNIX + VARIANTS[_variant(ext)]
        ext.extra_link_args = ["-pthread"]
        if self.compiler.compiler_type == "msvc":  # it has no vector extensions; clang-cl has
            if not self.compiler.initialized:
                self.compiler.initialize(self.plat_name)
            self.compiler.cc = shutil.which("clang-cl")
            if self.compiler.cc is None:
                raise FileNotFoundError("there is no clang-cl; install LLVM beside Visual Studio's build tools")
            ext.extra_compile_args = CLANG_CL + VARIANTS[_variant(ext)]
            ext.extra_link_args = []

    def copy_extensions_to_source(self) -> None:
        """For an editable installation."""
        super().copy_extensions_to_source()
        for name in (REPORT, *(f"engine_{variant}{SUFFIX}" for variant in VARIANTS)):
            built = Path(self.build_lib, SOURCES.parent, name)
            if built.exists():
                shutil.copy2(built, SOURCES.parent)
            else:
                (SOURCES.parent / name).unlink(missing_ok=True)  # of an earlier installation

    def get_ext_filename(self, fullname: str) -> str:
        """The engine is a library without Python: any version of Python can load it."""
        return fullname.replace(".", os.sep) + SUFFIX

    def get_export_symbols(self, ext: Extension) -> list[str]:  # noqa: ARG002
        """What the source exports, and no function that initialises a module."""
        return []


class Wheel(bdist_wheel):
    """A wheel for any version of Python."""

    def get_tag(self) -> tuple[str, str, str]:
        """The tags of its name."""
        return "py3", "none", super().get_tag()[2]


def _variant(ext: Extension) -> str:
    return ext.name.rpartition("engine_")[2]


@contextmanager
def _collected(lines: list[str]) -> Iterator[None]:
    """Collect the lines that compilers write, which is known at the end; show them then."""
    kept = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile("w+", errors="replace") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept[0], 1)
            os.dup2(kept[1], 2)
            for number in kept:
                os.close(number)
            file.seek(0)
            lines += file.read().splitlines()
            print(*lines, sep="\n")


def variants() -> list[str]:
    """Those for the machine that is built for, which is another one only in ARCHFLAGS (macOS)."""
    machine = os.environ.get("ARCHFLAGS", "").rpartition("-arch ")[2].strip() or platform.machine()
    return [*VARIANTS] if machine in ("x86_64", "AMD64") else ["portable"]


setup(
    ext_modules=[
        Extension(
            f"seqtrain.native.engine_{variant}",
            sources=[str(SOURCES / "engine.cpp")],
            depends=[str(path) for path in sorted(SOURCES.iterdir())],
            language="c++",
            optional=True,
        )
        for variant in variants()
    ],
    cmdclass={"build_ext": BuildEngine, "bdist_wheel": Wheel},
)
