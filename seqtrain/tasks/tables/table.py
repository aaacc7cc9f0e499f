"""Read a table of a CSV or Parquet file, and take numbers and times from its columns."""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seqtrain.system.encoding import not_utf8
from seqtrain.system.errors import DataError

if TYPE_CHECKING:
    import polars

MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?", "-")
"""What stands for a missing number in a text."""

SEPARATORS = (",", ";", "\t", "|")

MOST_FAULTS = 10
"""Cells of a file whose faults are named."""

ENDINGS = (".csv", ".tsv", ".txt", ".parquet", ".pq")


@dataclass(frozen=True)
class Table:
    """A table, with the place of each row in its file.

    path : the file.
    frame : its columns; those of a CSV file are texts.
    first : the number of the first row of data, in the words of the file: a line of a CSV file, else a row from 1.
    twice : names that several columns have.
    empty_lines : at the end of the file, which are left out.
    """

    path: Path
    frame: "polars.DataFrame"
    first: int
    twice: frozenset[str] = frozenset()
    empty_lines: int = 0

    def row(self, number: int) -> str:
        """The place of a row, counted from 0."""
        return f"{self.path}:{self.first + number}"

    def check_columns(self, **wanted: Sequence[str | None]) -> None:
        """Raise a DataError if a column does not exist, or if several have its name.

        Parameters
        ----------
        wanted : the columns that each setting of the task names; None for a setting that names none.
        """
        named = [(name, setting) for setting, names in wanted.items() for name in names if name]
        if lacking := [f"{name!r} (task.{setting})" for name, setting in named if name not in self.frame.columns]:
            raise DataError(
                f"{self.path}: has no column {', '.join(lacking)}; name one of its columns: "
                f"{', '.join(map(repr, self.frame.columns))}"
            )
        if twice := [name for name in dict.fromkeys(name for name, _ in named) if name in self.twice]:
            raise DataError(
                f"{self.path}: has several columns with the name {', '.join(map(repr, twice))}; give each a name of "
                "its own"
            )

    def rows_of(self, column: str) -> dict[str, NDArray[np.int64]]:
        """The rows, in the order of the file, that hold each text of a column.

        Raises
        ------
        DataError : rows without a text.
        """
        import polars

        texts = self.frame[column].cast(polars.String).str.strip_chars()
        if lacking := (texts.fill_null("") == "").arg_true().head(MOST_FAULTS).to_list():
            raise DataError(
                "\n".join(
                    f"{self.row(n)}: column {column!r} is empty; every row needs the name of its series"
                    for n in lacking
                )
            )
        groups = polars.DataFrame({"text": texts, "row": np.arange(len(texts))}).group_by("text").agg("row")
        return {
            text: rows.to_numpy().astype(np.int64) for text, rows in zip(groups["text"], groups["row"], strict=True)
        }

    def numbers(self, columns: Sequence[str]) -> NDArray[np.float64]:
        """The numbers of columns, `[N, C]`, NaN for a missing value.

        Raises
        ------
        DataError : cells that are no numbers, or not finite, with their places.
        """
        found, faults = np.empty((len(self.frame), len(columns))), list[str]()
        for c, name in enumerate(columns):
            values = self._numbers(name)
            bad = values.is_infinite().fill_null(False) | (values.is_null() & self._is_given(name))
            faults += [
                f"{self.row(n)}: column {name!r} has {self.frame[name][n]!r}, which is no number"
                for n in bad.arg_true().head(MOST_FAULTS - len(faults)).to_list()
            ]
            found[:, c] = values.fill_null(math.nan).to_numpy()
        if faults:
            raise DataError(
                "\n".join(
                    [
                        *faults,
                        "write numbers as 1234.5; leave a missing value empty; or leave the column out of the task",
                    ]
                )
            )
        return found

    def _numbers(self, name: str) -> "polars.Series":
        """The numbers of a column, null for what is none."""
        import polars

        own = self.frame[name]
        kind = own.dtype
        if kind in (polars.Categorical, polars.Enum):
            own = own.cast(polars.String)
        elif not (kind.is_numeric() or kind in (polars.Boolean, polars.String, polars.Null)):
            raise DataError(f"{self.path}: column {name!r} holds {kind}, no numbers; convert it, or leave it out")
        values = own.cast(polars.Float64, strict=False)
        if own.dtype == polars.String and values.null_count():  # white space around a number
            values = values.fill_null(own.str.strip_chars().cast(polars.Float64, strict=False))
        return values

    def _is_given(self, name: str) -> "polars.Series":
        """Whether a cell of a column has something that does not stand for a missing number."""
        import polars

        own = self.frame[name]
        if own.dtype not in (polars.String, polars.Categorical, polars.Enum):
            return own.is_not_null()
        return ~own.cast(polars.String).str.strip_chars().fill_null("").is_in(list(MISSING))


