"""Stories whose marked words follow from a fact told many words before."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from seqtrain.system.settings import Affects
from seqtrain.tasks.base import Batch, Prediction, SizedTask, Spec, Split
from seqtrain.tasks.metrics import Metric, Tally, perplexity, unigram_nats
from seqtrain.tasks.stories.grammar import FILLERS, KINDS, WORDS, vocabulary

BASELINE_STORIES = 4096
BUCKETS = (10, 25, 50, 100, 200)
"""Upper ends of the distances over which recall is reported, as far as the configured distance goes."""

MIN_DISTANCE = 10


@dataclass(kw_only=True, eq=False)
class Stories(SizedTask):
    """Predict the next word of a story; some words only a memory can tell.

        I grew up in France . the river slept often . in winter the birds sang . I speak fluent FRENCH .
        Anna bought a house . ... then SHE sold the house .
        the keys ( the old tower waited . ... ) WERE found at last .

    Half of the stories put exactly `distance` words between the fact and the marked word that follows from it,
    the others a uniform number from 10 to `distance`. Fillers never tell the fact.

    Loss: cross-entropy at every word. Metrics: `recall`, marked words predicted right at exactly `distance`;
    `recall_at_N`, likewise at distances up to N (and above the next smaller N); `perplexity`. Baseline: unigram
    perplexity, and the best guess at a marked word without its fact. Solved: recall of at least 99 %.
    """

    name = "stories"
    reach = "distance"
    metric = Metric("recall", higher_is_better=True, most=1.0)
    next_token = True
    words = True

    distance: Annotated[int, Field(ge=10, le=1_000_000), Affects.DATA] = 25
    """Words from the fact to the word that follows from it."""

    def __post_init__(self) -> None:
        """Name the definition and lay out the sequences."""
        super().__post_init__()
        self.vocabulary = vocabulary()
        size = len(self.vocabulary)
        self.spec = Spec(input_size=size, symbols=True, output_size=size, every_step=True, words=True)
        self.definition = f"stories/distance={self.distance}/v{self.generator_version}"
        self._grammar = _Grammar(self.vocabulary)

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Words `[T, B]`, each next word `[T, B]`; `marks` holds the distance where the next word is marked."""
        drawn = torch.randint(MIN_DISTANCE, self.distance + 1, (batch_size,), generator=generator)
        exact = torch.rand(batch_size, generator=generator) < 0.5
        story = self._grammar.write(torch.where(exact, self.distance, drawn), generator)
        words, marks = story.words.t(), story.distances.t()  # [T, B]
        inside = torch.arange(len(words))[:, None] < story.lengths
        return Batch(
            inputs=words[:-1] * inside[1:],
            targets=words[1:],
            lengths=story.lengths - 1,
            scored=inside[1:],
            marks=marks[1:],
        )

    def measure(self, prediction: Prediction, batch: Batch) -> Tally:
        """Marked words predicted right, at exactly the configured distance and by range of distance."""
        assert batch.marks is not None
        marked = batch.marks > 0
        distance = batch.marks[marked]
        right = prediction.outputs[marked].argmax(-1) == batch.targets[marked]
        exact = distance == self.distance
        tally = Tally().add("recall", right[exact].sum(), exact.sum())
        low = 0
        for high in self._buckets():
            within = (distance > low) & (distance <= high)
            tally.add(f"recall_at_{high}", right[within].sum(), within.sum())
            low = high
        return tally

    def _buckets(self) -> list[int]:
        return [*(high for high in BUCKETS if high < self.distance), self.distance]

    def summarise(self, means: dict[str, float]) -> dict[str, float]:
        """With perplexity."""
        return means | {"perplexity": perplexity(means["loss"])}

    def baseline(self, split: Split) -> dict[str, float]:
        """Word frequencies of other stories, and the best guess at a marked word by its sentence alone."""
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
        """At least 99 % of the words marked at exactly the configured distance."""
        return means["recall"] >= 0.99

    def texts(self, batch_size: int, generator: torch.Generator) -> Iterator[str]:
        """Stories as lines of text."""
        batch = self.sample(batch_size, generator)
        assert batch.lengths is not None
        for column, length in enumerate(batch.lengths.tolist()):
            tokens = [batch.inputs[0, column].item(), *batch.targets[:length, column].tolist()]
            yield " ".join(self.vocabulary[int(token)] for token in tokens)


