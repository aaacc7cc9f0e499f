"""Conditions on a comparison, for scripts: `coupled.test.mse <= 1.05 * lstm.test.mse`.

    condition  =  sum  ("<=" | "<" | ">=" | ">" | "==" | "!=")  sum
    sum        =  product  { ("+" | "-")  product }
    product    =  factor  { ("*" | "/")  factor }
    factor     =  number  |  figure  |  "-" factor  |  "(" sum ")"
    figure     =  cell  "."  name  { "." name }

A cell that is no plain word stands in quotes: `'gru reset=before'.solved`, and with --vary `'gru at 50'.solved`. What
figures a cell has is its row in results.json; a figure that is itself an estimate means its mean.
"""

import operator
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from seqtrain.compare.plan import named
from seqtrain.config.errors import choose
from seqtrain.system.errors import ConfigError

TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?)|(?P<figure>(?:'[^']*'|\"[^\"]*\"|[A-Za-z_][\w:]*)"
    r"(?:\.\w+)+)|(?P<sign><=|>=|==|!=|[<>+*/()-]))"
)
COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le, "<": operator.lt, ">=": operator.ge, ">": operator.gt, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
}  # fmt: skip
DEEPEST = 50
"""Brackets and signs within each other."""


class Assertion(NamedTuple):
    """Whether a condition holds, and the two values it came down to; None for one that there is not."""

    text: str
    holds: bool
    left: float | None
    right: float | None

    def sentence(self) -> str:
        """For people."""
        values = " and ".join("nothing" if value is None else f"{value:.6g}" for value in (self.left, self.right))
        return f"--assert {self.text}: {'holds' if self.holds else 'does not hold'} ({values})"


def read_conditions(texts: Sequence[str], cells: Collection[str] | None = None) -> None:
    """Refuse what is no condition, or is on other cells than these, before anything is trained.

    Raises
    ------
    ConfigError : with every fault.
    """
    faults = []
    for text in texts:
        try:
            _Parser(text, None, cells).condition()
        except _Fault as fault:
            faults.append(f"--assert {text}: {fault}")
    if faults:
        raise ConfigError(faults)


def check(text: str, rows: Sequence[Mapping[str, Any]]) -> Assertion:
    """Whether a condition holds of the rows of a comparison; one with a figure that is missing does not.

    Raises
    ------
    ConfigError : it names a cell or figure that the comparison does not have.
    """
    try:
        return _Parser(text, rows).condition()
    except _Fault as fault:
        raise ConfigError(f"--assert {text}: {fault}") from None


class _Fault(Exception):
    pass


class _Parser:
    """Reads and computes at once; without rows every figure is 1, so that only the form and the cells are checked."""

    def __init__(
        self, text: str, rows: Sequence[Mapping[str, Any]] | None, cells: Collection[str] | None = None
    ) -> None:
        self.text, self.rows, self.depth = text, rows, 0
        self.cells = cells if rows is None else [named(row["cell"], row["at"]) for row in rows]
        self.tokens, position = list[tuple[str, str]](), 0
        while text[position:].strip():
            found = TOKEN.match(text, position)
            if found is None:
                raise _Fault(f"cannot be read from {text[position:].strip()[:20]!r} on; {_EXAMPLE}")
            self.tokens.append((found.lastgroup or "", found.group().strip()))
            position = found.end()

    def condition(self) -> Assertion:
        left = self.sum()
        compare = COMPARISONS.get(self.take("a comparison")[1])
        if compare is None:
            raise _Fault(f"has no comparison where one is needed; {_EXAMPLE}")
        right = self.sum()
        if self.tokens:
            raise _Fault(f"has {self.tokens[0][1]!r} after its end; {_EXAMPLE}")
        return Assertion(self.text, left is not None and right is not None and compare(left, right), left, right)

    def sum(self) -> float | None:
        return self.chain(self.product, "+-")

    def product(self) -> float | None:
        return self.chain(self.factor, "*/")

    def chain(self, part: Callable[[], float | None], signs: str) -> float | None:
        value = part()
        while self.tokens and self.tokens[0][1] in signs and self.tokens[0][0] == "sign":
            compute, other = ARITHMETIC[self.tokens.pop(0)[1]], part()
            try:
                value = None if value is None or other is None else compute(value, other)
            except (ZeroDivisionError, OverflowError):
                value = None
        return value

    def factor(self) -> float | None:
        kind, token = self.take("a number or a figure")
        if kind == "number":
            return float(token)
        if kind == "figure":
            return self.figure(token)
        if token not in ("-", "("):
            raise _Fault(f"has {token!r} where a number or a figure is needed; {_EXAMPLE}")
        self.depth += 1
        if self.depth > DEEPEST:
            raise _Fault(f"has more than {DEEPEST} brackets and signs; write it more simply")
        if token == "-":
            value = self.factor()
            return None if value is None else -value
        value = self.sum()
        if self.take("a closing bracket")[1] != ")":
            raise _Fault("has a bracket that is not closed")
        return value

    def take(self, wanted: str) -> tuple[str, str]:
        if not self.tokens:
            raise _Fault(f"ends where {wanted} is needed; {_EXAMPLE}")
        return self.tokens.pop(0)

    def figure(self, token: str) -> float | None:
        cell, *names = re.findall(r"'[^']*'|\"[^\"]*\"|[\w:]+", token)
        cell = cell.strip("'\"")
        if self.cells is not None and cell not in self.cells:
            raise _Fault(f"{cell!r} is no cell of this comparison; {choose(cell, self.cells)}")
        if self.rows is None:
            return 1.0
        assert self.cells is not None
        found: Any = self.rows[list(self.cells).index(cell)]
        for name in names:
            if not isinstance(found, Mapping) or name not in found:
                known = [key for key in found if key != "versus"] if isinstance(found, Mapping) else []
                raise _Fault(f"{token} is not there; " + (choose(name, known) if known else "it goes too deep"))
            found = found[name]
        found = found.get("mean") if isinstance(found, Mapping) and "mean" in found else found
        if found is not None and (isinstance(found, bool) or not isinstance(found, int | float)):
            raise _Fault(
                f"{token} is no number" + (f"; choose one of {', '.join(found)}" if isinstance(found, Mapping) else "")
            )
        return found


_EXAMPLE = "write e.g. 'coupled.test.mse <= 1.05 * lstm.test.mse'"
