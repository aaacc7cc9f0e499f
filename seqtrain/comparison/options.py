"""The options of `seqtrain compare`, parsed and checked once: what the user typed becomes a request."""

import math
import re
import shlex
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from os.path import exists
from pathlib import Path
from typing import Any, TypeVar, Unpack, cast, get_args

from seqtrain.cells import CELLS
from seqtrain.comparison.assertions import parse_conditions
from seqtrain.comparison.defaults import (
    COMPARED,
    LEVELS,
    MOST_CANDIDATES,
    MOST_JOBS,
    MOST_SEEDS,
    SEEDS,
    TUNING_SEEDS,
)
from seqtrain.comparison.place import Place, parse_place
from seqtrain.comparison.records import CONFIGS, FILES, RESULTS, TUNING, Question, SearchMethod
from seqtrain.comparison.request import (
    Budget,
    Cell,
    Match,
    Options,
    Request,
    Setting,
    TrainingRequest,
    Tune,
    cell_label,
)
from seqtrain.config import Config, find_config, load_config, read_config, read_list, texts
from seqtrain.config.describe import affects_of, is_text, setting_at
from seqtrain.config.errors import choose
from seqtrain.runs.directory import RunDir
from seqtrain.runs.trainer import RUNS
from seqtrain.system import strict_json
from seqtrain.system.errors import ConfigError
from seqtrain.system.files import UnreadableError, read_whole
from seqtrain.system.pictures import FORMATS
from seqtrain.system.settings import Affects

T = TypeVar("T")
G = TypeVar("G")
H = TypeVar("H", bound=Hashable)

FIRST_TUNING_SEED = 1_000_000
"""Added to the seed of the config: seeds for tuning are never among those reported."""

UNITS = ("steps", "sequences", "tokens", "seconds")

FIXED = {
    "seed": "--seeds counts the seeds",
    "task": "name one of its settings",
    "task.name": "runs of different tasks do not compare",
    "model.cell": "--cells names the cells",
    "model.cell.name": "--cells names the cells",
    "model.cell.folder": "it changes nothing",
}
"""Settings that are neither tuned nor varied, and why; others only change the time, which `affects_of` says."""

OF_TRAINING = (
    "cells", "seeds", "match", "grid", "tune", "ranges", "tuning_seeds", "vary", "budget",
    "on", "runs_per_job", "slurm",
)  # fmt: skip
"""Options that say what to train and where, as `jobs` does."""

NUMBER = r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"

EXAMPLES = {
    "--grid": "a setting and two or more different plain values, e.g. optimizer.lr=1e-3,3e-3,1e-2",
    "--vary": "a setting and two or more different plain values, e.g. task.length=50,100,200",
    "--range": "a setting and its two ends, e.g. optimizer.lr=1e-4..1e-1, or two or more different plain values, e.g. "
    "train.batch_size=16,32,64",
}
"""What an option that gives a setting several values takes."""

BUDGET = ("train.steps", "train.epochs")
"""Settings that --budget sets."""


def parse_request(
    targets: Sequence[str],
    command: str | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    **options: Unpack[Options],
) -> Request:
    """What a command line asks for.

    Parameters
    ----------
    targets : a config and settings `KEY=VALUE`, for a `TrainingRequest`; or run directories, or folders of them.
    command : what the user typed.
    config : a config as data; then the targets are its settings.

    Raises
    ------
    ConfigError : with every fault of the options, the settings and the config.
    TypeError : an option does not exist, or is no text.
    """
    if unknown := options.keys() - Options.__annotations__:
        raise TypeError(f"compare has no option {', '.join(sorted(unknown))}")
    for name in ("vary", "budget"):
        if not isinstance(text := options.get(name), str | None):
            raise TypeError(f"{name} is {text!r}; it must be one text, as on the command line")
    faults: list[str] = []
    runs = _runs_in_targets(targets) if config is None else {}
    paths = tuple(path for target in targets for path in runs.get(target, []))
    folder = Path(targets[0]) if runs and len(targets) == 1 and paths != (Path(targets[0]),) else None
    out = None if (given := options.get("out")) is None else Path(given)
    level = options.get("level")
    if level is not None and not LEVELS[0] <= level <= LEVELS[1]:
        faults.append(f"--level is {level:g}; it must lie between {LEVELS[0]:g} and {LEVELS[1]:g}")
    pictures = options.get("pictures")
    if pictures not in (None, *FORMATS):
        faults.append(f"--pictures {pictures}: {choose(pictures, FORMATS)}")
    request = Request(
        runs=paths,
        folder=folder,
        out=out or folder or RUNS / "compare",
        reference=options.get("reference"),
        level=level,
        eval_lengths=_parsed(_lengths, options.get("eval_lengths"), faults) or (),
        conditions=parse_conditions(texts(options.get("conditions", ())), faults),
        pictures=pictures,
        command=command,
    )
    if not runs:
        return _training_request(request, targets, config, options, faults)
    _raise([*_faults_of_gathering(targets, runs, options), *faults])
    return request


