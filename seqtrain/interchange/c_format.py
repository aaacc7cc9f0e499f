"""One header in C99: the weights of a model, and a function that computes a step."""

from collections.abc import Iterator
from functools import partial

import torch

from seqtrain.cells import CELLS
from seqtrain.inference.load import Trained
from seqtrain.interchange import c_literals as c
from seqtrain.interchange.c_interface import interface, sizes, tables
from seqtrain.interchange.c_model import Array, CModel, c_model
from seqtrain.interchange.content import Content, Options
from seqtrain.interchange.int8 import Losses, losses, rounded
from seqtrain.interchange.meaning import Meaning, meaning_of
from seqtrain.interchange.rendering import render
from seqtrain.interchange.samples import Inputs, inputs_of
from seqtrain.models import count_parameters
from seqtrain.system.errors import ConfigError

MOST_PARAMETERS = 10_000_000
"""A compiler keeps a node of its syntax tree for each number: GCC 12 with -O3 takes 5 s and 0.27 GB for a million, and
82 s and 2.3 GB for as many as this (an LSTM of 2 x 600 for 7,000 words), which a small machine still has."""

FRAMES = 512
"""Bytes of stack that the calls need beside the arrays: GCC 12 without optimisation takes about 400."""

MOST_TOGETHER = 1024
"""Sums of a product that are computed together: 4 KiB, which stay in the first cache of a processor."""


def write(trained: Trained, options: Options) -> Content:
    """The header of a trained model.

    Raises
    ------
    ConfigError : C cannot hold the model.
    """
    meaning = meaning_of(trained)
    if faults := [*_faults(trained, meaning)]:
        raise ConfigError([f"--to c: {fault}" for fault in faults])
    model = c_model(trained.model)
    inputs = inputs_of(trained)
    text = _header(trained, model, meaning, inputs, int8=options.int8)
    found = Losses({})
    if options.int8:
        found = losses(trained, {array.source for array in model.arrays() if array.is_matrix})
    remarks = [] if found.reason is None else [f"the loss on the test set was not measured: {found.reason}"]
    size = {one.name: one.value for one in sizes(trained, model, meaning, inputs)}
    facts = {"arguments": f"x [{size['MODEL_INPUTS']}], state [{size['MODEL_STATE']}], y [{size['MODEL_OUTPUTS']}]"}
    return Content({"model.h": text.encode()}, remarks=remarks, facts=facts, figures=found.figures)


def _faults(trained: Trained, meaning: Meaning) -> Iterator[str]:
    """Why C cannot hold a model, each with the cure."""
    section, model = trained.config.model, trained.model
    is_own = section.cell.name not in CELLS
    others = "--to torch can" if is_own else "--to onnx and --to torch can"
    if is_own:
        yield f"cell {section.cell.name} is your own, and its equations are Python; {others}"
    if section.direction != "forward":
        yield f"direction is {section.direction!r}, and one step cannot read the future; {others}"
    if (count := count_parameters(model)) > MOST_PARAMETERS:
        yield (
            f"the model has {count:,} parameters, and a compiler handles at most {MOST_PARAMETERS:,} numbers as text; "
            f"{others}"
        )
    longest = max((len(text.encode()) for text in meaning.texts), default=0)
    if longest > c.LONGEST_STRING:
        yield f"a word or name has {longest:,} bytes, and a string of C99 at most {c.LONGEST_STRING:,}; {others}"


def _header(trained: Trained, model: CModel, meaning: Meaning, inputs: Inputs, *, int8: bool) -> str:
    """The text of the file."""
    head = model.head
    tile = min(MOST_TOGETHER, max(array.shape[0] for array in model.arrays() if array.is_matrix))
    matrices = {"embedding": model.embedding, "projection": head.projection, "head": head.matrix}
    return render(
        "model.h.jinja",
        guard=f"MODEL_{trained.header.sha256[:8].upper()}{'_INT8' if int8 else ''}_H",
        title=f"{trained.config.model.cell.name} on {trained.config.task.name}",
        variant=trained.header.variant,
        parameters=count_parameters(trained.model),
        interface=[*interface(trained, model, meaning, inputs)],
        stack=4 * (model.stack_size + tile) + FRAMES,
        sizes=[*sizes(trained, model, meaning, inputs)],
        tables=[*tables(meaning)],
        arrays=[*model.arrays()],
        matrices={name: array for name, array in matrices.items() if array is not None},
        model=model,
        cell=trained.config.model.cell,
        number="int8_t" if int8 else "float",
        int8=int8,
        initial="" if model.initial is None else c.floats(model.initial),
        tile=tile,
        comment=c.comment,
        float32=lambda value: c.floats(torch.tensor([value])).strip(" ,\n"),
        numbers=partial(_numbers, int8=int8),
        scales=lambda array: c.floats(rounded(array.values).scale),
        matrix=partial(_matrix, int8=int8),
    )


def _numbers(array: Array, *, int8: bool) -> str:
    """The numbers of an array; of a matrix column by column."""
    if not array.is_matrix:
        return c.floats(array.values)
    return c.integers(rounded(array.values).numbers.t()) if int8 else c.floats(array.values.t())


def _matrix(array: Array, *, int8: bool) -> str:
    """A `struct model_matrix`."""
    rows, columns = array.shape
    scale = f", model_{array.name}_scale" if int8 else ""
    return f"{{{rows}, {columns}, model_{array.name}{scale}}}"
