"""From groups of finished runs to the result: rows, verdicts, notes, pictures, files."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seqtrain.compare.length_generalization import evaluate_lengths, length_setting
from seqtrain.compare.load_runs import Group, budget_of, flat, is_solvable, row_of
from seqtrain.compare.matching import MEASURED
from seqtrain.compare.metadata import QUESTION
from seqtrain.compare.plan import named
from seqtrain.compare.plots import draw
from seqtrain.compare.report import write_results
from seqtrain.compare.significance import SAME_SPEED, STEPS, judge, longest_solved, outcome_of, shortage, verdicts_of
from seqtrain.compare.tuning import remarks_on
from seqtrain.config import config_from
from seqtrain.system.progress import counted, figure
from seqtrain.system.runtime import versions

MADE = (
    "results.json", "results.csv", "results.md", "report.html", "curves.png", "metric.png", "success.png",
    "measured.json", "question.json", "configs", "tuning",
)  # fmt: skip
"""What a comparison leaves in its folder beside the runs."""

UNEQUAL_TIMES = 1.25
"""Ratio of training times from which on it is said that they are not those of one budget."""

UNEQUAL = 1.1
"""Ratio of parameters from which on it is said that the cells were not of one size."""


VERDICTS = {
    "better": "Better than {}",
    "worse": "Worse than {}",
    "not distinguishable": "Not distinguishable from {}",
    "too few seeds": "Too few seeds to tell from {}",
    "none solved": "No run solved the task, as none did of {},",
    "undecided": "Undecided against {}, as too many pairs are equal,",
}
"""How the summary begins to speak of the cells with each verdict."""


@dataclass(frozen=True)
class Question:
    """What the groups are asked.

    reference : the cell that the others are compared with.
    level : the probability with which a verdict may be wrong by chance.
    varied : the setting that has another value at each point.
    match : how sizes were matched, and `off` what was left over, by group; None if that is not known.
    tuning : what was chosen for each cell.
    eval_lengths : other lengths to evaluate the trained models at.
    lengths : results at other lengths that are known already.
    command : what a person typed.
    timed : whether a budget in seconds bought the steps of every run.
    missing : runs that were asked for and are not there yet.
    gathered : whether the runs were there before the question, so that no option can make others.
    """

    reference: str
    level: float = 0.05
    varied: str | None = None
    match: str | None = None
    off: Sequence[float | None] | None = None
    tuning: Sequence[dict[str, Any]] = field(default_factory=list)
    eval_lengths: tuple[int, ...] = ()
    lengths: Sequence[dict[str, Any]] = ()
    command: str | None = None
    timed: bool = False
    missing: int = 0
    gathered: bool = False


def result_of(groups: Sequence[Group], question: Question, out: Path, *, quiet: bool = False) -> dict[str, Any]:
    """What `seqtrain compare --json` prints; results.json, the other files and the pictures are written."""
    result = summarise(groups, question)
    if question.eval_lengths:
        setting = length_setting(config_from(groups[0].runs[0].config, "the comparison"))
        result["lengths"] = evaluate_lengths(groups, setting, question.eval_lengths, quiet=quiet)
    result["pictures"] = draw(groups, result["cells"], question.varied, out)
    result["files"] = write_results(result, groups, out)
    (out / QUESTION).unlink(missing_ok=True)
    return result


def summarise(groups: Sequence[Group], question: Question) -> dict[str, Any]:
    """All of the result that needs no file to be written and no model to be evaluated."""
    first = groups[0].runs[0].summary
    rows = [row_of(group) for group in groups]
    for row, versus in zip(rows, judge(groups, question.reference, question.level, timed=question.timed), strict=True):
        row["versus"] = versus
    for place, row in enumerate(rows):
        row["off"] = _left_over(question, rows, place)
    result = {
        "task": first["task"],
        "metric": first["metric"],
        "outcome": outcome_of(groups, timed=question.timed).name,
        "reference": question.reference,
        "level": question.level,
        "varied": question.varied,
        "match": question.match,
        "timed": question.timed,
        "solvable": is_solvable(first["task"]),
        "baselines": {row["variant"]: row["baseline"] for row in rows},
        "cells": rows,
        "verdicts": verdicts_of(rows),
        "longest_solved": longest_solved(groups) if question.varied and is_solvable(first["task"]) else None,
        "lengths": list(question.lengths),
        "tuning": list(question.tuning),
        "notes": _notes(rows, question)
        + _coarse(groups, rows, question)
        + _budgets(groups, question)
        + _unfinished(groups)
        + _other_differences(groups, question),
        "runs": [
            {"row": group.cell, "at": group.at, "run": str(run.path), **run.summary}
            for group in groups
            for run in group.runs
        ],
        "versions": versions(),
        "command": question.command,
    }
    if question.varied is None:
        result |= {"variant": first["variant"], "baseline": first["baseline"]}
    return result | {"question": _question(result), "summary": _summary(result)}


def _left_over(question: Question, rows: Sequence[dict[str, Any]], place: int) -> float | None:
    """By which part a row has more (or less) than it was to have; with equal hidden sizes, parameters than the
    reference.
    """
    row = rows[place]
    if question.match == "hidden":
        at = [other for other in rows if other["cell"] == question.reference and other["at"] == row["at"]]
        return row["parameters"] / at[0]["parameters"] - 1 if at else None
    return None if question.off is None else question.off[place]


def _question(result: dict[str, Any]) -> str:
    cells = list(dict.fromkeys(row["cell"] for row in result["cells"]))
    called = " or ".join([", ".join(cells[:-1]), cells[-1]] if len(cells) > 1 else cells)
    over = f" over {result['varied']}" if result["varied"] else ""
    return f"Which is better on {result['task']}{over}: {called}?"


def _summary(result: dict[str, Any]) -> str:
    """The answer in a few sentences."""
    found: dict[str, list[str]] = {verdict: [] for verdict in VERDICTS}
    for row in result["cells"]:
        if row["versus"] is None:
            continue
        label = named(row["cell"], row["at"])
        verdict = row["versus"]["verdict"]
        found[verdict].append(label)
    reference, outcome = result["reference"], result["outcome"]
    told = [
        f"{VERDICTS[verdict].format(reference)} in {outcome}: {', '.join(labels)}."
        for verdict, labels in found.items()
        if labels
    ]
    if result["solvable"]:
        rows = result["cells"]
        solved = ", ".join(f"{named(row['cell'], row['at'])} {row['solved']} of {row['runs']}" for row in rows)
        told.append(f"Solved: {solved}.")
    return " ".join(told)


def _coarse(groups: Sequence[Group], rows: Sequence[dict[str, Any]], question: Question) -> list[str]:
    """That pairs were equal because a task is only found to be solved when it is evaluated."""
    equal = any(
        (versus := row["versus"]) is not None
        and any(versus["solved"])
        and versus["better_in"] + versus["worse_in"] < versus["pairs"]
        for row in rows
    )
    every = groups[0].runs[0].config["train"].get("eval_every")
    if not equal or outcome_of(groups, timed=question.timed) != STEPS or every is None:
        return []
    return [
        f"steps to solve are counted in evaluations, every {every} steps; a smaller train.eval_every tells more apart"
    ]


def _budgets(groups: Sequence[Group], question: Question) -> list[str]:
    """What became of runs that were given different numbers of steps."""
    given = {(group.cell, group.at): max(budget_of(run) for run in group.runs) for group in groups}
    if question.timed:
        bought = ", ".join(f"{named(*which)} {steps:,}" for which, steps in given.items())
        return [
            f"the budget bought {bought} steps, by timings on this machine; times that differ by "
            f"{100 * SAME_SPEED:g} % or less count as equal",
            *_unequal_times(groups),
        ]
    uneven = {at for _, at in given if len({steps for (_, other), steps in given.items() if other == at}) > 1}
    if not uneven or outcome_of(groups) != STEPS:
        return []
    return [
        "runs were given different numbers of steps; what was solved later than the shortest ends counts as unsolved"
    ]


def _unequal_times(groups: Sequence[Group]) -> list[str]:
    """That steps for equal times took unequal ones, as when the machine was busy while they were timed."""
    notes = []
    for at in dict.fromkeys(group.at for group in groups):
        taken = {named(group.cell, at): _seconds(group) for group in groups if group.at == at}
        if max(taken.values()) > UNEQUAL_TIMES * min(taken.values()):
            told = ", ".join(f"{name} {figure(seconds)}" for name, seconds in taken.items())
            notes.append(
                f"the cells did not train equally long: {told} seconds for all their steps; remove {MEASURED} and the "
                "runs to have the steps timed anew, on a machine that does nothing else"
            )
    return notes


def _seconds(group: Group) -> float:
    """The median time that all steps of a run take, at the speed at which it trained."""
    found = []
    for run in group.runs:
        tokens = run.summary.get("tokens_per_s")
        work = run.config["train"]["batch_size"] * (run.config["task"]["window"] if tokens else 1)
        rate = tokens or run.summary.get("sequences_per_s")
        found += [budget_of(run) * work / rate] if rate else []
    return statistics.median(found) if found else math.nan


def _unfinished(groups: Sequence[Group]) -> list[str]:
    """That most runs were best at their very end, so that longer training may turn the result."""
    runs = [run for group in groups for run in group.runs if run.summary["status"] == "finished"]
    rising = [run for run in runs if run.summary["best"]["step"] == run.summary["steps"]]
    if 2 * len(rising) <= sum(len(group.runs) for group in groups):
        return []
    return [f"{len(rising)} of {counted(len(runs), 'run')} were still improving when they ended; train longer"]


EXPECTED = ("seed", "threads", "model.cell.", "model.hidden_size")
"""Settings in which the runs of a comparison may differ without a word."""

TUNED = ("optimizer.", "schedule.", "model.")
"""Settings that a grid may choose for each cell without a word; others change the data, or how often one looks."""


def _other_differences(groups: Sequence[Group], question: Question) -> list[str]:
    """That cells differ in more than the cell, as runs that were trained one by one may."""
    tuned = [key for entry in question.tuning for key in entry["chosen"] if key.startswith(TUNED)]
    budget = ("train.steps", "train.epochs") if question.timed else ()
    found: dict[str, None] = {}
    for at in dict.fromkeys(group.at for group in groups):
        configs = [flat(run.config) for group in groups if group.at == at for run in group.runs]
        keys = [key for key in configs[0] if any(other.get(key) != configs[0][key] for other in configs)]
        found |= dict.fromkeys(key for key in keys if not key.startswith(EXPECTED) and key not in (*tuned, *budget))
    return [f"the cells do not differ in the cell alone, but also in {', '.join(found)}"] if found else []


def _notes(rows: Sequence[dict[str, Any]], question: Question) -> list[str]:
    """What a careful reader would ask."""
    notes = [f"runs of this comparison that are not there yet: {question.missing}"] if question.missing else []
    tested = [row["versus"] for row in rows if row["versus"] is not None]
    short = [versus["pairs"] for versus in tested if versus["verdict"] == "too few seeds"]
    if short and (told := shortage(min(short), len(tested), question.level, option=not question.gathered)):
        notes.append(told)
    then = ", when a config is compared," if question.gathered else ""
    for at in dict.fromkeys(row["at"] for row in rows):
        sizes = {row["cell"]: row["parameters"] for row in rows if row["at"] == at}
        if question.match in (None, "hidden") and max(sizes.values()) > UNEQUAL * min(sizes.values()):
            small, large = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
            notes.append(
                f"the cells are of different sizes: {large} has {sizes[large] / sizes[small]:.1f} times the parameters "
                f"of {small}; --match params{then} makes them equal"
            )
            break
    diverged = [f"{row['cell']} {row['diverged']} of {row['runs']}" for row in rows if row["diverged"]]
    if diverged:
        notes.append(
            f"diverged: {', '.join(diverged)}; such a run counts with its best checkpoint, and as worse than all "
            "others if it has none"
        )
    return notes + remarks_on(question.tuning)
