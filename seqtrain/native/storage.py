"""How the factors of a product are stored: as float32, or rounded to bfloat16. The sums are float32 always.

As everywhere in PyTorch, `torch.autocast("cpu", torch.bfloat16)` asks for products in bfloat16.
"""

from enum import IntEnum
from typing import Literal

import torch
from torch import Tensor

from seqtrain.native.library import library, variant

Precision = Literal["float32", "bfloat16"]
"""Of the factors of matrix products."""


class Storage(IntEnum):
    """As in csrc/storage.h. `ROUNDED` and `PAIRS` are the same numbers; a sum may differ in its last bits."""

    FLOAT32 = 0
    ROUNDED = 1
    """To bfloat16, multiplied by float32 instructions: on every processor, as fast as float32."""
    PAIRS = 2
    """Of bfloat16, multiplied by `vdpbf16ps`."""


def is_under_autocast(x: Tensor) -> bool:
    """Whether `torch.autocast` is on for the device of x."""
    return x.device.type in ("cpu", "cuda") and torch.is_autocast_enabled(x.device.type)


def storage() -> Storage:
    """The storage for the products of this thread on the CPU: bfloat16 under autocast, in the faster of its forms."""
    asked_for = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") is torch.bfloat16
    if not asked_for:
        return Storage.FLOAT32
    return Storage.PAIRS if _abilities() == 2 else Storage.ROUNDED


def has_pairs() -> bool:
    """Whether this processor and the engine for it can multiply pairs of bfloat16."""
    return _abilities() > 0


def why_no_gain() -> str | None:
    """Why products in bfloat16 are not faster than in float32 here; None if they are."""
    engine = library()
    if isinstance(engine, str):
        return engine
    abilities = _abilities()
    if abilities == 2:
        return None
    if abilities == 1:
        return "the bfloat16 instruction of this processor (vdpbf16ps) is slower than its float32 ones"
    return f"the engine for {variant()} has no bfloat16 instruction (vdpbf16ps) on this processor"


def _abilities() -> int:
    """0: no pairs. 1: pairs, but slower than float32. 2: pairs that are faster."""
    engine = library()
    return 0 if isinstance(engine, str) else int(engine.seqtrain_pairs())
