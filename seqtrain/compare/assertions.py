"""Conditions on a comparison, for scripts: `coupled.test.mse <= 1.05 * lstm.test.mse`.

    condition  =  sum  ("<=" | "<" | ">=" | ">" | "==" | "!=")  sum
    sum        =  product  { ("+" | "-")  product }
    product    =  factor  { ("*" | "/")  factor }
    factor     =  number  |  figure  |  "-" factor  |  "(" sum ")"
    figure     =  cell  "."  name  { "." name }

A cell that is not a plain word stands in quotes: `'gru reset=before'.solved`, and with --vary `'gru at 50'.solved`. The
figures of a cell are the fields of its row in results.json; an estimate stands for its mean.
"""

import operator
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from seqtrain.compare.records import Assertion, Row
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
"""The largest number of brackets and signs within each other."""

Rows = Mapping[str, Mapping[str, Any]]
"""The fields of each row, by its label."""

Expression = Callable[[Rows], float | None]
"""Computes a value from the rows; None if a figure of it has no value."""


class Condition(NamedTuple):
    """A parsed condition.

    cells : labels of the rows that it names.
    """

    text: str
    cells: tuple[str, ...]
    left: Expression
    compare: Callable[[float, float], bool]
    right: Expression

    def unknown_cell(self, labels: Collection[str]) -> str | None:
        """What is wrong if the condition names a row that is not among the labels; else None."""
        unknown = next((cell for cell in self.cells if cell not in labels), None)
        return None if unknown is None else f"--assert {self.text}: {_unknown(unknown, labels)}"

    def check(self, rows: Sequence[Row]) -> Assertion:
        """Whether the condition holds; it does not if one of its figures has no value.

        Raises
        ------
        ConfigError : it names a row or a figure that the comparison does not have.
        """
        fields = {row.label: row.as_json() for row in rows}
        try:
            left, right = self.left(fields), self.right(fields)
        except _Fault as fault:
            raise ConfigError(f"--assert {self.text}: {fault}") from None
        holds = left is not None and right is not None and self.compare(left, right)
        return Assertion(text=self.text, holds=holds, left=left, right=right)


def parse_conditions(texts: Sequence[str], faults: list[str]) -> tuple[Condition, ...]:
    """Parse conditions; what is wrong with them is added to `faults`."""
    conditions = []
    for text in texts:
        try:
            conditions.append(_Parser(text).condition())
        except _Fault as fault:
            faults.append(f"--assert {text}: {fault}")
    return tuple(conditions)


class _Fault(Exception):
    pass


class _Parser:
    """Recursive descent: one method for each rule of the grammar."""

    def __init__(self, text: str) -> None:
        self.text, self.depth, self.cells = text, 0, list[str]()
        self.tokens, position = list[tuple[str, str]](), 0
        while text[position:].strip():
            token = TOKEN.match(text, position)
            if token is None:
                raise _Fault(f"cannot be read from {text[position:].strip()[:20]!r} on; {_EXAMPLE}")
            self.tokens.append((token.lastgroup or "", token.group().strip()))
            position = token.end()

    def condition(self) -> Condition:
        left = self.sum()
        compare = COMPARISONS.get(self.take("a comparison")[1])
        if compare is None:
            raise _Fault(f"has no comparison where one is needed; {_EXAMPLE}")
        right = self.sum()
        if self.tokens:
            raise _Fault(f"has {self.tokens[0][1]!r} after its end; {_EXAMPLE}")
        return Condition(self.text, tuple(self.cells), left, compare, right)

    def sum(self) -> Expression:
        return self.chain(self.product, "+-")

    def product(self) -> Expression:
        return self.chain(self.factor, "*/")

    def chain(self, part: Callable[[], Expression], signs: str) -> Expression:
        value = part()
        while self.tokens and self.tokens[0][1] in signs and self.tokens[0][0] == "sign":
            compute = ARITHMETIC[self.tokens.pop(0)[1]]
            value = _combined(value, compute, part())
        return value

    def factor(self) -> Expression:
        kind, token = self.take("a number or a figure")
        if kind == "number":
            number = float(token)
            return lambda _: number
        if kind == "figure":
            cell, *names = re.findall(r"'[^']*'|\"[^\"]*\"|[\w:]+", token)
            self.cells.append(cell.strip("'\""))
            return _figure(token, self.cells[-1], names)
        if token not in ("-", "("):
            raise _Fault(f"has {token!r} where a number or a figure is needed; {_EXAMPLE}")
        self.depth += 1
        if self.depth > DEEPEST:
            raise _Fault(f"has more than {DEEPEST} brackets and signs; write it more simply")
        if token == "-":
            return _combined(lambda _: -1.0, operator.mul, self.factor())
        value = self.sum()
        if self.take("a closing bracket")[1] != ")":
            raise _Fault("has a bracket that is not closed")
        return value

    def take(self, wanted: str) -> tuple[str, str]:
        if not self.tokens:
            raise _Fault(f"ends where {wanted} is needed; {_EXAMPLE}")
        return self.tokens.pop(0)


def _combined(left: Expression, compute: Callable[[float, float], float], right: Expression) -> Expression:
    def combined(rows: Rows) -> float | None:
        a, b = left(rows), right(rows)
        try:
            return None if a is None or b is None else compute(a, b)
        except (ZeroDivisionError, OverflowError):
            return None

    return combined


def _figure(token: str, cell: str, names: Sequence[str]) -> Expression:
    def figure(rows: Rows) -> float | None:
        if cell not in rows:
            raise _Fault(_unknown(cell, rows))
        value: Any = rows[cell]
        for name in names:
            if not isinstance(value, Mapping) or name not in value:
                known = [key for key in value if key != "versus"] if isinstance(value, Mapping) else []
                raise _Fault(f"{token} is not there; " + (choose(name, known) if known else "it goes too deep"))
            value = value[name]
        value = value.get("mean") if isinstance(value, Mapping) and "mean" in value else value
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            options = f"; choose one of {', '.join(value)}" if isinstance(value, Mapping) else ""
            raise _Fault(f"{token} is not a number{options}")
        return value

    return figure


def _unknown(cell: str, labels: Collection[str]) -> str:
    return f"{cell!r} is not a cell of this comparison; {choose(cell, labels)}"


_EXAMPLE = "write e.g. 'coupled.test.mse <= 1.05 * lstm.test.mse'"
