"""Associative recall."""

import math

import torch

from seqtrain.tasks.base import Batch, GeneratedTask, Prediction, Spec, Split, count_correct
from seqtrain.tasks.metrics import Metric, Tally

DISTRACTORS = 4


class Recall(GeneratedTask):
    """Keys with their values, then distractors, then one of the keys again: say its value.

        k3 v7  k1 v2  k8 v2  .  :  .  ;  '  k1   -->   v2        3 pairs, a delay of 5

    A sequence is `pairs` keys, no two of them equal, each followed by its value; then `delay` distractors of four
    kinds; then the query, one of those keys. Keys, values, distractors and the query are uniform and independent, and
    each kind has symbols of its own. So a model must bind what it stores: to hold the values alone does not help.
    There is no canonical definition, and this one is ours.

    Loss: cross-entropy after the query. Baseline: a guess among the values, ln(values). Solved: at least 99 % right.
    """

    name = "recall"
    reach = "delay"
    metric = Metric("accuracy", higher_is_better=True, most=1.0)

    def __init__(
        self,
        *,
        seed: int,
        pairs: int = 3,
        keys: int = 8,
        values: int = 8,
        delay: int = 10,
        valid_size: int = 2000,
        test_size: int = 2000,
    ) -> None:
        super().__init__(seed=seed, valid_size=valid_size, test_size=test_size)
        self.pairs, self.keys, self.values, self.delay = pairs, keys, values, delay
        self.spec = Spec(keys + values + DISTRACTORS, symbols=True, output_size=values, every_step=False)
        settings = f"pairs={pairs}/keys={keys}/values={values}/delay={delay}"
        self.variant = f"recall/{settings}/v{self.generator_version}"

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Symbols `[2 pairs + delay + 1, B]`: keys, then values, then distractors in the alphabet; values `[B]`."""
        p, B = self.pairs, batch_size
        keys = torch.rand(self.keys, B, generator=generator).topk(p, dim=0).indices  # p different ones
        values = torch.randint(self.values, (p, B), generator=generator)
        distractors = torch.randint(DISTRACTORS, (self.delay, B), generator=generator)
        asked = torch.randint(p, (1, B), generator=generator)
        pairs = torch.stack([keys, self.keys + values], 1).flatten(0, 1)  # [2p, B], a key and a value in turn
        inputs = torch.cat([pairs, self.keys + self.values + distractors, keys.gather(0, asked)])
        return Batch(inputs, values.gather(0, asked)[0])

    def measure(self, prediction: Prediction, batch: Batch) -> Tally:
        """Queries that are answered right (`accuracy`)."""
        return Tally().add("accuracy", count_correct(prediction.outputs, batch.targets), batch.size)

    def baseline(self, split: Split) -> dict[str, float]:  # noqa: ARG002
        """A guess among equally likely values: the query alone says nothing about its own."""
        return {"loss": math.log(self.values), "accuracy": 1 / self.values}

    def solved(self, means: dict[str, float]) -> bool:
        """At least 99 % right."""
        return means["accuracy"] >= 0.99
