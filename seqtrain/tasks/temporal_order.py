"""The temporal order problem."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from seqtrain.system.settings import Affects
from seqtrain.tasks.base import Batch
from seqtrain.tasks.facts import HiddenFact, constant
from seqtrain.tasks.generated import Classification

START, TRIGGER, FIRST_DISTRACTOR, X = 0, 1, 2, 6  # E B | a b c d | X Y
WINDOWS = {2: ((0.10, 0.20), (0.50, 0.60)), 3: ((0.10, 0.20), (0.33, 0.43), (0.66, 0.76))}
"""The steps where each mark may be, as fractions of T, by the number of marks."""


class TemporalOrder(Classification):
    """Marks X and Y are far apart among distractors; after the last step, name their order.

        E  b  a  X  d  c  c  ...  b  Y  a  ...  d  B    -->   class "XY"

    The sequence starts with E and ends with the trigger B; its length is uniform in [T, 1.1 T]. For T = 100, 2
    marks are in steps 10-20 and 50-60 (4 classes), 3 marks in 10-20, 33-43 and 66-76 (8 classes); for other T in
    proportion (Hochreiter & Schmidhuber 1997, experiments 6a and 6b). Variants are named by the number of
    symbols, because sources use "3-bit" for both.

    Loss: cross-entropy after the last step. Baseline: ln 4 or ln 8. Solved: at least 99 % right.
    """

    name = "temporal_order"
    every_step = False
    input_size = 8

    length: Annotated[int, Field(ge=10, le=1_000_000), Affects.DATA] = 100
    """Least steps in a sequence; the most are a tenth more."""
    symbols: Annotated[Literal[2, 3], Affects.DATA] = 2
    """Marks whose order is asked."""

    def __post_init__(self) -> None:
        """Set the steps where the marks may be."""
        super().__post_init__()
        self.windows = [(round(low * self.length), round(high * self.length)) for low, high in WINDOWS[self.symbols]]
        self.output_size = 2**self.symbols
        self.definition = f"temporal_order/symbols={self.symbols}/length={self.length}/v{self.generator_version}"

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Symbols `[T, B]`, classes `[B]`: the marks as binary digits, X = 0 and Y = 1, the first mark first."""

        def integers(low: int, high: int, *shape: int) -> Tensor:
            return torch.randint(low, high, shape, generator=generator)

        lengths = integers(self.length, self.length + self.length // 10 + 1, batch_size)
        longest = int(lengths.max())
        inputs = integers(FIRST_DISTRACTOR, X, longest, batch_size)
        inputs[0] = START
        targets = torch.zeros_like(lengths)
        for low, high in self.windows:
            mark = integers(0, 2, batch_size)
            inputs.scatter_(0, integers(low, high + 1, 1, batch_size), X + mark[None])
            targets = 2 * targets + mark
        inputs.scatter_(0, lengths[None] - 1, TRIGGER)
        inside = torch.arange(longest)[:, None] < lengths
        return Batch(inputs * inside, targets, lengths)

    def hidden_facts(self, batch: Batch) -> list[HiddenFact]:
        """Each mark, from its step to the end."""
        assert batch.lengths is not None
        count = (batch.inputs >= X).cumsum(0)
        facts = []
        for number in range(1, self.symbols + 1):
            at = (count >= number).long().argmax(0)
            mark = batch.inputs.gather(0, at[None])[0] - X
            facts.append(constant(f"mark {number}", mark, at, batch.lengths - 1, len(count), ("X", "Y")))
        return facts
