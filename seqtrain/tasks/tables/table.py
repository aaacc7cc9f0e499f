"""Read a table of a CSV or Parquet file, and take numbers and times from its columns."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seqtrain.system.encoding import not_utf8
from seqtrain.system.errors import DataError

if TYPE_CHECKING:
    import polars

MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?", "-")
"""What stands for a missing value in a CSV file."""

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
    """

    path: Path
    frame: "polars.DataFrame"
    first: int

    def row(self, number: int) -> str:
        """The place of a row, counted from 0."""
        return f"{self.path}:{self.first + number}"

    def check_columns(self, wanted: Sequence[str]) -> None:
        """Raise a DataError if a column does not exist."""
        if lacking := [name for name in wanted if name not in self.frame.columns]:
            raise DataError(
                f"{self.path}: has no column {', '.join(map(repr, lacking))}; name one of its columns: "
                f"{', '.join(map(repr, self.frame.columns))}"
            )

    def rows_of(self, column: str) -> dict[str, NDArray[np.int64]]:
        """The rows, in the order of the file, that hold each text of a column."""
        import polars

        texts = polars.col(column).cast(polars.String).fill_null("None").alias("text")
        groups = self.frame.select(texts, row=polars.int_range(polars.len())).group_by("text").agg("row")
        return {
            text: rows.to_numpy().astype(np.int64) for text, rows in zip(groups["text"], groups["row"], strict=True)
        }

    def numbers(self, columns: Sequence[str]) -> NDArray[np.float64]:
        """The numbers of columns, `[N, C]`, NaN for a missing value.

        Raises
        ------
        DataError : cells that are no numbers, or not finite, with their places.
        """
        import polars

        found, faults = np.empty((len(self.frame), len(columns))), list[str]()
        for c, name in enumerate(columns):
            own = self.frame[name]
            values = own.cast(polars.Float64, strict=False)
            bad = (values.is_null() & own.is_not_null()) | values.is_infinite().fill_null(False)
            faults += [
                f"{self.row(n)}: column {name!r} has {own[n]!r}, which is no number"
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
    return _read(
        path,
        lambda: polars.read_csv(
            path, separator=separator, infer_schema=False, null_values=list(MISSING), truncate_ragged_lines=False
        ),
        first=2,
    )


def _read(path: Path, reader: Any, first: int) -> Table:
    import polars

    try:
        frame = reader()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; set task.path to a CSV or Parquet file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error}); make it readable or set another task.path") from None
    except polars.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: is no table ({reason}); give a CSV file with a header, or a Parquet file") from None
    if len(frame) == 0:
        raise DataError(f"{path}: has no rows below its header; give a table with data")
    stripped = {name: name.strip() for name in frame.columns}
    return Table(path, frame.rename(stripped), first)


def separator_of(path: Path) -> str:
    """What stands between the columns: the separator that is most frequent in the first line."""
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
    return max(SEPARATORS, key=text.count)
