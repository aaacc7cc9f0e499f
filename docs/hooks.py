"""A hook for mkdocs: it writes the definitions of all cells and tasks into their pages, from the docstrings."""

from collections.abc import Mapping

from seqtrain.cells import CELLS
from seqtrain.tasks import TASKS

MARKERS: dict[str, Mapping[str, type]] = {"<!-- cells -->": CELLS, "<!-- tasks -->": TASKS}
"""A comment in a page, and the classes whose definitions replace it."""


def on_page_markdown(markdown: str, **_: object) -> str:
    """Called for each page, before mkdocstrings replaces the lines that start with `:::`."""
    for marker, registry in MARKERS.items():
        markdown = markdown.replace(marker, definitions(registry))
    return markdown


def definitions(registry: Mapping[str, type]) -> str:
    """A heading and a definition for each class."""
    return "\n".join(f"### {name}\n\n::: {cls.__module__}.{cls.__qualname__}\n" for name, cls in registry.items())
