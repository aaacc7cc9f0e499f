"""A comparison as a table and sentences for people."""

from collections.abc import Sequence

from seqtrain.comparison.records import Results, Row, Tuning, label
from seqtrain.comparison.statistics import Estimate
from seqtrain.comparison.tuning_budget import best_figure, budget_notes, budgets_shown, by_figure, what_is_shown
from seqtrain.system.progress import figure
from seqtrain.system.tables import WIDE, Column, Grid
from seqtrain.system.words import visible


def compare_tables(results: Results) -> list[Grid | str]:
    """The table of the rows; verdicts, notes, other lengths, tuning, and where the files are."""
    parts: list[Grid | str] = [_table(results)]
    parts += [f"- {sentence}" for sentence in (*results.verdicts, *results.notes)]
    if results.longest_solved:
        longest = ", ".join(f"{cell} {value or 'none'}" for cell, value in results.longest_solved.items())
        parts.append(f"- largest {results.varied} that most runs solved: {longest}")
    for entry in results.tuning:
        chosen = ", ".join(f"{key}={value}" for key, value in entry.chosen.items())
        parts.append(f"- tuned {label(entry.cell, entry.at)}: {chosen}")
    for entries in by_figure(results.tuning):
        parts += ["", _budget_table(entries, results.varied), *budget_notes(entries)]
    if results.lengths:
        parts += ["", _lengths_table(results)]
    return [*parts, f"\nReport: {results.files['report.html']}"]


def _table(results: Results) -> Grid:
    """One line a row, and the baseline; a block for the rows that are compared with one another."""
    rows, name, varied = results.cells, results.metric.name, results.varied
    unit = "tokens" if "tokens_per_s" in rows[0].model_fields_set else "sequences"
    better = "higher" if results.metric.higher_is_better else "lower"
    table = Grid(
        f"{visible(results.variant or results.task)}: test {name}, {better} is better; {results.outcome} decides",
        (
            Column("cell    "),
            *([Column(varied.rpartition(".")[2])] if varied else []),
            *(Column("hidden", 2), Column("weights", 3), Column(f"{name}\nmean"), Column("95 %\ninterval", 5)),
            *((Column("solved"), Column("median\nsteps")) if results.solvable else (Column(f"best\nvalid {name}", 4),)),
            Column(f"{unit}\nper s", 1),
        ),
        elsewhere="--json, results.json and a wider terminal have them",
    )
    for together in results.compared_together(rows):
        for row in together:
            point = [visible(str(row.at))] if varied else []
            figures = (str(row.hidden_size), f"{row.parameters:,}", figure(row.metric.mean), _interval(row.metric))
            speed = figure(row.sequences_per_s if unit == "sequences" else row.tokens_per_s)
            table.add(row.cell, *point, *figures, *_judged(row, name), speed)
        table.end_section()
        point = point if len({row.at for row in together}) == 1 else [""]
        others = len(table.columns) - len(point) - 4
        table.add("baseline", *point, "", "", figure(row.baseline.get(name)), *[""] * others, dim=True)
        table.end_section()
    return table


def _judged(row: Row, name: str) -> list[str]:
    """How often and when a task was solved; of a text, the validation metric."""
    if not row.solvable:
        return [figure(row.valid.get(name))]
    diverged = f", {row.diverged} diverged" if row.diverged else ""
    return [f"{row.solved} of {row.runs}{diverged}", figure(row.median_steps_to_solve)]


def _interval(estimate: Estimate) -> str:
    return "-" if estimate.low is None else f"{figure(estimate.low)} to {figure(estimate.high)}"


def _budget_table(entries: Sequence[Tuning], setting: str | None) -> Grid:
    """How good the best of n candidates is; `setting` is varied."""
    shown = budgets_shown(len(entries[0].best_of))
    inner = dict(zip(shown[1:-1], range(len(shown), 0, -1), strict=False))  # large numbers are left out first
    varied = [Column(setting.rpartition(".")[2])] if setting else []
    columns = (Column("cell"), *varied, *(Column(f"n={count}", inner.get(count, 0)) for count in shown))
    table = Grid(f"tuning: {what_is_shown(entries[0])}", columns, title_style="", look=WIDE)
    for entry in entries:
        point = [visible(str(entry.at))] if varied else []
        table.add(entry.cell, *point, *(best_figure(entry, count) for count in shown))
    return table


def _lengths_table(results: Results) -> Grid:
    name = results.metric.name
    table = Grid(
        "the trained models at other lengths",
        (
            Column("cell"),
            *([Column(f"trained at {results.varied}")] if results.varied else []),
            *(Column(f"evaluated at {results.lengths[0].setting}"), Column(name), Column("95 %", 1)),
            *([Column("solved")] if results.solvable else []),
        ),
        elsewhere="--json, results.json and a wider terminal have them",
        title_style="",
        look=WIDE,
    )
    for row in results.lengths:
        table.add(
            row.cell,
            *([str(row.at)] if results.varied else []),
            f"{row.length}{' (trained)' if row.trained else ''}",
            figure(row.metric.mean),
            _interval(row.metric),
            *([f"{row.solved} of {row.runs}"] if results.solvable else []),
        )
    return table
