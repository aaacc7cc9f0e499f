"""A comparison as a table and sentences for people."""

from itertools import groupby
from typing import Any

from rich.console import Group
from rich.table import Column, Table
from rich.text import Text

from seqtrain.cli.render import grid
from seqtrain.comparison.records import Results, Row, label
from seqtrain.comparison.statistics import Estimate
from seqtrain.system.progress import figure
from seqtrain.system.words import visible


def compare_tables(results: Results) -> Group:
    """The table of the rows; verdicts, notes, other lengths, tuning, and where the files are."""
    parts: list[Any] = [_table(results)]
    parts += [Text(f"- {sentence}") for sentence in (*results.verdicts, *results.notes)]
    if results.longest_solved:
        longest = ", ".join(f"{cell} {value or 'none'}" for cell, value in results.longest_solved.items())
        parts.append(Text(f"- largest {results.varied} that most runs solved: {longest}"))
    for entry in results.tuning:
        chosen = ", ".join(f"{key}={value}" for key, value in entry.chosen.items())
        parts.append(Text(f"- tuned {label(entry.cell, entry.at)}: {chosen}"))
    if results.lengths:
        parts += [Text(""), _lengths_table(results)]
    return Group(*parts, Text(f"\nReport: {results.files['report.html']}"))


def _table(results: Results) -> Table:
    """One line a row, and the baseline; a block for each value of the varied setting."""
    rows, name, varied = results.cells, results.metric.name, results.varied
    unit = "tokens" if "tokens_per_s" in rows[0].model_fields_set else "sequences"
    better = "higher" if results.metric.higher_is_better else "lower"
    table = grid(
        f"{visible(results.variant or results.task)}: test {name}, {better} is better; {results.outcome} decides",
        Column("cell", overflow="fold", min_width=8, vertical="bottom"),
        *([varied.rpartition(".")[2]] if varied else []),
        *("hidden", "weights", f"{name}\nmean", "95 %\ninterval"),
        *(("solved", "median\nsteps") if results.solvable else (f"best\nvalid {name}",)),
        f"{unit}\nper s",
        padding=(0, 1, 0, 0),
    )
    for at, block in groupby(rows, key=lambda row: row.at):
        point = [Text(visible(str(at)))] if varied else []
        for row in block:
            figures = (str(row.hidden_size), f"{row.parameters:,}", figure(row.metric.mean), _interval(row.metric))
            speed = figure(row.sequences_per_s if unit == "sequences" else row.tokens_per_s)
            table.add_row(Text(row.cell), *point, *figures, *_judged(row, name), speed)
        table.add_section()
        table.add_row("baseline", *point, "", "", figure(row.baseline.get(name)), style="dim")
        table.add_section()
    return table


def _judged(row: Row, name: str) -> list[str]:
    """How often and when a task was solved; of a text, the validation metric."""
    if not row.solvable:
        return [figure(row.valid.get(name))]
    diverged = f", {row.diverged} diverged" if row.diverged else ""
    return [f"{row.solved} of {row.runs}{diverged}", figure(row.median_steps_to_solve)]


def _interval(estimate: Estimate) -> str:
    return "-" if estimate.low is None else f"{figure(estimate.low)} to {figure(estimate.high)}"


def _lengths_table(results: Results) -> Table:
    name = results.metric.name
    table = grid(
        "the trained models at other lengths",
        "cell",
        *([f"trained at {results.varied}"] if results.varied else []),
        *(f"evaluated at {results.lengths[0].setting}", name, "95 %"),
        *(["solved"] if results.solvable else []),
        no_wrap=False,
        title_style="",
    )
    for row in results.lengths:
        table.add_row(
            Text(row.cell),
            *([Text(visible(str(row.at)))] if results.varied else []),
            f"{row.length}{' (trained)' if row.trained else ''}",
            figure(row.metric.mean),
            _interval(row.metric),
            *([f"{row.solved} of {row.runs}"] if results.solvable else []),
        )
    return table
