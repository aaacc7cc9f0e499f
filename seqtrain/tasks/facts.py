"""The hidden facts of sequences: what a model must remember to predict well."""

from typing import NamedTuple

import torch
from torch import Tensor


class HiddenFact(NamedTuple):
    """Something that the inputs have told and that a later prediction needs.

    name : what it is, in a few words.
    values : `[T, B]` whole numbers of classes, or real numbers.
    known : `[T, B]` bool, the steps at which a model must keep it: from the one that tells it to that of its use.
    classes : the name of each class; empty for real numbers.
    """

    name: str
    values: Tensor
    known: Tensor
    classes: tuple[str, ...] = ()


def constant(
    name: str, values: Tensor, start: Tensor | int, end: Tensor | int, T: int, classes: tuple[str, ...]
) -> HiddenFact:
    """A fact `values` `[B]` that does not change between the steps `start` and `end`, `[B]` or the same for all."""
    steps = torch.arange(T)[:, None]
    known = (steps >= start) & (steps <= end)
    return HiddenFact(name, values.expand(T, -1), known.expand(T, len(values)), classes)


def numbered(count: int) -> tuple[str, ...]:
    """Names of classes that have none but their number."""
    return tuple(map(str, range(count)))
