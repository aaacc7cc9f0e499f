"""What the tasks on formal languages share: at every step, name all symbols that may come next."""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from seqtrain.tasks.base import Batch, GeneratedTask, Prediction, Split
from seqtrain.tasks.metrics import Metric, Tally

SURE = 1e-12
"""How near to 0 and 1 the probabilities of the best guess go; the loss stays finite and is off by no more."""


@dataclass(kw_only=True, eq=False)
class NextSymbols(GeneratedTask):
    """A task whose target at every step is the SET of symbols that may come next.

        input      B      T     B     P      V     V
        target   {T,P}   {B}  {T,P} {T,V}  {P,V}  {E}      as [T, B, V], 1 for a symbol in the set, else 0

    The output for a symbol is the log-odds of its being in the set.

    Loss: binary cross-entropy, summed over the symbols, averaged over the steps. Baseline: the best guess from the
    current symbol alone, fitted to the very set it is judged by.
    """

    metric = Metric("accuracy", higher_is_better=True, most=1.0)
    next_token = True

    @classmethod
    def why_forward_only(cls) -> str:
        """The target is what comes next."""
        return "would show the model the symbols that come next"

    @abstractmethod
    def score(self, outputs: Tensor, batch: Batch) -> Tally:
        """Sums of the metrics beside the loss, of outputs `[T, B, V]`."""

    def right(self, outputs: Tensor, batch: Batch) -> Tensor:
        """`[T, B]`, the steps whose set has just the symbols of a probability above one half; true on padding."""
        return self.read_sets(outputs, batch) | ~_scored(batch)

    def read_sets(self, outputs: Tensor, batch: Batch) -> Tensor:
        """`[T, B]`, where the outputs tell the set of the target."""
        return ((outputs > 0) == (batch.targets > 0)).all(-1)

    def loss(self, prediction: Prediction, batch: Batch) -> tuple[Tensor, int]:
        """Binary cross-entropy in nats over all symbols of the scored steps, and how many steps they are."""
        return _loss(prediction.outputs, batch)

    def measure(self, prediction: Prediction, batch: Batch) -> Tally:
        """Sums of the metrics beside the loss."""
        return self.score(prediction.outputs, batch)

    def baseline(self, split: Split) -> dict[str, float]:
        """For each symbol, how often each may come next, taken as its probability."""
        guess, tally = self.guess(list(self.eval_batches(split, 500))), Tally()
        for batch in self.eval_batches(split, 500):
            outputs = guess[batch.inputs]
            tally.add("loss", *_loss(outputs, batch)).merge(self.score(outputs, batch))
        return self.summarise(tally.means())

    def guess(self, batches: list[Batch]) -> Tensor:
        """`[I, V]`, for each current symbol the log-odds of every next one, as they are in these batches."""
        seen = torch.zeros(self.spec.input_size, dtype=torch.float64)
        counts = seen.new_zeros(self.spec.input_size, self.spec.output_size)
        for batch in batches:
            inside = _scored(batch)
            current = batch.inputs[inside]
            seen += current.bincount(minlength=len(seen))
            counts.index_add_(0, current, batch.targets[inside].double())
        return (counts / seen[:, None].clamp(min=1)).logit(SURE)


def _scored(batch: Batch) -> Tensor:
    """`[T, B]`, the steps that count."""
    return torch.ones_like(batch.inputs, dtype=torch.bool) if batch.scored is None else batch.scored


def _loss(outputs: Tensor, batch: Batch) -> tuple[Tensor, int]:
    targets = batch.targets.to(outputs.dtype)
    if batch.scored is None:
        steps = batch.inputs.numel()
        return F.binary_cross_entropy_with_logits(outputs, targets, reduction="sum"), steps
    weight = batch.scored[..., None].to(outputs.dtype)
    total = F.binary_cross_entropy_with_logits(outputs, targets, weight, reduction="sum")
    return total, int(batch.scored.sum())
