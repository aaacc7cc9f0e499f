"""From a config to objects. The only file that knows both."""

import inspect
import os

import torch
from pydantic import JsonValue
from torch import Tensor, nn

from seqtrain.cells import CELLS, Cell
from seqtrain.config import Config
from seqtrain.config.plugins import blamed, blamed_on, declared, user_classes, with_section
from seqtrain.config.resolve import resolved
from seqtrain.config.schema import UserTask
from seqtrain.config.task_trial import tried
from seqtrain.models import AdaptiveHead, OneHot, SequenceModel, Stack, TiedHead, count_parameters
from seqtrain.models.head import AdaptiveSoftmax, Linear
from seqtrain.models.layout import faults_of_weights, make_contiguous
from seqtrain.models.settings import Model
from seqtrain.native.storage import has_pairs, why_no_gain
from seqtrain.recurrence import choose_loop
from seqtrain.system.errors import ConfigError
from seqtrain.system.rng import seeded_global_generator
from seqtrain.system.runtime import prepare_gpu, why_no_device
from seqtrain.system.settings import UserClass
from seqtrain.tasks import TASKS, LanguageModel, Spec, Task
from seqtrain.tasks.text.vocabulary import Vocabulary
from seqtrain.training.recipe import Recipe


def build_device(config: Config) -> torch.device:
    """The device to compute on.

    Raises
    ------
    ConfigError : this machine does not have it.
    """
    if (why_not := why_no_device(config.device)) is not None:
        raise ConfigError(f"device is {config.device!r}, but {why_not}; use device: cpu")
    device = torch.device(config.device)
    if device.type == "cuda":
        prepare_gpu()
    return device


def check_precision(config: Config) -> str | None:
    """A remark if the config's precision gains nothing on this machine.

    Raises
    ------
    ConfigError : it would train in bfloat16 without a processor for it.
    """
    if config.precision == "float32":
        return None
    if build_device(config).type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return None
        raise ConfigError("precision is 'bfloat16', but this GPU does not compute in it; use precision: float32")
    reason = why_no_gain()
    if reason is None:
        return None
    wish = os.environ.get("SEQTRAIN_BFLOAT16", "")
    if wish not in ("", "emulated"):
        raise ConfigError(f"SEQTRAIN_BFLOAT16 is {wish!r}; set it to emulated, or leave it out")
    if not has_pairs() and not wish:
        raise ConfigError(
            f"precision is 'bfloat16', but {reason}, so it is no faster than float32; use precision: float32, or set "
            "SEQTRAIN_BFLOAT16=emulated, which rounds in the same way at the speed of float32"
        )
    return f"precision: {reason}; so factors are rounded to bfloat16 and multiplied in float32, at the speed of float32"


def build_task(
    config: Config,
    vocabulary: Vocabulary | None = None,
    *,
    fitted: dict[str, JsonValue] | None = None,
    quiet: bool = False,
) -> Task:
    """The task.

    Parameters
    ----------
    vocabulary : of a trained model for the task, if that is on text; by default that of the training text.
    fitted : what the task of a trained model measured on its training data; by default it is measured now.
    quiet : no progress on stderr while a large text is read.

    Raises
    ------
    DataError : its data cannot be used.
    ConfigError : a user's own task cannot be used.
    """
    config = resolved(with_section(config, declared(config.task)) if isinstance(config.task, UserTask) else config)
    cls = task_class(config)
    given = {"seed": config.seed, "quiet": quiet, "known": vocabulary, "fitted": fitted}
    taken = inspect.signature(cls).parameters
    own = {name: given[name] for name in cls.given if name in given and name in taken}

    def build() -> Task:
        return cls(**config.task.options(), **own)

    return tried(build, config) if isinstance(config.task, UserTask) else build()


def check_batch_size(config: Config, task: Task) -> None:
    """Refuse more columns than a text has tokens.

    Raises
    ------
    ConfigError : the training text is shorter than a batch is wide.
    """
    if not isinstance(task, LanguageModel) or task.sentences == "independent":
        return
    if config.train.batch_size >= len(task.tokens["train"]):
        raise ConfigError(
            f"train.batch_size is {config.train.batch_size}, but the training text has {len(task.tokens['train'])} "
            "tokens and cannot be laid out in so many columns; make it smaller"
        )


