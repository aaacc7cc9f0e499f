"""How much memory a training run will need, told before it is taken.

The model runs over two and three steps of one and two sequences. What autograd keeps of that grows evenly with steps
and sequences, whatever the cell, so that the rest is arithmetic. An estimate leans low: what could fit is not refused.
"""

import copy
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from seqtrain.build import build_device, outline
from seqtrain.config import Config
from seqtrain.errors import ConfigError
from seqtrain.memory import available
from seqtrain.models import AdaptiveHead, SequenceModel
from seqtrain.progress import in_words
from seqtrain.tasks import Batch, Spec, Task

NUMBER = 4
"""Bytes of a float32."""

STATE = {"adam": 2, "adamw": 2, "rmsprop": 1, "sgd": 0}
"""Numbers that an optimizer keeps for each weight, momentum apart."""

NUMBERS_A_WEIGHT = 6
"""At most: itself, its gradient, two moments, momentum, its average."""


class Estimate(NamedTuple):
    """Bytes, beside those of Python, PyTorch and the text.

    weights : with their gradients, the optimizer's state and their average.
    activations : what a training step keeps for its backward pass, and the most that this pass itself needs.
    evaluation : of one batch.
    saving : the two copies of a checkpoint that are made while it is saved.
    sets : the validation and test set.
    """

    weights: int
    activations: int = 0
    evaluation: int = 0
    saving: int = 0
    sets: int = 0

    @property
    def peak(self) -> int:
        """All that is needed at one time: steps, evaluations and checkpoints take turns."""
        return self.weights + self.sets + max(self.activations, self.evaluation, self.saving)


def estimate(config: Config, task: Task, model: SequenceModel) -> Estimate:
    """What training the model on the task needs."""
    model = copy.deepcopy(model)  # a user's cell may count, or keep running means
    evaluated = task.evaluated_together(config.train.eval_batch_size)
    activations = _activations(model, task, config.train.batch_size)
    evaluation = _evaluation(model, task.specimen("valid", evaluated), evaluated)
    if model.stack.loop.name == "reference" and config.device == "cpu":
        activations += evaluation  # whose large arrays find no room in the holes that many small ones leave
    own = sum(parameter.nbytes for parameter in model.parameters())
    return Estimate(
        weights=(2 + _kept(config)) * own + sum(buffer.nbytes for buffer in model.buffers()),
        activations=activations,
        evaluation=evaluation,
        saving=2 * (1 + _kept(config)) * own,
        sets=task.fixed_bytes(),
    )


def check_model_memory(config: Config, spec: Spec) -> None:
    """Refuse a model that cannot be built here, before it is.

    Raises
    ------
    ConfigError : its weights alone do not fit, or it is no model.
    """
    room = available(build_device(config))
    if room is None or NUMBER * NUMBERS_A_WEIGHT * _most_weights(config, spec) < room:
        return  # without a closer look, for which torch first spends a second on imports
    try:
        model = outline(config, spec)
    except (RuntimeError, NotImplementedError):  # a user's cell that wants to see its weights
        return
    own = sum(parameter.nbytes for parameter in model.parameters())
    _check(config, Estimate((2 + _kept(config)) * own), 0)


def check_memory(config: Config, task: Task, model: SequenceModel) -> Estimate:
    """Refuse a run that cannot fit; returns what it needs.

    Raises
    ------
    ConfigError : naming the setting that asks for the most.
    """
    found = estimate(config, task, model)
    _check(config, found, task.evaluated_together(config.train.eval_batch_size))
    return found


def _most_weights(config: Config, spec: Spec) -> int:
    """More weights than a model has whose cells have no more than 16 blocks; nothing is built."""
    widths, symbols = config.model.hidden_sizes(), max(spec.input_size, spec.output_size)
    vector = max(config.model.embedding_size or widths[0], 0 if spec.words else symbols)
    cells = sum(2 * 16 * H * (H + I + 3) for H, I in zip(widths, [vector, *(2 * H for H in widths)], strict=False))
    return cells + symbols * (2 * vector + 2 * widths[-1] + 1)


