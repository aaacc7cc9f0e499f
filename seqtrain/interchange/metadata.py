"""What a program that runs an exported model should know of it.

task            what the model was trained on
config          the config of the run; the files of its task by their names alone
vocabulary      of a text: the text of each symbol
start           what a sequence starts after, of a model that predicts the next step: a symbol, or the numbers of a step
alphabets       of several symbols in a step: what each is, the first number of its kind, and how many there are
inputs          of numbers: their names, and where they are scaled, `number = (value - mean) / spread`
outputs         likewise: `value = number * spread + mean`; of classes and tags the names
probabilities   what makes probabilities of the outputs: softmax or sigmoid
initial_state   [D, H] of each state before the first step, if one is not zero
fitted          of a user's own task: what it has learnt from its training data
"""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from seqtrain.config.plugins import without_folders
from seqtrain.inference.load import Trained
from seqtrain.interchange.meaning import Numbers, meaning_of
from seqtrain.interchange.samples import named_states
from seqtrain.system import strict_json
from seqtrain.system.settings import Section, files_of
from seqtrain.system.shipped import PREFIX


def metadata_of(trained: Trained) -> dict[str, str]:
    """Strings by name, without those that do not concern the model. All but `task` and `probabilities` are JSON.

    Raises
    ------
    SeqtrainError : the checkpoint holds values that do not fit its model.
    """
    meaning, header = meaning_of(trained), trained.header
    values: dict[str, Any] = {
        "config": shareable_config(trained),
        "vocabulary": meaning.symbols,
        "start": meaning.start,
        "alphabets": meaning.alphabets and [alphabet._asdict() for alphabet in meaning.alphabets],
        "inputs": meaning.inputs and _as_json(meaning.inputs),
        "outputs": meaning.outputs and _as_json(meaning.outputs),
        "initial_state": _initial_state(trained),
        "fitted": header.fitted if meaning.outputs is None else None,
    }
    texts = {"task": header.variant, "probabilities": meaning.probabilities}
    return {name: text for name, text in texts.items() if text is not None} | {
        name: strict_json.dumps(value) for name, value in values.items() if value is not None
    }


def shareable_config(trained: Trained) -> dict[str, Any]:
    """The config without the folders of this machine, which no other user needs."""
    config: dict[str, Any] = without_folders(trained.header.config)[0]
    return config | {"task": config["task"] | files_by_name(trained.config.task)}


def files_by_name(task: Section) -> dict[str, str]:
    """The files and folders that a task reads, by their settings, without the folders in which they lie."""
    return {name: PurePath(place).name for name, place in files_of(task).items() if not place.startswith(PREFIX)}


def _as_json(numbers: Numbers) -> Mapping[str, Any]:
    return {name: value for name, value in numbers._asdict().items() if value is not None}


def _initial_state(trained: Trained) -> dict[str, Any] | None:
    """By the names of `named_states`; None if all are zero, as they are unless the model has learnt them."""
    first = named_states([[cell.initial_state(1) for cell in layer] for layer in trained.model.stack.cells()])
    if not any(bool(state.any()) for state in first.values()):
        return None
    return {name: state[:, 0].tolist() for name, state in first.items()}
