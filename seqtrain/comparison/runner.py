"""Train what a comparison needs, and compare it; or say which commands would train it."""

import shlex
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from seqtrain.comparison.defaults import LEVEL
from seqtrain.comparison.execution.child import DIED
from seqtrain.comparison.execution.dispatch import Failure, Trained
from seqtrain.comparison.execution.run import Workplace
from seqtrain.comparison.length_generalization import check_lengths
from seqtrain.comparison.load_runs import Group, read_runs
from seqtrain.comparison.matching import make_fair, unusual_sizes
from seqtrain.comparison.metadata import check_overwriting
from seqtrain.comparison.plan import (
    Contender,
    PlannedRun,
    check_directories,
    check_jobs,
    plan_contenders,
    plan_runs,
    runs_of,
)
from seqtrain.comparison.records import (
    CONFIGS,
    QUESTION,
    FailedRun,
    Question,
    Results,
    RowKey,
    RunKey,
    Tuning,
    label,
)
from seqtrain.comparison.report import report
from seqtrain.comparison.request import TrainingRequest, cell_label
from seqtrain.comparison.search import batches, check_ranges, distinct, rounds_of, so_far
from seqtrain.comparison.significance import shortage
from seqtrain.comparison.tuning import choose
from seqtrain.config import to_yaml
from seqtrain.config.build import build_task
from seqtrain.config.describe import affects_of
from seqtrain.runs.directory import RunDir
from seqtrain.runs.memory_estimate import check_model_memory
from seqtrain.runs.rehearsal import model_to_train
from seqtrain.system import strict_json
from seqtrain.system.errors import SeqtrainError
from seqtrain.system.files import write_whole
from seqtrain.system.progress import counted, say
from seqtrain.system.runtime import prepare
from seqtrain.system.settings import Affects


def train_and_compare(request: TrainingRequest, *, quiet: bool) -> tuple[Results | None, int]:
    """Train every cell with every seed, each run in a directory of its own in `request.out`, and compare them.

    Runs that are done are not repeated, one that was interrupted goes on, one that diverges gets a row like the others.

    Returns
    -------
    The results, None if interrupted, and the exit code.

    Raises
    ------
    SeqtrainError : something is wrong with the config or the directories, before anything is trained; or a run failed.
    """
    most = len(request.cells) * len(request.points) * request.seeds
    is_timing = request.match == "step-time" or request.is_timed  # nothing else must run then
    with Workplace(request.place, request.out, 0 if is_timing else most) as workplace:
        contenders = _prepare(request, quiet=quiet)
        with RunDir(request.out).locked():
            rows, tuning, (code, failures) = _train(request, contenders, workplace, quiet=quiet)
            workplace.close()
            if code:
                return None, code
            replaced = set(check_overwriting(request.out, None)) - {run.out.resolve() for run in runs_of(rows)}
            if replaced:
                say(
                    f"{request.out}: the results of {counted(len(replaced), 'other run')} in this folder are replaced, "
                    "and their runs stay; repeat the command that trained them to have their results again",
                    quiet=quiet,
                )
            return _reported(request, rows, tuning, failures, quiet=quiet)


def _train(
    request: TrainingRequest, contenders: list[Contender], workplace: Workplace, *, quiet: bool
) -> tuple[list[Contender], list[Tuning], Trained]:
    """Tune if that is asked for, then train; returns the rows, what was tuned, and what came of the last runs."""
    tuning = list[Tuning]()
    if request.tuned:
        check_jobs(runs_of(plan_runs(request, contenders)), request.place.jobs_here)  # not only after tuning
        candidates, tried = _try_candidates(request, contenders, workplace, quiet=quiet)
        if tried.code:
            return candidates, tuning, tried
        contenders, tuning = choose(candidates, request)
        for remark in chain.from_iterable(entry.remarks() for entry in tuning):
            say(remark.sentence(), quiet=quiet)
    rows = _free(plan_runs(request, contenders))
    check_jobs(runs_of(rows), request.place.jobs_here)
    return rows, tuning, workplace.train(runs_of(rows), quiet=quiet)


