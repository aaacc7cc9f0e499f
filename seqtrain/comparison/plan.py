"""Which runs a comparison needs: every cell with every seed, at every value of the varied setting, all else equal."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from seqtrain.comparison.options import FIRST_TUNING_SEED
from seqtrain.comparison.records import TUNING, Point
from seqtrain.comparison.request import Cell, TrainingRequest, cell_label
from seqtrain.config import Config, config_from, located
from seqtrain.config.build import build_model, build_task
from seqtrain.config.describe import affects_of
from seqtrain.config.diff import differences
from seqtrain.config.plugins import as_defined
from seqtrain.config.resolve import resolved
from seqtrain.models.settings import CELL_SECTIONS
from seqtrain.runs.directory import RunDir
from seqtrain.runs.memory_estimate import Estimate, check_together, estimate
from seqtrain.runs.resume import other_codes, saved_config
from seqtrain.runs.trainer import run_name
from seqtrain.system.errors import CheckpointError, ConfigError
from seqtrain.system.settings import NO_RESULT, Affects, files_of
from seqtrain.tasks import Task

FREE = (*NO_RESULT, Affects.CONTENT)
"""What a setting affects in which a run may differ from the one that is planned; a text has a check of its own."""


class PlannedRun(NamedTuple):
    """One run of a comparison and its directory."""

    config: Config
    out: Path

    def is_done(self) -> bool:
        """Whether the run has been trained to its end."""
        return RunDir(self.out).is_done()


class Contender(NamedTuple):
    """One cell at one value of the varied setting; its runs differ in their seed alone.

    cell : the label of the cell.
    at : the value; None if nothing is varied.
    off : by which part it has more (or fewer) parameters, or a longer (or shorter) step, than it should match; None if
        nothing is matched.
    runs, point : its runs, and the tuned settings that they try; empty before `plan_runs` and `plan_candidates`.
    """

    cell: str
    at: Point
    config: Config
    off: float | None = None
    runs: Sequence[PlannedRun] = ()
    point: Mapping[str, Point] = MappingProxyType({})


def runs_of(contenders: Sequence[Contender]) -> list[PlannedRun]:
    """All their runs."""
    return [run for contender in contenders for run in contender.runs]


def changed(config: Config, *overrides: str) -> Config:
    """The same config with other values of some settings.

    Raises
    ------
    ConfigError : a value does not fit.
    """
    return as_defined(config_from(config.model_dump(exclude_unset=True), "the comparison", overrides))


def plan_contenders(request: TrainingRequest) -> tuple[list[Contender], list[str]]:
    """Every cell at every value, and remarks on options of the config's cell that another cell does not have.

    Raises
    ------
    ConfigError : a cell does not exist, is given twice, or cannot be combined with the config.
    """
    faults: list[str] = []
    remarks: list[str] = []
    contenders: list[Contender] = []
    for value in request.points:
        overrides = [request.vary.override(value)] if request.vary else []
        for cell in request.cells:
            label = cell_label(cell)
            section, left_out = _cell_section(request.config, cell)
            if left_out:
                remarks.append(f"{label} has no {', '.join(left_out)}; compared without")
            data = request.config.model_dump(exclude_unset=True)
            data["model"]["cell"] = section
            try:
                config = config_from(data, f"--cells {label}", overrides)
                contenders.append(Contender(label, value, as_defined(located(config, request.beside))))
            except ConfigError as error:
                faults += error.faults
    names: dict[str, str] = {}
    for contender in contenders:
        first = names.setdefault(json.dumps(contender.config.model_dump(), sort_keys=True), contender.cell)
        if first != contender.cell:
            faults.append(f"--cells: {first} and {contender.cell} are the same cell; name one of them")
    if faults:
        raise ConfigError(list(dict.fromkeys(faults)))
    return contenders, list(dict.fromkeys(remarks))


def _cell_section(config: Config, cell: Cell) -> tuple[Cell, list[str]]:
    """The section of a cell, with the options of the config's own cell; and those of them that it does not have."""
    own = config.model.cell
    if own.name == cell["name"]:
        return own.model_dump() | dict(cell), []
    if ":" in str(cell["name"]):
        return cell, []
    known = CELL_SECTIONS[cell["name"]].model_fields
    given = own.model_dump(exclude_unset=True, exclude={"name", "folder"})
    shared = {name: value for name, value in given.items() if name in known}
    left_out = [name for name, value in given.items() if name not in known and value is not None]
    return shared | dict(cell), left_out


