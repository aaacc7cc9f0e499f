"""Notes on a comparison: what a careful reader would ask."""

import math
import statistics
from collections.abc import Iterator, Sequence

from seqtrain.comparison.defaults import ADVISED_SEEDS
from seqtrain.comparison.load_runs import PER_RUN, Group, different_settings
from seqtrain.comparison.options import BUDGET
from seqtrain.comparison.records import MEASURED, Note, Question, Row, label
from seqtrain.comparison.significance import SAME_SPEED, STEPS, outcome_of, shortage
from seqtrain.comparison.tuning_budget import budget_sentences
from seqtrain.runs.directory import RunDir
from seqtrain.runs.records import Summary
from seqtrain.system.progress import counted, figure

CELL = ("model.cell.", "model.hidden_size")
"""Settings in which the rows of a comparison are expected to differ."""

TUNED = ("optimizer.", "schedule.", "model.")
"""Sections that tuning may choose for each cell; others change the data, or how often a run is evaluated."""

UNEQUAL_TIMES = 1.25
"""Ratio of training times from which a note says that the cells did not train equally long."""

UNEQUAL_SPEEDS = 4.0
"""Ratio of training speeds from which a note says that a cell of as many parameters is slow."""

UNEQUAL_SIZES = 1.1
"""Ratio of parameters from which a note says that the cells are of different sizes."""


def notes_of(groups: Sequence[Group], rows: Sequence[Row], question: Question, *, gathered: bool) -> list[Note]:
    """All notes; `gathered` as for `summarise`."""
    missing = len(question.runs) - sum(len(group.runs) for group in groups)
    found: list[str | Note] = [
        *([f"runs of this comparison that are not there yet: {missing}"] if missing > 0 else []),
        *_nothing_to_compare(rows, question, gathered=gathered),
        *(_too_few_seeds(rows, question.level) if gathered else ()),  # else it was said before the training
        *_missed(rows),
        *_sizes(rows, question, gathered=gathered),
        *_speeds(rows, question.match),
        *_divergence(rows),
        *_far_worse(rows, groups[0].summary),
        *_lost(groups),
        *_imported(groups),
        *(remark for entry in question.tuning for remark in entry.remarks()),
        *budget_sentences(question.tuning),
        *_coarse(groups, rows, timed=question.timed),
        *(_bought_steps if question.timed else _unequal_budgets)(groups, question),
        *_unfinished(groups),
        *_other_different_settings(groups, question),
    ]
    return [Note(note) if isinstance(note, str) else note for note in found]


def _nothing_to_compare(rows: Sequence[Row], question: Question, *, gathered: bool) -> Iterator[Note]:
    why = "so there is nothing to compare it with"
    if question.between == "values":
        if len(rows) == 1:
            yield Note(f"{rows[0].label} is the only row, {why}")
    elif len(cells := {row.cell for row in rows}) == 1:
        cure = "name a run of another" if gathered else "name others with --cells"
        yield Note(f"{cells.pop()} is the only cell, {why}", cure)


def _too_few_seeds(rows: Sequence[Row], level: float) -> Iterator[str]:
    verdicts = [row.versus for row in rows if row.versus is not None]
    pairs = [verdict.pairs for verdict in verdicts if verdict.verdict == "too few seeds"]
    if pairs and (note := shortage(min(pairs), len(verdicts), level, option=False)):
        yield note


def _missed(rows: Sequence[Row]) -> Iterator[str]:
    """That few seeds miss differences; the figures are of `tests/long/power.py`."""
    verdicts = [row.versus for row in rows if row.versus is not None]
    if any(verdict.pairs < ADVISED_SEEDS and verdict.verdict == "not distinguishable" for verdict in verdicts):
        yield (
            f"few seeds miss differences; {ADVISED_SEEDS} are advised: for example, if five cells are compared and one "
            "is 1.5 times as fast, 8 seeds find it with 64 % and 12 seeds with 99 % if the steps to solve vary by 20 % "
            "over the seeds; with 15 % and 50 % if by 40 %"
        )


