"""Ignore warnings for a while, in one thread at a time: the filters are those of all threads of a process."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_FILTERS = threading.RLock()


@contextmanager
def warnings_ignored(category: type[Warning] = Warning) -> Iterator[None]:
    """Ignore warnings of a category inside the context. The context is for one thread at a time."""
    with _FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore", category)
        yield
