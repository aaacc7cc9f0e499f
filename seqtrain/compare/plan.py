"""Which runs a comparison needs: every cell with every seed, at every value of what is varied, all else the same."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Literal, NamedTuple

from seqtrain.config import Config, config_from, located
from seqtrain.config.resolve import resolved
from seqtrain.runs.directory import RunDir
from seqtrain.runs.resume import differences, saved_config
from seqtrain.runs.trainer import run_name
from seqtrain.system import strict_json
from seqtrain.system.errors import CheckpointError, ConfigError

Match = Literal["hidden", "params", "step-time"]

DONE = ("solved", "finished", "diverged")

FREE = ("threads", "model.cell.folder", "train.save_every", "train.save_every_s")
"""Settings in which a run may differ from what is planned and still be the planned one."""

LEVEL = 0.05
"""Of significance, unless something else is said."""

SIZES = ("model.hidden_size", "model.depth", "model.embedding_size", "model.direction", "model.merge", "model.tied")
"""Settings that decide how many parameters there are."""


class Setting(NamedTuple):
    """A setting that takes several values: what is varied, or one dimension of a grid."""

    key: str
    values: tuple[Any, ...]

    def at(self, value: Any) -> str:
        """The override for one of the values."""
        return f"{self.key}={strict_json.dumps(value)}"

    def short(self, value: Any) -> str:
        """`length=50`, for names of directories and labels."""
        return f"{self.key.rsplit('.', 1)[-1]}={value}"


def named(cell: str, at: Any) -> str:
    """What a row is called in a sentence."""
    return cell if at is None else f"{cell} at {at}"


class Budget(NamedTuple):
    """How long every run may train, in `steps`, `sequences`, `tokens`, or `seconds` of measured training steps."""

    unit: str
    amount: float


@dataclass(frozen=True)
class Request:
    """What a person asks to have compared.

    config, name : the config and what it is called.
    cells : names of cells, or sections with options.
    seeds : how many, counted from the config's own.
    out : where the runs go.
    beside : the folder of the config, where cells of the user's own may lie.
    reference : the label of the cell that the others are compared with; None for the config's own, or the first.
    match : what is made equal over the cells: the hidden size, the number of parameters, or the time of a step.
    grid : settings that are tuned for each cell on validation, with seeds of their own.
    tuning_seeds : how many of those.
    vary : a setting at each of whose values the cells are compared.
    eval_lengths : other lengths that the trained models are evaluated at.
    level : the probability with which a verdict may be wrong by chance.
    """

    config: Config
    name: str
    cells: Sequence[str | dict[str, Any]]
    seeds: int
    out: Path
    beside: Path = field(default_factory=Path)
    reference: str | None = None
    match: Match = "hidden"
    grid: tuple[Setting, ...] = ()
    tuning_seeds: int = 2
    vary: Setting | None = None
    budget: Budget | None = None
    eval_lengths: tuple[int, ...] = ()
    level: float = LEVEL

    def labels(self) -> list[str]:
        """What the rows of the result are called in sentences and conditions."""
        values = self.vary.values if self.vary else (None,)
        return [named(label_of(cell), value) for value in values for cell in self.cells]


class Contender(NamedTuple):
    """One cell at one value of what is varied; its runs differ in their seed alone.

    cell : the label of the cell.
    at : the value, None if nothing is varied.
    """

    cell: str
    at: Any
    config: Config


class PlannedRun(NamedTuple):
    """One run of a comparison and where it goes."""

    config: Config
    out: Path

    def is_done(self) -> bool:
        """Whether it has been run to its end already."""
        summary = RunDir(self.out).read_summary()
        return summary is not None and summary.status in DONE


def changed(config: Config, *overrides: str) -> Config:
    """The same config with other values of some settings.

    Raises
    ------
    ConfigError : one does not fit.
    """
    return config_from(config.model_dump(exclude_unset=True), "the comparison", overrides)


def plan_contenders(request: Request) -> tuple[list[Contender], list[str]]:
    """Every cell at every value, and remarks on options of the config's cell that another cell does not have.

    Raises
    ------
    ConfigError : a cell does not exist, stands twice, or cannot be combined with the config.
    """
    faults: list[str] = []
    remarks: list[str] = []
    found: list[Contender] = []
    labels = [label_of(cell) for cell in request.cells]
    faults += [f"--cells: {label} stands twice; name each once" for label in labels if labels.count(label) > 1]
    for value in request.vary.values if request.vary else (None,):
        overrides = [request.vary.at(value)] if request.vary else []
        for cell, label in zip(request.cells, labels, strict=True):
            section, left_out = _cell_section(request.config, cell)
            if left_out:
                remarks.append(f"{label} has no {', '.join(left_out)}; compared without")
            data = request.config.model_dump(exclude_unset=True)
            data["model"]["cell"] = section
            try:
                config = config_from(data, f"--cells {label}", overrides)
                found.append(Contender(label, value, located(config, request.beside)))
            except ConfigError as error:
                faults += error.faults
    faults += _alike(found)
    if faults:
        raise ConfigError(list(dict.fromkeys(faults)))
    return found, list(dict.fromkeys(remarks))


def _alike(contenders: Sequence[Contender]) -> list[str]:
    """Contenders that are the same under two names, or would go into one directory."""
    faults, seen = [], dict[str, str]()
    for contender in contenders:
        first = seen.setdefault(json.dumps(contender.config.model_dump(), sort_keys=True), contender.cell)
        if first != contender.cell:
            faults.append(f"--cells: {first} and {contender.cell} are the same cell; name one of them")
    return faults


def label_of(cell: str | dict[str, Any]) -> str:
    """What a cell of a comparison is called: its name, with the options that it is given."""
    if isinstance(cell, str):
        return cell
    return " ".join([str(cell.get("name")), *(f"{key}={value}" for key, value in cell.items() if key != "name")])


def _cell_section(config: Config, cell: str | dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The section of a cell, with the options that the config gives its own as far as this one has and does not set
    them.
    """
    own, options = config.model.cell, {"name": cell} if isinstance(cell, str) else cell
    if own.name == options["name"]:
        return own.model_dump() | options, []
    if ":" in str(options["name"]):
        return options, []
    given = {
        name: value for name, value in own.model_dump(exclude_unset=True).items() if name not in ("name", "folder")
    }
    alone = config.model_dump()
    alone["model"]["cell"] = {"name": options["name"]}
    try:
        known = config_from(alone, f"--cells {options['name']}").model.cell.model_dump()
    except ConfigError:
        return options, []
    shared = {name: value for name, value in given.items() if name in known}
    lost = [name for name, value in given.items() if name not in known and value is not None]
    return shared | options, lost