def _sizes(rows: Sequence[Row], question: Question, *, gathered: bool) -> Iterator[Note]:
    """That rows that are compared are of different sizes; the first value of the varied setting is enough."""
    if question.match not in (None, "hidden"):
        return
    when = ", when a config is compared," if gathered else ""
    for together in question.compared_together(rows):
        small, large = (extreme(together, key=lambda row: row.parameters) for extreme in (min, max))
        if (ratio := large.parameters / small.parameters) <= UNEQUAL_SIZES:
            continue
        if question.between == "values":  # a setting that changes the size cannot be matched by the size
            fact = f"{large.label} has {ratio:.1f} times the parameters of {small.label}"
            yield Note(f"the models are of different sizes: {fact}")
        else:
            fact = f"{large.cell} has {ratio:.1f} times the parameters of {small.cell}"
            yield Note(f"the cells are of different sizes: {fact}", f"--match params{when} makes them equal")
        return


def _speeds(rows: Sequence[Row], match: str | None) -> Iterator[Note]:
    """That cells of equal parameters trained at very different speeds; the first such value is enough."""
    for at in dict.fromkeys(row.at for row in rows if match == "params"):
        speeds = {row.cell: row.sequences_per_s or row.tokens_per_s or 0 for row in rows if row.at == at}
        slow, fast = min(speeds, key=speeds.__getitem__), max(speeds, key=speeds.__getitem__)
        if speeds[slow] and (ratio := speeds[fast] / speeds[slow]) >= UNEQUAL_SPEEDS:
            cure = "--match step-time makes their steps equally long"
            yield Note(f"{slow} trained {ratio:.2g} times slower than {fast}", cure)
            return


def _far_worse(rows: Sequence[Row], summary: Summary) -> Iterator[str | Note]:
    metric = summary.judged_by
    rules = {row.label: rule for row in rows if (rule := metric.best_rule(row.baseline)) is not None}
    for name, root in dict.fromkeys(rules.values()):
        own = [row for row in rows if rules.get(row.label) == (name, root) and row.metric.mean is not None]
        if no_better := [row.label for row in own if not metric.better(row.metric.mean or 0.0, root)]:
            yield f"no better than {name} ({metric.name} {figure(root)}): {', '.join(no_better)}"
    guesses = [row for row in rows if row.label not in rules]  # a rule is no guess without a memory
    worse = [row.label for row in guesses if metric.far_worse(row.metric.mean, row.baseline.get(metric.name))]
    if worse and summary.metric.name == metric.name:
        fact = f"far worse than the baseline, a guess without a memory: {', '.join(worse)}"
        yield Note(f"{fact}; such a model has learnt nothing", "try a lower optimizer.lr, or more steps")


def _divergence(rows: Sequence[Row]) -> Iterator[str]:
    if diverged := ", ".join(f"{row.label} {row.diverged} of {row.runs}" for row in rows if row.diverged):
        meaning = "such a run counts with its best checkpoint, and as worse than all others if it has none"
        yield f"diverged: {diverged}; {meaning}"


def _lost(groups: Sequence[Group]) -> Iterator[str]:
    """That the best checkpoint of a run was removed."""
    files = [RunDir(run.path) for group in groups for run in group.runs if run.summary.best.value is not None]
    if gone := [str(run.path) for run in files if run.last.exists() and not run.best.exists()]:
        yield f"the best checkpoint was removed, and the figures are those of the summary, of {', '.join(gone)}"
    lost = [str(run.path) for group in groups for run in group.runs if run.summary.lost_best_step is not None]
    if lost:
        yield f"a better checkpoint was removed, and a later one counts, of {', '.join(lost)}"


def _imported(groups: Sequence[Group]) -> Iterator[str]:
    """That a run did not start from drawn weights."""
    runs = [run for group in groups for run in group.runs if run.summary.imported is not None]
    if runs:
        each = ", ".join(f"{run.path} (from {run.summary.imported})" for run in runs)
        yield f"imported weights were trained elsewhere too, for steps that are not counted here, in {each}"


