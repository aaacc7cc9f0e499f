"""Comparing cells: plan the runs, run them, summarise, draw."""

from seqtrain.compare.compare import PICTURE, compare_cells, gather

__all__ = ["PICTURE", "compare_cells", "gather"]
