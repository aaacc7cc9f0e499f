"""Selective copying."""

import math
from typing import Annotated, Any

import torch

from seqtrain.system.settings import Affects, Faults, Size, Symbols
from seqtrain.tasks.base import Batch, Split
from seqtrain.tasks.facts import HiddenFact, constant, numbered
from seqtrain.tasks.generated import Classification


class SelectiveCopy(Classification):
    """Letters are scattered among blanks, then a delimiter asks for them in their order.

        input   _ c _ _ a _ h _ | : | _ _ _      T, 1, n steps           T = 8, n = 3
        target  _ _ _ _ _ _ _ _ | _ | c a h      T + 1 blanks, then the letters

    n of `alphabet` letters, at n of T places that are drawn for each sequence: the lag from a letter to its answer is
    not fixed, so a model must choose what to store. Similar to the selective copying of Gu & Dao 2023 (Mamba), which
    has 16 letters in 4,096 steps; the delimiter and the loss are those of `copy_memory`.

    Loss: cross-entropy over all T + n + 1 steps. Baseline: a certain blank where one is due, then a guess among the
    letters: n ln(alphabet) / (T + n + 1). Solved: at least 99 % of the recalled letters right.
    """

    name = "selective_copy"
    every_step = True

    length: Annotated[Size, Affects.DATA] = 100
    """Steps over which the letters are scattered; a sequence has one more, and one for each letter."""
    letters: Annotated[Size, Affects.DATA] = 10
    """Letters in a sequence."""
    alphabet: Annotated[Symbols, Affects.DATA] = 8
    """Different letters."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.input_size, self.output_size = self.alphabet + 2, self.alphabet + 1
        self.answers = slice(-self.letters, None)

    @classmethod
    def faults(cls, settings: Any) -> Faults:
        """More letters than places."""
        if settings.letters > settings.length:
            yield (
                "letters",
                f"is {settings.letters}, but they must find a place in {settings.length} steps; use fewer, or a larger "
                "length",
            )

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Input and target symbols `[T+n+1, B]`."""
        T, n, B, blank, delimiter = self.length, self.letters, batch_size, self.alphabet, self.alphabet + 1
        letters = torch.randint(self.alphabet, (n, B), generator=generator)
        places = torch.rand(T, B, generator=generator).topk(n, dim=0).indices.sort(dim=0).values  # n of T, in order
        inputs = letters.new_full((T + n + 1, B), blank)
        targets = inputs.clone()
        inputs.scatter_(0, places, letters)
        inputs[T] = delimiter
        targets[T + 1 :] = letters
        return Batch(inputs, targets)

    def baseline(self, split: Split) -> dict[str, float]:  # noqa: ARG002
        """The best model without a memory knows when a letter is due, but not which."""
        steps = self.length + self.letters + 1
        return {"loss": self.letters * math.log(self.alphabet) / steps, "accuracy": 1 / self.alphabet}

    def hidden_facts(self, batch: Batch) -> list[HiddenFact]:
        """The first and the last letter, from the step that tells each to the step of its answer."""
        T, places = len(batch.inputs), (batch.inputs < self.alphabet).cumsum(0)
        facts = []
        for number in sorted({1, self.letters}):
            at = (places >= number).long().argmax(0)
            letter = batch.inputs.gather(0, at[None])[0]
            end = T - self.letters + number - 1
            facts.append(constant(f"letter {number}", letter, at, end, T, numbered(self.alphabet)))
        return facts
