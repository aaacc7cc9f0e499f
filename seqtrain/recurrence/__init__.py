"""Running a cell over time."""

from seqtrain.recurrence.dispatch import Chosen, Engine, Unroll, choose_unroll
from seqtrain.recurrence.fused import backward_width, packed_bytes, unroll_fused
from seqtrain.recurrence.observe import Observed, gates_of, observe
from seqtrain.recurrence.reference import unroll_reference
from seqtrain.recurrence.reference import unroll_reference as unroll

__all__ = [
    "Chosen",
    "Engine",
    "Observed",
    "Unroll",
    "backward_width",
    "choose_unroll",
    "gates_of",
    "observe",
    "packed_bytes",
    "unroll",
    "unroll_fused",
    "unroll_reference",
]
