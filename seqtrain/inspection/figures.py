"""The figures of a report, drawn with Bokeh. Colours suit a light and a dark page."""

import html
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from bokeh.core.enums import SizingModeType
from bokeh.layouts import column
from bokeh.models import (
    ColumnDataSource,
    CustomJS,
    CustomJSHover,
    CustomJSTickFormatter,
    Div,
    FixedTicker,
    HoverTool,
    LinearColorMapper,
    Range1d,
    Select,
    SingleIntervalTicker,
    Slider,
    Span,
    UIElement,
)
from bokeh.palettes import Category10_10
from bokeh.plotting import figure as bokeh_figure
from numpy.typing import NDArray

from seqtrain.inspection.api import Inspection
from seqtrain.inspection.charts import Chart, Series, shortened

INK, FAINT = "#7a7a7a", "#7a7a7a40"
"""Of text and lines: readable on white and on black."""

DIVERGING = [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in [
    *(tuple(round(low + (high - low) * k / 127) for low, high in zip((33, 102, 172), (247, 247, 247), strict=True))
      for k in range(128)),
    *(tuple(round(low + (high - low) * k / 127) for low, high in zip((247, 247, 247), (178, 24, 43), strict=True))
      for k in range(128)),
]]  # fmt: skip
"""Blue for -1, white for 0, red for 1 (the ends of ColorBrewer's RdBu)."""

WIDE: SizingModeType = "stretch_width"

ENTRY = 24
"""Pixels of a line of a legend."""

SHORT = 30
"""Characters of labels of which two stand side by side, also on a phone."""

MOST_POINTS = 1000
"""Points of a line; of a longer one, evenly spaced points are drawn."""

MOST_DOTS = 60
"""Points of a line that are also drawn as dots."""

HEAT_BYTES = 1_200_000
"""Values of all heat maps of a page; a page with them, and with the code that draws them, stays below 5 MB."""


def figure(title: str, x: str, y: str, **options: object) -> bokeh_figure:
    """An empty figure whose text and lines can be read on any page."""
    made = bokeh_figure(
        title=title, x_axis_label=x, y_axis_label=y, height=320, sizing_mode=WIDE, toolbar_location="above",
        tools="pan,wheel_zoom,box_zoom,reset,save", active_scroll=None, **options,
    )  # fmt: skip
    made.background_fill_alpha = made.border_fill_alpha = 0
    made.outline_line_color = FAINT
    made.title.text_color = INK
    for axis in made.axis:
        axis.axis_label_text_color = axis.major_label_text_color = INK
        axis.axis_line_color = axis.major_tick_line_color = axis.minor_tick_line_color = INK
    made.grid.grid_line_color = FAINT
    return made


