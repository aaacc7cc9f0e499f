"""The charts of an inspection as pictures and CSV tables, for a report."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqtrain.inspection.api import Inspection
from seqtrain.inspection.charts import Chart, charts, file_names, shortened
from seqtrain.system.files import write_whole
from seqtrain.system.pictures import encoded
from seqtrain.system.words import visible

MOST_TICKS = 40
"""Words that are named on an axis."""

DPI = 110
"""Dots per inch of a PNG."""

ENTRY = 0.22
"""Inches of an entry of a legend, which stands below its axes."""


def write_pictures(found: Sequence[Inspection], folder: Path, form: str = "png") -> list[str]:
    """Write each chart as `NAME.png` and `NAME.csv`, the state of each model as `units-MODEL.png`, and `text.csv`.

    Parameters
    ----------
    form : of the pictures, instead of png.

    Returns
    -------
    The names of the files.
    """
    files: dict[str, bytes] = {}
    for own in charts(found).values():
        for chart in own:
            files[f"{chart.name}.{form}"] = encoded(chart_figure(chart), form, DPI)
            files[f"{chart.name}.csv"] = _csv(chart.rows())
    texts = [*_surprise(found)]
    if len(texts) > 1:
        files["text.csv"] = _csv(texts)
    for each, name in zip(found, file_names(found), strict=True):
        files[f"units{name}.{form}"] = encoded(heat_figure(each), form, DPI)
    for name, content in files.items():
        write_whole(folder / name, content)
    return [*files]


def _surprise(found: Sequence[Inspection]) -> Iterator[list[str | float]]:
    """A header, then each token of the traced texts."""
    yield ["model", "sequence", "token", "bits"]
    for each in found:
        for number, tokens in enumerate(each.traces.surprise_by_token()):
            for token, bits in tokens:
                yield [each.name, number, token, "" if bits is None else bits]


def _csv(rows: Iterable[Sequence[str | float]]) -> bytes:
    table = io.StringIO(newline="")
    csv.writer(table, lineterminator="\n").writerows(rows)
    return table.getvalue().encode()


def chart_figure(chart: Chart) -> Figure:
    """A chart with its legend below it."""
    figure = Figure(figsize=(7, 3.8 + ENTRY * len(chart.series)), layout="constrained")
    axes = figure.subplots()
    for one in chart.series:
        color, name = f"C{one.color % 10}", visible(one.label)
        if one.style == "points":
            axes.scatter(one.x, one.y, s=14, alpha=0.6, color=color, label=name)
            continue
        axes.plot(one.x, one.y, color=color, linestyle="--" if one.style == "dashed" else "-", label=name)
        if one.low is not None and one.high is not None:
            axes.fill_between(one.x, one.low, one.high, color=color, alpha=0.15, linewidth=0)
    for place, color_number in chart.marks:
        axes.axvline(place, color=f"C{color_number % 10}", linestyle=":", linewidth=1)
    if chart.level is not None:
        axes.axhline(chart.level[0], color="0.4", linestyle="--", linewidth=1, label=chart.level[1])
    axes.set_xscale("log" if chart.log_x else "linear")
    axes.set_yscale("log" if chart.log_y else "linear")
    axes.set(xlabel=chart.x, ylabel=chart.y)
    axes.set_title(visible(chart.title), parse_math=False, fontsize="medium")
    axes.grid(alpha=0.3)
    _name_steps(axes, chart.ticks)
    _legend_below(figure)
    return figure


def heat_figure(each: Inspection) -> Figure:
    """Units by time: each part of the state of the lowest cell, over the first sequence."""
    place, own = next(iter(each.traces.activations.items()))
    names = each.traces.states[place]
    figure = Figure(figsize=(9, 3.4 * len(names)), layout="constrained")
    words = [*map(shortened, each.traces.inputs[0])]
    for axes, name in zip(figure.subplots(len(names), squeeze=False)[:, 0], names, strict=True):
        values = own[name][: len(words), 0].T.numpy()
        most = max(1.0, float(np.abs(values).max()))
        shown = axes.imshow(values, cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto", interpolation="nearest")
        axes.set(ylabel="unit")
        axes.set_title(visible(f"{each.name}: {place}, {name}"), parse_math=False, fontsize="medium")
        figure.colorbar(shown, ax=axes, pad=0.01)
        _name_steps(axes, words)
    return figure


def _name_steps(axes: Axes, words: Sequence[str]) -> None:
    if words:
        at = range(0, len(words), max(1, len(words) // MOST_TICKS))
        labels = [visible(words[t]) for t in at]
        axes.set_xticks([*at], labels, rotation=60, ha="right", rotation_mode="anchor", fontsize=7, parse_math=False)


def _legend_below(figure: Figure) -> None:
    handles, labels = figure.axes[0].get_legend_handles_labels()
    legend = figure.legend(handles, labels, loc="outside lower center", fontsize=8, frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)
