"""A task's own settings together, and what they ask of the rest of a config."""

from collections.abc import Iterator

from seqtrain.config.errors import Fault
from seqtrain.config.parse import short
from seqtrain.config.schema import (
    AdaptiveSoftmax,
    Adding,
    Brackets,
    BuiltInTask,
    Config,
    Counting,
    EmbeddedReber,
    LanguageModel,
    Lookaround,
    Multiplication,
    Recall,
    SelectiveCopy,
    StepDecay,
    Stories,
    Timing,
    TwoSequence,
)
from seqtrain.system.files import split_file
from seqtrain.system.shipped import PREFIX, text_path


def check_task(config: Config) -> Iterator[Fault]:
    """Every combination of settings that cannot work, or would be ignored, because of the task."""
    yield from _task(config.task)
    yield from _direction(config)
    yield from _words(config)
    yield from _epochs(config)


def _task(task: BuiltInTask) -> Iterator[Fault]:
    if isinstance(task, Adding | Multiplication) and task.variant == "hochreiter" and task.length < 22:
        yield Fault(
            ("task", "length"),
            f"is {task.length}; variant 'hochreiter' places marks in the first 10 and the first T/2 - 1 steps "
            "and needs at least 22",
        )
    if isinstance(task, Lookaround) and task.length <= 2 * task.offset:
        yield Fault(
            ("task", "length"),
            f"is {task.length}; with offset {task.offset} it must be more than {2 * task.offset}",
        )
    if isinstance(task, SelectiveCopy) and task.letters > task.length:
        yield Fault(
            ("task", "letters"),
            f"is {task.letters}, but they must find a place in {task.length} steps; use fewer, or a larger length",
        )
    if isinstance(task, Recall) and task.pairs > task.keys:
        yield Fault(
            ("task", "pairs"),
            f"is {task.pairs}, but no key comes twice and there are {task.keys}; use fewer pairs, or more keys",
        )
    if isinstance(task, TwoSequence) and task.signal >= task.length:
        yield Fault(
            ("task", "signal"), f"is {task.signal}; noise must follow it, so it must be below length {task.length}"
        )
    if isinstance(task, Counting) and task.limit < 2 * task.train_limit:
        yield Fault(
            ("task", "limit"),
            f"is {task.limit}; with train_limit {task.train_limit} it must be at least {2 * task.train_limit}, "
            "as solved means to twice the n of training",
        )
    if isinstance(task, Brackets):
        yield from _brackets(task)
    if isinstance(task, Timing) and task.spikes <= task.train_spikes:
        yield Fault(
            ("task", "spikes"),
            f"is {task.spikes}; the evaluated sequence goes beyond training, so it must be more than train_spikes "
            f"{task.train_spikes}",
        )
    if isinstance(task, LanguageModel):
        yield from _text(task)


def _brackets(task: Brackets) -> Iterator[Fault]:
    """What is evaluated must go beyond what is trained, and come back."""
    if task.train_depth > task.train_length:
        yield Fault(
            ("task", "train_depth"),
            f"is {task.train_depth}, but in train_length {task.train_length} no more than {task.train_length} brackets "
            "can be opened; make it smaller",
        )
    if task.depth <= task.train_depth:
        yield Fault(
            ("task", "depth"),
            f"is {task.depth}; the fixed sets go deeper than training, so it must be more than train_depth "
            f"{task.train_depth}",
        )
    if task.length <= task.train_length + task.depth:
        yield Fault(
            ("task", "length"),
            f"is {task.length}; for every string to close a bracket behind the trained length it must be more than "
            f"train_length + depth, {task.train_length + task.depth}",
        )


