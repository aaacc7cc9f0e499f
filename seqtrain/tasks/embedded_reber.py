"""The embedded Reber grammar."""

from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from seqtrain.system.settings import Affects
from seqtrain.tasks.base import Batch, Prediction, Split
from seqtrain.tasks.facts import HiddenFact, constant
from seqtrain.tasks.generated import SizedTask
from seqtrain.tasks.metrics import Tally
from seqtrain.tasks.next_symbols import NextSymbols

ALPHABET = "BTPSXVE"
B, T, P, S, X, V, E = range(len(ALPHABET))

ARCS = ((T, 1), (P, 2), (S, 1), (X, 3), (T, 2), (V, 4), (X, 2), (S, 5), (P, 3), (V, 5))
"""Arcs 2n and 2n + 1 start at node n of the grammar: a symbol, and the node where the arc ends."""

END = 5
"""The last node: E comes next."""

BLOCK = 16
"""Steps that are drawn at once."""

SHARES = {"valid": 2, "test": 3}
"""The quarter of all strings from which a fixed set is drawn; training has the other two."""


class EmbeddedReber(NextSymbols, SizedTask):
    """Name the symbols that may come next in strings whose second-to-last symbol repeats the second.

        B T (B P V V E) T E               the Reber grammar inside, between B and E, from node 0 to 5
        B T (B T S S X S E) T E
        B P (B T X X V P S E) P E           node   0     1     2     3     4    5
          |                   |             arcs  T>1   S>1   T>2   X>2   P>3
          +--------- = -------+                   P>2   X>3   V>4   S>5   V>5

    Both arcs of a node are equally likely, and so are T and P around the inner string. The last E is not an input
    (Cleeremans, Servan-Schreiber & McClelland 1989; Hochreiter & Schmidhuber 1997, experiment 1).

    Every training batch is new. A hash with the seed puts half of all strings into training and a quarter each into the
    validation and the test set. A fixed set has no string twice.

    `accuracy`: strings where, at every step, each symbol that may come has a larger output than each that may not.
    Loss: binary cross-entropy, summed over the symbols, averaged over the steps. Baseline: the best guess from the
    current symbol; it gets no string right, since B follows the second symbol and E its repetition. Solved: every
    string of the validation set right.
    """

    name = "embedded_reber"
    reach = None
    input_size = output_size = len(ALPHABET)

    valid_size: Annotated[int, Field(ge=1, le=2000), Affects.EVALUATION] = 256
    """Different strings in the fixed validation set."""
    test_size: Annotated[int, Field(ge=1, le=2000), Affects.EVALUATION] = 256
    """Different strings in the fixed test set."""

    def __post_init__(self) -> None:
        """Draw the factor of the hash."""
        super().__post_init__()
        factor = torch.randint(2**62, (), generator=self.generator("hash"))
        self._factor = 2 * factor + 1

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Symbols `[T, B]` and sets `[T, B, 7]` of strings that belong to training."""
        paths = _NO_PATHS
        while paths.shape[1] < batch_size:
            drawn = _walk(2 * batch_size + 16, generator)
            paths = _joined(paths, drawn[:, self._share(drawn) < min(SHARES.values())])
        return _as_batch(paths[:, :batch_size])

    def sample_fixed(self, split: Split, size: int) -> Batch:
        """The first strings drawn that belong to the split and are different."""
        generator = self.generator(split)
        paths = _NO_PATHS
        while paths.shape[1] < size:
            drawn = _walk(4 * size + 16, generator)
            paths = _joined(paths, drawn[:, self._share(drawn) == SHARES[split]])
            first = np.unique(self._hash(paths).numpy(), return_index=True)[1]  # the place of each different string
            paths = paths[:, np.sort(first)]
        return _as_batch(paths[:, :size])

    def _share(self, paths: Tensor) -> Tensor:
        """`[B]`, the quarter of all strings that each belongs to: 0 to 3."""
        return (self._hash(paths) >> 61) & 3

    def _hash(self, paths: Tensor) -> Tensor:
        """`[B]`, a polynomial in a random factor, modulo 2^64; arcs after END count as zero."""
        outer, arcs = paths[:1], paths[1:]
        digits = torch.cat([outer, (arcs + 1) * (arcs < len(ARCS))])
        powers = self._factor.expand(len(digits)).cumprod(0)
        return (digits * powers[:, None]).sum(0)

    def measure(self, prediction: Prediction, batch: Batch) -> Tally:
        """Strings that are right at every step (`accuracy`)."""
        return Tally().add("accuracy", self.right(prediction.outputs, batch).all(0).sum(), batch.size)

    def read_sets(self, outputs: Tensor, batch: Batch) -> Tensor:
        """`[T, B]`, the steps where the symbols that may come have the largest outputs."""
        possible = batch.targets > 0
        least = outputs.masked_fill(~possible, torch.inf).amin(-1)
        return least > outputs.masked_fill(possible, -torch.inf).amax(-1)

    def solved(self, means: dict[str, float]) -> bool:
        """Every string."""
        return means["accuracy"] == 1.0

    def memory_predictions(self, batch: Batch) -> Tensor:
        """The repetition of the second symbol."""
        assert batch.lengths is not None
        return torch.arange(len(batch.inputs))[:, None] == batch.lengths - 2

    def hidden_facts(self, batch: Batch) -> list[HiddenFact]:
        """The second symbol, up to the step before its repetition."""
        assert batch.lengths is not None
        is_p = (batch.inputs[1] == P).long()
        return [constant("second symbol", is_p, 1, batch.lengths - 2, len(batch.inputs), ("T", "P"))]


_NO_PATHS = torch.zeros(1, 0, dtype=torch.long)
"""Paths through the grammar are `[1 + M, B]`: the outer T or P, then arcs, of which those after END mean nothing."""

_SYMBOLS = torch.tensor([*(symbol for symbol, _ in ARCS), E, E])
_NODES = torch.tensor([*(node for _, node in ARCS), END, END])
_SETS = F.one_hot(_SYMBOLS, len(ALPHABET)).view(END + 1, 2, -1).amax(1).float()  # [node, symbol]


def _walk(batch_size: int, generator: torch.Generator) -> Tensor:
    """Draw paths until all have reached END."""
    outer = torch.randint(T, P + 1, (batch_size,), generator=generator)
    node, rows = torch.zeros_like(outer), [outer]
    while bool((node < END).any()):
        for choice in torch.randint(2, (BLOCK, batch_size), generator=generator).unbind():
            rows.append(choice.add_(node, alpha=2))
            node = _NODES.take(choice)
    return torch.stack(rows)


def _joined(*parts: Tensor) -> Tensor:
    """Paths next to each other, extended to the same length."""
    M = max(map(len, parts))
    return torch.cat([F.pad(paths, (0, 0, 0, M - len(paths)), value=len(ARCS)) for paths in parts], 1)


def _as_batch(paths: Tensor) -> Batch:
    """The strings without the last E: B t B, the inner symbols, E t."""
    outer, arcs = paths[0], paths[1:]
    nodes = F.pad(_NODES[arcs], (0, 0, 1, 0))  # [M+1, B], before each arc
    inner = (nodes < END).sum(0, keepdim=True)
    steps = torch.arange(len(arcs) + 5)[:, None]
    inputs = steps.new_zeros(len(steps), len(outer))
    targets = torch.zeros(*inputs.shape, len(ALPHABET))
    inputs[1] = outer
    inputs[3:-2] = _SYMBOLS[arcs]
    inputs.scatter_(0, inner + 3, E)
    inputs.scatter_(0, inner + 4, outer[None])
    targets[0] = _SETS[0]
    targets[1, :, B] = 1
    targets[2:-2] = _SETS[nodes]
    columns = torch.arange(len(outer))
    targets[inner[0] + 3, columns] = F.one_hot(outer, len(ALPHABET)).float()
    targets[inner[0] + 4, columns] = _SETS[END]
    inside = steps < inner + 5
    longest = int(inner.max()) + 5
    return Batch(
        (inputs * inside)[:longest], (targets * inside[..., None])[:longest], inner[0] + 5, scored=inside[:longest]
    )
