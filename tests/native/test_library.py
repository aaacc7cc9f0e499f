"""Which engine is found, and what is said where one is missing."""

import json
import platform
import re
import shutil
from pathlib import Path

import pytest
import torch

from seqtrain.native import library as native
from seqtrain.native.library import VARIANTS, describe, library, missing, processor, variant

HERE = Path(native.__file__).parent

pytestmark = pytest.mark.skipif(isinstance(library(), str), reason="there is no compiled engine")


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """As if only these variants had been built, with the notes of the build."""
    monkeypatch.delenv("SEQTRAIN_NATIVE", raising=False)

    def install(*variants, best="avx512", notes=None):
        for each in variants:
            name = native._file(each)
            shutil.copy(HERE / name, tmp_path / name)
        if notes is not None:
            (tmp_path / "not_built.json").write_text(notes if isinstance(notes, str) else json.dumps(notes))
        monkeypatch.setattr(native, "__file__", str(tmp_path / "library.py"))
        monkeypatch.setattr(native, "processor", lambda: best)
        monkeypatch.setattr(platform, "machine", lambda: "x86_64")
        native._load.cache_clear()

    yield install
    native._load.cache_clear()


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="other processors have one variant")
def test_the_processor_is_asked():
    assert processor() == {"AVX512": "avx512", "AVX2": "avx2"}.get(torch.backends.cpu.get_cpu_capability(), "portable")


def test_the_best_there_is_runs(installed, monkeypatch):
    installed("portable", notes={"avx512": "error: no such option -mavx512f", "avx2": "error: the disk is full"})
    assert variant() == "portable"
    assert not isinstance(library(), str)
    wanted = "the compiled engine for avx512 is missing, as its compilation failed (error: no such option -mavx512f)"
    assert missing() == f"{wanted}; install seqtrain anew where there is a C++ compiler"
    assert re.fullmatch(
        r"portable \((gcc|clang) \d+.*\); not avx512: .*-mavx512f.*; not avx2: .*disk is full.*", describe()
    )
    monkeypatch.setenv("SEQTRAIN_NATIVE", "avx2")  # then no other runs in its place
    assert "the disk is full" in library()
    assert missing() == library()
    assert describe() == f"none; {library()}"


def test_a_lesser_processor_misses_nothing(installed):
    installed(*VARIANTS, best="portable")
    assert (variant(), missing()) == ("portable", None)
    assert describe().endswith("; not avx512: this processor has no AVX-512; not avx2: this processor has no AVX2")


@pytest.mark.parametrize("notes", [None, "{", "[]"])
def test_without_any_engine_the_reason_is_given_as_far_as_it_is_known(installed, notes):
    installed(best="portable", notes=notes)
    assert (
        describe()
        == "none; the compiled engine for portable is missing; install seqtrain anew where there is a C++ compiler"
    )


def test_a_broken_file_is_named(installed, tmp_path):
    installed("portable", best="avx2")
    (tmp_path / native._file("avx2")).write_bytes(b"not a library")
    assert variant() == "portable"
    assert "cannot be loaded" in missing()
    assert "not avx2: the compiled engine cannot be loaded" in describe()


def test_version_says_which_engine_there_is(seqtrain, monkeypatch):
    first, second = seqtrain("--version").out.splitlines()
    assert re.fullmatch(r"seqtrain \d+\.\d+\.\d+", first)
    assert second == f"engine: {describe()}"
    monkeypatch.setenv("SEQTRAIN_NATIVE", "portable")
    asked = seqtrain("--version").out
    assert re.search(r"engine: portable \(.*\); SEQTRAIN_NATIVE asks for it; this processor can run \w+\n", asked)


def test_bench_says_which_engine_there_is_and_why_no_better_one(seqtrain, installed):
    installed("portable", notes={"avx512": "error: no such option"})
    called = seqtrain("bench", "--cells", "rnn", "--shapes", "2,2,2,2", "--rounds", 3, "--json")
    assert called.json["engine"] == describe()
    assert called.json["rows"][0]["engine"] == "fused-portable"
    assert "engine: the compiled engine for avx512 is missing" in called.err
    assert "error: no such option" in called.err
    assert "what is timed as ours is the engine for portable" in called.err
