"""Running a cell over time."""

from seqtrain.recurrence.dispatch import Chosen, Engine, Unroll, choose_unroll
from seqtrain.recurrence.fused import backward_width, packed_bytes, unroll_fused
from seqtrain.recurrence.unroll import unroll

__all__ = ["Chosen", "Engine", "Unroll", "backward_width", "choose_unroll", "packed_bytes", "unroll", "unroll_fused"]
