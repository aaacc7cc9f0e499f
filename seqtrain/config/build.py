"""From a config to objects. The only file that knows both."""

import importlib
import inspect
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seqtrain.cells import CELLS, Cell
from seqtrain.config import Config
from seqtrain.config.errors import choose
from seqtrain.config.schema import AdaptiveSoftmax, LanguageModel, Model, UserCell
from seqtrain.models import AdaptiveHead, Dropout, OneHot, SequenceModel, Stack, TiedHead, count_parameters
from seqtrain.recurrence import choose_unroll, unroll
from seqtrain.system.errors import ConfigError
from seqtrain.system.rng import lent_global_generator
from seqtrain.system.shipped import text_path
from seqtrain.tasks import TASKS, Spec, Task
from seqtrain.tasks import LanguageModel as LanguageModelTask
from seqtrain.tasks.text import Vocabulary
from seqtrain.training.schedules import Schedule


def build_device(config: Config) -> torch.device:
    """The device to compute on.

    Raises
    ------
    ConfigError : this machine does not have it.
    """
    device = torch.device(config.device)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device is {config.device!r}, but PyTorch finds {torch.cuda.device_count()} CUDA devices here; "
            "use device: cpu"
        )
    return device


def build_task(config: Config, trained: dict[str, Any] | None = None, *, quiet: bool = False) -> Task:
    """The task.

    Parameters
    ----------
    trained : the checkpoint of a model for the task; on text, its vocabulary counts.
    quiet : no progress on stderr while a large text is read.

    Raises
    ------
    DataError : its text cannot be used.
    """
    options = config.task.model_dump(exclude={"name"})
    if isinstance(config.task, LanguageModel):
        known = Vocabulary(trained["vocabulary"], trained["counts"]) if trained else None
        options |= {"path": text_path(config.task.path), "vocabulary": known, "quiet": quiet}
    options["seed"] = config.seed
    return TASKS[config.task.name](**options)


def check_batch_size(config: Config, task: Task) -> None:
    """Refuse more columns than a text has tokens.

    Raises
    ------
    ConfigError : the training text is shorter than a batch is wide.
    """
    if isinstance(task, LanguageModelTask) and config.train.batch_size >= len(task.tokens["train"]):
        raise ConfigError(
            f"train.batch_size is {config.train.batch_size}, but the training text has {len(task.tokens['train'])} "
            "tokens and cannot be laid out in so many columns; make it smaller"
        )


def build_model(config: Config, spec: Spec) -> SequenceModel:
    """The model for a task of that spec, with the parameters that the config's seed gives.

    Raises
    ------
    ConfigError : a user's own cell cannot be loaded, or the engine does not serve the cell.
    """
    section, dropout = config.model, _dropout(config.model)
    model = assemble(config, spec)
    stack = model.stack
    if dropout.weight and any("w_h" not in dict(one.named_parameters()) for layer in stack.cells() for one in layer):
        raise ConfigError(f"model.weight_drop is {dropout.weight:g}, but cell {section.cell.name} has no w_h; use 0")
    if dropout.zoneout_memory and not _remembers_apart(stack.cells()[0][0]):
        raise ConfigError(
            f"model.zoneout_memory is {dropout.zoneout_memory:g}, but cell {section.cell.name} remembers in its output "
            "alone; use zoneout_hidden"
        )
    model = model.to(build_device(config))
    try:
        model.stack.loop = choose_unroll(config.engine, model.stack.as_run(model.stack.cells()[0][0]))
    except ValueError as error:
        raise ConfigError(f"engine is 'fused', but {error}; use engine: auto, or reference") from None
    return model


def assemble(config: Config, spec: Spec) -> SequenceModel:
    """The parts of a model, put together and initialised; with `torch.device("meta")` only their shapes.

    Raises
    ------
    ConfigError : a user's own cell cannot be loaded.
    """
    cell = cell_class(config)
    section = config.model
    options = section.cell.model_dump(exclude={"name", "folder"})
    dropout = _dropout(section)
    with lent_global_generator(config.seed, "init"):
        encoder, width = _encoder(config, spec)
        stack = Stack(
            lambda input_size, hidden_size: cell(input_size=input_size, hidden_size=hidden_size, **options),
            width,
            section.hidden_sizes(),
            direction=section.direction,
            merge=section.merge or "concat",
            dropout=dropout,
        )
        head = _head(config, spec, encoder, stack.output_size)
        model = SequenceModel(encoder, stack, head, every_step=spec.every_step, dropout=dropout)
        _initialise(model, section)
    return model


def parameters_of(config: Config, spec: Spec) -> int:
    """How many parameters the model has that `build_model` would build; nothing is allocated."""
    return count_parameters(outline(config, spec))


def weights_of(config: Config, spec: Spec) -> dict[str, Tensor]:
    """The weights of the model that `build_model` would build, without numbers in them; nothing is allocated."""
    return outline(config, spec).state_dict()


def outline(config: Config, spec: Spec) -> SequenceModel:
    """The model on torch's meta device, which has shapes and no numbers."""
    with torch.device("meta"):
        return assemble(config, spec)


def _remembers_apart(cell: Cell) -> bool:
    """Whether there is something in the state beside the output that zoneout can keep."""
    state = cell.initial_state(1)
    fields = zip(state._fields[1:], state[1:], strict=True)
    return any(part.is_floating_point() for field, part in fields if field not in cell.transient)


def _encoder(config: Config, spec: Spec) -> tuple[nn.Module, int]:
    """What turns a task's inputs into vectors, and their size."""
    section = config.model
    embedding_size = section.embedding_size or (section.hidden_sizes()[0] if spec.words else None)
    if not spec.symbols:
        return nn.Identity(), spec.input_size
    if embedding_size is None:
        return OneHot(spec.input_size), spec.input_size
    return nn.Embedding(spec.input_size, embedding_size), embedding_size