def _try_candidates(
    request: TrainingRequest, contenders: Sequence[Contender], workplace: Workplace, *, quiet: bool
) -> tuple[list[Contender], Trained]:
    """Train the candidates, batch by batch; returns them, and what came of the last batch.

    Raises
    ------
    SeqtrainError : a run failed.
    """
    candidates, tried = list[Contender](), Trained(0, [])
    for batch in batches(request, contenders):
        runs = runs_of(_free(distinct(batch)))
        check_jobs(runs, request.place.jobs_here)
        tried = workplace.train(runs, quiet=quiet)
        if tried.code:
            break
        if tried.failures:
            raise _too_many_failed(tried.failures, "nothing can be chosen without them")
        candidates += batch
    return candidates, tried


def _reported(
    request: TrainingRequest,
    rows: Sequence[Contender],
    tuning: list[Tuning],
    failures: Sequence[Failure],
    *,
    quiet: bool,
) -> tuple[Results, int]:
    """The results of the runs that are done, and the exit code.

    Raises
    ------
    SeqtrainError : no run of the reference is done.
    """
    reasons = {failure.run.out: failure.reason for failure in failures}
    _check_references(request, rows, failures)
    done = [row._replace(runs=own) for row in rows if (own := [run for run in row.runs if run.out not in reasons])]
    question = _question(request, done, tuning)
    failed = [
        FailedRun(row=row.cell, at=row.at, run=str(run.out), reason=reasons[run.out])
        for row in rows
        for run in row.runs
        if run.out in reasons
    ]
    finished = iter(read_runs([run.out for run in runs_of(done)]))
    groups = [Group(row.cell, row.at, [next(finished) for _ in row.runs]) for row in done]
    results = report(groups, question, request.eval_lengths, request.out, failed=failed, quiet=quiet)
    return results, _code_of(failures) if failures else 0


def _check_references(request: TrainingRequest, rows: Sequence[Contender], failures: Sequence[Failure]) -> None:
    """Refuse to compare with a row of which no run is done.

    Raises
    ------
    SeqtrainError : no run of a reference is done.
    """
    failed, question = {failure.run.out for failure in failures}, _question(request, rows, [])
    for together in question.compared_together(rows):
        reference = question.reference_of(together)
        if reference is not None and failed.issuperset(run.out for run in reference.runs):
            name = label(reference.cell, reference.at)
            raise _too_many_failed(failures, f"no run of {name}, the reference, is done")


def _too_many_failed(failures: Sequence[Failure], why: str) -> SeqtrainError:
    """The error of a comparison that cannot go on without runs that have failed."""
    each = "\n".join(f"{failure.run.out}: failed: {failure.reason}" for failure in failures)
    error = SeqtrainError(f"{each}\n{why}; correct the cause, and repeat the same command to try them again")
    error.exit_code = _code_of(failures)
    return error


def _code_of(failures: Sequence[Failure]) -> int:
    """The exit code: 2 if every run that failed has a wrong input."""
    return DIED if any(failure.code == DIED for failure in failures) else SeqtrainError.exit_code


class Commands(NamedTuple):
    """What to run by hand.

    lines : for a shell, a run a line.
    round, rounds : with tuning, the runs that are reported become known when those that tune are done; see `rounds_of`.
    """

    lines: Iterator[str]
    round: int
    rounds: int


