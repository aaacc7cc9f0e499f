"""What there is to choose from: cells with their equations, tasks with their definitions, settings, configs."""

import difflib
import inspect
from collections.abc import Collection
from typing import Any

from seqtrain.config import schema
from seqtrain.config.faults import choose
from seqtrain.config.settings import sections, settings_of
from seqtrain.errors import ConfigError
from seqtrain.shipped import config_paths


def cells(names: Collection[str] = ()) -> list[dict[str, Any]]:
    """Built-in cells, all or those named: name, definition, options."""
    from seqtrain.cells import CELLS

    return [_entry(name, CELLS[name], schema.NAMED["model", "cell"][name]) for name in _chosen(names, CELLS)]


def tasks(names: Collection[str] = ()) -> list[dict[str, Any]]:
    """Tasks, all or those named: name, definition, metric, settings."""
    from seqtrain.tasks import TASKS

    return [
        _entry(name, TASKS[name], schema.NAMED[("task",)][name]) | {"metric": TASKS[name].metric._asdict()}
        for name in _chosen(names, TASKS)
    ]


def settings(names: Collection[str] = ()) -> list[dict[str, Any]]:
    """The sections of a config with their settings: all, or those that one of `names` means.

    A name may be that of a section (`optimizer`), of a choice (`adam`, `optimizer.adam`), or of a setting (`lr`).
    """
    chosen = {"name", *(name for title, _ in sections() for name in _names(title))}  # no settings, but sections
    known = {title: (cls, _names(title) | cls.model_fields.keys() - chosen) for title, cls in sections()}
    every = {name for _, called in known.values() for name in called}
    wrong = [name for name in names if name not in every]
    if wrong:
        raise ConfigError([f"{name}: there is no such section or setting; {_near(name, every)}" for name in wrong])
    return [_entry(title, cls, cls) for title, (cls, called) in known.items() if not names or called & set(names)]


def _names(title: str) -> set[str]:
    """What a section may be called: `optimizer: adam` also `optimizer`, `adam` and `optimizer.adam`."""
    section, _, choice = title.partition(": ")
    return {title, section, section.split(".")[-1], choice or title, f"{section}.{choice}" if choice else title}


def _near(name: str, every: Collection[str]) -> str:
    close = difflib.get_close_matches(name, every, n=1)
    return f"did you mean {close[0]!r}?" if close else "seqtrain settings lists all"


def configs() -> list[dict[str, str]]:
    """Every shipped config: name, what it is (its first line), path."""
    return [
        {"name": name, "summary": path.read_text("utf-8").split("\n")[0].lstrip("# "), "path": str(path)}
        for name, path in config_paths().items()
    ]


def _chosen(names: Collection[str], known: Collection[str]) -> Collection[str]:
    wrong = [name for name in names if name not in known]
    if wrong:
        raise ConfigError([f"{name}: there is none of this name; {choose(name, known)}" for name in wrong])
    return names or known


def _entry(name: str, cls: type, section: type[schema.Section]) -> dict[str, Any]:
    options = {option.name: option._asdict() for option in settings_of(section)}
    return {"name": name, "definition": inspect.getdoc(cls) or "", "options": options}
