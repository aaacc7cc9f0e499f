"""AdamW."""

from typing import Annotated, Literal

import torch
from pydantic import Field

from seqtrain.training.optimizers.base import Moments


class AdamW(Moments):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    torch_class = torch.optim.AdamW
    name: Literal["adamw"] = "adamw"
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    """Pull of the weights to zero, apart from the gradient."""
