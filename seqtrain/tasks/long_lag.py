"""The long time lag problem."""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field

from seqtrain.system.settings import Affects, Size
from seqtrain.tasks.base import Batch, Prediction, SizedTask, Spec, Split, count_correct
from seqtrain.tasks.metrics import Metric, Tally

ANSWERS = 2  # x, y
X, BEGIN, END, FIRST_DISTRACTOR = 0, 2, 3, 4  # x y | b | e | a1 a2 ... ap
STOP = 1 / 10
"""Probability that a sequence ends rather than going on with one more distractor."""


@dataclass(kw_only=True, eq=False)
class LongLag(SizedTask):
    """The second symbol comes again at the end; between them lie distractors, many and of many kinds.

        b  y  a7 a2 a2 a9 ... a4  e   -->   y
              q distractors or more

    A sequence is b, then x or y, then q (`lag`) distractors, each one of p (`distractors`) kinds; after that, e comes
    with a probability of 1/10 at each step, and another distractor otherwise. So what is behind the q distractors, e
    included, is 10 steps long in the mean. What follows e is asked for, and it is the second symbol again
    (Hochreiter & Schmidhuber 1997, experiment 2c; their mean length of q + 14 is one too many by their own sum). They
    found that a longer lag hardly makes it harder if p grows with q, but that fewer kinds do, as each is then seen
    more often.

    Loss: cross-entropy after e. Baseline: a guess among two, ln 2. Solved: at least 99 % right.
    """

    name = "long_lag"
    reach = "lag"
    metric = Metric("accuracy", higher_is_better=True, most=1.0)

    lag: Annotated[Size, Affects.DATA] = 100
    """q: distractors in a sequence at least."""
    distractors: Annotated[int, Field(ge=1, le=10_000), Affects.DATA] = 100
    """p: different distractors."""

    def __post_init__(self) -> None:
        """Name the definition and lay out the sequences."""
        super().__post_init__()
        self.spec = Spec(FIRST_DISTRACTOR + self.distractors, symbols=True, output_size=ANSWERS, every_step=False)
        self.definition = f"long_lag/lag={self.lag}/distractors={self.distractors}/v{self.generator_version}"

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Symbols `[T, B]` up to e, and the symbol that follows, 0 or 1 for x or y, `[B]`."""
        answers = torch.randint(ANSWERS, (batch_size,), generator=generator)
        tail = torch.empty(batch_size, dtype=torch.float64).geometric_(STOP, generator=generator).long()
        lengths = 2 + self.lag + tail
        kinds = torch.randint(self.distractors, (int(lengths.max()), batch_size), generator=generator)
        inputs = FIRST_DISTRACTOR + kinds
        inputs[0] = BEGIN
        inputs[1] = X + answers
        inputs.scatter_(0, lengths[None] - 1, END)
        inside = torch.arange(len(inputs))[:, None] < lengths
        return Batch(inputs * inside, answers, lengths)

    def measure(self, prediction: Prediction, batch: Batch) -> Tally:
        """Sequences whose last symbol is named right (`accuracy`)."""
        return Tally().add("accuracy", count_correct(prediction.outputs, batch.targets), batch.size)

    def baseline(self, split: Split) -> dict[str, float]:  # noqa: ARG002
        """A guess between equally likely symbols."""
        return {"loss": math.log(ANSWERS), "accuracy": 1 / ANSWERS}

    def solved(self, means: dict[str, float]) -> bool:
        """At least 99 % right."""
        return means["accuracy"] >= 0.99
