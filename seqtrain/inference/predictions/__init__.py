"""Predictions for the user's data: a table in, a table out. `PREDICTORS` has a function for each task that can."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from seqtrain.inference.load import Trained, load_trained
from seqtrain.inference.predictions.result import Predictions
from seqtrain.inference.predictions.sequences import predict_sequences
from seqtrain.inference.predictions.series import predict_series
from seqtrain.inference.predictions.tagging import predict_tags
from seqtrain.system.errors import CheckpointError
from seqtrain.system.runtime import prepare, settings_restored
from seqtrain.tasks.sequences.task import LabelledSequences
from seqtrain.tasks.tables.series import Series
from seqtrain.tasks.tagging.task import Tagging

__all__ = ["PREDICTORS", "Predictions", "Predictor", "predict", "predict_with"]


class Predictor(Protocol):
    """Predicts for the tasks of one name."""

    def __call__(self, trained: Trained, file: Path | None, horizon: int | None, *, quiet: bool) -> Predictions:
        """The predictions for a file, by default the one that the model was trained on."""


PREDICTORS: Mapping[str, Predictor] = {
    Series.name: predict_series,
    LabelledSequences.name: predict_sequences,
    Tagging.name: predict_tags,
}


@settings_restored()
def predict(
    run_or_checkpoint: str | Path, file: str | Path | None = None, *, horizon: int | None = None, quiet: bool = True
) -> Predictions:
    """Forecasts beyond the end of each series of a table, or the labels of its rows or of whole sequences.

    Parameters
    ----------
    run_or_checkpoint : a checkpoint, or a run directory, which stands for its best one.
    file : a table with the same columns; by default the one of the training.
    horizon : how many steps to forecast; by default `task.horizon`. The forecasts of more steps are read as inputs.
    quiet : no remarks on stderr.

    Raises
    ------
    SeqtrainError : the checkpoint or the table cannot be used, or the forecast needs values that are not known.
    """
    prepare(None)
    return predict_with(load_trained(run_or_checkpoint), file, horizon, quiet=quiet)


def predict_with(trained: Trained, file: str | Path | None, horizon: int | None, *, quiet: bool = False) -> Predictions:
    """Likewise with a loaded model."""
    name = trained.config.task.name
    if name not in PREDICTORS:
        raise CheckpointError(
            f"{trained.path}: holds a model of task {name!r}, which predicts nothing for a file; give one of task "
            f"{', '.join(map(repr, PREDICTORS))}"
        )
    return PREDICTORS[name](trained, None if file is None else Path(file), horizon, quiet=quiet)
