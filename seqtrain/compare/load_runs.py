"""From finished runs to one row a cell."""

import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from seqtrain.compare.plan import DONE
from seqtrain.compare.statistics import Estimate, mean_interval, share_interval
from seqtrain.config import config_from
from seqtrain.config.resolve import unresolved
from seqtrain.runs.directory import RunDir
from seqtrain.runs.records import LARGEST
from seqtrain.system.errors import CheckpointError, ConfigError, SeqtrainError
from seqtrain.system.files import UnreadableError
from seqtrain.tasks import TASKS

PER_RUN = ("seed", "threads")
"""Settings in which the runs of one row may differ."""


class FinishedRun(NamedTuple):
    """What a run directory says about itself."""

    path: Path
    config: dict[str, Any]
    summary: dict[str, Any]
    metrics: list[dict[str, Any]]


class Group(NamedTuple):
    """Runs that differ in their seed alone.

    cell : the label of their row: the cell, with the settings that tell it from others.
    at : the value of the setting that is varied, None if nothing is.
    """

    cell: str
    at: Any
    runs: list[FinishedRun]


def read_runs(paths: Sequence[Path]) -> list[FinishedRun]:
    """Read run directories.

    Raises
    ------
    CheckpointError : one holds no finished run, or one run is given twice.
    """
    runs, faults = [], []
    seen: dict[str, Path] = {}
    for path in {path.resolve(): path for path in paths}.values():
        try:
            run = _read_run(path)
        except SeqtrainError as error:
            faults.append(str(error))
            continue
        runs.append(run)
        same = seen.setdefault(json.dumps(run.config, sort_keys=True), path)
        if same != path:
            faults.append(f"{path}: is the same run as {same} (config and seed agree); give it once")
    if faults:
        raise CheckpointError("\n".join(faults))
    return runs


def _read_run(path: Path) -> FinishedRun:
    """One run directory, whose files may have been written by hand."""
    run = RunDir(path)
    go_on = f"go on with: seqtrain train {path} --resume, or leave it out"
    try:
        config = unresolved(config_from(run.config_data(), str(run.config), task_is_built=False))
        if not run.summary.exists():
            raise CheckpointError(f"{path}: was killed, or is being trained; {go_on}")
        summary = run.load_summary()
        if fault := summary.fault_beside(config):
            raise UnreadableError(run.summary, fault)
        metrics = _comparable(run) if summary.status in DONE else []
    except (ConfigError, UnreadableError) as error:
        told = "; ".join(str(error).splitlines())
        raise CheckpointError(
            f"{path}: holds no finished run that can be compared ({told}); mend the file, or leave the run out "
            "(seqtrain train makes one)"
        ) from None
    if summary.status not in DONE:
        raise CheckpointError(f"{path}: is {summary.status}, not finished; {go_on}")
    return FinishedRun(path, config.model_dump(mode="json"), summary.as_json(), metrics)


def _comparable(run: RunDir) -> list[dict[str, Any]]:
    """The records of a run, whose figures can be averaged."""
    records = [record.as_json() for record in run.read_metrics()]
    for record in records:
        if any(isinstance(figure, float) and abs(figure) > LARGEST for figure in record.values()):
            raise UnreadableError(run.metrics, f"has a figure beyond {LARGEST:g} at step {record['step']}")
    return records


def check_seeds(groups: Sequence[Group]) -> None:
    """Refuse to count one seed twice.

    Raises
    ------
    CheckpointError : two runs of a group have the same seed.
    """
    faults = []
    for group in groups:
        seen: dict[int, Path] = {}
        for run in group.runs:
            first = seen.setdefault(run.summary["seed"], run.path)
            if first != run.path:
                faults.append(f"{run.path}: has the cell and the seed of {first}; give one of them")
    if faults:
        raise CheckpointError("\n".join(faults))


def varied_setting(runs: Sequence[FinishedRun]) -> str | None:
    """The one setting of the task in which runs of different variants differ; None if they are of one variant.

    Raises
    ------
    CheckpointError : they are not of one task, or differ in several of its settings.
    """
    variants = {run.summary["variant"]: run for run in runs}
    if len(variants) == 1:
        return None
    settings = [flat({"task": run.config["task"]}) for run in variants.values()]
    differ = [key for key in settings[0] if any(other.get(key) != settings[0][key] for other in settings)]
    if len(differ) != 1 or differ == ["task.path"] or len({run.summary["task"] for run in runs}) > 1:
        told = "; ".join(f"{run.path} is {variant}" for variant, run in variants.items())
        raise CheckpointError(f"these runs are not of one task and cannot be compared: {told}")
    return differ[0]


