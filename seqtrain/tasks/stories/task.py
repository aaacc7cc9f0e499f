"""Predict the words of stories; some of them follow from a fact many words before."""

from collections.abc import Iterator
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from seqtrain.system.settings import Affects
from seqtrain.tasks.base import Batch, Prediction, Split
from seqtrain.tasks.facts import HiddenFact, constant
from seqtrain.tasks.generated import SizedTask
from seqtrain.tasks.metrics import Metric, Tally, perplexity, unigram_nats
from seqtrain.tasks.stories.grammar import KINDS, vocabulary
from seqtrain.tasks.stories.writer import Writer

BASELINE_STORIES = 4096
"""Stories from which the baseline takes the word frequencies."""

BUCKETS = (10, 25, 50, 100, 200)
"""Upper ends of the ranges of distance for which recall is reported, up to the distance in the config."""

MIN_DISTANCE = 10


class Stories(SizedTask):
    """Predict the next word of a story; some words require a memory.

        I grew up in France . the river slept often . in winter the birds sang . I speak fluent FRENCH .
        Anna bought a house . ... then SHE sold the house .
        the keys ( the old tower waited . ... ) WERE found at last .

    In half of the stories, the marked word comes exactly `distance` words after the fact that decides it; in the others
    the number is uniform from 10 to `distance`. The words between never tell the fact.

    Loss: cross-entropy at every word. Metrics: `recall`, marked words predicted right at exactly `distance`;
    `recall_at_N`, the same at distances up to N (and above the next smaller N); `perplexity`. Baseline: unigram
    perplexity, and the best guess of a marked word without its fact. Solved: recall of at least 99 %.
    """

    name = "stories"
    reach = "distance"
    metric = Metric("recall", higher_is_better=True, most=1.0)
    every_step = True
    next_token = True
    words = True

    distance: Annotated[int, Field(ge=10, le=1_000_000), Affects.DATA] = 25
    """Words from the fact to the word that follows from it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.vocabulary = vocabulary()
        self.input_size = self.output_size = len(self.vocabulary)
        self._writer = Writer(self.vocabulary)

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Words and next words `[T, B]`; `marks` holds the distance where the next word is marked, else 0."""
        drawn = torch.randint(MIN_DISTANCE, self.distance + 1, (batch_size,), generator=generator)
        exact = torch.rand(batch_size, generator=generator) < 0.5
        words, distances, lengths = self._writer.write(torch.where(exact, self.distance, drawn), generator)
        words, marks = words.t(), distances.t()  # [T, B]
        inside = torch.arange(1, len(words))[:, None] < lengths
        return Batch(words[:-1] * inside, words[1:], lengths - 1, scored=inside, marks=marks[1:])

    def measure(self, prediction: Prediction, batch: Batch) -> Tally:
        """Marked words predicted right, at exactly `distance` and by range of distance."""
        assert batch.marks is not None
        marked = batch.marks > 0
        distance = batch.marks[marked]
        right = prediction.outputs[marked].argmax(-1) == batch.targets[marked]
        exact = distance == self.distance
        tally = Tally().add("recall", right[exact].sum(), exact.sum())
        low = 0
        for high in [*(high for high in BUCKETS if high < self.distance), self.distance]:
            within = (distance > low) & (distance <= high)
            tally.add(f"recall_at_{high}", right[within].sum(), within.sum())
            low = high
        return tally

    def summarise(self, means: dict[str, float]) -> dict[str, float]:
        """The means with perplexity."""
        return means | {"perplexity": perplexity(means["loss"])}

    def baseline(self, split: Split) -> dict[str, float]:
        """Word frequencies of other stories, and the best guess of a marked word from its sentence alone."""
        sample = self.sample(BASELINE_STORIES, self.generator("baseline"))
        counts = torch.bincount(sample.targets[sample.scored], minlength=len(self.vocabulary))
        loss = Tally()
        for batch in self.eval_batches(split, 500):
            targets = batch.targets[batch.scored]
            loss.add("loss", unigram_nats(counts, targets), targets.numel())
        guesses = []
        for kind in KINDS.values():
            answers = [answer for _, answer in kind.pairs]
            guesses.append(max(answers.count(answer) for answer in answers) / len(answers))
        return self.summarise(loss.means() | {"recall": sum(guesses) / len(guesses)})

    def solved(self, means: dict[str, float]) -> bool:
        """At least 99 % of the words marked at exactly `distance`."""
        return means["recall"] >= 0.99

    def hidden_facts(self, batch: Batch) -> list[HiddenFact]:
        """The fact of each kind of story, from its word to the step whose next word is marked."""
        assert batch.marks is not None
        token = {word: number for number, word in enumerate(self.vocabulary)}
        end, T, facts = (batch.marks > 0).long().argmax(0), len(batch.inputs), []
        for name, kind in KINDS.items():
            opening = kind.opening.split()
            place, (other, word) = opening.index("{}"), next((n, w) for n, w in enumerate(opening) if w != "{}")
            classes = tuple(dict.fromkeys(marked for _, marked in kind.pairs))
            number = torch.full((len(token),), -1)
            for fact, marked in kind.pairs:
                number[token[fact]] = classes.index(marked)
            values = number[batch.inputs[place]]
            is_kind = (batch.inputs[other] == token[word]) & (values >= 0)
            facts.append(constant(name, values, place, end.where(is_kind, -1), T, classes))
        return facts

    def memory_predictions(self, batch: Batch) -> Tensor:
        """The marked word."""
        assert batch.marks is not None
        return batch.marks > 0

    def texts(self, batch_size: int, generator: torch.Generator) -> Iterator[str]:
        """Stories as lines of text."""
        batch = self.sample(batch_size, generator)
        assert batch.lengths is not None
        for column, length in enumerate(batch.lengths.tolist()):
            tokens = [batch.inputs[0, column].item(), *batch.targets[:length, column].tolist()]
            yield " ".join(self.vocabulary[int(token)] for token in tokens)
