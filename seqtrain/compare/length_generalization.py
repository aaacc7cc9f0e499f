"""Length generalisation: trained models, evaluated at lengths that they were not trained at."""

from collections.abc import Sequence
from typing import Any

from seqtrain.compare.load_runs import Group, metric_interval
from seqtrain.config import Config, config_from
from seqtrain.inference.evaluate import Evaluation, evaluate
from seqtrain.system.errors import ConfigError
from seqtrain.system.progress import Progress
from seqtrain.tasks import TASKS


def length_setting(config: Config) -> str:
    """The setting of a task that says how far it reaches.

    Raises
    ------
    ConfigError : it has none.
    """
    reach = TASKS[config.task.name].reach
    if reach is None:
        raise ConfigError(f"--eval-lengths: task {config.task.name} has no length; leave it out")
    return f"task.{reach}"


def check_lengths(configs: Sequence[Config], lengths: Sequence[int]) -> None:
    """Refuse lengths that a task does not take, before anything is trained or evaluated.

    Raises
    ------
    ConfigError : with every fault.
    """
    faults: list[str] = []
    for config in configs if lengths else ():
        setting = length_setting(config)
        for length in lengths:
            try:
                config_from(config.model_dump(), f"--eval-lengths {length}", [f"{setting}={length}"])
            except ConfigError as error:
                faults += error.faults
    if faults:
        raise ConfigError([f"--eval-lengths: {fault}" for fault in dict.fromkeys(faults)])


def evaluate_lengths(
    groups: Sequence[Group], setting: str, lengths: Sequence[int], *, quiet: bool
) -> list[dict[str, Any]]:
    """A row for each group and length: the test metric of its runs, and how many solve the task there.

    Raises
    ------
    SeqtrainError : the task does not take one of the lengths.
    """
    rows = []
    total = len(lengths) * sum(len(group.runs) for group in groups)
    with Progress(total, label="other lengths", unit="evaluation", quiet=quiet) as progress:
        for group in groups:
            for length in lengths:
                results = []
                for run in group.runs:
                    if run.summary["test"]:  # a run that diverged before its first evaluation has no model
                        results.append(evaluate(run.path, [f"{setting}={length}"]))
                    progress.advance()
                rows.append(_row(group, setting, length, results))
    return rows


def _row(group: Group, setting: str, length: int, results: Sequence[Evaluation]) -> dict[str, Any]:
    first = group.runs[0].summary
    values = [result.figures[first["metric"]["name"]] for result in results]
    return {
        "cell": group.cell,
        "at": group.at,
        "setting": setting,
        "length": length,
        "trained": group.runs[0].config["task"].get(setting.rpartition(".")[2]) == length,
        "metric": metric_interval([value for value in values if value is not None], first["task"])._asdict()
        | {"values": values},
        "solved": sum(bool(result.solved) for result in results),
        "runs": len(group.runs),
    }
