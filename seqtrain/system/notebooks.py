"""Results in a notebook: as a data frame, and as a small table below a cell."""

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from seqtrain.system.errors import SeqtrainError

if TYPE_CHECKING:
    from pandas import DataFrame


def data_frame(rows: Sequence[Mapping[str, object]], columns: Sequence[str] | None = None) -> "DataFrame":
    """Rows as a data frame of pandas, which is not needed for anything else.

    Parameters
    ----------
    columns : in their order; by default those of the rows.

    Raises
    ------
    SeqtrainError : pandas is not installed.
    """
    try:
        import pandas
    except ModuleNotFoundError as error:
        if error.name != "pandas":
            raise
        raise SeqtrainError("frame() needs pandas, which is not installed: pip install pandas") from None
    return pandas.DataFrame(rows, columns=columns)


def html_table(title: str, rows: Iterable[Sequence[object]], header: Sequence[str] = ()) -> str:
    """A table for a notebook; every text is escaped."""
    lines = [_line("th", header)] if header else []
    lines += [_line("td", row) for row in rows]
    return f"<table><caption>{html.escape(title)}</caption>{''.join(lines)}</table>"


def _line(tag: str, values: Sequence[object]) -> str:
    return f"<tr>{''.join(f'<{tag}>{html.escape(str(value))}</{tag}>' for value in values)}</tr>"