def read_table(path: Path) -> Table:
    """Read a table.

    Raises
    ------
    DataError : the file is missing, unreadable, or no table.
    """
    import polars

    if path.is_dir():
        raise DataError(f"{path}: is a folder; set task.path to a CSV or Parquet file in it")
    if path.suffix.lower() in (".parquet", ".pq"):
        return _read(path, lambda: polars.read_parquet(path), first=1)
    separator = separator_of(path)

    def read(**options: Any) -> "polars.DataFrame":
        return polars.read_csv(path, separator=separator, infer_schema=False, **options)

    names = _read(path, lambda: read(has_header=False, n_rows=1, truncate_ragged_lines=True), first=1).frame.row(0)
    table = _without_empty_end(_read(path, read, first=2))
    table = replace(table, frame=table.frame.rename(_with_single_quotes(table.frame.columns, names)))
    twice = (name for name, n in Counter(str(name or "").strip() for name in names).items() if n > 1)
    return replace(table, twice=frozenset(twice))


def _with_single_quotes(columns: Sequence[str], names: Sequence[str | None]) -> dict[str, str]:
    """What two quotes in a name become, which stand for one: polars leaves them, in the header alone."""
    given = {str(name).strip() for name in names}
    single = {name: name.replace('""', '"') for name in columns if '""' in name}
    return {name: one for name, one in single.items() if one in given and one not in columns}


def _read(path: Path, reader: Callable[[], "polars.DataFrame"], first: int) -> Table:
    """A table of which the names have no white space around them, unless it tells two apart."""
    import polars

    try:
        frame = reader()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; set task.path to a CSV or Parquet file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error}); make it readable or set another task.path") from None
    except (polars.exceptions.PolarsError, polars.exceptions.PanicException) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: is no table ({reason}); give a CSV file with a header, or a Parquet file") from None
    if len(frame) == 0:
        raise DataError(f"{path}: has no rows below its header; give a table with data")
    alike = Counter(name.strip() for name in frame.columns)
    return Table(path, frame.rename(lambda name: name.strip() if alike[name.strip()] == 1 else name), first)


def _without_empty_end(table: Table) -> Table:
    """The table without the empty lines at its end."""
    import polars

    given = table.frame.select(polars.any_horizontal(polars.all().is_not_null())).to_series().arg_true()
    if not len(given):
        raise DataError(f"{table.path}: has no rows below its header; give a table with data")
    rows = int(given[-1]) + 1
    return replace(table, frame=table.frame[:rows], empty_lines=len(table.frame) - rows)


def separator_of(path: Path) -> str:
    """What stands between the columns: the separator that is most frequent in the first line, outside of quotes."""
    try:
        with path.open("rb") as file:
            line = file.readline(1 << 20)
        text = line.decode("utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; set task.path to a CSV or Parquet file") from None
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); make it readable or set another task.path"
        ) from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}:1: {not_utf8(error)}") from None
    if not text.strip():
        raise DataError(f"{path}: is empty, or begins with an empty line; give a CSV file with a header")
    unquoted = re.sub(r'"[^"]*"', "", text)
    return max(SEPARATORS, key=unquoted.count)
