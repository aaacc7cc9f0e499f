"""The processes of a run that do not lead it: they compute, and write nothing."""

import hashlib
import time
from contextlib import suppress
from typing import Any

from seqtrain.config import Config
from seqtrain.config.build import build_model, build_optimizer, build_recipe, build_task
from seqtrain.runs.checkpoint import decoded
from seqtrain.system.errors import DataError, Diverged
from seqtrain.system.process_group import ProcessGroup
from seqtrain.system.progress import Progress
from seqtrain.system.signals import stop_requests
from seqtrain.tasks import Task
from seqtrain.training.loop import fit
from seqtrain.training.state import TrainState
from seqtrain.training.throughput import Clock


def help_to_train(config: Config, group: ProcessGroup) -> Any:
    """Train a run together with process 0, from what it shares; returns what it says of the end.

    Raises
    ------
    LostProcess : another process has ended.
    DataError : the data are others than those of process 0.
    SeqtrainError : the config cannot be used here.
    """
    content, digest = group.share()
    checkpoint = decoded(content)
    header = checkpoint.header
    assert header.training is not None
    task = build_task(config, header.known_words(), fitted=header.fitted, quiet=True)
    if task.fingerprints() != header.fingerprints or digest_of_batch(config, task, header.step) != digest:
        raise DataError("its data are not those of process 0; give all machines the same files")
    model = build_model(config, task.spec)
    state, recipe = TrainState(model, build_optimizer(config, model)), build_recipe(config, task)
    state.restore(header.step, header.training, checkpoint.weights, checkpoint.training)
    clock = Clock(time.monotonic())
    with stop_requests(insistent=False) as request:
        with Progress(recipe.steps, quiet=True) as progress, suppress(Diverged):  # process 0 says so
            status = fit(
                state,
                recipe,
                clock,
                progress,
                record=_nothing,
                save=_nothing,
                stop_requested=lambda: request.signal_number is not None,
                group=group,
            )
            if status == "interrupted":
                group.highest(request.signal_number or 0)
        return group.share()


def _nothing(*_: object, **__: object) -> None:
    """Write nothing."""


def digest_of_batch(config: Config, task: Task, step: int) -> str:
    """SHA-256 of the training batch of a step: no other fingerprint covers the training data."""
    digest = hashlib.sha256()
    for tensor in task.train_batch(step, config.train.batch_size).tensors().values():
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
