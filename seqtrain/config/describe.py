"""The settings as data, for people who look one up: what a section takes, of what kind, and what it is for."""

from collections.abc import Iterator
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from seqtrain.config.schema import NAMED, USER_CLASSES, Config
from seqtrain.models.settings import Model
from seqtrain.system.settings import Affects, OneOf, Section, UserClass, affects, described, name_of
from seqtrain.training.settings import Train


class Setting(NamedTuple):
    """One setting of a section.

    name : within its section.
    kind : what it may be, in words.
    required : it has no default.
    default : null if it has none; a section chosen by name is shown as its name.
    description : what it is for.
    affects : what a change of it changes.
    """

    name: str
    kind: str
    required: bool
    default: Any
    description: str
    affects: Affects


def sections() -> Iterator[tuple[str, type[Section]]]:
    """Every section with its title: `config`, `model`, `task: adding`, `model.cell: gru` and so on."""
    yield "config", Config
    yield "model", Model
    yield "train", Train
    for path, classes in NAMED.items():
        for name, cls in classes.items():
            yield f"{'.'.join(path)}: {name}", cls


def settings_of(section: type[Section]) -> list[Setting]:
    """The settings of a section, without the name that chooses it."""
    properties = section.model_json_schema()["properties"]
    settings = []
    for name, field in section.model_fields.items():
        if name != "name":
            default = None if field.is_required() else field.default
            if isinstance(default, Section):
                default = name_of(default) or {}
            kind = _names(field) or _kind(properties[name])
            settings.append(Setting(name, kind, field.is_required(), default, described(section, name), affects(field)))
    return settings


@cache
def _declared() -> dict[str, tuple[type[Section], str]]:
    """The section of every setting and its name there, by its dotted key; of several choices, the first."""
    found: dict[str, tuple[type[Section], str]] = {}
    users = [(f"{'.'.join(path)}: module:Class", section) for path, section in USER_CLASSES.items()]
    for title, section in (*sections(), *users):
        path = title.partition(": ")[0].replace("config", "")
        for name in section.model_fields:
            if name != "name":
                found.setdefault(f"{path}.{name}".lstrip("."), (section, name))
    return found


@cache
def setting_at(key: str) -> Setting | None:
    """A setting by its dotted key; None if no section has it."""
    if key not in _declared():
        return None
    section, name = _declared()[key]
    return next(setting for setting in settings_of(section) if setting.name == name)


def all_keys() -> tuple[str, ...]:
    """The dotted keys of all settings."""
    return tuple(_declared())


def is_text(key: str, value: str) -> bool:
    """Whether a value on the command line is a text, which is taken as it is, rather than YAML.

    A setting that may be null reads `null` and nothing as null.
    """
    section, name = _declared().get(key, (None, ""))
    types = set() if section is None else _types(section.model_fields[name].annotation)
    return str in types and not (NoneType in types and value in ("", "null"))


def _types(annotation: Any) -> set[Any]:
    """What a union may be, without bounds and markers."""
    parts, origin = get_args(annotation), get_origin(annotation)
    if origin is Annotated:
        return _types(parts[0])
    return set().union(*map(_types, parts)) if origin in (Union, UnionType) else {annotation}


def find_setting(word: str) -> list[str]:
    """The full names of the settings whose last part is `word`: `steps` is `train.steps`."""
    return [key for key in all_keys() if key.rpartition(".")[2] == word and not key.endswith(".folder")]


def affects_of(key: str, config: Config | None = None) -> Affects:
    """What a setting affects, by its dotted key; the weights if no section has such a setting.

    Parameters
    ----------
    config : of the setting; if its task is the user's own, its class says what its settings affect.
    """
    if config is not None and isinstance(config.task, UserClass) and key.startswith("task."):
        field = type(config.task).model_fields.get(key.removeprefix("task."))
        return Affects.WEIGHTS if field is None else affects(field)
    if key not in _declared():
        return Affects.WEIGHTS
    section, name = _declared()[key]
    return affects(section.model_fields[name])


def settings_that_affect(*kinds: Affects) -> tuple[str, ...]:
    """The settings that affect one of these, by dotted key."""
    return tuple(key for key in all_keys() if affects_of(key) in kinds)


def _names(field: FieldInfo) -> str | None:
    """The names to choose from, if the setting is a section that is chosen by its name."""
    for marker in field.metadata:
        if isinstance(marker, OneOf):
            return " | ".join([*sorted(marker.sections), *(["module:Class"] if marker.others else [])])
    return None


def _kind(schema: dict[str, Any]) -> str:
    """A field's JSON Schema in words."""
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return " | ".join(_kind(part) for part in schema[union])
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    match schema.get("type"):
        case "boolean":
            return "true | false"
        case "integer":
            return "whole number" + _range(schema)
        case "number":
            return "number" + _range(schema)
        case "array":
            least, most = schema.get("minItems"), schema.get("maxItems")
            each = f", each a {kind}" if (kind := _kind(schema.get("items", {}))) != "any" else ""
            return f"list{f' of {least}' if least is not None and least == most else ''}{each}"
        case "string":
            return "text"
    return str(schema.get("type", "section" if "$ref" in schema or "properties" in schema else "any"))


_BOUNDS = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}


def _range(schema: dict[str, Any]) -> str:
    return "".join(f" {word} {schema[key]:,}" for key, word in _BOUNDS.items() if key in schema)
