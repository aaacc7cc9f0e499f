"""Try a user's own cell before the first step of a run: train, evaluate, save, and read back what was saved.

What can be trained can be saved, resumed and evaluated; what cannot is refused here, not after hours.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from seqtrain.cells import Cell
from seqtrain.config import Config, to_yaml
from seqtrain.config.build import build_model, build_optimizer, build_recipe, kept_by_optimizer
from seqtrain.config.plugins import blamed, blamed_on, cannot, in_a_line, kind_of, user_classes
from seqtrain.config.yaml import LARGEST, parse
from seqtrain.models import SequenceModel
from seqtrain.recurrence import unroll_reference
from seqtrain.runs.checkpoint import Checkpoint, decoded, encoded, header_of
from seqtrain.runs.memory_estimate import Estimate, check_memory
from seqtrain.runs.resume import check_training
from seqtrain.system.errors import CheckpointError, ConfigError, Diverged, SeqtrainError
from seqtrain.system.progress import say
from seqtrain.system.rng import seeded_global_generator
from seqtrain.system.settings import UserClass
from seqtrain.tasks import Task
from seqtrain.training.averaging import averaged
from seqtrain.training.gradient import device_of
from seqtrain.training.state import TrainState
from seqtrain.training.step import train_step

CURE = "correct the cell, or choose another"


def model_to_train(config: Config, task: Task, *, processes: int = 1, quiet: bool) -> tuple[SequenceModel, Estimate]:
    """A new model and the memory that its training needs; a user's own cell is tried in another one first.

    Raises
    ------
    ConfigError : it does not fit into memory, or it cannot be trained, saved, read and evaluated.
    """
    model = build_model(config, task.spec)
    needed = check_memory(config, task, model, processes=processes, quiet=quiet)
    for own in user_classes(config):
        _check_options(config, own)
    if isinstance(section := config.model.cell, UserClass):
        with seeded_global_generator("trial"):
            saved = _rehearsed(config, task, model, section, quiet=quiet)
        del model  # the next one needs its memory
        model = build_model(config, task.spec)
        columns = task.trained_together(config.train.batch_size)
        try:
            check_training(saved, model, columns, kept_by_optimizer(config))
        except CheckpointError as error:
            raise ConfigError(
                f"{blamed(section)}: what two training steps save does not fit a new model: {error}; make all weights "
                "and buffers when the cell is made, and keep the shapes and types of initial_state"
            ) from None
    return model, needed


def _check_options(config: Config, section: UserClass) -> None:
    """Refuse options that `config.yaml` cannot hold."""
    try:
        text = to_yaml(config)
        holds = len(text.encode()) <= LARGEST and parse(text, "config.yaml")[1] == config.model_dump(mode="json")
        why = "it is too large, or changes when it is read"
    except (ValueError, RecursionError, SeqtrainError) as error:
        holds, why = False, str(error)
    if not holds:
        raise ConfigError(
            f"{blamed(section, options=False)}: its options cannot be written to config.yaml and read back ({why}); "
            f"use shorter ones, or read long ones from a file in the {kind_of(section)}"
        )


def _rehearsed(config: Config, task: Task, model: SequenceModel, section: UserClass, *, quiet: bool) -> Checkpoint:
    """What is saved after two training steps with an evaluation behind each, as it is read back."""
    odd = None
    try:
        _check_steps(model, section)
    except SeqtrainError:
        raise
    except (Exception, SystemExit) as error:
        odd = error
    state = TrainState(model, build_optimizer(config, model))
    size = task.trained_together(config.train.batch_size)
    try:
        with blamed_on(section, f"take a training step with {size} sequences"):
            changing = _train_two_steps(state, config, task)
    except (ConfigError, SystemExit):
        if odd is None:
            raise
        raise cannot(section, "take a step", odd) from odd  # the smaller example says more
    if odd is not None:
        say(
            f"{blamed(section)}: cannot take 2 steps with 2 sequences ({in_a_line(odd)}); it was tried with {size} "
            "sequences of the task instead",
            quiet=quiet,
        )
    if changing:
        say(
            f"{blamed(section)}: training changes {', '.join(changing)}, which a checkpoint does not hold "
            "(persistent=False); --resume and eval start from its first value",
            quiet=quiet,
        )
    with blamed_on(section, "be saved and read back"):
        return _read_back(state, config, task, section)


def _check_steps(model: SequenceModel, section: UserClass) -> None:
    """Refuse cells whose state has another form than a cell's."""
    T, B = 2, 2
    for cell in _different(model):
        x = torch.zeros(T, B, cell.input_size, device=device_of(model))
        outputs, state = unroll_reference(cell, x)
        H = cell.hidden_size
        if outputs.shape != (T, B, H) or getattr(state, "_fields", ("",))[0] != "hidden":
            raise ConfigError(
                f"{blamed(section)}: its state must be a NamedTuple whose first field is hidden, [B, H]; with B {B} "
                f"and H {H} its outputs over {T} steps are {list(outputs.shape)}"
            )
        if outputs.dtype != x.dtype:
            raise ConfigError(
                f"{blamed(section)}: its outputs are {_name(outputs)}, the next layer needs {_name(x)}; return "
                f"hidden.to(torch.{_name(x)}) from step"
            )


