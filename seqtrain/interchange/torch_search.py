"""What the weights beside the recurrent layers could be; see `torch_parts`."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor

from seqtrain.interchange.torch_file import listed, shown
from seqtrain.interchange.torch_names import BIAS, EMBEDDING, HEAD, PROJECTION, role_of
from seqtrain.interchange.torch_recurrent import NAME, Recurrent
from seqtrain.system.errors import ConfigError
from seqtrain.system.words import counted

MOST = 20
"""Weights of one shape that are looked at: a model has a place for two of them."""

CURE = "give the config of a task that the model fits, or change it with KEY=VALUE"


class Wanted(NamedTuple):
    """What a task needs of a model.

    task : its name.
    symbols : the inputs are symbols rather than numbers.
    inputs, outputs : numbers in a step, or symbols; and numbers in a prediction.
    may_tie, ties : whether a model may have one weight for the embedding and the head, and whether the config says so.
    vocabulary : the file that the number of symbols comes from; None if they are those of the task.
    """

    task: str
    symbols: bool
    inputs: int
    outputs: int
    may_tie: bool
    ties: bool
    vocabulary: str | None = None


class Choice(NamedTuple):
    """The names of weights that could be the parts of a model."""

    embedding: str | None
    head: str
    projection: str | None = None


def are_equal(one: Tensor, other: Tensor) -> bool:
    """Whether two weights are the same numbers."""
    return one.shape == other.shape and torch.equal(one, other)


class Search:
    """What the weights beside the recurrent layers could be.

    rest : these weights.
    place : of each weight, negative before the recurrent layers, positive behind them.
    by_order : whether `choice` had only the order of the weights to tell an embedding from a head.
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        recurrent: Recurrent,
        wanted: Wanted,
        said: Mapping[str, str],
        *,
        in_order: bool,
    ) -> None:
        others = set(recurrent.names)
        self.names = [*tensors]
        self.rest = {name: tensor for name, tensor in tensors.items() if name not in others}
        self.wanted = wanted
        self.said = said
        self.in_order = in_order
        self.by_order = False
        self.read, self.given = recurrent.input_size, recurrent.output_size
        self.first = recurrent.names[0]
        order = {name: number for number, name in enumerate(tensors)}
        self.place = {name: order[name] - order[self.first] for name in self.rest}

    def choice(self) -> Choice:
        """The only one that fits, or of several the only one that names and order allow.

        Raises
        ------
        ConfigError : there is none, or several are left.
        """
        found = [*self._with_own_head()] or [*self._with_tied_head()]
        if not found:
            raise ConfigError([*self._faults()])
        of_one_content = all(choice.embedding and self._are_equal(choice.embedding, choice.head) for choice in found)
        if len(found) > 1 and not of_one_content:
            found = self._likely(found)
            if len(found) > 1:
                raise ConfigError(self._ambiguous(found))
        return found[0]

    def _likely(self, choices: list[Choice]) -> list[Choice]:
        """Of choices of the same weights, the one that clear names allow, or else the order; all if none is left."""
        if len({frozenset(choice) for choice in choices}) > 1:  # whichever is right, a weight has no place
            return choices
        roles = [(choice, [role_of(choice.embedding or ""), role_of(choice.head)]) for choice in choices]
        fair = [(choice, own) for choice, own in roles if own[0] != HEAD and own[1] != EMBEDDING]
        named = [choice for choice, own in fair if any(own)]
        usual = [choice for choice, _ in fair if self.in_order and self._is_usual(choice)]
        found = named or usual
        self.by_order = len(found) == 1 and not named
        return found if len(found) == 1 else choices

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
        return are_equal(self.rest[one], self.rest[other])

    def _with_own_head(self) -> Iterator[Choice]:
        heads = self._fitting(HEAD, self.wanted.outputs, self.given)
        said, may_be_one_hot = self.said.get(EMBEDDING), self.read == self.wanted.inputs  # or numbers
        embeddings = [name for name in self._embeddings() if name == said or self._bias_beside(name) is None]
        if may_be_one_hot and said is None:  # a square matrix may be any layer
            embeddings = [name for name in embeddings if role_of(name) == EMBEDDING]
        pairs = [Choice(embedding, head) for embedding in embeddings for head in heads if embedding != head]
        yield from pairs
        if not pairs and may_be_one_hot and said is None:
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
        """The bias of the head: the one beside it, or else one of that name and shape in no module with other weights.

        None if there is none.
        """
        free = [name for name in self.rest if name not in used and self.rest[name].shape == (self.wanted.outputs,)]
        beside = self.said.get(BIAS, self._bias_beside(head))
        if beside is not None:
            return beside if beside in free else None
        alone = [name for name in free if self._is_lone_bias(name)]
        return alone[0] if len(alone) == 1 else None

    def _is_lone_bias(self, name: str) -> bool:
        """Whether it is called a bias, and no other weight is in its module, whose bias it would be."""
        module, dot, last = name.rpartition(".")
        others = [one for one in self.names if one != name and one.startswith(module + dot)] if module else []
        return "bias" in last.lower() and not others and NAME.fullmatch(name) is None

    def _faults(self) -> Iterator[str]:
        """Why there is nothing that fits."""
        wanted = self.wanted
        embeddings, heads = self._embeddings(), self._fitting(HEAD, wanted.outputs, self.given)
        near: list[str] = []
        if not wanted.symbols and self.read != wanted.inputs:
            yield (
                f"{shown(self.first)} reads {self.read} numbers in a step, but task {wanted.task!r} gives "
                f"{wanted.inputs}; {CURE}"
            )
        if not wanted.symbols and EMBEDDING in self.said:
            yield f"--rename ...={EMBEDDING}: task {wanted.task!r} takes numbers, and needs no embedding"
        if wanted.symbols and not embeddings and (self.read != wanted.inputs or EMBEDDING in self.said):
            near += self._near(EMBEDDING, self.read, heads, side=-1)
            yield self._misfit("embedding", "symbol", wanted.inputs, self.read, near)
        if not heads:
            close = self._near(HEAD, self.given, embeddings, side=1)
            yield self._misfit("head", "output", wanted.outputs, self.given, close)
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
        named = [name for name in found if role_of(name) == role]
        return named or [name for name in found if self.in_order and self.place[name] * side > 0] or found

    def _misfit(self, part: str, unit: str, rows: int, columns: int, near: Sequence[str]) -> str:
        task, file = self.wanted.task, self.wanted.vocabulary
        if near and file is not None:
            each = " and ".join(f"{shown(name)} has {counted(len(self.rest[name]), 'row')}" for name in near)
            return f"{file} has {counted(rows, 'token')}, but {each}; give a line for each row"
        if near:
            each = " and ".join(f"{shown(name)} has {counted(len(self.rest[name]), unit)}" for name in near)
            cure = "give your vocabulary with --vocabulary FILE, or " if self.wanted.may_tie else ""
            return f"{each}, but task {task!r} has {rows}; {cure}{CURE}"
        return (
            f"no weight is the {part}, which must be [{rows}, {columns}] for task {task!r} and these "
            f"recurrent layers; {CURE}"
        )

    def left_over(self, names: Sequence[str]) -> str:
        """That weights have no place in the model."""
        first, embeddings = shown(names[0]), self._embeddings()
        ours = next((f"{shown(name)}={EMBEDDING}" for name in names if name in embeddings), None)
        hint = f"if it is the embedding, --rename {ours}; else " if ours and EMBEDDING not in self.said else ""
        return (
            f"without a place in the model: {self._shown(names)}; without these it would compute something else: {hint}"
            f"--rename {first}=OURS says what one is; give --ignore {first} only if the model does not use it for its "
            "answer"
        )

    def _shown(self, names: Sequence[str]) -> str:
        return listed([f"{shown(name)} {list(self.rest[name].shape)}" for name in names])
