"""Whether torch follows each operation: to record it (tracing, export), to replace it (modes) or to transform it.

The compiled engine works on raw memory, of which torch sees nothing. A recording of it would hold numbers that belong
to one input only, and a transformation would leave it out.
"""

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils._device import DeviceContext

NOT_RECORDED = (
    "the engine cannot be traced, exported, watched by a mode of torch, or transformed by torch.func or vmap; use the "
    "plain loop for the whole computation, engine: reference"
)

PLAIN = frozenset({Tensor, nn.Parameter})
"""Types of tensors; a derived type may have no numbers in memory, or may watch what is done to it."""


def is_recorded(*tensors: Tensor) -> bool:
    """Whether torch records, replaces or transforms what is computed now with these tensors."""
    return (
        torch.compiler.is_compiling()  # or exporting; first, since Dynamo cannot follow the others
        or not PLAIN.issuperset(map(type, tensors))
        or not all(map(torch._C._has_storage, tensors))
        or torch._C._get_tracing_state() is not None  # torch.jit.trace
        or torch._C._are_functorch_transforms_active()  # torch.func
        or forward_ad._current_level >= 0  # derivatives in forward mode
        or torch._C._len_torch_dispatch_stack() > 0  # make_fx, fake tensors
        or (torch._C._len_torch_function_stack() > 0 and _has_function_mode())
    )


def _has_function_mode() -> bool:
    """Whether a mode replaces functions of torch, apart from `set_default_device`, which only places new tensors."""
    modes = torch.overrides._get_current_function_mode_stack()  # type: ignore[no-untyped-call]
    return any(not isinstance(mode, DeviceContext) for mode in modes)
