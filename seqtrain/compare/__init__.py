"""Comparing cells: plan the runs, run them, summarise, draw."""

from seqtrain.compare.asked import Asked
from seqtrain.compare.assertions import check, read_conditions
from seqtrain.compare.compare import commands, compare_cells, gather
from seqtrain.compare.plan import Request
from seqtrain.compare.results import MADE

__all__ = [
    "MADE", "Asked", "Request", "check", "commands", "compare_cells", "gather", "read_conditions",
]  # fmt: skip
