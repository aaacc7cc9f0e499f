"""A task that needs the past and the future at once."""

import math
from typing import Annotated, Any

import torch
from pydantic import Field

from seqtrain.system.settings import Affects, Faults, Symbols
from seqtrain.tasks.base import Batch, Split
from seqtrain.tasks.facts import HiddenFact, numbered
from seqtrain.tasks.generated import Classification


class Lookaround(Classification):
    """At every step, say whether the symbol k steps before equals the symbol k steps after.

        input    b  a  a  b  b  a  a  b            k = 2
        target   .  .  1  0  0  0  .  .            x[t-k] == x[t+k]; the first and last k steps do not count

    Symbols are independent and uniform, so a model that sees one side only cannot do better than the prior. One
    bidirectional layer is not enough either: the output is a sum of its two halves, and no sum of two bits is
    their equality; use `depth: 2`.

    Loss: cross-entropy at the steps that count. Baseline: entropy of the prior. Solved: at least 99 % right.
    """

    name = "lookaround"
    every_step = True

    length: Annotated[int, Field(ge=3, le=1_000_000), Affects.DATA] = 40
    """Steps in a sequence."""
    offset: Annotated[int, Field(ge=1, le=1_000_000), Affects.DATA] = 3
    """Steps to each of the two symbols that are compared."""
    symbols: Annotated[Symbols, Affects.DATA] = 2
    """Size of the alphabet."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.input_size, self.output_size = self.symbols, 2

    @classmethod
    def faults(cls, settings: Any) -> Faults:
        """A sequence without a step that has both sides."""
        if settings.length <= 2 * settings.offset:
            yield (
                "length",
                f"is {settings.length}; with offset {settings.offset} it must be more than {2 * settings.offset}",
            )

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Symbols `[T, B]`, targets 0 or 1 `[T, B]`."""
        T, k = self.length, self.offset
        x = torch.randint(self.symbols, (T, batch_size), generator=generator)
        targets = torch.zeros_like(x)
        targets[k : T - k] = (x[: T - 2 * k] == x[2 * k :]).long()
        scored = torch.zeros_like(x, dtype=torch.bool)
        scored[k : T - k] = True
        return Batch(x, targets, scored=scored)

    def baseline(self, split: Split) -> dict[str, float]:  # noqa: ARG002
        """The prior: two symbols are equal with probability 1/symbols."""
        p = 1 / self.symbols
        return {"loss": -p * math.log(p) - (1 - p) * math.log(1 - p), "accuracy": max(p, 1 - p)}

    def hidden_facts(self, batch: Batch) -> list[HiddenFact]:
        """The symbol `offset` steps before, which an answer needs."""
        steps = torch.arange(len(batch.inputs))[:, None].expand(batch.inputs.shape)
        before = batch.inputs.roll(self.offset, 0)
        return [HiddenFact(f"symbol {self.offset} steps before", before, steps >= self.offset, numbered(self.symbols))]