def _kept(config: Config) -> int:
    """Numbers for each weight beside itself and its gradient: of the optimizer, and an average."""
    optimizer = config.optimizer
    return STATE[optimizer.name] + (getattr(optimizer, "momentum", 0) > 0) + (config.train.average_after is not None)


def _activations(model: SequenceModel, task: Task, batch_size: int) -> int:
    batch = task.specimen("train", batch_size)
    T = len(batch.inputs)
    short = {(steps, rows): _saved(model, batch, steps, rows) for steps, rows in product((2, 3), (1, 2))}
    one, two = (short[2, rows] + (T - 2) * (short[3, rows] - short[2, rows]) for rows in (1, 2))
    saved = one + (batch_size - 1) * (two - one)
    answers = 1 if not model.every_step else T if batch.scored is None else int(batch.scored.sum())
    return saved + batch_size * max(T * _widest(model), 3 * answers * _scores(model))


def _evaluation(model: SequenceModel, batch: Batch, batch_size: int) -> int:
    T, answers = len(batch.inputs), len(batch.inputs) if model.every_step else 1
    return batch_size * max(T * _widest(model), 2 * answers * _scores(model))


@torch.no_grad()
def _widest(model: SequenceModel) -> int:
    """Bytes of a step of what a cell reads, of what `project` makes of it, and of what the cell gives."""
    cells = [cell for layer in model.stack.cells() for cell in layer]
    weight = next(model.parameters())
    projected = [cell.project(weight.new_zeros(1, 1, cell.input_size)).numel() for cell in cells]
    return NUMBER * max(c.input_size + gates + c.hidden_size for c, gates in zip(cells, projected, strict=True))


def _scores(model: SequenceModel) -> int:
    """Bytes of the scores of one prediction; of the most frequent symbols alone if the rest is in clusters."""
    head, features = model.head, model.stack.output_size
    frequent = head.clusters.head if isinstance(head, AdaptiveHead) else head
    return NUMBER * int(frequent(next(model.parameters()).new_zeros(1, features)).shape[-1])


def _saved(model: SequenceModel, batch: Batch, steps: int, rows: int) -> int:
    """Bytes that autograd keeps of a forward pass over so many steps and sequences, the weights left out."""
    kept: dict[int, torch.UntypedStorage] = {}  # held, so that no address is given twice
    own = {part.untyped_storage().data_ptr() for part in (*model.parameters(), *model.buffers())}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    weight = next(model.parameters())
    inputs = torch.zeros(steps, rows, *batch.inputs.shape[2:], dtype=batch.inputs.dtype, device=weight.device)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model.train().predict(inputs, generator=torch.Generator(weight.device))
    return sum(storage.nbytes() for storage in kept.values())


def _check(config: Config, found: Estimate, evaluated: int) -> None:
    device = build_device(config)
    room = available(device)
    needed = found.peak if device.type == "cpu" else found.peak - found.sets
    if room is not None and needed > room:
        raise ConfigError(
            _refusal(found, needed, room, {"activations": config.train.batch_size, "evaluation": evaluated})
        )


PARTS = {
    "activations": ("the activations of a training step", "train.batch_size"),
    "weights": ("the weights with their gradients and the optimizer's state", "model.hidden_size"),
    "evaluation": ("an evaluated batch", "train.eval_batch_size"),
    "saving": ("the copies of a checkpoint that is saved", "model.hidden_size"),
    "sets": ("the validation and test set", "task.valid_size and task.test_size"),
}
"""The parts of an estimate in words, and the setting to change."""


def _refusal(found: Estimate, needed: int, room: int, batches: dict[str, int]) -> str:
    """What to say; `batches` are the sizes of batches that may be made smaller."""
    largest = max(PARTS, key=lambda part: getattr(found, part))
    (told, setting), size = PARTS[largest], getattr(found, largest)
    cure = "make it smaller"
    if largest in batches:
        fitting = batches[largest] * (room - needed + size) // size
        cure = f"{fitting:,} could fit" if fitting > 0 else "not even 1 would fit: shorten the sequences as well"
    return (
        f"{setting}: training needs at least {in_words(needed)} of memory, and {in_words(room)} are free here; "
        f"{in_words(size)} are {told}; {cure}"
    )
