"""A comparison as files: results.json for scripts, results.csv for tables, results.tex for a paper, and
results.md and report.html for people."""

import base64
import csv
import io
import platform
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from seqtrain.comparison.aggregate import summarise
from seqtrain.comparison.defaults import FEWEST_FOR_INTERVALS
from seqtrain.comparison.latex import latex_of
from seqtrain.comparison.length_generalization import evaluate_lengths
from seqtrain.comparison.load_runs import Group
from seqtrain.comparison.records import QUESTION, RESULTS, FailedRun, Question, Results, label
from seqtrain.comparison.tuning_budget import (
    best_figure,
    budget_notes,
    budgets_shown,
    by_figure,
    how_chosen,
    how_tuned,
    tried,
    unsolved_budgets,
    what_is_shown,
    what_is_tried,
)
from seqtrain.system import strict_json
from seqtrain.system.files import write_whole
from seqtrain.system.progress import figure
from seqtrain.system.words import visible

COLUMNS = (
    "cell", "at", "seed", "status", "solved_at_step", "steps", "hidden_size", "parameters", "elapsed_s", "run",
)  # fmt: skip


def report(
    groups: Sequence[Group],
    question: Question,
    eval_lengths: Sequence[int],
    out: Path,
    *,
    gathered: bool = False,
    failed: Sequence[FailedRun] = (),
    quiet: bool = False,
) -> Results:
    """The results of a comparison; also evaluates at other lengths, draws the plots and writes the files.

    Parameters
    ----------
    gathered : whether the runs existed before the question; see `summarise`.
    failed : runs that are missing, as they could not be trained.
    """
    from seqtrain.comparison.plots import draw  # importing matplotlib takes a while

    results = summarise(groups, question, gathered=gathered)
    pictures = draw(
        groups,
        results.cells,
        question.varied,
        out,
        values_compared=results.between == "values",
        timed=question.timed,
        form=question.drawn_as,
        tuning=question.tuning,
    )
    made: dict[str, Any] = {
        "pictures": pictures,
        "files": {
            name: str(out / name) for name in (RESULTS, "results.csv", "results.md", "results.tex", "report.html")
        },
    }
    if eval_lengths:
        made["lengths"] = evaluate_lengths(groups, eval_lengths, quiet=quiet)
    if failed:
        each = [f"{run.run} failed and is left out: {' '.join(run.reason.split())}" for run in failed]
        made |= {"failed": [*failed], "notes": [*results.notes, *each], "facts": [*results.facts, *each]}
    results = results.model_copy(update=made)
    write_whole(out / "results.csv", csv_of(results).encode())
    write_whole(out / "results.tex", latex_of(results).encode())
    for name in ("results.md", "report.html"):
        write_whole(out / name, rendered(f"{name}.jinja", results, groups).encode())
    strict_json.write(out / RESULTS, results.as_json())
    (out / QUESTION).unlink(missing_ok=True)
    return results


def table_of(results: Results) -> tuple[list[str], list[list[Any]]]:
    """The names of the columns, and one row a run, with its figures on the test set."""
    names = list(dict.fromkeys(name for run in results.runs for name in run.test or {}))
    rows = []
    for run in results.runs:
        columns = (run.row if name == "cell" else getattr(run, name) for name in COLUMNS)
        rows.append([*columns, run.best.value, *((run.test or {}).get(name) for name in names)])
    return [*COLUMNS, "best_valid", *(f"test_{name}" for name in names)], rows


def csv_of(results: Results) -> str:
    """The same as text."""
    names, rows = table_of(results)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([names, *rows])
    return text.getvalue()


