"""The settings of the network."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field, Tag

from seqtrain.cells import CELLS
from seqtrain.models.dropout import Dropout
from seqtrain.models.head import SOFTMAXES, FullSoftmax
from seqtrain.models.stack import MERGE, Direction, Merge
from seqtrain.system.settings import ONE_OR_EACH, Affects, Declared, Named, Null, OneOf, Positive, UserClass, section_of


class UserCell(UserClass):
    """A cell of the user's own."""


CELL_SECTIONS = {name: section_of(cell, name, Declared) for name, cell in CELLS.items()}
"""The sections of the built-in cells."""

MOST_UNITS = 100_000
Width = Annotated[int, Field(ge=1, le=MOST_UNITS)]
Widths = Annotated[
    Annotated[Width, Tag("one")] | Annotated[list[Width], Field(min_length=1, max_length=1000), Tag("each")],
    ONE_OR_EACH,
]


class Model(Dropout):
    """The network."""

    cell: Annotated[Named, OneOf(CELL_SECTIONS, others=UserCell)]
    """The recurrent cell; `module:Class` is your own, the class of that name in module.py. With options:
    {name: ..., option: ...}."""
    hidden_size: Annotated[Widths, Affects.SIZE] = 128
    """Units in each layer and direction; a list has the units of each layer, from the lowest up."""
    depth: Annotated[
        Annotated[int, Field(ge=1, le=1000)] | None, Null(lambda model: len(model.hidden_sizes())), Affects.SIZE
    ] = None
    """Number of layers; null for as many as hidden_size lists, or 1."""
    direction: Annotated[Direction, Affects.SIZE] = "forward"
    """Direction in which the cells read the sequence."""
    merge: Annotated[Merge | None, Null(MERGE, when=lambda model: model.direction == "bidirectional"), Affects.SIZE] = (
        None
    )
    """How the outputs of two directions are merged; null for {null}."""
    embedding_size: Annotated[Width | None, Affects.SIZE] = None
    """Size of learnt vectors for symbols; null for the first hidden_size with text, one-hot with other symbols."""
    tied: Annotated[bool, Affects.SIZE] = False
    """Score words with the weights of the embedding, after a projection if the last layer has another size."""
    softmax: Annotated[Named, OneOf(SOFTMAXES)] = FullSoftmax()
    """Scores of words: full, or adaptive for large vocabularies."""
    init_range: Positive | None = None
    """All weights and biases start uniform within this distance of zero; null for the initialisation of the cell. A
    learnt initial state always starts from zero."""
    embedding_range: Positive | None = None
    """The same for the embedding and the weights of the head, whose bias starts at zero; null for init_range, or else
    the initialisation of PyTorch."""

    def hidden_sizes(self) -> list[int]:
        """Units of each layer."""
        return self.hidden_size if isinstance(self.hidden_size, list) else [self.hidden_size] * (self.depth or 1)

    def faults(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Settings that have no effect or do not work together: the place of a setting, and a message about it."""
        if self.merge is not None and self.direction != "bidirectional":
            yield (
                ("merge",),
                f"is {self.merge!r}, but there is nothing to merge with direction {self.direction!r}; remove it or use "
                "direction: bidirectional",
            )
        if isinstance(self.hidden_size, list) and self.depth not in (None, len(self.hidden_size)):
            yield (("depth",), f"is {self.depth}, but hidden_size lists {len(self.hidden_size)} layers; remove it")
        yield from self._faults_of_dropout()
        if self.tied and self.softmax.name == "adaptive":
            yield (
                ("softmax",),
                "is 'adaptive', whose clusters have their own weights, but tied means the weights of the embedding; "
                "use 'full', or tied: false",
            )
        for name, message in self.softmax.faults():
            yield ("softmax", name), message
        cell, defaults = CELLS.get(self.cell.name), type(self.cell).model_fields
        if cell is None:
            return  # of the user: reading a config does not import its code
        for name in cell.initialisation if self.init_range is not None else ():
            value = getattr(self.cell, name)
            if value not in (None, defaults[name].default):
                yield (
                    ("cell", name),
                    f"is {value!r}, but init_range {self.init_range:g} sets all weights and biases; give one of them",
                )
        for name, message in cell.faults(self.cell):
            yield ("cell", name), message

    def _faults_of_dropout(self) -> Iterator[tuple[tuple[str, ...], str]]:
        if self.dropout > 0 and len(self.hidden_sizes()) == 1:
            yield (
                ("dropout",),
                f"is {self.dropout:g}, but dropout acts between layers and depth 1 has one layer; use depth: 2 or "
                "more, or dropout: 0 (input_dropout and output_dropout act before and after the layers)",
            )
        cell = CELLS.get(self.cell.name)
        if self.zoneout_memory and cell is not None and not cell.remembers_apart():
            yield (
                ("zoneout_memory",),
                f"is {self.zoneout_memory:g}, but cell {self.cell.name!r} remembers in its output alone; use "
                "zoneout_hidden",
            )
        if self.locked_dropout and not (self.dropout or self.input_dropout or self.output_dropout):
            yield (
                ("locked_dropout",),
                "is true, but no feature is dropped; set dropout, input_dropout or output_dropout, or remove it",
            )
