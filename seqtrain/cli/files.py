"""Options for files that a verb writes beside its result."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from seqtrain.system.errors import ConfigError

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")]


def check_overwrite(overwrite: bool, outputs: Mapping[str, Path | None]) -> None:
    """Raise a ConfigError if there is no file to replace: `outputs` has the files by their options."""
    if overwrite and all(path is None for path in outputs.values()):
        files = " and ".join(outputs)
        raise ConfigError(f"--overwrite is for the files of {files}; give one of them, or leave it out")
