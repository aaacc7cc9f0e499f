"""Find and load the compiled engine. Its source is in the folder `csrc`."""

import ctypes
import json
import os
import platform
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

VARIANTS = ("avx512", "avx2", "portable")
"""The engine is compiled for three kinds of processor; an installation has the variants that its compiler can build."""

INTERFACE = 4
"""Version of the arguments of its functions; the same number as `seqtrain_interface` in csrc/engine.cpp."""

_NAMES = {"avx512": "AVX-512", "avx2": "AVX2"}


def variant() -> str:
    """The variant that runs: the one that `SEQTRAIN_NATIVE` in the environment names, or the best that there is."""
    if named := os.environ.get("SEQTRAIN_NATIVE"):
        return named
    fitting = VARIANTS[VARIANTS.index(processor()) :]
    return next((each for each in fitting if not isinstance(_load(each), str)), fitting[0])


def library() -> ctypes.CDLL | str:
    """The engine for this processor, or the reason why there is none."""
    return _load(variant())


@cache
def processor() -> str:
    """The best variant for this processor. The portable engine asks the processor."""
    engine = _load("portable")
    return "portable" if isinstance(engine, str) else _text(engine, "seqtrain_processor")


def missing() -> str | None:
    """Why the engine that should run, by the processor or by `SEQTRAIN_NATIVE`, is not there; None if it is."""
    engine = _load(os.environ.get("SEQTRAIN_NATIVE") or processor())
    return engine if isinstance(engine, str) else None


def describe() -> str:
    """Which engine runs, and why no better one: `avx2 (gcc 12.2.0); not avx512: this processor has no AVX-512`."""
    chosen, engine = variant(), library()
    if isinstance(engine, str):
        return f"none; {engine}"
    said = [f"{chosen} ({_text(engine, 'seqtrain_compiler')})"]
    if os.environ.get("SEQTRAIN_NATIVE"):
        said.append(f"SEQTRAIN_NATIVE asks for it; this processor can run {processor()}")
    elif platform.machine() in ("x86_64", "AMD64"):
        said += [f"not {better}: {_why_not(better)}" for better in VARIANTS[: VARIANTS.index(chosen)]]
    return "; ".join(said)


def _why_not(variant: str) -> ctypes.CDLL | str:
    if VARIANTS.index(variant) < VARIANTS.index(processor()):
        return f"this processor has no {_NAMES[variant]}"
    return _load(variant)


def _text(engine: ctypes.CDLL, function: str) -> str:
    """What a function of the engine says."""
    said = getattr(engine, function)
    said.restype = ctypes.c_char_p
    return str(said().decode().strip())


def _file(variant: str) -> str:
    return f"engine_{variant}{EXTENSION_SUFFIXES[-1]}"


@cache
def _load(variant: str) -> ctypes.CDLL | str:
    if variant not in VARIANTS:
        return f"there is no engine {variant!r}; SEQTRAIN_NATIVE may be {', '.join(VARIANTS)}"
    path = Path(__file__).with_name(_file(variant))
    if not path.exists():
        return f"the compiled engine for {variant} is missing{_why_not_built(variant)}"
    try:
        engine = ctypes.CDLL(str(path))
        version = engine.seqtrain_interface()
    except (OSError, AttributeError) as error:
        return f"the compiled engine cannot be loaded ({error}); install seqtrain anew on this machine"
    if version != INTERFACE:
        return "the compiled engine is of another version of seqtrain; install seqtrain anew"
    return engine


def _why_not_built(variant: str) -> str:
    """What setup.py wrote down when seqtrain was installed, and the cure."""
    try:
        reason = json.loads(Path(__file__).with_name("not_built.json").read_text()).get(variant)
    except (OSError, ValueError, AttributeError):
        reason = None
    said = f", as its compilation failed ({reason})" if reason else ""
    return f"{said}; install seqtrain anew where there is a C++ compiler"


def call(function: str, *arguments: Any) -> None:
    """Call a function of the engine, which must be installed.

    Raises
    ------
    MemoryError : the engine cannot allocate memory.
    IndexError : it was given a number that is out of range.
    """
    engine = library()
    assert not isinstance(engine, str), engine
    if status := getattr(engine, function)(*arguments):
        raise MemoryError("the engine found no memory") if status == 1 else IndexError("a number is out of range")
