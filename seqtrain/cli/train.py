"""`seqtrain train`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from seqtrain.cli.arguments import ConfigName, Json, Out, Overrides, Quiet
from seqtrain.cli.render import facts, in_figures, model_line, print_result
from seqtrain.system.words import counted, figure

if TYPE_CHECKING:
    from seqtrain.runs.train import Trained


def train(
    config: ConfigName,
    overrides: Overrides = None,
    out: Out = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in the directory; start if there is none.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in the directory.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a model; stdout ends with the summary."""
    from seqtrain.runs.train import train

    trained = train(config, overrides or (), out=out, resume=resume, overwrite=overwrite, quiet=quiet)
    print_result(trained, json, run_table)
    if trained.message:
        typer.echo(trained.message, err=True)
    raise typer.Exit(trained.exit_code)


def run_table(trained: "Trained") -> Table:
    """The summary of a run."""
    summary = trained.summary
    name, best = summary["metric"]["name"], summary["best"]
    unit = "tokens" if "tokens_per_s" in summary else "sequences"
    speed = f"{figure(summary[f'{unit}_per_s'])} {unit}/s"
    rows = [
        ("status", _status(summary, solvable=unit == "sequences")),  # a text is never solved
        ("task", summary["variant"]),
        ("model", model_line(summary)),
        (f"best valid {name}", f"{figure(best['value'])} at step {best['step']}" if best["step"] else "-"),
        *in_figures("test", summary["test"] or {}),
        *in_figures("baseline", summary["baseline"]),
        ("time", f"{summary['elapsed_s']:.1f} s, {counted(summary['steps'], 'step')}, {speed}"),
        ("on", f"{summary['device']}, {counted(summary['threads'], 'thread')}, engine {summary['engine']}"),
        ("run", str(trained.path)),
    ]
    return facts(f"{summary['cell']} on {summary['task']}", rows)


def _status(summary: Mapping[str, Any], *, solvable: bool) -> str:
    parts = [summary["status"]]
    if summary["solved_at_step"] is not None:
        parts[0] += f" at step {summary['solved_at_step']}"
    elif solvable:
        parts.append("not solved")
    steps, planned = summary["steps"], summary.get("planned_steps", 0)
    if summary["status"] == "finished" and steps < planned:
        parts.append(f"out of patience after {steps:,} of {planned:,} steps")
    if summary.get("skipped_steps"):
        parts.append(f"{counted(summary['skipped_steps'], 'step')} skipped")
    return ", ".join(parts)
