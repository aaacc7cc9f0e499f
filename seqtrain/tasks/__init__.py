"""The tasks. `TASKS` is the registry: each class by its name in a config.

A task of your own derives from `Task`, or from `GeneratedTask`, `SizedTask` or `Classification`; see docs/tasks.md.
"""

from seqtrain.system.settings import Affects, Null
from seqtrain.tasks.base import Batch, Prediction, Spec, Split, Task
from seqtrain.tasks.brackets import Brackets
from seqtrain.tasks.copy_memory import CopyMemory
from seqtrain.tasks.counting import Counting
from seqtrain.tasks.embedded_reber import EmbeddedReber
from seqtrain.tasks.facts import HiddenFact
from seqtrain.tasks.generated import Classification, GeneratedTask, SizedTask
from seqtrain.tasks.language_model import LanguageModel
from seqtrain.tasks.long_lag import LongLag
from seqtrain.tasks.lookaround import Lookaround
from seqtrain.tasks.marked_numbers import Adding, Multiplication
from seqtrain.tasks.metrics import ACCURACY, Metric, Tally
from seqtrain.tasks.parity import Parity
from seqtrain.tasks.recall import Recall
from seqtrain.tasks.selective_copy import SelectiveCopy
from seqtrain.tasks.sequences.task import LabelledSequences
from seqtrain.tasks.stories import Stories
from seqtrain.tasks.tables.series import Series
from seqtrain.tasks.tagging.task import Tagging
from seqtrain.tasks.temporal_order import TemporalOrder
from seqtrain.tasks.timing import Timing
from seqtrain.tasks.two_sequence import TwoSequence

TASKS: dict[str, type[Task]] = {
    task.name: task
    for task in (
        Adding,
        Multiplication,
        CopyMemory,
        SelectiveCopy,
        TemporalOrder,
        LongLag,
        TwoSequence,
        EmbeddedReber,
        Counting,
        Brackets,
        Parity,
        Timing,
        Recall,
        Lookaround,
        Stories,
        LanguageModel,
        Series,
        LabelledSequences,
        Tagging,
    )
}

__all__ = [
    "ACCURACY",
    "TASKS",
    "Affects",
    "Batch",
    "Classification",
    "GeneratedTask",
    "HiddenFact",
    "LabelledSequences",
    "LanguageModel",
    "Metric",
    "Null",
    "Prediction",
    "Series",
    "SizedTask",
    "Spec",
    "Split",
    "Tally",
    "Task",
]
