"""Counting: a^n b^n and a^n b^n c^n."""

import math
from collections.abc import Iterator
from itertools import count
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from seqtrain.system.settings import Affects, Faults
from seqtrain.tasks.base import Batch, Prediction, Split
from seqtrain.tasks.facts import HiddenFact
from seqtrain.tasks.metrics import Metric, Tally
from seqtrain.tasks.next_symbols import NextSymbols

LengthDistribution = Literal["uniform", "u_shaped", "short", "long"]

BETA = {"uniform": (1.0, 1.0), "u_shaped": (0.25, 0.25), "short": (1.0, 5.0), "long": (5.0, 1.0)}
"""The two parameters of the beta-binomial distribution of n - 1."""


class Counting(NextSymbols):
    """Name the symbols that may come next in a^n b^n or a^n b^n c^n, which requires counting the a's.

        input     .     a     a     a    b    b    b           n = 3
        target   {a}  {a,b} {a,b} {a,b} {b}  {b}  {.}          a mark stands before and after the string

    In training n is drawn from 1 to `train_limit`. The languages have one string for each n, so the validation and the
    test set are the same: every n from 1 to `limit`, which is at least twice `train_limit` (Gers & Schmidhuber 2001).

    Length distributions
    --------------------
    uniform : all n are equally likely.
    u_shaped, short, long : the smallest and the largest n are more likely, or the smallest, or the largest (as in
        Suzgun, Gehrmann, Belinkov & Shieber 2019): n - 1 is beta-binomial with 1/4 and 1/4, 1 and 5, 5 and 1.

    A string is accepted if at every step exactly the symbols that may come have a probability above one half.
    `first_failure`: the smallest n whose string is not accepted; `limit` + 1 if there is none.
    Loss: binary cross-entropy, summed over the symbols, averaged over the steps. Baseline: the best guess from the
    current symbol. Solved: every n up to twice `train_limit` accepted.
    """

    name = "counting"
    reach = "limit"
    metric = Metric("first_failure", higher_is_better=True)

    language: Annotated[Literal["ab", "abc"], Affects.DATA] = "ab"
    """The letters that come n times each."""
    train_limit: Annotated[int, Field(ge=1, le=10_000)] = 20
    """Largest n in training."""
    length_distribution: LengthDistribution = "uniform"
    """Which n are more frequent in training; it decides how far a model generalises."""
    limit: Annotated[int, Field(ge=2, le=10_000), Affects.EVALUATION] = 200
    """Largest n in the validation and test set, which hold every n."""

    def __post_init__(self) -> None:
        """Compute the probabilities of n."""
        super().__post_init__()
        self.letters = len(self.language)
        self.input_size = self.output_size = self.letters + 1
        self._weights = _beta_binomial(self.train_limit, *BETA[self.length_distribution])

    @classmethod
    def faults(cls, settings: Any) -> Faults:
        """A limit that is too small for the rule of "solved"."""
        if settings.limit < 2 * settings.train_limit:
            yield (
                "limit",
                f"is {settings.limit}; with train_limit {settings.train_limit} it must be at least "
                f"{2 * settings.train_limit}, because solved means up to twice the n of training",
            )

    def fixed_sizes(self) -> dict[Split, int]:
        """Every n."""
        return {"valid": self.limit, "test": self.limit}

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Symbols `[T, B]` and sets `[T, B, V]`, n drawn from 1 to `train_limit`."""
        return self._strings(1 + torch.multinomial(self._weights, batch_size, replacement=True, generator=generator))

    def eval_batches(self, split: Split, batch_size: int) -> Iterator[Batch]:  # noqa: ARG002
        """Every n from 1 to `limit`, in order."""
        for first in range(1, self.limit + 1, batch_size):
            yield self._strings(torch.arange(first, min(first + batch_size, self.limit + 1)))

    def specimen(self, split: Split, batch_size: int) -> Batch:
        """Of the fixed sets, the string of median length."""
        if split == "train":
            return super().specimen(split, batch_size)
        return self._strings(torch.tensor([self.limit // 2]))

    def _strings(self, n: Tensor) -> Batch:
        """The strings for n `[B]`."""
        step = torch.arange(self.letters * int(n.max()) + 1)[:, None]  # [T, 1]
        inside = step <= self.letters * n
        end = self.letters
        inputs = torch.where(step == 0, end, (step - 1) // n) * inside
        follower = (step // n).clamp(max=end)  # [T, B]
        targets = torch.zeros(*inputs.shape, end + 1).scatter_(2, follower[..., None], 1.0)
        targets[..., :2].masked_fill_(((step > 0) & (step <= n))[..., None], 1.0)
        return Batch(inputs, targets * inside[..., None], self.letters * n + 1, scored=inside)

    def measure(self, prediction: Prediction, batch: Batch) -> Tally:
        """For each n whether its string is accepted (`n=...`)."""
        assert batch.lengths is not None
        accepted = self.right(prediction.outputs, batch).all(0)
        tally = Tally()
        for length, is_accepted in zip(batch.lengths.tolist(), accepted.tolist(), strict=True):
            tally.add(f"n={length // self.letters}", is_accepted, 1)
        return tally

    def summarise(self, means: dict[str, float]) -> dict[str, float]:
        """The means with `first_failure` in place of the figures of each n."""
        accepted = {int(name[2:]): mean for name, mean in means.items() if name.startswith("n=")}
        failed = [n for n, mean in accepted.items() if mean < 1]
        others = {name: mean for name, mean in means.items() if not name.startswith("n=")}
        return others | {"first_failure": float(min(failed, default=self.limit + 1))}

    def baseline(self, split: Split) -> dict[str, float]:
        """The smallest loss, and the first n that needs a different set after a symbol than some smaller n."""
        for n in count(1):
            batch = self._strings(torch.arange(1, n + 1))
            if not self.right(self.guess([batch])[batch.inputs], batch).all():
                break
        return super().baseline(split) | {"first_failure": float(n)}

    def solved(self, means: dict[str, float]) -> bool:
        """Every n up to twice the largest of training accepted."""
        return means["first_failure"] > 2 * self.train_limit

    def hidden_facts(self, batch: Batch) -> list[HiddenFact]:
        """The count: of the a's so far, then of the letters that are still to come of each other kind."""
        assert batch.lengths is not None
        step = torch.arange(len(batch.inputs))[:, None]
        n = (batch.lengths - 1) // self.letters
        to_come = n - 1 - (step - 1) % n
        count = step.where(step <= n, to_come)
        return [HiddenFact("count", count.float(), (step >= 1) & (step < batch.lengths))]


def _beta_binomial(size: int, alpha: float, beta: float) -> Tensor:
    """Probabilities of 0 to `size` - 1 `[size]`."""

    def log_beta(a: float, b: float) -> float:
        return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)

    N = size - 1
    logs = [math.log(math.comb(N, k)) + log_beta(k + alpha, N - k + beta) - log_beta(alpha, beta) for k in range(size)]
    return torch.tensor(logs, dtype=torch.float64).exp()
