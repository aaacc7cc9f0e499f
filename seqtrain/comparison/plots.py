"""The plots of a comparison."""

import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator
from matplotlib.transforms import ScaledTranslation
from numpy.typing import NDArray

from seqtrain.comparison.defaults import FEWEST_FOR_INTERVALS
from seqtrain.comparison.load_runs import FinishedRun, Group
from seqtrain.comparison.records import Point, Row, Tuning
from seqtrain.comparison.significance import SHARE, STEPS, outcome_of
from seqtrain.comparison.statistics import Estimate
from seqtrain.comparison.tuning_budget import searched, unsolved_budgets, what_is_shown
from seqtrain.system.axes import number_plainly
from seqtrain.system.files import write_whole
from seqtrain.system.pictures import encoded
from seqtrain.system.words import visible

ENTRY = 0.24
"""Inches of an entry of a legend, which stands below its axes so that it never covers a curve."""

BELOW = 0.6
"""Inches between the axes and a legend: room for the numbers and the name of the x axis."""

LONGEST_LINE = 36
"""Characters of a line of a label; a cell may have many options."""

MOST_CURVES = 12
"""The largest number of values of the varied setting whose curves are drawn."""


def draw(
    groups: Sequence[Group],
    rows: Sequence[Row],
    varied: str | None,
    out: Path,
    *,
    values_compared: bool = False,
    timed: bool = False,
    form: str = "png",
    tuning: Sequence[Tuning] = (),
) -> dict[str, str]:
    """Draw the plots that suit the comparison into `out`; returns their paths by name.

    Parameters
    ----------
    values_compared : whether the verdicts are between the values of what is varied.
    timed : as for `outcome_of`.
    form : of the files that are returned. There is always a PNG beside, which the page of the report shows.
    tuning : of each row; a search is drawn, a grid is not.
    """
    plots = {"curves": _curves(groups, varied)}
    if varied is None:
        plots["metric"] = _metric(groups, rows)
    elif rows[0].solvable:
        plots["success"] = _success(rows, varied)
    else:
        plots["metric"] = _metric_over(rows, varied, groups[0].summary.metric.name)
    if outcome_of(groups) == STEPS and (varied is None or values_compared):
        plots = {"steps": _steps(groups, rows, timed=timed), **plots}
    if entries := searched(tuning):
        plots["tuning"] = _budgets(entries, groups[0].summary.variant, varied)
    for name, figure in plots.items():
        for ending in dict.fromkeys(("png", form)):
            _save(figure, out / f"{name}.{ending}")
    return {name: str(out / f"{name}.{form}") for name in plots}


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, encoded(figure, path.suffix.removeprefix(".")))


def _curves(groups: Sequence[Group], varied: str | None) -> Figure:
    """Validation metric over training steps: a line a seed, the mean of each cell with its 95 % band, the baseline.

    Cells with few runs have no band, and a point at each evaluation of a run.
    """
    figure, panels = _panels([(group.at, group.cell) for group in groups])
    for value, panel in panels:
        members = [group for group in groups if group.at == value]
        _curves_at(panel, members)
        variant = members[0].summary.variant
        panel.set_title(visible(variant if varied is None else f"{varied}={value}"), parse_math=False, pad=18)
        key = "thin: each run, thick: mean"
        if max(len(group.runs) for group in members) >= FEWEST_FOR_INTERVALS:
            key += ", band: 95 % interval of the mean"
        panel.text(0.5, 1.01, key, transform=panel.transAxes, ha="center", va="bottom", fontsize="small")
    return figure


