"""What the numbers that a model takes and gives stand for, as far as its checkpoint says it."""

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np

from seqtrain.inference.load import Trained, text_model
from seqtrain.system.errors import CheckpointError
from seqtrain.tasks import LanguageModel
from seqtrain.tasks.sequences.amounts import Amounts
from seqtrain.tasks.sequences.classes import Classes
from seqtrain.tasks.stories import Stories
from seqtrain.tasks.tables.scaler import Scaler
from seqtrain.tasks.tagging.learnt import Learnt


class Numbers(NamedTuple):
    """Numbers that a model takes or gives: `number = (value - mean) / spread`, and `value = number * spread + mean`.

    names : of the values.
    mean, spread : of each; None if the values are as they are.
    """

    names: list[str]
    mean: list[float] | None = None
    spread: list[float] | None = None


class Alphabet(NamedTuple):
    """The symbols of one kind, of a model that reads several symbols in a step.

    what : what a symbol stands for: `the word`.
    first, size : the smallest number of a symbol, and how many symbols there are. One is `<unk>`, for all others.
    """

    what: str
    first: int
    size: int


class Meaning(NamedTuple):
    """What goes in and comes out.

    symbols : the text of each symbol; None if the model takes numbers, or symbols without a text.
    start : what a sequence starts after, of a model that predicts the next step: a symbol, or the numbers of a step.
    alphabets : of each symbol of a step; None if there is one, or none.
    inputs : the numbers of a step; None if they are not known, or symbols.
    outputs : None if they are not known, or those of a text, which are scores of its symbols.
    probabilities : what makes probabilities of the outputs, `softmax` or `sigmoid`; None if they are none.
    """

    symbols: list[str] | None = None
    start: int | list[float] | None = None
    alphabets: list[Alphabet] | None = None
    inputs: Numbers | None = None
    outputs: Numbers | None = None
    probabilities: str | None = None

    @property
    def texts(self) -> list[str]:
        """All symbols and names."""
        named = [numbers.names for numbers in (self.inputs, self.outputs) if numbers is not None]
        return [*(self.symbols or []), *(name for names in named for name in names)]


def meaning_of(trained: Trained) -> Meaning:
    """What the numbers of a trained model stand for.

    Raises
    ------
    SeqtrainError : the checkpoint holds values that do not fit its model.
    """
    header, task = trained.header, trained.config.task
    read = {"series": _of_series, "sequences": _of_sequences, "tagging": _of_tags}.get(task.name)
    if read is None:
        return _of_text(trained)
    found = read(task, header.fitted or {})
    sizes = [(found.symbols, header.spec.input_size), (found.outputs and found.outputs.names, header.spec.output_size)]
    sizes += [(found.inputs.names, header.spec.input_size)] if found.inputs else []
    if any(names is not None and len(names) != size for names, size in sizes):
        raise CheckpointError(f"{trained.path}: its columns, classes or words do not fit its model; use another one")
    return found


def _of_text(trained: Trained) -> Meaning:
    """The words of a text; of other symbols and of numbers nothing is known."""
    words, start = trained.header.vocabulary, None
    if trained.config.task.name in (LanguageModel.name, Stories.name):
        text = text_model(trained)
        start = text.vocabulary.numbers[text.start()]
    return Meaning(words, start, probabilities=None if words is None else "softmax")


def _of_series(task: Any, fitted: dict[str, Any]) -> Meaning:
    """As `seqtrain.tasks.tables.series` lays them out."""
    columns = list(dict.fromkeys([*task.targets, *(task.inputs or []), *(task.known or [])]))
    scaler = Scaler.read(fitted, columns, len(task.targets))
    shown = {name: f"change of {name}" if task.differences and name in task.targets else name for name in columns}
    now, ahead = [*(task.targets if task.horizon else []), *(task.inputs or [])], task.known or []
    inputs = [(name, shown[name]) for name in now]
    if task.horizon:
        inputs += [(name, f"{name}, {_ahead(step)}") for step in range(1, task.horizon + 1) for name in ahead]
    else:
        inputs += [(name, name) for name in ahead]
    masked = (now if task.horizon else [*now, *ahead]) if task.missing == "mask" else []
    outputs = [
        (name, f"{shown[name]}, {'from now to ' if task.differences else ''}{_ahead(step)}")
        for step in range(1, task.horizon + 1)
        for name in task.targets
    ] or [(name, name) for name in task.targets]
    return Meaning(inputs=_scaled(scaler, inputs, masked), outputs=_scaled(scaler, outputs))


def _ahead(steps: int) -> str:
    return "1 step ahead" if steps == 1 else f"{steps} steps ahead"


def _of_sequences(task: Any, fitted: dict[str, Any]) -> Meaning:
    """As `seqtrain.tasks.sequences.preparation` does."""
    columns, by_step = [str(name) for name in fitted.get("columns") or []], task.predict.startswith("step")
    if task.predict == "next_step":
        ahead = Numbers([f"{name}, 1 step ahead" for name in columns])
        return Meaning(start=[0.0] * len(columns), inputs=Numbers(columns), outputs=ahead, probabilities="sigmoid")
    masked = columns if task.missing == "mask" else []
    inputs = _scaled(Scaler.read(fitted, columns, 0), [(name, name) for name in columns], masked)
    if task.predict in ("class", "step_class"):
        classes = Classes.read(fitted, by_step=by_step).names
        return Meaning(inputs=inputs, outputs=Numbers(classes), probabilities="softmax")
    names = Amounts.read(fitted, by_step=by_step).names
    own = Scaler.read(fitted["targets"], names, len(names))
    return Meaning(inputs=inputs, outputs=_scaled(own, [(name, name) for name in names]))


def _of_tags(task: Any, fitted: dict[str, Any]) -> Meaning:
    """As `seqtrain.tasks.tagging.features` joins the alphabets; all tags that training does not have are one output."""
    learnt = Learnt.read(fitted, 1 + task.suffixes + task.shape)
    symbols = [symbol for alphabet in learnt.alphabets for symbol in alphabet]
    kinds = ["the word", *(_last_characters(size) for size in range(1, task.suffixes + 1))]
    kinds += ["its shape"] if task.shape else []
    sizes = [*map(len, learnt.alphabets)]
    alphabets = [*map(Alphabet, kinds, accumulate([0, *sizes]), sizes)]
    tags = Numbers([*learnt.tags, "any other tag"])
    return Meaning(symbols, alphabets=alphabets, outputs=tags, probabilities="softmax")


def _last_characters(size: int) -> str:
    return "its last character" if size == 1 else f"its last {size} characters"


def _scaled(scaler: Scaler, named: Iterable[tuple[str, str]], masked: Sequence[str] = ()) -> Numbers:
    """Columns with what they are called, and marks of missing values, which are not scaled."""
    pairs = [*named]
    place = {name: number for number, name in enumerate(scaler.columns)}
    columns = [place[name] for name, _ in pairs]
    divisor = np.where(scaler.spread > 0, scaler.spread, 1.0)
    return Numbers(
        [shown for _, shown in pairs] + [f"1 if {name} is there, -1 if it is missing" for name in masked],
        scaler.mean[columns].tolist() + [0.0] * len(masked),
        divisor[columns].tolist() + [1.0] * len(masked),
    )
