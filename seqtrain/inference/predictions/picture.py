"""The picture of predictions over time: a panel for each series and target."""

from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from seqtrain.system.words import visible

Numbers = NDArray[np.float64]

WIDTH, PANEL, REST = 8.0, 2.3, 1.1
"""Inches: the width of the picture, the height of a panel, and that of the title, the legend and the name below."""

FEW = 60
"""The largest number of values of which each has a mark."""

LONGEST = 60
"""Characters of a title or of a name."""


@dataclass(frozen=True)
class Panel:
    """The values of one series and what was predicted for it.

    title : of the series; empty if there is only one.
    name : of the column.
    times, values : `[P]`, what is known; NaN for a missing value.
    later, predicted : `[N]`.
    band : the ends of the band around the predictions, `[N]` each, NaN where it is unknown; None without one.
    """

    title: str
    name: str
    times: NDArray[Any]
    values: Numbers
    later: NDArray[Any]
    predicted: Numbers
    band: tuple[Numbers, Numbers] | None


def draw_panels(title: str, panels: list[Panel], total: int, below: str) -> Figure:
    """The panels under each other, with the defaults of matplotlib, whatever a user has set for other plots.

    Parameters
    ----------
    total : panels that there could be; if not all are drawn, the title says so.
    below : the name of the axis of time.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        figure = Figure(figsize=(WIDTH, PANEL * len(panels) + REST), layout="constrained")
        if total > len(panels):
            title += f" ({len(panels)} of {total:,} series and targets)"
        figure.suptitle(_short(title), fontsize="medium", parse_math=False)
        spans = {(str(panel.times[0]), str(panel.later[-1])) for panel in panels}
        drawn = figure.subplots(len(panels), squeeze=False, sharex=len(spans) == 1)[:, 0]
        for axes, panel in zip(drawn, panels, strict=True):
            _draw(axes, panel)
        drawn[-1].set_xlabel(_short(below), parse_math=False)
        handles = {label: line for axes in drawn for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def _draw(axes: Axes, panel: Panel) -> None:
    is_forecast = not np.array_equal(panel.times, panel.later)
    marker: dict[str, Any] = {"marker": "o", "markersize": 3} if len(panel.times) + len(panel.later) <= FEW else {}
    if not np.isnan(panel.values).all():
        axes.plot(panel.times, panel.values, color="black", linewidth=1.2, label="data", **marker)
    if panel.band is not None and not np.isnan(panel.band[0]).all():
        axes.fill_between(
            panel.later, *panel.band, color="C0", alpha=0.2, linewidth=0, label="80 % of the errors on validation"
        )
    known = np.flatnonzero(~np.isnan(panel.values))
    if is_forecast and known.size:  # the line begins at the last known value
        axes.plot(
            [panel.times[known[-1]], panel.later[0]], [panel.values[known[-1]], panel.predicted[0]],
            color="C0", linewidth=1.2, linestyle=":",
        )  # fmt: skip
    label = "forecast" if is_forecast else "the model"
    alone: dict[str, Any] = {"marker": "o", "markersize": 3} if len(panel.later) == 1 else marker
    axes.plot(panel.later, panel.predicted, color="C0", linewidth=1.6, label=label, **alone)
    axes.set_ylabel(_short(panel.name, 24), parse_math=False)
    if panel.title:
        axes.set_title(_short(panel.title), fontsize="small", loc="left", parse_math=False)
    if panel.later.dtype.kind == "M":
        locator: Any = AutoDateLocator()  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    else:
        axes.xaxis.set_major_locator(MaxNLocator(9, integer=True))
        axes.xaxis.set_major_formatter("{x:.0f}")
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.margins(x=0.02)
    axes.grid(alpha=0.3)


def _short(text: str, longest: int = LONGEST) -> str:
    """A text in one line that fits."""
    text = visible(text)
    return text if len(text) <= longest else text[: longest - 3] + "..."
