"""Comparing cells: plan the runs, train them, summarise, judge, draw, report."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seqtrain.comparison.api import Compared, answer, compare, dry_run
    from seqtrain.comparison.options import parse_request

__all__ = ["Compared", "answer", "compare", "dry_run", "parse_request"]


def __getattr__(name: str) -> object:
    """Import a name at its first use: the command line needs the defaults alone, and scipy takes a while."""
    if name in __all__:
        return getattr(import_module(f"{__name__}.{'options' if name == 'parse_request' else 'api'}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
