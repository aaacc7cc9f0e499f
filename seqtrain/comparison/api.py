"""Compare cells on a config, or runs that exist. Importing this takes a while, as scipy is needed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

from seqtrain.comparison.defaults import LEVEL
from seqtrain.comparison.length_generalization import check_lengths
from seqtrain.comparison.load_runs import FinishedRun, Group, check_seeds, group_runs, read_runs, varied_setting
from seqtrain.comparison.metadata import asked_for, check_overwriting, earlier_question, group_as_before
from seqtrain.comparison.options import parse_request, twice
from seqtrain.comparison.records import Assertion, Question, Results, RunResult
from seqtrain.comparison.report import report, table_of
from seqtrain.comparison.request import Options, Request, TrainingRequest
from seqtrain.comparison.runner import Commands, commands, train_and_compare
from seqtrain.config import texts
from seqtrain.runs.directory import RunDir
from seqtrain.system.errors import ConfigError
from seqtrain.system.notebooks import data_frame, html_table
from seqtrain.system.progress import figure, say
from seqtrain.system.runtime import settings_restored

if TYPE_CHECKING:
    from pandas import DataFrame

ASSERTION_FAILED = 4
"""Exit code if a condition does not hold."""


class Compared(NamedTuple):
    """A comparison that has ended.

    results : what its `results.json` says; None if a signal interrupted it.
    exit_code : 0, 2 if a condition names a figure that does not exist, 4 if one does not hold, 130 or 143 if
        interrupted; 1 if a cluster could not train some runs, or 2 if only for a wrong input.
    """

    results: Results | None
    exit_code: int

    @property
    def records(self) -> list[RunResult]:
        """The summary of each run with its row; none if a signal interrupted the comparison."""
        return [] if self.results is None else [*self.results.runs]

    def frame(self) -> "DataFrame":
        """The table `results.csv`, a run a row, as a data frame of pandas, which must be installed.

        Raises
        ------
        SeqtrainError : pandas is not installed.
        """
        names, rows = ([], []) if self.results is None else table_of(self.results)
        return data_frame([dict(zip(names, row, strict=True)) for row in rows], names)

    def _repr_html_(self) -> str:
        """A table below the cell of a notebook."""
        if self.results is None:
            return html_table("interrupted; compare with the same arguments to go on", [])
        rows = [
            (
                row.label,
                row.runs,
                row.solved,
                figure(row.metric.mean),
                row.versus.verdict if row.versus else "reference",
            )
            for row in self.results.cells
        ]
        header = ("cell", "runs", "solved", f"test {self.results.metric.name}", "verdict")
        return html_table(f"{self.results.question} {self.results.summary}", rows, header)


@settings_restored()
def compare(
    config_or_runs: str | Path | Mapping[str, Any] | Sequence[str | Path],
    overrides: Sequence[str] = (),
    *,
    quiet: bool = True,
    **options: Unpack[Options],
) -> Compared:
    """Train cells on a config and compare them, or compare runs that exist.

    Parameters
    ----------
    config_or_runs : a YAML file, the name of a shipped config, or a config as data; or run directories, or a folder of
        them.
    overrides : settings to change in the config, each `KEY=VALUE`.
    quiet : no progress and no remarks on stderr.
    options : those of `seqtrain compare`, written in the same way: `cells="rnn,lstm"`, `seeds=2`. `reference`, `match`,
        `tune`, `vary`, `budget`, `eval_lengths`, `pictures` and `on` are texts like `cells`; `tuning_seeds`, `jobs` and
        `runs_per_job` are numbers like `seeds`; `level` is a number, `out` a path; `grid`, `slurm`, `ranges` (of
        `--range`) and `conditions` (of
        `--assert`) are lists of texts.

    Raises
    ------
    SeqtrainError : an option, the config, a directory or a run cannot be used.
    """
    if isinstance(config_or_runs, Mapping):
        return answer(parse_request(texts(overrides), config=config_or_runs, **options), quiet=quiet)
    targets = [config_or_runs] if isinstance(config_or_runs, str | Path) else config_or_runs
    return answer(parse_request([*map(str, targets), *texts(overrides)], **options), quiet=quiet)


def answer(request: Request, *, quiet: bool = False) -> Compared:
    """Train and compare what a request asks for, or compare the runs that it names.

    Raises
    ------
    SeqtrainError : the request, its config, a directory or a run cannot be used.
    """
    if isinstance(request, TrainingRequest):
        results, code = train_and_compare(request, quiet=quiet)
    else:
        results, code = gather(request, quiet=quiet), 0
    if results is None:
        return Compared(results, code)
    compared = _check_conditions(results, request, quiet=quiet)
    return compared._replace(exit_code=code or compared.exit_code)


def dry_run(request: Request, *, quiet: bool = False) -> Commands:
    """The commands that a comparison would run, one a run; see `runner.commands`."""
    if not isinstance(request, TrainingRequest):
        raise ConfigError("--dry-run says what would be trained; it goes with a config, not with run directories")
    if request.place.engine != "local":
        raise ConfigError("--on: --dry-run prints commands to run anywhere; leave out one of the two")
    if request.conditions:
        raise ConfigError(
            "--assert: there is nothing to check before the runs are trained; leave it out with --dry-run"
        )
    return commands(request, quiet=quiet)


def _check_conditions(results: Results, request: Request, *, quiet: bool) -> Compared:
    """Check the conditions, print whether they hold, and add that to the results, also if a condition has a fault."""
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
        return Compared(results, ConfigError.exit_code)
    return Compared(results, 0 if all(assertion.holds for assertion in assertions) else ASSERTION_FAILED)


def gather(request: Request, *, quiet: bool = False) -> Results:
    """Compare finished runs and write the results into `request.out`.

    Raises
    ------
    CheckpointError : a path holds no finished run, or the runs are not of one task.
    ConfigError : the reference is not a cell of the runs, or the task does not take a length.
    """
    names = {path.resolve(): path for path in request.runs}
    for place in twice(path.resolve() for path in request.runs):
        say(f"{names[place]}: is given twice, and counts once", quiet=quiet)
    runs = read_runs(asked_for(request.runs, request.folder, quiet=quiet))
    earlier = earlier_question(runs, request.folder, request.out)
    if earlier is not None:
        question, groups = earlier, group_as_before(runs, earlier, request.folder or request.out, quiet=quiet)
    else:
        groups = group_runs(runs, varied := varied_setting(runs))
        question = Question(reference=_first(groups, runs), level=LEVEL, varied=varied)
    check_seeds(groups)
    labels = [group.cell for group in groups]
    request.check_reference(labels, "these runs")
    lengths = request.eval_lengths or tuple(question.eval_lengths)
    check_lengths([group.runs[0].config for group in groups], lengths)
    is_named = request.folder is None and all(run.path.resolve().parent != request.out.resolve() for run in runs)
    is_kept = not is_named and question.reference in labels  # its runs may not be there yet
    reference = request.reference or (question.reference if is_kept else _first(groups, runs))
    asks = reference != question.reference or lengths or request.level not in (None, earlier and earlier.level)
    typed = [question.command, request.command if asks or earlier is None else None]
    question = question.model_copy(
        update={
            "reference": reference,
            "level": request.level or question.level,
            **({"drawn_as": request.pictures} if request.pictures else {}),
            "command": "; ".join(filter(None, typed)) or None,
        }
    )
    if request.folder is None or request.folder.resolve() != request.out.resolve():
        check_overwriting(request.out, request.runs)
    RunDir(request.out).create()
    return report(groups, question, lengths, request.out, gathered=earlier is None, quiet=quiet)


def _first(groups: Sequence[Group], runs: Sequence[FinishedRun]) -> str:
    """The label of the first run that counts; it need not be in the first group, as a varied setting orders these."""
    return next(group.cell for run in runs for group in groups if any(member is run for member in group.runs))
