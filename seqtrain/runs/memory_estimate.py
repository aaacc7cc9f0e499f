"""Estimate the memory that a training run needs at least, before it is allocated.

The estimate counts only arrays that certainly exist at the same time. Measured peaks are up to twice as large, because
of temporary arrays and fragmentation of the heap. So a run is refused only if it cannot fit.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch

from seqtrain.cells import CELLS, Cell
from seqtrain.config import Config
from seqtrain.config.build import build_device, cell_class
from seqtrain.config.plugins import in_a_line
from seqtrain.config.resolve import resolved
from seqtrain.models import AdaptiveHead, SequenceModel
from seqtrain.models.layout import copied
from seqtrain.native.library import library
from seqtrain.native.linear_cross_entropy import ROWS_TOGETHER, is_large
from seqtrain.system.errors import ConfigError
from seqtrain.system.memory import available
from seqtrain.system.progress import in_words, say
from seqtrain.tasks import Batch, Spec, Task

NUMBER = 4
"""Bytes of a float32."""

PROCESS = 200 << 20
"""Bytes of Python and PyTorch in each process, without those that all processes share."""


class Estimate(NamedTuple):
    """Bytes that training needs at least, without those of Python, PyTorch and a text.

    weights : with their gradients, the optimizer's state, their average, and the engine's copy of recurrent weights.
    activations : of a training step, kept for the backward pass, and what this pass adds.
    evaluation : of one batch.
    saving : the copy of the checkpoint that is written.
    sets : the validation and test set.
    windows : of a pass through a text, whose sizes vary.
    """

    weights: int
    activations: int = 0
    evaluation: int = 0
    saving: int = 0
    sets: int = 0
    windows: int = 0

    @property
    def peak(self) -> int:
        """All that is needed at one time: steps, evaluations and checkpoints take turns."""
        return self.weights + self.sets + self.windows + max(self.activations, self.evaluation, self.saving)


PARTS = {
    "activations": ("the activations of a training step", "train.batch_size"),
    "weights": ("the weights with their gradients and the optimizer's state", "model.hidden_size"),
    "evaluation": ("an evaluated batch", "train.eval_batch_size"),
    "saving": ("the copy of a checkpoint that is saved", "model.hidden_size"),
    "sets": ("the validation and test set", "task.valid_size and task.test_size"),
    "windows": ("the windows of a pass through the text", "task.vary_window"),
}
"""The parts of an estimate in words, and the setting to change."""


def estimate(config: Config, task: Task, model: SequenceModel) -> Estimate:
    """The memory that training the model on the task needs."""
    own = sum(parameter.nbytes for parameter in model.parameters())
    columns = task.evaluated_together(config.train.eval_batch_size)
    train, valid = task.specimen("train", config.train.batch_size), task.specimen("valid", columns)
    kept, backward, widest = _numbers_a_step(model)
    together = task.trained_together(config.train.batch_size)
    scores, valid_scores = (  # beside them their logarithms, and their gradient
        _scores_kept(model, task, batch, sequences, arrays=arrays, rows=rows)
        for batch, sequences, arrays, rows in ((train, together, 3, ROWS_TOGETHER), (valid, columns, 2, 0))
    )
    cells = [] if model.stack.loop.name == "reference" else [cell for layer in model.stack.cells() for cell in layer]
    packed = max((cell.get_parameter("w_h").nbytes for cell in cells), default=0)  # the engine's copy of one
    activations = together * len(train.inputs) * kept + max(together * len(train.inputs) * backward, scores)
    return Estimate(
        weights=(2 + _kept_by_weight(config)) * own + packed,
        activations=NUMBER * activations,
        evaluation=NUMBER * max(columns * len(valid.inputs) * widest, valid_scores),
        saving=(1 + _kept_by_weight(config)) * own,
        sets=task.fixed_bytes(),
        windows=task.windows_bytes(config.train.batch_size),
    )


def _kept_by_weight(config: Config) -> int:
    """Numbers for each weight beside itself and its gradient: of the optimizer, and an average."""
    return config.optimizer.numbers_per_weight() + (config.train.average_after is not None)


def _numbers_a_step(model: SequenceModel) -> tuple[int, int, int]:
    """Numbers for each step of a sequence: that the forward pass keeps, that the backward pass adds, and that the
    widest layer needs in an evaluation.

    A cell keeps its gates and its state; those of a plain RNN are the same. The plain loop also keeps the nonlinearity
    of the state or puts outputs together, and on the CPU its many small arrays leave holes as large as the gates.
    """
    is_plain, kept, backward, widest = model.stack.loop.name == "reference", 0, 0, 0
    holes = is_plain and next(model.parameters()).device.type == "cpu"
    for depth, layer in enumerate(model.stack.cells()):
        kept += layer[0].input_size if depth == 0 or len(layer) > 1 else 0
        for cell in layer:
            gates, state = _gates_and_state(cell)
            kept += (state if gates == state else gates + state) + is_plain * state
            backward = max(backward, (1 + holes) * gates + len(layer) * cell.input_size)
            widest = max(widest, cell.input_size + gates + (1 + is_plain) * cell.hidden_size)
    return kept, backward, widest


def _gates_and_state(cell: Cell) -> tuple[int, int]:
    """The numbers in a cell's projection of one step, and in its state; 0 for a user's cell that raises an error."""
    try:
        return _asked(cell)
    except Exception:  # whatever a user's cell raises; it is only counted by its weights then
        return 0, 0


def _asked(cell: Cell) -> tuple[int, int]:
    """What a cell itself says, without a change of it."""
    one = cell if type(cell) in CELLS.values() else copied(cell).eval()  # a user's may count, or keep means
    with torch.no_grad():
        x = torch.zeros(1, 1, cell.input_size, device=next(cell.parameters(), torch.empty(0)).device)
        parts = [one.project(x), *one.initial_state(1)]
    gates, *state = (part.nbytes // NUMBER for part in parts)
    return gates, sum(state)


def _why_unknown(model: SequenceModel) -> str | None:
    """What a cell raised when it was asked for the size of its activations; None if it answered."""
    for layer in model.stack.cells():
        try:
            _asked(layer[0])
        except Exception as error:
            return in_a_line(error)
    return None


def _scores_kept(model: SequenceModel, task: Task, batch: Batch, sequences: int, *, arrays: int, rows: int) -> int:
    """Numbers in the scores of a batch that are in memory together: `arrays` for each, or `rows` in the engine."""
    scores, words = sequences * _scores(model, task, batch), task.spec.output_size
    is_plain = isinstance(model.head, AdaptiveHead) or isinstance(library(), str)
    on_cpu = next(model.parameters()).device.type == "cpu"
    if model.fused_loss and on_cpu and not is_plain and is_large(scores // words, words):
        return min(scores, rows * words)
    return arrays * scores


def _scores(model: SequenceModel, task: Task, batch: Batch) -> int:
    """Numbers that the head gives for one sequence; a cluster of rare words as often as the text needs it."""
    answers, symbols = 1, task.spec.output_size
    if model.every_step:
        answers = len(batch.inputs) if batch.scored is None else int(batch.scored.sum())
    if isinstance(model.head, AdaptiveHead):
        clusters, counts = model.head.clusters, task.counts or [0]
        rare = sum((high - low) * sum(counts[low:high]) for low, high in pairwise(clusters.cutoffs))
        symbols = clusters.head.out_features + rare // max(1, sum(counts))
    return answers * symbols


def check_model_memory(config: Config, spec: Spec) -> None:
    """Refuse a model that cannot be built here, before it is built.

    Raises
    ------
    ConfigError : the recurrent weights and the embedding alone do not fit, or its cell cannot be loaded.
    """
    widths, blocks = config.model.hidden_sizes(), max(1, len(getattr(cell_class(config), "gates", ())))
    recurrent = (1 + (config.model.direction == "bidirectional")) * blocks * sum(H * H for H in widths)
    embedding = spec.input_size * (resolved(config).model.embedding_size or 0) if spec.symbols else 0
    _check(config, Estimate(NUMBER * (2 + _kept_by_weight(config)) * (recurrent + embedding)), {})


def check_memory(
    config: Config, task: Task, model: SequenceModel, *, processes: int = 1, quiet: bool = False
) -> Estimate:
    """Refuse a run that cannot fit; returns what it needs. If the cell does not tell its part, a remark says so.

    Parameters
    ----------
    processes : that share each training batch; each needs what is returned.

    Raises
    ------
    ConfigError : naming the setting that asks for the most.
    """
    needs = estimate(config, task, model)
    train = config.train
    needs = needs._replace(activations=needs.activations // processes)
    trained, evaluated = task.trained_together(train.batch_size), task.evaluated_together(train.eval_batch_size)
    _check(config, needs, {"activations": trained, "evaluation": evaluated})
    if why := _why_unknown(model):
        lacking = f"lacks the activations of {config.model.cell.name}, which did not tell them ({why})"
        say(f"the estimate of memory is too small: it {lacking}", quiet=quiet)
    return needs


def _check(config: Config, needs: Estimate, together: Mapping[str, int]) -> None:
    """Refuse what does not fit, given the sequences that are together in a batch."""
    device = build_device(config)
    room, needed, part = available(device), _on_device(needs, device), _largest(needs)
    if room is None or needed <= room:
        return
    (words, setting), size, cure = PARTS[part], getattr(needs, part), "make it smaller"
    if part == "windows":
        cure = "switch it off, or make train.batch_size larger"
    if (batch := together.get(part)) is not None:
        fitting = batch * (room - needed + size) // size
        cure = f"{fitting:,} could fit" if fitting > 0 else "not even 1 would fit: shorten the sequences as well"
    raise ConfigError(
        f"{setting}: training needs at least {in_words(needed)} of memory, and {in_words(room)} are free here; "
        f"{in_words(size)} are {words}; {cure}"
    )


def check_together(config: Config, runs: Sequence[Estimate], jobs: int) -> None:
    """Refuse more runs at a time than fit together, each in a process of its own; the largest may run together.

    Raises
    ------
    ConfigError : naming the number that fits.
    """
    device = build_device(config)
    room, process = available(device), PROCESS if device.type == "cpu" else 0
    needed = [*accumulate(sorted((_on_device(run, device) + process for run in runs), reverse=True)[:jobs])]
    if room is None or needed[-1] <= room:
        return
    fitting = max(1, sum(size <= room for size in needed))
    setting = PARTS[_largest(max(runs, key=lambda run: _on_device(run, device)))][1]
    raise ConfigError(
        f"--jobs {jobs}: the largest {len(needed)} runs need at least {in_words(needed[-1])} of memory together, and "
        f"{in_words(room)} are free here; use --jobs {fitting}, which fits, or make {setting} smaller"
    )


def _on_device(needs: Estimate, device: torch.device) -> int:
    """Bytes on a device; the sets and the windows stay on the CPU."""
    return needs.peak if device.type == "cpu" else needs.peak - needs.sets - needs.windows


def _largest(needs: Estimate) -> str:
    """The part to change first."""
    return max(PARTS, key=lambda part: int(getattr(needs, part)))
