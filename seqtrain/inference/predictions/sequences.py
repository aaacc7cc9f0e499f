"""Predictions of the task `sequences`: the class or the number of each sequence or step, or the next binary vector."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from seqtrain.inference.load import Trained
from seqtrain.inference.predictions.outputs import outputs_beyond, outputs_of
from seqtrain.inference.predictions.result import Predictions
from seqtrain.system.errors import ConfigError
from seqtrain.system.progress import say
from seqtrain.system.shipped import text_path
from seqtrain.tasks.sequences.amounts import Amounts
from seqtrain.tasks.sequences.classes import Classes
from seqtrain.tasks.sequences.collection import Collection, check_missing
from seqtrain.tasks.sequences.preparation import Preparation
from seqtrain.tasks.sequences.read import read_sequences
from seqtrain.tasks.sequences.settings import wanted_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def predict_sequences(trained: Trained, file: Path | None, horizon: int | None, *, quiet: bool) -> Predictions:
    """What the model says of each sequence of a file; labels that the file may have are not looked at."""
    task = trained.config.task
    if horizon is not None:
        raise ConfigError("--horizon is for forecasts of a series, and the model reads whole sequences; leave it out")
    path = text_path(str(task.path if file is None else file))
    prepared = Preparation.read(task, trained.header.fitted or {})
    wanted = wanted_of(task, labelled=False)._replace(inputs=prepared.columns, group=None, part=None)
    collection = read_sequences(path, wanted)
    if file is None:
        say(f"{path}: all its sequences, those of the training included", quiet=quiet)
    for what, count in collection.left_out.items():
        if count:
            say(f"{path}: {what.replace('_', ' ')}: {count:,}", quiet=quiet)
    cure = "give these values; a model that is trained with task.missing=forward or mask can do without"
    check_missing([collection], task, cure)
    part = prepared.part_without_targets(collection)
    outputs = (
        outputs_beyond(trained.model, part)
        if task.predict == "next_step"
        else outputs_of(trained.model, part, by_step=part.by_step)
    )
    columns, predicted = _columns(prepared, collection, outputs, wanted.by_step, task.id, wanted.targets, wanted.step)
    draw = picture_of(f"{path.name}", prepared, collection, outputs)
    return Predictions(str(trained.path), task.name, str(path), 0, columns, predicted, draw)


def _columns(
    prepared: Preparation, own: Collection, outputs: Tensor, by_step: bool, id_: str | None, targets: list[str],
    step: str | None,
) -> tuple[dict[str, list[Any]], list[str]]:  # fmt: skip
    """The columns of the table, and which of them the model gave."""
    names = np.repeat(np.array(own.names, object), own.lengths) if by_step else np.array(own.names, object)
    columns: dict[str, list[Any]] = {id_ or "sequence": names.tolist()}
    if by_step:
        columns[step or "step"] = own.times if own.times is not None else _counted(own.lengths)
    answers = prepared.answers
    given: dict[str, list[Any]] = {}
    if isinstance(answers, Classes):
        shares = outputs.softmax(-1)
        given[targets[0] if targets else "label"] = [answers.names[k] for k in shares.argmax(-1).tolist()]
        given |= {f"probability_{name}": shares[:, k].tolist() for k, name in enumerate(answers.names)}
    elif isinstance(answers, Amounts):
        values = answers.restored(outputs)
        given |= {name: values[:, k].tolist() for k, name in enumerate(answers.names)}
    else:
        shares = outputs.sigmoid()
        given |= {f"probability_{name}": shares[:, k].tolist() for k, name in enumerate(prepared.columns)}
    return columns | given, [*given]


def _is_known(labels: NDArray[Any]) -> NDArray[np.bool_]:
    return ~np.isnan(labels).all(-1) if labels.ndim > 1 else np.array([label is not None for label in labels])


def _counted(lengths: NDArray[np.int64]) -> list[int]:
    """The number of each step in its sequence, from 1."""
    return [step for size in lengths.tolist() for step in range(1, size + 1)]


def picture_of(title: str, prepared: Preparation, own: Collection, outputs: Tensor) -> Any:
    """A function that draws the predictions beside the labels; None if there are no labels."""
    answers = prepared.answers
    if own.labels is None or not isinstance(answers, Classes | Amounts) or not _is_known(own.labels).any():
        return None

    def draw() -> "Figure":
        from seqtrain.inference.predictions import judged

        targets = answers.targets(own)
        if isinstance(answers, Classes):
            known = targets >= 0
            return judged.confusion(title, answers.names, targets[known], outputs.argmax(-1)[known])
        known = ~targets.isnan().all(-1)
        return judged.scatter(title, answers.names, answers.restored(targets[known]), answers.restored(outputs[known]))

    return draw
