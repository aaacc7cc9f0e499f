"""The schedules of the learning rate. `SCHEDULES` is the registry."""

from seqtrain.system.settings import by_name
from seqtrain.training.schedules.base import Schedule
from seqtrain.training.schedules.constant import Constant
from seqtrain.training.schedules.cosine import Cosine
from seqtrain.training.schedules.plateau import Plateau
from seqtrain.training.schedules.step import StepDecay

SCHEDULES = by_name(
    Constant,
    StepDecay,
    Plateau,
    Cosine,
)

__all__ = ["SCHEDULES", "Constant", "Cosine", "Plateau", "Schedule", "StepDecay"]
