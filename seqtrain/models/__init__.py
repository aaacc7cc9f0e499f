"""Models: an encoder, a stack of recurrent layers, a head."""

from seqtrain.models.dropout import Dropout
from seqtrain.models.head import AdaptiveHead, TiedHead
from seqtrain.models.model import OneHot, Prediction, SequenceModel, count_parameters
from seqtrain.models.stack import Stack, StackState, detach_state

__all__ = [
    "AdaptiveHead",
    "Dropout",
    "OneHot",
    "Prediction",
    "SequenceModel",
    "Stack",
    "StackState",
    "TiedHead",
    "count_parameters",
    "detach_state",
]