def check_shards(config: Config, task: Task) -> None:
    """Refuse shards of unequal sizes where their states are carried on.

    Raises
    ------
    ConfigError : a short text has fewer columns than `train.batch_size`, and the shards do not divide them.
    """
    shards, columns = config.train.shards, task.trained_together(config.train.batch_size)
    if task.carries_state and columns % shards:
        raise ConfigError(
            f"train.shards is {shards}, which does not divide the {columns} columns that the training text has; use a "
            f"train.batch_size of at most {columns} that is a multiple of train.shards"
        )


def build_model(config: Config, spec: Spec) -> SequenceModel:
    """The model for a task of that spec, with the parameters that the config's seed gives.

    Raises
    ------
    ConfigError : a user's own cell cannot be loaded, or the engine does not serve the cell.
    """
    section = config.model
    model = assemble(config, spec, cell_class(config))
    stack = model.stack
    cells = [cell for layer in stack.cells() for cell in layer]
    if section.weight_drop and any("w_h" not in dict(cell.named_parameters()) for cell in cells):
        raise ConfigError(
            f"model.weight_drop is {section.weight_drop:g}, but cell {section.cell.name} has no w_h; use 0"
        )
    if section.zoneout_memory and not _remembers_apart(cells[0]):
        raise ConfigError(
            f"model.zoneout_memory is {section.zoneout_memory:g}, but cell {section.cell.name} remembers in its output "
            "alone; use zoneout_hidden"
        )
    if config.train.shards > 1 and next(stack.buffers(), None) is not None:
        raise ConfigError(
            f"train.shards is {config.train.shards}, but cell {section.cell.name} has buffers, which processes would "
            "change each in its own way; use 1"
        )
    if section.cell in user_classes(config):
        faults = [*faults_of_weights(model)] or [*make_contiguous(model)]
        if faults:
            raise ConfigError([f"{blamed(section.cell)}: {fault}" for fault in faults])
    model = model.to(build_device(config))
    try:
        with model.products():
            model.stack.loop = choose_loop(config.engine, model.stack.as_run(model.stack.cells()[0][0]))
    except ValueError as error:
        raise ConfigError(f"engine is 'fused', but {error}; use engine: auto, or reference") from None
    model.fused_loss = config.engine != "reference"
    return model


def assemble(config: Config, spec: Spec, cell: type[Cell]) -> SequenceModel:
    """The parts of a model, put together and initialised; with `torch.device("meta")` only their shapes."""
    config = resolved(config)
    section = config.model
    options = section.cell.options()
    with blamed_on(section.cell), seeded_global_generator(config.seed, "init"):
        encoder, width = _encoder(config, spec)
        stack = Stack(
            lambda input_size, hidden_size: cell(input_size=input_size, hidden_size=hidden_size, **options),
            width,
            section.hidden_sizes(),
            direction=section.direction,
            merge=section.merge,
            dropout=section,
        )
        head = _head(config, spec, encoder, stack.output_size)
        model = SequenceModel(encoder, stack, head, every_step=spec.every_step, dropout=section)
        model.precision = config.precision
        _initialise(model, section)
    return model


def parameters_of(config: Config, spec: Spec) -> int:
    """How many parameters the model has that `build_model` would build; nothing is allocated."""
    return count_parameters(outline(config, spec))


def weights_of(config: Config, spec: Spec) -> dict[str, Tensor]:
    """The weights of the model that `build_model` would build, without numbers in them; nothing is allocated."""
    return outline(config, spec).state_dict()


def outline(config: Config, spec: Spec) -> SequenceModel:
    """The model on torch's meta device, which has shapes and no numbers; with numbers if a user's cell needs them."""
    cell = cell_class(config)  # not on that device: this imports the module of a user's cell
    try:
        with torch.device("meta"):
            return assemble(config, spec, cell)
    except Exception:
        if cell in CELLS.values():
            raise
        return assemble(config, spec, cell)


def _remembers_apart(cell: Cell) -> bool:
    """Whether there is something in the state beside the output that zoneout can keep."""
    state = cell.initial_state(1)
    fields = zip(state._fields[1:], state[1:], strict=True)
    return any(part.is_floating_point() for field, part in fields if field not in cell.transient)