def _training_request(
    request: Request,
    targets: Sequence[str],
    given: Mapping[str, Any] | None,
    options: Options,
    faults: list[str],
) -> TrainingRequest:
    """The request with the options that say what to train; `faults` are those found before."""
    cells = _parsed(_cells, options.get("cells"), faults)
    tune = _parsed(_tune, options.get("tune"), faults)
    tuned = _tuned(options, faults)
    varied = _parsed(partial(_setting, "--vary"), options.get("vary"), faults)
    budget = _parsed(_budget, options.get("budget"), faults)
    faults += _conflicts(tuned, varied, budget, options)
    seeds = _count("seeds", options.get("seeds"), SEEDS, MOST_SEEDS, faults)
    tuning_seeds = _count("tuning-seeds", options.get("tuning_seeds"), TUNING_SEEDS, MOST_SEEDS, faults)
    place = _place(options, faults)
    config, path = _config(targets, given, faults)
    if config.seed + max(seeds, FIRST_TUNING_SEED + tuning_seeds if tuned else 0) >= 2**63:  # a seed has 63 bits
        raise ConfigError(
            f"seed is {config.seed}, and the seeds counted from there go beyond {2**63 - 1}; make it smaller"
        )
    default = [{"name": name} for name in dict.fromkeys([*COMPARED, config.model.cell.name])]
    training_request = TrainingRequest(
        **vars(request) | {"out": request.out if options.get("out") else RUNS / f"compare-{path.stem}"},
        config=config,
        name=path.stem,
        beside=path.parent,
        cells=tuple(cells or default),
        seeds=seeds,
        match=cast(Match, options.get("match") or "hidden"),
        tuned=tuned,
        tune=tune,
        tuning_seeds=tuning_seeds,
        vary=varied,
        budget=budget,
        place=place,
    )
    labels = training_request.labels()
    _raise([fault for condition in request.conditions if (fault := condition.unknown_cell(labels))])
    return training_request


def _place(options: Options, faults: list[str]) -> Place:
    """Where the runs are trained."""
    jobs = options.get("jobs")
    _count("jobs", jobs, 1, MOST_JOBS, faults)
    return parse_place(options.get("on"), jobs, options.get("runs_per_job"), texts(options.get("slurm", ())), faults)


def _count(option: str, number: int | None, default: int, most: int, faults: list[str]) -> int:
    if number is not None and not 1 <= number <= most:
        faults.append(f"--{option} is {number}; it must be from 1 to {most:,}")
    return default if number is None else number


def _raise(faults: Sequence[str]) -> None:
    if faults:
        raise ConfigError(faults)


def _parsed(parse: Callable[[G], T], text: G | None, faults: list[str]) -> T | None:
    """What an option means; None if it is not given, or has faults, which are added to `faults`."""
    try:
        return None if text is None else parse(text)
    except ConfigError as error:
        faults += error.faults
        return None


def _config(targets: Sequence[str], given: Mapping[str, Any] | None, faults: list[str]) -> tuple[Config, Path]:
    """The config with its settings, and its path; raises all faults, also those found before."""
    if given is not None:
        found = _parsed(partial(read_config, given), targets, faults)
        if found is None or faults:
            raise ConfigError(faults)
        return found
    names = _names(targets) or [target for target in targets[:1] if not _is_of_a_section(target)]
    if len(names) != 1:
        _raise([*faults, f"compare takes one config, or run directories; got {', '.join(names) or 'neither'}"])
    settings = [target for target in targets if target not in names]
    config = _parsed(partial(load_config, overrides=settings), names[0], faults)
    if config is None or faults:
        raise ConfigError(faults)
    return config, find_config(names[0])


def _lengths(text: str) -> tuple[int, ...]:
    lengths = read_list(text, f"--eval-lengths {text}")
    if not lengths or not all(type(length) is int and length > 0 for length in lengths):
        raise ConfigError(f"--eval-lengths {text}: write whole numbers with commas between, e.g. 100,200")
    return tuple(dict.fromkeys(lengths))


def _cells(text: str) -> list[Cell]:
    cells = read_list(text, f"--cells {text}")
    sections = [{"name": cell} if isinstance(cell, str) else cell for cell in cells]
    named: list[Cell] = [section for section in sections if isinstance(section, dict) and "name" in section]
    names = [str(section["name"]) for section in named]
    faults = [f"--cells {name}: {choose(name, CELLS)}" for name in names if ":" not in name and name not in CELLS]
    if len(named) < len(sections) or not sections:
        faults.append(
            f"--cells {text}: write names with commas between, and options as in 'lstm, {{name: gru, reset: before}}'"
        )
    faults += [f"--cells: {name} stands twice; name each once" for name in twice(map(cell_label, named))]
    _raise(faults)
    return named


