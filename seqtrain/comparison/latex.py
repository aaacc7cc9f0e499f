r"""A comparison as LaTeX: `results.tex`, tables of the package booktabs for `\input` into a paper.

No value is bold. Which cell is better, the column of verdicts says, and it says so only where the test does.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from seqtrain.comparison.records import LengthRow, Point, Results, Row, Tuning, label
from seqtrain.comparison.significance import fact_of
from seqtrain.comparison.tuning_budget import (
    AT_LEAST,
    best_figure,
    budget_notes,
    budgets_shown,
    by_figure,
    how_chosen,
    how_tuned,
    tried,
    what_is_shown,
    what_is_tried,
)
from seqtrain.system.words import figure, visible

Line = Sequence[str]
"""The cells of a row, which are LaTeX already."""

_SPECIAL = {
    "\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", "`": r"\textasciigrave{}", '"': "''", "-": "-{}",
    **{character: f"\\{character}" for character in "{}$&#%_"},
}  # fmt: skip
"""How LaTeX prints what has a meaning in it; two hyphens would become a dash."""


def escaped(text: object) -> str:
    """A text in one line, of which LaTeX prints every character as it is."""
    return re.sub(r"-(?=-)|[\\^~<>|`\"{}$&#%_]", lambda found: _SPECIAL[found[0]], visible(str(text)))


def number(text: str) -> str:
    """A number as `figure` or `best_figure` writes it, with a minus sign and a power of ten in place of `-1e-05`."""
    if text.startswith(AT_LEAST):
        return rf"$\geq {number(text.removeprefix(AT_LEAST)).strip('$')}$"
    found = re.fullmatch(r"(-?)([\d.,]+)(?:e([+-]\d+))?", text)
    if found is None:
        return escaped(text)
    sign, digits, power = found.groups()
    digits = digits.replace(",", "{,}")
    if power:
        return rf"${sign}{digits} \times 10^{{{int(power)}}}$"
    return f"${sign}{digits}$" if sign or "," in digits else digits


def _bounds(latex: str) -> str:
    """The same with the sign that a paper has in place of `>=`."""
    return latex.replace(escaped(AT_LEAST.strip()), r"$\geq$")


def _name(results: Results, table: str) -> str:
    """The name of a table, of which no other comparison in another folder has the same."""
    folder = Path(results.files["results.tex"]).resolve().parent.name if "results.tex" in results.files else ""
    return f"{re.sub('[^A-Za-z0-9]+', '-', folder).strip('-') or 'comparison'}-{table}"


def latex_of(results: Results) -> str:
    """All tables of a comparison, as the Markdown has them, with the verdicts below the first."""
    name, better = results.metric.name, "higher" if results.metric.higher_is_better else "lower"
    method = (
        f"Task {results.task}, test {name} ({better} is better); {results.outcome} decides, level "
        f"{results.level:g}, reference {results.reference_label(results.cells)}"
    )
    if results.match not in (None, "hidden"):
        method += f", sizes matched by {results.match}"
    baselines = [f"Baseline of {what}: {name} {figure(each[name])}." for what, each in results.baselines.items()]
    verdicts = [fact_of(row.versus) for row in results.cells if row.versus is not None]
    headings = _headings(results)
    lines = [
        r"% Needs \usepackage{booktabs}. No value is bold: the verdicts say what the test can claim, and no more.",
        *([f"% Made by {visible(results.command)}"] if results.command else []),
        *_table(
            results.question,
            _name(results, "results"),
            "l" + "r" * (len(headings) - 2) + "l",
            headings,
            [_cells(row, results) for row in results.cells],
            [f"{method}.", *baselines, *verdicts, *results.facts],
        ),
    ]
    if results.lengths:
        lines += ["", *_lengths(results)]
    if results.tuning:
        lines += ["", *_tuning(results)]
    return "\n".join(lines) + "\n"


def _headings(results: Results) -> Line:
    name = escaped(results.metric.name)
    solved = ["solved", "median steps"] if results.solvable else []
    varied = [escaped(results.varied)] if results.varied else []
    return ["cell", *varied, "hidden", "weights", rf"test {name}, 95\,\% interval", *solved, "verdict"]


def _cells(row: Row, results: Results) -> Line:
    off = "" if row.off is None else f" ({row.off:+.1%})"
    metric = number(figure(row.metric.mean))
    if row.metric.low is not None:
        metric += f", {number(figure(row.metric.low))} to {number(figure(row.metric.high))}"
    verdict = row.versus.verdict if row.versus else "reference" if row.cell == results.reference else "-"
    return [
        *_start(row.cell, row.at, results),
        escaped(row.hidden_size),
        number(f"{row.parameters:,}") + escaped(off).replace("-", "$-$").replace("+", "$+$"),
        metric,
        *([f"{row.solved} of {row.runs}", number(figure(row.median_steps_to_solve))] if results.solvable else []),
        verdict,
    ]


def _start(cell: str, at: Point, results: Results) -> Line:
    return [escaped(cell), *([escaped(at)] if results.varied else [])]


def _lengths(results: Results) -> Iterator[str]:
    """The trained models at other lengths."""
    solved = ["solved"] if results.solvable else []
    varied = [escaped(results.varied)] if results.varied else []
    setting = escaped(results.lengths[0].setting)
    headings = ["cell", *varied, f"evaluated at {setting}", f"{escaped(results.metric.name)}, mean", *solved]

    def cells(row: LengthRow) -> Line:
        trained = " (trained)" if row.trained else ""
        share = [f"{row.solved} of {row.runs}"] if results.solvable else []
        return [
            *_start(row.cell, row.at, results),
            f"{row.length}{trained}",
            number(figure(row.metric.mean)),
            *share,
        ]

    caption = "The trained models, evaluated at lengths that they were not trained at."
    rows = [cells(row) for row in results.lengths]
    yield from _table(caption, _name(results, "lengths"), "l" + "r" * (len(headings) - 1), headings, rows)


def _tuning(results: Results) -> Iterator[str]:
    """What was tried for each cell, and what was chosen."""

    def cells(entry: Tuning) -> Line:
        chosen = ", ".join(f"{key}={value}" for key, value in entry.chosen.items())
        return [
            escaped(label(entry.cell, entry.at)),
            escaped(chosen),
            _bounds(escaped(tried(entry, solvable=results.solvable))),
        ]

    name, rows = results.metric.name, [cells(entry) for entry in results.tuning]
    yield from _table(
        "Tuning on validation, with seeds that are not among those reported.",
        _name(results, "tuning"),
        r"llp{0.45\linewidth}",
        ["cell", "chosen", escaped(what_is_tried(name, solvable=results.solvable))],
        rows,
        [how_chosen(name, solvable=results.solvable)],
    )
    for place, entries in enumerate(by_figure(results.tuning), 1):
        yield ""
        yield from _budgets(entries, _name(results, f"budgets{f'-{place}' * (place > 1)}"))


def _budgets(entries: Sequence[Tuning], name: str) -> Iterator[str]:
    """How good the best of n candidates is."""
    shown, what = budgets_shown(len(entries[0].best_of)), what_is_shown(entries[0])
    rows = [
        [escaped(label(each.cell, each.at)), *(number(best_figure(each, count)) for count in shown)] for each in entries
    ]
    headings = ["cell", *(f"$n={count}$" for count in shown)]
    notes = [how_tuned(entries), *budget_notes(entries)]
    yield from _table(f"{what[0].upper()}{what[1:]}.", name, "l" + "r" * len(shown), headings, rows, notes)


def _table(
    caption: str, name: str, columns: str, headings: Line, rows: Sequence[Line], notes: Sequence[str] = ()
) -> Iterator[str]:
    """A floating table.

    Parameters
    ----------
    caption, notes : plain text; the notes stand below.
    name : of its label, in letters, digits and hyphens.
    columns : how they are aligned.
    """
    yield r"\begin{table}"
    yield r"  \centering"
    yield rf"  \caption{{{escaped(caption)}}}"
    yield rf"  \label{{tab:{name}}}"
    yield rf"  \begin{{tabular}}{{{columns}}}"
    yield r"    \toprule"
    for line in (headings, None, *rows):
        yield r"    \midrule" if line is None else rf"    {' & '.join(line)} \\"
    yield r"    \bottomrule"
    yield r"  \end{tabular}"
    if notes:
        yield r"  \par\smallskip"
        yield r"  \begin{minipage}{\linewidth}\footnotesize\raggedright"
        yield from (rf"    {_bounds(escaped(note))}\par" for note in notes)
        yield r"  \end{minipage}"
    yield r"\end{table}"
