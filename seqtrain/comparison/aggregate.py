"""From groups of finished runs to the results: rows, verdicts and sentences."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from seqtrain.comparison.load_runs import Group
from seqtrain.comparison.notes import notes_of
from seqtrain.comparison.records import Figures, Question, Results, Row, RunResult, Values, Verdict
from seqtrain.comparison.significance import judge, longest_solved, outcome_of
from seqtrain.comparison.statistics import share_interval
from seqtrain.runs.records import Summary
from seqtrain.system.runtime import versions

VERDICTS = {
    "better": "In {outcome}, {cells} {are} better than {reference}.",
    "worse": "In {outcome}, {cells} {are} worse than {reference}.",
    "not distinguishable": "In {outcome}, {cells} {are} not distinguishable from {reference}.",
    "too few seeds": "There are too few seeds to tell {cells} from {reference} in {outcome}.",
    "none solved": "No run of {cells} was solved, and none of {reference}.",
    "undecided": "Too many runs of {cells} have the same {outcome} as those of {reference} for a decision.",
}
"""What the summary says of the cells with each verdict."""


def summarise(groups: Sequence[Group], question: Question, *, gathered: bool = False) -> Results:
    """The part of the results for which no file is written and no model is evaluated.

    Parameters
    ----------
    gathered : whether the runs existed before the question, so that no option can make others.
    """
    first, question = groups[0].summary, question.settled(row.cell for row in question.cells or groups)
    verdicts = judge(groups, question)
    rows = [
        row_of(group, verdict, _left_over(group, groups, question))
        for group, verdict in zip(groups, verdicts, strict=True)
    ]
    outcome = outcome_of(groups, timed=question.timed).name
    solvable = groups[0].is_solvable
    notes = notes_of(groups, rows, question, gathered=gathered)
    common = {"variant": first.variant, "baseline": first.baseline} if question.varied is None else {}
    asked = {key: value for key, value in vars(question).items() if key != "eval_lengths"}
    found = {
        "task": first.task,
        "metric": first.metric,
        "outcome": outcome,
        "solvable": solvable,
        "baselines": {row.variant: row.baseline for row in rows},
        "cells": rows,
        "verdicts": [row.versus.sentence for row in rows if row.versus is not None],
        "longest_solved": longest_solved(groups) if solvable and _is_reach(question.varied, first) else None,
        "notes": [note.sentence() for note in notes],
        "facts": [note.fact for note in notes],
        "runs": [
            RunResult(row=group.cell, at=group.at, run=str(run.path), **run.summary.as_json())
            for group in groups
            for run in group.runs
        ],
        "versions": versions(),
        "question": _question(first.task, rows, question),
        "summary": _summary(rows, question, outcome),
    }
    return Results.model_validate(asked | found | common)


def _is_reach(varied: str | None, first: Summary) -> bool:
    """Whether the varied setting says how far a model must look back; of a learning rate, "how far" has no meaning."""
    return varied is not None and varied in (f"task.{first.traits.reach}", "task.length")


def row_of(group: Group, versus: Verdict | None = None, off: float | None = None) -> Row:
    """The figures of one row."""
    runs, first = group.runs, group.summary
    metric, baseline = _metric(group), first.baseline.get(first.metric.name)
    steps = [run.summary.solved_at_step for run in runs]
    median = statistics.median([float("inf") if step is None else step for step in steps])
    rates = [rate for run in runs if (rate := run.summary.throughput)]
    speed: dict[str, Any] = {f"{first.work_unit}_per_s": statistics.median(rates) if rates else None}
    return Row(
        cell=group.cell,
        at=group.at,
        off=off,
        **first.model_dump(include={"variant", "hidden_size", "parameters", "baseline"}),
        runs=len(runs),
        seeds=[run.summary.seed for run in runs],
        diverged=group.diverged,
        metric=metric,
        test=_means([run.summary.test or {} for run in runs]),
        valid=_means([{first.metric.name: run.summary.best.value} for run in runs]),
        of_baseline=metric.mean / baseline if metric.mean is not None and baseline else None,
        solvable=group.is_solvable,
        solved=group.solved,
        solved_share=share_interval(group.solved, len(runs)),
        median_steps_to_solve=median if median < float("inf") else None,
        steps_to_solve=group.steps_to_solve,
        elapsed_s=statistics.median(run.summary.elapsed_s for run in runs),
        versus=versus,
        **speed,
    )


def _metric(group: Group) -> Values:
    """The metric over the runs.

    A run that diverged before its first evaluation has no value, and then there is no mean either: the mean of the
    other runs would be better than the cell is.
    """
    values = [run.test_metric for run in group.runs if run.summary.test]
    known = [value for value in values if value is not None]
    complete = len(known) == len(group.runs)
    sd = statistics.stdev(known) if complete and len(known) > 1 else None
    return Values(**vars(group.metric_interval(known if complete else [])), values=values, sd=sd)


def _means(runs: Sequence[Mapping[str, float | None]]) -> Figures:
    """The mean of each figure over the runs; None if a run lacks it."""
    names = dict.fromkeys(name for run in runs for name in run)
    known = {name: [value for run in runs if (value := run.get(name)) is not None] for name in names}
    return {name: statistics.fmean(values) if len(values) == len(runs) else None for name, values in known.items()}


def _left_over(group: Group, groups: Sequence[Group], question: Question) -> float | None:
    """See `RowKey.off`."""
    if question.match == "hidden":
        together = next(rows for rows in question.compared_together(groups) if any(row is group for row in rows))
        reference = question.reference_of(together)
        return None if reference is None else group.summary.parameters / reference.summary.parameters - 1
    return next((row.off for row in question.cells if (row.cell, row.at) == (group.cell, group.at)), None)


def _question(task: str, rows: Sequence[Row], question: Question) -> str:
    varied = question.varied
    if question.between == "values":
        return f"Which {varied} is better on {task}: {_listed([row.label for row in rows], 'or')}?"
    names = _listed(list(dict.fromkeys(row.cell for row in rows)), "or")
    return f"Which is better on {task}{f' over {varied}' if varied else ''}: {names}?"


def _listed(names: Sequence[str], word: str) -> str:
    """`a, b and c`."""
    return f" {word} ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _summary(rows: Sequence[Row], question: Question, outcome: str) -> str:
    """The answer in a few sentences."""
    sentences = []
    reference = question.reference_label(rows)
    if question.varied and question.between == "cells":
        reference += f" at the same {question.varied}"
    for verdict, sentence in VERDICTS.items():
        labels = [row.label for row in rows if row.versus is not None and row.versus.verdict == verdict]
        if labels:
            cells, are = _listed(labels, "and"), "is" if len(labels) == 1 else "are"
            sentences.append(sentence.format(cells=cells, are=are, reference=reference, outcome=outcome))
    if rows[0].solvable:
        sentences.append(f"Solved: {', '.join(f'{row.label} {row.solved} of {row.runs}' for row in rows)}.")
    return " ".join(sentences)
