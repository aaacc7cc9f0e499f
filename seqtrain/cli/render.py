"""Print results on stdout, as tables or as JSON: what several verbs share."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from seqtrain.system.streams import columns, stdout, to_stdout
from seqtrain.system.tables import NO_LIMIT, Part
from seqtrain.system.words import figure, wrap


def print_result(result: Any, json: bool, parts: "Callable[[Any], Iterable[Part | str]]") -> None:
    """Print a result: one JSON object, or the parts that the function `parts` makes of it."""
    if json:
        from seqtrain.system import strict_json

        data = result.as_json() if hasattr(result, "as_json") else result
        is_utf8 = (stdout().encoding or "").lower().replace("-", "") == "utf8"  # a JSON parser expects nothing else
        to_stdout(strict_json.dumps(data, indent=2, ascii_only=not is_utf8) + "\n")
        return
    width = columns(stdout()) or NO_LIMIT
    console = Console(file=stdout(), width=NO_LIMIT, highlight=False)
    with console.capture() as printed:
        for part in parts(result):
            for piece in (Text(wrap(part, width)),) if isinstance(part, str) else part.fitted(width):
                console.print(piece)
    to_stdout(printed.get())


def in_figures(what: str, values: Mapping[str, float | None]) -> Iterator[tuple[str, str]]:
    """A row of facts for each figure: `test accuracy`."""
    return ((f"{what} {name}", figure(value)) for name, value in values.items())


def in_words(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """A row for each fact about data: `missing values`."""
    return ((key.replace("_", " "), value if isinstance(value, str) else figure(value)) for key, value in data.items())


def model_line(result: Mapping[str, Any]) -> str:
    """The model of a run or a config in one line."""
    return (
        f"{result['cell']}, {result['direction']}, depth {result['depth']}, hidden size {result['hidden_size']}, "
        f"{result['parameters']:,} parameters"
    )
