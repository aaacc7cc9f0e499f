"""Settings that are each allowed but make no sense together, so that no accepted option does nothing."""

from collections.abc import Iterator

from seqtrain.config.faults import Fault
from seqtrain.config.schema import (
    Adding,
    Config,
    Gated,
    LanguageModel,
    Lookaround,
    Sgd,
    Stories,
)
from seqtrain.shipped import PREFIX, text_path


def check_together(config: Config) -> Iterator[Fault]:
    """Every combination that cannot work or would be ignored."""
    yield from _task(config)
    yield from _model(config)
    yield from _training(config)


def _task(config: Config) -> Iterator[Fault]:
    task = config.task
    if isinstance(task, Adding) and task.variant == "hochreiter" and task.length < 22:
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
    if isinstance(task, LanguageModel):
        yield from _text(task)


def _text(task: LanguageModel) -> Iterator[Fault]:
    path = text_path(task.path)
    if task.path.startswith(PREFIX) and not path.exists():
        yield Fault(("task", "path"), f"is {task.path!r}, but the text that comes with seqtrain is {PREFIX}stories")
        return
    expected = [path / f"{split}.txt" for split in ("train", "valid", "test")] if path.is_dir() else [path]
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
            "valid.txt and test.txt",
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


def _model(config: Config) -> Iterator[Fault]:
    model, task = config.model, config.task
    cell = model.cell
    if isinstance(task, LanguageModel | Stories) and model.direction != "forward":
        yield Fault(
            ("model", "direction"),
            f"{model.direction!r} with task {task.name!r} would show the model the word it must predict; use 'forward'",
        )
    if model.merge is not None and model.direction != "bidirectional":
        yield Fault(
            ("model", "merge"),
            f"is {model.merge!r}, but there is nothing to merge with direction {model.direction!r}; "
            "remove it or use direction: bidirectional",
        )
    if model.dropout > 0 and model.depth == 1:
        yield Fault(
            ("model", "dropout"),
            f"is {model.dropout:g}, but dropout acts between layers and depth 1 has no between; "
            "use depth: 2 or more, or dropout: 0",
        )
    if model.embedding_size is not None and isinstance(task, Adding):
        yield Fault(
            ("model", "embedding_size"),
            f"is {model.embedding_size}, but the inputs of task {task.name!r} are numbers, not symbols; remove it",
        )
    if isinstance(cell, Gated) and cell.forget_bias is not None and cell.chrono is not None:
        yield Fault(
            ("model", "cell", "chrono"),
            f"is {cell.chrono} beside forget_bias {cell.forget_bias:g}, and both set the same bias; give one",
        )


def _training(config: Config) -> Iterator[Fault]:
    if config.train.stop_when_solved and isinstance(config.task, LanguageModel):
        yield Fault(
            ("train", "stop_when_solved"),
            "is true, but task 'language_model' has no rule for being solved; remove it, or use train.patience",
        )
    optimizer = config.optimizer
    if isinstance(optimizer, Sgd) and optimizer.nesterov and optimizer.momentum == 0:
        yield Fault(("optimizer", "nesterov"), "is true, but momentum is 0; set optimizer.momentum, e.g. 0.9")
