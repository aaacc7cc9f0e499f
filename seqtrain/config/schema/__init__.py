"""Every setting there is: its name, type, default, bounds and meaning.

The text under a field is its description for people; `seqtrain cells`, `seqtrain tasks` and the JSON Schema show it.
The fields of a cell, task or optimizer are the arguments of its constructor, so an option that does nothing cannot be
written down; a test holds the two together.
"""

from seqtrain.config.schema.base import Section, name_of
from seqtrain.config.schema.cells import BuiltInCell, Cell, Coupled, Gated, Gru, Lstm, Odyssey, Peephole, Rnn, UserCell
from seqtrain.config.schema.config import NAMED, TAGGED, Config, by_name
from seqtrain.config.schema.model import AdaptiveSoftmax, FullSoftmax, Model
from seqtrain.config.schema.tasks import (
    Adding,
    Brackets,
    BuiltInTask,
    CopyMemory,
    Counting,
    EmbeddedReber,
    LanguageModel,
    LongLag,
    Lookaround,
    Multiplication,
    Parity,
    Recall,
    SelectiveCopy,
    Stories,
    TemporalOrder,
    Timing,
    TwoSequence,
)
from seqtrain.config.schema.training import Adam, AdamW, Constant, Cosine, Plateau, RmsProp, Sgd, StepDecay, Train

__all__ = [
    "NAMED",
    "TAGGED",
    "Adam",
    "AdamW",
    "AdaptiveSoftmax",
    "Adding",
    "Brackets",
    "BuiltInCell",
    "BuiltInTask",
    "Cell",
    "Config",
    "Constant",
    "CopyMemory",
    "Cosine",
    "Counting",
    "Coupled",
    "EmbeddedReber",
    "FullSoftmax",
    "Gated",
    "Gru",
    "LanguageModel",
    "LongLag",
    "Lookaround",
    "Lstm",
    "Model",
    "Multiplication",
    "Odyssey",
    "Parity",
    "Peephole",
    "Plateau",
    "Recall",
    "RmsProp",
    "Rnn",
    "Section",
    "SelectiveCopy",
    "Sgd",
    "StepDecay",
    "Stories",
    "TemporalOrder",
    "Timing",
    "Train",
    "TwoSequence",
    "UserCell",
    "by_name",
    "name_of",
]
