"""The JSON Schema of a config, with which editors complete and check YAML.

It says what a setting may be, one by one. What settings must not be together, and what a user's own class takes, only
seqtrain itself knows: `seqtrain validate`.
"""

from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from seqtrain.config.document import DEFAULT_NAMES
from seqtrain.config.schema import Config

DIALECT, TITLE = "https://json-schema.org/draft/2020-12/schema", "A config of seqtrain"


def config_schema() -> dict[str, Any]:
    """The schema of a whole config as JSON data."""
    schema = Config.model_json_schema(schema_generator=_WithoutTitles)
    for (key,), name in DEFAULT_NAMES.items():
        choices: list[dict[str, Any]] = schema["properties"][key]["anyOf"]
        choices.append(_unnamed(schema["$defs"], choices, name))
    return {"$schema": DIALECT, "title": TITLE} | {key: value for key, value in schema.items() if key != "title"}


class _WithoutTitles(GenerateJsonSchema):
    """Without the titles that pydantic makes of names: they would say nothing new in half of the lines."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        """Never."""
        return False


def _unnamed(definitions: dict[str, Any], choices: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """A section that needs no name: `optimizer: {lr: 0.01}` means the default optimizer."""
    named = (definitions[choice["$ref"].rpartition("/")[2]] for choice in choices if "$ref" in choice)
    section: dict[str, Any] = next(each for each in named if each["properties"]["name"]["const"] == name)
    properties = {key: value for key, value in section["properties"].items() if key != "name"}
    required = [key for key in section["required"] if key != "name"]
    return section | {"properties": properties, "required": required}
