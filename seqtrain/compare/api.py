"""The verb `compare`, with plain arguments and results; apart from the others, as importing scipy takes its time."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from seqtrain.compare.aggregate import MADE
from seqtrain.compare.assertions import Assertion, check, read_conditions
from seqtrain.compare.executor import CONFIGS
from seqtrain.compare.options import Asked
from seqtrain.compare.plan import Request
from seqtrain.compare.runner import commands, compare_cells, gather
from seqtrain.compare.tuning import FOLDER
from seqtrain.config import Config, find_config, load_config
from seqtrain.runs.directory import RunDir
from seqtrain.runs.trainer import RUNS
from seqtrain.system.errors import ConfigError
from seqtrain.system.progress import say

ASSERTION_FAILED = 4
"""Exit code."""

COMPARED = ("rnn", "lstm", "peephole", "coupled", "gru")
"""The cells that `compare` trains unless told otherwise. Of `odyssey` one ablation alone would say little."""


def compare(
    targets: Sequence[str],
    asked: Asked,
    out: Path | None,
    conditions: Sequence[str],
    *,
    jobs: int,
    quiet: bool,
    command: str | None = None,
) -> tuple[dict[str, Any], int]:
    """Compare cells on a config, or runs that exist; returns the result and the exit code."""
    found = _runs_named(targets, asked)
    if found:
        _at_once(asked.check, lambda: read_conditions(conditions))
        if jobs > 1:
            raise ConfigError(f"--jobs {jobs}: there is nothing to train among runs that exist; leave it out")
        one = Path(targets[0])
        folder = len(targets) == 1 and found != [one]
        result = gather(
            found, out or (one if folder else RUNS / "compare"), reference=asked.reference, level=asked.level,
            eval_lengths=asked.lengths(), command=command, folder=folder and out in (None, one), quiet=quiet,
        )  # fmt: skip
        code = 0
    else:
        request = _request(targets, asked, out, conditions)
        result, code = compare_cells(request, jobs=jobs, quiet=quiet, command=command)
    return result, code or _assert(result, conditions, quiet=quiet)


def _assert(result: dict[str, Any], conditions: Sequence[str], *, quiet: bool) -> int:
    """Whether the conditions hold, said and put into the result; returns the exit code.

    A figure that the result does not have is said too: what was trained for hours is not kept back for a slip.
    """
    checked, faults = list[Assertion](), list[str]()
    for text in conditions:
        try:
            checked.append(check(text, result["cells"]))
        except ConfigError as error:
            faults += error.faults
    if checked:
        result["assertions"] = [assertion._asdict() for assertion in checked]
    for assertion in checked:
        say(assertion.sentence(), quiet=quiet and assertion.holds)
    for fault in faults:
        say(f"seqtrain: {fault}")
    if faults:
        return ConfigError.exit_code
    return 0 if all(assertion.holds for assertion in checked) else ASSERTION_FAILED


def compare_commands(
    targets: Sequence[str],
    asked: Asked,
    out: Path | None,
    conditions: Sequence[str],
    *,
    quiet: bool,
    command: str | None = None,
) -> Iterator[str]:
    """The commands that a comparison would run, one a run."""
    if _runs_named(targets, asked):
        raise ConfigError("--dry-run says what would be trained; it goes with a config, not with run directories")
    return commands(_request(targets, asked, out, conditions), quiet=quiet, command=command)


def _request(targets: Sequence[str], asked: Asked, out: Path | None, conditions: Sequence[str]) -> Request:
    names = [target for target in targets if "=" not in target]
    if len(names) != 1:
        raise ConfigError(f"compare takes one config, or run directories; got {', '.join(names) or 'neither'}")
    overrides = [target for target in targets if target not in names]
    loaded: list[Config] = []  # once, as it may be a pipe
    _at_once(asked.check, lambda: read_conditions(conditions), lambda: loaded.append(load_config(names[0], overrides)))
    (config,), path = loaded, find_config(names[0])
    own = config.model.cell.name
    every = list(dict.fromkeys([*COMPARED, own]))
    request = asked.request(config, path.stem, every, out or RUNS / f"compare-{path.stem}", path.parent)
    read_conditions(conditions, request.labels())
    return request


def _at_once(*checks: Callable[[], object]) -> None:
    """Raise the faults that any of the checks finds, all of them."""
    faults: list[str] = []
    for check_one in checks:
        try:
            check_one()
        except ConfigError as error:
            faults += error.faults
    if faults:
        raise ConfigError(faults)


def _runs_named(targets: Sequence[str], asked: Asked) -> list[Path]:
    """The run directories that the targets mean, if they mean any."""
    names = [target for target in targets if "=" not in target or Path(target).is_dir()]
    runs = {name: _runs_in(Path(name)) for name in names}
    if not any(runs.values()):
        _check_begun([Path(name) for name in names])
        return []
    _check_only_runs(runs, trains=[*(t for t in targets if t not in names), *asked.training()])
    return [run for those in runs.values() for run in those]


def _check_begun(paths: Sequence[Path]) -> None:
    """Refuse the folder of a comparison that holds no run yet which it would compare."""
    for path in paths:
        if any((path / name).is_dir() for name in (CONFIGS, FOLDER)):
            raise ConfigError(
                f"{path}: is a comparison without a run to compare yet, as when its cells are still being tuned; "
                "repeat the command that started it, with its config"
            )


def _runs_in(path: Path) -> list[Path]:
    """The path itself if it is a run directory, or the run directories in the folder, as `compare` leaves them."""
    if RunDir(path).holds_run():
        return [path]
    return [run for run in sorted(path.iterdir()) if RunDir(run).holds_run()] if path.is_dir() else []


def _check_only_runs(runs: dict[str, list[Path]], *, trains: Sequence[str]) -> None:
    """Refuse what cannot stand beside run directories."""
    faults = []
    made = [name for name in runs if Path(name).name in MADE]  # what `runs/compare-x/*` finds beside the runs
    for name in (name for name, found in runs.items() if not found and name not in made):
        what = "holds no run" if Path(name).exists() else "there is no such run directory"
        faults.append(f"{name}: {what}; leave it out, or give the folder that holds the runs instead of its files")
    if trains:
        faults.append(f"{', '.join(trains)}: says what to train; leave it out to compare run directories")
    if faults:
        raise ConfigError(faults)
