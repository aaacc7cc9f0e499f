"""Comparing cells: plan the runs, run them, summarise, draw."""

from seqtrain.compare.compare import compare_cells, gather

__all__ = ["compare_cells", "gather"]
