"""The figures of a report, drawn with Bokeh. Colours suit a light and a dark page."""

from collections.abc import Sequence
from itertools import cycle

import numpy as np
from bokeh.core.enums import SizingModeType
from bokeh.layouts import column
from bokeh.models import (
    ColumnDataSource,
    CustomJS,
    CustomJSTickFormatter,
    HoverTool,
    LinearColorMapper,
    Range1d,
    Select,
    Slider,
    Span,
    UIElement,
)
from bokeh.palettes import Category10_10
from bokeh.plotting import figure as bokeh_figure

from seqtrain.inspection.api import Inspection
from seqtrain.inspection.gradient import SMALLEST
from seqtrain.inspection.watch import Place

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
    """The figure with its legend below the axes; a click hides a line."""
    if made.legend:
        legend = made.legend[0]
        made.add_layout(legend, "below")
        legend.click_policy = "hide"
        legend.orientation = "horizontal"
        legend.ncols = 2
        legend.background_fill_alpha = 0
        legend.border_line_color = None
        legend.label_text_color = INK
    return made


def saturation(found: Sequence[Inspection]) -> bokeh_figure:
    """A point for each unit: how often its gate is below 0.1 and above 0.9 (Karpathy et al. 2015, figure 3)."""
    made = figure("Saturation of the gates, a point for each unit", "share of steps below 0.1", "share above 0.9",
                  x_range=Range1d(-0.02, 1.02), y_range=Range1d(-0.02, 1.02))  # fmt: skip
    colours = cycle(Category10_10)
    for each in found:
        for one in each.gates:
            for activation in one.activations.values():
                if activation.is_gate:
                    source = ColumnDataSource({
                        "low": activation.low.numpy(), "high": activation.high.numpy(),
                        "mean": activation.mean.numpy(), "unit": np.arange(len(activation.mean)),
                    })  # fmt: skip
                    made.scatter(
                        "low", "high", source=source, size=7, alpha=0.6, color=next(colours),
                        legend_label=f"{label(each, one.place, found)}: {activation.name}",
                    )  # fmt: skip
    tips = [("unit", "@unit"), ("below 0.1", "@low"), ("above 0.9", "@high"), ("mean", "@mean")]
    made.add_tools(HoverTool(tooltips=tips))
    return with_legend(made)


def half_lives(found: Sequence[Inspection]) -> bokeh_figure | None:
    """The half-lives of the units of each cell, sorted."""
    made = figure("Half-life of each unit's state, sorted", "share of the units", "steps", y_axis_type="log")
    colours, drawn = cycle(Category10_10), False
    for each in found:
        for one in each.gates:
            if one.half_life is not None:
                steps = one.half_life.sort().values.clamp(1e-2, 1e9).numpy()
                source = ColumnDataSource({"share": (np.arange(len(steps)) + 0.5) / len(steps), "steps": steps})
                options = {"source": source, "color": next(colours), "legend_label": label(each, one.place, found)}
                made.line("share", "steps", line_width=2, **options)
                made.scatter("share", "steps", size=4, **options)
                drawn = True
    made.add_tools(HoverTool(tooltips=[("steps", "@steps"), ("share", "@share")]))
    return with_legend(made) if drawn else None


def gradients(found: Sequence[Inspection]) -> bokeh_figure:
    """The mean norm of the gradient by distance, with the middle 80 % of the sequences."""
    made = figure("Gradient of one prediction, back through time", "steps back", "norm", y_axis_type="log")
    colours = cycle(Category10_10)
    for each in found:
        for curve in each.gradients:
            mean, (low, high) = curve.mean(), curve.spread()
            shown = mean > 0
            source = ColumnDataSource({
                "distance": np.arange(len(mean))[shown.numpy()],
                **{name: values.clamp(min=1e-300)[shown].numpy()
                   for name, values in (("mean", mean), ("low", low), ("high", high))},
            })  # fmt: skip
            colour, name = next(colours), f"{label(each, curve.place, found)}: {curve.field}"
            made.varea("distance", "low", "high", source=source, color=colour, alpha=0.15, legend_label=name)
            made.line("distance", "mean", source=source, color=colour, line_width=2, legend_label=name)
    made.add_layout(Span(location=SMALLEST, dimension="width", line_color=INK, line_dash="dashed"))
    made.add_tools(HoverTool(tooltips=[("steps back", "@distance"), ("norm", "@mean")], mode="vline"))
    return with_legend(made)


