"""What a user of the C file must know: the sizes, what x, y and state are, and the words and columns."""

from collections.abc import Iterator
from typing import NamedTuple

from seqtrain.inference.load import Trained
from seqtrain.interchange import c_literals as c
from seqtrain.interchange.c_model import CModel
from seqtrain.interchange.meaning import Meaning
from seqtrain.interchange.samples import Inputs


class Size(NamedTuple):
    """A macro: its name, value and description."""

    name: str
    value: int
    what: str


class Table(NamedTuple):
    """An array that describes inputs or outputs: its type, name, size, description, and the lines of its elements."""

    type: str
    name: str
    size: str
    what: str
    lines: str


def sizes(trained: Trained, model: CModel, meaning: Meaning, inputs: Inputs) -> Iterator[Size]:
    """The macros of a model."""
    if inputs.symbols:
        yield Size("MODEL_INPUTS", inputs.together or 1, "symbols in x")
        yield Size("MODEL_SYMBOLS", inputs.size, "different symbols")
    else:
        yield Size("MODEL_INPUTS", inputs.size, "numbers in x")
    if isinstance(meaning.start, int):
        yield Size("MODEL_START", meaning.start, "the symbol that a text starts after")
    yield Size("MODEL_STATE", model.state_size, "numbers in state")
    yield Size("MODEL_OUTPUTS", trained.header.spec.output_size, "numbers in y")


def interface(trained: Trained, model: CModel, meaning: Meaning, inputs: Inputs) -> Iterator[str]:
    """Lines on the arguments of `model_step`."""
    if inputs.symbols:
        what = (
            "a symbol, a whole number" if inputs.together is None else "symbols whose vectors are added, whole numbers"
        )
        yield f"x:     {what} below MODEL_SYMBOLS. Any other number adds nothing."
        if meaning.symbols:
            yield "       model_vocabulary has their text."
        for number, (what, first, size) in enumerate(meaning.alphabets or ()):
            yield f"       x[{number}]: {what}, from {first} to {first + size - 1}, `<unk>` for one that is not there."
    elif meaning.inputs is None:
        yield f"x:     the inputs of a step of task {c.comment(trained.config.task.name)}."
    else:
        yield "x:     numbers, of which model_input_names says what they are."
        if meaning.inputs.mean is not None:
            yield "       x[n] = (value - model_input_mean[n]) / model_input_spread[n]. A missing value is that of the"
            yield "       step before, also where a change is computed of it; before the first value x[n] is 0."
        if meaning.start is not None:
            yield "       A sequence starts after a step of zeros: y of that step is the prediction of the first one."
    if meaning.outputs is not None:
        scores = "" if meaning.probabilities is None else f" Scores; {meaning.probabilities}(y) are probabilities."
        yield f"y:     numbers, of which model_output_names says what they are.{scores}"
        if meaning.outputs.mean is not None:
            yield "       value = y[n] * model_output_spread[n] + model_output_mean[n]."
    elif model.head.kind == "adaptive":
        yield "y:     log-probabilities of the next symbol."
    elif meaning.symbols:
        yield "y:     scores of the next symbol; softmax(y) are their probabilities."
    else:
        yield "y:     the outputs, as the model in seqtrain gives them."
    if not trained.header.spec.every_step:
        yield "       The prediction is that after the last step of a sequence. Before it y may be 0, which saves time."
    else:
        yield "       y may be 0, which saves time where no prediction is needed."
    fields = ", ".join(f"{'hc'[n] if n < 2 else name + '_'} [H]" for n, name in enumerate(model.fields))
    yield f"state: of each layer, from the lowest up, {fields}."


def tables(meaning: Meaning) -> Iterator[Table]:
    """The words, names and scales."""
    if meaning.symbols is not None:
        yield _strings("model_vocabulary", "MODEL_SYMBOLS", "The text of each symbol, in UTF-8.", meaning.symbols)
    for side, numbers in (("input", meaning.inputs), ("output", meaning.outputs)):
        if numbers is None:
            continue
        size = f"MODEL_{side.upper()}S"
        yield _strings(f"model_{side}_names", size, f"What each {side} is, in UTF-8.", numbers.names)
        for name, values in (("mean", numbers.mean), ("spread", numbers.spread)):
            if values is not None:
                what = f"The {name} of each {side} in training."
                yield Table("double ", f"model_{side}_{name}", size, what, c.doubles(values))


def _strings(name: str, size: str, what: str, values: list[str]) -> Table:
    return Table("char *const ", name, size, what, c.strings(values))
