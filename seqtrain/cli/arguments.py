"""What several verbs take, and how each gives its result."""

from pathlib import Path
from typing import Annotated, Any

import typer

ConfigName = Annotated[str, typer.Argument(help="A YAML file, or the name of a shipped config (quickstart).")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Settings to change, e.g. train.steps=500."),
]
RunOrCheckpoint = Annotated[
    Path, typer.Argument(metavar="RUN_OR_CHECKPOINT", help="A run directory (its best.pt), or a .pt file.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of what people read.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]


def directory(text: str) -> Path:
    """A directory to write into, not an option that lacks its value."""
    if not text or text.startswith("-"):
        raise typer.BadParameter(f"{text!r} is no directory to write into")
    return Path(text)


Out = Annotated[
    Path | None,
    typer.Option("--out", parser=directory, metavar="DIR", help="Where to write; by default a folder under runs/."),
]


def print_result(result: dict[str, Any], json: bool, table: Any, *more: Any) -> None:
    """The result on stdout: one JSON object, or for people."""
    if json:
        from seqtrain.system import strict_json

        typer.echo(strict_json.dumps(result, indent=2))
    else:
        from seqtrain.cli import render as tables

        tables.show(table(result), *more)
