"""Compare cells on a config, or runs that exist. Importing this takes a while, as scipy is needed."""

from collections.abc import Iterator, Sequence

from seqtrain.compare.length_generalization import check_lengths
from seqtrain.compare.load_runs import FinishedRun, Group, check_seeds, group_runs, read_runs, varied_setting
from seqtrain.compare.metadata import earlier_question, group_as_before
from seqtrain.compare.records import LEVEL, Assertion, Question, Results
from seqtrain.compare.report import report
from seqtrain.compare.request import Request, TrainingRequest
from seqtrain.compare.runner import commands, train_and_compare
from seqtrain.config.errors import choose
from seqtrain.runs.directory import RunDir
from seqtrain.system.errors import ConfigError
from seqtrain.system.progress import say

ASSERTION_FAILED = 4
"""Exit code if a condition does not hold."""


def compare(request: Request, *, quiet: bool = False) -> tuple[Results | None, int]:
    """Train and compare what a request asks for, or compare the runs that it names.

    Returns
    -------
    The results, None if interrupted, and the exit code.

    Raises
    ------
    SeqtrainError : the request, its config, a directory or a run cannot be used.
    """
    if isinstance(request, TrainingRequest):
        results, code = train_and_compare(request, quiet=quiet)
    else:
        results, code = gather(request, quiet=quiet), 0
    return (results, code) if results is None else _check_conditions(results, request, quiet=quiet)


def dry_run(request: Request, *, quiet: bool = False) -> Iterator[str]:
    """The commands that a comparison would run, one a run; see `runner.commands`."""
    if not isinstance(request, TrainingRequest):
        raise ConfigError("--dry-run says what would be trained; it goes with a config, not with run directories")
    return commands(request, quiet=quiet)


def _check_conditions(results: Results, request: Request, *, quiet: bool) -> tuple[Results, int]:
    """Check the conditions, say whether they hold, and add that to the results; returns them and the exit code.

    A condition on a figure that does not exist is said too: results that took hours are not withheld for a slip.
    """
    assertions, faults = list[Assertion](), list[str]()
    for condition in request.conditions:
        try:
            assertions.append(condition.check(results.cells))
        except ConfigError as error:
            faults += error.faults
    for assertion in assertions:
        say(assertion.sentence(), quiet=quiet and assertion.holds)
    for fault in faults:
        say(f"seqtrain: {fault}")
    if assertions:
        results = results.model_copy(update={"assertions": assertions})
    if faults:
        return results, ConfigError.exit_code
    return results, 0 if all(assertion.holds for assertion in assertions) else ASSERTION_FAILED


def gather(request: Request, *, quiet: bool = False) -> Results:
    """Compare finished runs and write the results into `request.out`.

    Raises
    ------
    CheckpointError : a path holds no finished run, or the runs are not of one task.
    ConfigError : the reference is not a cell of the runs, or the task does not take a length.
    """
    runs = read_runs(request.runs)
    earlier = earlier_question(request.out, runs, is_folder=request.is_folder)
    question, groups = _question(runs, earlier, quiet=quiet)
    check_seeds(groups)
    labels = list(dict.fromkeys(group.cell for group in groups))
    if request.reference is not None and request.reference not in labels:
        raise ConfigError(
            f"--reference {request.reference}: is no cell of these runs; {choose(request.reference, labels)}"
        )
    lengths = request.eval_lengths or tuple(question.eval_lengths)
    check_lengths([group.runs[0].config for group in groups], lengths)
    asks = request.reference is not None or lengths or request.level not in (None, earlier and earlier.level)
    typed = [question.command, request.command if asks or earlier is None else None]
    question = question.model_copy(
        update={
            "reference": request.reference or question.reference,
            "level": request.level or question.level,
            "command": "; ".join(filter(None, typed)) or None,
        }
    )
    RunDir(request.out).create()
    return report(groups, question, lengths, request.out, gathered=earlier is None, quiet=quiet)


def _question(runs: Sequence[FinishedRun], earlier: Question | None, *, quiet: bool) -> tuple[Question, list[Group]]:
    """The earlier question about the runs, or that of runs that were trained one by one; and their groups."""
    if earlier is not None:
        return earlier, group_as_before(runs, earlier, quiet=quiet)
    varied = varied_setting(runs)
    groups = group_runs(runs, varied)
    labels = [group.cell for group in groups]
    reference = "lstm" if "lstm" in labels else labels[0]
    return Question(reference=reference, level=LEVEL, varied=varied), groups
