"""Train what a comparison needs, and compare it; or say which commands would train it."""

import shlex
from collections.abc import Iterator, Sequence

from seqtrain.comparison.executor import run_all
from seqtrain.comparison.length_generalization import check_lengths
from seqtrain.comparison.load_runs import Group, read_runs
from seqtrain.comparison.matching import make_fair
from seqtrain.comparison.metadata import note_question
from seqtrain.comparison.plan import Contender, PlannedRun, check_directories, check_jobs, plan_contenders, plan_runs
from seqtrain.comparison.records import CONFIGS, LEVEL, Point, Question, Results, RowKey, RunKey, Tuning, label
from seqtrain.comparison.report import report
from seqtrain.comparison.request import TrainingRequest, cell_label
from seqtrain.comparison.significance import shortage
from seqtrain.comparison.tuning import Candidate, choose, plan_tuning, remarks_on, runs_of
from seqtrain.config import to_yaml
from seqtrain.config.build import build_model, build_task
from seqtrain.config.describe import affects_of
from seqtrain.config.errors import choose as choose_one
from seqtrain.runs.directory import RunDir
from seqtrain.runs.memory_estimate import check_memory, check_model_memory
from seqtrain.system.errors import ConfigError
from seqtrain.system.files import write_whole
from seqtrain.system.progress import say
from seqtrain.system.runtime import prepare
from seqtrain.system.settings import Affects
from seqtrain.tasks import Task


def train_and_compare(request: TrainingRequest, *, quiet: bool) -> tuple[Results | None, int]:
    """Train every cell with every seed, each run in a directory of its own in `request.out`, and compare them.

    Runs that are done are not repeated, one that was interrupted goes on, one that diverges is a row like the others.

    Returns
    -------
    The results, None if interrupted, and the exit code.

    Raises
    ------
    SeqtrainError : something is wrong with the config or the directories, before anything is trained; or a run failed.
    """
    contenders, jobs = _prepare(request, quiet=quiet), request.jobs
    with RunDir(request.out).locked():
        tuning: list[Tuning] = []
        if request.grid:
            candidates = _plan_tuning(request, contenders)
            check_jobs(runs_of(candidates), jobs)
            check_jobs([run for runs in _plan(request, contenders) for run in runs], jobs)  # not only after tuning
            if code := run_all(runs_of(candidates), jobs, quiet=quiet):
                return None, code
            contenders, tuning = choose(candidates, request.grid)
            for remark in remarks_on(tuning):
                say(remark, quiet=quiet)
        planned = _plan_free(request, contenders)
        runs = [run for members in planned for run in members]
        check_jobs(runs, jobs)
        if code := run_all(runs, jobs, quiet=quiet):
            return None, code
        groups = [
            Group(contender.cell, contender.at, read_runs([run.out for run in members]))
            for contender, members in zip(contenders, planned, strict=True)
        ]
        question = _question(request, contenders, planned, tuning)
        return report(groups, question, request.eval_lengths, request.out, quiet=quiet), 0


def commands(request: TrainingRequest, *, quiet: bool) -> Iterator[str]:
    """The commands of the runs that are not done, as far as they are known: with a grid, first those that tune.

    The question is kept in `request.out` for when the runs are gathered.
    """
    contenders, tuning = _prepare(request, quiet=quiet), list[Tuning]()
    if request.grid:
        candidates = _plan_tuning(request, contenders)
        if any(not run.is_done() for run in runs_of(candidates)):
            what = "that tune; repeat this when they are done, for those that follow"
            yield from _commands_to_do(request, runs_of(candidates), what, quiet=quiet)
            return
        contenders, tuning = choose(candidates, request.grid)
    planned = _plan_free(request, contenders)
    note_question(request.out, _question(request, contenders, planned, tuning))
    yield from _commands_to_do(request, [run for members in planned for run in members], "to do", quiet=quiet)