def twice(names: Iterable[H]) -> list[H]:
    """The names that stand in a list more than once."""
    return [name for name, count in Counter(names).items() if count > 1]


def _setting(option: str, text: str) -> Setting:
    key, equals, listed = text.partition("=")
    key = key.strip()
    values: list[Any] = listed.split(",") if is_text(key, listed) else read_list(listed, f"{option} {text}")
    if not equals:
        values = []
    plain = all(isinstance(value, str | int | float | None) for value in values)
    finite = strict_json.finite(values) == values
    if not key or not plain or not finite or len(values) < 2 or any(values.count(value) > 1 for value in values):
        raise ConfigError(f"{option} {text}: write {EXAMPLES[option]}")
    return Setting(key, tuple(values))


def _tune(text: str) -> Tune:
    found = re.fullmatch(rf"({'|'.join(get_args(SearchMethod))}):([0-9]{{1,100}})", text)
    if found is None:
        raise ConfigError(f"--tune {text}: write random:N or optuna:N, for N candidates of each cell, e.g. random:20")
    method, candidates = cast(SearchMethod, found[1]), int(found[2])
    faults = []
    if not 1 <= candidates <= MOST_CANDIDATES:
        faults.append(f"--tune {text}: tries {candidates} candidates; it must be from 1 to {MOST_CANDIDATES:,}")
    if method == "optuna" and find_spec("optuna") is None:
        faults.append("--tune optuna needs Optuna: pip install 'seqtrain[optuna]'")
    _raise(faults)
    return Tune(method, candidates)


def _tuned(options: Options, faults: list[str]) -> tuple[Setting, ...]:
    """The settings that are tuned, on a grid or by a search; adds to `faults` if both or only a half of it is given."""
    grid, ranges, tune = texts(options.get("grid", ())), texts(options.get("ranges", ())), options.get("tune")
    if grid and tune is not None:
        faults.append(f"--grid and --tune {tune}: a grid tries all its points; leave one of them out")
    if ranges and tune is None:
        faults.append("--range: there is no --tune that draws from it; add --tune random:20, or leave it out")
    if tune is not None and not ranges:
        faults.append(f"--tune {tune}: there is nothing to tune; add --range, e.g. --range optimizer.lr=1e-4..1e-1")
    if options.get("tuning_seeds") is not None and not grid and tune is None:
        faults.append("--tuning-seeds: there is no --grid to tune and no --tune; add one, or leave it out")
    parsed = [_parsed(partial(_setting, "--grid"), text, faults) for text in grid]
    parsed += [_parsed(_range, text, faults) for text in ranges]
    return tuple(setting for setting in parsed if setting is not None)


def _range(text: str) -> Setting:
    """`KEY=LOW..HIGH`, or a list as of a grid."""
    key, _, given = (part.strip() for part in text.partition("="))
    ends = re.fullmatch(rf"({NUMBER}) *\.\. *({NUMBER})", given)
    if ends is None:
        return _setting("--range", text)
    low, high = float(ends[1]), float(ends[2])
    if not 0 < low < high < math.inf:
        cure = f"write them in this order, or a list, e.g. {key}=0,0.1,0.3"
        raise ConfigError(
            f"--range {text}: draws on a logarithmic scale, from an end above 0 to a larger, finite one; {cure}"
        )
    if not _is_whole(key, ends[1], ends[2]):
        return Setting(key, (low, high), "real")
    if low != int(low) or high != int(high):
        raise ConfigError(f"--range {text}: {key} is a whole number; write whole ends, e.g. {key}=16..128")
    return Setting(key, (int(low), int(high)), "whole")


def _is_whole(key: str, *ends: str) -> bool:
    """Whether a setting is a whole number; one of a cell of the user's own is, if its ends are written as such."""
    setting = setting_at(key)
    if setting is None:
        return all(end.isdecimal() for end in ends)
    return setting.kind.startswith("whole number")


def _budget(text: str) -> Budget:
    unit, _, number = text.partition("=")
    with suppress(ValueError):
        amount = float(number if re.fullmatch(r"[0-9.eE+-]+", number) else "")
        if unit in UNITS and 0 < amount < math.inf:
            if unit != "seconds" and amount != int(amount):
                raise ConfigError(f"--budget {text}: {unit} are whole; write a whole number")
            return Budget(unit, amount)
    raise ConfigError(f"--budget {text}: write one of {', '.join(UNITS)} and how many, e.g. steps=3000")


