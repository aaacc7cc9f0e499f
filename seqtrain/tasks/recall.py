"""Associative recall."""

from typing import Annotated, Any

import torch
from pydantic import Field

from seqtrain.system.settings import Affects, Faults, Size, Symbols
from seqtrain.tasks.base import Batch
from seqtrain.tasks.facts import HiddenFact, constant, numbered
from seqtrain.tasks.generated import Classification

DISTRACTORS = 4


class Recall(Classification):
    """Keys with their values, then distractors, then one of the keys again: name its value.

        k3 v7  k1 v2  k8 v2  .  :  .  ;  '  k1   -->   v2        3 pairs, a delay of 5

    A sequence is `pairs` different keys, each followed by its value; then `delay` distractors of four kinds; then the
    query, one of those keys. Keys, values, distractors and the query are uniform and independent, and each kind has
    its own symbols. So a model must bind keys to values: the values alone do not help. There is no canonical
    definition; this one is our own.

    Loss: cross-entropy after the query. Baseline: a guess among the values, ln(values). Solved: at least 99 % right.
    """

    name = "recall"
    reach = "delay"
    every_step = False

    pairs: Annotated[Size, Affects.DATA] = 3
    """Keys with a value in a sequence."""
    keys: Annotated[Symbols, Affects.DATA] = 8
    """Different keys to draw from."""
    values: Annotated[Symbols, Affects.DATA] = 8
    """Different values to draw from."""
    delay: Annotated[int, Field(ge=0, le=1_000_000), Affects.DATA] = 10
    """Distractors between the last pair and the query."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.input_size, self.output_size = self.keys + self.values + DISTRACTORS, self.values

    @classmethod
    def faults(cls, settings: Any) -> Faults:
        """More pairs than keys."""
        if settings.pairs > settings.keys:
            yield (
                "pairs",
                f"is {settings.pairs}, but no key comes twice and there are {settings.keys}; use fewer pairs, or more "
                "keys",
            )

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Symbols `[2 pairs + delay + 1, B]`: keys, then values, then distractors in the alphabet; values `[B]`."""
        p, B = self.pairs, batch_size
        keys = torch.rand(self.keys, B, generator=generator).topk(p, dim=0).indices  # p different ones
        values = torch.randint(self.values, (p, B), generator=generator)
        distractors = torch.randint(DISTRACTORS, (self.delay, B), generator=generator)
        query = torch.randint(p, (1, B), generator=generator)  # the pair that is asked for
        pairs = torch.stack([keys, self.keys + values], 1).flatten(0, 1)  # [2p, B], a key and a value in turn
        inputs = torch.cat([pairs, self.keys + self.values + distractors, keys.gather(0, query)])
        return Batch(inputs, values.gather(0, query)[0])

    def hidden_facts(self, batch: Batch) -> list[HiddenFact]:
        """The value of each pair, up to the step before the query."""
        T = len(batch.inputs)
        return [
            constant(
                f"value of pair {pair + 1}", batch.inputs[2 * pair + 1] - self.keys, 2 * pair + 1, T - 2, T,
                numbered(self.values),
            )
            for pair in range(self.pairs)
        ]  # fmt: skip
