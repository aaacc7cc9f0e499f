"""The parts of a model as a C program has them: matrices, vectors, and how the layers and the head use them."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from seqtrain.cells import GRUCell, RNNCell
from seqtrain.cells.base import GateCell
from seqtrain.cells.lstm_kind import lstm_kind
from seqtrain.models import AdaptiveHead, OneHot, SequenceModel, TiedHead


@dataclass(frozen=True)
class Array:
    """Weights with a name.

    source : in the checkpoint.
    values : `[N]`, or a matrix `[R, C]`.
    what : the rows that it has, if they are not all of that in the checkpoint; or how it was made.
    """

    source: str
    values: Tensor
    what: str = ""
    suffix: str = ""

    @property
    def name(self) -> str:
        """In C, without the prefix of all names."""
        short = self.source.removeprefix("stack.")
        if short != self.source:
            _, layer, _, rest = short.split(".", 3)
            short = f"layers_{layer}_{rest}"
        return short.replace(".", "_") + self.suffix

    @property
    def is_matrix(self) -> bool:
        """Whether it multiplies a vector, or is a table of vectors."""
        return self.values.dim() == 2

    @property
    def shape(self) -> list[int]:
        """`[N]` or `[R, C]`."""
        return list(self.values.shape)


@dataclass(frozen=True)
class Layer:
    """A layer with its weights by the name of the field in C, in the order of the fields."""

    units: int
    matrices: dict[str, Array]
    vectors: dict[str, Array]

    @property
    def arrays(self) -> list[Array]:
        """All weights."""
        return [*self.matrices.values(), *self.vectors.values()]


@dataclass(frozen=True)
class Head:
    """From the features to the outputs.

    kind : linear, or adaptive.
    matrix, bias : of the scores, or of the first cluster with one score for each other cluster.
    projection : of a tied head, if it has one.
    tails : the two matrices of each other cluster.
    cutoffs : the first output of each other cluster, and behind the last one the number of outputs.
    """

    kind: str
    matrix: Array
    bias: Array
    projection: Array | None = None
    tails: list[tuple[Array, Array]] = field(default_factory=list)
    cutoffs: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class CModel:
    """A model of built-in cells that run forward.

    cell : the name of the equations: rnn, gru or lstm, which stands for all kinds of LSTM.
    options : of the equations, by name.
    fields : of the state of a layer, in order.
    keeps : how much zoneout keeps of the old `hidden` and `cell`, the fields that are memory.
    embedding : None for real numbers, and for symbols that choose columns of `w_x`.
    is_one_hot : symbols choose columns of `w_x`.
    initial : `[S]`, the state before the first step; None if it is zero.
    """

    cell: str
    options: dict[str, object]
    fields: tuple[str, ...]
    keeps: dict[str, float]
    layers: list[Layer]
    head: Head
    embedding: Array | None
    is_one_hot: bool
    initial: Tensor | None

    @property
    def sums(self) -> int:
        """Rows of the largest `w_x`: what the gates of a layer squash."""
        return max(layer.matrices["w_x"].shape[0] for layer in self.layers)

    @property
    def features(self) -> int:
        """Of the largest cluster of an adaptive head."""
        return max((first.shape[0] for first, _ in self.head.tails), default=0)

    @property
    def stack_size(self) -> int:
        """Numbers that the functions keep on the stack, without those of a product, rounded up."""
        vectors = [self.embedding, self.head.projection]
        own = sum(max(array.shape) if array is self.head.projection else array.shape[1] for array in vectors if array)
        return 2 * self.sums + own + self.features + len(self.head.tails)

    @property
    def state_size(self) -> int:
        """Numbers of the state of all layers."""
        return sum(layer.units for layer in self.layers) * len(self.fields)

    def arrays(self) -> Iterator[Array]:
        """All weights, each once, in the order of the computation."""
        head = self.head
        if self.embedding is not None:
            yield self.embedding
        for layer in self.layers:
            yield from layer.arrays
        if head.projection is not None:
            yield head.projection
        if head.matrix is not self.embedding:
            yield head.matrix
        yield head.bias
        for pair in head.tails:
            yield from pair


def c_model(model: SequenceModel) -> CModel:
    """The parts of a model of built-in cells that run forward."""
    weights = model.state_dict()
    embedding = Array("encoder.weight", weights["encoder.weight"]) if isinstance(model.encoder, nn.Embedding) else None
    cells: list[GateCell] = [layer[0] for layer in model.stack.cells()]  # type: ignore[misc]  # built-in ones are
    first = cells[0]
    name, options = _equations(first)
    fields = tuple(first.state_type._fields)
    initial = torch.cat([part[0] for cell in cells for part in cell.initial_state(1)]).detach()
    return CModel(
        cell=name,
        options=options,
        fields=fields,
        keeps={"hidden": model.dropout.zoneout_hidden, "cell": model.dropout.zoneout_memory},
        layers=[_layer(cell, f"stack.layers.{number}.0") for number, cell in enumerate(cells)],
        head=_head(model.head, embedding, weights),
        embedding=embedding,
        is_one_hot=isinstance(model.encoder, OneHot),
        initial=initial if first.learn_initial_state else None,
    )


def _equations(cell: GateCell) -> tuple[str, dict[str, object]]:
    """The name of the equations of a cell, and their options."""
    if isinstance(cell, RNNCell):
        return "rnn", {"nonlinearity": cell.nonlinearity}
    if isinstance(cell, GRUCell):
        return "gru", {"reset": cell.reset}
    return "lstm", {"gates": lstm_kind(cell)}


def _layer(cell: GateCell, prefix: str) -> Layer:
    """The weights of a layer. Two biases are one in C."""
    H, weights = cell.hidden_size, dict(cell.named_parameters())

    def of(name: str, values: Tensor | None = None, what: str = "", suffix: str = "") -> Array:
        return Array(f"{prefix}.{name}", (weights[name] if values is None else values).detach(), what, suffix)

    matrices = {"w_x": of("w_x")}
    if isinstance(cell, GRUCell) and cell.reset == "before":
        matrices["w_h_rz"] = of("w_h", cell.w_h[: 2 * H], "rows of r and z", "_rz")
        matrices["w_h_n"] = of("w_h", cell.w_h[2 * H :], "rows of n", "_n")
    else:
        matrices["w_h"] = of("w_h")
    if "w_gates" in weights:
        matrices["w_gates"] = of("w_gates")
    vectors = {"b": of("b", cell.bias(), "b + b_h" if "b_h" in weights else "")}
    if "b_hn" in weights:
        vectors["b_hn"] = of("b_hn")
    if "p" in weights:
        vectors["p"] = of("p", weights["p"].flatten(), "row by row")
    return Layer(H, matrices, vectors)


def _head(head: nn.Module, embedding: Array | None, weights: dict[str, Tensor]) -> Head:
    def of(name: str) -> Array:
        return Array(f"head.{name}", weights[f"head.{name}"])

    if isinstance(head, TiedHead):
        assert embedding is not None
        projection = None if isinstance(head.projection, nn.Identity) else of("projection.weight")
        return Head("linear", embedding, of("bias"), projection)
    if isinstance(head, AdaptiveHead):
        tails = [
            (of(f"clusters.tail.{k}.0.weight"), of(f"clusters.tail.{k}.1.weight"))
            for k in range(head.clusters.n_clusters)
        ]
        matrix, bias = of("clusters.head.weight"), of("clusters.head.bias")
        return Head("adaptive", matrix, bias, tails=tails, cutoffs=[*head.clusters.cutoffs])
    return Head("linear", of("weight"), of("bias"))
