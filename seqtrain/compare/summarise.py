"""From finished runs to one row a cell."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from seqtrain.errors import CheckpointError
from seqtrain.run_dir import RunDir

PER_RUN = ("seed", "threads")
"""Settings in which the runs of one row may differ."""


NEEDED = {
    "task", "variant", "metric", "baseline", "test", "status", "solved_at_step", "hidden_size", "parameters", "seed",
}  # fmt: skip
"""What a summary must say to be compared."""


class FinishedRun(NamedTuple):
    """What a run directory says about itself."""

    path: Path
    config: dict[str, Any]
    summary: dict[str, Any]
    metrics: list[dict[str, Any]]


def read_runs(paths: Sequence[Path]) -> list[FinishedRun]:
    """Read run directories.

    Raises
    ------
    CheckpointError : one holds no finished run, or they are not runs of one task.
    """
    runs, faults = [], []
    seen: dict[str, Path] = {}
    for path in {path.resolve(): path for path in paths}.values():
        run = RunDir(path)
        config, summary = run.read_config(), run.read_summary()
        if config is None or summary is None or not summary.keys() >= NEEDED:
            faults.append(f"{path}: holds no finished run; seqtrain train makes one")
            continue
        runs.append(FinishedRun(path, config, summary, run.read_metrics()))
        same = seen.setdefault(json.dumps(config, sort_keys=True), path)
        if same != path:
            faults.append(f"{path}: is the same run as {same} (config and seed agree); give it once")
    variants = {run.summary["variant"]: run.path for run in runs}
    if len(variants) > 1:
        told = "; ".join(f"{path} is {variant}" for variant, path in variants.items())
        faults.append(f"these runs are not of one task and cannot be compared: {told}")
    if faults:
        raise CheckpointError("\n".join(faults))
    return runs


def group_runs(runs: Sequence[FinishedRun]) -> dict[str, list[FinishedRun]]:
    """Runs that differ in their seed alone, under a label: the cell, with the settings that tell it from others."""
    groups: dict[str, list[FinishedRun]] = {}
    for run in runs:
        groups.setdefault(json.dumps(_identity(run)), []).append(run)
    identities = {key: _identity(members[0]) for key, members in groups.items()}
    return {_label(key, identities): members for key, members in groups.items()}


def _identity(run: FinishedRun) -> dict[str, Any]:
    return {key: value for key, value in _flat(run.config).items() if key not in PER_RUN}


def _label(key: str, identities: dict[str, dict[str, Any]]) -> str:
    """The cell's name, and the settings in which groups of the same cell differ."""
    own = identities[key]
    alike = [other for other in identities.values() if other["model.cell.name"] == own["model.cell.name"]]
    varied = [name for name in own if any(other.get(name) != own[name] for other in alike)]
    return " ".join([own["model.cell.name"], *(f"{_last(name, varied)}={own[name]}" for name in varied)])


def _last(name: str, among: list[str]) -> str:
    """The last word of a setting's name, if it is the only one that ends so."""
    end = name.rsplit(".", 1)[-1]
    return end if sum(other.rsplit(".", 1)[-1] == end for other in among) == 1 else name


def _flat(section: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in section.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def summarise(groups: dict[str, list[FinishedRun]]) -> dict[str, Any]:
    """What `seqtrain compare --json` prints, but for the path of the picture.

    A run that was not solved counts in the median of the steps to solve as one that takes for ever: `null` if
    half of the runs or more are not solved. A run that diverged before its first evaluation has no value.
    """
    first = next(iter(groups.values()))[0].summary
    return {
        "task": first["task"],
        "variant": first["variant"],
        "metric": first["metric"],
        "baseline": first["baseline"],
        "cells": [_row(label, members) for label, members in groups.items()],
        "runs": [{"run": str(run.path), **run.summary} for members in groups.values() for run in members],
    }


def _row(label: str, runs: list[FinishedRun]) -> dict[str, Any]:
    first = runs[0].summary
    name = first["metric"]["name"]
    values = [run.summary["test"][name] for run in runs if run.summary["test"]]
    known = [value for value in values if value is not None]
    steps = [run.summary["solved_at_step"] for run in runs]
    median = statistics.median([float("inf") if step is None else step for step in steps])
    throughput = next(key for key in first if key.endswith("_per_s"))
    rates = [run.summary[throughput] for run in runs if run.summary[throughput]]
    baseline = first["baseline"].get(name)
    mean = statistics.fmean(known) if known else None
    return {
        "cell": label,
        "hidden_size": first["hidden_size"],
        "parameters": first["parameters"],
        "runs": len(runs),
        "diverged": sum(run.summary["status"] == "diverged" for run in runs),
        "metric": {
            "mean": mean,
            "sd": statistics.stdev(known) if len(known) > 1 else None,
            "values": values,
        },
        "of_baseline": mean / baseline if mean is not None and baseline else None,
        "solved": sum(step is not None for step in steps),
        "median_steps_to_solve": median if median < float("inf") else None,
        throughput: statistics.median(rates) if rates else None,
    }
