"""Generating a spike train at learnt intervals."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field, Tag

from seqtrain.system.settings import ONE_OR_EACH, Affects
from seqtrain.tasks.base import Batch, GeneratedTask, Prediction, Spec, Split
from seqtrain.tasks.metrics import Metric, Tally

Interval = Annotated[int, Field(ge=2, le=10_000)]
Intervals = Annotated[
    Annotated[Interval, Tag("one")] | Annotated[list[Interval], Field(min_length=1, max_length=1000), Tag("each")],
    ONE_OR_EACH,
]


@dataclass(kw_only=True, eq=False)
class Timing(GeneratedTask):
    """Fire at learnt intervals, for ever, without being told when: the input is always zero.

        input   0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 ...
        target  0 0 0 0 1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1 ...        interval 5
        target  0 0 1 0 0 0 0 1 0 0 1 0 0 0 0 1 0 0 1 0 ...        interval [3, 5]: a rhythm, repeated

    A spike train has to be generated, not measured (the timed spikes of Gers, Schraudolph & Schmidhuber 2002). Nothing
    is random but where a training sequence stops: at a step drawn uniformly from the first spike on to that of number
    `train_spikes`. The validation and the test set are the same one sequence of `spikes` spikes, which begins as the
    training sequences do and goes on beyond them.

    `spikes`: how many come in time before the first step that is wrong. A spike in time is one within half a step, so
    at the very step; one too many is a wrong step as is one that is missing.
    Loss: cross-entropy at every step. Baseline: a constant probability, which never fires. Solved: all spikes in time,
    and none too many.
    """

    name = "timing"
    symbolic = False
    reach = "spikes"
    metric = Metric("spikes", higher_is_better=True)
    spec = Spec(input_size=1, symbols=False, output_size=2, every_step=True)

    interval: Annotated[Intervals, Affects.DATA] = 10
    """Steps from one spike to the next; a list is a rhythm, repeated."""
    train_spikes: Annotated[int, Field(ge=1, le=100_000)] = 10
    """Spikes in the longest training sequence."""
    spikes: Annotated[int, Field(ge=1, le=100_000), Affects.EVALUATION] = 1000
    """Spikes in the evaluated sequence; more than in training."""

    def __post_init__(self) -> None:
        """Name the definition and lay out the sequences."""
        super().__post_init__()
        self.intervals: list[int] = self.interval if isinstance(self.interval, list) else [self.interval]
        rhythm = ",".join(map(str, self.intervals))
        settings = f"interval={rhythm}/train_spikes={self.train_spikes}/spikes={self.spikes}"
        self.definition = f"timing/{settings}/v{self.generator_version}"

    @classmethod
    def faults(cls, settings: Any) -> Iterator[tuple[str, str]]:
        """An evaluation that does not go beyond training."""
        if settings.spikes <= settings.train_spikes:
            yield (
                "spikes",
                f"is {settings.spikes}; the evaluated sequence goes beyond training, so it must be more than "
                f"train_spikes {settings.train_spikes}",
            )

    @classmethod
    def why_forward_only(cls) -> str:
        """The end of a sequence is a clock."""
        return "would let the model count from the end"

    def fixed_sizes(self) -> dict[Split, int]:
        """One long sequence."""
        return {"valid": 1, "test": 1}

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Zeros `[T, B, 1]`, spikes `[T, B]`."""
        train = self._train(self.train_spikes)
        lengths = torch.randint(self.intervals[0], len(train) + 1, (batch_size,), generator=generator)
        T = int(lengths.max())
        scored = torch.arange(T)[:, None] < lengths
        return Batch(torch.zeros(T, batch_size, 1), train[:T, None] * scored, lengths, scored)

    def sample_fixed(self, split: Split) -> Batch:  # noqa: ARG002
        """The one long sequence."""
        train = self._train(self.spikes)
        return Batch(torch.zeros(len(train), 1, 1), train[:, None])

    def _train(self, spikes: int) -> torch.Tensor:
        """`[T]`, 1 where there is a spike; the last step has one."""
        cycles = -(-spikes // len(self.intervals))
        at = torch.tensor(self.intervals * cycles)[:spikes].cumsum(0)
        return torch.zeros(int(at[-1]), dtype=torch.long).scatter_(0, at - 1, 1)

    def measure(self, prediction: Prediction, batch: Batch) -> Tally:
        """Spikes in time before the first wrong step (`spikes`)."""
        right = prediction.outputs.argmax(-1) == batch.targets
        return Tally().add("spikes", (right.cumprod(0) * batch.targets).sum(), batch.size)

    def baseline(self, split: Split) -> dict[str, float]:
        """The input tells nothing, so the best is the frequency of spikes; below one half, it never fires."""
        (batch,) = self.eval_batches(split, 1)
        rate = float(batch.targets.float().mean())
        return {"loss": -rate * math.log(rate) - (1 - rate) * math.log(1 - rate), "spikes": 0.0}

    def solved(self, means: dict[str, float]) -> bool:
        """Every spike in time."""
        return means["spikes"] >= self.spikes
