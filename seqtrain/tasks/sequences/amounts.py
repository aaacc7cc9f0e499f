"""Numbers that are predicted of sequences, or of steps: their scaling, metrics and baselines."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import JsonValue
from torch import Tensor

from seqtrain.system.errors import DataError
from seqtrain.tasks.base import Batch, Prediction
from seqtrain.tasks.errors import squared_loss, tally_errors, with_roots
from seqtrain.tasks.metrics import Metric, Tally
from seqtrain.tasks.sequences.collection import Collection
from seqtrain.tasks.sequences.neighbours import NEIGHBOUR, nearest
from seqtrain.tasks.sequences.part import Part
from seqtrain.tasks.tables.scaler import Scaler

RMSE = Metric("rmse", higher_is_better=False)


class Amounts:
    """Numbers, scaled to a mean of 0 and a standard deviation of 1 on the training part.

    Parameters
    ----------
    scaler : of the targets.
    by_step : each step has its numbers.
    """

    metric = RMSE

    def __init__(self, scaler: Scaler, *, by_step: bool) -> None:
        self._scaler, self._by_step = scaler, by_step

    @classmethod
    def measured(cls, train: Collection, names: Sequence[str], *, by_step: bool) -> "Amounts":
        """Scaled on the training part.

        Raises
        ------
        DataError : a target has no value in it.
        """
        labels = train.labels if train.labels is not None else np.empty((0, 1))
        if not labels.size or np.isnan(labels).all(0).any():
            raise DataError(f"{train.place(0, None)}: a target has no value in the training part; leave it out")
        own = [*names] if len(names) == labels.shape[1] else [f"label{k + 1}" for k in range(labels.shape[1])]
        return cls(Scaler.measured(own, labels, np.nanmax(np.abs(labels), 0), len(own)), by_step=by_step)

    @classmethod
    def read(cls, fitted: dict[str, Any], *, by_step: bool) -> "Amounts":
        """From a checkpoint."""
        own = fitted.get("targets")
        names = own.get("columns") if isinstance(own, dict) else None
        if not isinstance(own, dict) or not isinstance(names, list):
            raise DataError("the checkpoint holds no scaling of the targets; use another checkpoint")
        return cls(Scaler.read(own, [str(name) for name in names], len(names)), by_step=by_step)

    def as_json(self) -> dict[str, JsonValue]:
        """For a checkpoint."""
        return {"targets": self._scaler.as_json()}

    @property
    def names(self) -> list[str]:
        """Of the targets."""
        return self._scaler.columns

    @property
    def output_size(self) -> int:
        """One number for each target."""
        return len(self.names)

    def facts(self) -> dict[str, Any]:
        """Nothing beside the metrics."""
        return {}

    def restored(self, outputs: Tensor) -> NDArray[np.float64]:
        """Predictions in the units of the data."""
        return self._scaler.restore_targets(outputs.detach().double().cpu().numpy())

    def targets(self, collection: Collection) -> Tensor:
        """The scaled numbers, `[N, K]` or `[S, K]`; NaN if there is no label.

        Raises
        ------
        DataError : there are more or fewer numbers than in the training.
        """
        rows = len(collection.values) if self._by_step else len(collection)
        labels = np.full((rows, self.output_size), np.nan) if collection.labels is None else collection.labels
        if labels.shape[1] != self.output_size:
            raise DataError(
                f"{collection.place(0, None)}: has {labels.shape[1]} numbers to predict, and the training has "
                f"{self.output_size}; give data with the same targets"
            )
        return torch.from_numpy(self._scaler.scale_targets(labels).astype(np.float32))

    def loss(self, prediction: Prediction, batch: Batch) -> tuple[Tensor, int]:
        """Squared error of scaled numbers."""
        return squared_loss(prediction, batch)

    def measure(self, prediction: Prediction, batch: Batch) -> Tally:
        """Squared and absolute errors in the units of the data."""
        return tally_errors(prediction, batch, torch.from_numpy(self._scaler.target_spread), self.names)

    def summarise(self, means: dict[str, float]) -> dict[str, float]:
        """The roots of mean squared errors in place of these."""
        return with_roots(means)

    def baseline(self, train: Part, part: Part) -> dict[str, float]:
        """The mean; of steps also a linear regression on their inputs; for small sets the nearest sequence."""
        rules = {"the mean": train.targets.nanmean(0).expand_as(part.targets)}
        if self._by_step:
            rules["linear"] = _linear(train, part)
        elif (found := nearest(train, part)) is not None:
            rules[NEIGHBOUR] = train.targets[torch.from_numpy(found)]
        figures = {name: self._figures(part.targets - guess) for name, guess in rules.items()}
        best = min(figures, key=lambda name: figures[name]["rmse"])
        return figures[best] | {f"rmse of {name}": own["rmse"] for name, own in figures.items()}

    def _figures(self, scaled: Tensor) -> dict[str, float]:
        """All metrics of errors `[M, K]` of scaled numbers."""
        error = scaled.double().numpy() * self._scaler.target_spread
        roots = np.sqrt(np.nanmean(error**2, 0))
        figures = {
            "loss": float(scaled.double().square().nanmean()),
            "rmse": math.sqrt(float(np.nanmean(error**2))),
            "mae": float(np.nanmean(np.abs(error))),
        }
        each = dict(zip((f"rmse_{name}" for name in self.names), roots.tolist(), strict=True))
        return figures | (each if len(each) > 1 else {})


def _linear(train: Part, part: Part) -> Tensor:
    """The targets of each step by least squares from its inputs and a constant."""
    X, own = (np.concatenate([one.inputs, np.ones((len(one.inputs), 1), np.float32)], 1) for one in (train, part))
    guesses = []
    for y in train.targets.T.numpy():
        known = ~np.isnan(y)
        guesses.append(own @ np.linalg.lstsq(X[known], y[known], rcond=None)[0])
    return torch.from_numpy(np.stack(guesses, 1).astype(np.float32))
