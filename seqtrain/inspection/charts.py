"""What the charts of an inspection show, as data: the page, the pictures and the tables are made of it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from seqtrain.inspection.api import Inspection
from seqtrain.inspection.gradient import SMALLEST, Curve
from seqtrain.inspection.kept import Example, Kept
from seqtrain.inspection.probes import Probe
from seqtrain.inspection.watch import Place

BESIDE_GATES = 2.0
"""The largest value that is drawn as it is beside gates, which lie from 0 to 1."""

LONGEST_WORD = 30
"""Characters of a word on the page and in a picture."""

MOST_TOGETHER = 60
"""Steps of a sequence for which the state and the gates of a unit are drawn in one chart."""

Numbers = NDArray[np.float64]
Style = Literal["line", "dashed", "points"]


@dataclass(frozen=True)
class Series:
    """A line or a set of points.

    label : what it shows.
    x, y : `[M]`.
    low, high : `[M]` each, the ends of a band around y; None without a band.
    style : how it is drawn.
    color : the number of its colour; series of the same thing share it.
    """

    label: str
    x: Numbers
    y: Numbers
    low: Numbers | None = None
    high: Numbers | None = None
    style: Style = "line"
    color: int = 0


@dataclass(frozen=True)
class Chart:
    """A chart.

    name : of its files.
    title, x, y : what stands above it and at its axes.
    log_x, log_y : whether an axis is logarithmic.
    level : a value of y at which a dashed line stands, and what it means.
    marks : values of x at which a dashed line stands, with the number of its colour.
    ticks : the names of the steps on the x axis; empty for numbers.
    """

    name: str
    title: str
    x: str
    y: str
    series: list[Series] = field(default_factory=list)
    log_x: bool = False
    log_y: bool = False
    level: tuple[float, str] | None = None
    marks: list[tuple[float, int]] = field(default_factory=list)
    ticks: list[str] = field(default_factory=list)

    def rows(self) -> Iterator[list[str | float]]:
        """The chart as a table: a header, then a row for each point."""
        yield ["series", self.x, self.y, "low", "high"]
        for one in self.series:
            bounds = [np.full(len(one.x), np.nan) if side is None else side for side in (one.low, one.high)]
            for x, y, low, high in zip(one.x, one.y, *bounds, strict=True):
                yield [one.label, x, y, *("" if np.isnan(side) else side for side in (low, high))]


def charts(found: Sequence[Inspection]) -> dict[str, list[Chart]]:
    """All charts by the part of the page to which they belong; charts without series are left out."""
    parts = {
        "gates": [*_saturation(found), _half_lives(found)],
        "gradient": [_gradients(found)],
        "context": [_contexts(found), _influences(found)],
        "kept": [*_kept(found)],
    }
    return {part: [chart for chart in own if chart.series] for part, own in parts.items()}


def label(each: Inspection, place: Place | None, found: Sequence[Inspection]) -> str:
    """The name of a cell, with that of its run if there are several; without a place that of the run."""
    if place is None:
        return each.name
    return f"{each.name}: {place}" if len(found) > 1 else str(place)


def _saturation(found: Sequence[Inspection]) -> Iterator[Chart]:
    """For each gate, a point for each unit: how often it is below 0.1 and above 0.9 (Karpathy et al. 2015)."""
    names = dict.fromkeys(
        name for each in found for one in each.gates for name, activation in one.activations.items()
        if activation.is_gate
    )  # fmt: skip
    for name in names:
        chart = Chart(f"saturation-{name}", f"Gate {name}, a point for each unit", "share below 0.1", "share above 0.9")
        for each in found:
            for one in each.gates:
                activation, color = one.activations.get(name), len(chart.series)
                if activation is not None and activation.is_gate:
                    low, high = _numbers(activation.low), _numbers(activation.high)
                    title = label(each, one.place, found)
                    chart.series.append(Series(title, low, high, style="points", color=color))
        yield chart


def _half_lives(found: Sequence[Inspection]) -> Chart:
    """The half-lives of the units of each cell, sorted."""
    chart = Chart("half-life", "Half-life of each unit's state, sorted", "share of the units", "steps", log_y=True)
    for each in found:
        for one in each.gates:
            if one.half_life is not None:
                steps = _numbers(one.half_life.sort().values.clamp(1e-2, 1e9))
                share = (np.arange(len(steps)) + 0.5) / len(steps)
                chart.series.append(Series(label(each, one.place, found), share, steps, color=len(chart.series)))
    return chart


def _gradients(found: Sequence[Inspection]) -> Chart:
    """The mean norm of the gradient by distance, with the middle 80 % of the sequences; dashed before training."""
    least = min(float(curve.mean().min()) for each in found for curve in each.gradients)
    level = (SMALLEST, "smallest float") if least < SMALLEST else None
    title = "Gradient of one prediction, back through time"
    chart = Chart("gradient", title, "steps back", "norm", log_y=True, level=level)
    color = 0
    for each in found:
        before = {(curve.place, curve.field): curve for curve in each.gradients_before}
        for curve in each.gradients:
            name = f"{label(each, curve.place, found)}: {curve.field}"
            chart.series.append(_gradient(name, curve, color, band=True))
            if (earlier := before.get((curve.place, curve.field))) is not None:
                chart.series.append(_gradient(f"{name}, before training", earlier, color, band=False))
            color += 1
    return chart


def _gradient(name: str, curve: Curve, color: int, *, band: bool) -> Series:
    mean, (low, high) = curve.mean(), curve.spread()
    shown = mean > 0
    x, y = np.arange(len(mean), dtype=float)[shown.numpy()], _numbers(mean[shown])
    if not band:
        return Series(name, x, y, style="dashed", color=color)
    low, high = low[shown].clamp(min=1e-300), high[shown].clamp(min=1e-300)
    return Series(name, x, y, _numbers(low), _numbers(high), color=color)


def _contexts(found: Sequence[Inspection]) -> Chart:
    """The loss by the number of inputs that the model sees, with a mark at the effective memory."""
    chart = Chart("context", "Loss with the last inputs alone", "inputs", "loss of the last prediction", log_x=True)
    for each in found:
        if each.context is not None:
            color = len(chart.series)
            sizes, losses = _numbers(each.context.sizes), _numbers(each.context.losses.mean(1))
            chart.series.append(Series(each.name, sizes, losses, color=color))
            chart.marks.append((each.context.steps_back() + 1, color))
    return chart


def _influences(found: Sequence[Inspection]) -> Chart:
    """How much the loss changes if one input is replaced, by its distance."""
    chart = Chart("influence", "Change of the loss if one input is replaced", "steps back", "mean absolute change")
    for each in found:
        if each.influence is not None:
            distances, changes = _numbers(each.influence.distances), _numbers(each.influence.mean())
            low, high = (_numbers(side) for side in each.influence.interval())
            shown, color = ~np.isnan(changes), len(chart.series)
            chart.series.append(
                Series(each.name, distances[shown], changes[shown], low[shown], high[shown], color=color)
            )
    return chart


def _kept(found: Sequence[Inspection]) -> Iterator[Chart]:
    """For each fact how well it can be read by the steps since it was told, then the unit that keeps it best."""
    facts = {kept.fact: kept for each in found for kept in each.kept}
    ends = [re.sub(r"[^a-z0-9]+", "-", fact.lower()).strip("-") for fact in facts]
    for number, (fact, first) in enumerate(facts.items()):
        what = "accuracy (each class counts alike)" if first.classes else "R²"
        is_distinct = bool(ends[number]) and ends.count(ends[number]) == 1
        name = f"kept-{ends[number]}" if is_distinct else f"kept-fact-{number + 1}"
        since = "steps since the fact was told" if first.is_constant else "steps since the fact was first known"
        chart = Chart(name, f"Fact: {fact}", since, what, level=_chance(found, fact))
        examples: list[Chart] = []
        for each, model in zip(found, file_names(found), strict=True):
            kept = next((kept for kept in each.kept if kept.fact == fact), None)
            if kept is not None:
                chart.series.extend(_readings(each, kept, found, len(chart.series)))
                own = f"{name}{model}"
                for number, example in enumerate(kept.examples, 1):
                    examples += _traces(each, kept, number, example, own)
        yield chart
        yield from examples


def _chance(found: Sequence[Inspection], fact: str) -> tuple[float, str] | None:
    """The score by chance, if it is the same for all models."""
    levels = {kept.readings[0].one.chance for each in found for kept in each.kept if kept.fact == fact}
    return (levels.pop(), "chance") if len(levels) == 1 else None


def _readings(each: Inspection, kept: Kept, found: Sequence[Inspection], color: int) -> Iterator[Series]:
    """The best unit of a state and of a gate, and all units of that state together."""
    steps = np.array(kept.steps, dtype=float)
    for state in (True, False):
        if (best := kept.best(state=state)) is not None:
            name = f"{label(each, best.place, found)}: {best.name}"
            yield _by_step(f"{name}, unit {best.one.unit}", steps, best.one.by_step, color, "line")
            if state:
                scores = [_score(one) for one in best.every_at]
                yield _by_step(f"{name}, all units", steps, scores, color, "dashed")
            color += 1


def _score(one: Probe | None) -> float:
    return np.nan if one is None else one.score


def _by_step(
    name: str, steps: Numbers, scores: Sequence[float], color: int, style: Literal["line", "dashed"]
) -> Series:
    y = np.array(scores)
    shown = ~np.isnan(y)
    return Series(name, steps[shown], y[shown], style=style, color=color)


def _traces(each: Inspection, kept: Kept, number: int, example: Example, name: str) -> Iterator[Chart]:
    """The unit that keeps a fact over one sequence; over a long one, its gates in a chart of their own."""
    best = kept.best(state=True)
    assert best is not None
    title = f"{each.name}: unit {best.one.unit}, {best.place}; {kept.fact}: {example.label}"
    ticks = [*map(shortened, example.inputs)]
    chart = Chart(f"{name}-example-{number}", title, "what the model reads", "value", ticks=ticks,
                  marks=[(example.start, 7), (example.end, 7)])  # fmt: skip
    series = [_one_unit(activation, example.unit[activation], color, is_best=color == 0)
              for color, activation in enumerate(dict.fromkeys([best.name, *example.unit]))]  # fmt: skip
    if len(example.inputs) <= MOST_TOGETHER:
        yield replace(chart, series=series)
    else:
        yield replace(chart, series=series[:1])
        yield replace(chart, name=f"{chart.name}-gates", series=series[1:])


def _one_unit(name: str, unit: Tensor, color: int, *, is_best: bool) -> Series:
    values = _numbers(unit)
    if (most := float(np.abs(values).max())) > BESIDE_GATES:
        name, values = f"{name} / {most:.3g}", values / most
    style: Style = "line" if is_best else "dashed"
    return Series(name, np.arange(len(values), dtype=float), values, style=style, color=color)


def shortened(word: str) -> str:
    """A word as it stands on the page, cut if it is very long."""
    return word if len(word) <= LONGEST_WORD else word[: LONGEST_WORD - 3] + "..."


def file_names(found: Sequence[Inspection]) -> list[str]:
    """What the files of each model end with: nothing for a single one, else the last part of its name, or a number."""
    if len(found) == 1:
        return [""]
    ends = [re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(each.name).name).strip("-.") for each in found]
    are_distinct = all(ends) and len({end.lower() for end in ends}) == len(ends)  # a file system may not tell a from A
    return [f"-{end if are_distinct else n}" for n, end in enumerate(ends, 1)]


def _numbers(values: object) -> Numbers:
    return np.asarray(values, dtype=float)
