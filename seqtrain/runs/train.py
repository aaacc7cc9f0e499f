"""Train: from the config that a user names to a finished run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seqtrain.config import read_config
from seqtrain.runs.trainer import RUNS, Trained, run_name, train_run
from seqtrain.system.errors import ConfigError


def train(
    config: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = True,
) -> Trained:
    """Train a model and evaluate it; write everything into a run directory.

    Parameters
    ----------
    config : a YAML file, the name of a shipped config, a run directory, or a config as data.
    overrides : settings to change, each `KEY=VALUE`: `train.steps=500`.
    out : the run directory; by default `runs/<config>-<cell>-seed<seed>`, or the run directory that `config` is.
    resume : continue the run in the directory; start if there is none.
    overwrite : replace the run in the directory.
    quiet : no progress and no remarks on stderr.

    Raises
    ------
    SeqtrainError : the config, its data or the directory cannot be used.
    """
    if resume and overwrite:
        raise ConfigError("--resume and --overwrite: one keeps what the other removes; give one of them")
    resolved, source = read_config(config, overrides, quiet=quiet)
    if out is None and not isinstance(config, Mapping) and Path(config).is_dir():
        out = config
    path = RUNS / run_name(source.stem, resolved) if out is None else Path(out)
    return train_run(resolved, path, resume=resume, overwrite=overwrite, quiet=quiet)
