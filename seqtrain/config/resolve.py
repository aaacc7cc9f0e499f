"""Fill in the settings whose default depends on others, so that the config of a run says what ran.

Null stays where it means "off" (`train.patience`), where it is a value of its own (`train.eval_every` of a run that is
counted in epochs: once an epoch), and where the machine or the data decides (`threads`, `model.softmax.cutoffs`).
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

from seqtrain.config.schema import Config
from seqtrain.system.settings import Section, nulls_of


def resolved(config: Config) -> Config:
    """The config with those settings filled in; a resolved config stays as it is.

    A run that is counted in epochs keeps `train.epochs`, and `train.steps` stays null: a config gives one of them. So
    training from the resolved config repeats the run, and `--resume` takes a larger value of the one that is given.
    """
    train, model, task = config.train, config.model, config.task.owner
    # None: a class of the user's own that is not imported (see `plugins`); what it gave is in a resolved config
    of_train = {} if task is None else {"eval_batch_size": task.default_eval_batch_size(config.task)}
    has_embedding = task is not None and (task.words or task.embedded)
    of_model = nulls_of(model) | ({"embedding_size": model.hidden_sizes()[0]} if has_embedding else {})
    cell = model.cell if model.init_range is not None else _filled(model.cell, nulls_of(model.cell))
    return config.model_copy(
        update={
            "task": _filled(config.task, nulls_of(config.task)),
            "model": _filled(model, of_model).model_copy(update={"cell": cell}),
            "train": _filled(train, nulls_of(train) | of_train),
        }
    )


def unresolved(config: Config) -> Config:
    """The config with null for every setting that `resolved` would fill in with the value that it has.

    So it follows again if another setting is changed: `eval` tests a model of `parity` at four times the length that is
    asked for. And rows of a comparison are not told apart by what only follows from another difference.
    """
    for section in (("task",), ("train",), ("model",), ("model", "cell")):
        for name, field in type(reduce(getattr, section, config)).model_fields.items():
            if field.default is None:
                candidate = _replaced(config, (*section, name), None)
                config = candidate if resolved(candidate) == resolved(config) else config
    return config


def _replaced(section: Any, path: Sequence[str], value: Any) -> Any:
    """The section with another value of one setting."""
    first, *rest = path
    return section.model_copy(update={first: _replaced(getattr(section, first), rest, value) if rest else value})


def _filled(section: Section, defaults: Mapping[str, Any]) -> Section:
    """The section with defaults for its settings that are null."""
    return section.model_copy(update={key: new for key, new in defaults.items() if getattr(section, key) is None})
