"""Print results on stdout, as tables or as JSON: what several verbs share."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from rich import box
from rich.console import Console, RenderableType
from rich.table import Column, Table
from rich.text import Text

from seqtrain.system.streams import stdout, to_stdout
from seqtrain.system.words import figure

WIDTH_WITHOUT_TERMINAL = 140


def print_result(result: Any, json: bool, table: Callable[[Any], RenderableType]) -> None:
    """Print a result: one JSON object, or what the function `table` makes of it."""
    if json:
        from seqtrain.system import strict_json

        data = result.as_json() if hasattr(result, "as_json") else result
        is_utf8 = (stdout().encoding or "").lower().replace("-", "") == "utf8"  # a JSON parser expects nothing else
        to_stdout(strict_json.dumps(data, indent=2, ascii_only=not is_utf8) + "\n")
        return
    known = stdout().isatty() or "COLUMNS" in os.environ
    console = Console(file=stdout(), width=None if known else WIDTH_WITHOUT_TERMINAL, highlight=False)
    with console.capture() as printed:
        console.print(table(result))
    to_stdout(printed.get())


def facts(title: str, rows: Iterable[tuple[str, str]]) -> Table:
    """A table of names and values."""
    table = Table(title=Text(title), title_justify="left", title_style="bold", show_header=False, box=None)
    for name, value in rows:
        table.add_row(Text(name, style="dim"), Text(value))
    return table


def grid(
    title: str,
    first: str | Column,
    *others: str | Column,
    no_wrap: bool = True,
    title_style: str = "bold",
    padding: tuple[int, int, int, int] = (0, 1, 0, 1),
) -> Table:
    """An empty table with a line under the names of its columns; all but the first hold numbers."""
    columns = (
        Column(Text(name), justify="right", no_wrap=no_wrap) if isinstance(name, str) else name for name in others
    )
    return Table(
        first, *columns, title=title and Text(title), title_justify="left", title_style=title_style, padding=padding,
        box=box.SIMPLE_HEAD,
    )  # fmt: skip


def in_figures(what: str, values: Mapping[str, float | None]) -> Iterator[tuple[str, str]]:
    """A row of facts for each figure: `test accuracy`."""
    return ((f"{what} {name}", figure(value)) for name, value in values.items())


def model_line(result: Mapping[str, Any]) -> str:
    """The model of a run or a config in one line."""
    return (
        f"{result['cell']}, {result['direction']}, depth {result['depth']}, hidden size {result['hidden_size']}, "
        f"{result['parameters']:,} parameters"
    )
