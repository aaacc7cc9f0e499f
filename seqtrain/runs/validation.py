"""Validate a config: build everything that it asks for, and train nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from seqtrain.config import read_config
from seqtrain.config.build import build_device, build_task, cell_class, check_batch_size, check_precision, total_steps
from seqtrain.config.plugins import as_defined
from seqtrain.config.resolve import resolved
from seqtrain.models import count_parameters
from seqtrain.runs.memory_estimate import check_model_memory
from seqtrain.runs.rehearsal import model_to_train
from seqtrain.system.errors import ConfigError, SeqtrainError
from seqtrain.system.memory import available
from seqtrain.system.progress import say
from seqtrain.system.runtime import prepare
from seqtrain.tasks import Task


@dataclass(frozen=True)
class Validated:
    """What a config builds.

    variant : the definition of the task with its settings.
    baseline : what the best model without a memory reaches on the test set.
    engine : what runs the cells over time.
    steps : of training.
    memory : bytes of training at its peak, of the parts of the estimate, and available (None where the system does not
        tell).
    settings : the resolved config.
    """

    config: str
    task: str
    variant: str
    metric: Mapping[str, object]
    baseline: Mapping[str, float]
    cell: str
    direction: str
    depth: int
    hidden_size: int | Sequence[int]
    parameters: int
    engine: str
    optimizer: Mapping[str, str | float | None]
    steps: int
    memory: Mapping[str, int | None]
    settings: Mapping[str, object]


def validate(
    config: str | Path | Mapping[str, Any], overrides: Sequence[str] = (), *, quiet: bool = False
) -> Validated:
    """Build the task and the model of a config; parameters as of `train`.

    Raises
    ------
    SeqtrainError : with every fault.
    """
    made, source = read_config(config, overrides, quiet=quiet)
    prepare(made.threads)
    faults, task = [], None
    for build in (build_device, check_precision, partial(build_task, quiet=quiet), cell_class):
        try:
            built = build(made)
        except SeqtrainError as error:
            faults.append(str(error))
        else:
            task = built if isinstance(built, Task) else task
    if faults:
        raise ConfigError(list(dict.fromkeys(faults)))
    assert task is not None
    made = resolved(as_defined(made))
    check_batch_size(made, task)
    for remark in task.remarks(made.train.batch_size):
        say(remark, quiet=quiet)
    check_model_memory(made, task.spec)
    model, needed = model_to_train(made, task, quiet=quiet)
    section, optimizer = made.model, made.optimizer
    return Validated(
        config=str(source),
        task=made.task.name,
        variant=task.definition,
        metric=task.metric._asdict(),
        baseline=task.baseline("test"),
        cell=section.cell.name,
        direction=section.direction,
        depth=len(section.hidden_sizes()),
        hidden_size=section.hidden_size,
        parameters=count_parameters(model),
        engine=model.stack.loop.name,
        optimizer={"name": optimizer.name, "lr": optimizer.lr, "clip_norm": optimizer.clip_norm},
        steps=total_steps(made, task),
        memory={"peak": needed.peak, **needed._asdict(), "available": available(build_device(made))},
        settings=made.model_dump(),
    )
