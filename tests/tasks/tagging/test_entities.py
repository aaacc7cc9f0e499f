"""Entities: known answers of conlleval and seqeval, and a slow reading of conlleval's rules of where an entity ends."""

import random

import pytest
import torch

from seqtrain.tasks.tagging.entities import Entities, are_entities

KNOWN = [
    ("B-A I-A O", "B-A I-A O", (1, 1, 1)),
    ("I-A I-A B-A", "I-A I-A I-A", (0, 1, 2)),
    ("B-A I-B I-B", "B-A I-B O", (1, 2, 2)),
    ("O I-A O B-B", "B-A I-A O B-B", (1, 2, 2)),
    ("B-A I-A I-A", "B-A I-A O", (0, 1, 1)),
    ("S-A B-A E-A O", "S-A B-A E-A O", (2, 2, 2)),
    ("B-A I-A E-A S-B", "B-A E-A E-A S-B", (1, 3, 2)),
    ("E-A I-A O", "B-A I-A O", (0, 1, 2)),
    ("B-A B-A", "B-A I-A", (0, 1, 2)),
    ("I-A O I-A", "I-A I-A I-A", (0, 1, 2)),
]
"""Gold and guess: the entities that are right, that are guessed and that there are, by conlleval 0.2 and seqeval 1.2.2,
which agree on them."""


@pytest.mark.parametrize(("gold", "guess", "counts"), KNOWN, ids=[gold + " | " + guess for gold, guess, _ in KNOWN])
def test_known_counts(gold, guess, counts):
    tags = sorted({*gold.split(), *guess.split()})
    numbers = [torch.tensor([[tags.index(tag)] for tag in text.split()]) for text in (guess, gold)]
    assert Entities(tags).count(*numbers, torch.ones_like(numbers[0], dtype=torch.bool)) == counts


def slow_spans(tags):
    """As the script conlleval.pl: does an entity end between two words, does one begin?"""
    spans, start = set(), None
    for t, (before, own) in enumerate(zip(["O", *tags], [*tags, "O"], strict=True)):
        (first, _, kind), (second, _, own_kind) = before.partition("-"), own.partition("-")
        ends = first in "ES" or (first in "BI" and second in "BSO") or (first != "O" and kind != own_kind)
        begins = second in "BS" or (first in "ESO" and second in "EI") or (second != "O" and kind != own_kind)
        if first != "O" and ends:
            spans.add((start, t, kind))
        if begins and second != "O":
            start = t
    return spans


@pytest.mark.parametrize("scheme", ["BI", "BIES"])
def test_random_tags_side_by_side_with_padding(scheme):
    draw = random.Random(0)
    tags = ["O", *(f"{prefix}-{kind}" for prefix in scheme for kind in ("PER", "LOC-X"))]
    entities, T, B = Entities(tags), 9, 200
    lengths = [draw.randint(1, T) for _ in range(B)]
    gold = [[draw.randrange(len(tags)) for _ in range(T)] for _ in range(B)]
    guess = [[tag if draw.random() < 0.7 else draw.randrange(len(tags)) for tag in column] for column in gold]
    scored = torch.arange(T)[:, None] < torch.tensor(lengths)
    wanted = [0, 0, 0]
    for n, length in enumerate(lengths):
        ours, right = (slow_spans([tags[tag] for tag in columns[n][:length]]) for columns in (guess, gold))
        wanted = [a + b for a, b in zip(wanted, (len(ours & right), len(ours), len(right)), strict=True)]
    found = entities.count(torch.tensor(guess).t(), torch.tensor(gold).t(), scored)
    assert list(found) == wanted
    assert 100 < wanted[0] < min(wanted[1:])


ENTITIES = ["O B-A I-A", "O I-A", "B I O", "O B-A I-A E-A S-A", "O U-A L-A B-A I-A", "B-A-B O"]
OTHERS = ["DT NN", "O", "O B-A NN", "O B-A E-A L-A", "B I-A O", "B- O", "X-A O", "o b-a"]


def test_tags_that_mark_entities():
    assert [tags for tags in ENTITIES if not are_entities(tags.split())] == []
    assert [tags for tags in OTHERS if are_entities(tags.split())] == []
