"""Set up torch and the C library before they do any work."""

import ctypes
import os
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

import torch


def prepare(threads: int | None) -> None:
    """Flush subnormal floats to zero in every thread, and set how many threads there are.

    This must run before torch starts its thread pool, because worker threads inherit the mode when they start. Where
    only the last step has a loss, gradients decay into subnormals on their way back through time, and a step on a CPU
    then takes many times as long.
    """
    torch.set_flush_denormal(True)
    torch.get_num_threads()  # a thread takes over the number of torch at its first use, then it keeps its own
    if threads is not None:
        torch.set_num_threads(threads)
    elif _usual is not None:
        torch.set_num_threads(_usual)


def prepare_gpu() -> None:
    """Let CUDA compute as exactly as it is asked to, and repeatably. It must run before CUDA is used.

    By default cuDNN rounds the factors of its products to TF32, with 10 bits behind the point, although float32 is
    asked for; other products of torch are not rounded. And the recurrent functions of cuDNN give the same bits again
    only with a workspace of a fixed size (PyTorch's documentation of `nn.LSTM`).
    """
    torch.backends.cudnn.allow_tf32 = False
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:2")


def why_no_device(name: str) -> str | None:
    """Why this machine cannot compute on `cpu`, `cuda`, `cuda:1` and so on; None if it can."""
    count = torch.cuda.device_count()
    there = ["cpu", *(["cuda"] if count else []), *(f"cuda:{number}" for number in range(count))]
    return None if name in there else f"PyTorch finds {count} CUDA devices here"


_LOCK = threading.Lock()
_within, _usual = 0, None
"""How many contexts of `settings_restored` there are, and the number of threads before the first of them."""


@contextmanager
def settings_restored() -> Iterator[None]:
    """Leave torch's number of threads and the mode of this thread as the user's program had them.

    Several threads of a program may train at the same time. A new thread would begin with the number that another one
    has set for its own run, so `prepare(None)` sets the one from before the first of them.
    """
    global _within, _usual
    with _LOCK:
        if not _within:
            _usual = torch.get_num_threads()
        _within += 1
    flushes = _TINY * 1.0 == 0
    try:
        yield
    finally:
        torch.set_flush_denormal(flushes)
        with _LOCK:
            assert _usual is not None
            torch.set_num_threads(_usual)
            _within -= 1
            if not _within:
                _usual = None


_TINY = 5e-324
"""The smallest float64: zero where subnormal numbers are flushed."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread on the CPU: to wake another takes longer than it saves where there is little to do."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
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