def _conflicts(tuned: Sequence[Setting], vary: Setting | None, budget: Budget | None, options: Options) -> list[str]:
    """What is wrong with options that do not go together, or with settings that an option does not take."""
    faults = []
    match, option = options.get("match"), "--range" if options.get("ranges") else "--grid"
    if match not in (None, *get_args(Match)):
        faults.append(f"--match {match}: {choose(match, get_args(Match))}")
    keys, varied = ([setting.key for setting in settings if setting] for settings in (tuned, [vary]))
    faults += [f"{key} stands twice in {option} and --vary; once is enough" for key in twice([*keys, *varied])]
    for key in keys:
        why = _why_fixed(key, budget, match)
        if key == "task" or key.startswith("task."):
            why = "each cell would get a task of its own; use --vary"
        elif budget and key == "train.batch_size" and budget.unit != "steps":
            why = "the budget buys other steps with each batch size; give it as steps="
        faults += [f"{option} {key}: {why}"] if why else []
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


def _names(targets: Sequence[str]) -> list[str]:
    """The targets that are configs, run directories or folders, which may have a "=" in their names.

    A target with a "=" is a name if it exists, or if what is before the "=" cannot be a setting, as in `runs/lr=0.1`. A
    setting beside a config stays a setting if a file has its name.
    """
    sure = [target for target in targets if not _is_of_a_section(target) and _is_name(target)]
    is_training = bool(sure) and not any(_runs_in(Path(target)) for target in sure)
    return [target for target in targets if target in sure or (not is_training and _is_name(target))]


def _is_name(target: str) -> bool:
    key, equals, _ = target.partition("=")
    there = exists(target)  # noqa: PTH110 - `Path.exists` raises an error if a name is too long
    return not equals or there or not re.fullmatch(r"[\w.]+", key)


def _is_of_a_section(target: str) -> bool:
    """Whether a target begins like a setting of a config that there is: `train.steps=`."""
    key, equals, _ = target.partition("=")
    return bool(equals) and key.partition(".")[0] in Config.model_fields


def _runs_in_targets(targets: Sequence[str]) -> dict[str, list[Path]]:
    """By target, the run directories that it means; empty if no target means any.

    Raises
    ------
    ConfigError : a target is the folder of a comparison that holds no run yet.
    """
    names = _names(targets)
    runs = {name: _runs_in(Path(name)) for name in names}
    if any(runs.values()):  # beside runs, what begins like no setting is a run that is missing
        return {name: runs.get(name, []) for name in targets if name in runs or not _is_of_a_section(name)}
    for name in names:
        if any((Path(name) / part).is_dir() for part in (CONFIGS, TUNING)):
            raise ConfigError(
                f"{name}: is a comparison without a run to compare yet, as when its cells are still being tuned; "
                "repeat the command that started it, with its config"
            )
        if (command := _command_of(Path(name))) is not None:
            raise ConfigError(
                f"{name}: holds the results of a comparison without its runs, which lie elsewhere; repeat the command "
                f"that wrote it: {command}"
            )
    return {}


def _command_of(folder: Path) -> str | None:
    """The command that wrote the results in a folder; None if it holds none that can be read."""
    with suppress(UnreadableError, ValueError, RuntimeError):
        question = Question.from_text(read_whole(folder / RESULTS, strict_json.LARGEST))
        return question.command or shlex.join(["seqtrain", "compare", *(run.run for run in question.runs)])
    return None


def _runs_in(path: Path) -> list[Path]:
    """The path itself if it is a run directory, else the run directories in the folder, as `compare` leaves them."""
    if RunDir(path).holds_run():
        return [path]
    return [run for run in sorted(path.iterdir()) if RunDir(run).holds_run()] if path.is_dir() else []


def _faults_of_gathering(targets: Sequence[str], runs: Mapping[str, Sequence[Path]], options: Options) -> list[str]:
    """What is wrong with targets and options beside run directories."""
    faults = []
    # A comparison's own files are passed over, as `runs/compare-x/*` names them too.
    for name in (name for name, paths in runs.items() if not paths and Path(name).name not in FILES):
        what = "holds no run" if Path(name).exists() else "there is no such run directory"
        faults.append(f"{name}: {what}; leave it out, or give the folder that holds the runs instead of its files")
    given = [f"--{name.replace('_', '-').replace('ranges', 'range')}" for name in OF_TRAINING if options.get(name)]
    if training := [*(target for target in targets if target not in runs), *given]:
        faults.append(f"{', '.join(training)}: says what to train; leave it out to compare run directories")
    if (jobs := options.get("jobs") or 1) > 1:
        faults.append(f"--jobs {jobs}: there is nothing to train among runs that exist; leave it out")
    return faults
