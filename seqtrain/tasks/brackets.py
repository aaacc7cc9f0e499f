"""Nested brackets of several kinds."""

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from seqtrain.system.settings import Affects, Faults, Size
from seqtrain.tasks.base import Batch, Prediction, Split
from seqtrain.tasks.facts import HiddenFact, numbered
from seqtrain.tasks.generated import SizedTask
from seqtrain.tasks.metrics import Tally
from seqtrain.tasks.next_symbols import NextSymbols


class Brackets(NextSymbols, SizedTask):
    """At every step, name the bracket that may close: the one that was opened last, or none.

        input     (   [   ]   [   (   )   ]   )   [
        target    )   ]   )   ]   )   ]   )   -   ]
        depth     1   2   1   2   3   2   1   0   1

    At every step the depth increases or decreases by one with equal probability, except that it increases at 0 and
    decreases at the largest depth; the kind of an opening bracket is random. Training strings have `train_length` steps
    and reach `train_depth`. Strings of the fixed sets have `length` steps and first open `depth` brackets, both more
    than in training (bounded Dyck languages: Hewitt, Hahn, Ganguli, Liang & Manning 2020).

    `accuracy`: the share of closing brackets after the trained length for which exactly the right bracket has a
    probability above one half. Opening brackets do not count, since the answer after one is its own kind.
    Loss: binary cross-entropy, summed over the kinds, averaged over the steps. Baseline: the best guess from the
    current symbol. Solved: at least 99 % right.
    """

    name = "brackets"

    kinds: Annotated[int, Field(ge=1, le=1000), Affects.DATA] = 2
    """Kinds of brackets; one kind needs a counter only, several need a stack."""
    train_length: Size = 50
    """Steps in a training string."""
    train_depth: Size = 5
    """Most brackets open at once in training."""
    length: Annotated[Size, Affects.EVALUATION] = 100
    """Steps in a string of the fixed sets; more than in training."""
    depth: Annotated[Size, Affects.EVALUATION] = 6
    """Most brackets open at once in the fixed sets; more than in training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.input_size, self.output_size = 2 * self.kinds, self.kinds

    @classmethod
    def faults(cls, settings: Any) -> Faults:
        """Fixed sets that are not longer and deeper than training."""
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
                f"is {settings.length}; for every string to close a bracket after the trained length it must be more "
                f"than train_length + depth, {length + settings.depth}",
            )

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Symbols `[T, B]`, opening kinds first in the alphabet; sets of closing kinds `[T, B, kinds]`."""
        return self._strings(self.train_length, batch_size, self.train_depth, 0, generator)

    def sample_fixed(self, split: Split, size: int) -> Batch:
        """Longer and deeper strings."""
        return self._strings(self.length, size, self.depth, self.depth, self.generator(split))

    def _strings(self, T: int, B: int, limit: int, opened: int, generator: torch.Generator) -> Batch:
        """Strings of T steps that reach the depth `limit` at most and first open `opened` brackets."""
        moves = 2 * torch.randint(2, (T, B), generator=generator) - 1
        moves[:opened] = 1
        walk = moves.cumsum(0) % (2 * limit)
        depth = torch.minimum(walk, 2 * limit - walk)  # reflected at 0 and at the limit
        opens = depth.diff(dim=0, prepend=torch.zeros_like(depth[:1])) > 0
        kind = torch.randint(self.kinds, moves.shape, generator=generator)
        top = _last_opened(kind, depth, opens)
        inputs = kind.where(opens, self.kinds + top.roll(1, 0))  # a closing bracket closes the previous top
        targets = torch.zeros(*moves.shape, self.kinds).scatter_(2, top[..., None], 1.0) * (depth > 0)[..., None]
        return Batch(inputs, targets)

    def measure(self, prediction: Prediction, batch: Batch) -> Tally:
        """Right answers to closing brackets after the trained length (`accuracy`)."""
        right = self.right(prediction.outputs, batch)[self._counting(batch)]
        return Tally().add("accuracy", right.sum(), right.numel())

    def baseline(self, split: Split) -> dict[str, float]:
        """The smallest loss, and the most frequent answer after each closing bracket."""
        counts = torch.zeros(2 * self.kinds, self.kinds + 1)
        for batch in self.eval_batches(split, 500):
            counting = self._counting(batch)
            answer = batch.targets[counting] @ torch.arange(1.0, self.kinds + 1)  # 0 for an empty set
            counts.index_put_((batch.inputs[counting], answer.long()), torch.ones(()), accumulate=True)
        return super().baseline(split) | {"accuracy": float(counts.amax(1).sum() / counts.sum())}

    def hidden_facts(self, batch: Batch) -> list[HiddenFact]:
        """How many brackets are open, and, of several kinds, which was opened last."""
        opens = batch.inputs < self.kinds
        depth = (2 * opens.long() - 1).cumsum(0)
        facts = [HiddenFact("open brackets", depth.float(), torch.ones_like(opens))]
        if self.kinds > 1:
            last = HiddenFact("kind opened last", batch.targets.argmax(-1), depth > 0, numbered(self.kinds))
            facts.append(last)
        return facts

    def _counting(self, batch: Batch) -> Tensor:
        """`[T, B]`, the closing brackets after the trained length."""
        closes = batch.inputs >= self.kinds
        closes[: self.train_length] = False
        return closes


def _last_opened(kind: Tensor, depth: Tensor, opens: Tensor) -> Tensor:
    """`[T, B]`, the kind on top of the stack after each step, any kind where the stack is empty.

    It is the kind of the last opening bracket that led to the same depth. So the steps are sorted by depth and then by
    time; in this order each opening bracket is valid until the next one.
    """
    order = depth.sort(dim=0, stable=True).indices
    place = torch.arange(len(depth))[:, None] * opens.gather(0, order)
    last = place.cummax(0).values
    tops = kind.gather(0, order).gather(0, last)
    return torch.empty_like(kind).scatter_(0, order, tops)