def rendered(template: str, results: Results, groups: Sequence[Group]) -> str:
    """One of the templates, filled in; HTML is escaped."""
    environment = Environment(
        loader=PackageLoader("seqtrain.comparison", "templates"),
        autoescape=template.endswith(".html.jinja"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_in_markdown if template.endswith(".md.jinja") else None,
    )
    environment.filters |= {"figure": figure, "embedded": _embedded, "yaml": strict_json.dumps, "code": _code}
    settings = [run.settings for group in groups for run in group.runs]
    shared = {key: value for key, value in settings[0].items() if all(other.get(key) == value for other in settings)}
    own = [
        {key: value for key, value in group.runs[0].settings.items() if key not in {"seed", *shared}}
        for group in groups
    ]
    return environment.get_template(template).render(
        result=results,
        name=results.metric.name,
        better="higher" if results.metric.higher_is_better else "lower",
        reference=results.reference_label(results.cells),
        shared=shared,
        own=own,
        **_of_tuning(results),
        seen=described(results),
        machine=platform.platform(),
    )


def _of_tuning(results: Results) -> dict[str, Any]:
    """What the templates need for the tables of tuning."""
    name = results.metric.name
    return {
        "searches": [
            {
                "entries": entries,
                "budgets": budgets_shown(len(entries[0].best_of)),
                "what": _sentence(what_is_shown(entries[0])),
                "notes": budget_notes(entries),
            }
            for entries in by_figure(results.tuning)
        ],
        "best_figure": best_figure,
        "how_tuned": how_tuned,
        "tried": partial(tried, solvable=results.solvable),
        "what_is_tried": what_is_tried(name, solvable=results.solvable),
        "how_chosen": how_chosen(name, solvable=results.solvable),
    }


class _Markdown(str):
    """A text that is Markdown already."""

    __slots__ = ()


def _code(text: str) -> _Markdown:
    """A text as code in Markdown, in quotes that are longer than any in it."""
    quotes, space = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1), " " if "`" in text else ""
    return _Markdown(f"{quotes}{space}{visible(text)}{space}{quotes}")


def _in_markdown(value: object) -> object:
    """A text in one line, whose characters neither end a cell of a table nor begin anything else of Markdown."""
    if not isinstance(value, str) or isinstance(value, _Markdown):
        return value
    marks = r"[\\`*<\[\]|~&]|(?<![^\W_])_|_(?![^\W_])"  # not the underscores within a word
    return re.sub(marks, r"\\\g<0>", visible(value))


def described(results: Results) -> dict[str, str]:
    """What each picture shows, in words, for readers who do not see it."""
    rows, name = results.cells, results.metric.name
    better = "higher" if results.metric.higher_is_better else "lower"
    baselines = ", ".join(dict.fromkeys(figure(baseline.get(name)) for baseline in results.baselines.values()))
    best = ", ".join(f"{row.label} {figure(row.valid.get(name))}" for row in rows)
    means = ", ".join(f"{row.label} {figure(row.metric.mean)}" for row in rows)
    shares = ", ".join(f"{row.label} {row.solved} of {row.runs}" for row in rows)
    steps = ", ".join(f"{row.label} {figure(row.median_steps_to_solve)}" for row in rows)
    band = ", its band the 95 % interval" if max(row.runs for row in rows) >= FEWEST_FOR_INTERVALS else ""
    over = f", over {results.varied}" if results.varied else " of every run"
    return {
        "steps": f"{results.outcome.capitalize()} of every run, fewer is better; a cross is a run that was not solved. "
        f"Solved: {shares}. Median steps: {steps}.",
        "curves": f"Learning curves: validation {name} over training steps, {better} is better; thin lines are runs, a "
        f"thick line is the mean of a cell{band}. Mean of the best values: {best}; baseline {baselines}.",
        "metric": f"Test {name}{over}, {better} is better. Means: {means}; baseline {baselines}.",
        "success": f"Share of runs that solved the task, over {results.varied}: {shares}.",
        "tuning": _described_search(results),
    }


def _described_search(results: Results) -> str:
    """What the picture of tuning shows."""
    parts = []
    for entries in by_figure(results.tuning):
        count = len(entries[0].best_of)
        ends = (f"{label(each.cell, each.at)} {best_figure(each, 1)} to {best_figure(each, count)}" for each in entries)
        parts.append(f"{_sentence(what_is_shown(entries[0]))}, for n from 1 to {count}: {', '.join(ends)}.")
        if unsolved_budgets(entries):
            parts.append("A dashed line is the budget, which was not enough to solve the task.")
    return " ".join(parts)


def _sentence(text: str) -> str:
    """The text with a capital letter."""
    return text[:1].upper() + text[1:]


def _embedded(path: str) -> str:
    """A plot as a data address: its PNG, as no browser shows a PDF as a picture."""
    return "data:image/png;base64," + base64.b64encode(Path(path).with_suffix(".png").read_bytes()).decode()
