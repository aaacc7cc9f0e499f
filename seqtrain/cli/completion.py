"""What the Tab key offers: names of configs, runs, cells and tasks, settings and their values.

A shell waits for it, so nothing here loads torch or pydantic. What settings there are says the JSON Schema that is
shipped beside the configs, and a test holds it to the models.

A key is never offered alone: `task.length=` comes with the default, `task.length=100`, so that the shell writes what
both have in common and no space behind it.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import typer

from seqtrain.system.shipped import config_paths, schema_path, summary_of

Offer = tuple[str, str]
"""A word, and what it means."""

Completer = Callable[[typer.Context, str], list[Offer]]

NAMES = ("config.yaml", "metrics.jsonl", "summary.json")
"""Files that tell a run directory."""

MOST = 500
"""Folders that are looked into."""


def completer(offers: Callable[[typer.Context, str], Iterator[Offer]]) -> Completer:
    """A function for Typer. If anything goes wrong, nothing is offered: a traceback would disturb the typing."""

    def complete(context: typer.Context, incomplete: str) -> list[Offer]:
        with suppress(Exception):
            return [*dict(offers(context, incomplete)).items()]
        return []

    return complete


def one_of(*words: str) -> Completer:
    """The values of an option."""
    return completer(lambda _, __: ((word, "") for word in words))


@completer
def configs(_: typer.Context, incomplete: str) -> Iterator[Offer]:
    """Shipped configs, files in YAML, and runs, which stand for their configs."""
    yield from _configs()
    yield from ((str(path), "") for pattern in ("*.yaml", "*.yml") for path in sorted(Path().glob(pattern)))
    yield from _runs(incomplete)


@completer
def shipped(_: typer.Context, __: str) -> Iterator[Offer]:
    """Shipped configs."""
    yield from _configs()


@completer
def runs(_: typer.Context, incomplete: str) -> Iterator[Offer]:
    """Run directories, and folders that hold some."""
    yield from _runs(incomplete)


@completer
def overrides(context: typer.Context, incomplete: str) -> Iterator[Offer]:
    """Settings behind a config or a run."""
    yield from _settings([*map(str, context.params.values())], _words(context), incomplete)


@completer
def targets(context: typer.Context, incomplete: str) -> Iterator[Offer]:
    """Configs or runs, and settings behind them."""
    words = _words(context)
    yield from _settings(words, words, incomplete)
    if "=" not in incomplete and (not words or words[-1] != "="):
        yield from _runs(incomplete)
        if not words:
            yield from _configs()


@completer
def keys(_: typer.Context, __: str) -> Iterator[Offer]:
    """Settings for an option that gives several values."""
    for key, setting in _all_settings({}):
        yield f"{key}=", _meaning(setting)
        for default in _defaults(setting):
            yield f"{key}={default},", ""


@completer
def cells(_: typer.Context, incomplete: str) -> Iterator[Offer]:
    """Names of cells, with commas between."""
    before = incomplete[: incomplete.rfind(",") + 1]
    yield from ((f"{before}{name}", text) for name, text in _choices("model.cell").items())


@completer
def tasks(_: typer.Context, __: str) -> Iterator[Offer]:
    """Names of tasks."""
    yield from _choices("task").items()


@completer
def sections(_: typer.Context, __: str) -> Iterator[Offer]:
    """Names of sections, of their choices and of settings."""
    for key, setting in _all_settings({}):
        yield key.rpartition(".")[2], _meaning(setting)
        yield from _choices(key).items()


def _configs() -> Iterator[Offer]:
    return ((name, summary_of(path)) for name, path in config_paths().items())


def _runs(incomplete: str) -> Iterator[Offer]:
    """The runs in the folder that the word names so far; without one also those under `runs/`."""
    start = incomplete[: incomplete.rfind("/") + 1]
    for folder in [start] if start else ["", "runs/"]:
        if Path(folder or ".").is_dir():
            for path in islice(sorted(Path(folder or ".").iterdir()), MOST):
                if _is_run(path):
                    yield f"{folder}{path.name}", "run"
                elif folder and path.is_dir() and any(map(_is_run, islice(path.iterdir(), MOST))):
                    yield f"{folder}{path.name}", "folder of runs"


def _is_run(path: Path) -> bool:
    return any((path / name).is_file() for name in NAMES)


def _words(context: typer.Context) -> list[str]:
    """The words before the one that is being typed, as far as they belong to the last argument of the verb."""
    arguments = {each.name for each in context.command.params if each.param_type_name == "argument"}
    lists = [given for name, given in context.params.items() if name in arguments and isinstance(given, list | tuple)]
    return [*map(str, lists[0])] if lists else []


def _settings(given: list[str], words: list[str], incomplete: str) -> Iterator[Offer]:
    """`KEY=` or, behind it, values.

    Bash cuts a word at "=": the words before are then the key and "=", and it wants the value alone.

    Parameters
    ----------
    given : the words of which one names the config.
    words : the words before, of which some are settings already.
    """
    chosen = _chosen([*given, *words])
    settings = dict(_all_settings(chosen))
    key, equals, _ = incomplete.partition("=")
    is_cut = words[-1:] == ["="] or (not incomplete and words[-1:] != [] and words[-1] in settings)
    if is_cut:
        key = next(word for word in reversed(words) if word != "=")
        yield from ((value, "") for value in _values(settings[key]))
    elif equals:
        yield from ((f"{key}={value}", "") for value in _values(settings[key]))
    else:
        begun = {name: setting for name, setting in settings.items() if name.startswith(incomplete)}
        for name, setting in begun.items():
            yield f"{name}=", _meaning(setting)
            if len(begun) == 1:
                yield from ((f"{name}={value}", "") for value in _values(setting))


def _chosen(words: list[str]) -> dict[str, str]:
    """The names of sections, by their keys, that the config and the settings before choose."""
    found = dict[str, str]()
    for word in words:
        path = config_paths().get(word, Path(word, "config.yaml") if Path(word).is_dir() else Path(word))
        if path.suffix in (".yaml", ".yml") and path.is_file():
            found |= _chosen_in(path)
    for key in ("task", "model.cell", "optimizer", "schedule", "model.softmax"):
        for at, word in enumerate(words):
            before, equals, value = word.partition("=")
            if before in (key, f"{key}.name") and (value or words[at + 2 :]):
                found[key] = value if equals else words[at + 2]
    return found


def _chosen_in(path: Path) -> dict[str, str]:
    """As a file chooses them: `task: adding`, or the line `name: adding` below `task:`."""
    with path.open(encoding="utf-8", errors="replace") as file:
        text = file.read(1 << 16)
    found = dict[str, str]()
    for key in ("task", "cell", "optimizer", "schedule"):
        form = rf"^ *{key}: *(?:\{{ *name: *|(?:#.*)?\n +name: *|)([\w.:]+)"
        if match := re.search(form, text, re.MULTILINE):
            found["model.cell" if key == "cell" else key] = match[1]
    return found


@cache
def _schema() -> dict[str, Any]:
    """The JSON Schema of a config."""
    schema: dict[str, Any] = json.loads(schema_path().read_bytes())
    return schema


def _all_settings(chosen: dict[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every setting by its dotted key, of the sections that are chosen; of all choices where nothing is."""
    yield from _below("", _schema(), chosen)


