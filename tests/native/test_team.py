"""The threads of the engine."""

import ctypes
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import forked
import pytest
import torch

from seqtrain.cells import LSTMCell
from seqtrain.native import gemm
from seqtrain.native.library import call, library
from seqtrain.recurrence import autograd, unroll_fused, unroll_reference

pytestmark = pytest.mark.skipif(isinstance(library(), str), reason="there is no compiled engine")

ROWS, UNITS = (8, 40), (2, 200)
"""Batch and hidden size: threads divide the rows of the first, and the hidden units of the second."""


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def gradients(run, cell, x):
    cell.zero_grad()
    run(cell, x)[0].square().sum().backward()
    return [parameter.grad.clone() for parameter in cell.parameters()]


def in_new_thread(work):
    """Run it on a thread that has no workers yet."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


@contextmanager
def no_new_threads():
    """The system refuses to start threads, as it has no room for so large a stack."""
    libc, before, none = ctypes.CDLL(None), (ctypes.c_char * 256)(), (ctypes.c_char * 256)()
    assert libc.pthread_getattr_default_np(before) == libc.pthread_attr_init(none) == 0
    assert libc.pthread_attr_setstacksize(none, ctypes.c_size_t(1 << 46)) == 0
    assert libc.pthread_setattr_default_np(none) == 0
    try:
        yield
    finally:
        assert libc.pthread_setattr_default_np(before) == 0


def numbers_of_threads():
    return {path.name for path in Path("/proc/self/task").iterdir()}


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is one of glibc")
@pytest.mark.parametrize("there", [1, 2])
@pytest.mark.parametrize(("B", "H"), [ROWS, UNITS])
def test_fewer_threads_than_asked_for(B, H, there, monkeypatch):
    """What cannot be started is left out; those that there are do everything."""
    cell, x, calls = LSTMCell(6, H), torch.randn(20, B, 6), []

    def call_without_new_threads(function, *arguments):
        with no_new_threads():
            before = numbers_of_threads()
            call(function, *arguments)
            calls.append(numbers_of_threads() - before)

    def work():
        torch.set_num_threads(there)
        gradients(unroll_fused, cell, x)
        torch.set_num_threads(4)
        for module in (autograd, gemm):
            monkeypatch.setattr(module, "call", call_without_new_threads)
        found = gradients(unroll_fused, cell, x)
        torch.set_num_threads(1)
        return found

    for a, b in zip(in_new_thread(work), gradients(unroll_reference, cell, x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    assert len(calls) > 3
    assert not any(calls)


@pytest.mark.parametrize(("B", "H"), [ROWS, UNITS])
def test_several_threads_call_at_once(B, H):
    """Each gets what it would get alone, to the byte."""
    start = threading.Barrier(4)
    cells = [LSTMCell(6, H) for _ in range(4)]
    x = torch.randn(20, B, 6)

    def work(cell):
        torch.set_num_threads(3)
        alone = gradients(unroll_fused, cell, x)
        start.wait()
        return all(
            torch.equal(a, b) for _ in range(10) for a, b in zip(alone, gradients(unroll_fused, cell, x), strict=True)
        )

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, cells))


@pytest.mark.skipif(sys.platform != "linux", reason="the system counts threads elsewhere")
def test_workers_are_kept_and_end_with_the_thread_that_called():
    cell, x = LSTMCell(6, 40), torch.randn(20, 8, 6)

    def work():
        seen = [numbers_of_threads()]
        for threads in (3, 3, 2, 5, 3):
            torch.set_num_threads(threads)
            gradients(unroll_fused, cell, x)
            seen.append(numbers_of_threads() - seen[0])  # others may end meanwhile
        return seen[1:]

    seen = in_new_thread(work)
    assert [len(numbers) for numbers in seen] == [2, 2, 2, 4, 4]
    assert seen[0] == seen[1] == seen[2] < seen[3] == seen[4]
    for _ in range(500):
        if not numbers_of_threads() & seen[4]:
            break
        threading.Event().wait(0.01)
    assert not numbers_of_threads() & seen[4]


@pytest.mark.skipif(sys.platform != "linux", reason="the system counts threads elsewhere")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_has_workers_of_its_own(threads):
    cell, x = LSTMCell(6, 40), torch.randn(20, 8, 6)
    threads(3)
    before = gradients(unroll_fused, cell, x)

    def fork_twice(depth):
        """0 if all was well in the child, and in a child of it."""
        if child := os.fork():
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        failed = 1
        try:
            signal.alarm(60)
            alone = len(numbers_of_threads())
            again = gradients(unroll_fused, cell, x)
            same = all(torch.equal(a, b) for a, b in zip(before, again, strict=True))
            failed = (alone, len(numbers_of_threads()), same) != (1, 3, True) or (depth < 2 and fork_twice(depth + 1))
        finally:
            os._exit(int(failed))  # torch's own threads, which are not there, would break its end

    assert fork_twice(1) == 0
    assert all(torch.equal(a, b) for a, b in zip(before, gradients(unroll_fused, cell, x), strict=True))


def test_the_process_ends_although_workers_wait():
    child = forked.Forked(WAITING)
    try:
        code, out, _ = child.communicate(30)  # Triton, if a test before has loaded it, writes to stderr at the end
        assert (code, out) == (0, "")
    finally:
        child.close()


WAITING = """
import threading, torch
from seqtrain.cells import LSTMCell
from seqtrain.recurrence import unroll

def call():
    torch.set_num_threads(3)
    unroll(LSTMCell(6, 40), torch.randn(20, 8, 6), engine="fused")

def call_and_stay():
    call()
    ready.set()
    threading.Event().wait()

ready = threading.Event()
threading.Thread(target=call_and_stay, daemon=True).start()
ready.wait()
call()
"""


def test_there_is_no_second_openmp():
    content = Path(library()._name).read_bytes()
    assert b"seqtrain_run" in content
    assert b"libgomp" not in content
    assert b"libomp" not in content
