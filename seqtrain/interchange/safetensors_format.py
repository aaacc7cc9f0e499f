"""A folder for the Hugging Face hub: the weights with their config in one safetensors file, and a model card.

The file is a checkpoint of seqtrain (see `seqtrain.runs.checkpoint`): every verb takes it, and any other program reads
the weights under their names.
"""

import re
import shlex
from typing import Any

from seqtrain.config import yaml
from seqtrain.inference.load import Trained
from seqtrain.interchange.content import Content, Options
from seqtrain.interchange.metadata import files_by_name, shareable_config
from seqtrain.interchange.rendering import render
from seqtrain.interchange.request import CARD, LIBRARY
from seqtrain.models import count_parameters
from seqtrain.runs.checkpoint import Checkpoint, parts_of_file
from seqtrain.runs.directory import RunDir
from seqtrain.runs.records import Summary
from seqtrain.system.errors import ConfigError, short
from seqtrain.system.words import figure

WEIGHTS = "model.safetensors"

UNKNOWN = "unknown"
"""What the hub calls a license that nobody has named."""

_LICENSE = re.compile(r"[a-z0-9]+([.-][a-z0-9]+)*")


def write(trained: Trained, options: Options) -> Content:
    """The folder of a trained model.

    Raises
    ------
    ConfigError : the license is no identifier of the hub.
    """
    name = options.license
    if name is not None and not _LICENSE.fullmatch(name):
        raise ConfigError(
            f"--license is {short(name)}; give an identifier of the Hugging Face hub, such as mit, apache-2.0 or other"
        )
    header = trained.header.model_copy(update={"training": None, "config": shareable_config(trained)})
    weights = b"".join(parts_of_file(Checkpoint(header, trained.model.state_dict(), {})))
    remarks = [] if name else [f"the model card says 'license: {UNKNOWN}'; --license NAME says another"]
    summary = _summary(trained)
    if summary is None or summary.test is None:
        remarks.append(
            f"the model card has no figures: {trained.path} is not the best checkpoint of a run that has ended"
        )
    card = _card(trained, header.config, summary, name or UNKNOWN)
    return Content({WEIGHTS: weights, CARD: card.encode()}, remarks=remarks)


def _card(trained: Trained, shareable: dict[str, Any], summary: Summary | None, license: str) -> str:
    """The model card: metadata in YAML, then what the model is, what it reached, and how to use it."""
    config, model = trained.config, trained.config.model
    tags = ["seqtrain", "recurrent", model.cell.name, config.task.name]
    return render(
        "card.md.jinja",
        figure=figure,
        metadata=yaml.dump({"license": license, "library_name": LIBRARY, "tags": tags}),
        name=f"{model.cell.name} on {config.task.name}",
        variant=trained.header.variant,
        model=model,
        parameters=count_parameters(trained.model),
        step=trained.header.step,
        imported=trained.header.imported,
        summary=summary,
        figures=_figures(summary),
        weights=WEIGHTS,
        use=_use(trained),
        own=[place for place, name in (("cell", model.cell.name), ("task", config.task.name)) if ":" in name],
        files=[*files_by_name(config.task).values()],
        config=yaml.dump(shareable),
    )


def _summary(trained: Trained) -> Summary | None:
    """How the run of the model ended; None if the checkpoint is not the best one of a run."""
    run = RunDir(trained.path.parent)
    summary = run.read_summary()
    is_of_run = trained.path == run.best and summary is not None and summary.best.step == trained.header.step
    return summary if is_of_run else None


def _figures(summary: Summary | None) -> list[tuple[str, float | None, float | None]]:
    """Loss and metrics on the test set, each with what the baseline reaches."""
    if summary is None or summary.test is None:
        return []
    return [(name, value, summary.baseline.get(name)) for name, value in summary.test.items()]


def _use(trained: Trained) -> list[str]:
    """Commands that use the model."""
    places = [f"task.{setting}={name}" for setting, name in files_by_name(trained.config.task).items()]
    verbs: dict[str, Any] = {"eval": [WEIGHTS, *places]}
    if trained.header.vocabulary is not None and trained.config.task.name in ("language_model", "stories"):
        verbs["generate"] = [WEIGHTS]
    verbs["export"] = [WEIGHTS, "--to", "onnx"]
    return [shlex.join(["seqtrain", verb, *rest]) for verb, rest in verbs.items()]
