"""The settings as data, for people who look one up: what a section takes, of what kind, and what it is for."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from seqtrain.config import schema


class Setting(NamedTuple):
    """One setting of a section.

    name : within its section.
    kind : what it may be, in words.
    required : it has no default.
    default : null if it has none; a section chosen by name is shown as its name.
    description : what it is for.
    """

    name: str
    kind: str
    required: bool
    default: Any
    description: str


def sections() -> Iterator[tuple[str, type[schema.Section]]]:
    """Every section with what to call it: `config`, `model`, `task: adding`, `model.cell: gru` and so on."""
    yield "config", schema.Config
    yield "model", schema.Model
    yield "train", schema.Train
    for path, classes in schema.NAMED.items():
        for name, cls in classes.items():
            yield f"{'.'.join(path)}: {name}", cls


def settings_of(section: type[schema.Section]) -> list[Setting]:
    """The settings of a section, but for the name that chooses it."""
    properties = section.model_json_schema()["properties"]
    found = []
    for name, field in section.model_fields.items():
        if name != "name":
            default = None if field.is_required() else field.default
            if isinstance(default, schema.Section):
                default = schema.name_of(default) or {}
            kind = _kind(properties[name])
            found.append(Setting(name, kind, field.is_required(), default, field.description or ""))
    return found


def find_setting(word: str) -> list[str]:
    """The full names of the settings whose last part is `word`: `steps` is `train.steps`."""
    found = []
    for title, section in sections():
        path = title.partition(":")[0].replace("config", "")
        if word in section.model_fields and word != "name":
            found.append(f"{path}.{word}".lstrip("."))
    return list(dict.fromkeys(found))


def _kind(schema_of_field: dict[str, Any]) -> str:
    """A field's JSON Schema in words."""
    if "anyOf" in schema_of_field:
        return " | ".join(_kind(part) for part in schema_of_field["anyOf"])
    if "enum" in schema_of_field:
        return " | ".join(map(str, schema_of_field["enum"]))
    if "discriminator" in schema_of_field:
        return " | ".join(schema_of_field["discriminator"]["mapping"])
    if "oneOf" in schema_of_field and not any("$ref" in part for part in schema_of_field["oneOf"]):
        return " | ".join(_kind(part) for part in schema_of_field["oneOf"])
    if "oneOf" in schema_of_field or "$ref" in schema_of_field:
        return "section"
    match schema_of_field.get("type"):
        case "boolean":
            return "true | false"
        case "integer":
            return "whole number" + _range(schema_of_field)
        case "number":
            return "number" + _range(schema_of_field)
        case "array":
            least, most = schema_of_field["minItems"], schema_of_field.get("maxItems")
            return f"list{f' of {least}' if least == most else ''}, each a {_kind(schema_of_field['items'])}"
        case "string":
            return "text"
    return str(schema_of_field.get("type", "section"))


_BOUNDS = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}


def _range(schema_of_field: dict[str, Any]) -> str:
    bounds = [f" {word} {schema_of_field[key]:,}" for key, word in _BOUNDS.items() if key in schema_of_field]
    return "".join(bounds)
