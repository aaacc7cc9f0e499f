"""Comparing cells: plan the runs, train them, summarise, judge, draw, report."""

from seqtrain.comparison.api import Compared, answer, compare, dry_run
from seqtrain.comparison.options import parse_request

__all__ = ["Compared", "answer", "compare", "dry_run", "parse_request"]
