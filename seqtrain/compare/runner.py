"""Run a comparison, or gather one from runs that exist."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from seqtrain.compare.aggregate import Question, result_of
from seqtrain.compare.executor import as_shell, run_all
from seqtrain.compare.length_generalization import check_lengths
from seqtrain.compare.load_runs import FinishedRun, Group, check_seeds, group_runs, read_runs, varied_setting
from seqtrain.compare.matching import Fair, make_fair
from seqtrain.compare.metadata import earlier_results, note_question
from seqtrain.compare.plan import (
    LEVEL,
    SIZES,
    Contender,
    PlannedRun,
    Request,
    check_directories,
    label_of,
    named,
    plan_contenders,
    plan_runs,
)
from seqtrain.compare.significance import shortage
from seqtrain.compare.together import check_jobs
from seqtrain.compare.tuning import Candidate, choose, plan_tuning, remarks_on, runs_of
from seqtrain.config import config_from
from seqtrain.config.build import build_model, build_task
from seqtrain.config.errors import choose as choose_one
from seqtrain.runs.directory import RunDir
from seqtrain.runs.memory_estimate import check_memory, check_model_memory
from seqtrain.system.errors import ConfigError
from seqtrain.system.progress import say
from seqtrain.system.runtime import prepare
from seqtrain.tasks import Task


def compare_cells(
    request: Request, *, jobs: int = 1, quiet: bool = False, command: str | None = None
) -> tuple[dict[str, Any], int]:
    """Train every cell with every seed, each run in its own directory under `out`, and compare them.

    Runs that are done are not repeated, one that was interrupted goes on, one that diverges is a row like the others.

    Parameters
    ----------
    jobs : runs at a time.
    command : what a person typed, for the report.

    Returns
    -------
    The result (see `result_of`; empty if interrupted) and the exit code.

    Raises
    ------
    SeqtrainError : something about the config or the directories, before anything is trained.
    """
    fair = _prepared(request, quiet=quiet)
    with RunDir(request.out).locked():
        return _compare_fair(request, fair, jobs, command, quiet=quiet)


def _compare_fair(
    request: Request, fair: Sequence[Fair], jobs: int, command: str | None, *, quiet: bool
) -> tuple[dict[str, Any], int]:
    """What `compare_cells` does once every cell has its size and its budget."""
    contenders, chosen = [one.contender for one in fair], list[dict[str, Any]]()
    if request.grid:
        candidates = _tuning(request, contenders)
        check_jobs(runs_of(candidates), jobs)
        check_jobs([run for those in _planned(request, contenders) for run in those], jobs)  # not only after tuning
        if code := run_all(runs_of(candidates), jobs, quiet=quiet):
            return {}, code
        contenders, chosen = choose(candidates, request.grid)
        for remark in remarks_on(chosen):
            say(remark, quiet=quiet)
    runs = _reported(request, contenders)
    reported = [run for those in runs for run in those]
    check_jobs(reported, jobs)
    if code := run_all(reported, jobs, quiet=quiet):
        return {}, code
    groups = [
        Group(contender.cell, contender.at, read_runs([run.out for run in those]))
        for contender, those in zip(contenders, runs, strict=True)
    ]
    return result_of(groups, _question(request, fair, chosen, command), request.out, quiet=quiet), 0


def _question(
    request: Request, fair: Sequence[Fair], chosen: Sequence[dict[str, Any]], command: str | None
) -> Question:
    """What is asked of the runs once they are there."""
    return Question(
        reference=request.reference or _own(request),
        level=request.level,
        varied=request.vary.key if request.vary else None,
        match=None if any(setting.key in SIZES for setting in request.grid) else request.match,
        off=[one.off for one in fair],
        tuning=chosen,
        eval_lengths=request.eval_lengths,
        command=command,
        timed=request.budget is not None and request.budget.unit == "seconds",
    )


def commands(request: Request, *, quiet: bool = False, command: str | None = None) -> Iterator[str]:
    """The commands of the runs that are not done, as far as they are known: with a grid, first those that tune.

    What is asked of the runs is kept in `out`, for when they are gathered.
    """
    fair = _prepared(request, quiet=quiet)
    contenders, chosen = [one.contender for one in fair], list[dict[str, Any]]()
    if request.grid:
        candidates = _tuning(request, contenders)
        if any(not run.is_done() for run in runs_of(candidates)):
            what = "that tune; repeat this when they are done, for those that follow"
            yield from _missing(runs_of(candidates), request.out, what, quiet=quiet)
            return
        contenders, chosen = choose(candidates, request.grid)
    runs = _reported(request, contenders)
    note_question(request.out, _noted(_question(request, fair, chosen, command), contenders, runs))
    yield from _missing([run for those in runs for run in those], request.out, "to do", quiet=quiet)


def _missing(runs: Sequence[PlannedRun], out: Path, what: str, *, quiet: bool) -> Iterator[str]:
    missing = [run for run in runs if not run.is_done()]
    say(f"{len(missing)} of {len(runs)} runs {what}", quiet=quiet)
    yield from (as_shell(run, out) for run in missing)


def _tuning(request: Request, contenders: Sequence[Contender]) -> list[Candidate]:
    """The runs that tune, none of which would go where another comparison's is."""
    candidates = plan_tuning(request, contenders)
    check_directories(runs_of(candidates))
    return candidates


