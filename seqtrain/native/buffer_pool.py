"""A pool of large arrays, which are reused from step to step.

Each training step needs the same few arrays of tens of megabytes. The first access to a page of new memory takes longer
than the arithmetic on it, so the pool keeps freed arrays for the next step. It never holds more memory than the arrays
that were in use at one time.
"""

import ctypes
import math
import mmap
import threading
import weakref
from collections import deque

import torch
from torch import Tensor

LARGE_PAGE = 2 << 20
SMALLEST = LARGE_PAGE // 2
"""Bytes; torch allocates smaller arrays."""
ROUNDED = 8 * LARGE_PAGE
"""Sizes from here on are rounded up to whole large pages; for smaller arrays this would waste too much memory."""


class _Pool:
    """Blocks of memory, and the number of bytes in use."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.returned: deque[mmap.mmap] = deque()  # by finalizers, which may run at any time, even during `take`
        self.free: list[mmap.mmap] = []  # the one that was freed last is the last
        self.used = self.peak = 0

    def take(self, size: int) -> mmap.mmap:
        """A block of at least `size` bytes, at most twice as large."""
        with self.lock:
            while self.returned:
                self.free.append(self.returned.popleft())
                self.used -= len(self.free[-1])
            fitting = [block for block in self.free if size <= len(block) <= 2 * size]
            if fitting:
                block = min(reversed(fitting), key=len)
                self.free.remove(block)
            else:
                block = self._fresh(size)
            self.used += len(block)
            self.peak = max(self.peak, self.used)
            return block

    def give_back(self, block: mmap.mmap) -> None:
        """Return a block that is no longer used. The finalizer of its tensor calls this, on any thread."""
        self.returned.append(block)

    def _fresh(self, size: int) -> mmap.mmap:
        while self.free and self.used + sum(map(len, self.free)) + size > max(self.peak, self.used + size):
            self.free.pop(0)
        try:
            block = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except OSError as error:
            raise MemoryError(f"the system has no {size:,} bytes for the recurrent engine") from error
        if hasattr(mmap, "MADV_HUGEPAGE"):
            block.madvise(mmap.MADV_HUGEPAGE)
        return block


_pool = _Pool()


def empty(*shape: int) -> Tensor:
    """An uninitialised array of float32 on the CPU."""
    count = math.prod(shape)
    size = 4 * count
    if size >= ROUNDED:
        size = -(-size // LARGE_PAGE) * LARGE_PAGE
    if size < SMALLEST or not hasattr(mmap, "MAP_PRIVATE"):
        return torch.empty(shape, dtype=torch.float32, device="cpu")
    block = _pool.take(size)
    owner = (ctypes.c_char * len(block)).from_buffer(block)  # lives as long as a tensor uses the memory
    weakref.finalize(owner, _pool.give_back, block).atexit = False
    array = torch.frombuffer(owner, dtype=torch.float32, count=count)
    return array.resize_(shape)  # no view, and no second owner of the memory: autograd may add to it in place
