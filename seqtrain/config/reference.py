"""Every setting as a page: `python -m seqtrain.config.reference > docs/config.md`."""

import json
import types
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from seqtrain.config import schema

INTRODUCTION = """\
# Every setting

Made by `python -m seqtrain.config.reference > docs/config.md` from the schema that checks configs. A section with a
`name` may be written as the name alone: `cell: gru` is `cell: {name: gru}`. On the command line a setting is its path:
`model.cell.reset=before`.
"""


def page() -> str:
    """The page, as Markdown."""
    return "\n".join([INTRODUCTION, *_section("The whole", schema.Config, ()), *_named()]) + "\n"


def _named() -> Iterator[str]:
    yield from _section("`model`", schema.Model, ("model",))
    yield from _section("`train`", schema.Train, ("train",))
    for path, classes in schema.NAMED.items():
        for name, cls in classes.items():
            yield from _section(f"`{'.'.join(path)}: {name}`", cls, path)


def _section(title: str, cls: type[schema.Section], path: tuple[str, ...]) -> Iterator[str]:
    yield f"## {title}\n\n{(cls.__doc__ or '').strip()}\n"
    yield "| setting | default | |\n|---|---|---|"
    for name, field in cls.model_fields.items():
        if name != "name":
            yield f"| `{name}` | {_default(field, (*path, name))} | {_meaning(field)} |"
    yield ""


def _default(field: FieldInfo, path: tuple[str, ...]) -> str:
    if path in schema.NAMED and not field.is_required():
        return f"`{schema.name_of(field.default)}`"
    if isinstance(field.default, schema.Section):
        return "see below"
    return "required" if field.is_required() else f"`{json.dumps(field.default)}`"


def _meaning(field: FieldInfo) -> str:
    options = _choices(field.annotation)
    listed = " One of " + ", ".join(f"`{option}`" for option in options) + "." if options else ""
    return (field.description or "").replace("|", "\\|").replace("\n", " ") + listed


def _choices(annotation: Any) -> list[Any]:
    """The values of a Literal, also of one that may be null."""
    if get_origin(annotation) is types.UnionType:
        return [choice for part in get_args(annotation) for choice in _choices(part)]
    return list(get_args(annotation)) if get_origin(annotation) is Literal else []


if __name__ == "__main__":
    print(page(), end="")
