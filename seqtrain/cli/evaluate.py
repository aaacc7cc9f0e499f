"""`seqtrain eval`: a trained model, measured."""

from typing import Annotated

import typer

from seqtrain.cli.arguments import Json, Quiet, RunOrCheckpoint, print_result


def evaluate(
    run: RunOrCheckpoint,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Task settings to change, e.g. task.length=400."),
    ] = None,
    split: Annotated[str, typer.Option(help="test, valid, or train (of a text).")] = "test",
    dynamic: Annotated[
        float | None,
        typer.Option(min=0, metavar="LR", help="Go on learning from a text while it is evaluated, at this rate."),
    ] = None,
    dynamic_decay: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="How far each such step draws the weights back to the trained ones."),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Evaluate a trained model, rebuilt from its checkpoint alone."""
    from seqtrain.cli import render as tables
    from seqtrain.cli import verbs

    print_result(
        verbs.evaluate(run, split, overrides or [], dynamic, dynamic_decay, quiet=quiet), json, tables.eval_table
    )
