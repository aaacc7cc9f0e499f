"""How torch is set up, before it does any work."""

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


def versions() -> dict[str, str]:
    """What a result was made with."""
    return {name: version(name) for name in ("seqtrain", "torch")} | {"python": platform.python_version()}
