"""Which runs a comparison needs: every cell with every seed, everything else the same."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from seqtrain.config import Config, config_from, located
from seqtrain.errors import CheckpointError, ConfigError
from seqtrain.run import differences, run_name
from seqtrain.run_dir import RunDir

DONE = ("solved", "finished", "diverged")


class PlannedRun(NamedTuple):
    """One run of a comparison and where it goes."""

    config: Config
    out: Path

    def is_done(self) -> bool:
        """Whether it has been run to its end already."""
        summary = RunDir(self.out).read_summary()
        return summary is not None and summary.get("status") in DONE


def plan_runs(
    config: Config, config_name: str, cells: Sequence[str], seeds: int, out: Path, beside: Path
) -> tuple[list[PlannedRun], list[str]]:
    """All runs, and remarks on options of the config's cell that another cell does not have.

    Raises
    ------
    ConfigError : a cell does not exist, stands twice, or cannot be combined with the config.
    CheckpointError : a directory holds a run of another config.
    """
    faults, remarks, variants = [], [], []
    for cell in cells:
        section, left_out = _cell_section(config, cell)
        if left_out:
            remarks.append(f"{cell} has no {', '.join(left_out)}; compared without")
        data = config.model_dump()
        data["model"]["cell"] = section
        try:
            variants.append(located(config_from(data, f"--cells {cell}"), beside))
        except ConfigError as error:
            faults += error.faults
    faults += [f"--cells: {cell} stands twice; name each once" for cell in cells if cells.count(cell) > 1]
    if faults:
        raise ConfigError(list(dict.fromkeys(faults)))
    runs = [
        PlannedRun(seeded, out / run_name(config_name, seeded))
        for variant in variants
        for seed in range(config.seed, config.seed + seeds)
        for seeded in [variant.model_copy(update={"seed": seed})]
    ]
    _check_directories(runs)
    return runs, remarks


def _cell_section(config: Config, cell: str) -> tuple[dict[str, object], list[str]]:
    """The section of a cell, with the options that the config gives its own cell as far as this one has them."""
    own = config.model.cell
    if own.name == cell or ":" in cell:
        return (own.model_dump() if own.name == cell else {"name": cell}), []
    given = {
        name: value for name, value in own.model_dump(exclude_unset=True).items() if name not in ("name", "folder")
    }
    alone = config.model_dump()
    alone["model"]["cell"] = {"name": cell}
    try:
        known = config_from(alone, f"--cells {cell}").model.cell.model_dump()
    except ConfigError:
        return {"name": cell}, []
    shared = {name: value for name, value in given.items() if name in known}
    lost = [name for name, value in given.items() if name not in known and value is not None]
    return {"name": cell} | shared, lost


def _check_directories(runs: Sequence[PlannedRun]) -> None:
    faults = []
    for run in runs:
        found = RunDir(run.out).read_config()
        changed = differences(found, run.config.model_dump()) if found is not None else {}
        changed = {key: pair for key, pair in changed.items() if key not in ("threads", "model.cell.folder")}
        if changed:
            told = ", ".join(f"{key} {old!r} (now {new!r})" for key, (old, new) in changed.items())
            faults.append(f"{run.out}: holds a run with {told}; choose another directory with --out")
        elif found is None and RunDir(run.out).holds_run():
            faults.append(f"{run.out}: holds a run without a readable config.yaml; choose another with --out")
    if faults:
        raise CheckpointError("\n".join(faults))
