"""Print results on stdout, as tables or as JSON: what several verbs share."""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import typer
from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from seqtrain.system.words import figure

WIDTH_WITHOUT_TERMINAL = 140


def print_result(result: Any, json: bool, table: Any, *more: RenderableType) -> None:
    """Print a result: one JSON object, or the table that the function `table` makes of it."""
    if not json:
        show(table(result), *more)
        return
    from dataclasses import asdict, is_dataclass

    from seqtrain.system import strict_json

    if hasattr(result, "as_json"):
        result = result.as_json()
    elif is_dataclass(result) and not isinstance(result, type):
        result = asdict(result)
    typer.echo(strict_json.dumps(result, indent=2))


def show(*parts: RenderableType) -> None:
    """Print tables or text on stdout."""
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    console = Console(width=None if known else WIDTH_WITHOUT_TERMINAL, highlight=False)
    for part in parts:
        console.print(Text(part) if isinstance(part, str) else part)


def facts(title: str, rows: Iterable[tuple[str, str]]) -> Table:
    """A table of names and values."""
    table = Table(title=Text(title), title_justify="left", title_style="bold", show_header=False, box=None)
    for name, value in rows:
        table.add_row(Text(name, style="dim"), Text(value))
    return table


def grid(title: str | None = None, **style: Any) -> Table:
    """An empty table with a line under the names of its columns."""
    heading = None if title is None else Text(title)
    return Table(title=heading, title_justify="left", **({"title_style": "bold"} | style), box=box.SIMPLE_HEAD)


def in_figures(what: str, values: Mapping[str, float | None]) -> Iterator[tuple[str, str]]:
    """A row of facts for each figure: `test accuracy`."""
    return ((f"{what} {name}", figure(value)) for name, value in values.items())


def model_line(result: Mapping[str, Any]) -> str:
    """The model of a run or a config in one line."""
    return (
        f"{result['cell']}, {result['direction']}, depth {result['depth']}, hidden size {result['hidden_size']}, "
        f"{result['parameters']:,} parameters"
    )


def _unit(result: dict[str, Any]) -> str:
    return "tokens" if "tokens_per_s" in result else "sequences"
