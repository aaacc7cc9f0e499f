"""Learning curves as a picture."""

from pathlib import Path
from typing import Any

from seqtrain.compare.summarise import FinishedRun


def draw_curves(groups: dict[str, list[FinishedRun]], path: Path) -> None:
    """Validation metric over training steps: one colour a cell, one line a seed, the baseline dashed."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    first = next(iter(groups.values()))[0].summary
    name, baseline = first["metric"]["name"], first["baseline"].get(first["metric"]["name"])
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    positive = True
    for number, (label, runs) in enumerate(groups.items()):
        for place, run in enumerate(runs):
            steps, values = _curve(run, name)
            positive = positive and all(value > 0 for value in values)
            legend = f"{label} (solved {_solved(runs)} of {len(runs)})".replace("$", r"\$") if place == 0 else None
            axes.plot(steps, values, color=f"C{number % 10}", alpha=0.8, marker=".", markersize=4, label=legend)
            if run.summary["status"] == "diverged" and steps:
                axes.plot(steps[-1], values[-1], "x", color=f"C{number % 10}", markersize=9)
    if baseline is not None:
        axes.axhline(baseline, color="black", linestyle="--", linewidth=1, label=f"baseline {baseline:.4g}")
    if positive and not first["metric"]["higher_is_better"]:
        axes.set_yscale("log")
    axes.set_xlabel("training step")
    axes.set_ylabel(f"validation {name}")
    axes.set_title(first["variant"], parse_math=False)
    axes.grid(alpha=0.3)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _curve(run: FinishedRun, name: str) -> tuple[list[int], list[float]]:
    points: list[tuple[int, Any]] = [
        (record["step"], record[name])
        for record in run.metrics
        if record["split"] == "valid" and record.get(name) is not None
    ]
    return [step for step, _ in points], [value for _, value in points]


def _solved(runs: list[FinishedRun]) -> int:
    return sum(run.summary["solved_at_step"] is not None for run in runs)
