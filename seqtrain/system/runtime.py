"""Set up torch and the C library before they do any work."""

import ctypes
import platform
from importlib.metadata import version

import torch


def prepare(threads: int | None) -> None:
    """Flush subnormal floats to zero in every thread, and set how many threads there are.

    This must run before torch starts its thread pool, because worker threads inherit the mode when they start. Where
    only the last step has a loss, gradients decay into subnormals on their way back through time, and a step on a CPU
    then takes many times as long.
    """
    torch.set_flush_denormal(True)
    if threads is not None:
        torch.set_num_threads(threads)


def keep_freed_memory() -> bool:
    """Keep the memory of large freed arrays in the process; returns whether the C library can do that.

    By default glibc returns each large array to the system when it is freed, and requests new pages for the next one.
    The first access to new pages can take longer than the computation: the step of a word model took 169 ms without
    this and 125 ms with it (docs/LOG.md, 2026-11-21).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # a C library or a system without mallopt
        return False
    never_by_mmap = mallopt(_M_MMAP_MAX, 0)
    never_trim = mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    return bool(never_by_mmap and never_trim)


_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
"""Parameters of mallopt, from glibc's malloc.h."""


def versions() -> dict[str, str]:
    """The versions of seqtrain, torch and Python, for a summary."""
    return {name: version(name) for name in ("seqtrain", "torch")} | {"python": platform.python_version()}
