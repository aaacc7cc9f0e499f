"""Running a cell over time."""

from seqtrain.recurrence.dispatch import Engine, Loop, Unroll, choose_loop, unroll
from seqtrain.recurrence.fused import unroll_fused
from seqtrain.recurrence.observe import Observed, gates_of, observe
from seqtrain.recurrence.reference import unroll_reference

__all__ = [
    "Engine",
    "Loop",
    "Observed",
    "Unroll",
    "choose_loop",
    "gates_of",
    "observe",
    "unroll",
    "unroll_fused",
    "unroll_reference",
]
