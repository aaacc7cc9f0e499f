"""Random numbers: a generator for each purpose, which depends on its key alone.

No generator is shared between steps. The batch of step 700 is drawn from `generator(seed, "train", 700)`, whether the
run reached this step at once, was resumed at step 699, or needs only this batch.
"""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_GLOBAL = threading.RLock()
"""Held while a thread has torch's global generator, which all threads share."""


def derived_seed(*key: str | int) -> int:
    """A 63-bit seed, equal for equal keys on every machine and independent for different keys."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(*key: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for one purpose, such as `generator(seed, "train", step)`."""
    return torch.Generator(device).manual_seed(derived_seed(*key))


@contextmanager
def seeded_global_generator(*key: str | int) -> Iterator[None]:
    """Seed torch's global generator inside the context, and restore its state afterwards; one thread at a time.

    Only for code that takes no generator: the constructors of torch's modules and of users' cells.
    """
    with _GLOBAL, torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(*key))
        yield
