"""Models: an encoder, a stack of recurrent layers, a head."""

from seqtrain.models.model import OneHot, SequenceModel, count_parameters
from seqtrain.models.stack import Stack, StackState, detach_state, pack_state, unpack_state

__all__ = [
    "OneHot",
    "SequenceModel",
    "Stack",
    "StackState",
    "count_parameters",
    "detach_state",
    "pack_state",
    "unpack_state",
]