def _name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _different(model: SequenceModel) -> Iterator[Cell]:
    """The cells of a model, one of each size."""
    yield from {(cell.input_size, cell.hidden_size): cell for layer in model.stack.cells() for cell in layer}.values()


def _train_two_steps(state: TrainState, config: Config, task: Task) -> list[str]:
    """Train and evaluate twice; returns the names of the buffers that change and are in no checkpoint."""
    model, recipe = state.model, build_recipe(config, task)
    if config.train.average_after is not None:
        state.average = averaged(model)
    before: dict[str, Tensor] = {}
    changing: list[str] = []
    for number in range(2):
        try:
            train_step(state, recipe, task.train_batch(number, config.train.batch_size))
        except Diverged:  # the run itself will say so
            break
        except Exception:
            for name, weight in model.named_parameters():
                if weight.grad is not None and weight.grad.layout != torch.strided:
                    raise ValueError(f"the gradient of {name} is sparse; make it with sparse=False") from None
            raise
        _evaluate_a_batch(state.evaluated, task, recipe.eval_batch_size)
        unsaved = _unsaved(model)
        changing = [name for name, old in before.items() if name in unsaved and not torch.equal(old, unsaved[name])]
        before = {name: buffer.clone() for name, buffer in unsaved.items()}
    return changing


def _evaluate_a_batch(model: SequenceModel, task: Task, size: int) -> None:
    """As `evaluate` does."""
    model.eval()
    batch = next(iter(task.eval_batches("valid", size))).to(device_of(model))
    with torch.no_grad():
        prediction, _ = model.predict(batch.inputs, batch.lengths)
        task.loss(prediction, batch)
        task.measure(prediction, batch)


def _unsaved(model: SequenceModel) -> dict[str, Tensor]:
    """The dense buffers that are not in a checkpoint."""
    saved = model.state_dict(keep_vars=True)
    return {name: one for name, one in model.named_buffers() if name not in saved and one.layout == torch.strided}


def _read_back(state: TrainState, config: Config, task: Task, section: UserClass) -> Checkpoint:
    """Save and read a training state in memory."""

    def content() -> bytes:
        values = {"step": state.step, "training": state.record()}
        header = header_of(config, task).model_copy(update=values)
        return encoded(Checkpoint(header, state.evaluated.state_dict(), state.tensors()))

    try:
        before = content()
        saved = decoded(before)
        assert saved.header.training is not None
        state.restore(state.step, saved.header.training, saved.weights, saved.training)
        same = content() == before
    except CheckpointError as error:
        raise ConfigError(f"{blamed(section)}: cannot be saved and read back: {error}; {CURE}") from None
    if not same:
        raise ConfigError(
            f"{blamed(section)}: has other values after it was saved and read back; load_state_dict and "
            "set_extra_state must restore what was saved"
        )
    return saved
