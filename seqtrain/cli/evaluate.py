"""`seqtrain eval`."""

import math
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer
from rich.table import Table

from seqtrain.cli.arguments import Json, Quiet, RunOrCheckpoint
from seqtrain.cli.render import facts, in_figures, print_result
from seqtrain.system.errors import ConfigError
from seqtrain.system.words import figure

if TYPE_CHECKING:
    from seqtrain.inference.evaluate import Dynamic

FIXED = {
    "checkpoint", "step", "task", "variant", "changed", "cell", "split", "metric", "data", "engine", "baseline",
    "solved", "dynamic",
}  # fmt: skip
"""What is printed besides figures."""


def evaluate(
    run: RunOrCheckpoint,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Task settings to change, e.g. task.length=400."),
    ] = None,
    split: Annotated[str, typer.Option(help="test, valid, or train (of a text).")] = "test",
    dynamic: Annotated[
        float | None,
        typer.Option(min=0, metavar="LR", help="Continue to learn from a text while it is evaluated, at this rate."),
    ] = None,
    dynamic_decay: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="How far each such step moves the weights back to the trained ones."),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Evaluate a trained model, rebuilt from its checkpoint alone."""
    from seqtrain.inference.evaluate import evaluate_checkpoint
    from seqtrain.tasks import Split

    learning = _dynamic(dynamic, dynamic_decay)
    if split not in get_args(Split):
        raise ConfigError(f"--split is {split!r}; choose one of test, valid, or train (of a text)")
    result = evaluate_checkpoint(run, cast(Split, split), overrides or (), learning, quiet=quiet)
    print_result(result.as_json(), json, eval_table)


def _dynamic(lr: float | None, decay: float | None) -> "Dynamic | None":
    """The settings of dynamic evaluation; None without a learning rate.

    Raises
    ------
    ConfigError : there is a decay and no rate, or the rate is not finite.
    """
    from seqtrain.inference.evaluate import Dynamic

    if lr is None and decay is not None:
        raise ConfigError(f"--dynamic-decay is {decay:g}, but there is no --dynamic to decay; add --dynamic LR")
    if lr is not None and not math.isfinite(lr):
        raise ConfigError(f"--dynamic is {lr:g}; it must be a finite learning rate")
    return None if lr is None else Dynamic(lr, decay or 0.0)


def eval_table(result: dict[str, Any]) -> Table:
    """The figures of an evaluation, with its data."""
    dynamic, solved = result["dynamic"], result["solved"]
    changed = ", ".join(f"{key}={value}" for key, value in result["changed"].items())
    data = {key.replace("_", " "): v if isinstance(v, str) else figure(v) for key, v in result["data"].items()}
    rows = [
        ("checkpoint", f"{result['checkpoint']} (step {result['step']})"),
        ("task", result["variant"] + (f", not as trained: {changed}" if changed else "")),
        *([("dynamic", ", ".join(f"{key} {value:g}" for key, value in dynamic.items()))] if dynamic else []),
        *in_figures(result["split"], {key: value for key, value in result.items() if key not in FIXED}),
        *in_figures("baseline", result["baseline"]),
        *data.items(),
        *([] if solved is None else [("solved", "yes" if solved else "no")]),
    ]
    return facts(f"{result['cell']} on {result['task']}, {result['split']} set", rows)
