"""Find and load the compiled engine. Its source is in the folder `csrc`."""

import ctypes
import os
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import torch

VARIANTS = ("avx512", "avx2", "portable")
"""The engine is compiled for three kinds of processor; an installation has the variants that its compiler can build."""

INTERFACE = 3
"""Version of the arguments of its functions; the same number as `seqtrain_interface` in csrc/engine.cpp."""


def variant() -> str:
    """The variant for this processor, or the one that the environment variable `SEQTRAIN_NATIVE` names."""
    capability = torch.backends.cpu.get_cpu_capability().lower()
    return os.environ.get("SEQTRAIN_NATIVE") or (capability if capability in VARIANTS else "portable")


def library() -> ctypes.CDLL | str:
    """The engine for this processor, or the reason why there is none."""
    return _load(variant())


@cache
def _load(variant: str) -> ctypes.CDLL | str:
    if variant not in VARIANTS:
        return f"there is no engine {variant!r}; SEQTRAIN_NATIVE may be {', '.join(VARIANTS)}"
    candidates = (Path(__file__).with_name(f"engine_{variant}{suffix}") for suffix in EXTENSION_SUFFIXES)
    path = next(filter(Path.exists, candidates), None)
    if path is None:
        return f"the compiled engine for {variant} is missing; install seqtrain where there is a C++ compiler"
    try:
        engine = ctypes.CDLL(str(path))
        version = engine.seqtrain_interface()
    except (OSError, AttributeError) as error:
        return f"the compiled engine cannot be loaded ({error}); install seqtrain anew on this machine"
    if version != INTERFACE:
        return "the compiled engine is of another version of seqtrain; install seqtrain anew"
    return engine


def call(function: str, *arguments: Any) -> None:
    """Call a function of the engine, which must be installed.

    Raises
    ------
    MemoryError : the engine cannot allocate memory.
    """
    engine = library()
    assert not isinstance(engine, str), engine
    if getattr(engine, function)(*arguments):
        raise MemoryError("the recurrent engine found no memory")
