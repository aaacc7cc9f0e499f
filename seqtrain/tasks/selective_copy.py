"""Selective copying."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import torch

from seqtrain.system.settings import Affects, Size, Symbols
from seqtrain.tasks.base import Batch, Prediction, SizedTask, Spec, Split, count_correct
from seqtrain.tasks.metrics import Metric, Tally


@dataclass(kw_only=True, eq=False)
class SelectiveCopy(SizedTask):
    """Letters lie scattered among blanks, then a delimiter asks for them in their order.

        input   _ c _ _ a _ h _ | : | _ _ _      T, 1, n steps           T = 8, n = 3
        target  _ _ _ _ _ _ _ _ | _ | c a h      T + 1 blanks, then the letters

    n of `alphabet` letters, at n of T places that are drawn anew for each sequence: no fixed lag leads from a letter
    to its answer, so a model must choose what to store. In the manner of the selective copying of Gu & Dao 2023
    (Mamba), there 16 letters in 4,096 steps; the delimiter and the loss are those of `copy_memory`.

    Loss: cross-entropy over all T + n + 1 steps. Baseline: blanks for sure, then a guess among the letters:
    n ln(alphabet) / (T + n + 1). Solved: at least 99 % of the recalled letters right.
    """

    name = "selective_copy"
    metric = Metric("accuracy", higher_is_better=True, most=1.0)

    length: Annotated[Size, Affects.DATA] = 100
    """Steps over which the letters are scattered; a sequence has one more, and one for each letter."""
    letters: Annotated[Size, Affects.DATA] = 10
    """Letters in a sequence."""
    alphabet: Annotated[Symbols, Affects.DATA] = 8
    """Different letters."""

    def __post_init__(self) -> None:
        """Name the definition and lay out the sequences."""
        super().__post_init__()
        self.blank, self.delimiter = self.alphabet, self.alphabet + 1
        self.spec = Spec(input_size=self.alphabet + 2, symbols=True, output_size=self.alphabet + 1, every_step=True)
        settings = f"length={self.length}/letters={self.letters}/alphabet={self.alphabet}"
        self.definition = f"selective_copy/{settings}/v{self.generator_version}"

    @classmethod
    def faults(cls, settings: Any) -> Iterator[tuple[str, str]]:
        """More letters than places."""
        if settings.letters > settings.length:
            yield (
                "letters",
                f"is {settings.letters}, but they must find a place in {settings.length} steps; use fewer, or a larger "
                "length",
            )

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Symbols `[T+n+1, B]` in and out."""
        T, n, B = self.length, self.letters, batch_size
        letters = torch.randint(self.alphabet, (n, B), generator=generator)
        places = torch.rand(T, B, generator=generator).topk(n, dim=0).indices.sort(dim=0).values  # n of T, in order
        inputs = letters.new_full((T + n + 1, B), self.blank)
        targets = inputs.clone()
        inputs.scatter_(0, places, letters)
        inputs[T] = self.delimiter
        targets[T + 1 :] = letters
        return Batch(inputs, targets)

    def measure(self, prediction: Prediction, batch: Batch) -> Tally:
        """Recalled letters that are right (`accuracy`)."""
        n = self.letters
        return Tally().add("accuracy", count_correct(prediction.outputs[-n:], batch.targets[-n:]), n * batch.size)

    def baseline(self, split: Split) -> dict[str, float]:  # noqa: ARG002
        """The best without memory knows the position but not the letter."""
        steps = self.length + self.letters + 1
        return {"loss": self.letters * math.log(self.alphabet) / steps, "accuracy": 1 / self.alphabet}

    def solved(self, means: dict[str, float]) -> bool:
        """At least 99 % of the recalled letters."""
        return means["accuracy"] >= 0.99
