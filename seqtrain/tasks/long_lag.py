"""The long time lag problem."""

from typing import Annotated

import torch
from pydantic import Field

from seqtrain.system.settings import Affects, Size
from seqtrain.tasks.base import Batch
from seqtrain.tasks.facts import HiddenFact, constant
from seqtrain.tasks.generated import Classification

ANSWERS = 2  # x, y
X, BEGIN, END, FIRST_DISTRACTOR = 0, 2, 3, 4  # x y | b | e | a1 a2 ... ap
STOP = 1 / 10
"""Probability that a sequence ends instead of continuing with one more distractor."""


class LongLag(Classification):
    """After many distractors of many kinds, name the second symbol again.

        b  y  a7 a2 a2 a9 ... a4  e   -->   y
              q distractors or more

    A sequence is b, then x or y, then q (`lag`) distractors, each of one of p (`distractors`) kinds; after that, each
    step is e with a probability of 1/10, and another distractor otherwise. So the part after the q distractors,
    including e, has 10 steps on average. The target is the symbol after e, which is the second symbol again
    (Hochreiter & Schmidhuber 1997, experiment 2c; by their own sum, their mean length of q + 14 is one too many). They
    found that a longer lag is hardly more difficult if p grows with q, but that fewer kinds are more difficult, because
    each is then seen more often.

    Loss: cross-entropy after e. Baseline: a guess among two, ln 2. Solved: at least 99 % right.
    """

    name = "long_lag"
    reach = "lag"
    every_step = False

    lag: Annotated[Size, Affects.DATA] = 100
    """q: distractors in a sequence at least."""
    distractors: Annotated[int, Field(ge=1, le=10_000), Affects.DATA] = 100
    """p: different distractors."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.input_size, self.output_size = FIRST_DISTRACTOR + self.distractors, ANSWERS

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Symbols `[T, B]` up to e, and the next symbol, 0 or 1 for x or y, `[B]`."""
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

    def hidden_facts(self, batch: Batch) -> list[HiddenFact]:
        """The second symbol."""
        assert batch.lengths is not None
        T = len(batch.inputs)
        return [constant("second symbol", batch.inputs[1] - X, 1, batch.lengths - 1, T, ("x", "y"))]