def contexts(found: Sequence[Inspection]) -> bokeh_figure | None:
    """The loss by the number of inputs that the model sees, beside that with all of them."""
    made = figure("Loss with the last inputs alone", "inputs", "loss of the last prediction", x_axis_type="log")
    colours, drawn = cycle(Category10_10), False
    for each in found:
        if each.context is not None:
            colour = next(colours)
            source = ColumnDataSource({"inputs": each.context.sizes.numpy(),
                                       "loss": each.context.losses.mean(1).numpy()})  # fmt: skip
            options = {"source": source, "color": colour, "legend_label": each.name}
            made.line("inputs", "loss", line_width=2, **options)
            made.scatter("inputs", "loss", size=6, **options)
            made.add_layout(Span(location=each.context.steps_back() + 1, dimension="height", line_color=colour,
                                 line_dash="dashed"))  # fmt: skip
            drawn = True
    made.add_tools(HoverTool(tooltips=[("inputs", "@inputs"), ("loss", "@loss")]))
    return with_legend(made) if drawn else None


def label(each: Inspection, place: Place, found: Sequence[Inspection]) -> str:
    """The name of a cell, with that of its run if there are several."""
    return f"{each.name}: {place}" if len(found) > 1 else str(place)


def heat_map(each: Inspection) -> UIElement:
    """Units by time for one sequence and activation; below it one unit, with what the model reads.

    A list chooses the activation, and sliders the sequence and the unit.
    """
    kept = each.traces
    images = {f"{place}: {name}": values.numpy() for place, own in kept.activations.items()
              for name, values in own.items()}  # fmt: skip
    names = list(images)
    # uint8 takes a quarter of the page: -1 is 0, 1 is 254, so 0 is exactly 127.
    coded = {name: np.round((values.clip(-1, 1) + 1) * 127).astype(np.uint8) for name, values in images.items()}
    T, N, H = next(iter(images.values())).shape
    store = ColumnDataSource({"name": names, "values": [values.transpose(1, 2, 0) for values in coded.values()]})
    inputs = ColumnDataSource({"words": kept.inputs})
    first = coded[names[0]][:, 0].T  # [H, T]
    image = ColumnDataSource({"image": [first], "x": [0], "y": [0], "dw": [T], "dh": [first.shape[0]]})
    trace = ColumnDataSource({"t": np.arange(T) + 0.5, "value": first[0] / 127 - 1.0,
                              "word": [*kept.inputs[0], *[""] * (T - len(kept.inputs[0]))]})  # fmt: skip
    made = figure(f"{each.name}: units by time", "step", "unit", x_range=Range1d(0, T), y_range=Range1d(0, H))
    mapper = LinearColorMapper(palette=DIVERGING, low=0, high=254)
    made.image("image", source=image, x="x", y="y", dw="dw", dh="dh", color_mapper=mapper, name="heat")
    line = figure("One unit", "step", "value", x_range=made.x_range, y_range=Range1d(-1.05, 1.05))
    line.line("t", "value", source=trace, color=Category10_10[0], line_width=2)
    line.scatter("t", "value", source=trace, color=Category10_10[0], size=4)
    line.add_tools(
        HoverTool(tooltips=[("step", "@t{0}"), ("reads", "@word"), ("value", "@value{0.000}")], mode="vline")
    )
    words = CustomJSTickFormatter(
        args={"trace": trace},
        code="""
        const at = Math.floor(tick); const word = trace.data.word[at]; return word === undefined ? '' : word
    """,
    )
    line.xaxis.formatter = words
    line.xaxis.major_label_orientation = 0.9
    choose = Select(title="Activation", options=names, value=names[0])
    sequence = Slider(title="Sequence", start=0, end=max(N - 1, 1), value=0, step=1, disabled=N == 1)
    unit = Slider(title="Unit", start=0, end=max(H - 1, 1), value=0, step=1, disabled=H == 1)
    change = CustomJS(
        args={"store": store, "inputs": inputs, "image": image, "trace": trace, "choose": choose,
              "sequence": sequence, "unit": unit, "heat": made},
        code="""
        const values = store.data.values[store.data.name.indexOf(choose.value)]
        const [N, H, T] = values.shape
        unit.end = Math.max(H - 1, 1)
        const n = sequence.value, u = Math.min(unit.value, H - 1)
        const part = new Uint8Array(values.buffer, values.byteOffset + n * H * T, H * T)
        const shown = new values.constructor(part, [H, T])
        image.data = {...image.data, image: [shown], dh: [H]}
        heat.y_range.end = H
        const words = inputs.data.words[n]
        trace.data = {t: trace.data.t, value: Array.from(part.subarray(u * T, (u + 1) * T), v => v / 127 - 1),
                      word: Array.from({length: T}, (_, t) => t < words.length ? words[t] : '')}
        """,
    )  # fmt: skip
    for widget in (choose, sequence, unit):
        widget.js_on_change("value", change)
    made.add_tools(HoverTool(tooltips=[("step", "$x{0}"), ("unit", "$y{0}"), ("of 0 (-1) to 254 (1)", "@image")]))
    return column(choose, sequence, unit, made, line, sizing_mode=WIDE)
