"""Train: from the config that a user names to a finished run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seqtrain.config import Config, config_from, read_config
from seqtrain.runs.directory import RunDir
from seqtrain.runs.records import Summary
from seqtrain.runs.trainer import RUNS, Trained, run_name, train_run
from seqtrain.system.errors import ConfigError, SeqtrainError
from seqtrain.system.files import write_whole
from seqtrain.system.process_group import ProcessGroup, check_device, process_group
from seqtrain.system.progress import say
from seqtrain.system.runtime import settings_restored


@settings_restored()
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

    Under `torchrun`, all processes train the one run together, and each returns how it ended.

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
    with process_group() as group:
        if group.leads:
            with group.leading():
                if resume and overwrite:
                    raise ConfigError("--resume and --overwrite: one keeps what the other removes; give one of them")
                resolved, path = _read(config, overrides, out, quiet=quiet)
                _check_group(resolved, group)
            group.share((resolved.model_dump(), str(path)))
        else:
            data, where = group.share()
            resolved, path = config_from(data, "the config"), Path(where)
        return train_run(
            resolved, path, resume=resume, overwrite=overwrite, quiet=quiet, on_end=draw_curve, group=group
        )


def _read(
    config: str | Path | Mapping[str, Any],
    overrides: Sequence[str],
    out: str | Path | None,
    *,
    quiet: bool,
) -> tuple[Config, Path]:
    """The config and the run directory."""
    resolved, source = read_config(config, overrides, quiet=quiet)
    if out is None and not isinstance(config, Mapping) and Path(config).is_dir():
        out = config
    return resolved, RUNS / run_name(source.stem, resolved) if out is None else Path(out)


def _check_group(config: Config, group: ProcessGroup) -> None:
    """Refuse a number of processes that cannot share the shards, or not the device."""
    shards, batch = config.train.shards, config.train.batch_size
    if shards % group.size:
        fitting = next((n for n in range(group.size, batch + 1, group.size) if batch % n == 0), None)
        cure = f"train.shards={fitting}" if fitting else f"a train.batch_size that is a multiple of {group.size}"
        raise ConfigError(
            f"train.shards is {shards}, which {group.size} processes cannot share equally; use {cure}, or start a "
            "number of processes that divides it"
        )
    check_device(group, config.device)


def draw_curve(directory: RunDir, summary: Summary) -> None:
    """Write the learning curve of a run that has ended. If that fails, only a warning says so: the run is saved."""
    try:
        from seqtrain.runs.curve import as_png  # importing matplotlib takes a while

        picture = as_png(summary, directory.read_metrics())
        directory.check_still_own()
        write_whole(directory.curve, picture)
    except SeqtrainError as error:
        say(f"warning: {error}")
    except Exception as error:  # matplotlib may be installed or configured wrongly
        say(
            f"warning: {directory.curve}: cannot be drawn ({type(error).__name__}: {error}); the run is saved; correct "
            "that and repeat the command with --resume, which draws it"
        )
