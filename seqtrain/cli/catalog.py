"""What there is to choose from: cells with their equations, tasks with their definitions, settings, configs."""

import difflib
import inspect
from collections.abc import Collection
from typing import Any

from seqtrain.config.describe import sections, settings_of
from seqtrain.config.errors import choose
from seqtrain.config.schema import NAMED
from seqtrain.system.errors import ConfigError
from seqtrain.system.settings import Section
from seqtrain.system.shipped import config_paths


def cells(names: Collection[str] = ()) -> list[dict[str, Any]]:
    """Built-in cells, all or those named: name, definition, options."""
    from seqtrain.cells import CELLS

    return [_entry(name, CELLS[name], NAMED["model", "cell"][name]) for name in _chosen(names, CELLS)]


def tasks(names: Collection[str] = ()) -> list[dict[str, Any]]:
    """Tasks, all or those named: name, definition, metric, settings."""
    from seqtrain.tasks import TASKS

    return [
        _entry(name, TASKS[name], NAMED[("task",)][name]) | {"metric": TASKS[name].metric._asdict()}
        for name in _chosen(names, TASKS)
    ]


def settings(names: Collection[str] = ()) -> list[dict[str, Any]]:
    """The sections of a config with their settings: all, or those that `names` mean.

    A name may be that of a section (`optimizer`), of a choice (`adam`, `optimizer.adam`), or of a setting (`lr`).
    Beside the name of a section, one of its choices or settings means that of this section alone: `optimizer adam`.
    """
    chosen = {"name", *(name for title, _ in sections() for name in (*_whole(title), *_choice(title)))}  # no settings
    parts = {title: _choice(title) | cls.model_fields.keys() - chosen for title, cls in sections()}
    every = {name for title in parts for name in _whole(title) | parts[title]}
    wrong = [name for name in names if name not in every]
    if wrong:
        raise ConfigError([f"{name}: there is no such section or setting; {_near(name, every)}" for name in wrong])
    meant = _meant(set(names), parts)
    return [_entry(title, cls, cls) for title, cls in sections() if not names or title in meant]


def _meant(names: set[str], parts: dict[str, set[str]]) -> set[str]:
    """The titles that names mean; `parts` are the names within each."""
    within: dict[str, set[str]] = {}  # of each section that is named, the names that choose a part of it
    for title, own in parts.items():
        if names & _whole(title):
            within.setdefault(_section(title), set()).update(names & own)
    free = names.difference(*within.values())
    narrowed = {title for title in parts if within.get(_section(title))}
    return {title for title in narrowed if parts[title] & names} | {
        title for title in parts.keys() - narrowed if (_whole(title) | parts[title]) & free
    }


def _section(title: str) -> str:
    return title.partition(": ")[0]


def _whole(title: str) -> set[str]:
    """What the section of a title may be called: that of `model.cell: gru` also `cell`."""
    section = _section(title)
    return {section, section.split(".")[-1]}


def _choice(title: str) -> set[str]:
    """What the choice of a title may be called, if it is one: `optimizer: adam` also `adam` and `optimizer.adam`."""
    section, _, choice = title.partition(": ")
    return {title, choice, f"{section}.{choice}"} if choice else set()


def _near(name: str, every: Collection[str]) -> str:
    close = difflib.get_close_matches(name, every, n=1)
    return f"did you mean {close[0]!r}?" if close else "seqtrain settings lists all"


def configs() -> list[dict[str, str]]:
    """Every shipped config: name, what it is (its first line), path."""
    return [
        {"name": name, "summary": path.read_text("utf-8").split("\n")[0].lstrip("# "), "path": str(path)}
        for name, path in config_paths().items()
    ]


def config_text(name: str) -> str:
    """A shipped config as it is written.

    Raises
    ------
    ConfigError : there is none of that name.
    """
    known = config_paths()
    if name not in known:
        raise ConfigError(f"{name}: is no shipped config; {choose(name, known)}")
    return known[name].read_text("utf-8")


def _chosen(names: Collection[str], known: Collection[str]) -> Collection[str]:
    wrong = [name for name in names if name not in known]
    if wrong:
        raise ConfigError([f"{name}: there is none of this name; {choose(name, known)}" for name in wrong])
    return names or known


def _entry(name: str, cls: type, section: type[Section]) -> dict[str, Any]:
    options = {option.name: option._asdict() for option in settings_of(section)}
    return {"name": name, "definition": inspect.getdoc(cls) or "", "options": options}
