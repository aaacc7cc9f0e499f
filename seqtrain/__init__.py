"""seqtrain: train, evaluate and compare recurrent sequence models from a YAML config.

The public names are those of `__all__`, and the attributes of what they give. Everything else is private and may change
in any version.

train, evaluate, predict, inspect, compare, export, import_torch : what the verbs of the command line do, with typed
    results.
load_model, load_text_model : a trained model back from its checkpoint.
CELLS : the built-in cells by name; `seqtrain.cells.Cell` is the base of a user's own cell.
unroll : run a cell over a batch of sequences.
nn : `seqtrain.nn.Recurrent`, recurrent layers with the interface of `torch.nn.LSTM`.
SeqtrainError : the base of `ConfigError`, `DataError`, `CheckpointError`, `Diverged` and `Differs`; any other exception
    is a bug.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING

from seqtrain.system.errors import CheckpointError, ConfigError, DataError, Differs, Diverged, SeqtrainError

# Read when torch is loaded: how long a waiting thread spins. With OpenMP's default, two trainings at the same time on a
# machine slow each other down to a standstill (docs/LOG.md, 2026-11-21).
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

if TYPE_CHECKING:
    from seqtrain import nn
    from seqtrain.cells import CELLS
    from seqtrain.comparison import compare
    from seqtrain.inference.evaluate import evaluate
    from seqtrain.inference.load import load_model, load_text_model
    from seqtrain.inference.predictions import predict
    from seqtrain.inspection.api import inspect
    from seqtrain.interchange.export import export
    from seqtrain.interchange.import_torch import import_torch
    from seqtrain.recurrence import unroll
    from seqtrain.runs.train import train

__all__ = [
    "CELLS",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "Differs",
    "Diverged",
    "SeqtrainError",
    "compare",
    "evaluate",
    "export",
    "import_torch",
    "inspect",
    "load_model",
    "load_text_model",
    "nn",
    "predict",
    "train",
    "unroll",
]

_MODULES = {
    "CELLS": "seqtrain.cells",
    "compare": "seqtrain.comparison",
    "evaluate": "seqtrain.inference.evaluate",
    "export": "seqtrain.interchange.export",
    "import_torch": "seqtrain.interchange.import_torch",
    "inspect": "seqtrain.inspection.api",
    "load_model": "seqtrain.inference.load",
    "load_text_model": "seqtrain.inference.load",
    "predict": "seqtrain.inference.predictions",
    "train": "seqtrain.runs.train",
    "unroll": "seqtrain.recurrence",
}
"""Where a name is defined that is imported at its first use, so that `import seqtrain` does not wait for torch."""


def __getattr__(name: str) -> object:
    """Import a public name at its first use."""
    if name == "nn":
        return import_module("seqtrain.nn")
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names."""
    return __all__