def _text(task: LanguageModel) -> Iterator[Fault]:
    try:
        path = text_path(task.path)
        path.exists()
    except (OSError, RuntimeError) as error:  # a name that is too long, a home of nobody
        told = error.strerror if isinstance(error, OSError) else str(error)
        yield Fault(("task", "path"), f"is {short(task.path)}, which cannot be looked for ({told}); give another path")
        return
    if task.path.startswith(PREFIX) and not path.exists():
        yield Fault(("task", "path"), f"is {task.path!r}, but the text that comes with seqtrain is {PREFIX}stories")
        return
    expected = [split_file(path, split) for split in ("train", "valid", "test")] if path.is_dir() else [path]
    missing = [file.name if path.is_dir() else str(path.absolute()) for file in expected if not file.exists()]
    if missing and path.is_dir():
        yield Fault(
            ("task", "path"),
            f"is the folder {task.path}, which lacks {', '.join(missing)}; add what is missing",
        )
    elif missing:
        yield Fault(
            ("task", "path"),
            f"is {task.path!r}, but there is no {missing[0]}; give a text file, or a folder with train.txt, "
            f"valid.txt and test.txt{_WHERE_TO_FIND.get(path.name, '')}",
        )
    if task.vary_window and task.window < 10:
        yield Fault(
            ("task", "window"),
            f"is {task.window}; with vary_window, which draws no less than 5, it must be at least 10",
        )
    if task.fractions is not None:
        if path.is_dir():
            yield Fault(
                ("task", "fractions"),
                f"cut a single file, but task.path {task.path} is a folder with its own train, valid and test; "
                "remove fractions",
            )
        if abs(sum(task.fractions) - 1) > 1e-6:
            yield Fault(
                ("task", "fractions"),
                f"add up to {sum(task.fractions):g}; they must add up to 1",
            )


_WHERE_TO_FIND = {
    "ptb": "; the Penn Treebank as language models use it is data/ptb.*.txt in simple-examples.tgz by T. Mikolov, "
    "http://www.fit.vutbr.cz/~imikolov/rnnlm/simple-examples.tgz",
}
"""Of the texts that shipped configs ask for and that may not be shipped."""


def _direction(config: Config) -> Iterator[Fault]:
    """What goes through a sequence backward would see what it must predict."""
    task, direction = config.task, config.model.direction
    if direction == "forward":
        return
    if isinstance(task, LanguageModel | Stories):
        seen = "would show the model the word it must predict"
    elif isinstance(task, EmbeddedReber | Counting | Brackets):
        seen = "would show the model the symbols that come next"
    elif isinstance(task, Timing):
        seen = "would let the model count from the end"
    else:
        return
    yield Fault(("model", "direction"), f"{direction!r} with task {task.name!r} {seen}; use 'forward'")


def _words(config: Config) -> Iterator[Fault]:
    """Settings for symbols and words on a task that has none."""
    model, task = config.model, config.task
    words = isinstance(task, LanguageModel | Stories)
    numbers = f"but the inputs of task {task.name!r} are numbers, not symbols; remove it"
    if model.embedding_size is not None and isinstance(task, Adding | Multiplication | TwoSequence | Timing):
        yield Fault(("model", "embedding_size"), f"is {model.embedding_size}, {numbers}")
    if model.embedding_dropout and isinstance(task, Adding | Multiplication | TwoSequence | Timing):
        yield Fault(("model", "embedding_dropout"), f"is {model.embedding_dropout:g}, {numbers}")
    elif model.embedding_dropout and not words and model.embedding_size is None:
        yield Fault(
            ("model", "embedding_dropout"),
            f"is {model.embedding_dropout:g}, but symbols enter one-hot; set embedding_size, or remove it",
        )
    if model.tied and not words:
        yield Fault(("model", "tied"), f"is true, but task {task.name!r} predicts no words; remove it")
    if isinstance(model.softmax, AdaptiveSoftmax) and not isinstance(task, LanguageModel):
        yield Fault(
            ("model", "softmax"),
            f"is 'adaptive', but the classes of task {task.name!r} are few and in no order of frequency; use 'full'",
        )


def _epochs(config: Config) -> Iterator[Fault]:
    """A text has epochs and no rule for being solved; the other tasks, the other way round."""
    task, train, schedule = config.task, config.train, config.schedule
    text = isinstance(task, LanguageModel)
    none = f"but task {task.name!r} draws its sequences anew and has no epochs"
    if train.stop_when_solved and text:
        yield Fault(
            ("train", "stop_when_solved"),
            "is true, but task 'language_model' has no rule for being solved; remove it, or use train.patience",
        )
    if train.epochs is not None and not text:
        yield Fault(("train", "epochs"), f"is {train.epochs}, {none}; set train.steps")
    elif train.epochs is not None and train.steps is not None:
        yield Fault(
            ("train", "epochs"),
            f"is {train.epochs} beside steps {train.steps}; give one, and the other as null (train.epochs=null or "
            "train.steps=null)",
        )
    if isinstance(schedule, StepDecay) and schedule.every is None and not text:
        yield Fault(("schedule", "every"), f"is not set and means an epoch, {none}; give it in steps")
