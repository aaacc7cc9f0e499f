"""A comparison as a table and sentences for people."""

from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from seqtrain.comparison.records import Results, Row, Tuning, label
from seqtrain.comparison.statistics import Estimate
from seqtrain.system.progress import figure


def compare_table(results: Results) -> Table:
    """One line a row, and the baseline; a block for each value of the varied setting."""
    rows, name, varied = results.cells, results.metric.name, results.varied
    unit = "tokens" if "tokens_per_s" in rows[0].model_fields_set else "sequences"
    better = "higher" if results.metric.higher_is_better else "lower"
    table = Table(
        title=Text(f"{results.variant or results.task}: test {name}, {better} is better; {results.outcome} decides"),
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("cell", overflow="fold", min_width=8, vertical="bottom")
    judged = ("solved", "median\nsteps") if results.solvable else (f"best\nvalid {name}",)
    point = (varied.rpartition(".")[2],) if varied else ()
    for column in (*point, "hidden", "weights", f"{name}\nmean", "95 %\ninterval", *judged, f"{unit}\nper s"):
        table.add_column(column, justify="right", no_wrap=True)
    for place, row in enumerate(rows):
        table.add_row(
            Text(row.cell),
            *([str(row.at)] if varied else []),
            str(row.hidden_size),
            f"{row.parameters:,}",
            figure(row.metric.mean),
            _interval(row.metric),
            *_judged(row, name),
            figure(row.sequences_per_s if unit == "sequences" else row.tokens_per_s),
        )
        if place + 1 == len(rows) or rows[place + 1].at != row.at:
            baseline = figure(row.baseline.get(name))
            table.add_section()
            table.add_row("baseline", *([str(row.at)] if varied else []), "", "", baseline, style="dim")
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


def compare_words(results: Results) -> Group:
    """Verdicts, notes, other lengths, tuning, and where the files are."""
    parts: list[Any] = [Text(f"- {sentence}") for sentence in (*results.verdicts, *results.notes)]
    if results.longest_solved:
        longest = ", ".join(f"{cell} {value or 'none'}" for cell, value in results.longest_solved.items())
        parts.append(Text(f"- largest {results.varied} that most runs solved: {longest}"))
    parts += [Text(f"- {_chosen(entry)}") for entry in results.tuning]
    if results.lengths:
        parts += [Text(""), _lengths_table(results)]
    parts.append(Text(f"\nReport: {results.files['report.html']}"))
    return Group(*parts)


def _chosen(entry: Tuning) -> str:
    chosen = ", ".join(f"{key}={value}" for key, value in entry.chosen.items())
    return f"tuned {label(entry.cell, entry.at)}: {chosen}"


def _lengths_table(results: Results) -> Table:
    name = results.metric.name
    table = Table(title=Text("the trained models at other lengths"), title_justify="left", box=box.SIMPLE_HEAD)
    columns = ["cell", *([f"trained at {results.varied}"] if results.varied else [])]
    columns += [f"evaluated at {results.lengths[0].setting}", name, "95 %"]
    for place, column in enumerate([*columns, *(["solved"] if results.solvable else [])]):
        table.add_column(Text(column), justify="right" if place else "left")
    for row in results.lengths:
        table.add_row(
            Text(row.cell),
            *([str(row.at)] if results.varied else []),
            f"{row.length}{' (trained)' if row.trained else ''}",
            figure(row.metric.mean),
            _interval(row.metric),
            *([f"{row.solved} of {row.runs}"] if results.solvable else []),
        )
    return table
