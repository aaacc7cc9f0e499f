"""Every setting as a page: `python -m seqtrain.config.reference > docs/config.md`."""

import json
from collections.abc import Iterator

from seqtrain.config.describe import Setting, sections, settings_of
from seqtrain.config.schema import Section

INTRODUCTION = """\
# Every setting

Made by `python -m seqtrain.config.reference > docs/config.md` from the schema that checks configs. A section with a
`name` may be written as the name alone: `cell: gru` is `cell: {name: gru}`. On the command line a setting is its path:
`model.cell.reset=before`.
"""


def page() -> str:
    """The page, as Markdown."""
    return "\n".join([INTRODUCTION, *(line for title, cls in sections() for line in _section(title, cls))]) + "\n"


def _section(title: str, cls: type[Section]) -> Iterator[str]:
    yield f"## `{title}`\n\n{(cls.__doc__ or '').strip()}\n"
    yield "| setting | may be | default | |\n|---|---|---|---|"
    for setting in settings_of(cls):
        kind, description = (
            text.replace("|", "\\|").replace("\n", " ") for text in (setting.kind, setting.description)
        )
        yield f"| `{setting.name}` | {kind} | {_default(setting)} | {description} |"
    yield ""


def _default(setting: Setting) -> str:
    return "required" if setting.required else f"`{json.dumps(setting.default)}`"


if __name__ == "__main__":
    print(page(), end="")