def _panels(rows: Sequence[tuple[Point, str]]) -> tuple[Figure, list[tuple[Point, Axes]]]:
    """Axes for each value of the varied setting, with room for a legend of its rows below."""
    values = list(dict.fromkeys(value for value, _ in rows))[:MOST_CURVES]
    columns = min(3, len(values))
    lines = -(-len(values) // columns)
    legend = ENTRY * (1 + max(_lines(cell for at, cell in rows if at == value) for value in values))
    figure = Figure(figsize=(8 if columns == 1 else 5 * columns, (5 + legend) * lines), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False)
    for panel in panels.flat[len(values) :]:
        panel.axis("off")
    return figure, list(zip(values, panels.flat, strict=False))


def _budgets(entries: Sequence[Tuning], variant: str, varied: str | None) -> Figure:
    """How good the best of n candidates is over n, a line a cell: which cell is best at which tuning budget."""
    figure, panels = _panels([(entry.at, entry.cell) for entry in entries])
    for value, axes in panels:
        own = [entry for entry in entries if entry.at == value]
        curves = [[figure for figure in entry.best_of if figure is not None] for entry in own]
        for number, (entry, curve) in enumerate(zip(own, curves, strict=True)):
            axes.plot(
                range(1, len(curve) + 1), curve, color=f"C{number % 10}", label=_plain(entry.cell), marker="o",
                markersize=3, drawstyle="default" if entry.method == "random" else "steps-post",
            )  # fmt: skip
        budgets = unsolved_budgets(own)
        if budgets:
            name = "budget: not solved" if len(budgets) == 1 else "largest budget: not solved"
            axes.axhline(max(budgets), color="black", linestyle="--", linewidth=1, zorder=3, label=name)
        if own[0].lower_is_better:
            _spread(axes, [*(figure for curve in curves for figure in curve), *budgets], "y")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(visible(variant if varied is None else f"{varied}={value}"), parse_math=False)
        axes.set_xlabel("n, candidates that are tried")
        axes.set_ylabel(what_is_shown(own[0]).replace(", ", ",\n"))
        axes.grid(alpha=0.3)
        _legend_below(axes)
    return figure


def _curves_at(axes: Axes, groups: Sequence[Group]) -> None:
    first = groups[0].summary
    name, baseline = first.metric.name, first.baseline.get(first.metric.name)
    positive, bands = True, []
    for number, group in enumerate(groups):
        color = f"C{number % 10}"
        curves = [_curve(run, name) for run in group.runs]
        positive = positive and all(value > 0 for curve in curves for value in curve.values())
        few = len(curves) < FEWEST_FOR_INTERVALS
        for run, curve in zip(group.runs, curves, strict=True):
            marker = "o" if few or len(curve) == 1 else None  # a line needs two points
            axes.plot(
                list(curve), list(curve.values()), color=color, alpha=0.35, linewidth=1, marker=marker, markersize=3
            )
            if run.summary.status == "diverged" and curve:
                axes.plot(list(curve)[-1], list(curve.values())[-1], "x", color=color, markersize=9)
        steps, mean, low, high = _band(curves, group)
        solved = f" (solved {group.solved} of {len(group.runs)})" if group.is_solvable else ""
        axes.plot(steps, mean, color=color, linewidth=2, label=_plain(group.cell + solved))
        if not few:
            bands.append((steps, low, high, color))
    if baseline is not None:
        axes.axhline(baseline, color="black", linestyle="--", linewidth=1, label=f"baseline {baseline:.4g}")
    if positive and not first.metric.higher_is_better:
        axes.set_yscale("log")
        number_plainly(axes.yaxis)
    limits = axes.get_ylim()
    for steps, low, high, color in bands:
        axes.fill_between(steps, low, high, color=color, alpha=0.15, linewidth=0)
    axes.set_ylim(limits)  # of the curves: the interval of two or three runs may be many times as wide as their reach
    axes.set_xlabel("training step")
    axes.set_ylabel(f"validation {name}")
    axes.grid(alpha=0.3)
    _legend_below(axes)


def _legend_below(axes: Axes) -> None:
    """A legend outside the axes, below the name of the x axis."""
    corner = axes.transAxes + ScaledTranslation(0, -BELOW, axes.figure.dpi_scale_trans)
    axes.legend(loc="upper left", bbox_to_anchor=(0, 0), bbox_transform=corner, borderaxespad=0, frameon=False)


def _curve(run: FinishedRun, name: str) -> dict[int, float]:
    """The validation metric by step."""
    return {
        record.step: value
        for record in run.metrics
        if record.split == "valid" and (value := record.as_json().get(name)) is not None
    }


def _band(curves: Sequence[dict[int, float]], group: Group) -> NDArray[np.float64]:
    """Steps of evaluations, the mean there and its 95 % interval; a run that stopped early keeps its last value."""
    points = []
    for step in sorted({step for curve in curves for step in curve}):
        band = group.metric_interval([curve[max(at)] for curve in curves if (at := [at for at in curve if at <= step])])
        ends = (band.mean, band.mean) if band.low is None else (band.low, band.high)
        points.append((step, band.mean, *ends))
    return np.array(points, dtype=float).reshape(-1, 4).T


def _metric(groups: Sequence[Group], rows: Sequence[Row]) -> Figure:
    """The test metric of each cell: a point a run, the mean with its 95 % interval, the baseline."""
    first = groups[0].summary
    name, baseline = first.metric.name, first.baseline.get(first.metric.name)
    figure, axes = _row_by_row(rows, first.variant)
    for place, row in enumerate(rows):
        metric, color = row.metric, f"C{place % 10}"
        values = [value for value in metric.values if value is not None]
        axes.plot(values, [place + 0.12] * len(values), "o", color=color, alpha=0.4, markersize=5)
        if metric.mean is not None:
            axes.plot(metric.mean, place, "D", color=color, markersize=7)
        if metric.low is not None and metric.high is not None and row.runs >= FEWEST_FOR_INTERVALS:
            axes.plot([metric.low, metric.high], [place, place], color=color, linewidth=2)
    if baseline is not None:
        axes.axvline(baseline, color="black", linestyle="--", linewidth=1, label=f"baseline {baseline:.4g}")
        figure.legend(loc="outside lower left", frameon=False)
    if not first.metric.higher_is_better:
        _spread(axes, [value for row in rows for value in row.metric.values if value is not None])
    better = "higher" if first.metric.higher_is_better else "lower"
    interval = " and 95 % interval" if max(row.runs for row in rows) >= FEWEST_FOR_INTERVALS else ""
    axes.set_xlabel(f"test {name} ({better} is better): each run, mean{interval}")
    return figure


def _steps(groups: Sequence[Group], rows: Sequence[Row], *, timed: bool) -> Figure:
    """The steps to solve of each cell: a point a run, the median; a cross at its last step for a run without."""
    figure, axes = _row_by_row(rows, groups[0].summary.variant)
    known = list[float]()
    for place, (group, row) in enumerate(zip(groups, rows, strict=True)):
        color, median = f"C{place % 10}", row.median_steps_to_solve
        for number, run in enumerate(group.runs):
            whole = run.summary.planned_steps if timed else 1
            known.append(run.steps_within_budget / whole)
            spot = (known[-1], place + 0.1 + 0.3 * number / len(group.runs))  # a line a seed, as many steps are equal
            axes.plot(*spot, "o" if run.is_solved else "x", color=color, alpha=0.6, markersize=5)
        if median is not None:
            axes.plot(median / (row.steps_to_solve.budget if timed else 1), place - 0.1, "D", color=color, markersize=7)
    if any(group.solved < len(group.runs) for group in groups):
        cross = Line2D([], [], marker="x", color="black", linestyle="", label="not solved: at its last step")
        figure.legend(handles=[cross], loc="outside lower left", frameon=False)
    _spread(axes, known)
    axes.set_xlabel(f"{(SHARE if timed else STEPS).name} (fewer is better): each run, median")
    return figure


def _row_by_row(rows: Sequence[Row], variant: str) -> tuple[Figure, Axes]:
    """Axes on which each row has a line of its own."""
    labels = [row.label for row in rows]
    figure = Figure(figsize=(8, 1.4 + ENTRY + 0.3 * len(rows) + 0.2 * _lines(labels)), layout="constrained")
    axes = figure.subplots()
    axes.set_yticks(range(len(rows)), [_plain(label) for label in labels])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_title(visible(variant), parse_math=False)
    axes.grid(alpha=0.3, axis="x")
    return figure, axes


def _spread(axes: Axes, values: Sequence[float], which: Literal["x", "y"] = "x") -> None:
    """A logarithmic axis if the values are many times apart."""
    if values and min(values) > 0 and max(values) > 20 * min(values):
        axis = axes.xaxis if which == "x" else axes.yaxis
        axes.set(**{f"{which}scale": "log"})
        number_plainly(axis)


def _success(rows: Sequence[Row], varied: str) -> Figure:
    """The share of solved runs over the varied setting, with Wilson's 95 % interval."""
    figure = _over(rows, varied, f"share of {rows[0].runs} runs solved", lambda row: row.solved_share)
    figure.axes[0].set_ylim(-0.05, 1.05)
    return figure


def _metric_over(rows: Sequence[Row], varied: str, name: str) -> Figure:
    """The mean of the test metric over the varied setting, with its 95 % interval."""
    return _over(rows, varied, f"test {name}, mean of {rows[0].runs}", lambda row: row.metric)


def _over(rows: Sequence[Row], varied: str, name: str, estimate: Callable[[Row], Estimate]) -> Figure:
    """An estimate over the varied setting, a line a cell."""
    cells, fewest = list(dict.fromkeys(row.cell for row in rows)), min(row.runs for row in rows)
    figure = Figure(figsize=(8, 5 + ENTRY * _lines(cells)), layout="constrained")
    axes = figure.subplots()
    values = list(dict.fromkeys(row.at for row in rows))
    numbers = [float(value) for value in values if isinstance(value, int | float) and value > 0]
    is_log = len(numbers) == len(values)
    places = dict(zip(values, numbers if is_log else range(len(values)), strict=True))
    for number, cell in enumerate(cells):
        own = [row for row in rows if row.cell == cell]
        shift = 0.02 * (number - (len(cells) - 1) / 2) if is_log else 0.05 * number
        spots = [places[row.at] * (1 + shift) if is_log else places[row.at] + shift for row in own]
        points = [(found.mean, found.low, found.high) for found in map(estimate, own)]
        mean, low, high = np.array(points, dtype=float).T
        errors = [mean - low, high - mean] if fewest >= FEWEST_FOR_INTERVALS else None
        axes.errorbar(spots, mean, yerr=errors, color=f"C{number % 10}", marker="o", capsize=3, label=_plain(cell))
    if is_log:
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks([*places.values()], [_plain(str(value)) for value in values])
    axes.set_xlabel(varied)
    interval = ", 95 % interval" if fewest >= FEWEST_FOR_INTERVALS else ""
    axes.set_ylabel(f"{name}{interval}")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower left", frameon=False)
    return figure


def _plain(text: str) -> str:
    """The text in short lines, with its dollar signs escaped, which would begin a formula.

    An underscore at the beginning would hide it in a legend.
    """
    lines = textwrap.wrap(visible(text), LONGEST_LINE) or [""]
    return (" " if text.startswith("_") else "") + "\n".join(lines).replace("$", r"\$")


def _lines(labels: Iterable[str]) -> int:
    """The lines that labels take."""
    return sum(1 + _plain(label).count("\n") for label in labels)
