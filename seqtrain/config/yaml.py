"""Reading and writing YAML, strictly: what is no config for its size or its form is refused early, with the place."""

import codecs
import re
from pathlib import Path
from typing import Any

import yaml

from seqtrain.system.encoding import not_utf8
from seqtrain.system.errors import ConfigError, short

DEEPEST, LARGEST, MOST = 50, 1 << 18, 10_000
"""Sections within sections, bytes of a file, and its values and keys: people write a hundredth of it."""


WORDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "timestamp": "a date"}
"""The kinds of YAML values in messages."""

_DIGITS = "-+.0123456789"


class _Loader(yaml.SafeLoader):
    """YAML in which every number is decimal and may be written `1e-3` or `010`, and which has no aliases.

    YAML 1.1 reads `010` as 8, `1:40` as 100, `no` as false and `2014-05-01` as a date. Here the first is 10, and the
    others are text, which no setting takes for a number.
    """

    _depth = _nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """A node; a few nested aliases could stand for more values than any memory holds."""
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="it has an alias; write the value out", problem_mark=mark)
        self._depth, self._nodes = self._depth + 1, self._nodes + 1
        if self._nodes > MOST:
            raise yaml.MarkedYAMLError(problem=f"more than {MOST:,} keys and values", problem_mark=mark)
        if self._depth > DEEPEST:
            raise yaml.MarkedYAMLError(problem=f"nested more than {DEEPEST} deep", problem_mark=mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """A value; one that is none of its kind (a 13th month, 5,000 digits) is an error with a place."""
        try:
            value = super().construct_object(node, deep)
            if isinstance(value, str):
                value.encode()  # half of a pair of surrogates, which can be escaped, is no text
            return value
        except yaml.YAMLError:
            raise
        except Exception:  # whatever int(), date() and the like raise
            kind = node.tag.rpartition(":")[2]
            problem = f"{short(node.value)} is not {WORDS.get(kind, kind)}"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark) from None


_NUMBER = r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
_FORMS = (("bool", "[Tt]rue|TRUE|[Ff]alse|FALSE", "tTfF"), ("int", "[-+]?[0-9]+", _DIGITS), ("float", _NUMBER, _DIGITS))
_Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in pairs if not tag.endswith((":timestamp", ":bool", ":int", ":float"))]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _number(text: str) -> str:
    """The text of a number; `!!int 1_0`, which Python would take, is an error, and `1e-400`, which it takes for 0."""
    digits = re.split("[eE]", text)[0]
    if not re.fullmatch(_NUMBER, text) or (re.search("[1-9]", digits) and float(text) == 0):
        raise ValueError(text)
    return text


class _Dumper(yaml.SafeDumper):
    """YAML without aliases. A text that this loader, or YAML 1.1, would read as something else is quoted."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        """Write every value out, also where one value stands in two places."""
        return True


for kind in (_Loader, _Dumper):
    for name, form, first in _FORMS:
        kind.add_implicit_resolver(f"tag:yaml.org,2002:{name}", re.compile(f"^({form})$"), list(first))
_Loader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(_number(node.value)))
_Loader.add_constructor(
    "tag:yaml.org,2002:float", lambda _, node: float(re.sub(r"\.(?=[inIN])", "", _number(node.value)))
)


def dump(data: Any) -> str:
    """Data as YAML, in the given order."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def inline(value: Any) -> str:
    """A value as YAML in one line: `[a, b]`."""
    text = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, allow_unicode=True, width=1e9)
    return text.removesuffix("\n").removesuffix("\n...")


def parse(text: str, source: str) -> tuple[yaml.Node | None, Any]:
    """The nodes of a YAML document, for their lines, and its data.

    Raises
    ------
    ConfigError : it is no YAML, or no config could look like it.
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


def read_beginning(path: Path) -> tuple[str, bool]:
    """As much of a file as a config may have, and whether that is all of it; read once, as it may be a pipe.

    Raises
    ------
    ConfigError : it is missing, cannot be read, or is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST)
            whole = not file.read(1)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        return codecs.getincrementaldecoder("utf-8-sig")().decode(content, final=whole), whole
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: {not_utf8(error)}") from None