def plan_runs(request: TrainingRequest, contenders: Sequence[Contender]) -> list[Contender]:
    """The contenders with the runs that are reported, each in a directory of its own."""
    seeds = range(request.config.seed, request.config.seed + request.seeds)
    rows = [contender._replace(config=changed(contender.config), point={}) for contender in contenders]
    return [_with_runs(request, row, request.out, seeds) for row in rows]


def plan_candidates(
    request: TrainingRequest, contender: Contender, points: Sequence[Mapping[str, Point]]
) -> list[Contender]:
    """A candidate for each point, with the runs that try it, whose seeds are not among those reported.

    A point that stands twice has the same runs twice.

    Raises
    ------
    ConfigError : a point does not fit the config.
    """
    first, tuned = request.config.seed + FIRST_TUNING_SEED, {setting.key: setting for setting in request.tuned}
    candidates = []
    for point in points:
        overrides = [tuned[key].override(value) for key, value in point.items()]
        candidate = contender._replace(config=changed(contender.config, *overrides), point=point)
        seeds = range(first, first + request.tuning_seeds)
        candidates.append(_with_runs(request, candidate, request.out / TUNING, seeds))
    return candidates


def _with_runs(request: TrainingRequest, contender: Contender, folder: Path, seeds: range) -> Contender:
    """The contender with a run for each seed."""
    config = contender.config
    name, options = run_name(request.name, config).rsplit("-seed", 1)[0], contender.cell.partition(" ")[2]
    tuned = {setting.key: setting for setting in request.tuned}
    parts = [
        f"{name}.{options}" if options else name,
        *([request.vary.short(contender.at)] if request.vary else []),
        *(tuned[key].short(value) for key, value in contender.point.items()),
    ]
    stem = folder / re.sub(r"[^\w.=+-]+", "_", "-".join(parts))
    runs = [PlannedRun(_with_seed(config, seed), Path(f"{stem}-seed{seed}")) for seed in seeds]
    return contender._replace(runs=runs)


def _with_seed(config: Config, seed: int) -> Config:
    return config.model_copy(update={"seed": seed})


def check_directories(runs: Sequence[PlannedRun]) -> None:
    """Refuse to mix the runs of two comparisons.

    Raises
    ------
    CheckpointError : a directory holds a run of another config.
    """
    counts = Counter(run.out for run in runs)
    shared = [path for path, count in counts.items() if count > 1]
    faults = [f"{path}: two runs would go there; compare them one by one" for path in shared]
    for run in runs:
        saved = saved_config(RunDir(run.out))
        other = differences(saved, resolved(run.config).model_dump()) if saved is not None else {}
        changes = [
            f"{key} {a!r} (now {b!r})" for key, (a, b) in other.items() if affects_of(key, run.config) not in FREE
        ]
        if codes := [f"another code of {name}" for name in other_codes(other, run.config)]:
            changes = codes
        if changes:
            faults.append(f"{run.out}: holds a run with {', '.join(changes)}; choose another directory with --out")
        elif saved is None and RunDir(run.out).holds_run():
            faults.append(f"{run.out}: holds a run without a readable config.yaml; choose another with --out")
    if not faults:
        faults += _other_texts(runs)
    if faults:
        raise CheckpointError("\n".join(faults))


def _other_texts(runs: Sequence[PlannedRun]) -> Iterator[str]:
    """Finished runs whose text has another content than the one that they were trained on, which may have moved."""
    contents: dict[str, dict[str, str]] = {}
    for run in runs:
        summary = RunDir(run.out).read_summary() if files_of(run.config.task) else None
        if summary is None or not summary.fingerprints:
            continue
        section = run.config.task.model_dump_json()
        if section not in contents:
            contents[section] = build_task(run.config, quiet=True).fingerprints()
        if contents[section] != summary.fingerprints:
            places = " and ".join(files_of(run.config.task).values())
            yield (
                f"{run.out}: was trained on another content of {places}; restore it, or choose another directory with "
                "--out"
            )


def check_jobs(runs: Sequence[PlannedRun], jobs: int) -> None:
    """Refuse more runs at a time than fit into memory if the largest of those to do are trained together.

    Raises
    ------
    ConfigError : they do not fit; it names the number that fits.
    """
    waiting = [_with_seed(run.config, 0) for run in runs if not run.is_done()]
    if min(jobs, len(waiting)) < 2:
        return  # the memory for a single run is checked when it starts
    tasks: dict[str, Task] = {}
    estimates: dict[str, Estimate] = {}
    for config in waiting:
        section, whole = config.task.model_dump_json(), config.model_dump_json()
        if whole not in estimates:
            task = tasks[section] = tasks.get(section) or build_task(config, quiet=True)
            estimates[whole] = estimate(config, task, build_model(config, task.spec))
    check_together(waiting[0], [estimates[config.model_dump_json()] for config in waiting], jobs)
