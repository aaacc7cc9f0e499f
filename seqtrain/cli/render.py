"""Print results on stdout, as tables or as JSON: what several verbs share."""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import typer
from rich import box
from rich.console import Console, Group, RenderableType
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


def compare_table(result: dict[str, Any]) -> Table:
    """One row a cell, and the baseline; a block for each value of what is varied."""
    name, unit, varied = result["metric"]["name"], _unit(result["cells"][0]), result["varied"]
    better = "higher" if result["metric"]["higher_is_better"] else "lower"
    table = Table(
        title=Text(
            f"{result.get('variant', result['task'])}: test {name}, {better} is better; {result['outcome']} decides"
        ),
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("cell", overflow="fold", min_width=8, vertical="bottom")
    judged = ("solved", "median\nsteps") if result["solvable"] else (f"best\nvalid {name}",)
    point = (varied.rpartition(".")[2],) if varied else ()
    for column in (*point, "hidden", "weights", f"{name}\nmean", "95 %\ninterval", *judged, f"{unit}\nper s"):
        table.add_column(column, justify="right", no_wrap=True)
    rows = result["cells"]
    for place, row in enumerate(rows):
        table.add_row(
            Text(row["cell"]),
            *([str(row["at"])] if varied else []),
            str(row["hidden_size"]),
            f"{row['parameters']:,}",
            figure(row["metric"]["mean"]),
            _interval(row["metric"]),
            *_judged(row, name),
            figure(row[f"{unit}_per_s"]),
        )
        if place + 1 == len(rows) or rows[place + 1]["at"] != row["at"]:
            baseline = figure(row["baseline"].get(name))
            table.add_section()
            table.add_row("baseline", *([str(row["at"])] if varied else []), "", "", baseline, style="dim")
            table.add_section()
    return table


def _judged(row: dict[str, Any], name: str) -> list[str]:
    """How often and when a task was solved; of a text, the validation metric."""
    if not row["solvable"]:
        return [figure(row["valid"].get(name))]
    diverged = f", {row['diverged']} diverged" if row["diverged"] else ""
    return [f"{row['solved']} of {row['runs']}{diverged}", figure(row["median_steps_to_solve"])]


def _interval(found: dict[str, Any]) -> str:
    return "-" if found["low"] is None else f"{figure(found['low'])} to {figure(found['high'])}"


def compare_words(result: dict[str, Any]) -> Group:
    """Verdicts, notes, other lengths, tuning, and where the files are."""
    parts: list[Any] = [Text(f"- {sentence}") for sentence in (*result["verdicts"], *result["notes"])]
    if result["longest_solved"]:
        told = ", ".join(f"{cell} {value or 'none'}" for cell, value in result["longest_solved"].items())
        parts.append(Text(f"- largest {result['varied']} that most runs solved: {told}"))
    parts += [Text(f"- {_chosen(entry)}") for entry in result["tuning"]]
    if result["lengths"]:
        parts += [Text(""), _lengths_table(result)]
    parts.append(Text(f"\nReport: {result['files']['report.html']}"))
    return Group(*parts)


def _chosen(entry: dict[str, Any]) -> str:
    at = "" if entry["at"] is None else f" at {entry['at']}"
    return f"tuned {entry['cell']}{at}: " + ", ".join(f"{key}={value}" for key, value in entry["chosen"].items())


def _lengths_table(result: dict[str, Any]) -> Table:
    name = result["metric"]["name"]
    table = Table(title=Text("the trained models at other lengths"), title_justify="left", box=box.SIMPLE_HEAD)
    columns = ["cell", *([f"trained at {result['varied']}"] if result["varied"] else [])]
    columns += [f"evaluated at {result['lengths'][0]['setting']}", name, "95 %"]
    for place, column in enumerate([*columns, *(["solved"] if result["solvable"] else [])]):
        table.add_column(Text(column), justify="right" if place else "left")
    for row in result["lengths"]:
        table.add_row(
            Text(row["cell"]),
            *([str(row["at"])] if result["varied"] else []),
            f"{row['length']}{' (trained)' if row['trained'] else ''}",
            figure(row["metric"]["mean"]),
            _interval(row["metric"]),
            *([f"{row['solved']} of {row['runs']}"] if result["solvable"] else []),
        )
    return table


def _unit(result: dict[str, Any]) -> str:
    return "tokens" if "tokens_per_s" in result else "sequences"