class _Written(NamedTuple):
    words: Tensor  # [B, T]
    distances: Tensor  # [B, T], non-zero at the marked word
    lengths: Tensor  # [B]


class _Grammar:
    """The grammar as tables of tokens, so that whole batches are written at once."""

    def __init__(self, vocabulary: list[str]) -> None:
        token = {word: place for place, word in enumerate(vocabulary)}
        self.kinds = [
            (
                [token.get(word, -1) for word in kind.opening.split()],
                [token.get(word, -1) for word in kind.closing.split()],
                torch.tensor([[token[a], token[b]] for a, b in kind.pairs]),
            )
            for kind in KINDS.values()
        ]
        self.longest = max(len(sentence.split()) for sentence in FILLERS)
        self.shortest = min(len(sentence.split()) for sentence in FILLERS)
        self.filler_lengths = torch.tensor([len(s.split()) for s in FILLERS])
        slots = [[_options(word) for word in sentence.split()] for sentence in FILLERS]
        most = max(len(options) for sentence in slots for options in sentence)
        self.options = torch.zeros(len(FILLERS), self.longest, most, dtype=torch.long)
        self.option_counts = torch.ones(len(FILLERS), self.longest)
        for s, sentence in enumerate(slots):
            for w, options in enumerate(sentence):
                self.options[s, w, : len(options)] = torch.tensor([token[word] for word in options])
                self.option_counts[s, w] = len(options)

    def write(self, distance: Tensor, generator: torch.Generator) -> _Written:
        """Stories with `distance` `[B]` words from the fact to the marked word."""
        B = len(distance)
        kind = torch.randint(len(self.kinds), (B,), generator=generator)
        heads, tails, fillers = (torch.zeros_like(kind) for _ in range(3))
        for k, (opening, closing, _) in enumerate(self.kinds):
            chosen = kind == k
            fixed = len(opening) - opening.index(-1) + closing.index(-1)
            heads[chosen], tails[chosen] = len(opening), len(closing)
            fillers[chosen] = distance[chosen] - fixed
        lengths = heads + fillers + tails
        words = torch.zeros(B, int(lengths.max()) + self.longest, dtype=torch.long)
        distances = torch.zeros_like(words)
        self._fill(words, heads, fillers, generator)
        for k, (opening, closing, pairs) in enumerate(self.kinds):
            rows = (kind == k).nonzero()[:, 0]
            pick = torch.randint(len(pairs), (len(rows),), generator=generator)
            start = heads[rows] + fillers[rows]
            for place, word in enumerate(opening):
                words[rows, place] = pairs[pick, 0] if word < 0 else word
            for place, word in enumerate(closing):
                words[rows, start + place] = pairs[pick, 1] if word < 0 else word
            distances[rows, start + closing.index(-1)] = distance[rows]
        longest = int(lengths.max())
        return _Written(words[:, :longest], distances[:, :longest], lengths)

    def _fill(self, words: Tensor, start: Tensor, total: Tensor, generator: torch.Generator) -> None:
        """Write filler sentences of exactly `total` `[B]` words from `start` `[B]` on, one sentence a turn."""
        left, at = total.clone(), start.clone()
        places = torch.arange(self.longest)
        while bool((left > 0).any()):
            after = left[:, None] - self.filler_lengths  # [B, fillers]
            allowed = ((after == 0) | (after >= self.shortest)).float()
            allowed[left == 0] = 1.0  # any: nothing of it is written
            sentence = torch.multinomial(allowed, 1, generator=generator)[:, 0]
            draw = torch.rand(len(words), self.longest, generator=generator)
            option = (draw * self.option_counts[sentence]).long()
            text = self.options[sentence].gather(2, option[..., None])[..., 0]  # [B, longest]
            count = torch.where(left > 0, self.filler_lengths[sentence], 0)
            row, place = (places < count[:, None]).nonzero(as_tuple=True)
            words[row, at[row] + place] = text[row, place]
            left, at = left - count, at + count


def _options(word: str) -> tuple[str, ...]:
    return WORDS[word[1:-1]] if word.startswith("{") else (word,)
