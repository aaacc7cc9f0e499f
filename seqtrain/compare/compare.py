"""Run a comparison, or gather one from runs that exist."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seqtrain.build import build_model, build_task
from seqtrain.compare.curves import draw_curves
from seqtrain.compare.plan import plan_runs
from seqtrain.compare.summarise import group_runs, read_runs, summarise
from seqtrain.config import Config
from seqtrain.errors import Diverged
from seqtrain.progress import say
from seqtrain.run import train_run
from seqtrain.run_dir import RunDir
from seqtrain.runtime import prepare

PICTURE = "curves.png"


def compare_cells(
    config: Config,
    config_name: str,
    cells: Sequence[str],
    seeds: int,
    out: Path,
    *,
    quiet: bool = False,
    beside: Path | None = None,
) -> tuple[dict[str, Any], int]:
    """Train every cell with every seed, each run in its own directory under `out`, and compare them.

    Runs that are done are not repeated, one that was interrupted goes on, one that diverges is a row like the
    others.

    Parameters
    ----------
    beside : the folder of the config, where cells of the user's own may lie.

    Returns
    -------
    The summary (see `summarise`; empty if interrupted) and the exit code.

    Raises
    ------
    SeqtrainError : something about the config or the directories, before anything is trained.
    """
    runs, remarks = plan_runs(config, config_name, cells, seeds, out, beside or Path())
    prepare(config.threads)
    RunDir(out).create()
    task = build_task(config, quiet=quiet)
    for run in {run.config.model.cell.name: run for run in runs}.values():
        build_model(run.config, task.spec)
    for remark in remarks:
        say(remark, quiet=quiet)
    for number, run in enumerate(runs, 1):
        if run.is_done():
            say(f"{number}/{len(runs)} {run.out.name}: done already", quiet=quiet)
            continue
        outcome = train_run(run.config, run.out, resume=RunDir(run.out).holds_run(), quiet=quiet)
        if outcome.exit_code not in (0, Diverged.exit_code):
            say(f"{run.out}: {outcome.summary['status']}; repeat the same command to go on with the comparison")
            return {}, outcome.exit_code
        say(f"{number}/{len(runs)} {run.out.name}: {_ending(outcome.summary)}", quiet=quiet)
    return gather([run.out for run in runs], out), 0


def gather(paths: Sequence[Path], out: Path) -> dict[str, Any]:
    """Compare finished runs and draw `curves.png` into `out`.

    Raises
    ------
    CheckpointError : one of the paths holds no finished run, or they are not of one task.
    """
    RunDir(out).create()
    groups = group_runs(read_runs(paths))
    picture = out / PICTURE
    draw_curves(groups, picture)
    return summarise(groups) | {"curves": str(picture)}


def _ending(summary: dict[str, Any]) -> str:
    if summary["status"] == "solved":
        return f"solved at step {summary['solved_at_step']}"
    return f"{summary['status']} after {summary['steps']} steps"
