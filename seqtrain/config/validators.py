"""Settings that are each allowed but make no sense together, so that no accepted option does nothing.

What concerns one section alone is checked by the section itself (`faults`); here are the checks across sections.
"""

from collections.abc import Iterator
from typing import Any

from seqtrain.config.document import Path_
from seqtrain.config.errors import Fault
from seqtrain.config.schema import Config
from seqtrain.models.settings import Model
from seqtrain.system.settings import Named, Section, UserClass, beyond_float32
from seqtrain.tasks import Task
from seqtrain.training.settings import Train


def check_together(config: Config, *, task_is_known: bool = True) -> Iterator[Fault]:
    """Every combination that cannot work or would be ignored; without those of the task if that is not known."""
    if task_is_known and (task := config.task.owner) is not None:  # None: a user's, and not imported yet
        yield from (Fault(("task", name), message) for name, message in config.task.faults())
        yield from _direction(config.model, task, config.task)
        yield from _symbols(config.model, task)
        yield from _epochs(config, task)
    yield from (Fault(("model", *place), message) for place, message in config.model.faults())
    for path in ("optimizer", "schedule"):
        yield from (Fault((path, name), message) for name, message in getattr(config, path).faults())
    yield from _skips(config.train)
    yield from _shards(config.train)
    yield from _numbers(config, ())


def _direction(model: Model, task: type[Task], settings: Named) -> Iterator[Fault]:
    """A backward direction where it would show the answer."""
    if model.direction != "forward" and (why_not := task.why_forward_only(settings)):
        yield Fault(("model", "direction"), f"{model.direction!r} with task {task.name!r} {why_not}; use 'forward'")


def _symbols(model: Model, task: type[Task]) -> Iterator[Fault]:
    """Settings for symbols and words on a task that has none."""
    numbers = f"but the inputs of task {task.name!r} are numbers, not symbols; remove it"
    for name in ("embedding_size", "embedding_dropout") if not task.symbolic else ():
        if value := getattr(model, name):
            yield Fault(("model", name), f"is {value:g}, {numbers}")
    is_one_hot = task.symbolic and not (task.words or task.embedded) and model.embedding_size is None
    if is_one_hot and model.embedding_dropout:
        yield Fault(
            ("model", "embedding_dropout"),
            f"is {model.embedding_dropout:g}, but symbols enter one-hot; set embedding_size, or remove it",
        )
    if model.tied and not task.words:
        yield Fault(("model", "tied"), f"is true, but task {task.name!r} predicts no words; remove it")
    if model.softmax.name == "adaptive" and not task.ranked:
        yield Fault(
            ("model", "softmax"),
            f"is 'adaptive', but the classes of task {task.name!r} are few and in no order of frequency; use 'full'",
        )


def _epochs(config: Config, task: type[Task]) -> Iterator[Fault]:
    """Epochs where there are none, and a rule for being solved where there is none."""
    train = config.train
    no_epochs = f"but task {task.name!r} draws its sequences anew and has no epochs"
    if train.stop_when_solved and not task.solvable:
        yield Fault(
            ("train", "stop_when_solved"),
            f"is true, but task {task.name!r} has no rule for being solved; remove it, or use train.patience",
        )
    if train.epochs is not None and not task.has_epochs:
        yield Fault(("train", "epochs"), f"is {train.epochs}, {no_epochs}; set train.steps")
    elif train.epochs is not None and train.steps is not None:
        yield Fault(
            ("train", "epochs"),
            f"is {train.epochs} beside steps {train.steps}; give one, and the other as null (train.epochs=null or "
            "train.steps=null)",
        )
    if not task.has_epochs and (name := config.schedule.counted_in_epochs()):
        yield Fault(("schedule", name), f"is not set and means an epoch, {no_epochs}; give it in steps")


def _numbers(value: Any, path: Path_) -> Iterator[Fault]:
    """Numbers that float32 does not hold. The options of a user's own class are its own, as it may compute in another
    precision; its trial shows whether it takes them."""
    if isinstance(value, float) and (message := beyond_float32(value)):
        yield Fault(path, message)
    elif isinstance(value, Section) and not isinstance(value, UserClass):
        for name, part in value:
            yield from _numbers(part, (*path, name))
    elif isinstance(value, list):
        for place, part in enumerate(value):
            yield from _numbers(part, (*path, str(place)))


def _shards(train: Train) -> Iterator[Fault]:
    """Shards of unequal sizes."""
    if train.batch_size % train.shards:
        yield Fault(
            ("train", "shards"),
            f"is {train.shards}, which does not divide batch_size {train.batch_size}; use a batch_size that is a "
            "multiple of it",
        )


def _skips(train: Train) -> Iterator[Fault]:
    """A number of skips where no step is skipped."""
    if train.max_skips is not None and train.on_divergence == "stop":
        yield Fault(
            ("train", "max_skips"),
            f"is {train.max_skips}, but on_divergence is 'stop', so no step is skipped; remove it, or use "
            "on_divergence: skip",
        )
