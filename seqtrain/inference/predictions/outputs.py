"""The outputs of a model for whole sequences, in their order."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqtrain.models import SequenceModel
from seqtrain.tasks.finite import Sequences
from seqtrain.tasks.sequences.part import Part

MOST_READ = 200_000
"""Steps of all sequences that are read side by side."""

TOGETHER = 250
"""Sequences that are read side by side."""

Numbers = NDArray[np.int64]


def outputs_of(model: SequenceModel, sequences: Sequences, *, by_step: bool) -> Tensor:
    """The outputs of all sequences, `[N, O]`, or of all their steps, one after the other, `[S, O]`."""

    def read(chosen: Numbers) -> Iterator[Tensor]:
        batch = sequences.batch(chosen)
        outputs, _ = model(batch.inputs, batch.lengths)
        for b, size in enumerate(sequences.sizes[chosen].tolist()):
            yield outputs[:size, b] if by_step else outputs[b][None]

    return _in_order(sequences.sizes, read)


def outputs_beyond(model: SequenceModel, part: Part) -> Tensor:
    """Of a model that predicts the next step: the outputs after the last step of each sequence, `[N, O]`."""

    def read(chosen: Numbers) -> Iterator[Tensor]:
        inputs, lengths = part.with_last_step(chosen)
        outputs, _ = model(inputs, lengths)
        for b, size in enumerate(part.sizes[chosen].tolist()):
            yield outputs[size : size + 1, b]

    return _in_order(part.sizes, read)


def _in_order(sizes: Numbers, read: Callable[[Numbers], Iterator[Tensor]]) -> Tensor:
    """What `read` gives for groups of sequences of similar lengths, in the order of the sequences."""
    order, found = np.argsort(-sizes, kind="stable"), dict[int, Tensor]()
    with torch.no_grad():
        while order.size:
            count = int(max(1, min(TOGETHER, MOST_READ // sizes[order[0]])))
            group, order = order[:count], order[count:]
            found |= {n: outputs.double() for n, outputs in zip(group.tolist(), read(group), strict=True)}
    return torch.cat([found[number] for number in range(len(sizes))])
