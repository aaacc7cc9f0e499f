"""Find the embedding and the head of a model among the weights of a PyTorch program.

                          shape                      names
    embedding             [V, E]                     encoder.weight
    recurrent layers      see `torch_recurrent`      recurrent.weight_ih_l0 ...
    projection            [E, D*H]                   head.projection.weight     only before the weights of the embedding
    head                  [O, D*H], or [V, E]        head.weight, head.bias

The names are those of seqtrain; other programs have others. So the shapes decide: E and D*H are
those of the recurrent layers, V and O those of the task. Where several weights fit, an embedding has no bias beside it;
it comes before the recurrent layers and the head after them; else the user says which is which.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor

from seqtrain.interchange.torch_file import listed
from seqtrain.interchange.torch_recurrent import NAME, Recurrent
from seqtrain.system.errors import ConfigError, plain

MOST = 20
"""Weights of one shape that are looked at: a model has a place for two of them."""

CURE = "give the config of a task that the model fits, or change it with KEY=VALUE"

EMBEDDING, PROJECTION, HEAD, BIAS = "encoder.weight", "head.projection.weight", "head.weight", "head.bias"


class Wanted(NamedTuple):
    """What a task needs of a model.

    task : its name.
    symbols : the inputs are symbols rather than numbers.
    inputs, outputs : numbers in a step, or symbols; and numbers in a prediction.
    may_tie, ties : whether a model may have one weight for the embedding and the head, and whether the config says so.
    """

    task: str
    symbols: bool
    inputs: int
    outputs: int
    may_tie: bool
    ties: bool


class Parts(NamedTuple):
    """What a model has beside its recurrent layers.

    embedding : `[V, E]`; None if symbols enter one-hot, or the inputs are numbers.
    head, bias : `[O, D*H]` and `[O]`; the bias is None if there is none.
    projection : `[E, D*H]` from the outputs to a head `[V, E]`; None if there is none.
    tied : the embedding is the head.
    remark : which weight is what.
    """

    embedding: Tensor | None
    head: Tensor
    bias: Tensor | None
    projection: Tensor | None
    tied: bool
    remark: str


class Choice(NamedTuple):
    """The names of weights that could be the parts of a model."""

    embedding: str | None
    head: str
    projection: str | None = None


def renamed(
    tensors: Mapping[str, Tensor], rename: Mapping[str, str], ignore: Sequence[str]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The weights without those that a user leaves out, and with the user's names.

    Parameters
    ----------
    rename : to `EMBEDDING`, `PROJECTION`, `HEAD`, `BIAS`, or to the name of a recurrent weight.
    ignore : names, or what they begin with and a star: `norm.*`.

    Returns
    -------
    The weights, and the names of those that the user calls one of the first four, by these.

    Raises
    ------
    ConfigError : a name is not there, or two weights would have one name.
    """
    left_out = {name: [one for one in tensors if _is_meant(one, name)] for name in ignore}
    own = (EMBEDDING, PROJECTION, HEAD, BIAS)
    faults = [f"--ignore {plain(name)}: there is no such weight" for name, found in left_out.items() if not found]
    faults += [f"--rename {plain(old)}=...: there is no such weight" for old in rename if old not in tensors]
    faults += [
        f"--rename {plain(old)}={plain(new)}: choose one of {', '.join(own)}, or the name of a recurrent weight, such "
        "as recurrent.weight_ih_l1"
        for old, new in rename.items()
        if new not in own and not NAME.fullmatch(new)
    ]
    gone = {name for found in left_out.values() for name in found}
    names = {name: rename.get(name, name) for name in tensors if name not in gone}
    for name in rename.values():
        if [*names.values()].count(name) > 1:
            faults.append(f"--rename ...={plain(name)}: would be the name of two weights")
    if faults:
        raise ConfigError([*dict.fromkeys(faults), f"the weights are {listed([*tensors], most=40)}"])
    return {new: tensors[old] for old, new in names.items()}, {new: new for new in rename.values() if new in own}


