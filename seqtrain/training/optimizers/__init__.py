"""The optimizers. `OPTIMIZERS` is the registry."""

from seqtrain.system.settings import by_name
from seqtrain.training.optimizers.adam import Adam
from seqtrain.training.optimizers.adamw import AdamW
from seqtrain.training.optimizers.base import Optimizer
from seqtrain.training.optimizers.rmsprop import RmsProp
from seqtrain.training.optimizers.sgd import Sgd

OPTIMIZERS = by_name(
    Adam,
    AdamW,
    Sgd,
    RmsProp,
)

__all__ = ["OPTIMIZERS", "Adam", "AdamW", "Optimizer", "RmsProp", "Sgd"]
