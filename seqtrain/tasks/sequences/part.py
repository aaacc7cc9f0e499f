"""The sequences of one part of the data, ready to be read in batches."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqtrain.tasks.base import Batch
from seqtrain.tasks.sequences.collection import Collection, Numbers, Whole
from seqtrain.tasks.tables.scaler import Scaler


class Part:
    """Sequences with what is to be predicted of them: `N` sequences with `S` steps in all.

    Parameters
    ----------
    sizes : `[N]`, steps.
    inputs : `[S, I]`.
    targets : `[N]` or `[N, K]`; by step `[S]` or `[S, K]`. A class below 0 and a number that is NaN are unknown.
    by_step : each step has a target.
    delayed : the model reads at each step the inputs of the step before, and zeros at the first one.
    """

    def __init__(
        self, sizes: Whole, inputs: NDArray[np.float32], targets: Tensor, *, by_step: bool, delayed: bool = False
    ) -> None:
        self.sizes, self.inputs, self.targets = sizes, inputs, targets
        self.by_step, self._delayed = by_step, delayed
        self.starts = np.cumsum(sizes) - sizes

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.inputs.nbytes + self.targets.nbytes

    @property
    def is_known(self) -> Tensor:
        """`[N]` or `[S]`, what has a target."""
        return self.targets >= 0 if self.targets.dim() == 1 else ~self.targets.isnan().all(-1)

    def sequence(self, number: int) -> NDArray[np.float32]:
        """The inputs of one sequence, `[T, I]`."""
        return self.inputs[self.starts[number] : self.starts[number] + self.sizes[number]]

    def batch(self, chosen: Whole) -> Batch:
        """The sequences with these numbers, `[B]`, side by side."""
        lengths = self.sizes[chosen]
        steps = np.arange(int(lengths.max()))[:, None]
        inside = torch.from_numpy(steps < lengths)
        places = np.where(inside, self.starts[chosen] + steps, 0)  # [T, B]
        inputs = torch.from_numpy(self.inputs[places]) * inside[..., None]
        if self._delayed:
            inputs = torch.cat([torch.zeros_like(inputs[:1]), inputs[:-1]]) * inside[..., None]
        found = None if bool(inside.all()) else torch.from_numpy(lengths)
        if not self.by_step:
            return Batch(inputs, self.targets[torch.from_numpy(chosen)], found)
        targets = self.targets[torch.from_numpy(places)]
        is_known = targets >= 0 if targets.dim() == 2 else ~targets.isnan().all(-1)
        scored = inside & is_known
        blank = targets.new_zeros(()) if targets.dim() == 2 else targets.new_tensor(torch.nan)
        return Batch(inputs, torch.where(_like(scored, targets), targets, blank), found, scored)

    def with_last_step(self, chosen: Whole) -> tuple[Tensor, Tensor]:
        """The inputs `[T + 1, B, I]` and lengths of delayed sequences, with their last step, which is read after it."""
        lengths = self.sizes[chosen]
        T = int(lengths.max())
        inputs = torch.zeros(T + 1, len(chosen), self.inputs.shape[1])
        for b, number in enumerate(chosen.tolist()):
            inputs[1 : lengths[b] + 1, b] = torch.from_numpy(self.sequence(number))
        return inputs, torch.from_numpy(lengths + 1)


def _like(mask: Tensor, targets: Tensor) -> Tensor:
    return mask if targets.dim() == 2 else mask[..., None]


def inputs_of(collection: Collection, scaler: Scaler | None, *, mask: bool) -> NDArray[np.float32]:
    """What a model reads, `[S, I]`: scaled numbers, the last known one in place of each that is missing.

    Parameters
    ----------
    scaler : None for inputs that are not scaled.
    mask : add an input for each column: 1 for a real number, -1 for a missing one.
    """
    values = filled_within(collection)
    scaled = values if scaler is None else np.nan_to_num(scaler.scale(values), nan=0.0)
    parts = [scaled, 2.0 * ~np.isnan(collection.values) - 1.0] if mask else [scaled]
    return np.concatenate(parts, 1).astype(np.float32)


def filled_within(collection: Collection) -> Numbers:
    """The last known number of the same sequence in place of each missing one; NaN before its first."""
    values, steps = collection.values, np.arange(len(collection.values))[:, None]
    if not np.isnan(values).any():
        return values
    last = np.maximum.accumulate(np.where(np.isnan(values), -1, steps), 0)
    filled = np.take_along_axis(values, np.maximum(last, 0), 0)
    start = np.repeat(collection.starts, collection.lengths)[:, None]
    return np.where(last >= start, filled, np.nan)
