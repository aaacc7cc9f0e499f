"""Write whole batches of stories at once."""

import torch
from torch import Tensor

from seqtrain.tasks.stories.grammar import FILLERS, KINDS, WORDS


class Writer:
    """Writes stories in tokens of a vocabulary."""

    def __init__(self, vocabulary: list[str]) -> None:
        token = {word: number for number, word in enumerate(vocabulary)}
        self.kinds = [
            (
                [token.get(word, -1) for word in kind.opening.split()],  # -1: the word that depends on the fact
                [token.get(word, -1) for word in kind.closing.split()],
                torch.tensor([[token[fact], token[marked]] for fact, marked in kind.pairs]),
            )
            for kind in KINDS.values()
        ]
        # Words of the opening and of the closing, and how many of them come after the fact up to the marked word.
        self.sizes = torch.tensor(
            [[len(first), len(last), len(first) - first.index(-1) + last.index(-1)] for first, last, _ in self.kinds]
        )
        sentences = [
            [WORDS[word[1:-1]] if word[0] == "{" else (word,) for word in sentence.split()] for sentence in FILLERS
        ]
        self.lengths = torch.tensor([len(sentence) for sentence in sentences])
        self.shortest, self.longest = int(self.lengths.min()), int(self.lengths.max())
        most = max(len(choices) for sentence in sentences for choices in sentence)
        self.choices = torch.zeros(len(FILLERS), self.longest, most, dtype=torch.long)
        self.choice_counts = torch.ones(len(FILLERS), self.longest)
        for s, sentence in enumerate(sentences):
            for w, choices in enumerate(sentence):
                self.choices[s, w, : len(choices)] = torch.tensor([token[word] for word in choices])
                self.choice_counts[s, w] = len(choices)

    def write(self, distance: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Stories with `distance` `[B]` words from the fact to the marked word.

        Returns
        -------
        Words `[B, T]`; the words since the fact at the marked word, else 0, `[B, T]`; lengths `[B]`.
        """
        B = len(distance)
        kind = torch.randint(len(self.kinds), (B,), generator=generator)
        heads, tails, between = self.sizes[kind].unbind(1)
        fillers = distance - between
        lengths = heads + fillers + tails
        longest = int(lengths.max())
        words = torch.zeros(B, longest + self.longest, dtype=torch.long)
        distances = torch.zeros_like(words)
        self._fill(words, heads, fillers, generator)
        for k, (opening, closing, pairs) in enumerate(self.kinds):
            rows = (kind == k).nonzero()[:, 0]
            fact, marked = pairs[torch.randint(len(pairs), (len(rows),), generator=generator)].unbind(1)
            start = heads[rows] + fillers[rows]
            for place, word in enumerate(opening):
                words[rows, place] = fact if word < 0 else word
            for place, word in enumerate(closing):
                words[rows, start + place] = marked if word < 0 else word
            distances[rows, start + closing.index(-1)] = distance[rows]
        return words[:, :longest], distances[:, :longest], lengths

    def _fill(self, words: Tensor, start: Tensor, total: Tensor, generator: torch.Generator) -> None:
        """Write filler sentences of exactly `total` `[B]` words from `start` `[B]` on, one for each story at a time."""
        left, at = total.clone(), start.clone()
        places = torch.arange(self.longest)
        while bool((left > 0).any()):
            rest = left[:, None] - self.lengths  # [B, fillers]
            allowed = ((rest == 0) | (rest >= self.shortest)).float()
            allowed[left == 0] = 1.0  # the story is full: any sentence, which is not written
            sentence = torch.multinomial(allowed, 1, generator=generator)[:, 0]
            draw = torch.rand(len(words), self.longest, generator=generator)
            choice = (draw * self.choice_counts[sentence]).long()
            text = self.choices[sentence].gather(2, choice[..., None])[..., 0]  # [B, longest]
            count = torch.where(left > 0, self.lengths[sentence], 0)
            row, place = (places < count[:, None]).nonzero(as_tuple=True)
            words[row, at[row] + place] = text[row, place]
            left, at = left - count, at + count