def _encoder(config: Config, spec: Spec) -> tuple[nn.Module, int]:
    """What turns a task's inputs into vectors, and their size."""
    section = config.model
    if not spec.symbols:
        return nn.Identity(), spec.input_size
    if section.embedding_size is None:
        return OneHot(spec.input_size), spec.input_size
    return _embedding(spec.input_size, section.embedding_size), section.embedding_size


def _embedding(symbols: int, size: int) -> nn.Embedding:
    """An embedding, initialised unless it is on the meta device: PyTorch loads its compiler to draw numbers there."""
    weight = torch.empty(symbols, size)
    return nn.Embedding(symbols, size, _weight=weight if weight.is_meta else None)


def _head(config: Config, spec: Spec, encoder: nn.Module, size: int) -> nn.Module:
    """What turns the stack's outputs, of that size, into scores."""
    softmax = config.model.softmax
    if config.model.tied:
        assert isinstance(encoder, nn.Embedding)
        return TiedHead(encoder, size)
    if not isinstance(softmax, AdaptiveSoftmax):
        return Linear(size, spec.output_size)
    vocabulary = spec.output_size
    cutoffs = softmax.cutoffs_for(vocabulary)
    if cutoffs[-1] >= vocabulary:
        raise ConfigError(
            f"model.softmax.cutoffs are {cutoffs}, but the vocabulary has {vocabulary} words; all must be below that"
        )
    if size // softmax.shrink ** len(cutoffs) < 1:
        raise ConfigError(
            f"model.softmax.shrink {softmax.shrink:g} leaves the last of {len(cutoffs)} clusters nothing of "
            f"{size} features; make it smaller"
        )
    return AdaptiveHead(size, vocabulary, cutoffs, softmax.shrink)


@torch.no_grad()
def _initialise(model: SequenceModel, section: Model) -> None:
    """Start over with the ranges that the config names."""
    if section.init_range is not None:
        for name, parameter in model.named_parameters():
            if not name.rpartition(".")[2].startswith("initial_"):
                parameter.uniform_(-section.init_range, section.init_range)
    if section.embedding_range is None:
        return
    for name, parameter in (*model.encoder.named_parameters(), *model.head.named_parameters()):
        if name.endswith("bias"):
            parameter.zero_()
        else:
            parameter.uniform_(-section.embedding_range, section.embedding_range)


def build_optimizer(config: Config, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer over all parameters of a model, in torch's fastest form of it."""
    return config.optimizer.build(model.parameters())


def kept_by_optimizer(config: Config) -> dict[str, Tensor | None]:
    """What the optimizer keeps for a parameter of shape `[1, 1]`, by name, as one step shows."""
    trial = nn.ParameterList([torch.zeros(1, 1)])
    optimizer = build_optimizer(config, trial)
    trial[0].grad = torch.zeros(1, 1)
    optimizer.step()
    return {name: part for state in optimizer.state_dict()["state"].values() for name, part in state.items()}


def total_steps(config: Config, task: Task) -> int:
    """Training steps of the whole run."""
    train = resolved(config).train
    if train.epochs is not None:
        return task.steps_in(train.epochs, train.batch_size)
    assert train.steps is not None  # it is resolved
    return train.steps


def build_recipe(config: Config, task: Task) -> Recipe:
    """How the config says to train."""
    config, optimizer = resolved(config), config.optimizer
    steps = total_steps(config, task)
    return Recipe(task, config.train, config.schedule, optimizer.lr, optimizer.clip_norm, config.seed, steps)


def cell_class(config: Config) -> type[Cell]:
    """The class of the config's cell; a user's own is imported (see `build_model`)."""
    section = config.model.cell
    if not isinstance(section, UserClass):
        return CELLS[section.name]
    cell: type[Cell] = (section if section.owner else declared(section)).owner  # type: ignore[assignment]
    return cell


def task_class(config: Config) -> type[Task]:
    """The class of the config's task; a user's own is imported."""
    section = config.task
    if not isinstance(section, UserClass):
        return TASKS[section.name]
    task: type[Task] = (section if section.owner else declared(section)).owner  # type: ignore[assignment]
    return task
