"""Generate a spike train with learnt intervals."""

import math
from typing import Annotated, Any

import torch
from pydantic import Field, Tag

from seqtrain.system.settings import ONE_OR_EACH, Affects, Faults
from seqtrain.tasks.base import Batch, Prediction, Split
from seqtrain.tasks.generated import GeneratedTask
from seqtrain.tasks.metrics import Metric, Tally

Interval = Annotated[int, Field(ge=2, le=10_000)]
Intervals = Annotated[
    Annotated[Interval, Tag("one")] | Annotated[list[Interval], Field(min_length=1, max_length=1000), Tag("each")],
    ONE_OR_EACH,
]


class Timing(GeneratedTask):
    """Spike at learnt intervals, again and again; the input is always zero.

        input   0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 ...
        target  0 0 0 0 1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1 ...        interval 5
        target  0 0 1 0 0 0 0 1 0 0 1 0 0 0 0 1 0 0 1 0 ...        interval [3, 5]: a rhythm, repeated

    The model generates a spike train; it does not measure one (the timed spikes of Gers, Schraudolph & Schmidhuber
    2002). Only the length of a training sequence is random: its last step is drawn uniformly between the first spike
    and spike number `train_spikes`. The validation and the test set are the same single sequence of `spikes` spikes,
    which begins like the training sequences and is longer.

    `spikes`: spikes at the right step before the first wrong step. A missing spike makes a step wrong, and so does an
    additional one.
    Loss: cross-entropy at every step. Baseline: a constant probability, which never spikes. Solved: all spikes at the
    right steps, and no additional one.
    """

    name = "timing"
    symbolic = False
    reach = "spikes"
    metric = Metric("spikes", higher_is_better=True)
    every_step = True
    input_size, output_size = 1, 2

    interval: Annotated[Intervals, Affects.DATA] = 10
    """Steps from one spike to the next; a list is a rhythm, repeated."""
    train_spikes: Annotated[int, Field(ge=1, le=100_000)] = 10
    """Spikes in the longest training sequence."""
    spikes: Annotated[int, Field(ge=1, le=100_000), Affects.EVALUATION] = 1000
    """Spikes in the evaluated sequence; more than in training."""

    def __post_init__(self) -> None:
        """Make a list of the intervals."""
        super().__post_init__()
        self.intervals: list[int] = self.interval if isinstance(self.interval, list) else [self.interval]

    @classmethod
    def faults(cls, settings: Any) -> Faults:
        """An evaluated sequence that is not longer than those of training."""
        if settings.spikes <= settings.train_spikes:
            yield (
                "spikes",
                f"is {settings.spikes}; the evaluated sequence goes beyond training, so it must be more than "
                f"train_spikes {settings.train_spikes}",
            )

    @classmethod
    def why_forward_only(cls, settings: Any) -> str:  # noqa: ARG003
        """The end of a sequence shows the time."""
        return "would let the model count from the end"

    def fixed_sizes(self) -> dict[Split, int]:
        """One long sequence."""
        return {"valid": 1, "test": 1}

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Zeros `[T, B, 1]`, spikes `[T, B]`."""
        spikes = self._spike_train(self.train_spikes)
        lengths = torch.randint(self.intervals[0], len(spikes) + 1, (batch_size,), generator=generator)
        T = int(lengths.max())
        scored = torch.arange(T)[:, None] < lengths
        return Batch(torch.zeros(T, batch_size, 1), spikes[:T, None] * scored, lengths, scored)

    def sample_fixed(self, split: Split, size: int) -> Batch:  # noqa: ARG002
        """One long sequence."""
        spikes = self._spike_train(self.spikes)
        return Batch(torch.zeros(len(spikes), 1, 1), spikes[:, None])

    def _spike_train(self, spikes: int) -> torch.Tensor:
        """`[T]`, 1 where there is a spike, which includes the last step."""
        cycles = -(-spikes // len(self.intervals))
        at = torch.tensor(self.intervals * cycles)[:spikes].cumsum(0)
        return torch.zeros(int(at[-1]), dtype=torch.long).scatter_(0, at - 1, 1)

    def measure(self, prediction: Prediction, batch: Batch) -> Tally:
        """Spikes before the first wrong step (`spikes`)."""
        right = prediction.outputs.argmax(-1) == batch.targets
        return Tally().add("spikes", (right.cumprod(0) * batch.targets).sum(), batch.size)

    def baseline(self, split: Split) -> dict[str, float]:
        """The frequency of spikes as a constant probability; it is below one half, so the answer is never a spike."""
        (batch,) = self.eval_batches(split, 1)
        rate = float(batch.targets.float().mean())
        return {"loss": -rate * math.log(rate) - (1 - rate) * math.log(1 - rate), "spikes": 0.0}

    def solved(self, means: dict[str, float]) -> bool:
        """Every spike at the right step."""
        return means["spikes"] >= self.spikes
