"""`seqtrain data`."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqtrain.cli.arguments import Json
from seqtrain.cli.files import Overwrite
from seqtrain.cli.guide import suggest
from seqtrain.cli.render import print_result
from seqtrain.system.errors import ConfigError
from seqtrain.system.outputs import check_output, write_output
from seqtrain.system.streams import to_stderr
from seqtrain.system.tables import Column, Facts, Grid, Part
from seqtrain.system.words import counted, visible

if TYPE_CHECKING:
    from seqtrain.data_profile import Profile

MOST_COLUMNS = 40
"""Columns of a table that are shown."""


def data(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A table, a text, a .ts or .npz file, or a folder.")],
    out: Annotated[Path | None, typer.Option(help="Also write the config to a file that ends in .yaml.")] = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Look at a file of yours: what it is, what is wrong with it, and a config that trains on it."""
    from seqtrain.data_profile import profile
    from seqtrain.data_profile.yaml_text import to_yaml

    check_output("--out", out, ("yaml", "yml"), overwrite=overwrite)
    if overwrite and out is None:
        raise ConfigError("--overwrite is for the file of --out; give one, or leave it out")
    found = profile(file)
    config = None if found.config is None else to_yaml(found.config)
    print_result(found, json, lambda _: profile_parts(found, config))
    if out is not None:
        if config is None:
            raise ConfigError(f"{file}: no config can be written ({found.why_not}); leave out --out")
        write_output(out, config.encode())
        to_stderr(f"{out} written")
        suggest(shlex.join(["seqtrain", "train", str(out)]), quiet=json)
    elif config is not None:
        suggest(f"{shlex.join(['seqtrain', 'data', file, '--out', 'my.yaml'])} writes the config", quiet=json)


def profile_parts(found: "Profile", config: str | None) -> Iterator[Part | str]:
    """What the file is, its columns, its faults, and the config."""
    title = f"{visible(found.path)}: {found.what}"
    yield Facts(title, [(name, _shown(value)) for name, value in found.facts.items()]) if found.facts else title
    if found.columns:
        yield ""
        yield _columns(found.columns)
    for title, lines in (("faults", found.faults), ("remarks", found.remarks)):
        if lines:
            yield f"\n{title}:"
            yield from (f"- {line}" for line in lines)
    yield f"\nno config: {found.why_not}" if config is None else f"\nconfig:\n\n{config}"


def _columns(columns: list[dict[str, Any]]) -> Grid:
    if "role" not in columns[0]:
        names = [*columns[0]]
        table = Grid("", tuple(Column(name) for name in names))
        for column in columns:
            table.add(*(_shown(column[name]) for name in names))
        return table
    names = ["column", "kind", "use", "missing", "distinct", "least", "most"]
    table = Grid("", tuple(Column(name, drop=max(0, 7 - n) if n > 2 else 0) for n, name in enumerate(names)))
    for column in columns[:MOST_COLUMNS]:
        table.add(
            visible(column["name"]) or "(no name)", column["kind"], column["role"],
            f"{column['missing']:,}", f"{column['distinct']:,}", visible(column["least"]), visible(column["most"]),
        )  # fmt: skip
    if len(columns) > MOST_COLUMNS:
        table.add(f"... {counted(len(columns) - MOST_COLUMNS, 'column')} more", *[""] * (len(names) - 1), dim=True)
    return table


def _shown(value: Any) -> str:
    """A value of a fact."""
    if isinstance(value, dict):
        return ", ".join(f"{visible(str(key))} {number:,}" for key, number in value.items())
    if isinstance(value, list):
        return " x ".join(f"{number:,}" for number in value) or "a single value"
    return f"{value:,}" if isinstance(value, int) else visible(str(value))
