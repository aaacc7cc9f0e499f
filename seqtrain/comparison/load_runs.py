"""Read finished runs from their directories, and put those of one row together."""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from seqtrain.comparison.records import Point, StepsToSolve
from seqtrain.comparison.statistics import Estimate, mean_interval
from seqtrain.config import Config, config_from
from seqtrain.config.describe import settings_that_affect
from seqtrain.config.diff import flatten
from seqtrain.config.resolve import resolved, unresolved
from seqtrain.runs.directory import RunDir
from seqtrain.runs.records import DONE, LARGEST, MetricsRecord, Summary
from seqtrain.system.errors import CheckpointError, ConfigError, SeqtrainError
from seqtrain.system.files import UnreadableError
from seqtrain.system.settings import NO_RESULT, files_of
from seqtrain.system.words import visible

PER_RUN = {"seed", *settings_that_affect(*NO_RESULT)}
"""Settings in which the runs of a row may differ."""


@dataclass(frozen=True)
class FinishedRun:
    """What a run directory holds; of its metrics, only those of evaluations, as there may be thousands of runs."""

    path: Path
    config: Config
    summary: Summary
    metrics: list[MetricsRecord]

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """The settings of the config by dotted key, and whether the first weights were imported."""
        return flatten(self.config.model_dump(mode="json")) | self._origin

    @cached_property
    def choices(self) -> Mapping[str, Any]:
        """The settings by dotted key, with None for values that follow from other settings."""
        return flatten(unresolved(self.config).model_dump(mode="json")) | self._origin

    @property
    def _origin(self) -> dict[str, Any]:
        """What tells a run from one of the same config that drew its first weights."""
        return {} if self.summary.imported is None else {"imported": True}

    @property
    def variant(self) -> str:
        """What decides the data: the definition of the task, or the content of a text wherever it is."""
        if "task.path" in self.settings and self.summary.fingerprints:
            return json.dumps([self.summary.fingerprints, self.settings.get("task.code")], sort_keys=True)
        return self.definition

    @property
    def definition(self) -> str:
        """The definition of the task, with what identifies its code if it is the user's own."""
        code = self.settings.get("task.code")
        return self.summary.variant if code is None else f"{self.summary.variant} (code {code})"

    @property
    def is_solved(self) -> bool:
        """Whether an evaluation met the task's rule."""
        return self.summary.solved_at_step is not None

    @property
    def test_metric(self) -> float | None:
        """The metric of the task on the test set."""
        return (self.summary.test or {}).get(self.summary.metric.name)

    @property
    def steps_within_budget(self) -> int:
        """The steps until the run was solved, or all that it was given."""
        solved = self.summary.solved_at_step
        return self.summary.planned_steps if solved is None else solved


class Group(NamedTuple):
    """The runs of one row: they differ in their seed alone.

    cell : the label of the row: the cell, with the settings that tell it from others.
    at : the value of the varied setting; None if nothing is varied.
    """

    cell: str
    at: Point
    runs: list[FinishedRun]

    @property
    def summary(self) -> Summary:
        """That of the first run, for what all have in common."""
        return self.runs[0].summary

    @property
    def solved(self) -> int:
        """The number of solved runs."""
        return sum(run.is_solved for run in self.runs)

    @property
    def diverged(self) -> int:
        """The number of diverged runs."""
        return sum(run.summary.status == "diverged" for run in self.runs)

    @property
    def is_solvable(self) -> bool:
        """Whether the task has a rule for "solved"."""
        return self.summary.traits.solvable

    @property
    def steps_to_solve(self) -> StepsToSolve:
        """The steps until each run was solved."""
        return StepsToSolve(
            values=[run.summary.solved_at_step for run in self.runs],
            mean_within_budget=statistics.fmean(run.steps_within_budget for run in self.runs),
            budget=max(run.summary.planned_steps for run in self.runs),
        )

    def metric_interval(self, values: Sequence[float]) -> Estimate:
        """The mean of the metric over runs, with an interval that holds only possible values."""
        metric = self.summary.judged_by
        return mean_interval(values).within(metric.least, metric.most)


def read_runs(paths: Sequence[Path]) -> list[FinishedRun]:
    """Read run directories.

    Raises
    ------
    CheckpointError : one holds no finished run, or one run is given twice.
    """
    runs, faults = list[FinishedRun](), list[str]()
    for path in {path.resolve(): path for path in paths}.values():
        try:
            runs.append(_read_run(path))
        except SeqtrainError as error:
            faults.append(str(error))
    runs, firsts = _by_content(runs), dict[str, FinishedRun]()
    for run in runs:
        first = firsts.setdefault(json.dumps([run.settings, run.summary.imported], sort_keys=True), run)
        if first is not run:
            faults.append(f"{run.path}: is the same run as {first.path} (config and seed agree); give it once")
    if faults:
        raise CheckpointError("\n".join(faults))
    return runs


