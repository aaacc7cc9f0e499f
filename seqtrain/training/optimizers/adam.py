"""Adam."""

from typing import Literal

import torch

from seqtrain.training.optimizers.base import Moments


class Adam(Moments):
    """Adam (Kingma & Ba 2015)."""

    torch_class = torch.optim.Adam
    name: Literal["adam"] = "adam"
