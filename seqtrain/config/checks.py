"""Settings that are each allowed but make no sense together, so that no accepted option does nothing."""

from collections.abc import Iterator
from itertools import pairwise

from seqtrain.config.faults import Fault
from seqtrain.config.parse import short
from seqtrain.config.schema import (
    AdaptiveSoftmax,
    Adding,
    Brackets,
    Config,
    Counting,
    EmbeddedReber,
    Gated,
    Gru,
    LanguageModel,
    Lookaround,
    Model,
    Multiplication,
    Odyssey,
    Recall,
    Rnn,
    SelectiveCopy,
    Sgd,
    StepDecay,
    Stories,
    Timing,
    TwoSequence,
    UserCell,
)
from seqtrain.files import split_file
from seqtrain.shipped import PREFIX, text_path

WHERE_TO_FIND = {
    "ptb": "; the Penn Treebank as language models use it is data/ptb.*.txt in simple-examples.tgz by T. Mikolov, "
    "http://www.fit.vutbr.cz/~imikolov/rnnlm/simple-examples.tgz",
}
"""Of the texts that shipped configs ask for and that may not be shipped."""


def check_together(config: Config) -> Iterator[Fault]:
    """Every combination that cannot work or would be ignored."""
    yield from _task(config)
    yield from _model(config)
    yield from _training(config)


def _task(config: Config) -> Iterator[Fault]:
    task = config.task
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
            f"valid.txt and test.txt{WHERE_TO_FIND.get(path.name, '')}",
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


def _model(config: Config) -> Iterator[Fault]:
    model, task = config.model, config.task
    cell = model.cell
    if isinstance(task, LanguageModel | Stories) and model.direction != "forward":
        yield Fault(
            ("model", "direction"),
            f"{model.direction!r} with task {task.name!r} would show the model the word it must predict; use 'forward'",
        )
    if isinstance(task, EmbeddedReber | Counting | Brackets) and model.direction != "forward":
        yield Fault(
            ("model", "direction"),
            f"{model.direction!r} with task {task.name!r} would show the model the symbols that come next; "
            "use 'forward'",
        )
    if isinstance(task, Timing) and model.direction != "forward":
        yield Fault(
            ("model", "direction"),
            f"{model.direction!r} with task 'timing' would let the model count from the end; use 'forward'",
        )
    if model.merge is not None and model.direction != "bidirectional":
        yield Fault(
            ("model", "merge"),
            f"is {model.merge!r}, but there is nothing to merge with direction {model.direction!r}; "
            "remove it or use direction: bidirectional",
        )
    if isinstance(model.hidden_size, list) and model.depth not in (None, len(model.hidden_size)):
        yield Fault(
            ("model", "depth"),
            f"is {model.depth}, but hidden_size lists {len(model.hidden_size)} layers; remove it",
        )
    yield from _dropout(model)
    yield from _words(config)
    if model.init_range is not None and not isinstance(cell, UserCell):
        own = [name for name in ("forget_bias", "chrono") if getattr(cell, name, None) is not None]
        for name in [*own, *(["recurrent_init"] if cell.recurrent_init != "orthogonal" else [])]:
            yield Fault(
                ("model", "cell", name),
                f"is {getattr(cell, name)!r}, but init_range {model.init_range:g} starts all weights and biases anew; "
                "give one",
            )
    if isinstance(cell, Gated) and cell.forget_bias is not None and cell.chrono is not None:
        yield Fault(
            ("model", "cell", "chrono"),
            f"is {cell.chrono} beside forget_bias {cell.forget_bias:g}, and both set the same bias; give one",
        )
    if isinstance(cell, Odyssey) and cell.ablation == "no_forget_gate":
        for name in (name for name in ("forget_bias", "chrono") if getattr(cell, name) is not None):
            yield Fault(
                ("model", "cell", name),
                f"is {getattr(cell, name)!r}, but ablation 'no_forget_gate' has no forget bias to set; remove it",
            )


def _dropout(model: Model) -> Iterator[Fault]:
    if model.dropout > 0 and len(model.hidden_sizes()) == 1:
        yield Fault(
            ("model", "dropout"),
            f"is {model.dropout:g}, but dropout acts between layers and depth 1 has no between; "
            "use depth: 2 or more, or dropout: 0 (input_dropout and output_dropout act around them)",
        )
    if model.zoneout_memory and isinstance(model.cell, Rnn | Gru):
        yield Fault(
            ("model", "zoneout_memory"),
            f"is {model.zoneout_memory:g}, but cell {model.cell.name!r} remembers in its output alone; "
            "use zoneout_hidden",
        )
    if model.locked_dropout and not (model.dropout or model.input_dropout or model.output_dropout):
        yield Fault(
            ("model", "locked_dropout"),
            "is true, but no feature is dropped; set dropout, input_dropout or output_dropout, or remove it",
        )


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
    if not isinstance(model.softmax, AdaptiveSoftmax):
        return
    if not isinstance(task, LanguageModel):
        yield Fault(
            ("model", "softmax"),
            f"is 'adaptive', but the classes of task {task.name!r} are few and in no order of frequency; use 'full'",
        )
    if model.tied:
        yield Fault(
            ("model", "softmax"),
            "is 'adaptive', whose clusters have weights of their own, and tied asks for those of the embedding; "
            "use 'full', or tied: false",
        )
    cutoffs = model.softmax.cutoffs or []
    if any(a >= b for a, b in pairwise(cutoffs)):
        yield Fault(("model", "softmax", "cutoffs"), f"are {cutoffs}; each must be larger than the one before")


def _training(config: Config) -> Iterator[Fault]:
    if config.train.stop_when_solved and isinstance(config.task, LanguageModel):
        yield Fault(
            ("train", "stop_when_solved"),
            "is true, but task 'language_model' has no rule for being solved; remove it, or use train.patience",
        )
    train, schedule = config.train, config.schedule
    if train.max_skips is not None and train.on_divergence == "stop":
        yield Fault(
            ("train", "max_skips"),
            f"is {train.max_skips}, but on_divergence is 'stop', so no step is skipped; remove it, or use "
            "on_divergence: skip",
        )
    epochs = isinstance(config.task, LanguageModel)
    no_epochs = f"but task {config.task.name!r} draws its sequences anew and has no epochs"
    if train.epochs is not None and not epochs:
        yield Fault(("train", "epochs"), f"is {train.epochs}, {no_epochs}; set train.steps")
    elif train.epochs is not None and train.steps is not None:
        yield Fault(
            ("train", "epochs"),
            f"is {train.epochs} beside steps {train.steps}; give one, and the other as null (train.epochs=null or "
            "train.steps=null)",
        )
    if isinstance(schedule, StepDecay) and schedule.every is None and not epochs:
        yield Fault(("schedule", "every"), f"is not set and means an epoch, {no_epochs}; give it in steps")
    optimizer = config.optimizer
    if isinstance(optimizer, Sgd) and optimizer.nesterov and optimizer.momentum == 0:
        yield Fault(("optimizer", "nesterov"), "is true, but momentum is 0; set optimizer.momentum, e.g. 0.9")
