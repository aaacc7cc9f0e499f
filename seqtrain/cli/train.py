"""`seqtrain train`, `validate` and `check`: what begins with a config."""

from typing import Annotated

import typer

from seqtrain.cli.arguments import ConfigName, Json, Out, Overrides, Quiet, print_result


def train(
    config: ConfigName,
    overrides: Overrides = None,
    out: Out = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the run in the directory stands; start if there is none.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in the directory.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a model; stdout ends with the summary."""
    from seqtrain.cli import render as tables
    from seqtrain.cli import verbs

    outcome, result = verbs.train(config, overrides or [], out, resume=resume, overwrite=overwrite, quiet=quiet)
    print_result(result, json, tables.run_table)
    if outcome.message:
        typer.echo(outcome.message, err=True)
    raise typer.Exit(outcome.exit_code)


def validate(config: ConfigName, overrides: Overrides = None, json: Json = False, quiet: Quiet = False) -> None:
    """Build everything a config asks for, train nothing, report every fault at once."""
    from seqtrain.cli import render as tables
    from seqtrain.cli import verbs

    print_result(verbs.validate(config, overrides or [], quiet=quiet), json, tables.validate_table)


def check(config: ConfigName, overrides: Overrides = None, json: Json = False, quiet: Quiet = False) -> None:
    """Prove on a config what is promised: exact resume, determinism, causality, padding, gradients, the test set."""
    from seqtrain.cli import render as tables
    from seqtrain.cli import verbs

    result = verbs.check(config, overrides or [], quiet=quiet)
    print_result(result, json, tables.check_table)
    raise typer.Exit(0 if result["holds"] else verbs.PROMISE_BROKEN)
