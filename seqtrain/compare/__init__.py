"""Comparing cells: plan the runs, run them, summarise, judge, draw, report."""

from seqtrain.compare.api import compare, compare_commands
from seqtrain.compare.options import Asked

__all__ = ["Asked", "compare", "compare_commands"]
