"""What can be read from a cell: probes that learn on one half of the sequences and are judged on the other."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from seqtrain.system.rng import generator

LEVEL = 0.05
"""The probability at most that a probe is believed where there is nothing to read."""

RIDGE = 1.0
"""Penalty of the linear probe on the squares of its weights, for features of variance 1."""

SHUFFLES = 199
"""Shuffles of the sequences, for p."""

FEWEST = 10
"""Samples of each half with which a probe can say something."""


class Labels(NamedTuple):
    """What a probe reads, at K steps of N sequences.

    values : `[K, N]` whole numbers of classes from 0, or real numbers.
    known : `[K, N]` bool; elsewhere the values mean nothing.
    classes : their number; 0 for real numbers.
    in_order : the sequences are parts of one text, in its order, of which neighbours are alike.
    """

    values: Tensor
    known: Tensor
    classes: int
    in_order: bool = False

    def at(self, steps: slice, sequences: slice) -> "Labels":
        """A part of the labels."""
        return self._replace(values=self.values[steps, sequences], known=self.known[steps, sequences])

    def chosen(self) -> Tensor:
        """`[M]`, the known values."""
        return self.values[self.known]

    def suffice(self) -> bool:
        """Whether there are enough samples, and of more than one value."""
        values = self.chosen()
        return len(values) >= FEWEST and bool((values != values[0]).any())


Read = Callable[[Tensor], Tensor]
"""From activations `[M, H]` to answers `[M]`."""


class Learnt(NamedTuple):
    """What a probe has learnt.

    read : how it answers.
    score : of its answers on the samples that it learnt from.
    by_unit : `[H]`, likewise of each unit alone; None if the probe reads all units.
    """

    read: Read
    score: float
    by_unit: Tensor | None


Learn = Callable[[Tensor, Tensor, int], Learnt]
"""From activations `[M, H]`, their labels `[M]` and the number of classes."""


@dataclass(frozen=True)
class Probe:
    """How well labels can be read.

    learnt : the score on the sequences from which it learnt; by it, units and activations are compared.
    by_unit : `[H]`, likewise of each unit alone; None if the probe reads all units.
    answers : `[K, J]` for the J sequences that it has not seen.
    labels : of the same.
    guess : the mean of the numbers from which it learnt.
    """

    learnt: float
    by_unit: Tensor | None
    answers: Tensor
    labels: Labels
    guess: float

    @property
    def unit(self) -> int | None:
        """The unit that is read; None if the probe reads all."""
        return None if self.by_unit is None else int(self.by_unit.argmax())

    @cached_property
    def score(self) -> float:
        """For classes the accuracy, in which each class counts alike; for numbers R², 1 for no error.

        0 is an R² that is no better than the mean.
        """
        return self._score(self.labels)

    @cached_property
    def chance(self) -> float:
        """The score of an answer that does not depend on the activations."""
        return 1 / int((self.labels.chosen().bincount() > 0).sum()) if self.labels.classes else 0.0

    @cached_property
    def by_step(self) -> list[float]:
        """`[K]` scores, NaN where there are too few samples."""
        return [self._score(self.labels, k) for k in range(len(self.answers))]

    @cached_property
    def p(self) -> float:
        """The share of shuffled sequences of labels that agree with the answers at least as well.

        A permutation test: whole sequences are shuffled, since the steps of one depend on each other. Those of one text
        are shifted against it, all by the same number, since neighbours are alike.
        """
        draw, J = generator(0, "probe"), self.answers.shape[1]
        values, known = self.labels.values, self.labels.known
        as_good = 0
        for _ in range(SHUFFLES):
            order = torch.randperm(J, generator=draw)
            if self.labels.in_order:
                order = torch.arange(J).roll(int(torch.randint(1, max(J, 2), (), generator=draw)))
            shuffled = self.labels._replace(values=values[:, order], known=known[:, order] & known)
            as_good += self._score(shuffled) >= self.score
        return (1 + as_good) / (1 + SHUFFLES)

    def is_found(self) -> bool:
        """Whether more can be read than chance would give."""
        return self.score > self.chance and self.p <= LEVEL

    def _score(self, labels: Labels, k: int | None = None) -> float:
        answers = self.answers
        if k is not None:
            answers, labels = answers[k], labels._replace(values=labels.values[k], known=labels.known[k])
        if not labels.known.any() or (k is not None and not labels.suffice()):
            return math.nan
        return score(answers[labels.known], labels.chosen(), labels.classes, self.guess)


def score(answers: Tensor, labels: Tensor, classes: int, guess: float) -> float:
    """The accuracy, in which each class counts alike, or R² against a guess; of samples `[M]`."""
    if not classes:
        labels = labels.double()
        spread = (labels - guess).square().mean()
        return float(1 - (answers - labels).square().mean() / spread) if spread > 0 else math.nan
    total = labels.bincount(minlength=classes)
    right = labels[answers == labels].bincount(minlength=classes)
    return float((right / total)[total > 0].double().mean())


def probe(learn: Learn, values: Tensor, labels: Labels) -> Probe | None:
    """Learn on the first half of the sequences, and answer for the second.

    Parameters
    ----------
    learn : `one_unit` or `linear`.
    values : `[K, N, H]` activations of sequences whose order has nothing to do with the labels.

    Returns
    -------
    None if there are too few samples, or all have the same label.
    """
    half = values.shape[1] // 2
    seen, judged = labels.at(slice(None), slice(half)), labels.at(slice(None), slice(half, None))
    if not (seen.suffice() and judged.suffice()):
        return None
    learnt = learn(values[:, :half][seen.known].float(), seen.chosen(), labels.classes)
    answers = learnt.read(values[:, half:].flatten(0, 1).float()).view(judged.values.shape)
    return Probe(learnt.score, learnt.by_unit, answers, judged, float(seen.chosen().double().mean()))


def one_unit(values: Tensor, labels: Tensor, classes: int) -> Learnt:
    """The single unit from which labels can best be read.

    Of classes, it answers with the one whose mean is nearest; of numbers, with a line through the samples.
    """
    return _nearest_mean(values, labels, classes) if classes else _line(values, labels.to(values.dtype))


def _nearest_mean(values: Tensor, labels: Tensor, classes: int) -> Learnt:
    is_class = one_hot(labels, classes).to(values.dtype)  # [M, C]
    present = is_class.sum(0) > 0
    shares = (is_class / is_class.sum(0).clamp(min=1)).T  # [C, M]
    means = (shares @ values).masked_fill(~present[:, None], math.inf)  # [C, H]
    right = (_nearest(values, means) == labels[:, None]).to(values.dtype)
    accuracy = (shares @ right)[present].mean(0)  # [H]
    unit = int(accuracy.argmax())

    def read(values: Tensor) -> Tensor:
        return _nearest(values[:, unit : unit + 1], means[:, unit : unit + 1])[:, 0]

    return Learnt(read, float(accuracy[unit]), accuracy)


def _nearest(values: Tensor, means: Tensor) -> Tensor:
    """The class `[M, H]` whose mean `[C, H]` is nearest, for each unit on its own."""
    best, least = torch.zeros(values.shape, dtype=torch.long), torch.full_like(values, math.inf)
    for number, mean in enumerate(means):
        distance = (values - mean).abs()
        closer = distance < least
        best, least = best.masked_fill(closer, number), torch.where(closer, distance, least)
    return best


def _line(values: Tensor, labels: Tensor) -> Learnt:
    centre, mean = values.mean(0), labels.mean()
    centred, rest = values - centre, labels - mean
    together, spread = (centred * rest[:, None]).mean(0), centred.square().mean(0)
    explained = (together.square() / (spread * rest.square().mean())).nan_to_num(nan=0.0)  # R² [H]
    unit = int(explained.argmax())
    slope = (together / spread).nan_to_num(nan=0.0)[unit]

    def read(values: Tensor) -> Tensor:
        answers: Tensor = mean + slope * (values[:, unit] - centre[unit])
        return answers

    return Learnt(read, float(explained[unit]), explained)


def linear(values: Tensor, labels: Tensor, classes: int) -> Learnt:
    """A linear read-out of all units: ridge regression on the numbers, or on the classes, of which the largest wins.

    Each class has the same weight, however frequent it is.
    """
    mean, spread = values.mean(0), values.std(0).clamp(min=1e-9)

    def features(values: Tensor) -> Tensor:
        return torch.cat([(values - mean) / spread, torch.ones(len(values), 1, dtype=values.dtype)], 1)

    X = features(values)
    if classes:
        wanted = one_hot(labels, classes).to(values.dtype)
        counts = wanted.sum(0)
        weight = (wanted / counts.clamp(min=1)).sum(1) * len(labels) / (counts > 0).sum()
    else:
        wanted, weight = labels.to(values.dtype)[:, None], values.new_ones(len(labels))
    penalty = RIDGE * torch.eye(X.shape[1], dtype=X.dtype)
    penalty[-1, -1] = 1e-3  # hardly any on the constant
    weighted = X.T * weight
    solution = torch.linalg.solve(weighted @ X + penalty, weighted @ wanted)

    def read(values: Tensor) -> Tensor:
        scores: Tensor = features(values) @ solution
        return scores.argmax(1) if classes else scores[:, 0]

    return Learnt(read, score(read(values), labels, classes, float(labels.double().mean())), None)
