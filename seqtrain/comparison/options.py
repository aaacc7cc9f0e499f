"""The options of `seqtrain compare`, parsed and checked once: what the user typed becomes a request."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast, get_args

from seqtrain.cells import CELLS
from seqtrain.comparison.assertions import parse_conditions
from seqtrain.comparison.records import CONFIGS, FILES, TUNING
from seqtrain.comparison.request import Budget, Cell, Match, Request, Setting, TrainingRequest, cell_label
from seqtrain.config import Config, find_config, load_config, read_list
from seqtrain.config.describe import affects_of
from seqtrain.config.errors import choose
from seqtrain.runs.directory import RunDir
from seqtrain.runs.trainer import RUNS
from seqtrain.system import strict_json
from seqtrain.system.errors import ConfigError
from seqtrain.system.settings import Affects

SEEDS, TUNING_SEEDS = 3, 2
"""Numbers of seeds unless others are given."""

MOST_SEEDS = 10_000

FIRST_TUNING_SEED = 1_000_000
"""Added to the seed of the config: seeds for tuning are never among those reported."""

LEVELS = (0.001, 0.5)
"""Limits of the significance level: below, no usual number of seeds could show a difference."""

UNITS = ("steps", "sequences", "tokens", "seconds")

COMPARED = ("rnn", "lstm", "peephole", "coupled", "gru")
"""The cells that are trained unless others are named. Of `odyssey` one ablation alone would say little."""

FIXED = {
    "seed": "--seeds counts the seeds",
    "task": "name one of its settings",
    "task.name": "runs of different tasks do not compare",
    "model.cell": "--cells names the cells",
    "model.cell.name": "--cells names the cells",
    "model.cell.folder": "it changes nothing",
}
"""Settings that are neither tuned nor varied, and why; others only change the time, which `affects_of` says."""

BUDGET = ("train.steps", "train.epochs")
"""Settings that --budget sets."""


def parse_request(
    targets: Sequence[str],
    *,
    out: Path | None = None,
    cells: str | None = None,
    seeds: int | None = None,
    reference: str | None = None,
    match: str | None = None,
    grid: Sequence[str] = (),
    tuning_seeds: int | None = None,
    vary: str | None = None,
    budget: str | None = None,
    eval_lengths: str | None = None,
    level: float | None = None,
    conditions: Sequence[str] = (),
    jobs: int = 1,
    command: str | None = None,
) -> Request:
    """The request of a command line; the options mean what `seqtrain compare --help` says.

    Parameters
    ----------
    targets : a config and settings `KEY=VALUE`, for a `TrainingRequest`; or run directories, or folders of them.

    Raises
    ------
    ConfigError : with every fault of the options, the settings and the config.
    """
    faults: list[str] = []
    runs = _runs_in_targets(targets)
    paths = tuple(path for members in runs.values() for path in members)
    folder = Path(targets[0]) if runs and len(targets) == 1 and paths != (Path(targets[0]),) else None
    if level is not None and not LEVELS[0] <= level <= LEVELS[1]:
        faults.append(f"--level is {level:g}; it must lie between {LEVELS[0]:g} and {LEVELS[1]:g}")
    request = Request(
        runs=paths,
        is_folder=folder is not None and out in (None, folder),
        out=out or folder or RUNS / "compare",
        reference=reference,
        level=level,
        eval_lengths=_lengths(eval_lengths, faults),
        conditions=parse_conditions(conditions, faults),
        command=command,
    )
    if runs:
        training = {"cells": cells, "seeds": seeds, "match": match, "grid": grid, "tuning-seeds": tuning_seeds}
        given = [f"--{name}" for name, value in (training | {"vary": vary, "budget": budget}).items() if value]
        _raise([*_faults_of_gathering(targets, runs, given, jobs), *faults])
        return request
    sections = None if cells is None else _cells(cells, faults)
    tuned = tuple(_setting(text, "--grid", faults) for text in grid)
    varied = None if vary is None else _setting(vary, "--vary", faults)
    allowed = None if budget is None else _budget(budget, faults)
    faults += _conflicts(tuned, varied, allowed, match)
    if tuning_seeds is not None and not tuned:
        faults.append("--tuning-seeds: there is no --grid to tune; add one, or leave it out")
    for name, number in (("seeds", seeds), ("tuning-seeds", tuning_seeds)):
        if number is not None and not 1 <= number <= MOST_SEEDS:
            faults.append(f"--{name} is {number}; it must be from 1 to {MOST_SEEDS:,}")
    config, path = _config(targets, faults)
    tuning_seeds = tuning_seeds or TUNING_SEEDS
    last = config.seed + max(seeds or 0, FIRST_TUNING_SEED + tuning_seeds if tuned else 0)
    if last >= 2**63:  # a seed has 63 bits
        raise ConfigError(
            f"seed is {config.seed}, and the seeds counted from there go beyond {2**63 - 1}; make it smaller"
        )
    default = [{"name": name} for name in dict.fromkeys([*COMPARED, config.model.cell.name])]
    training_request = TrainingRequest(
        **vars(request) | {"out": out or RUNS / f"compare-{path.stem}"},
        config=config,
        name=path.stem,
        beside=path.parent,
        cells=tuple(default if sections is None else sections),
        seeds=seeds or SEEDS,
        match=cast(Match, match or "hidden"),
        grid=tuned,
        tuning_seeds=tuning_seeds,
        vary=varied,
        budget=allowed,
        jobs=jobs,
    )
    labels = training_request.labels()
    _raise([fault for condition in request.conditions if (fault := condition.unknown_cell(labels))])
    return training_request


def _raise(faults: Sequence[str]) -> None:
    if faults:
        raise ConfigError(faults)


def _config(targets: Sequence[str], faults: list[str]) -> tuple[Config, Path]:
    """The config with its settings, and its path; raises all faults, also those found before."""
    names = [target for target in targets if "=" not in target]
    if len(names) != 1:
        _raise([*faults, f"compare takes one config, or run directories; got {', '.join(names) or 'neither'}"])
    try:
        config = load_config(names[0], [target for target in targets if target not in names])
    except ConfigError as error:
        raise ConfigError([*faults, *error.faults]) from None
    _raise(faults)
    return config, find_config(names[0])


def _list(text: str, source: str, faults: list[str]) -> list[Any]:
    try:
        return read_list(text, source)
    except ConfigError as error:
        faults += error.faults
        return []


def _lengths(text: str | None, faults: list[str]) -> tuple[int, ...]:
    if text is None:
        return ()
    lengths = _list(text, f"--eval-lengths {text}", faults)
    if not lengths or not all(type(length) is int and length > 0 for length in lengths):
        faults.append(f"--eval-lengths {text}: write whole numbers with commas between, e.g. 100,200")
    return tuple(dict.fromkeys(lengths))


def _cells(text: str, faults: list[str]) -> list[Cell]:
    cells = _list(text, f"--cells {text}", faults)
    sections = [{"name": cell} if isinstance(cell, str) else cell for cell in cells]
    named: list[Cell] = [section for section in sections if isinstance(section, dict) and "name" in section]
    names = [str(section["name"]) for section in named]
    faults += [f"--cells {name}: {choose(name, CELLS)}" for name in names if ":" not in name and name not in CELLS]
    if len(named) < len(sections) or not sections:
        faults.append(
            f"--cells {text}: write names with commas between, and options as in 'lstm, {{name: gru, reset: before}}'"
        )
    labels = [cell_label(section) for section in named]
    twice = [name for name in dict.fromkeys(labels) if labels.count(name) > 1]
    faults += [f"--cells: {name} stands twice; name each once" for name in twice]
    return named


def _setting(text: str, option: str, faults: list[str]) -> Setting:
    key, equals, listed = text.partition("=")
    values = _list(listed, f"{option} {text}", faults) if equals else []
    plain = all(isinstance(value, str | int | float | None) for value in values)
    finite = strict_json.finite(values) == values
    if not key or not plain or not finite or len(values) < 2 or any(values.count(value) > 1 for value in values):
        faults.append(
            f"{option} {text}: write a setting and two or more different plain values, e.g. "
            + ("optimizer.lr=1e-3,3e-3,1e-2" if option == "--grid" else "task.length=50,100,200")
        )
    return Setting(key.strip(), tuple(values))


def _budget(text: str, faults: list[str]) -> Budget:
    unit, _, number = text.partition("=")
    try:
        amount = float(number)
    except ValueError:
        amount = 0.0
    if unit not in UNITS or not 0 < amount < math.inf:
        faults.append(f"--budget {text}: write one of {', '.join(UNITS)} and how many, e.g. steps=3000")
    elif unit != "seconds" and amount != int(amount):
        faults.append(f"--budget {text}: {unit} are whole; write a whole number")
    return Budget(unit, amount)


def _conflicts(grid: Sequence[Setting], vary: Setting | None, budget: Budget | None, match: str | None) -> list[str]:
    """What is wrong with options that do not go together, or with settings that an option does not take."""
    faults = []
    if match not in (None, *get_args(Match)):
        faults.append(f"--match {match}: {choose(match, get_args(Match))}")
    keys = [setting.key for setting in [*grid, *([vary] if vary else [])]]
    twice = [key for key in dict.fromkeys(keys) if keys.count(key) > 1]
    faults += [f"{key} stands twice in --grid and --vary; once is enough" for key in twice]
    for key in (setting.key for setting in grid):
        why = _why_fixed(key, budget, match)
        if key == "task" or key.startswith("task."):
            why = "each cell would get a task of its own; use --vary"
        elif budget and key == "train.batch_size" and budget.unit != "steps":
            why = "the budget buys other steps with each batch size; give it as steps="
        faults += [f"--grid {key}: {why}"] if why else []
    if vary and (why := _why_fixed(vary.key, budget, None if match == "hidden" else match)):
        faults.append(f"--vary {vary.key}: {why}")
    return faults


def _why_fixed(key: str, budget: Budget | None, match: str | None) -> str | None:
    """Why a setting can be neither tuned nor varied; None if it can."""
    if key in FIXED:
        return FIXED[key]
    if affects_of(key) in (Affects.SPEED, Affects.MACHINE):
        return "it changes nothing but the time"
    if affects_of(key) in (Affects.SAVING, Affects.NOTHING):
        return "it changes only what training writes"
    if budget and key in BUDGET:
        return "--budget sets it for every run; leave one of them out"
    if match is not None and affects_of(key) is Affects.SIZE:
        return f"--match {match} sets the sizes; leave one of them out"
    return None


def _runs_in_targets(targets: Sequence[str]) -> dict[str, list[Path]]:
    """By target, the run directories that it means; empty if no target means any.

    Raises
    ------
    ConfigError : a target is the folder of a comparison that holds no run yet.
    """
    names = [target for target in targets if "=" not in target or Path(target).is_dir()]
    runs = {name: _runs_in(Path(name)) for name in names}
    if any(runs.values()):
        return runs
    for name in names:
        if any((Path(name) / part).is_dir() for part in (CONFIGS, TUNING)):
            raise ConfigError(
                f"{name}: is a comparison without a run to compare yet, as when its cells are still being tuned; "
                "repeat the command that started it, with its config"
            )
    return {}


def _runs_in(path: Path) -> list[Path]:
    """The path itself if it is a run directory, else the run directories in the folder, as `compare` leaves them."""
    if RunDir(path).holds_run():
        return [path]
    return [run for run in sorted(path.iterdir()) if RunDir(run).holds_run()] if path.is_dir() else []


def _faults_of_gathering(
    targets: Sequence[str], runs: Mapping[str, Sequence[Path]], options: Sequence[str], jobs: int
) -> list[str]:
    """What is wrong with targets and options beside run directories."""
    faults = []
    # A comparison's own files are passed over, as `runs/compare-x/*` names them too.
    for name in (name for name, paths in runs.items() if not paths and Path(name).name not in FILES):
        what = "holds no run" if Path(name).exists() else "there is no such run directory"
        faults.append(f"{name}: {what}; leave it out, or give the folder that holds the runs instead of its files")
    if training := [*(target for target in targets if target not in runs), *options]:
        faults.append(f"{', '.join(training)}: says what to train; leave it out to compare run directories")
    if jobs > 1:
        faults.append(f"--jobs {jobs}: there is nothing to train among runs that exist; leave it out")
    return faults