def _below(start: str, section: dict[str, Any], chosen: dict[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, setting in section["properties"].items():
        key = f"{start}{name}"
        if name == "name":
            continue
        if "$ref" not in setting:
            yield key, setting
        named = _named(setting)
        if "$ref" in setting:
            named = {"": _schema()["$defs"][setting["$ref"].rpartition("/")[2]]}
        elif chosen.get(key) in named:
            named = {"": named[chosen[key]]}
        for each in named.values():
            yield from _below(f"{key}.", each, chosen)


def _named(setting: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The sections among which a setting chooses, by their names."""
    references = (part["$ref"].rpartition("/")[2] for part in setting.get("anyOf", ()) if "$ref" in part)
    found = (_schema()["$defs"][name] for name in references if name in _schema()["$defs"])
    return {each["properties"]["name"]["const"]: each for each in found if "const" in each["properties"]["name"]}


def _choices(key: str) -> dict[str, str]:
    """The names among which a section chooses, with what they mean."""
    setting = dict(_all_settings({})).get(key, {})
    return {name: _meaning(section) for name, section in _named(setting).items()}


def _values(setting: dict[str, Any]) -> Iterator[str]:
    """Values that a setting may have: all, if they can be counted, else the default."""
    parts = [setting, *setting.get("anyOf", ()), *setting.get("oneOf", ())]
    words = [str(word) for part in parts for word in part.get("enum", ())]
    if any(part.get("type") == "boolean" for part in parts):
        words += ["true", "false"]
    yield from words
    if not words or any(part.get("type") == "null" for part in parts):
        yield from _defaults(setting)


def _defaults(setting: dict[str, Any]) -> Iterator[str]:
    if not isinstance(default := setting.get("default", {}), dict | list):
        yield default if isinstance(default, str) else json.dumps(default)


def _meaning(part: dict[str, Any]) -> str:
    """The first sentence of a description."""
    return re.split(r"(?<=[.;:])\s", part.get("description", ""))[0].rstrip(".;:")
