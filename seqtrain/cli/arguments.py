"""Arguments and options that several verbs take."""

from pathlib import Path
from typing import Annotated

import typer

from seqtrain.cli import completion

ConfigName = Annotated[
    str,
    typer.Argument(
        autocompletion=completion.configs,
        help="A YAML file, the name of a shipped config (quickstart), or a run directory, which stands for its config.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE", autocompletion=completion.overrides, help="Settings to change, e.g. train.steps=500."
    ),
]
RunOrCheckpoint = Annotated[
    Path,
    typer.Argument(
        metavar="RUN",
        autocompletion=completion.runs,
        help="A run directory, which stands for its best checkpoint; or a checkpoint.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]


def directory(text: str) -> Path:
    """Parse a directory to write into; an option that lacks its value takes the next option for it."""
    if not text or text.startswith("-"):
        raise typer.BadParameter(f"{text!r} is no directory to write into")
    return Path(text)


Out = Annotated[
    Path | None,
    typer.Option("--out", parser=directory, metavar="DIR", help="Where to write; by default a folder under runs/."),
]
