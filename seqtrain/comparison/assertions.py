"""Conditions on a comparison, for scripts: `coupled.test.mse <= 1.05 * lstm.test.mse`.

A condition is one comparison (<=, <, >=, >, == or !=) of two terms of numbers, figures, + - * / and brackets. A figure
is a field of a cell's row in results.json, `cell.name` or `cell.name.name`; an estimate stands for its mean. A cell
that is not a plain word stands in quotes: `'gru reset=before'.solved`, and with --vary `'gru at 50'.solved`.
"""

import ast
import operator
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from seqtrain.comparison.records import Assertion, Row
from seqtrain.config.errors import choose
from seqtrain.system.errors import ConfigError

OPERATORS: dict[type[ast.AST], Callable[[float, float], Any]] = {
    ast.LtE: operator.le, ast.Lt: operator.lt, ast.GtE: operator.ge, ast.Gt: operator.gt, ast.Eq: operator.eq,
    ast.NotEq: operator.ne, ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}  # fmt: skip

USERS_CELL = re.compile(r"(?<!['\"\w:])[A-Za-z_]\w*:\w+(?=\.)")
"""`my_cells:MyCell` without quotes."""

LONGEST = 200
"""The largest number of nodes of a condition's syntax tree."""

Figure = Callable[[str, Sequence[str]], float | None]
"""Gives the value of a figure: of a cell, under these names."""


class Condition(NamedTuple):
    """A parsed condition; `cells` are the labels of the rows that it names."""

    text: str
    cells: list[str]
    left: ast.expr
    sign: ast.cmpop
    right: ast.expr

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
        figure = partial(_figure, {row.label: row.as_json() for row in rows})
        try:
            left, right = _value(self.left, figure), _value(self.right, figure)
        except ValueError as fault:
            raise ConfigError(f"--assert {self.text}: {fault}") from None
        holds = left is not None and right is not None and OPERATORS[type(self.sign)](left, right)
        return Assertion(text=self.text, holds=holds, left=left, right=right)


def parse_conditions(texts: Sequence[str], faults: list[str]) -> tuple[Condition, ...]:
    """Parse conditions; what is wrong with them is added to `faults`."""
    conditions = []
    for text in texts:
        try:
            conditions.append(_parse(text))
        except (SyntaxError, ValueError, OverflowError, MemoryError, RecursionError) as error:
            why = "cannot be read" if not isinstance(error, ValueError) else str(error)
            faults.append(f"--assert {text}: {why}; write e.g. 'coupled.test.mse <= 1.05 * lstm.test.mse'")
    return tuple(conditions)


def _parse(text: str) -> Condition:
    tree = ast.parse(USERS_CELL.sub(lambda match: repr(match[0]), text.strip()), mode="eval")
    if sum(1 for _ in ast.walk(tree)) > LONGEST:
        raise ValueError("is too long; write it more simply")
    cells: list[str] = []
    match tree.body:
        case ast.Compare(left=left, ops=[sign], comparators=[right]) if type(sign) in OPERATORS:
            for side in (left, right):
                _value(side, lambda cell, _: cells.append(cell))
            return Condition(text, cells, left, sign, right)
    raise ValueError("is not one comparison of two terms")


def _value(node: ast.expr, figure: Figure) -> float | None:
    """The value of a term; None if a figure of it has no value."""
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return float(number)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            value = _value(operand, figure)
            return None if value is None else -value
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in OPERATORS:
            a, b = _value(left, figure), _value(right, figure)
            try:
                return None if a is None or b is None else float(OPERATORS[type(sign)](a, b))
            except (ZeroDivisionError, OverflowError):
                return None
        case ast.Attribute():
            cell, *names = _names(node)
            return figure(cell, names)
    raise ValueError(f"has {ast.unparse(node)!r} where a number or a figure is needed")


def _names(node: ast.expr) -> list[str]:
    match node:
        case ast.Attribute(value=inner, attr=name):
            return [*_names(inner), name]
        case ast.Name(id=name) | ast.Constant(value=str() as name):
            return [name]
    raise ValueError(f"has {ast.unparse(node)!r} where a cell is needed")


def _figure(rows: Mapping[str, Mapping[str, Any]], cell: str, names: Sequence[str]) -> float | None:
    if cell not in rows:
        raise ValueError(_unknown(cell, rows))
    figure, value = ".".join([cell, *names]), rows[cell]
    for name in names:
        if not isinstance(value, Mapping) or name not in value:
            known = [key for key in value if key != "versus"] if isinstance(value, Mapping) else []
            raise ValueError(f"{figure} is not there; {choose(name, known) if known else 'it goes too deep'}")
        value = value[name]
    number: object = value.get("mean", value) if isinstance(value, Mapping) else value
    if number is not None and (isinstance(number, bool) or not isinstance(number, int | float)):
        options = f"; choose one of {', '.join(number)}" if isinstance(number, Mapping) else ""
        raise ValueError(f"{figure} is not a number{options}")
    return number


def _unknown(cell: str, labels: Collection[str]) -> str:
    return f"{cell!r} is not a cell of this comparison; {choose(cell, labels)}"
