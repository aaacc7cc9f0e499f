"""What a program that runs an exported model should know of it."""

from typing import Any

from seqtrain.inference.load import Trained
from seqtrain.interchange.samples import named_states
from seqtrain.system import strict_json


def metadata_of(trained: Trained) -> dict[str, str]:
    """Strings by name: the task, and as JSON the config and what else there is.

    `vocabulary` has the word of each symbol, `fitted` what a task has learnt from its training data, and
    `initial_state` the state before the first step where it is not zero, `[D, H]` for each name of `named_states`.
    """
    header = trained.header
    values: dict[str, Any] = {}
    if header.vocabulary is not None:
        values["vocabulary"] = header.vocabulary
    if header.fitted is not None:
        values["fitted"] = header.fitted
    values["config"] = header.config
    first = named_states([[cell.initial_state(1) for cell in layer] for layer in trained.model.stack.cells()])
    if any(bool(state.any()) for state in first.values()):
        values["initial_state"] = {name: state[:, 0].tolist() for name, state in first.items()}
    return {"task": header.variant} | {name: strict_json.dumps(value) for name, value in values.items()}
