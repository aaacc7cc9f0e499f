"""Comparing cells: plan the runs, run them, summarise, judge, draw, report."""

from seqtrain.compare.asked import Asked
from seqtrain.compare.verb import compare, compare_commands

__all__ = ["Asked", "compare", "compare_commands"]
