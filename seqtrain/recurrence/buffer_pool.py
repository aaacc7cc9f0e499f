"""Large arrays that are used again.

A training step asks for the same few arrays of tens of megabytes each time. From the system they come as fresh pages,
and touching a fresh page costs more than the arithmetic on it: here a freed array waits for the next step. What is held
is never more than the arrays that were once in use at the same time.
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
"""Less than this comes from torch."""
ROUNDED = 8 * LARGE_PAGE
"""From here on sizes are whole large pages; of less, too much of the last one would lie idle."""


class _Pool:
    """Blocks of memory, and how many bytes of them are in use."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.returned: deque[mmap.mmap] = deque()  # by finalizers, which may come at any moment, also amid `take`
        self.free: list[mmap.mmap] = []  # the last one freed at the end
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
        """The block is not used any more. Called when its tensor dies, on whatever thread that is."""
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
    """An array of float32 on the CPU with anything in it."""
    count = math.prod(shape)
    size = 4 * count
    if size >= ROUNDED:
        size = -(-size // LARGE_PAGE) * LARGE_PAGE
    if size < SMALLEST or not hasattr(mmap, "MAP_PRIVATE"):
        return torch.empty(shape, dtype=torch.float32, device="cpu")
    block = _pool.take(size)
    owner = (ctypes.c_char * len(block)).from_buffer(block)  # lives as long as a tensor uses its memory
    weakref.finalize(owner, _pool.give_back, block).atexit = False
    flat = torch.frombuffer(owner, dtype=torch.float32, count=count)
    array = torch.empty(0, dtype=torch.float32, device="cpu")
    return array.set_(flat.untyped_storage(), 0, shape, torch.empty(shape, device="meta").stride())  # no view of flat