def commands(request: TrainingRequest, *, quiet: bool) -> Commands:
    """The commands of the runs that are not done, as far as they are known: with tuning, first those that tune.

    The configs, and the question for when the runs are gathered, are kept in `request.out`.
    """
    contenders, tuning, what = _prepare(request, quiet=quiet), list[Tuning](), "to do"
    rows, candidates = list[Contender](), list[Contender]()
    at = rounds = rounds_of(request)
    for number, batch in enumerate(batches(request, contenders), 1):
        rows, candidates = _free(distinct(batch)), [*candidates, *batch]
        if any(not run.is_done() for run in runs_of(rows)):
            at, what = (
                number,
                f"that tune{so_far(request, candidates)}; repeat this when they are done, for those that follow",
            )
            break
    else:
        if request.tuned:
            contenders, tuning = choose(candidates, request)
        rows = _free(plan_runs(request, contenders))
        strict_json.write(request.out / QUESTION, _question(request, rows, tuning).as_json())
    waiting = [run for run in runs_of(rows) if not run.is_done()]
    where = f"round {at} of {rounds}: " if rounds > 1 else ""
    say(f"{where}{len(waiting)} of {len(runs_of(rows))} runs {what}", quiet=quiet)
    return Commands(_lines(request, waiting), at, rounds)


def _lines(request: TrainingRequest, waiting: Sequence[PlannedRun]) -> Iterator[str]:
    for run in waiting:
        file = request.out / CONFIGS / f"{run.out.name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, to_yaml(run.config).encode())
        yield shlex.join(["seqtrain", "train", str(file), "--out", str(run.out), "--resume", "--quiet"])


def _prepare(request: TrainingRequest, *, quiet: bool) -> list[Contender]:
    """All contenders with their sizes and budgets, after a check that each can be built; prints remarks."""
    check_overwriting(request.out, None)
    contenders, remarks = plan_contenders(request)
    check_ranges(request, contenders)
    request.check_reference([contender.cell for contender in contenders], "this comparison")
    check_lengths([contender.config for contender in contenders], request.eval_lengths)
    if request.match == "hidden" and request.budget is None and not request.tuned:
        _free(plan_runs(request, contenders))  # a directory that is taken is found before any text is read
    prepare(request.config.threads)
    RunDir(request.out).create()
    points = {contender.at: contender.config for contender in contenders}
    tasks = {at: build_task(config, quiet=quiet) for at, config in points.items()}
    contenders = make_fair(request, contenders, tasks)
    for contender in contenders:
        task = tasks[contender.at]
        check_model_memory(contender.config, task.spec)
        model_to_train(contender.config, task, quiet=quiet)
    tests = len(contenders) - len(_question(request, contenders, []).compared_together(contenders))
    few = shortage(request.seeds, tests, request.level or LEVEL, option=True)
    if request.place.is_apart:  # with one job, each run prints them itself
        remarks += chain.from_iterable(task.remarks(points[at].train.batch_size) for at, task in tasks.items())
    for remark in dict.fromkeys([*remarks, *([few] if few else [])]):
        say(remark, quiet=quiet)
    if request.match != "hidden":
        sizes = [
            f"{label(each.cell, each.at)} {each.config.model.hidden_size} ({each.off:+.1%})" for each in contenders
        ]
        say(f"hidden sizes matched by {request.match}: {', '.join(sizes)}", quiet=quiet)
    for remark in unusual_sizes(request, contenders, tasks):
        say(remark, quiet=quiet)
    return contenders


def _free(rows: list[Contender]) -> list[Contender]:
    """The rows, after a check that their directories are free."""
    check_directories(runs_of(rows))
    return rows


def _question(request: TrainingRequest, rows: Sequence[Contender], tuning: list[Tuning]) -> Question:
    """What is asked of the runs after training."""
    labels = [cell_label(cell) for cell in request.cells]
    own = request.config.model.cell.name
    question = Question(
        reference=request.reference or (own if own in labels else labels[0]),
        level=request.level or LEVEL,
        varied=request.vary.key if request.vary else None,
        match=None if any(affects_of(setting.key) is Affects.SIZE for setting in request.tuned) else request.match,
        timed=request.is_timed,
        command=request.command,
        **({"drawn_as": request.pictures} if request.pictures else {}),  # type: ignore[arg-type]
        tuning=tuning,
        eval_lengths=list(request.eval_lengths),
        cells=[RowKey(cell=each.cell, at=each.at, off=each.off) for each in rows],
        runs=[RunKey(row=row.cell, at=row.at, run=str(run.out)) for row in rows for run in row.runs],
    )
    return question.settled(labels)  # also if all runs of a cell have failed
