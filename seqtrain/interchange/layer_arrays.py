"""A model as arrays by name, for programs that have LSTM, GRU and RNN layers: what Keras and Flax share.

embedding/...                        of symbols, unless they are one-hot
layer0/forward/...                   each layer and direction, from the lowest layer up
layer0/forward/initial_hidden [H]    if the initial state is learnt
metadata/task ...                    strings, see `metadata`
projection/kernel [F, E]             before a head that shares the embedding, if the sizes differ
head/kernel [F, O], head/bias [O]
"""

import io
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn

from seqtrain.cells import CELLS, Cell, GRUCell
from seqtrain.inference.load import Trained
from seqtrain.interchange.content import Content, refuse
from seqtrain.interchange.metadata import metadata_of
from seqtrain.interchange.plain_cell import PlainCell, described, plain_cell
from seqtrain.models import AdaptiveHead, TiedHead

WAYS = {False: "forward", True: "backward"}


def written(file: str, trained: Trained, arrays: dict[str, Tensor], remarks: Iterable[str]) -> Content:
    """The arrays as an `.npz` file with the metadata.

    Parameters
    ----------
    remarks : on settings that the layers of the library need.
    """
    content = io.BytesIO()
    values: dict[str, Any] = {name: value.detach().numpy() for name, value in arrays.items()}
    values |= {f"metadata/{name}": np.array(text) for name, text in metadata_of(trained).items()}
    np.savez(content, **values)
    learnt = [name for name in arrays if name.rpartition("/")[2].startswith("initial_")]
    said = [*remarks, *([f"the initial state is learnt: give {', '.join(learnt)} to the layers"] if learnt else [])]
    return Content({file: content.getvalue()}, remarks=said)


def arrays_of(
    trained: Trained, name: str, layer: Callable[[PlainCell], Mapping[str, Tensor]], embedding: str
) -> dict[str, Tensor]:
    """All arrays of a model by name.

    Parameters
    ----------
    name : of the format.
    layer : the arrays of a cell in the layout of the other program.
    embedding : how that calls the weights of an embedding.

    Raises
    ------
    ConfigError : the other program has no such cell or head.
    """
    model = trained.model
    is_own = type(model.stack.cells()[0][0]) not in CELLS.values()
    refuse(name, [*_reasons(trained, name)], "--to torch can" if is_own else "--to onnx and --to torch can")
    arrays: dict[str, Tensor] = {}
    if isinstance(model.encoder, nn.Embedding):
        arrays[f"embedding/{embedding}"] = model.encoder.weight
    for depth, cells in enumerate(model.stack.cells()):
        for cell, reverse in zip(cells, model.stack.reversed, strict=True):
            plain, where = plain_cell(cell), f"layer{depth}/{WAYS[reverse]}"
            assert plain is not None
            initial = {part: value for part, value in cell.named_parameters() if part.startswith("initial_")}
            arrays |= {f"{where}/{part}": value for part, value in {**layer(plain), **initial}.items()}
    return arrays | _of_head(model.head)


def _reasons(trained: Trained, name: str) -> list[str]:
    """Why the other program cannot compute the model."""
    model, own = trained.model, trained.config.model.cell
    cell: Cell = model.stack.cells()[0][0]
    plain, reasons = plain_cell(cell), []
    if plain is None or plain.p is not None:
        reasons.append(f"it has no {described(own)}")
    if name == "flax" and isinstance(cell, GRUCell) and cell.reset == "before":
        reasons.append("its GRU resets after the recurrent product, but the model has reset 'before'")
    if model.dropout.zoneout_hidden or model.dropout.zoneout_memory:
        reasons.append("its layers have no zoneout, which acts in evaluation too")
    if isinstance(model.head, AdaptiveHead):
        reasons.append("it has no adaptive softmax")
    return reasons


def _of_head(head: nn.Module) -> dict[str, Tensor]:
    if isinstance(head, TiedHead):
        projection = {"projection/kernel": head.projection.weight.t()} if isinstance(head.projection, nn.Linear) else {}
        return projection | {"head/kernel": head.weight.t(), "head/bias": head.bias}
    return {"head/kernel": head.get_parameter("weight").t(), "head/bias": head.get_parameter("bias")}
