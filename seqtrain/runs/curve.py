"""The learning curve of a run: its losses and its metric by training step."""

import io
import math
from collections.abc import Iterable

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from seqtrain.runs.records import MetricsRecord, Summary
from seqtrain.system.axes import number_plainly
from seqtrain.system.pictures import own_style
from seqtrain.system.words import counted, figure, visible

Points = NDArray[np.float64]
"""`[N, 2]`: steps and values, NaN for a value that is not finite."""

LARGEST = 1e100
"""Larger values are drawn as this one: matplotlib cannot lay out axes near the end of the range of floats."""

WIDTH, LEFT, RIGHT, TITLE, LEGEND, PANEL, BELOW = 8.0, 0.9, 0.2, 0.35, 0.4, 2.7, 0.5
"""Inches: the width of the picture, what is left and right of the axes, and the heights of the title, of a legend, of a
panel and of the numbers below. matplotlib can compute such a layout, which takes as long as all the rest."""

LONGEST = 70
"""Characters of the model and the task in the title; the name of a text may be long."""

FEW = 30
"""The largest number of values of which each has a mark; for more of them the line is enough."""

SPAN = 10
"""An axis is logarithmic if the largest value is more than this many times the smallest."""


def as_png(summary: Summary, records: Iterable[MetricsRecord]) -> bytes:
    """The picture of a run, drawn with the defaults of matplotlib, whatever a user has set for other plots."""
    picture = io.BytesIO()
    with own_style():
        matplotlib.rcdefaults()
        draw(summary, records).savefig(picture, format="png")
    return picture.getvalue()


def draw(summary: Summary, records: Iterable[MetricsRecord]) -> Figure:
    """The losses by step, and in a panel below the validation metric, if it is not the loss itself."""
    name = summary.metric.name
    training, losses, metrics = _points(name, records)
    is_loss = np.allclose(losses, metrics, rtol=1e-3, atol=1e-12, equal_nan=True)
    panels = 1 if is_loss or np.isnan(metrics[:, 1]).all() else 2
    height = TITLE + panels * (LEGEND + PANEL) + BELOW
    shown = Figure(figsize=(WIDTH, height), dpi=100)
    shown.suptitle(_title(summary), y=1 - 0.1 / height, va="top", fontsize="medium", parse_math=False)
    shown.subplots_adjust(
        left=LEFT / WIDTH, right=1 - RIGHT / WIDTH, bottom=BELOW / height, top=1 - (TITLE + LEGEND) / height,
        hspace=LEGEND / PANEL,
    )  # fmt: skip
    upper, *lower = shown.subplots(panels, sharex=True, squeeze=False)[:, 0]
    _plot(upper, training, "training loss", "C0", linewidth=1)
    _plot(upper, losses, "validation loss", "C1")
    _finish(upper, summary, "loss", has_best=is_loss)
    upper.set_ylabel(f"loss ({name})" if is_loss and len(losses) else "loss")
    for axes in lower:
        _plot(axes, metrics, f"validation {name}", "C1")
        _finish(axes, summary, name, has_best=True)
        axes.set_ylabel(f"{name} ({'higher' if summary.metric.higher_is_better else 'lower'} is better)")
    bottom = shown.axes[-1]
    bottom.set_xlabel("training step")
    bottom.set_xlim(0, max(1, *bottom.get_xlim()))
    bottom.xaxis.set_major_locator(MaxNLocator(7, integer=True, steps=[1, 2, 2.5, 5, 10]))
    bottom.xaxis.set_major_formatter("{x:,.0f}")
    return shown


def _points(name: str, records: Iterable[MetricsRecord]) -> tuple[Points, Points, Points]:
    """The training loss, the validation loss and the validation metric."""
    training, losses, metrics = list[tuple[int, float]](), list[tuple[int, float]](), list[tuple[int, float]]()
    for record in records:
        loss = math.nan if record.loss is None else record.loss
        if record.split == "train":
            training.append((record.step, loss))
        else:
            value = record.metrics.get(name)
            losses.append((record.step, loss))
            metrics.append((record.step, math.nan if value is None else value))
    first, second, third = (np.array(each, dtype=float).reshape(-1, 2) for each in (training, losses, metrics))
    return first.clip(-LARGEST, LARGEST), second.clip(-LARGEST, LARGEST), third.clip(-LARGEST, LARGEST)


def _title(summary: Summary) -> str:
    """What was trained, in one line."""
    what = visible(f"{summary.cell} on {summary.variant}")
    return f"{what if len(what) <= LONGEST else what[: LONGEST - 3] + '...'}, seed {summary.seed}: {summary.status}"


def _plot(axes: Axes, points: Points, label: str, color: str, linewidth: float = 2) -> None:
    """A line with a gap where a value is not finite; a value without neighbours, which makes no line, has a mark."""
    known = np.pad(~np.isnan(points[:, 1]), 1)
    marked = known[1:-1] & ((len(points) <= FEW) | ~(known[:-2] | known[2:]))
    if known.any():
        axes.plot(
            *points.T, color=color, linewidth=linewidth, marker="o", markersize=3, markevery=list(marked), label=label
        )


def _finish(axes: Axes, summary: Summary, name: str, *, has_best: bool) -> None:
    """What stands beside the lines: the best evaluation, the baseline and the end; the scale, and a legend above."""
    best, baseline = summary.best, summary.baseline.get(name)
    if not axes.lines:
        text = f"no loss was recorded in {counted(summary.steps, 'step')}"
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center")
    if has_best and best.step is not None and best.value is not None:
        label = f"best {figure(best.value)} at step {best.step:,}"
        value = min(best.value, LARGEST)
        axes.plot(best.step, value, "*", color="C3", markersize=12, zorder=3, clip_on=False, label=label)
    if baseline is not None:
        axes.axhline(baseline, color="black", linestyle="--", linewidth=1, label=f"baseline {figure(baseline)}")
    _scale(axes, may_be_log=name == "loss" or not summary.metric.higher_is_better)
    for what, step in _ends(summary).items():
        color = "C3" if what == "diverged" else "C2"
        axes.axvline(step, color=color, linestyle=":", label=f"{what} at step {step:,}")
    axes.grid(alpha=0.3)
    columns = min(4, len(axes.lines)) if len(axes.lines) < 5 else 3
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=max(1, columns), frameon=False, fontsize="small")


def _ends(summary: Summary) -> dict[str, int]:
    """The step at which the run was solved, and the one at which it diverged."""
    ends = {} if summary.solved_at_step is None else {"solved": summary.solved_at_step}
    if summary.status == "diverged":
        step = (summary.divergence or {}).get("step")
        ends["diverged"] = step if isinstance(step, int) else summary.steps
    return ends


def _scale(axes: Axes, *, may_be_log: bool) -> None:
    """A logarithmic axis if it may be and the values are far apart; plain numbers in any case."""
    values = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in axes.lines] or [np.array([])])
    positive = values[values > 0]
    if may_be_log and len(positive) and positive.max() > SPAN * positive.min() and not (values < 0).any():
        axes.set_yscale("log")
        number_plainly(axes.yaxis)
    else:
        axes.yaxis.set_major_formatter("{x:g}")