def with_legend(made: bokeh_figure) -> bokeh_figure:
    """The figure with its legend below the axes, which keep their height; a click hides a line."""
    if made.legend:
        legend = made.legend[0]
        made.add_layout(legend, "below")
        legend.click_policy = "hide"
        legend.orientation = "horizontal"
        legend.ncols = 2 if max(len(item.label.value) for item in legend.items) <= SHORT else 1
        made.height += ENTRY * -(-len(legend.items) // legend.ncols)
        legend.background_fill_alpha = 0
        legend.border_line_color = None
        legend.label_text_color = INK
    return made


def drawn(chart: Chart) -> bokeh_figure:
    """A chart, whose points show their values under a pointer."""
    axes = {"x_axis_type": "log" if chart.log_x else "linear", "y_axis_type": "log" if chart.log_y else "linear"}
    is_scatter = all(one.style == "points" for one in chart.series)
    if is_scatter:
        axes = {"x_range": Range1d(-0.02, 1.02), "y_range": Range1d(-0.02, 1.02)}
    made = figure(chart.title, chart.x, chart.y, **axes)
    for one in chart.series:
        _add(made, one)
    if chart.level is not None:
        made.add_layout(Span(location=chart.level[0], dimension="width", line_color=INK, line_dash="dashed"))
    for place, color in chart.marks:
        made.add_layout(
            Span(location=place, dimension="height", line_color=Category10_10[color % 10], line_dash="dashed")
        )
    tips = [("", "$name"), (chart.x, "@word" if chart.ticks else "@x"), (chart.y, "@y")]
    if chart.ticks:
        _name_steps(made, chart)
    made.add_tools(HoverTool(tooltips=[*tips, ("unit", "$index")] if is_scatter else tips))
    return with_legend(made)


def _add(made: bokeh_figure, one: Series) -> None:
    color = Category10_10[one.color % 10]
    shown = np.unique(np.linspace(0, len(one.x) - 1, min(len(one.x), MOST_POINTS)).round().astype(int))
    data = {"x": one.x[shown], "y": one.y[shown]}
    if one.low is not None and one.high is not None:
        data |= {"low": one.low[shown], "high": one.high[shown]}
        made.varea("x", "low", "high", source=ColumnDataSource(data), color=color, alpha=0.15, legend_label=one.label)
    options = {"source": ColumnDataSource(data), "color": color, "legend_label": one.label, "name": one.label}
    if one.style == "points":
        made.scatter("x", "y", size=7, alpha=0.6, **options)
        return
    made.line("x", "y", line_width=2, line_dash="dashed" if one.style == "dashed" else "solid", **options)
    if len(shown) <= MOST_DOTS:  # without a place in the legend, whose line tells dashed from solid
        made.scatter("x", "y", size=4, source=options["source"], color=color, name=one.label)


def _name_steps(made: bokeh_figure, chart: Chart) -> None:
    """Put what the model reads on the x axis, and under the pointer."""
    for renderer in made.renderers:
        source = renderer.data_source
        source.data["word"] = [chart.ticks[int(x)] for x in source.data["x"]]
    made.xaxis.formatter = CustomJSTickFormatter(args={"words": chart.ticks}, code="return words[tick] ?? ''")
    made.xaxis.ticker = SingleIntervalTicker(interval=max(1, len(chart.ticks) // 40), num_minor_ticks=0)
    made.xaxis.major_label_orientation = 0.9


class _Heat(NamedTuple):
    """The activations of a heat map.

    names : of the activations, with their cells.
    coded : `[N, H, T]` each, 0 for minus the scale, 127 for 0, 254 for the scale: a quarter of the size.
    scales : the largest absolute value of each, at least 1.
    words : what the model reads, for each sequence.
    """

    names: list[str]
    coded: list[NDArray[np.uint8]]
    scales: list[float]
    words: list[list[str]]


def _heat(each: Inspection, most: int) -> _Heat:
    """The traces of a model, of as many sequences and steps as make `most` bytes."""
    activations = {f"{place}: {name}": values for place, own in each.traces.activations.items()
                   for name, values in own.items()}  # fmt: skip
    T, N = next(iter(activations.values())).shape[:2]
    places = max(1, most // sum(values.shape[2] for values in activations.values()))
    N = max(1, min(N, places // T))
    T = min(T, max(1, places // N))
    names, coded, scales = [*activations], [], []
    for values in activations.values():
        part = values[:T, :N].permute(1, 2, 0).numpy()
        scales.append(max(1.0, float(np.abs(part).max())))
        coded.append(np.round((part / scales[-1] + 1) * 127).astype(np.uint8))
    return _Heat(names, coded, scales, [[*map(shortened, words[:T])] for words in each.traces.inputs[:N]])


def heat_map(each: Inspection, models: int = 1) -> UIElement:
    """Units by time for one sequence and activation; below it one unit, with what the model reads.

    A list chooses the activation, and sliders the sequence and the unit.

    Parameters
    ----------
    models : as many heat maps share the size that a page may have.
    """
    heat = _heat(each, HEAT_BYTES // models)
    N, H, T = heat.coded[0].shape
    store = ColumnDataSource({"name": heat.names, "values": heat.coded, "scale": heat.scales})
    inputs = ColumnDataSource({"words": heat.words, "gap": [gap(each)] * len(heat.words)})
    first, scale = heat.coded[0][0], heat.scales[0]
    image = ColumnDataSource({"image": [first], "x": [0], "y": [0], "dw": [T], "dh": [H], "scale": [scale]})
    words = [*heat.words[0], *[""] * (T - len(heat.words[0]))]
    trace = ColumnDataSource({"t": np.arange(T) + 0.5, "value": (first[0] / 127 - 1.0) * scale, "word": words})
    made, line = _units_by_time(each.name, image, trace), _one_unit(trace)
    line.x_range = made.x_range
    choose = Select(
        title="Activation", options=heat.names, value=heat.names[0], stylesheets=[".bk-input { color: #222; }"]
    )
    sequence = Slider(title="Sequence", start=0, end=max(N - 1, 1), value=0, step=1, disabled=N == 1)
    unit = Slider(title="Unit", start=0, end=max(H - 1, 1), value=0, step=1, disabled=H == 1)
    text = Div(text=_coloured(words, trace.data["value"] / scale, gap(each)), sizing_mode=WIDE, name="words")
    change = CustomJS(
        args={"store": store, "inputs": inputs, "image": image, "trace": trace, "choose": choose, "text": text,
              "sequence": sequence, "unit": unit, "heat": made, "line": line},
        code=CHANGE,
    )  # fmt: skip
    for widget in (choose, sequence, unit):
        widget.js_on_change("value", change)
    return column(choose, sequence, unit, made, line, text, sizing_mode=WIDE)


CHANGE = r"""
    const at = store.data.name.indexOf(choose.value)
    const values = store.data.values[at], scale = store.data.scale[at]
    const [N, H, T] = values.shape
    unit.end = Math.max(H - 1, 1)
    const n = Math.min(sequence.value, N - 1), u = Math.min(unit.value, H - 1)
    const part = new Uint8Array(values.buffer, values.byteOffset + n * H * T, H * T)
    const words = inputs.data.words[n]
    const value = Array.from(part.subarray(u * T, (u + 1) * T), v => (v / 127 - 1) * scale)
    image.data = {...image.data, image: [new values.constructor(part, [H, T])], dh: [H], scale: [scale]}
    heat.y_range.end = H
    line.y_range.start = -1.05 * scale
    line.y_range.end = 1.05 * scale
    trace.data = {t: trace.data.t, value, word: Array.from({length: T}, (_, t) => words[t] ?? '')}
    const escape = word => word.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/\n/g, '\u21b5<br>')
    const shade = v => `rgb(${v < 0 ? '33 102 172' : '178 24 43'} / ${(0.8 * Math.abs(v) / scale).toFixed(2)})`
    text.text = words.map((word, t) => `<span style="background:${shade(value[t])}">${escape(word)}</span>`).join(
        inputs.data.gap[n])
"""
"""Shows another activation, sequence or unit: the heat map, the line, and the text coloured by the unit."""


def _coloured(words: Sequence[str], values: NDArray[np.float64], between: str) -> str:
    """Words as HTML, coloured by values from -1 to 1, as `CHANGE` does it."""
    spans = []
    for word, value in zip(words, values, strict=False):
        color = f"{'33 102 172' if value < 0 else '178 24 43'} / {0.8 * abs(value):.2f}"
        text = html.escape(word, quote=False).replace("\n", "↵<br>")
        spans.append(f'<span style="background:rgb({color})">{text}</span>')
    return between.join(spans)


def gap(each: Inspection) -> str:
    """What stands between the inputs when they are shown as a text: nothing between characters."""
    return "" if each.unit == "character" else " "


def _units_by_time(name: str, image: ColumnDataSource, trace: ColumnDataSource) -> bokeh_figure:
    T, H = image.data["dw"][0], image.data["dh"][0]
    made = figure(
        f"{name}: units by time", "what the model reads", "unit", x_range=Range1d(0, T), y_range=Range1d(0, H)
    )
    mapper = LinearColorMapper(palette=DIVERGING, low=0, high=254)
    made.image("image", source=image, x="x", y="y", dw="dw", dh="dh", color_mapper=mapper, name="heat")
    _name_places(made, trace)
    value = CustomJSHover(args={"image": image}, code="return ((value / 127 - 1) * image.data.scale[0]).toFixed(2)")
    word = CustomJSHover(args={"trace": trace}, code="return trace.data.word[Math.floor(special_vars.x)] ?? ''")
    whole = CustomJSHover(code="return String(Math.floor(value))")
    tips = [("step", "$x{custom}"), ("reads", "$sx{custom}"), ("unit", "$y{custom}"), ("value", "@image{custom}")]
    made.add_tools(HoverTool(tooltips=tips, formatters={"$x": whole, "$sx": word, "$y": whole, "@image": value}))
    return made


def _one_unit(trace: ColumnDataSource) -> bokeh_figure:
    most = 1.05 * max(1.0, float(np.abs(trace.data["value"]).max()))
    line = figure("One unit", "what the model reads", "value", y_range=Range1d(-most, most))
    line.line("t", "value", source=trace, color=Category10_10[0], line_width=2, name="unit")
    line.scatter("t", "value", source=trace, color=Category10_10[0], size=4)
    tips = [("step", "$index"), ("reads", "@word"), ("value", "@value{0.000}")]
    line.add_tools(HoverTool(tooltips=tips, mode="vline"))
    _name_places(line, trace)
    return line


def _name_places(made: bokeh_figure, trace: ColumnDataSource) -> None:
    """Put what the model reads at each step on the x axis, in the middle of the step."""
    T = len(trace.data["word"])
    code = "return trace.data.word[Math.floor(tick)] ?? ''"
    made.xaxis.formatter = CustomJSTickFormatter(args={"trace": trace}, code=code)
    made.xaxis.ticker = FixedTicker(ticks=[t + 0.5 for t in range(0, T, max(1, T // 40))])
    made.xaxis.major_label_orientation = 0.9
