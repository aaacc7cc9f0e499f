"""What can be read from a cell: probes that learn on one half of the samples and are judged on the other."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from seqtrain.system.rng import generator

LEVEL = 0.05
"""The probability at most that a probe is believed where there is nothing to read."""

RIDGE = 1.0
"""Penalty of the linear probe on the squares of its weights, for features of variance 1."""


SHUFFLES = 999
"""Shuffles of the labels, for p."""


class Probe(NamedTuple):
    """How well a label can be read.

    accuracy : on the half that the probe has not seen.
    chance : the accuracy there of the label that is most frequent in the half that it learnt from.
    p : the share of shuffled labels that agree with the answers at least as often (a permutation test).
    unit : the unit that is read; None if the probe reads all.
    """

    accuracy: float
    chance: float
    p: float
    unit: int | None = None

    def is_found(self) -> bool:
        """Whether more can be read than chance would give."""
        return self.p <= LEVEL and self.accuracy > self.chance


def one_unit_probe(values: Tensor, labels: Tensor) -> Probe:
    """The single unit from which a label can best be read.

    For each unit, the half line between the means of two neighbouring classes is cut in the middle. The unit that is
    most often right on the first half of the samples is judged on the second half.

    Parameters
    ----------
    values : `[N, H]`, in an order that has nothing to do with the labels.
    labels : `[N]` whole numbers from 0.
    """
    (seen, seen_labels), (judged, judged_labels) = _halves(values, labels)
    means = _class_means(seen, seen_labels)  # [C, H], NaN for a class that is not there
    right = (_nearest(seen, means) == seen_labels[:, None]).double().mean(0)
    unit = int(right.argmax())
    answers = _nearest(judged[:, unit : unit + 1], means[:, unit : unit + 1])[:, 0]
    return _judge(answers, judged_labels, seen_labels, unit)


def linear_probe(values: Tensor, labels: Tensor) -> Probe:
    """A linear read-out of all units: ridge regression on the classes, which answers with the largest."""
    (seen, seen_labels), (judged, judged_labels) = _halves(values, labels)
    mean, spread = seen.mean(0), seen.std(0).clamp(min=1e-9)
    X = torch.cat([(seen - mean) / spread, torch.ones(len(seen), 1, dtype=seen.dtype)], 1)
    Y = torch.nn.functional.one_hot(seen_labels, int(labels.max()) + 1).to(X.dtype)
    penalty = RIDGE * torch.eye(X.shape[1], dtype=X.dtype)
    penalty[-1, -1] = 0  # not of the constant
    weights = torch.linalg.solve(X.T @ X + penalty, X.T @ Y)
    scores = ((judged - mean) / spread) @ weights[:-1] + weights[-1]
    return _judge(scores.argmax(1), judged_labels, seen_labels, None)


def _halves(values: Tensor, labels: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    half = len(values) // 2
    values = values.double()
    return (values[:half], labels[:half]), (values[half:], labels[half:])


def _class_means(values: Tensor, labels: Tensor) -> Tensor:
    classes = range(int(labels.max()) + 1)
    return torch.stack([values[labels == number].mean(0) for number in classes])


def _nearest(values: Tensor, means: Tensor) -> Tensor:
    """The class `[N, H]` whose mean `[C, H]` is nearest, for each unit on its own."""
    distance = (values[:, None] - means).abs().nan_to_num(nan=math.inf)
    return distance.argmin(1)


def _judge(answers: Tensor, labels: Tensor, seen: Tensor, unit: int | None) -> Probe:
    """Compare answers with labels, and with the labels in other orders: without a relation, all orders are alike."""
    N, right = len(labels), int((answers == labels).sum())
    orders = torch.rand(SHUFFLES, N, generator=generator(0, "probe")).argsort(1)
    as_right = int(((answers == labels[orders]).sum(1) >= right).sum())
    chance = float((labels == seen.mode().values).double().mean())
    return Probe(right / N, chance, (1 + as_right) / (1 + SHUFFLES), unit)