def _head(config: Config, spec: Spec, encoder: nn.Module, size: int) -> nn.Module:
    """What turns the stack's outputs, of that size, into scores."""
    softmax = config.model.softmax
    if config.model.tied:
        assert isinstance(encoder, nn.Embedding)
        return TiedHead(encoder, size)
    if not isinstance(softmax, AdaptiveSoftmax):
        return nn.Linear(size, spec.output_size)
    vocabulary = spec.output_size
    cutoffs = softmax.cutoffs or sorted({max(1, vocabulary // 16), max(1, vocabulary // 4)})
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


def _dropout(section: Model) -> Dropout:
    return Dropout(
        embedding=section.embedding_dropout,
        input=section.input_dropout,
        between=section.dropout,
        output=section.output_dropout,
        weight=section.weight_drop,
        zoneout_hidden=section.zoneout_hidden,
        zoneout_memory=section.zoneout_memory,
        locked=section.locked_dropout,
    )


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
    options = config.optimizer.model_dump(exclude={"name", "clip_norm"})
    options |= {"foreach": True} if config.optimizer.name == "rmsprop" else {"fused": True}
    if "betas" in options:
        options["betas"] = tuple(options["betas"])
    classes: dict[str, type[torch.optim.Optimizer]] = {
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "sgd": torch.optim.SGD,
        "rmsprop": torch.optim.RMSprop,
    }
    return classes[config.optimizer.name](model.parameters(), **options)


def kept_by_optimizer(config: Config) -> dict[str, Tensor | None]:
    """What the optimizer keeps for a parameter of shape `[1, 1]`, by name, as one step shows."""
    trial = nn.ParameterList([torch.zeros(1, 1)])
    optimizer = build_optimizer(config, trial)
    trial[0].grad = torch.zeros(1, 1)
    optimizer.step()
    return {name: part for state in optimizer.state_dict()["state"].values() for name, part in state.items()}


def total_steps(config: Config, task: Task) -> int:
    """Training steps of the whole run."""
    train = config.train
    return train.steps or (3000 if train.epochs is None else task.steps_in(train.epochs, train.batch_size))


def build_schedule(config: Config, steps: int) -> Schedule:
    """The learning-rate schedule of a run of so many steps."""
    return Schedule(steps=steps, **config.schedule.model_dump())


def cell_class(config: Config) -> type[Cell]:
    """The class of the config's cell; a user's own is imported (see `build_model`)."""
    section = config.model.cell
    return _user_cell(section) if isinstance(section, UserCell) else CELLS[section.name]


def _user_cell(section: UserCell) -> type[Cell]:
    """Import `module:Class` and check that it can be built as the config asks."""
    where = f"model.cell {section.name!r}"
    module_name, class_name = section.name.split(":")
    places = list(dict.fromkeys([section.folder or str(Path.cwd()), str(Path.cwd())]))
    sys.path[:0] = places
    try:
        importlib.invalidate_caches()
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name.split(".")[0] and error.name != module_name:
            raise ConfigError(f"{where}: importing {module_name} failed: {error}; install what it needs") from None
        raise ConfigError(
            f"{where}: there is no module {module_name} in {' or '.join(places)}; name the folder that holds "
            f"{module_name.split('.')[0]}.py: model.cell.folder=FOLDER, or put it on PYTHONPATH"
        ) from None
    except Exception as error:
        raise ConfigError(
            f"{where}: importing {module_name} failed: {type(error).__name__}: {error}; mend the module"
        ) from error
    finally:
        del sys.path[: len(places)]
    found = getattr(module, class_name, None)
    if not (inspect.isclass(found) and issubclass(found, Cell)):
        cells = [n for n, c in vars(module).items() if inspect.isclass(c) and issubclass(c, Cell) and c is not Cell]
        raise ConfigError(
            f"{where}: {module_name} has no class {class_name} derived from seqtrain.cells.Cell; "
            + (choose(class_name, cells) if cells else "derive your cell from it")
        )
    if inspect.isabstract(found):
        missing = ", ".join(sorted(found.__abstractmethods__))
        raise ConfigError(f"{where}: does not define {missing}; every cell needs project, step and initial_state")
    _check_options(where, found, section)
    return found


def _check_options(where: str, cell: type[Cell], section: UserCell) -> None:
    given = section.model_dump(exclude={"name", "folder"})
    signature = inspect.signature(cell)
    try:
        signature.bind(input_size=1, hidden_size=1, **given)
    except TypeError as error:
        options = [name for name in signature.parameters if name not in ("input_size", "hidden_size")]
        takes = f"its options are {', '.join(options)}" if options else "it has no options"
        raise ConfigError(f"{where}: {error}; {takes}, beside input_size and hidden_size") from None
    try:
        with lent_global_generator("trial"):
            outputs, state = unroll(cell(input_size=2, hidden_size=3, **given), torch.zeros(2, 1, 2))
    except Exception as error:
        told = f" with {', '.join(f'{name} {value!r}' for name, value in given.items())}" if given else ""
        raise ConfigError(
            f"{where}{told}: cannot take a step: {type(error).__name__}: {error}; mend the cell or its options"
        ) from error
    if outputs.shape != (2, 1, 3) or getattr(state, "_fields", ("",))[0] != "hidden":
        raise ConfigError(
            f"{where}: its state must be a NamedTuple whose first field is hidden, [B, H]; with B 1 and H 3 its "
            f"outputs over 2 steps are {list(outputs.shape)}"
        )