def _commands_to_do(request: TrainingRequest, runs: Sequence[PlannedRun], what: str, *, quiet: bool) -> Iterator[str]:
    """The commands of the runs that are not done, as lines for a shell; their configs are written beside the runs."""
    waiting = [run for run in runs if not run.is_done()]
    say(f"{len(waiting)} of {len(runs)} runs {what}", quiet=quiet)
    for run in waiting:
        file = request.out / CONFIGS / f"{run.out.name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, to_yaml(run.config).encode())
        yield shlex.join(["seqtrain", "train", str(file), "--out", str(run.out), "--resume", "--quiet"])


def _prepare(request: TrainingRequest, *, quiet: bool) -> list[Contender]:
    """All contenders with their sizes and budgets, once it is proved that each can be built; says remarks."""
    contenders, remarks = plan_contenders(request)
    labels = list(dict.fromkeys(contender.cell for contender in contenders))
    if request.reference is not None and request.reference not in labels:
        raise ConfigError(
            f"--reference {request.reference}: is no cell of this comparison; {choose_one(request.reference, labels)}"
        )
    check_lengths([contender.config for contender in contenders], request.eval_lengths)
    if request.match == "hidden" and request.budget is None and not request.grid:
        _plan_free(request, contenders)  # a directory that is taken is found before any text is read
    prepare(request.config.threads)
    RunDir(request.out).create()
    tasks: dict[Point, Task] = {}
    for contender in contenders:
        if contender.at not in tasks:
            tasks[contender.at] = build_task(contender.config, quiet=quiet)
    contenders = make_fair(request, contenders, tasks)
    for contender in contenders:
        task = tasks[contender.at]
        check_model_memory(contender.config, task.spec)
        check_memory(contender.config, task, build_model(contender.config, task.spec))
    tests = len(contenders) - len(tasks)  # at each point, all but the reference
    for remark in [*remarks, shortage(request.seeds, tests, request.level or LEVEL, option=True)]:
        if remark:
            say(remark, quiet=quiet)
    if request.match != "hidden":
        sizes = [
            f"{label(contender.cell, contender.at)} {contender.config.model.hidden_size} ({contender.off:+.1%})"
            for contender in contenders
        ]
        say(f"hidden sizes matched by {request.match}: {', '.join(sizes)}", quiet=quiet)
    return contenders


def _plan_tuning(request: TrainingRequest, contenders: Sequence[Contender]) -> list[Candidate]:
    """The runs that tune, once it is proved that their directories are free."""
    candidates = plan_tuning(request, contenders)
    check_directories(runs_of(candidates))
    return candidates


def _plan_free(request: TrainingRequest, contenders: Sequence[Contender]) -> list[list[PlannedRun]]:
    """The runs that are reported, once it is proved that their directories are free."""
    planned = _plan(request, contenders)
    check_directories([run for members in planned for run in members])
    return planned


def _plan(request: TrainingRequest, contenders: Sequence[Contender]) -> list[list[PlannedRun]]:
    """The runs that are reported, by contender."""
    seeds = range(request.config.seed, request.config.seed + request.seeds)
    return [plan_runs(request, contender, seeds, request.out) for contender in contenders]


def _question(
    request: TrainingRequest,
    contenders: Sequence[Contender],
    planned: Sequence[Sequence[PlannedRun]],
    tuning: list[Tuning],
) -> Question:
    """What is asked of the runs once they are there."""
    labels = [cell_label(cell) for cell in request.cells]
    own = request.config.model.cell.name
    return Question(
        reference=request.reference or (own if own in labels else labels[0]),
        level=request.level or LEVEL,
        varied=request.vary.key if request.vary else None,
        match=None if any(affects_of(setting.key) is Affects.SIZE for setting in request.grid) else request.match,
        timed=request.is_timed,
        command=request.command,
        tuning=tuning,
        eval_lengths=list(request.eval_lengths),
        cells=[RowKey(cell=row.cell, at=row.at, off=row.off) for row in contenders],
        runs=[
            RunKey(row=contender.cell, at=contender.at, run=str(run.out))
            for contender, members in zip(contenders, planned, strict=True)
            for run in members
        ],
    )
