"""Length generalisation: trained models, evaluated at lengths that they were not trained at."""

from collections.abc import Sequence
from itertools import product

from seqtrain.comparison.load_runs import Group
from seqtrain.comparison.records import LengthRow, Values
from seqtrain.config import Config, config_from
from seqtrain.config.plugins import with_declared
from seqtrain.inference.evaluate import evaluate
from seqtrain.system import strict_json
from seqtrain.system.errors import ConfigError
from seqtrain.system.progress import Progress


def length_setting(task: str, reach: str | None) -> str:
    """The setting of a task that says how far it reaches, which is `reach`.

    Raises
    ------
    ConfigError : it has none.
    """
    if reach is None:
        raise ConfigError(f"--eval-lengths: task {task} has no length; leave it out")
    return f"task.{reach}"


def check_lengths(configs: Sequence[Config], lengths: Sequence[int]) -> None:
    """Refuse lengths that a task does not take, before anything is trained or evaluated.

    Raises
    ------
    ConfigError : with every fault.
    """
    faults: list[str] = []
    for config in configs if lengths else ():
        if (task := config.task.owner) is None:  # the user's own, of a run that exists: its code may not be trusted
            continue
        setting = length_setting(config.task.name, task.reach)
        for length in lengths:
            try:
                with_declared(config_from(config.model_dump(), f"--eval-lengths {length}", [f"{setting}={length}"]))
            except ConfigError as error:
                faults += error.faults
    if faults:
        raise ConfigError([f"--eval-lengths: {fault}" for fault in dict.fromkeys(faults)])


def evaluate_lengths(groups: Sequence[Group], lengths: Sequence[int], *, quiet: bool) -> list[LengthRow]:
    """A row for each group and length: the test metric of its runs, and how many solve the task there.

    Raises
    ------
    SeqtrainError : the task does not take one of the lengths.
    """
    rows = []
    first = groups[0].summary
    setting = length_setting(first.task, first.traits.reach)
    total = len(lengths) * sum(len(group.runs) for group in groups)
    with Progress(total, label="other lengths", unit="evaluation", quiet=quiet) as progress:
        for group, length in product(groups, lengths):
            values, solved = [], 0
            for run in group.runs:
                if run.summary.test:  # a run that diverged before its first evaluation has no model
                    result = evaluate(run.path, [f"{setting}={length}"])
                    values.append(result.figures[group.summary.metric.name])
                    solved += bool(result.solved)
                progress.advance()
            rows.append(length_row(group, setting, length, values, solved))
    return rows


def length_row(group: Group, setting: str, length: int, values: Sequence[float | None], solved: int) -> LengthRow:
    """The row of a group at a length, from the metric of its runs and the number of them that solve the task."""
    interval = group.metric_interval([value for value in values if value is not None])
    return LengthRow(
        cell=group.cell,
        at=group.at,
        setting=setting,
        length=length,
        trained=group.runs[0].settings.get(setting) == length,
        metric=Values(**interval.as_json(), values=strict_json.finite(values)),
        solved=solved,
        runs=len(group.runs),
    )
