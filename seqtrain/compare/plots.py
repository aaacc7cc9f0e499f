"""The pictures of a comparison."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from seqtrain.compare.load_runs import FinishedRun, Group, is_solvable, metric_interval

MOST_CURVES = 12
"""Values of what is varied whose learning curves are drawn beside each other."""


def draw(groups: Sequence[Group], rows: Sequence[dict[str, Any]], varied: str | None, out: Path) -> dict[str, str]:
    """Draw every picture that says something into `out`; returns their paths by name."""
    import matplotlib as mpl

    mpl.use("Agg")
    pictures: dict[str, Callable[[Path], None]] = {"curves": lambda path: _curves(groups, varied, path)}
    if varied is None:
        pictures["metric"] = lambda path: _metric(groups, rows, path)
    elif rows[0]["solvable"]:
        pictures["success"] = lambda path: _success(rows, varied, path)
    found = {}
    for name, paint in pictures.items():
        path = out / f"{name}.png"
        paint(path)
        found[name] = str(path)
    return found


def _save(figure: Any, path: Path) -> None:
    from matplotlib import pyplot as plt

    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _curves(groups: Sequence[Group], varied: str | None, path: Path) -> None:
    """Validation metric over training steps: a line a seed, the mean of each cell with its 95 % band, the baseline."""
    from matplotlib import pyplot as plt

    values = list(dict.fromkeys(group.at for group in groups))[:MOST_CURVES]
    columns = min(3, len(values))
    lines = -(-len(values) // columns)
    figure, panels = plt.subplots(
        lines, columns, figsize=(8 if columns == 1 else 5 * columns, 5 * lines), layout="constrained", squeeze=False
    )
    for panel in panels.flat[len(values) :]:
        panel.axis("off")
    for panel, value in zip(panels.flat, values, strict=False):
        members = [group for group in groups if group.at == value]
        _curves_at(panel, members)
        variant = members[0].runs[0].summary["variant"]
        panel.set_title(variant if varied is None else f"{varied}={value}", parse_math=False)
    _save(figure, path)


def _curves_at(axes: Any, groups: Sequence[Group]) -> None:
    first = groups[0].runs[0].summary
    name, baseline = first["metric"]["name"], first["baseline"].get(first["metric"]["name"])
    positive, bands = True, []
    for number, group in enumerate(groups):
        color = f"C{number % 10}"
        curves = [_curve(run, name) for run in group.runs]
        positive = positive and all(value > 0 for curve in curves for value in curve.values())
        for run, curve in zip(group.runs, curves, strict=True):
            axes.plot(list(curve), list(curve.values()), color=color, alpha=0.35, linewidth=1)
            if run.summary["status"] == "diverged" and curve:
                axes.plot(list(curve)[-1], list(curve.values())[-1], "x", color=color, markersize=9)
        steps, mean, low, high = _band(curves, first["task"])
        solved = f" (solved {_solved(group)} of {len(group.runs)})" if _can_be_solved(group) else ""
        axes.plot(steps, mean, color=color, linewidth=2, label=_plain(group.cell + solved))
        bands.append((steps, low, high, color))
    if baseline is not None:
        axes.axhline(baseline, color="black", linestyle="--", linewidth=1, label=f"baseline {baseline:.4g}")
    if positive and not first["metric"]["higher_is_better"]:
        axes.set_yscale("log")
    limits = axes.get_ylim()
    for steps, low, high, color in bands:
        axes.fill_between(steps, low, high, color=color, alpha=0.15, linewidth=0)
    axes.set_ylim(limits)  # of the curves: the interval of two or three runs may be many times as wide as their reach
    axes.set_xlabel("training step")
    axes.set_ylabel(f"validation {name}")
    axes.grid(alpha=0.3)
    axes.legend()


def _curve(run: FinishedRun, name: str) -> dict[int, float]:
    return {
        record["step"]: record[name]
        for record in run.metrics
        if record["split"] == "valid" and record.get(name) is not None
    }


def _band(curves: Sequence[dict[int, float]], task: str) -> tuple[list[int], list[float], list[float], list[float]]:
    """The mean and its 95 % interval at every step that a run was evaluated at.

    A run that stopped early, because it was solved, counts with its last value from then on.
    """
    steps = sorted({step for curve in curves for step in curve})
    found = [
        metric_interval([curve[max(seen)] for curve in curves if (seen := [at for at in curve if at <= step])], task)
        for step in steps
    ]
    mean = [one.mean for one in found if one.mean is not None]
    low = [one.mean if one.low is None else one.low for one in found if one.mean is not None]
    high = [one.mean if one.high is None else one.high for one in found if one.mean is not None]
    return steps, mean, low, high


def _metric(groups: Sequence[Group], rows: Sequence[dict[str, Any]], path: Path) -> None:
    """The test metric of each cell: a point a run, the mean with its 95 % interval, the baseline."""
    from matplotlib import pyplot as plt

    first = groups[0].runs[0].summary
    name, baseline = first["metric"]["name"], first["baseline"].get(first["metric"]["name"])
    figure, axes = plt.subplots(figsize=(8, 1.4 + 0.5 * len(rows)), layout="constrained")
    every = []
    for place, row in enumerate(rows):
        values = [value for value in row["metric"]["values"] if value is not None]
        every += values
        spots = [place + 0.12] * len(values)
        axes.plot(values, spots, "o", color=f"C{place % 10}", alpha=0.4, markersize=5)
        metric = row["metric"]
        if metric["mean"] is not None:
            axes.plot(metric["mean"], place, "D", color=f"C{place % 10}", markersize=7)
        if metric["low"] is not None:
            axes.plot([metric["low"], metric["high"]], [place, place], color=f"C{place % 10}", linewidth=2)
    if baseline is not None:
        axes.axvline(baseline, color="black", linestyle="--", linewidth=1, label=f"baseline {baseline:.4g}")
        axes.legend()
    if every and min(every) > 0 and not first["metric"]["higher_is_better"] and max(every) > 20 * min(every):
        axes.set_xscale("log")
    axes.set_yticks(range(len(rows)), [_plain(row["cell"]) for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    better = "higher" if first["metric"]["higher_is_better"] else "lower"
    axes.set_xlabel(f"test {name} ({better} is better): each run, mean and 95 % interval")
    axes.set_title(first["variant"], parse_math=False)
    axes.grid(alpha=0.3, axis="x")
    _save(figure, path)


def _success(rows: Sequence[dict[str, Any]], varied: str, path: Path) -> None:
    """The share of solved runs over what is varied, with Wilson's 95 % interval."""
    from matplotlib import pyplot as plt
    from matplotlib.ticker import NullLocator

    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    values = list(dict.fromkeys(row["at"] for row in rows))
    numbers = all(isinstance(value, int | float) and value > 0 for value in values)
    cells = list(dict.fromkeys(row["cell"] for row in rows))
    for number, cell in enumerate(cells):
        own = [row for row in rows if row["cell"] == cell]
        shift = 1 + 0.02 * (number - (len(cells) - 1) / 2) if numbers else 0.05 * number
        spots = [row["at"] * shift if numbers else values.index(row["at"]) + shift for row in own]
        share = [row["solved_share"]["mean"] for row in own]
        off = [
            [value - row["solved_share"]["low"] for value, row in zip(share, own, strict=True)],
            [row["solved_share"]["high"] - value for value, row in zip(share, own, strict=True)],
        ]
        axes.errorbar(spots, share, yerr=off, color=f"C{number % 10}", marker="o", capsize=3, label=_plain(cell))
    if numbers:
        axes.set_xscale("log")
        axes.set_xticks(values, [str(value) for value in values], minor=False)
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.set_xticks(range(len(values)), [_plain(str(value)) for value in values])
    axes.set_ylim(-0.05, 1.05)
    axes.set_xlabel(varied)
    axes.set_ylabel(f"share of {rows[0]['runs']} runs solved, 95 % interval")
    axes.grid(alpha=0.3)
    axes.legend()
    _save(figure, path)


def _solved(group: Group) -> int:
    return sum(run.summary["solved_at_step"] is not None for run in group.runs)


def _can_be_solved(group: Group) -> bool:
    return is_solvable(group.runs[0].summary["task"])


def _plain(text: str) -> str:
    """A text in which no dollar begins a formula."""
    return text.replace("$", r"\$")
