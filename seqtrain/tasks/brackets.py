"""Nested brackets of several kinds."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from seqtrain.system.settings import Affects, Size
from seqtrain.tasks.base import Batch, SizedTask, Spec, Split
from seqtrain.tasks.metrics import Metric, Tally
from seqtrain.tasks.next_symbols import NextSymbols


@dataclass(kw_only=True, eq=False)
class Brackets(NextSymbols, SizedTask):
    """At every step, name the brackets that may close: the one that was opened last, or none.

        input     (   [   ]   [   (   )   ]   )   [
        target    )   ]   )   ]   )   ]   )   -   ]
        depth     1   2   1   2   3   2   1   0   1

    The depth goes up or down by one at every step, either as likely, up at 0 and down at the largest depth; the kind of
    an opening bracket is drawn. Training strings have `train_length` steps and go to `train_depth`. Those of the fixed
    sets have `length` steps and go straight to `depth` before they begin to wander, both beyond training (bounded Dyck
    languages: Hewitt, Hahn, Ganguli, Liang & Manning 2020).

    `accuracy`: of the closing brackets behind the trained length, those after which just the right bracket has a
    probability above one half. After an opening bracket the answer is its own kind, so these do not count.
    Loss: binary cross-entropy, summed over the kinds, averaged over the steps. Baseline: the best guess from the
    current symbol. Solved: at least 99 % right.
    """

    name = "brackets"
    metric = Metric("accuracy", higher_is_better=True, most=1.0)

    kinds: Annotated[int, Field(ge=1, le=1000), Affects.DATA] = 2
    """Kinds of brackets; one asks for a counter only, more for a stack."""
    train_length: Size = 50
    """Steps in a training string."""
    train_depth: Size = 5
    """Most brackets open at once in training."""
    length: Annotated[Size, Affects.EVALUATION] = 100
    """Steps in a string of the fixed sets; more than in training."""
    depth: Annotated[Size, Affects.EVALUATION] = 6
    """Most brackets open at once in the fixed sets; more than in training."""

    def __post_init__(self) -> None:
        """Name the definition and lay out the sequences."""
        super().__post_init__()
        self.spec = Spec(input_size=2 * self.kinds, symbols=True, output_size=self.kinds, every_step=True)
        self.definition = (
            f"brackets/kinds={self.kinds}/train_length={self.train_length}/train_depth={self.train_depth}"
            f"/length={self.length}/depth={self.depth}/v{self.generator_version}"
        )

    @classmethod
    def faults(cls, settings: Any) -> Iterator[tuple[str, str]]:
        """Sets that do not go beyond training and come back."""
        length, depth = settings.train_length, settings.train_depth
        if depth > length:
            yield (
                "train_depth",
                f"is {depth}, but in train_length {length} no more than {length} brackets can be opened; make it "
                "smaller",
            )
        if settings.depth <= depth:
            yield (
                "depth",
                f"is {settings.depth}; the fixed sets go deeper than training, so it must be more than train_depth "
                f"{depth}",
            )
        if settings.length <= length + settings.depth:
            yield (
                "length",
                f"is {settings.length}; for every string to close a bracket behind the trained length it must be more "
                f"than train_length + depth, {length + settings.depth}",
            )

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Symbols `[T, B]`, the kinds that open and then those that close; sets of closing kinds `[T, B, kinds]`."""
        moves = _moves(self.train_length, batch_size, generator)
        return self._strings(moves, self.train_depth, generator)

    def sample_fixed(self, split: Split) -> Batch:
        """Longer strings that go deeper."""
        generator = self.generator(split)
        moves = _moves(self.length, self.sizes[split], generator)
        moves[: self.depth] = 1
        return self._strings(moves, self.depth, generator)

    def _strings(self, moves: Tensor, limit: int, generator: torch.Generator) -> Batch:
        walk = moves.cumsum(0) % (2 * limit)
        depth = torch.minimum(walk, 2 * limit - walk)  # folded at 0 and at the limit
        opens = depth.diff(dim=0, prepend=torch.zeros_like(depth[:1])) > 0
        kind = torch.randint(self.kinds, moves.shape, generator=generator)
        top = _last_opened(kind, depth, opens)
        inputs = kind.where(opens, self.kinds + top.roll(1, 0))  # a closing bracket: what was on top before
        targets = torch.zeros(*moves.shape, self.kinds).scatter_(2, top[..., None], 1.0) * (depth > 0)[..., None]
        return Batch(inputs, targets)

    def score(self, outputs: Tensor, batch: Batch) -> Tally:
        """Closing brackets behind the trained length after which all is right (`accuracy`)."""
        right = self.right(outputs, batch)[self._counting(batch)]
        return Tally().add("accuracy", right.sum(), right.numel())

    def baseline(self, split: Split) -> dict[str, float]:
        """The least loss, and the commonest answer after each closing bracket."""
        counts = torch.zeros(2 * self.kinds, self.kinds + 1)
        for batch in self.eval_batches(split, 500):
            counting = self._counting(batch)
            answer = batch.targets[counting] @ torch.arange(1.0, self.kinds + 1)  # 0 for an empty set
            counts.index_put_((batch.inputs[counting], answer.long()), torch.ones(()), accumulate=True)
        return super().baseline(split) | {"accuracy": float(counts.amax(1).sum() / counts.sum())}

    def _counting(self, batch: Batch) -> Tensor:
        """`[T, B]`, the closing brackets behind the trained length."""
        closes = batch.inputs >= self.kinds
        closes[: self.train_length] = False
        return closes

    def solved(self, means: dict[str, float]) -> bool:
        """At least 99 % right."""
        return means["accuracy"] >= 0.99


def _moves(T: int, B: int, generator: torch.Generator) -> Tensor:
    """`[T, B]`, 1 or -1, either as likely."""
    return 2 * torch.randint(2, (T, B), generator=generator) - 1


def _last_opened(kind: Tensor, depth: Tensor, opens: Tensor) -> Tensor:
    """`[T, B]`, the kind on top of the stack after each step, anything where the stack is empty.

    It is the kind of the last opening bracket that led to the same depth. So the steps are sorted by depth, and those
    of a depth by time; then each opening bracket rules until the next one.
    """
    order = depth.sort(dim=0, stable=True).indices
    place = torch.arange(len(depth))[:, None] * opens.gather(0, order)
    ruling = place.cummax(0).values
    tops = kind.gather(0, order).gather(0, ruling)
    return torch.empty_like(kind).scatter_(0, order, tops)
