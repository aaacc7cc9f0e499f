"""The tasks. `TASKS` is the registry: the name in a config, and the class."""

from seqtrain.tasks.adding import Adding
from seqtrain.tasks.base import Batch, GeneratedTask, Spec, Split, Task
from seqtrain.tasks.brackets import Brackets
from seqtrain.tasks.copy_memory import CopyMemory
from seqtrain.tasks.counting import Counting
from seqtrain.tasks.embedded_reber import EmbeddedReber
from seqtrain.tasks.language_model import LanguageModel
from seqtrain.tasks.long_lag import LongLag
from seqtrain.tasks.lookaround import Lookaround
from seqtrain.tasks.multiplication import Multiplication
from seqtrain.tasks.parity import Parity
from seqtrain.tasks.recall import Recall
from seqtrain.tasks.selective_copy import SelectiveCopy
from seqtrain.tasks.stories import Stories
from seqtrain.tasks.temporal_order import TemporalOrder
from seqtrain.tasks.timing import Timing
from seqtrain.tasks.two_sequence import TwoSequence

TASKS: dict[str, type[Task]] = {
    "adding": Adding,
    "multiplication": Multiplication,
    "copy_memory": CopyMemory,
    "selective_copy": SelectiveCopy,
    "temporal_order": TemporalOrder,
    "long_lag": LongLag,
    "two_sequence": TwoSequence,
    "embedded_reber": EmbeddedReber,
    "counting": Counting,
    "brackets": Brackets,
    "parity": Parity,
    "timing": Timing,
    "recall": Recall,
    "lookaround": Lookaround,
    "stories": Stories,
    "language_model": LanguageModel,
}

__all__ = ["TASKS", "Batch", "GeneratedTask", "LanguageModel", "Spec", "Split", "Task"]