def _coarse(groups: Sequence[Group], rows: Sequence[Row], *, timed: bool) -> Iterator[Note]:
    """That pairs are equal because a task is only found to be solved when it is evaluated."""
    verdicts = [row.versus for row in rows if row.versus is not None]
    equal = any(any(verdict.solved) and verdict.better_in + verdict.worse_in < verdict.pairs for verdict in verdicts)
    every = groups[0].runs[0].config.train.eval_every
    if equal and outcome_of(groups, timed=timed) == STEPS and every is not None:
        cure = "a smaller train.eval_every tells more apart"
        yield Note(f"steps to solve are counted in evaluations, every {every} steps", cure)


def _bought_steps(groups: Sequence[Group], question: Question) -> Iterator[str | Note]:
    """The steps that a budget in seconds gave each row, and that they took unequal times.

    They do if the machine was busy while they were timed.
    """
    steps = ", ".join(f"{label(group.cell, group.at)} {_budget(group):,}" for group in groups)
    yield (
        f"the budget bought {steps} steps, by timings on this machine; times that differ by {100 * SAME_SPEED:g} % or "
        "less count as equal"
    )
    what = "values" if question.between == "values" else "cells"
    for together in question.compared_together(groups):
        times = {label(group.cell, group.at): _seconds(group) for group in together}
        if max(times.values()) > UNEQUAL_TIMES * min(times.values()):
            each = ", ".join(f"{name} {figure(seconds)}" for name, seconds in times.items())
            yield Note(
                f"the {what} did not train equally long: {each} seconds for all their steps",
                f"remove {MEASURED} and the runs to have the steps timed anew, on a machine that does nothing else",
            )


def _unequal_budgets(groups: Sequence[Group], question: Question) -> Iterator[str]:
    budgets = [{_budget(group) for group in together} for together in question.compared_together(groups)]
    if any(len(own) > 1 for own in budgets) and outcome_of(groups) == STEPS:
        meaning = "what was solved later than the shortest ends counts as unsolved"
        yield f"runs were given different numbers of steps; {meaning}"


def _budget(group: Group) -> int:
    """The largest number of steps that a run was given."""
    return max(run.summary.planned_steps for run in group.runs)


def _seconds(group: Group) -> float:
    """The median time that all steps of a run take, at the speed at which it trained."""
    times = [
        run.summary.planned_steps * run.config.train.batch_size * run.settings.get("task.window", 1) / rate
        for run in group.runs
        if (rate := run.summary.throughput)
    ]
    return statistics.median(times) if times else math.nan


def _unfinished(groups: Sequence[Group]) -> Iterator[Note]:
    """That most runs were best at their very end, so that longer training may change the result."""
    summaries = [run.summary for group in groups for run in group.runs]
    finished = [summary for summary in summaries if summary.status == "finished"]
    rising = sum(summary.best.step == summary.steps > 0 for summary in finished)
    if 2 * rising > len(summaries):
        yield Note(f"{rising} of {counted(len(finished), 'run')} improved until the end", "train longer")


def _other_different_settings(groups: Sequence[Group], question: Question) -> Iterator[str]:
    """That what is compared differs in more than it should, as runs that were trained one by one may."""
    what, where, varied = "cells", "the cell", ""
    if question.between == "values":
        what, where, varied = "values", str(question.varied), f"{question.varied}".removesuffix(".name")
    expected = {key for entry in question.tuning for key in entry.chosen if key.startswith(TUNED)}
    expected |= {*PER_RUN, *(BUDGET if question.timed else ())}
    others: dict[str, None] = {}
    for together in question.compared_together(groups):
        differ = different_settings([run for group in together for run in group.runs])
        others |= dict.fromkeys(key for key in differ if key not in expected and not key.startswith(CELL))
    if varied:
        others = {key: None for key in others if not f"{key}.".startswith(f"{varied}.")}
    if others:
        yield f"the {what} do not differ in {where} alone, but also in {', '.join(others)}"