def _noted(question: Question, contenders: Sequence[Contender], runs: Sequence[Sequence[PlannedRun]]) -> dict[str, Any]:
    """A question with the runs that it is about, as `earlier_results` reads it."""
    names = ("reference", "level", "varied", "match", "timed", "command", "tuning", "eval_lengths")
    return {name: getattr(question, name) for name in names} | {
        "cells": [
            {"cell": contender.cell, "at": contender.at, "off": off}
            for contender, off in zip(contenders, question.off or (), strict=True)
        ],
        "runs": [
            {"row": contender.cell, "at": contender.at, "run": str(run.out)}
            for contender, those in zip(contenders, runs, strict=True)
            for run in those
        ],
    }


def gather(
    paths: Sequence[Path],
    out: Path,
    *,
    reference: str | None = None,
    level: float | None = None,
    eval_lengths: Sequence[int] = (),
    command: str | None = None,
    folder: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Compare finished runs and write what there is to see into `out`.

    Parameters
    ----------
    folder : whether the paths are all runs that there are in `out`, rather than named.

    Raises
    ------
    CheckpointError : one of the paths holds no finished run, or they are not of one task.
    """
    runs = read_runs(paths)
    earlier = earlier_results(out, runs, folder=folder)
    varied = earlier.get("varied") if earlier else varied_setting(runs)
    groups = _as_before(runs, earlier, quiet=quiet) if earlier else group_runs(runs, varied)
    missing = len(earlier["runs"]) - sum(len(group.runs) for group in groups) if earlier else 0
    check_seeds(groups)
    labels = list(dict.fromkeys(group.cell for group in groups))
    if reference is not None and reference not in labels:
        raise ConfigError(f"--reference {reference}: is no cell of these runs; {choose_one(reference, labels)}")
    eval_lengths = tuple(eval_lengths) or tuple(earlier.get("eval_lengths") or ())
    check_lengths([config_from(group.runs[0].config, str(group.runs[0].path)) for group in groups], eval_lengths)
    asks = reference is not None or eval_lengths or level not in (None, earlier.get("level"))
    question = Question(
        reference=reference or earlier.get("reference") or ("lstm" if "lstm" in labels else labels[0]),
        level=level or earlier.get("level") or LEVEL,
        varied=varied,
        match=earlier.get("match"),
        off=_left_over(groups, earlier) if earlier else None,
        tuning=earlier.get("tuning") or [],
        eval_lengths=eval_lengths,
        lengths=earlier.get("lengths") or [],
        timed=bool(earlier.get("timed")),
        missing=missing,
        gathered=not earlier,
        command="; ".join(filter(None, [earlier.get("command"), command if asks or not earlier else None])) or None,
    )
    RunDir(out).create()
    return result_of(groups, question, out, quiet=quiet)


def _as_before(runs: Sequence[FinishedRun], earlier: dict[str, Any], *, quiet: bool) -> list[Group]:
    """The groups of an earlier question about the same runs, as far as these are there."""
    by_path = {run.path.resolve(): run for run in runs}
    members: dict[str, list[FinishedRun]] = {}
    for run in earlier["runs"]:
        if (found := by_path.pop(Path(run["run"]).resolve(), None)) is not None:
            members.setdefault(json.dumps([run["row"], run["at"]]), []).append(found)
    if by_path:
        others = ", ".join(str(run.path) for run in by_path.values())
        say(f"left out, as this comparison did not ask for them: {others}; name runs to compare them", quiet=quiet)
    rows = [(row["cell"], row["at"], json.dumps([row["cell"], row["at"]])) for row in earlier["cells"]]
    return [Group(cell, at, members[row]) for cell, at, row in rows if row in members]


def _left_over(groups: Sequence[Group], earlier: dict[str, Any]) -> list[float | None]:
    """What was left over by matching, as the earlier question has it."""
    known = {json.dumps([row["cell"], row["at"]]): row.get("off") for row in earlier["cells"]}
    return [known[json.dumps([group.cell, group.at])] for group in groups]


def _prepared(request: Request, *, quiet: bool) -> list[Fair]:
    """All contenders with their sizes and budgets, proof that each can be built, and remarks said."""
    contenders, remarks = plan_contenders(request)
    if request.reference is not None and request.reference not in (one.cell for one in contenders):
        known = dict.fromkeys(one.cell for one in contenders)
        raise ConfigError(
            f"--reference {request.reference}: is no cell of this comparison; {choose_one(request.reference, known)}"
        )
    check_lengths([one.config for one in contenders], request.eval_lengths)
    if request.match == "hidden" and request.budget is None and not request.grid:
        _reported(request, contenders)  # a directory that is taken is found before any text is read
    prepare(request.config.threads)
    RunDir(request.out).create()
    tasks: dict[Any, Task] = {}
    for contender in contenders:
        if contender.at not in tasks:
            tasks[contender.at] = build_task(contender.config, quiet=quiet)
    fair = make_fair(request, contenders, tasks)
    for one in fair:
        config, task = one.contender.config, tasks[one.contender.at]
        check_model_memory(config, task.spec)
        check_memory(config, task, build_model(config, task.spec))
    tests = len(contenders) - len(tasks)  # at each point, all but the reference
    too_few = shortage(request.seeds, tests, request.level, option=True)
    for remark in [*remarks, *([too_few] if too_few else [])]:
        say(remark, quiet=quiet)
    if request.match != "hidden":
        told = ", ".join(
            f"{named(one.contender.cell, one.contender.at)} {one.contender.config.model.hidden_size} ({one.off:+.1%})"
            for one in fair
        )
        say(f"hidden sizes matched by {request.match}: {told}", quiet=quiet)
    return fair


def _own(request: Request) -> str:
    """The config's own cell, if it is among those compared, else the first."""
    labels = [label_of(cell) for cell in request.cells]
    own = request.config.model.cell.name
    return own if own in labels else labels[0]


def _reported(request: Request, contenders: Sequence[Contender]) -> list[list[PlannedRun]]:
    """The runs that are reported, by contender."""
    runs = _planned(request, contenders)
    check_directories([run for those in runs for run in those])
    return runs


def _planned(request: Request, contenders: Sequence[Contender]) -> list[list[PlannedRun]]:
    """Likewise, whatever is in their directories."""
    seeds = range(request.config.seed, request.config.seed + request.seeds)
    return [plan_runs(request, contender, seeds, request.out) for contender in contenders]
