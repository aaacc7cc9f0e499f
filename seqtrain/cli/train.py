"""`seqtrain train`."""

from typing import TYPE_CHECKING, Annotated

import typer

from seqtrain.cli.arguments import ConfigName, Json, Out, Overrides, Quiet
from seqtrain.cli.guide import after_training, suggest
from seqtrain.cli.render import in_figures, in_words, model_line, print_result
from seqtrain.system.processes import torchrun_rank
from seqtrain.system.streams import to_stderr
from seqtrain.system.tables import Facts
from seqtrain.system.words import counted, figure

if TYPE_CHECKING:
    from seqtrain.runs.records import Summary
    from seqtrain.runs.trainer import Trained


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
    if torchrun_rank():  # process 0 speaks for all
        raise typer.Exit(trained.exit_code)
    print_result(trained, json, lambda _: [run_table(trained)])
    if trained.message:
        to_stderr(trained.message)
    if trained.summary.status != "interrupted":  # then the message says how to go on
        suggest(after_training(trained, config, overrides), quiet=quiet or json)
    raise typer.Exit(trained.exit_code)


def run_table(trained: "Trained") -> Facts:
    """The summary of a run."""
    summary = trained.summary
    name, best = summary.metric.name, summary.best
    worse = summary.judged_by.remark((summary.test or {}).get(name), summary.baseline)
    has_rules = summary.judged_by.best_rule(summary.baseline) is not None  # a good model may lose to these
    cure = "try a lower optimizer.lr, or more steps" if summary.steps else "was it trained on the inputs of this task?"
    speed = f"{figure(summary.throughput)} {summary.work_unit}/s"
    rows = [
        ("status", _status(summary, solvable=summary.traits.solvable)),
        ("task", summary.variant),
        ("model", model_line(vars(summary))),
        *([("first weights", f"imported from {summary.imported}")] if summary.imported else []),
        (f"best valid {name}", f"{figure(best.value)} at step {best.step}" if best.step is not None else "-"),
        *in_figures("test", summary.test or {}),
        *in_figures("baseline", summary.baseline),
        *in_words(summary.data),
        ("time", f"{summary.elapsed_s:.1f} s, {counted(summary.steps, 'step')}, {speed}"),
        ("on", f"{summary.device}, {counted(summary.threads, 'thread')}, engine {summary.engine}, {summary.precision}"),
        ("run", str(trained.path)),
        *([("note", worse + ("" if has_rules else f"; {cure}"))] if worse else []),
    ]
    return Facts(f"{summary.cell} on {summary.task}", rows)


def _status(summary: "Summary", *, solvable: bool) -> str:
    status: str = summary.status
    if summary.solved_at_step is not None:
        status += f" at step {summary.solved_at_step}"
    elif solvable:
        status += ", not solved"
    if summary.status == "finished" and 0 < summary.steps < summary.planned_steps:  # 0: imported, not trained here
        status += f", out of patience after {summary.steps:,} of {summary.planned_steps:,} steps"
    return status + (f", {counted(summary.skipped_steps, 'step')} skipped" if summary.skipped_steps else "")
