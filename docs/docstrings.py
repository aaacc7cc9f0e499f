"""A griffe extension for mkdocstrings: it turns our docstrings into Markdown.

Our docstrings have underlined sections with lines `name : text`. In Markdown an underlined line would be a heading of
the page, and the lines below it one paragraph. Here a section gets a title in bold, and each `name : text` becomes an
item of a list. Indented equations stay as they are: Markdown shows them as code.
"""

import re

from griffe import Extension, Object

UNDERLINE = re.compile(r"-{3,}\s*")
ITEM = re.compile(r"(\*{0,2}\w[\w., *]*) : (.*)")


class Docstrings(Extension):
    """Rewrites the docstring of every object."""

    def on_object(self, *, obj: Object, **_: object) -> None:
        """Called for each module, class, function and attribute."""
        if obj.docstring:
            obj.docstring.value = to_markdown(obj.docstring.value)


def to_markdown(text: str) -> str:
    """A docstring as Markdown."""
    lines = text.split("\n")
    result: list[str] = []
    in_list = False
    for place, line in enumerate(lines):
        item = ITEM.fullmatch(line)
        if UNDERLINE.fullmatch(line):
            continue
        if place + 1 < len(lines) and UNDERLINE.fullmatch(lines[place + 1]):
            result += ["", f"**{line.strip()}**", ""]
            in_list = False
        elif item:
            if not in_list:
                result.append("")
            names = ", ".join(f"`{name.strip()}`" for name in item[1].split(","))
            result.append(f"- {names}: {item[2]}")
            in_list = True
        else:
            if in_list and line.strip() and not line.startswith(" "):
                result.append("")
                in_list = False
            result.append(line)
    return "\n".join(result)
