"""Tables that fit a terminal of any width.

No row loses its name or a part of a figure. `Grid` leaves out columns in the order that each table states, and says
which; if that is not enough, each row takes several lines. Words and paths never break.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from seqtrain.system.words import fill, wrap

NO_LIMIT = 1_000_000
"""Columns of a line that nothing breaks."""

LEAST_TEXT = 24
"""Columns that are left to the text of a table at least; if there are fewer, it stands below its row."""

WIDE: dict[str, Any] = {"box": box.SIMPLE_HEAD, "padding": (0, 1, 0, 1)}
"""The look of a table of few columns."""

ELSEWHERE = "--json and a wider terminal have them"

INDENT = " " * 4


class Part(Protocol):
    """A part of what is printed."""

    def fitted(self, width: int) -> Iterator[Table | Text]:
        """The part in lines of at most `width` columns, as far as words and figures allow."""
        ...


class Column(NamedTuple):
    """A column of a table.

    drop : its place in the order in which columns are left out where they do not fit, from 1; 0 always stays.
    is_text : it has words, which may break at spaces; any other column has names or figures.
    align : of the figures.
    """

    name: str
    drop: int = 0
    is_text: bool = False
    align: Literal["left", "right"] = "right"


@dataclass
class Grid:
    """A table with a line under the names of its columns. The first column names the row.

    elsewhere : where the columns are that are left out.
    look : of the rich table: its box and its padding.
    """

    title: str
    columns: tuple[Column, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)
    dim: set[int] = field(default_factory=set)
    sections: set[int] = field(default_factory=set)
    elsewhere: str = ELSEWHERE
    title_style: str = "bold"
    look: dict[str, Any] = field(default_factory=lambda: {"box": box.SIMPLE_HEAD, "padding": (0, 1, 0, 0)})

    def add(self, *cells: str, dim: bool = False) -> None:
        """Add a row."""
        self.dim |= {len(self.rows)} if dim else set()
        self.rows.append(cells)

    def end_section(self) -> None:
        """Leave a line free after the last row."""
        self.sections.add(len(self.rows) - 1)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table | Text]:
        return self.fitted(options.max_width)

    def fitted(self, width: int) -> Iterator[Table | Text]:
        """The title, the table with as many columns as fit, and which do not."""
        if self.title:
            yield Text(wrap(self.title, width), style=self.title_style)
        order = sorted((column for column in self.columns if column.drop), key=lambda column: column.drop)
        for dropped in range(len(order) + 1):
            left_out = order[:dropped]
            places = [place for place, column in enumerate(self.columns) if column not in left_out]
            if (table := self._table(places, width)) is not None:
                yield table
                if left_out:
                    names = ", ".join(_one_line(column.name) for column in self.columns if column in left_out)
                    yield Text(wrap(f"too narrow to show {names}; {self.elsewhere}", width), style="dim")
                return
        yield from self._stacked(width)

    def _table(self, places: list[int], width: int) -> Table | None:
        """The table with the columns at these places; None if it does not fit."""
        texts = [place for place in places if self.columns[place].is_text]
        table = self._with_text(places, {})
        spare = width - _width(table)
        if spare < 0 or not texts:
            return table if spare >= 0 else None
        (place,) = texts
        words = [word for row in self.rows for word in row[place].split()]
        room = spare + cell_len(self.columns[place].name)
        if room < max([LEAST_TEXT, *map(cell_len, words)]):
            return None
        return self._with_text(places, {place: room})

    def _with_text(self, places: list[int], room: Mapping[int, int]) -> Table:
        """The table, with each column of text as wide as `room` says, and empty if it says nothing."""
        table = Table(**self.look)
        vertical: Any = "top" if any(column.is_text for column in self.columns) else "bottom"  # of names on two lines
        for place in places:
            column = self.columns[place]
            justify = "left" if place == 0 or column.is_text else column.align
            table.add_column(Text(column.name), justify=justify, no_wrap=True, vertical=vertical)
        for number, row in enumerate(self.rows):
            cells = (
                (wrap(row[place], room[place]) if place in room else "") if self.columns[place].is_text else row[place]
                for place in places
            )
            style = "dim" if number in self.dim else None
            table.add_row(*map(Text, cells), style=style, end_section=number in self.sections)
        return table

    def _stacked(self, width: int) -> Iterator[Text]:
        """The name of each row on a line of its own, and its figures below."""
        for row in self.rows:
            yield Text(row[0])
            figures = [
                f"{_one_line(column.name)} {cell}"
                for column, cell in zip(self.columns[1:], row[1:], strict=True)
                if cell and not column.is_text
            ]
            lines = fill([f"{each};" for each in figures[:-1]] + figures[-1:], width, INDENT, INDENT)
            yield from map(Text, lines if figures else ())
            for column, cell in zip(self.columns, row, strict=True):
                if column.is_text:
                    yield Text(wrap(INDENT + cell, width))
        yield Text("")


@dataclass
class Facts:
    """Names and values, a line each; what does not fit beside its name stands below it."""

    title: str
    rows: Iterable[tuple[str, str]]

    def fitted(self, width: int) -> Iterator[Text]:
        """The title and the lines."""
        yield Text(wrap(self.title, width), style="bold")
        rows = list(self.rows)
        column = max(cell_len(name) for name, _ in rows) + 3
        for name, value in rows:
            is_narrow = any(column + cell_len(word) > width for word in value.split())
            indent = INDENT if is_narrow else " " * column
            shown = wrap(indent + value, width)
            beside = "\n" if is_narrow else " " * (column - 1 - cell_len(name))
            yield Text.assemble((f" {name}", "dim"), beside, shown if is_narrow else shown[column:])


def _width(table: Table) -> int:
    """The columns that a table takes."""
    console = Console(width=NO_LIMIT)
    return Measurement.get(console, console.options, table).maximum


def _one_line(name: str) -> str:
    """The name of a column, which may have two lines."""
    return name.replace("\n", " ")
