"""A config as the user wrote it: the data of the YAML file and of the overrides, and where each key stands."""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from seqtrain.config.schema import NAMED, Config
from seqtrain.config.yaml import DEEPEST, LARGEST, parse, read_beginning
from seqtrain.system.errors import ConfigError, plain, short
from seqtrain.system.settings import name_of

Path_ = tuple[str, ...]
"""Where a setting is: `("model", "cell", "reset")` for `model.cell.reset`."""

RIVALS: tuple[tuple[Path_, Path_], ...] = ((("train", "steps"), ("train", "epochs")),)
"""Settings of which a config gives one: an override that gives the other takes the place of the file's."""

DEFAULT_NAMES = {(key,): Config.model_fields[key].default.name for key in ("optimizer", "schedule")}
"""The names of sections that need none."""


@dataclass
class Document:
    """Raw settings with their places.

    data : nested dicts, with `cell: gru` already spelt out as `cell: {name: gru}`.
    source : what to call the file in messages.
    lines : line of each key in the file.
    overrides : the `KEY=VALUE` that set a key, by the key.
    faults : what was wrong already with the file and the overrides as such.
    remarks : what an override did beside what it says.
    """

    data: dict[str, Any]
    source: str
    lines: dict[Path_, int] = field(default_factory=dict)
    overrides: dict[Path_, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def place(self, path: Path_) -> str:
        """Where a setting was made, or where its section begins: `file:line` or `KEY=VALUE`."""
        for end in range(len(path), 0, -1):
            for chosen in (path[:end], (*path[:end], "name")):
                if chosen in self.overrides:
                    return self.overrides[chosen]
            if path[:end] in self.lines:
                return f"{self.source}:{self.lines[path[:end]]}"
            if below := next((key for key in self.overrides if key[:end] == path[:end]), None):
                return self.overrides[below]
        return self.source


def read_document(path: Path, overrides: Sequence[str]) -> Document:
    """Read a YAML file and apply overrides; a key that stands twice and the like are noted in `faults`.

    Raises
    ------
    ConfigError : the file is missing or not a YAML mapping.
    """
    text, whole = read_beginning(path)
    _refuse_prose(text, path)
    if not whole:
        raise ConfigError(f"{path}: is larger than {LARGEST >> 10} KiB; no config is, give another file")
    node, data = parse(text, str(path))
    if not isinstance(data, dict):
        what = "is empty" if data is None else f"holds {short(data)}"
        raise ConfigError(
            f"{path}: {what}; a config is a mapping with the keys task and model "
            "(seqtrain configs copy quickstart FILE gives one to start from)"
        )
    document = Document(data, str(path))
    document.faults += _collect_lines(node, (), document, set())
    return _completed(document, overrides)


_BEGINS = re.compile(r"""^[\s{]*["']?(task|model)["']?\s*:""", re.MULTILINE)
"""A section that every config has."""


def _refuse_prose(text: str, path: Path) -> None:
    """Raise a ConfigError for what a user may want to train on, rather than by."""
    if path.suffix.lower() not in {".yaml", ".yml"} and text.strip() and not _BEGINS.search(text):
        raise ConfigError(f"{path}: is no config; if it is a text {train_on(path)}")


def train_on(text: Path) -> str:
    """How to train on a text, for a message."""
    return f"to train on, give it to one: seqtrain train words task.path={shlex.quote(str(text))}"


def document_from(data: dict[str, Any], source: str, overrides: Sequence[str] = ()) -> Document:
    """The document of a config that is already data, such as the one in a checkpoint."""
    return _completed(Document(data, source), overrides)


def _completed(document: Document, overrides: Sequence[str]) -> Document:
    _spell_out(document.data)
    for override in overrides:
        document.faults += _apply(document, override)
    for one, other in RIVALS:
        document.remarks += [*_displace(document, one, other), *_displace(document, other, one)]
    for path, name in DEFAULT_NAMES.items():
        section = document.data.get(path[0])
        if isinstance(section, dict):
            section.setdefault("name", name)
    return document


def read_list(text: str, source: str) -> list[Any]:
    """What stands between commas on a command line, as YAML: `lstm, {name: gru, reset: before}, 1e-3`.

    Raises
    ------
    ConfigError : it is no such list.
    """
    _, found = parse(f"[{text}]", source)
    return found if isinstance(found, list) else [found]


def _displace(document: Document, winner: Path_, loser: Path_) -> Iterator[str]:
    """Unset what the file says of `loser` if an override sets `winner`; yield that it was done."""
    section = document.data.get(winner[0])
    if not isinstance(section, dict) or winner not in document.overrides or loser in document.overrides:
        return
    had = section.get(loser[1])
    if had is not None and section[winner[1]] is not None:
        section[loser[1]] = None
        yield f"{document.overrides[winner]} takes the place of {dotted(loser)}: {had} in {document.source}"


def _collect_lines(node: yaml.Node | None, path: Path_, document: Document, seen: set[int]) -> Iterator[str]:
    """Note the line of every key; yield a fault for every key that stands twice."""
    if not isinstance(node, yaml.MappingNode) or id(node) in seen:
        return
    seen.add(id(node))
    for key, value in node.value:
        here = (*path, str(key.value))
        line = key.start_mark.line + 1
        if here in document.lines:
            first = document.lines[here]
            yield f"{document.source}:{line}: {dotted(here)} stands twice (first in line {first}); keep one"
        document.lines[here] = line
        yield from _collect_lines(value, here, document, seen)


def _apply(document: Document, override: str) -> Iterator[str]:
    """Set what one `KEY=VALUE` says; yield a fault if it cannot be read."""
    key, equals, value = override.partition("=")
    path, told = tuple(key.strip().split(".")), plain(override)
    if not equals or not all(path) or len(path) > DEEPEST:
        example = f"task.path={override}" if _exists(override) else "train.steps=500"
        yield f"{told}: is not an override; write KEY=VALUE, e.g. {example}"
        return
    try:
        parsed = parse(value, told)[1]
    except ConfigError as error:
        yield str(error)
        return
    section: Any = document.data
    for part in path[:-1]:
        if section.get(part) is None:
            section[part] = {}
        section = section[part]
        if not isinstance(section, dict):
            yield f"{told}: {plain(part)} is {short(section)}, which has no settings of its own"
            return
    if path in NAMED and isinstance(parsed, str) and name_of(section.get(path[-1])) == parsed:
        return  # `optimizer=adam` where it is adam already: its settings stay
    section[path[-1]] = parsed
    document.overrides[path] = told
    _spell_out(document.data)


def _spell_out(data: dict[str, Any]) -> None:
    """Turn `cell: gru` into `cell: {name: gru}`, in place, wherever a section is chosen by name."""
    for path in NAMED:
        section: Any = data
        for part in path[:-1]:
            section = section.get(part) if isinstance(section, dict) else None
        if isinstance(section, dict) and isinstance(section.get(path[-1]), str):
            section[path[-1]] = {"name": section[path[-1]]}


def dotted(path: Path_) -> str:
    """A setting's full name for a message."""
    return ".".join(map(plain, path))


def _exists(name: str) -> bool:
    """Whether there is such a file; nobody can say of some names, e.g. of a very long one."""
    try:
        return Path(name).exists()
    except (OSError, ValueError):
        return False
