"""What the tasks on formal languages share: at every step, name all symbols that may come next."""

from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from seqtrain.tasks.base import Batch, Prediction, Split
from seqtrain.tasks.generated import GeneratedTask
from seqtrain.tasks.metrics import ACCURACY, Tally

EPSILON = 1e-12
"""The best guess has probabilities of at least this and at most 1 - this, so that its loss is finite."""


class NextSymbols(GeneratedTask):
    """A task whose target at every step is the SET of symbols that may come next.

        input      B      T     B     P      V     V
        target   {T,P}   {B}  {T,P} {T,V}  {P,V}  {E}      as [T, B, V], 1 for a symbol in the set, else 0

    The output for a symbol is the log-odds that it is in the set.

    Loss: binary cross-entropy, summed over the symbols, averaged over the steps. Baseline: the best guess from the
    current symbol alone, fitted to the same set on which it is evaluated.
    """

    metric = ACCURACY
    next_token = True
    every_step = True

    @classmethod
    def why_forward_only(cls, settings: Any) -> str:  # noqa: ARG003
        """The target is what comes next."""
        return "would show the model the symbols that come next"

    def right(self, outputs: Tensor, batch: Batch) -> Tensor:
        """`[T, B]`, the steps whose set is predicted right; True on padding."""
        return self.read_sets(outputs, batch) | ~_scored(batch)

    def read_sets(self, outputs: Tensor, batch: Batch) -> Tensor:
        """`[T, B]`, the steps where exactly the symbols of the target have a probability above one half."""
        return ((outputs > 0) == (batch.targets > 0)).all(-1)

    def loss(self, prediction: Prediction, batch: Batch) -> tuple[Tensor, int]:
        """Binary cross-entropy in nats over all symbols of the scored steps, and the number of these steps."""
        outputs, scored = prediction.outputs, _scored(batch)
        targets, weight = batch.targets.to(outputs.dtype), scored[..., None].to(outputs.dtype)
        total = F.binary_cross_entropy_with_logits(outputs, targets, weight, reduction="sum")
        return total, int(scored.sum())

    def baseline(self, split: Split) -> dict[str, float]:
        """After each current symbol, the frequency of every next symbol as its probability."""
        guess, tally = self.guess(list(self.eval_batches(split, 500))), Tally()
        for batch in self.eval_batches(split, 500):
            prediction = cast(Prediction, SimpleNamespace(outputs=guess[batch.inputs]))
            tally.add("loss", *self.loss(prediction, batch)).merge(self.measure(prediction, batch))
        return self.summarise(tally.means())

    def guess(self, batches: list[Batch]) -> Tensor:
        """`[I, V]`, for each current symbol the log-odds of every next symbol in these batches."""
        steps = torch.zeros(self.input_size, dtype=torch.float64)
        counts = steps.new_zeros(self.input_size, self.output_size)
        for batch in batches:
            scored = _scored(batch)
            current = batch.inputs[scored]
            steps += current.bincount(minlength=len(steps))
            counts.index_add_(0, current, batch.targets[scored].double())
        return (counts / steps[:, None].clamp(min=1)).logit(EPSILON)


def _scored(batch: Batch) -> Tensor:
    """`[T, B]`, the steps that count."""
    return torch.ones_like(batch.inputs, dtype=torch.bool) if batch.scored is None else batch.scored
