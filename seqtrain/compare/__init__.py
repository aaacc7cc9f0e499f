"""Comparing cells: plan the runs, train them, summarise, judge, draw, report."""

from seqtrain.compare.api import compare, dry_run
from seqtrain.compare.options import parse_request

__all__ = ["compare", "dry_run", "parse_request"]
