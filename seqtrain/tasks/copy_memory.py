"""The copy memory problem."""

import math
from typing import Annotated

import torch

from seqtrain.system.settings import Affects, Size
from seqtrain.tasks.base import Batch, Split
from seqtrain.tasks.facts import HiddenFact, constant, numbered
from seqtrain.tasks.generated import Classification

LETTERS, COPIED = 8, 10
BLANK, DELIMITER = LETTERS, LETTERS + 1


class CopyMemory(Classification):
    """Ten letters, a long blank, then a delimiter that asks for the ten letters again.

        input   c a h b ... d | _ _ _ _ ... _ | : | _ _ _ _ ... _      10, T - 1, 1, 10 steps
        target  _ _ _ _ ... _ | _ _ _ _ ... _ | _ | c a h b ... d      T + 10 blanks, then the letters

    10 of 8 letters, T + 20 steps (Hochreiter & Schmidhuber 1997; this form: Arjovsky, Shah & Bengio 2016).

    Loss: cross-entropy over all T + 20 steps. Baseline: a certain blank where one is due, then a guess among the
    letters: 10 ln 8 / (T + 20). Solved: at least 99 % of the recalled letters right.
    """

    name = "copy_memory"
    every_step = True
    input_size, output_size = LETTERS + 2, LETTERS + 1
    answers = slice(-COPIED, None)

    length: Annotated[Size, Affects.DATA] = 100
    """Steps between the letters and their recall; a sequence has 20 more."""

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Input and target symbols `[T+20, B]`."""
        letters = torch.randint(LETTERS, (COPIED, batch_size), generator=generator)
        inputs = letters.new_full((self.length + 2 * COPIED, batch_size), BLANK)
        targets = inputs.clone()
        inputs[:COPIED] = letters
        inputs[-COPIED - 1] = DELIMITER
        targets[-COPIED:] = letters
        return Batch(inputs, targets)

    def baseline(self, split: Split) -> dict[str, float]:  # noqa: ARG002
        """The best model without a memory knows when a letter is due, but not which."""
        return {"loss": COPIED * math.log(LETTERS) / (self.length + 2 * COPIED), "accuracy": 1 / LETTERS}

    def hidden_facts(self, batch: Batch) -> list[HiddenFact]:
        """The first and the last letter, from the step that tells each to the step of its answer."""
        T = len(batch.inputs)
        return [
            constant(f"letter {n + 1}", batch.inputs[n], n, T - COPIED + n, T, numbered(LETTERS))
            for n in (0, COPIED - 1)
        ]