def group_runs(runs: Sequence[FinishedRun], varied: str | None = None) -> list[Group]:
    """Runs that differ in their seed alone, in the order in which they come, by the value of what is varied."""
    points: dict[str, list[FinishedRun]] = {}
    for run in runs:
        points.setdefault(json.dumps(_value(run, varied)), []).append(run)
    if all(isinstance(json.loads(value), int | float) for value in points):
        points = dict(sorted(points.items(), key=lambda point: float(json.loads(point[0]))))
    return [Group(cell, json.loads(value), members) for value, all_ in points.items() for cell, members in _rows(all_)]


def _value(run: FinishedRun, varied: str | None) -> Any:
    return None if varied is None else flat(run.config)[varied]


def _rows(runs: Sequence[FinishedRun]) -> Iterable[tuple[str, list[FinishedRun]]]:
    groups: dict[str, list[FinishedRun]] = {}
    for run in runs:
        groups.setdefault(json.dumps(_identity(run)), []).append(run)
    identities = {key: _identity(members[0]) for key, members in groups.items()}
    return [(_label(key, identities), members) for key, members in groups.items()]


def _identity(run: FinishedRun) -> dict[str, Any]:
    return {key: value for key, value in flat(run.config).items() if key not in PER_RUN}


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


def flat(section: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their dotted keys."""
    found: dict[str, Any] = {}
    for key, value in section.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def row_of(group: Group) -> dict[str, Any]:
    """What is said of one cell.

    A run that was not solved counts in the median of the steps to solve as one that takes for ever: `null` if half of
    the runs or more are not solved. In `mean_within_budget` it counts as all the steps that it had. A run that diverged
    before its first evaluation has no value, and then there is no mean either: that of the others would be better than
    the cell is.
    """
    runs, first = group.runs, group.runs[0].summary
    name, baseline = first["metric"]["name"], first["baseline"].get(first["metric"]["name"])
    values = [run.summary["test"][name] for run in runs if run.summary["test"]]
    known = [value for value in values if value is not None]
    mean = metric_interval(known if len(known) == len(runs) else [], first["task"])
    steps = [run.summary["solved_at_step"] for run in runs]
    solved = [step for step in steps if step is not None]
    median = statistics.median([float("inf") if step is None else step for step in steps])
    throughput = next(key for key in first if key.endswith("_per_s"))
    rates = [run.summary[throughput] for run in runs if run.summary[throughput]]
    return {
        "cell": group.cell,
        "at": group.at,
        "variant": first["variant"],
        "hidden_size": first["hidden_size"],
        "parameters": first["parameters"],
        "runs": len(runs),
        "seeds": [run.summary["seed"] for run in runs],
        "diverged": sum(run.summary["status"] == "diverged" for run in runs),
        "metric": {
            "mean": mean.mean,
            "sd": statistics.stdev(known) if len(known) == len(runs) > 1 else None,
            "low": mean.low,
            "high": mean.high,
            "values": values,
        },
        "test": _means(run.summary["test"] for run in runs),
        "valid": _means({name: run.summary.get("best", {}).get("value")} for run in runs),
        "baseline": first["baseline"],
        "of_baseline": mean.mean / baseline if mean.mean is not None and baseline else None,
        "solvable": is_solvable(first["task"]),
        "solved": len(solved),
        "solved_share": share_interval(len(solved), len(runs))._asdict(),
        "median_steps_to_solve": median if median < float("inf") else None,
        "steps_to_solve": {
            "values": steps,
            "mean_within_budget": statistics.fmean(steps_within_budget(run) for run in runs),
            "budget": max(budget_of(run) for run in runs),
        },
        throughput: statistics.median(rates) if rates else None,
        "elapsed_s": statistics.median(run.summary.get("elapsed_s") or 0.0 for run in runs),
    }


def metric_interval(values: Sequence[float], task: str) -> Estimate:
    """The mean of a task's metric over runs, with an interval that holds only what the metric can be."""
    found = mean_interval(values)
    return found.within(TASKS[task].metric.least, TASKS[task].metric.most) if task in TASKS else found


def _means(figures: Iterable[dict[str, Any] | None]) -> dict[str, float | None]:
    """The mean of each figure over the runs; None if one lacks it."""
    given = [found or {} for found in figures]
    names = dict.fromkeys(name for found in given for name in found)
    return {name: _mean([one.get(name) for one in given]) for name in names}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if len(known) == len(values) else None


def is_solvable(task: str) -> bool:
    """Whether there is a rule for "solved"."""
    return task in TASKS and TASKS[task].solvable


def budget_of(run: FinishedRun) -> int:
    """The steps that a run was given."""
    return int(run.summary.get("planned_steps") or run.summary["steps"])


def steps_within_budget(run: FinishedRun) -> int:
    """The steps until a run was solved, or all that it was given."""
    solved = run.summary["solved_at_step"]
    return budget_of(run) if solved is None else int(solved)