def grid_points(grid: Sequence[Setting]) -> list[dict[str, Any]]:
    """Every combination of the values, as settings by key."""
    keys = [setting.key for setting in grid]
    return [dict(zip(keys, values, strict=True)) for values in product(*(setting.values for setting in grid))]


def plan_runs(
    request: Request, contender: Contender, seeds: Sequence[int], out: Path, tag: str = ""
) -> list[PlannedRun]:
    """The runs of one contender, each in a directory of its own in `out`.

    Parameters
    ----------
    tag : goes into the names of the directories.
    """
    own = run_name(request.name, contender.config).rsplit("-seed", 1)[0]
    options = contender.cell.partition(" ")[2]
    parts = [own + (f".{options}" if options else "")]
    if request.vary:
        parts.append(request.vary.short(contender.at))
    stem = re.sub(r"[^\w.=+-]+", "_", "-".join([*parts, *([tag] if tag else [])]))
    return [
        PlannedRun(contender.config.model_copy(update={"seed": seed}), out / f"{stem}-seed{seed}") for seed in seeds
    ]


def _twice(paths: Sequence[Path]) -> list[Path]:
    return [path for path, count in Counter(paths).items() if count > 1]


def check_directories(runs: Sequence[PlannedRun]) -> None:
    """Refuse to mix the runs of two comparisons.

    Raises
    ------
    CheckpointError : a directory holds a run of another config.
    """
    faults = [f"{path}: two runs would go there; compare them one by one" for path in _twice([run.out for run in runs])]
    for run in runs:
        found = saved_config(RunDir(run.out))
        other = differences(found, resolved(run.config).model_dump()) if found is not None else {}
        other = {key: pair for key, pair in other.items() if key not in FREE}
        if other:
            told = ", ".join(f"{key} {old!r} (now {new!r})" for key, (old, new) in other.items())
            faults.append(f"{run.out}: holds a run with {told}; choose another directory with --out")
        elif found is None and RunDir(run.out).holds_run():
            faults.append(f"{run.out}: holds a run without a readable config.yaml; choose another with --out")
    if faults:
        raise CheckpointError("\n".join(faults))