def _by_content(runs: Sequence[FinishedRun]) -> list[FinishedRun]:
    """The runs, with one place for all files of one content."""
    places: dict[str, dict[str, str]] = {}
    found = []
    for run in runs:
        own = files_of(run.config.task)
        if own and run.summary.fingerprints:
            task = run.config.task.model_copy(update=places.setdefault(run.variant, own))
            run = replace(run, config=run.config.model_copy(update={"task": task}))
        found.append(run)
    return found


def _read_run(path: Path) -> FinishedRun:
    """Read one run directory, whose files may have been edited."""
    run = RunDir(path)
    go_on = f"go on with: seqtrain train {path} --resume, or leave it out"
    try:
        config = resolved(config_from(run.config_data(), str(run.config), task_is_built=False))
        if not run.summary.exists():
            raise CheckpointError(f"{path}: was killed, or is being trained; {go_on}")
        summary = run.load_summary()
        if fault := summary.fault_beside(config):
            raise UnreadableError(run.summary, fault)
        metrics = list(run.read_metrics()) if summary.status in DONE else []
        for record in metrics:
            if any(isinstance(value, float) and abs(value) > LARGEST for value in record.as_json().values()):
                raise UnreadableError(run.metrics, f"has a figure beyond {LARGEST:g} at step {record.step}")
    except (ConfigError, UnreadableError) as error:
        raise CheckpointError(
            f"{path}: holds no finished run that can be compared ({'; '.join(str(error).splitlines())}); correct the "
            "file, or leave the run out (seqtrain train makes one)"
        ) from None
    if summary.status not in DONE:
        raise CheckpointError(f"{path}: is {summary.status}, not finished; {go_on}")
    return FinishedRun(path, config, summary, [record for record in metrics if record.split == "valid"])


def check_seeds(groups: Sequence[Group]) -> None:
    """Refuse to count one seed twice.

    Raises
    ------
    CheckpointError : two runs of a group have the same seed.
    """
    faults = []
    for group in groups:
        firsts: dict[int, FinishedRun] = {}
        for run in group.runs:
            if (first := firsts.setdefault(run.summary.seed, run)) is not run:
                faults.append(f"{run.path}: has the cell and the seed of {first.path}; give one of them")
    if faults:
        raise CheckpointError("\n".join(faults))


def varied_setting(runs: Sequence[FinishedRun]) -> str | None:
    """The one setting of the task in which runs of different variants differ; None if they are of one variant.

    Raises
    ------
    CheckpointError : they are not of one task, or differ in several of its settings.
    """
    variants = {run.variant: run for run in runs}
    if len(variants) == 1:
        return None
    differ = [key for key in different_settings([*variants.values()]) if key.startswith("task.")]
    if len(differ) != 1 or differ[0] in ("task.path", "task.code") or len({run.summary.task for run in runs}) > 1:
        each = "; ".join(f"{run.path} is {run.definition}" for run in variants.values())
        raise CheckpointError(f"these runs are not of one task and cannot be compared: {each}")
    return differ[0]


def group_runs(runs: Sequence[FinishedRun], varied: str | None = None) -> list[Group]:
    """Runs that differ in their seed alone, in the order in which they come, by the value of the varied setting."""
    points = _by(runs, lambda run: None if varied is None else run.settings[varied])
    if all(isinstance(value, int | float) for value, _ in points):
        points.sort(key=lambda point: float(point[0]))
    groups = []
    for value, members in points:
        rows = _by(members, lambda run: {key: value for key, value in run.settings.items() if key not in PER_RUN})
        groups += [Group(_label(row[0], [other[0] for _, other in rows]), value, row) for _, row in rows]
    return groups


def _by(runs: Sequence[FinishedRun], key: Callable[[FinishedRun], Any]) -> list[tuple[Any, list[FinishedRun]]]:
    """The runs by their JSON value of a key, which may be a dict, in the order in which they come."""
    values: dict[str, tuple[Any, list[FinishedRun]]] = {}
    for run in runs:
        value = key(run)
        values.setdefault(json.dumps(value, sort_keys=True), (value, []))[1].append(run)
    return list(values.values())


def _label(run: FinishedRun, runs: Sequence[FinishedRun]) -> str:
    """The cell's name, and the settings in which the runs with the same cell differ."""
    cell = run.config.model.cell.name
    differ = different_settings([run, *(other for other in runs if other.config.model.cell.name == cell)])
    keys = [key for key in differ if key not in PER_RUN]
    ends = [key.rpartition(".")[2] for key in keys]
    names = [end if ends.count(end) == 1 else key for key, end in zip(keys, ends, strict=True)]
    return " ".join([cell, *(visible(f"{name}={run.settings[key]}") for key, name in zip(keys, names, strict=True))])


def different_settings(runs: Sequence[FinishedRun]) -> list[str]:
    """The settings of the first run in which the others differ, without those that follow from other settings."""
    first, *others = runs
    return [key for key, value in first.choices.items() if any(run.choices.get(key) != value for run in others)]
