"""Signals as a request to save and stop, which the training loop follows between two steps."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """The signal that asked to stop, None so far."""

    signal_number: int | None = None


NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
"""Ctrl-C, a machine that shuts down, a connection that breaks, a batch system before its time limit."""


@contextmanager
def stop_requests(*, insistent: bool = True) -> Iterator[StopRequest]:
    """Note the first of these signals; a second one acts as it did before. One that is ignored stays ignored.

    A handler that is not of Python, None, stays too, as it could not be restored. Only the main thread can receive
    signals; in another thread nothing is noted.

    Parameters
    ----------
    insistent : if not, a second one is noted as well. `torchrun` sends one right after that of the terminal, and kills
        what does not end soon.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    known = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]  # Windows has no SIGHUP
    handlers = {number: signal.getsignal(number) for number in known}
    before = {number: handler for number, handler in handlers.items() if handler not in (signal.SIG_IGN, None)}

    def note(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        request.signal_number = number
        for other in before if insistent else ():
            signal.signal(other, before[other])

    for number in before:
        signal.signal(number, note)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
