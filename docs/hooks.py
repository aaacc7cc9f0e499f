"""A hook for mkdocs: it writes the definitions of all cells and tasks, and all settings, into their pages."""

import json
from collections.abc import Callable, Iterator, Mapping

from seqtrain.cells import CELLS
from seqtrain.config.describe import sections, settings_of
from seqtrain.system.settings import Section
from seqtrain.tasks import TASKS


def on_page_markdown(markdown: str, **_: object) -> str:
    """Called for each page, before mkdocstrings replaces the lines that start with `:::`."""
    for marker, written in MARKERS.items():
        if marker in markdown:
            markdown = markdown.replace(marker, written())
    return markdown


def definitions(registry: Mapping[str, type]) -> str:
    """A heading and a definition for each class."""
    return "\n".join(f"### {name}\n\n::: {cls.__module__}.{cls.__qualname__}\n" for name, cls in registry.items())


def settings() -> str:
    """A heading and a table for each section of a config."""
    return "\n".join(line for title, section in sections() for line in _section(title, section))


def _section(title: str, section: type[Section]) -> Iterator[str]:
    yield f"## `{title}`\n\n{' '.join((section.__doc__ or '').split())}\n"
    of_section = settings_of(section)
    if not of_section:
        yield "No settings.\n"
        return
    yield "| setting | may be | default | affects | |\n|---|---|---|---|---|"
    for setting in of_section:
        kind, description = (
            text.replace("|", "\\|").replace("\n", " ") for text in (setting.kind, setting.description)
        )
        default = "required" if setting.required else f"`{json.dumps(setting.default)}`"
        yield f"| `{setting.name}` | {kind} | {default} | {setting.affects} | {description} |"
    yield ""


MARKERS: dict[str, Callable[[], str]] = {
    "<!-- cells -->": lambda: definitions(CELLS),
    "<!-- tasks -->": lambda: definitions(TASKS),
    "<!-- settings -->": settings,
}
"""A comment in a page, and what is written in its place."""
