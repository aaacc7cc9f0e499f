"""`seqtrain cells`, `tasks`, `settings` and `configs`: what there is."""

from pathlib import Path
from typing import Annotated

import typer

from seqtrain.cli.arguments import Json, print_result

Names = Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Only these.")]
ShippedName = Annotated[str, typer.Argument(help="A name that seqtrain configs lists.")]


def cells(names: Names = None, json: Json = False) -> None:
    """List the cells: equations, parameters, options."""
    from seqtrain.cli import catalog as catalogue
    from seqtrain.cli import render as tables

    print_result({"cells": catalogue.cells(names or ())}, json, tables.definitions)


def tasks(names: Names = None, json: Json = False) -> None:
    """List the tasks: definitions, metrics, settings."""
    from seqtrain.cli import catalog as catalogue
    from seqtrain.cli import render as tables

    print_result({"tasks": catalogue.tasks(names or ())}, json, tables.definitions)


def settings(names: Names = None, json: Json = False) -> None:
    """List the settings of every section of a config, or of some: train, optimizer adam, task language_model."""
    from seqtrain.cli import catalog as catalogue
    from seqtrain.cli import render as tables

    print_result({"settings": catalogue.settings(names or ())}, json, tables.definitions)


def configs(context: typer.Context, json: Json = False) -> None:
    """List the configs that come with seqtrain."""
    if context.invoked_subcommand is None:
        from seqtrain.cli import catalog as catalogue
        from seqtrain.cli import render as tables

        print_result({"configs": catalogue.configs()}, json, tables.config_table)


def show(name: ShippedName) -> None:
    """Print a shipped config as it is written."""
    from seqtrain.cli import catalog as catalogue

    typer.echo(catalogue.config_text(name), nl=False)


def copy(
    name: ShippedName,
    file: Annotated[Path, typer.Argument(help="Where to write it; never overwrites.")],
) -> None:
    """Copy a shipped config, to start from."""
    from seqtrain.cli import verbs

    typer.echo(verbs.copy_config(name, file))
