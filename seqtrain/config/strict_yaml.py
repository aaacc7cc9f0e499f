"""YAML to data, with the place of every fault; what is no config for its size or its form is refused early."""

import re
from typing import Any

import yaml

from seqtrain.system.errors import ConfigError

DEEPEST, MOST, LARGEST = 50, 10_000, 1 << 18
"""Sections within sections, values (with all that aliases repeat) and bytes: people write a hundredth of it."""


class _Loader(yaml.SafeLoader):
    """YAML in which `1e-3` is a number, as people write it."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._read = 0
        self._sizes: dict[int, int] = {}  # values in each node that is whole

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """As in YAML, within the limits: some nested aliases could stand for more values than any memory holds."""
        alias = self.check_event(yaml.AliasEvent)
        begins = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        self._depth, self._read = self._depth + 1, self._read + 1
        if self._depth > DEEPEST:
            raise yaml.MarkedYAMLError(problem=f"nested more than {DEEPEST} deep", problem_mark=begins)
        node = super().compose_node(parent, index) if self._read <= MOST else None
        self._depth -= 1
        if alias and id(node) not in self._sizes:
            raise yaml.MarkedYAMLError(problem="an alias stands for what it is itself a part of", problem_mark=begins)
        size = 1 + sum(self._sizes[id(part)] for part in _parts(node))
        if node is None or size > MOST:
            raise yaml.MarkedYAMLError(problem=f"more than {MOST:,} values, counting aliases", problem_mark=begins)
        self._sizes[id(node)] = size
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """As in YAML, but a value that is none of its kind (a 13th month, 5,000 digits) is an error with a place."""
        try:
            value = super().construct_object(node, deep)
            if isinstance(value, str):
                value.encode()  # half of a pair of surrogates, which can be escaped, is no text
            return value
        except yaml.YAMLError:
            raise
        except Exception:  # whatever int(), date() and the like say
            kind, value = node.tag.rpartition(":")[2], _cut(repr(node.value))
            raise yaml.MarkedYAMLError(problem=f"{value} is no {kind}", problem_mark=node.start_mark) from None


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def _parts(node: yaml.Node | None) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def parse(text: str, source: str) -> tuple[yaml.Node | None, Any]:
    """The nodes of a YAML document, for their lines, and its data.

    Raises
    ------
    ConfigError : it is none, or no config could look like it.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return node, None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"{source}{line}: is not valid YAML ({error.problem or error.context})") from None
    except yaml.reader.ReaderError as error:
        line = f":{text.count(chr(10), 0, error.position) + 1}"
        raise ConfigError(f"{source}{line}: is not valid YAML (a character {error.character:#04x})") from None


def _cut(text: str, width: int = 40) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."
