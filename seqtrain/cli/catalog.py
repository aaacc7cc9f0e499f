"""`seqtrain cells`, `tasks`, `settings` and `configs`: what there is to choose from."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from inspect import getdoc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.cells import cell_len
from rich.text import Text

from seqtrain.cli import completion
from seqtrain.cli.arguments import Json
from seqtrain.cli.guide import suggest
from seqtrain.cli.render import print_result
from seqtrain.system.errors import ConfigError
from seqtrain.system.shipped import config_paths, schema_path, summary_of
from seqtrain.system.streams import to_stdout
from seqtrain.system.tables import INDENT, Column, Grid
from seqtrain.system.words import fill, wrap

if TYPE_CHECKING:
    from seqtrain.cells import Cell
    from seqtrain.config.describe import Setting
    from seqtrain.system.settings import Configurable, UserClass
    from seqtrain.tasks import Task

Cells = Annotated[list[str] | None, typer.Argument(metavar="NAME", autocompletion=completion.cells, help="Only these.")]
Tasks = Annotated[list[str] | None, typer.Argument(metavar="NAME", autocompletion=completion.tasks, help="Only these.")]
Sections = Annotated[
    list[str] | None, typer.Argument(metavar="NAME", autocompletion=completion.sections, help="Only these.")
]
ShippedName = Annotated[
    str, typer.Argument(autocompletion=completion.shipped, help="A name that seqtrain configs lists.")
]


@dataclass(frozen=True)
class Entry:
    """A cell, a task or another section of a config, with its settings; a task has a metric."""

    name: str
    definition: str
    settings: Sequence["Setting"]
    metric: Mapping[str, object] | None = None

    def fitted(self, width: int) -> Iterator[Text]:
        """The definition and the settings in lines that fit."""
        from seqtrain.system import strict_json

        lines = self.definition.split("\n")
        if any(cell_len(line) + 2 > width for line in lines):
            lines = "\n".join(reflow(self.definition, width - 2)).rstrip().split("\n")
        yield Text(self.name, style="bold")
        yield Text("\n".join(f"  {line}".rstrip() for line in lines))
        yield Text("\n  Settings\n  --------")
        for setting in self.settings:
            default = "required" if setting.required else f"default {strict_json.dumps(setting.default)}"
            head = f"{setting.name}: {setting.kind} ({default})"
            yield Text("\n".join(fill(head.split(" "), width, "  ", " " * 10)))
            yield Text(wrap(f"      {setting.description}", width))
        yield Text("")

    def as_json(self) -> dict[str, object]:
        """What `--json` prints."""
        options = {setting.name: setting._asdict() for setting in self.settings}
        entry: dict[str, object] = {"name": self.name, "definition": self.definition, "options": options}
        return entry if self.metric is None else entry | {"metric": self.metric}


def cells(names: Cells = None, json: Json = False) -> None:
    """List the cells: equations, parameters, options; also your own, as module:Class."""
    from seqtrain.cells import CELLS
    from seqtrain.models.settings import UserCell

    _print("cells", _describe(names or tuple(CELLS), CELLS, UserCell), json)


def tasks(names: Tasks = None, json: Json = False) -> None:
    """List the tasks: definitions, metrics, settings; also your own, as module:Class."""
    from seqtrain.config.schema import UserTask
    from seqtrain.tasks import TASKS

    _print("tasks", _describe(names or tuple(TASKS), TASKS, UserTask), json)


def settings(
    names: Sections = None,
    json_schema: Annotated[
        bool, typer.Option("--json-schema", help="Print the JSON Schema of a config, for editors and other programs.")
    ] = False,
    json: Json = False,
) -> None:
    """List the settings of every section of a config, or of some: train, optimizer adam, task language_model."""
    if json_schema:
        _print_schema(names)
        return
    from seqtrain.config.describe import sections, settings_of
    from seqtrain.system.settings import names_user_class

    entries = [Entry(title, getdoc(section) or "", settings_of(section)) for title, section in sections()]
    entries += [_own_entry(name) for name in names or () if names_user_class(name)]
    _print("settings", find_settings(names or (), entries), json)


def _print_schema(names: Sequence[str] | None) -> None:
    from seqtrain.config.json_schema import config_schema
    from seqtrain.system import strict_json

    if names:
        raise ConfigError(f"--json-schema is of a whole config; leave out {', '.join(names)}")
    to_stdout(strict_json.dumps(config_schema()) + "\n")


def configs(context: typer.Context, json: Json = False) -> None:
    """List the configs that come with seqtrain."""
    if context.invoked_subcommand is None:
        result = [
            {"name": name, "summary": summary_of(path), "path": str(path)} for name, path in config_paths().items()
        ]
        table = Grid(
            "seqtrain train NAME", (Column("name"), Column("what", is_text=True)), look={"box": box.HEAVY_HEAD}
        )
        for entry in result:
            table.add(entry["name"], entry["summary"])
        print_result({"configs": result}, json, lambda _: [table])
        suggest("seqtrain train NAME, or seqtrain configs copy NAME mine.yaml to start from one", quiet=json)


def show(name: ShippedName) -> None:
    """Print a shipped config as it is written."""
    to_stdout(config_text(name))


def copy(
    name: ShippedName,
    file: Annotated[Path, typer.Argument(help="Where to write it; never overwrites.")],
) -> None:
    """Copy a shipped config, to start from, and beside it the schema with which editors complete and check it."""
    text = config_text(name)
    try:
        with file.open("x", encoding="utf-8") as new:
            new.write(text)
    except FileExistsError:
        raise ConfigError(f"{file}: exists already and is not overwritten; choose another name") from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be written ({error.strerror})") from None
    _copy_schema(file.parent)
    to_stdout(f"{file} written; train it with: seqtrain train {file}\n")


def _copy_schema(folder: Path) -> None:
    """Put the schema beside a config, or a newer one in the place of an older; any other file of its name stays."""
    text, own = schema_path().read_bytes(), folder / schema_path().name
    with suppress(OSError):  # the config is whole without it
        if not own.exists() or (own.is_file() and own.read_bytes().startswith(text[: text.index(b"$defs")])):
            own.write_bytes(text)


def config_text(name: str) -> str:
    """The text of a shipped config.

    Raises
    ------
    ConfigError : there is none of that name.
    """
    from seqtrain.config.errors import choose

    known = config_paths()
    if name not in known:
        raise ConfigError(f"{name}: is no shipped config; {choose(name, known)}")
    return known[name].read_text("utf-8")


def _describe(
    names: Sequence[str], classes: "Mapping[str, type[Cell] | type[Task]]", own: "type[UserClass]"
) -> list[Entry]:
    """The classes of those names with their definitions and settings; `module:Class` is the user's own.

    Raises
    ------
    ConfigError : with every name that there is not.
    """
    from seqtrain.config.errors import choose
    from seqtrain.config.plugins import import_class
    from seqtrain.system.settings import names_user_class

    found: dict[str, type[Configurable]] = dict(classes)
    found |= {name: import_class(own.model_validate({"name": name})) for name in names if names_user_class(name)}
    if wrong := [name for name in names if name not in found]:
        raise ConfigError([f"{name}: there is none of this name; {choose(name, classes)}" for name in wrong])
    return [_entry(name, name, found[name]) for name in names]


def _own_entry(name: str) -> Entry:
    """The section of a class of the user's own, which is a cell or a task.

    Raises
    ------
    ConfigError : it is neither.
    """
    from seqtrain.config.plugins import import_class
    from seqtrain.config.schema import USER_CLASSES

    faults = []
    for place, own in USER_CLASSES.items():
        try:
            cls = import_class(own.model_validate({"name": name}))
        except ConfigError as error:
            faults += error.faults
        else:
            return replace(_entry(f"{'.'.join(place)}: {name}", name, cls), metric=None)
    raise ConfigError(faults)


def _entry(title: str, name: str, cls: "type[Configurable]") -> Entry:
    """A class with its definition, its settings, and its metric if it is a task."""
    from seqtrain.config.describe import settings_of
    from seqtrain.system.settings import Declared, section_of

    metric = getattr(cls, "metric", None)
    section = section_of(cls, name, Declared)
    return Entry(title, getdoc(cls) or "", settings_of(section), None if metric is None else metric._asdict())


def find_settings(names: Collection[str], sections: Sequence[Entry]) -> list[Entry]:
    """The sections that names mean; all without a name.

    A name may be that of a section (`optimizer`), of a choice (`adam`, `optimizer.adam`), or of a setting (`lr`).
    Beside the name of a section, one of its choices or settings means that of this section alone: `optimizer adam`.

    Raises
    ------
    ConfigError : with every name that is not known.
    """
    from seqtrain.config.errors import guess

    headings = {name for entry in sections for name in _section_names(entry.name) | _choice_names(entry.name)}
    own = {
        entry.name: _choice_names(entry.name) | {setting.name for setting in entry.settings} - headings
        for entry in sections
    }
    every = headings.union(*own.values())
    faults = []
    for name in [name for name in names if name not in every]:
        meant = guess(name, every)
        cure = f"did you mean {meant!r}?" if meant else "seqtrain settings lists all"
        faults.append(f"{name}: there is no such section or setting; {cure}")
    if faults:
        raise ConfigError(faults)
    hits = {title: meanings.intersection(names) for title, meanings in own.items()}
    named = {_section(title) for title in own if _section_names(title).intersection(names)}
    within = [title for title in own if _section(title) in named and hits[title]]
    narrowed = {_section(title) for title in within}
    taken = {name for title in within for name in hits[title]}

    def is_meant(title: str) -> bool:
        if _section(title) in narrowed:
            return bool(hits[title])
        return not names or _section(title) in named or bool(hits[title] - taken)

    return [entry for entry in sections if is_meant(entry.name)]


def _section(title: str) -> str:
    return title.partition(": ")[0]


def _section_names(title: str) -> set[str]:
    """The names of the section of a title: `model.cell: gru` gives `model.cell` and `cell`."""
    return {_section(title), _section(title).split(".")[-1]}


def _choice_names(title: str) -> set[str]:
    """The names of the choice in a title: `optimizer: adam` gives itself, `adam` and `optimizer.adam`."""
    section, _, choice = title.partition(": ")
    return {title, choice, f"{section}.{choice}"} if choice else set()


def _print(kind: str, entries: Sequence[Entry], json: bool) -> None:
    result = {kind: [entry.as_json() for entry in entries]} if json else {}
    print_result(result, json, lambda _: entries)
    what = {
        "cells": f"seqtrain train quickstart model.cell={entries[-1].name}",
        "tasks": f"seqtrain train quickstart task={entries[-1].name}"
        if ":" in entries[-1].name
        else "seqtrain configs lists a config for each task, seqtrain train NAME trains it",
        "settings": "seqtrain train quickstart KEY=VALUE changes a setting, seqtrain validate tries it",
    }
    suggest(what[kind], quiet=json)


SOFT_BREAK = 110
"""Columns from which a docstring breaks a line because it is full."""


def reflow(definition: str, width: int) -> Iterator[str]:
    """A definition in lines that fit, with its full lines joined to paragraphs.

    Of a paragraph that is indented, an equation or a drawing, each line stays apart, and no equation breaks.
    """
    for paragraph in definition.split("\n\n"):
        lines = paragraph.split("\n")
        if lines[0].startswith(" "):
            for line in lines:
                yield from _drawn(line, width)
        else:
            yield from (wrap(line, width) for line in _joined(lines))
        yield ""


def _joined(lines: Sequence[str]) -> Iterator[str]:
    """The lines of a paragraph, each joined with those that it goes on in."""
    joined = last = lines[0]
    for line in lines[1:]:
        if len(f"{last} {line.split()[0]}") > SOFT_BREAK:
            joined += f" {line.strip()}"
        else:
            yield joined
            joined = line
        last = line
    yield joined


def _drawn(line: str, width: int) -> Iterator[str]:
    """A line of equations or of a drawing, broken only where two spaces or more separate its parts."""
    indent = len(line) - len(line.lstrip())
    gaps = [gap for gap in re.finditer(r" {2,}(?![ =+*])", line) if gap.start() > indent]
    breaks = [gap for gap in gaps if cell_len(line[: gap.start()]) <= width] or (gaps[:1] if " = " in line else [])
    if cell_len(line) <= width:
        yield line
    elif breaks:
        yield line[: breaks[-1].start()]
        yield from _drawn(line[:indent] + INDENT + line[breaks[-1].end() :], width)
    else:
        yield line if " = " in line else wrap(line, width)
