"""How torch is set up, before it does any work."""

import ctypes
import platform
from importlib.metadata import version

import torch


def prepare(threads: int | None) -> None:
    """Flush subnormal floats to zero in every thread, and set how many threads there are.

    Must run before torch starts its thread pool, since worker threads inherit the mode only then. When the loss
    stands at the last step alone, back-propagated gradients decay into subnormals, and a step on a CPU takes many
    times as long without this.
    """
    torch.set_flush_denormal(True)
    if threads is not None:
        torch.set_num_threads(threads)


def keep_freed_memory() -> bool:
    """Keep large freed arrays in the process, where the C library lets us; returns whether it does.

    By default glibc gives each large array back to the system when it is freed and asks for fresh pages for the next
    one, a training step later. Touching fresh pages can take longer than computing what goes into them: the step of
    a word model took 169 ms without this and 125 with it (docs/LOG.md, 2026-11-21).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another C library, or another system
        return False
    never_by_mmap = mallopt(_M_MMAP_MAX, 0)
    never_trim = mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    return bool(never_by_mmap and never_trim)


_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
"""Of glibc's malloc.h."""


def versions() -> dict[str, str]:
    """What a result was made with."""
    return {name: version(name) for name in ("seqtrain", "torch")} | {"python": platform.python_version()}
