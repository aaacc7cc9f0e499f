"""Running a cell over time."""

from seqtrain.recurrence.choose import Chosen, Engine, Unroll, choose_unroll
from seqtrain.recurrence.fused import unroll_fused
from seqtrain.recurrence.unroll import unroll

__all__ = ["Chosen", "Engine", "Unroll", "choose_unroll", "unroll", "unroll_fused"]
