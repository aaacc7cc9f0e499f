"""Running a cell over time."""

from seqtrain.recurrence.unroll import unroll

__all__ = ["unroll"]
