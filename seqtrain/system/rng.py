"""Every random number comes from here: a generator for each purpose, named by what it is for.

Nothing is drawn from a stream that remembers how much was drawn before. The batch of step 700 is
`generator(seed, "train", 700)`, whether the run came there in one go, was resumed at 699, or only wants to look
at that batch.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derived_seed(*key: str | int) -> int:
    """A 63-bit seed that is the same for the same key everywhere, and unrelated between keys."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(*key: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for one purpose, e.g. `generator(seed, "train", step)`."""
    return torch.Generator(device).manual_seed(derived_seed(*key))


@contextmanager
def lent_global_generator(*key: str | int) -> Iterator[None]:
    """Seed torch's global generator for the body, then give it back as it was.

    Only for code that cannot be handed a generator: the constructors of torch's modules and of users' cells.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(*key))
        yield
