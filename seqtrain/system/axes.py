"""Axes of plots, as all plots have them."""

from matplotlib.axis import Axis
from matplotlib.ticker import LogFormatter


class _PlainNumbers(LogFormatter):
    """Numbers of a logarithmic axis as 30 and 0.01, not as powers of ten."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def number_plainly(axis: Axis) -> None:
    """Plain numbers on a logarithmic axis."""
    axis.set_major_formatter(_PlainNumbers())
    axis.set_minor_formatter(_PlainNumbers(labelOnlyBase=False))