def _is_meant(name: str, pattern: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def find_parts(tensors: Mapping[str, Tensor], recurrent: Recurrent, wanted: Wanted, said: Mapping[str, str]) -> Parts:
    """The parts of a model.

    Parameters
    ----------
    said : weights that the user has named, see `renamed`.

    Raises
    ------
    ConfigError : a part is missing, several weights could be one, or a weight has no place in the model.
    """
    search = _Search(tensors, recurrent, wanted, said)
    choice = search.choice()
    used = [name for name in choice if name is not None]
    bias = search.bias_of(choice.head, used)
    if left := [name for name in search.rest if name not in [*used, bias]]:
        raise ConfigError(search.left_over(left))
    embedding, head, projection = (None if name is None else tensors[name] for name in choice)
    assert head is not None
    tied = wanted.may_tie and embedding is not None and _are_equal(embedding, head)
    roles = {"embedding": choice.embedding, "projection": choice.projection, "head": choice.head, "its bias": bias}
    remark = ", ".join(f"the {role} is {plain(name)}".replace("the its", "its") for role, name in roles.items() if name)
    return Parts(embedding, head, None if bias is None else tensors[bias], projection, tied, remark)


def _are_equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one, other)


class _Search:
    """What the weights beside the recurrent layers could be.

    rest : these weights.
    place : of each weight, negative before the recurrent layers, positive behind them.
    """

    def __init__(
        self, tensors: Mapping[str, Tensor], recurrent: Recurrent, wanted: Wanted, said: Mapping[str, str]
    ) -> None:
        others = set(recurrent.names)
        self.rest = {name: tensor for name, tensor in tensors.items() if name not in others}
        self.wanted = wanted
        self.said = said
        self.read, self.given = recurrent.input_size, recurrent.output_size
        self.first = recurrent.names[0]
        order = {name: number for number, name in enumerate(tensors)}
        self.place = {name: order[name] - order[self.first] for name in self.rest}

    def choice(self) -> Choice:
        """The only one that fits, or of several the only one in the usual order.

        Raises
        ------
        ConfigError : there is none, or several are left.
        """
        found = [*self._with_own_head()] or [*self._with_tied_head()]
        if not found:
            raise ConfigError([*self._faults()])
        usual = [choice for choice in found if self._is_usual(choice)]
        found = usual or found
        of_one_content = all(choice.embedding and self._are_equal(choice.embedding, choice.head) for choice in found)
        if len(found) > 1 and not of_one_content:
            raise ConfigError(self._ambiguous(found))
        return found[0]

    def _ambiguous(self, choices: Sequence[Choice]) -> str:
        heads = [*dict.fromkeys(choice.head for choice in choices)]
        embeddings = [*dict.fromkeys(choice.embedding for choice in choices if choice.embedding is not None)]
        projections = [*dict.fromkeys(choice.projection for choice in choices if choice.projection is not None)]
        roles = {EMBEDDING: embeddings, PROJECTION: projections, HEAD: heads}
        which = "; ".join(f"{role} may be {self._shown(names)}" for role, names in roles.items() if len(names) > 1)
        cure = " ".join(f"--rename NAME={role}" for role, names in roles.items() if len(names) > 1)
        return f"{which}; say which is which with {cure}"

    def _is_usual(self, choice: Choice) -> bool:
        """Whether the embedding comes before the recurrent layers, and the head after them."""
        return (choice.embedding is None or self.place[choice.embedding] < 0) and self.place[choice.head] > 0

    def _are_equal(self, one: str, other: str) -> bool:
        return _are_equal(self.rest[one], self.rest[other])

    def _with_own_head(self) -> Iterator[Choice]:
        heads = self._fitting(HEAD, self.wanted.outputs, self.given)
        said = self.said.get(EMBEDDING)
        embeddings = [name for name in self._embeddings() if name == said or self._bias_beside(name) is None]
        pairs = [Choice(embedding, head) for embedding in embeddings for head in heads if embedding != head]
        yield from pairs
        if not pairs and self.read == self.wanted.inputs and said is None:  # one-hot, or numbers
            yield from (Choice(None, head) for head in heads)

    def _with_tied_head(self) -> Iterator[Choice]:
        """Two equal weights, or one in the place of two; with a projection if the outputs have another size."""
        if not self.wanted.may_tie or self.wanted.inputs != self.wanted.outputs:
            return
        names = self._embeddings()
        pairs = [pair for pair in combinations(names, 2) if self._are_equal(*pair)]
        pairs = pairs or ([(name, name) for name in names] if self.wanted.ties else [])
        for embedding, head in pairs:
            if self.read == self.given:
                yield Choice(embedding, head)
            else:
                yield from (Choice(embedding, head, name) for name in self._projections() if name not in pairs[0])

    def _embeddings(self) -> list[str]:
        return self._fitting(EMBEDDING, self.wanted.inputs, self.read) if self.wanted.symbols else []

    def _projections(self) -> list[str]:
        return self._fitting(PROJECTION, self.read, self.given)

    def _fitting(self, role: str, rows: int | None, columns: int) -> list[str]:
        """The names of the first matrices of a shape; if the user has said which one, that alone.

        rows : None for any number.
        """
        others = {name for other, name in self.said.items() if other != role}
        names = [self.said[role]] if role in self.said else [name for name in self.rest if name not in others]
        matrices = [name for name in names if self.rest[name].dim() == 2 and self.rest[name].shape[1] == columns]
        return [name for name in matrices if rows in (None, len(self.rest[name]))][:MOST]

    def _bias_beside(self, name: str) -> str | None:
        """The bias of the layer of a weight, by its name."""
        beside = name.removesuffix("weight") + "bias"
        return beside if name.endswith("weight") and beside in self.rest else None

    def bias_of(self, head: str, used: Sequence[str]) -> str | None:
        """The bias of the head: the one beside it, or else the only other weight `[O]`; None if there is none."""
        free = [name for name in self.rest if name not in used and self.rest[name].shape == (self.wanted.outputs,)]
        beside = self.said.get(BIAS, self._bias_beside(head))
        if beside is None and len(free) == 1:
            return free[0]
        return beside if beside in free else None

    def _faults(self) -> Iterator[str]:
        """Why there is nothing that fits."""
        wanted = self.wanted
        embeddings, heads = self._embeddings(), self._fitting(HEAD, wanted.outputs, self.given)
        near: list[str] = []
        if not wanted.symbols and self.read != wanted.inputs:
            yield (
                f"{plain(self.first)} reads {self.read} numbers in a step, but task {wanted.task!r} gives "
                f"{wanted.inputs}; {CURE}"
            )
        if not wanted.symbols and EMBEDDING in self.said:
            yield f"--rename ...={EMBEDDING}: task {wanted.task!r} takes numbers, and needs no embedding"
        if wanted.symbols and not embeddings and (self.read != wanted.inputs or EMBEDDING in self.said):
            near += self._near(EMBEDDING, self.read, heads, side=-1)
            yield self._misfit("embedding", "symbols", wanted.inputs, self.read, near)
        if not heads:
            close = self._near(HEAD, self.given, embeddings, side=1)
            yield self._misfit("head", "outputs", wanted.outputs, self.given, close)
            near += close
        elif embeddings and all(map(self._bias_beside, embeddings)):
            yield f"{self._shown(embeddings)} would fit as the embedding, but has a bias beside it, as no embedding has"
        elif embeddings:
            cure = "; if the model has one weight for both, add model.tied=true" if wanted.may_tie else ""
            yield f"{self._shown(embeddings)} fits as the embedding and as the head, and nothing else does{cure}"
        known = {*embeddings, *heads, *near}
        known |= {self._bias_beside(name) or name for name in known}
        if left := [name for name in self.rest if name not in known]:
            yield self.left_over(left)

    def _near(self, role: str, columns: int, others: Sequence[str], side: int) -> list[str]:
        """What has the right number of columns, if possible on the usual side of the recurrent layers."""
        found = [name for name in self._fitting(role, None, columns) if name not in others]
        return [name for name in found if self.place[name] * side > 0] or found

    def _misfit(self, part: str, unit: str, rows: int, columns: int, near: Sequence[str]) -> str:
        if near:
            each = " and ".join(f"{plain(name)} has {len(self.rest[name])} {unit}" for name in near)
            return f"{each}, but task {self.wanted.task!r} has {rows}; {CURE}"
        return (
            f"no weight is the {part}, which must be [{rows}, {columns}] for task {self.wanted.task!r} and these "
            f"recurrent layers; {CURE}"
        )

    def left_over(self, names: Sequence[str]) -> str:
        """That weights have no place in the model."""
        first = plain(names[0])
        return (
            f"without a place in the model: {self._shown(names)}; without these it would compute something else: "
            f"--rename {first}=OURS says what one is, --ignore {first} leaves it out"
        )

    def _shown(self, names: Sequence[str]) -> str:
        return listed([f"{plain(name)} {list(self.rest[name].shape)}" for name in names])
