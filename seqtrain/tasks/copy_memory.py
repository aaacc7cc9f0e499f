"""The copy memory problem."""

import math
from dataclasses import dataclass
from typing import Annotated

import torch

from seqtrain.system.settings import Affects, Size
from seqtrain.tasks.base import Batch, Prediction, SizedTask, Spec, Split, count_correct
from seqtrain.tasks.metrics import Metric, Tally

LETTERS, COPIED = 8, 10
BLANK, DELIMITER = LETTERS, LETTERS + 1


@dataclass(kw_only=True, eq=False)
class CopyMemory(SizedTask):
    """Ten letters, a long blank, then a delimiter that asks for the ten letters again.

        input   c a h b ... d | _ _ _ _ ... _ | : | _ _ _ _ ... _      10, T - 1, 1, 10 steps
        target  _ _ _ _ ... _ | _ _ _ _ ... _ | _ | c a h b ... d      T + 10 blanks, then the letters

    10 of 8 letters, T + 20 steps (Hochreiter & Schmidhuber 1997; this form: Arjovsky, Shah & Bengio 2016).

    Loss: cross-entropy over all T + 20 steps. Baseline: blanks for sure, then a guess among the letters:
    10 ln 8 / (T + 20). Solved: at least 99 % of the recalled letters right.
    """

    name = "copy_memory"
    metric = Metric("accuracy", higher_is_better=True, most=1.0)
    spec = Spec(input_size=LETTERS + 2, symbols=True, output_size=LETTERS + 1, every_step=True)

    length: Annotated[Size, Affects.DATA] = 100
    """Steps between the letters and their recall; a sequence has 20 more."""

    def __post_init__(self) -> None:
        """Name the definition and lay out the sequences."""
        super().__post_init__()
        self.definition = f"copy_memory/length={self.length}/v{self.generator_version}"

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Symbols `[T+20, B]` in and out."""
        letters = torch.randint(LETTERS, (COPIED, batch_size), generator=generator)
        inputs = letters.new_full((self.length + 2 * COPIED, batch_size), BLANK)
        targets = inputs.clone()
        inputs[:COPIED] = letters
        inputs[-COPIED - 1] = DELIMITER
        targets[-COPIED:] = letters
        return Batch(inputs, targets)

    def measure(self, prediction: Prediction, batch: Batch) -> Tally:
        """Recalled letters that are right (`accuracy`)."""
        right = count_correct(prediction.outputs[-COPIED:], batch.targets[-COPIED:])
        return Tally().add("accuracy", right, COPIED * batch.size)

    def baseline(self, split: Split) -> dict[str, float]:  # noqa: ARG002
        """The best without memory knows the position but not the letter."""
        return {"loss": COPIED * math.log(LETTERS) / (self.length + 2 * COPIED), "accuracy": 1 / LETTERS}

    def solved(self, means: dict[str, float]) -> bool:
        """At least 99 % of the recalled letters."""
        return means["accuracy"] >= 0.99
