"""How much memory a training run will need, told before it is taken."""

import copy
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import torch

from seqtrain.config import Config
from seqtrain.config.build import build_device, outline
from seqtrain.models import SequenceModel
from seqtrain.runs import footprint
from seqtrain.runs.footprint import NUMBER
from seqtrain.system.errors import ConfigError
from seqtrain.system.memory import available
from seqtrain.system.progress import in_words
from seqtrain.tasks import Spec, Task

STATE = {"adam": 2, "adamw": 2, "rmsprop": 1, "sgd": 0}
"""Numbers that an optimizer keeps for each weight, momentum apart."""

NUMBERS_A_WEIGHT = 6
"""At most: itself, its gradient, two moments, momentum, its average."""


PROCESS = 200 << 20
"""Bytes of Python and PyTorch in each process beside those of their files, which all processes share."""

BUFFER = 9 / 8
"""Bytes that Python's growing buffer takes for each byte of a checkpoint in it."""


class Estimate(NamedTuple):
    """Bytes, beside those of Python, PyTorch and the text.

    weights : with their gradients, the optimizer's state and their average.
    activations : what a training step keeps for its backward pass, and the most that this pass itself needs.
    evaluation : of one batch.
    saving : the two copies of a checkpoint that are made while it is saved.
    kept : beside the largest of these three, what the others leave that it has no use for: arrays of the engine, which
        wait for the next step, and holes in the heap that are too small.
    sets : the validation and test set.
    """

    weights: int
    activations: int = 0
    evaluation: int = 0
    saving: int = 0
    kept: int = 0
    sets: int = 0

    @property
    def peak(self) -> int:
        """All that is needed at one time: steps, evaluations and checkpoints take turns."""
        return self.weights + self.sets + max(self.activations, self.evaluation, self.saving) + self.kept


def estimate(config: Config, task: Task, model: SequenceModel) -> Estimate:
    """What training the model on the task needs."""
    model = copy.deepcopy(model)  # a user's cell may count, or keep running means
    train, on_heap = config.train, config.device == "cpu"
    own = sum(parameter.nbytes for parameter in model.parameters())
    columns = task.evaluated_together(train.eval_batch_size)
    step = footprint.of_training(model, task, train.batch_size, on_heap=on_heap, penalised=bool(train.ar or train.tar))
    evaluation = footprint.of_evaluation(model, task, columns)
    saving = round((1 + BUFFER) * (1 + _kept(config)) * own)
    heap = max(step.heap, evaluation.heap)
    if on_heap:  # where no copy lies in the hole of an array of its size: of the model above, of a step's matrices
        heap = max(heap, saving + own + step.matrices, task.drawing_bytes())
    if on_heap:  # what is larger than all that a step made is larger than the holes that it left
        heap = max(heap, step.heap + evaluation.largest - step.largest)
    needed = max(step.engine, evaluation.engine) + heap + footprint.kept_by_engine(model)
    return Estimate(
        weights=(2 + _kept(config)) * own + sum(buffer.nbytes for buffer in model.buffers()),
        activations=step.engine + step.heap,
        evaluation=evaluation.engine + evaluation.heap,
        saving=saving,
        kept=needed - max(step.engine + step.heap, evaluation.engine + evaluation.heap, saving),
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


def check_together(config: Config, runs: Sequence[Estimate], jobs: int) -> None:
    """Refuse more runs at a time than fit together, each in a process of its own; the largest may come together.

    Raises
    ------
    ConfigError : naming the number that fits.
    """
    device = build_device(config)
    room, process = available(device), PROCESS if device.type == "cpu" else 0
    needed = [*accumulate(sorted((_needed(run, device) + process for run in runs), reverse=True)[:jobs])]
    if room is None or needed[-1] <= room:
        return
    fitting = max(1, sum(size <= room for size in needed))
    setting = PARTS[_largest(max(runs, key=lambda run: _needed(run, device)))][1]
    raise ConfigError(
        f"--jobs {jobs}: the largest {len(needed)} runs need at least {in_words(needed[-1])} of memory together, and "
        f"{in_words(room)} are free here; use --jobs {fitting}, which fits, or make {setting} smaller"
    )


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


def _check(config: Config, found: Estimate, evaluated: int) -> None:
    device = build_device(config)
    room, needed = available(device), _needed(found, device)
    if room is not None and needed > room:
        raise ConfigError(
            _refusal(found, needed, room, {"activations": config.train.batch_size, "evaluation": evaluated})
        )


def _needed(found: Estimate, device: torch.device) -> int:
    """Bytes on a device; the sets stay on the CPU."""
    return found.peak if device.type == "cpu" else found.peak - found.sets


def _largest(found: Estimate) -> str:
    """The part to change first."""
    return max(PARTS, key=lambda part: int(getattr(found, part)))


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
    largest = _largest(found)
    (told, setting), size = PARTS[largest], getattr(found, largest)
    cure = "make it smaller"
    if largest in batches:
        fitting = batches[largest] * (room - needed + size) // size
        cure = f"{fitting:,} could fit" if fitting > 0 else "not even 1 would fit: shorten the sequences as well"
    return (
        f"{setting}: training needs at least {in_words(needed)} of memory, and {in_words(room)} are free here; "
        f"{in_words(size)} are {told}; {cure}"
    )
