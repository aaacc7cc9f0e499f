"""All settings as a page: `python -m seqtrain.config.settings_page > docs/settings.md`."""

import json
from collections.abc import Iterator

from seqtrain.config.describe import sections, settings_of
from seqtrain.system.settings import Section

INTRODUCTION = """\
# Every setting

Made by `python -m seqtrain.config.settings_page > docs/settings.md` from the declarations that check configs. A section
with a `name` may be written as the name alone: `cell: gru` is `cell: {name: gru}`. On the command line a setting is
written with its path: `model.cell.reset=before`.

"Affects" says what a change of the setting changes. `seqtrain eval` takes another value of what affects the data, the
evaluation, the speed or the machine; `--resume` takes another value of what affects the budget, the speed, the machine
or nothing.
"""


def page() -> str:
    """The page of all settings, as Markdown."""
    return "\n".join([INTRODUCTION, *(line for title, cls in sections() for line in _section(title, cls))]) + "\n"


def _section(title: str, cls: type[Section]) -> Iterator[str]:
    yield f"## `{title}`\n\n{' '.join((cls.__doc__ or '').split())}\n"
    settings = settings_of(cls)
    if not settings:
        yield "No settings.\n"
        return
    yield "| setting | may be | default | affects | |\n|---|---|---|---|---|"
    for setting in settings:
        kind, description = (
            text.replace("|", "\\|").replace("\n", " ") for text in (setting.kind, setting.description)
        )
        default = "required" if setting.required else f"`{json.dumps(setting.default)}`"
        yield f"| `{setting.name}` | {kind} | {default} | {setting.affects} | {description} |"
    yield ""


if __name__ == "__main__":
    print(page(), end="")
