"""Settings of the network."""

from typing import Annotated, Literal

from pydantic import Field, Tag

from seqtrain.config.schema.base import ONE_OR_EACH, Fraction, Positive, Section, Size
from seqtrain.config.schema.cells import Cell


class FullSoftmax(Section):
    """Scores for the whole vocabulary."""

    name: Literal["full"]


class AdaptiveSoftmax(Section):
    """Rare words in clusters that are looked into only when they are needed (Grave et al. 2017)."""

    name: Literal["adaptive"]
    cutoffs: Annotated[list[Size], Field(min_length=1)] | None = None
    """Ranks at which the clusters of rarer words begin, rising; null for 1/16 and 1/4 of the vocabulary."""
    shrink: Annotated[float, Field(ge=1, le=1000)] = 4.0
    """How many times fewer features each next cluster gets."""


Width = Annotated[int, Field(ge=1, le=100_000)]
Widths = Annotated[
    Annotated[Width, Tag("one")] | Annotated[list[Width], Field(min_length=1, max_length=1000), Tag("each")],
    ONE_OR_EACH,
]


class Model(Section):
    """The network."""

    cell: Cell
    """The recurrent cell: rnn, lstm, peephole, coupled, gru, odyssey, or `module:Class` for one of your own; with
    options, {name: ..., option: ...}."""
    hidden_size: Widths = 128
    """Units of each layer and direction; a list gives each layer its own, from the lowest up."""
    depth: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Layers on top of each other; null for as many as hidden_size lists, or 1."""
    direction: Literal["forward", "backward", "bidirectional"] = "forward"
    """Which way the cells read the sequence."""
    merge: Literal["concat", "sum"] | None = None
    """How the two directions become one; null for concat."""
    dropout: Fraction = 0.0
    """Probability to drop a feature between layers, in training."""
    input_dropout: Fraction = 0.0
    """Likewise of what the first layer reads."""
    output_dropout: Fraction = 0.0
    """Likewise of what the last layer gives."""
    locked_dropout: bool = False
    """Drop a feature at all steps of a window or at none (Gal & Ghahramani 2016)."""
    embedding_dropout: Fraction = 0.0
    """Probability to drop a symbol wherever it stands in a window."""
    weight_drop: Fraction = 0.0
    """Probability to drop an entry of w_h for a window (Merity et al. 2018)."""
    zoneout_hidden: Fraction = 0.0
    """Probability that a number of a cell's output stays as it was for a step (Krueger et al. 2017); the plain loop
    runs it."""
    zoneout_memory: Fraction = 0.0
    """Likewise of what else the cell remembers in real numbers."""
    embedding_size: Width | None = None
    """Size of learnt vectors for symbols; null for the first hidden_size with text, one-hot with other symbols."""
    tied: bool = False
    """Score words by their embedding, through a projection if the last layer has another size."""
    softmax: Annotated[FullSoftmax | AdaptiveSoftmax, Field(discriminator="name")] = FullSoftmax(name="full")
    """How words are scored: full, or adaptive for large vocabularies."""
    init_range: Positive | None = None
    """Start all weights and biases uniform within this of zero; null for what the cells say. A learnt initial state
    starts from zero all the same."""
    embedding_range: Positive | None = None
    """Likewise the embedding and the head's weights, the head's bias at zero; null for init_range, or PyTorch's way."""

    def hidden_sizes(self) -> list[int]:
        """Units of each layer."""
        return self.hidden_size if isinstance(self.hidden_size, list) else [self.hidden_size] * (self.depth or 1)
