"""A config as the user wrote it: the data of the YAML file and of the overrides, and the line of each key."""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from seqtrain.config.describe import all_keys, is_text
from seqtrain.config.schema import NAMED, USER_CLASSES, Config
from seqtrain.config.yaml import DEEPEST, LARGEST, parse, read_beginning
from seqtrain.system.errors import ConfigError, plain, short
from seqtrain.system.settings import name_of
from seqtrain.system.shipped import text_path
from seqtrain.tasks.text.tagged import seems_tagged

Path_ = tuple[str, ...]
"""Where a setting is: `("model", "cell", "reset")` for `model.cell.reset`."""

RIVALS: tuple[tuple[Path_, Path_], ...] = (
    (("train", "steps"), ("train", "epochs")),
    (("train", "epochs"), ("train", "steps")),
)
"""An override of the first setting unsets the second one, because a config gives one of them."""

DEFAULT_NAMES = {(key,): Config.model_fields[key].default.name for key in ("optimizer", "schedule")}
"""The names of sections that need none."""


@dataclass
class Document:
    """Raw settings with their places.

    data : nested dicts, with `cell: gru` already written as `cell: {name: gru}`.
    source : what to call the file in messages.
    lines : line of each key in the file.
    overrides : the `KEY=VALUE` that set a key, by the key.
    faults : what is wrong with the file and the overrides as such.
    remarks : settings of the file that an override unset.
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
    """Read a YAML file and apply overrides. Faults that do not stop the reading are noted in `faults`.

    Raises
    ------
    ConfigError : the file is missing or not a YAML mapping.
    """
    if path.is_file() and _is_table(path):
        raise ConfigError(no_table(path))
    text, whole = read_beginning(path)
    if path.suffix.lower() not in {".yaml", ".yml"} and text.strip() and not _BEGINS.search(text):
        is_table = path.suffix.lower().startswith(".json") or _NUMBERS.fullmatch(text[:LINES_OF_NUMBERS])
        raise ConfigError(no_table(path) if is_table and not seems_tagged(text) else no_text(path, text))
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
    document.faults += _collect_lines(node, (), document)
    return _completed(document, overrides)


_BEGINS = re.compile(r"""^[\s{]*["']?(task|model)["']?\s*:""", re.MULTILINE)
"""A section that every config has."""


LOOKED_AT = (".csv", ".tsv", ".psv", ".parquet", ".pq", ".npz", ".ts")
"""Endings of files of numbers that `seqtrain data` reads."""

TABLE_FILES = (
    *(*LOOKED_AT, ".feather", ".arrow", ".orc", ".avro", ".npy", ".mat", ".xls"),
    *(".xlsx", ".xlsm", ".ods", ".ndjson", ".h5", ".hdf5", ".nc", ".pkl", ".pickle", ".joblib", ".pt", ".pth"),
    *(".ckpt", ".arff", ".sav", ".dta", ".db", ".sqlite", ".zarr"),
)
"""Endings of files that hold tables or arrays."""

LINES_OF_NUMBERS = 4096
"""Characters of a file of numbers that are looked at."""

_NUMBERS = re.compile(r"([^\n]*\n)?(?=\D*\d)[-+\d.,;:|eE\s]+")
"""A table of numbers, whose first line may have names."""


def _is_table(path: Path) -> bool:
    """Whether the name of a file says that it holds a table, which may be compressed."""
    compressed = path.suffix.lower() in (".gz", ".bz2", ".xz", ".zst", ".zip")
    return (Path(path.stem) if compressed else path).suffix.lower() in TABLE_FILES


def train_on(text: Path) -> str:
    """How to train on a text, for a message."""
    return f"to train on, give it to one: seqtrain train words task.path={shlex.quote(str(text))}"


def no_table(path: Path) -> str:
    """The message about a table in the place of a config."""
    is_text = path.suffix.lower() not in TABLE_FILES and not path.suffix.lower().startswith(".json")
    is_looked_at = path.suffix.lower() in LOOKED_AT or (is_text and not _is_table(path))
    first = "" if is_looked_at else "save it as a CSV or Parquet file; "
    look = shlex.join(["seqtrain", "data", str(path)]) if is_looked_at else "seqtrain data FILE"
    return (
        f"{path}: looks like a table or an array, which is no config; {first}{look} tells what it holds, and writes a "
        "config that trains on it"
    )


def no_text(path: Path, text: str) -> str:
    """The message about a text in the place of a config."""
    if seems_tagged(text):
        look = shlex.join(["seqtrain", "data", str(path)])
        return f"{path}: is no config, but a text of words with tags; {look} tells what it holds"
    return f"{path}: is no config; if it is a text {train_on(path)}"


def document_from(data: dict[str, Any], source: str, overrides: Sequence[str] = ()) -> Document:
    """The document of a config that is already data, such as the one in a checkpoint."""
    return _completed(Document(data, source), overrides)


def _completed(document: Document, overrides: Sequence[str]) -> Document:
    """Apply the overrides, and name the sections that need no name."""
    _expand_names(document.data)
    for override in texts(overrides):
        document.faults += _apply(document, override)
    for winner, loser in RIVALS:
        document.remarks += _displace(document, winner, loser)
    if ("task", "path") in document.overrides and _is_folder(document.data):
        document.remarks += _displace(document, ("task", "path"), ("task", "fractions"))
    for path, name in DEFAULT_NAMES.items():
        section = document.data.get(path[0])
        if isinstance(section, dict):
            section.setdefault("name", name)
    return document


def texts(given: str | Sequence[str]) -> Sequence[str]:
    """A list of texts; a program may give a single one alone, which would be read letter by letter."""
    return [given] if isinstance(given, str) else given


def read_list(text: str, source: str) -> list[Any]:
    """A list of a command line, its parts read as YAML: `lstm, {name: gru, reset: before}, 1e-3`.

    Raises
    ------
    ConfigError : it is no such list.
    """
    node, data = parse(f"[{text}]", source)
    if faults := list(_collect_lines(node, (), Document({}, source))):
        raise ConfigError(faults)
    return data if isinstance(data, list) else [data]


def _displace(document: Document, winner: Path_, loser: Path_) -> Iterator[str]:
    """Unset `loser` in the data of the file if an override sets `winner`; yield a remark that says so."""
    section = document.data.get(winner[0])
    if not isinstance(section, dict) or winner not in document.overrides or loser in document.overrides:
        return
    value = section.get(loser[1])
    if value is not None and section.get(winner[1]) is not None:
        section[loser[1]] = None
        yield f"{document.overrides[winner]} takes the place of {dotted(loser)}: {value} in {document.source}"


def _is_folder(data: dict[str, Any]) -> bool:
    """Whether the text of the task is a folder with a file for each part, which is not cut into parts."""
    try:
        path = text_path(str(data["task"]["path"]))
        return path.is_dir() and any(path.glob("train.*"))
    except (OSError, ValueError, TypeError, KeyError):
        return False


def _collect_lines(node: yaml.Node | None, path: Path_, document: Document) -> Iterator[str]:
    """Note the line of every key; yield a fault for every key that is given twice."""
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield from _collect_lines(item, (*path, str(number)), document)
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        here = (*path, str(key.value))
        line = key.start_mark.line + 1
        if here in document.lines:
            first = document.lines[here]
            yield f"{document.source}:{line}: {dotted(here)} is given twice, first in line {first}; keep one"
        document.lines[here] = line
        yield from _collect_lines(value, here, document)


def _apply(document: Document, override: str) -> Iterator[str]:
    """Set what one `KEY=VALUE` says; yield a fault if it cannot be read."""
    if not isinstance(override, str):
        yield f"overrides: {short(override)} is not an override; write the text KEY=VALUE, e.g. 'train.steps=500'"
        return
    key, equals, text = override.partition("=")
    path, shown = tuple(key.strip().split(".")), plain(override)
    if not equals or not all(path) or len(path) > DEEPEST:
        may_be_text = _exists(override) and not _is_table(Path(override))
        example = f"task.path={override}" if may_be_text else "train.steps=500"
        yield f"{shown}: is not an override; write KEY=VALUE, e.g. {example}"
        return
    value: Any = text
    may_be_text = _may_be_text(document, path)
    if may_be_text or not is_text(".".join(path), text):
        try:
            node, value = parse(text, shown)
        except ConfigError as error:
            if not may_be_text or text[:1] in "[{":
                yield str(error)
                return
            node, value = None, text
        if isinstance(value, str | list | dict) and may_be_text and text[:1] not in "[{'\"":
            node, value = None, text  # `model.cell.tag=poems #2`, of which YAML reads the first word
        yield from _collect_lines(node, path, Document({}, shown))
    section: Any = document.data
    for part in path[:-1]:
        if section.get(part) is None:
            section[part] = {}
        section = section[part]
        if not isinstance(section, dict):
            yield f"{shown}: {plain(part)} is {short(section)}, which has no settings of its own"
            return
    if path in NAMED and isinstance(value, str) and name_of(section.get(path[-1])) == value:
        return  # `optimizer=adam` where it is adam already: its settings stay
    if path in NAMED and isinstance(value, str):  # `optimizer.lr=0.01 optimizer=sgd`
        value = {"name": value} | _overridden(document, path, section.get(path[-1]))
    section[path[-1]] = value
    document.overrides[path] = shown
    _expand_names(document.data)


def _may_be_text(document: Document, path: Path_) -> bool:
    """Whether a setting is an option of a user's own class, whose kind is not known before the class is imported."""
    for place in USER_CLASSES:
        if path[: len(place)] == place and len(path) > len(place):
            section: Any = document.data
            for part in place:
                section = section.get(part) if isinstance(section, dict) else None
            is_own = ":" in (name_of(section) or "") and path[-1] not in ("name", "folder", "code")
            return is_own or ".".join(path) not in all_keys()
    return False


def _overridden(document: Document, path: Path_, section: Any) -> dict[str, Any]:
    """The settings of a section that earlier overrides made."""
    given = [key[-1] for key in document.overrides if key[:-1] == path and key[-1] != "name"]
    return {name: section[name] for name in given if isinstance(section, dict) and name in section}


def _expand_names(data: dict[str, Any]) -> None:
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
    """Whether there is such a file; for some names, e.g. a very long one, the system cannot say."""
    try:
        return Path(name).exists()
    except (OSError, ValueError):
        return False
