"""The errors of predicted numbers, in the units of the data."""

import math
from collections.abc import Sequence

from torch import Tensor

from seqtrain.tasks.base import Batch, Prediction
from seqtrain.tasks.metrics import Tally


def errors_of(prediction: Prediction, batch: Batch) -> tuple[Tensor, Tensor]:
    """The error of each predicted number, 0 for one whose target is NaN or not scored; and which ones count."""
    known = ~batch.targets.isnan()
    if batch.scored is not None:
        known &= batch.scored[..., None]
    return (prediction.outputs - batch.targets.nan_to_num()) * known, known


def squared_loss(prediction: Prediction, batch: Batch) -> tuple[Tensor, int]:
    """The sum of the squared errors, and how many numbers count."""
    error, known = errors_of(prediction, batch)
    return error.square().sum(), int(known.sum())


def tally_errors(prediction: Prediction, batch: Batch, spread: Tensor, names: Sequence[str]) -> Tally:
    """Squared and absolute errors, times the spread of each number; also those of each of several targets.

    Parameters
    ----------
    spread : `[O]`, what an error of 1 is in the units of the data.
    names : of the targets, which are repeated in a prediction if it is of several steps.
    """
    error, known = errors_of(prediction, batch)
    error = error.detach().double().cpu() * spread
    tally = Tally().add("squared", error.square().sum(), known.sum())
    tally.add("mae", error.abs().sum(), known.sum())
    for n, name in enumerate(names if len(names) > 1 else []):
        own = slice(n, None, len(names))
        tally.add(f"squared_{name}", error[..., own].square().sum(), known[..., own].sum())
    return tally


def with_roots(means: dict[str, float]) -> dict[str, float]:
    """The roots of mean squared errors in place of these."""
    return {
        "rmse" + name.removeprefix("squared") if name.startswith("squared") else name: (
            math.sqrt(mean) if name.startswith("squared") else mean
        )
        for name, mean in means.items()
    }
