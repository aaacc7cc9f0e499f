"""The columns of a table: what each holds, measured without reading the table into Python."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqtrain.system.errors import DataError
from seqtrain.tasks.tables.steps import first_that_is_no_time
from seqtrain.tasks.tables.table import MISSING, separator_of

if TYPE_CHECKING:
    import polars

EXACT = 1_000_000
"""Rows of a table up to which different values are counted, not estimated."""

SAMPLE = 1000
"""Values of a column that decide whether it holds times."""

MOST_WRONG = 5
"""Cells of a sample that are no times, in a column of times."""

MOSTLY = 0.9
"""The share of numbers from which on a column is one of numbers with faults."""


@dataclass(frozen=True)
class ColumnProfile:
    """A column.

    kind : `number`, `whole number`, `time`, `text`, `constant` or `empty`.
    values : how many cells are not empty.
    missing : how many are.
    distinct : about how many different values there are.
    wrong : in a column of numbers, the cells that are none.
    least, most : the smallest and the largest value, as text.
    hint : what a column of texts seems to be meant for; None if nothing is known.
    """

    name: str
    kind: str
    values: int
    missing: int
    distinct: int
    wrong: int
    least: str
    most: str
    hint: str | None

    def as_json(self) -> dict[str, Any]:
        """The figures by their names."""
        return vars(self)


def scan(file: Path) -> "tuple[polars.LazyFrame, int]":
    """The table, to be read as far as it is needed, and the number of its first row in the words of the file.

    Raises
    ------
    DataError : it is no table.
    """
    import polars

    if file.suffix.lower() in (".parquet", ".pq"):
        frame, first = polars.scan_parquet(file), 1
    else:
        frame, first = (
            polars.scan_csv(file, separator=separator_of(file), infer_schema=False, null_values=list(MISSING)),
            2,
        )
    names = collected(frame.head(0), file).columns
    return frame.rename({name: name.strip() for name in names}), first


def collected(frame: "polars.LazyFrame", file: Path) -> "polars.DataFrame":
    """What a query gives, read in parts where polars can.

    Raises
    ------
    DataError : the file is no table.
    """
    import polars

    try:
        return frame.collect(engine="streaming")
    except polars.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{file}: is no table ({reason}); give a CSV file with a header, or a Parquet file") from None


def profile_columns(frame: "polars.LazyFrame", file: Path) -> tuple[int, list[ColumnProfile]]:
    """The number of rows, and the columns."""
    import polars

    head = collected(frame.head(SAMPLE), file)
    rows = int(collected(frame.select(polars.len()), file).item())
    few = rows <= EXACT
    queries = [polars.len().alias("rows")]
    for n, name in enumerate(head.columns):
        own = polars.col(name)
        number = own.cast(polars.Float64, strict=False)
        queries += [
            own.null_count().alias(f"{n} missing"),
            (own.drop_nulls().n_unique() if few else own.approx_n_unique()).alias(f"{n} distinct"),
            (number.is_finite()).sum().alias(f"{n} numbers"),
            (number.is_finite() & (number == number.round())).sum().alias(f"{n} whole"),
            number.is_nan().sum().alias(f"{n} nan"),
            own.min().cast(polars.String).alias(f"{n} least"),
            own.max().cast(polars.String).alias(f"{n} most"),
            number.min().cast(polars.String).alias(f"{n} smallest"),
            number.max().cast(polars.String).alias(f"{n} largest"),
        ]
    queries = [query for query in queries if not _is_unsupported(query, head)]
    (row,) = collected(frame.select(queries), file).iter_rows(named=True)
    found = [{key: row.get(f"{n} {key}") for key in _KEYS} for n in range(len(head.columns))]
    return rows, [_profile(name, head[name], own, rows) for name, own in zip(head.columns, found, strict=True)]


_KEYS = ("missing", "distinct", "numbers", "whole", "nan", "least", "most", "smallest", "largest")


def _is_unsupported(query: "polars.Expr", head: "polars.DataFrame") -> bool:
    """Whether a column, such as one of lists, has no such figure."""
    import polars

    try:
        head.select(query)
    except polars.exceptions.PolarsError:
        return True
    return False


def _profile(name: str, head: "polars.Series", found: dict[str, Any], rows: int) -> ColumnProfile:
    is_time = head.dtype.is_temporal()
    nan = 0 if is_time else found["nan"] or 0
    missing = (found["missing"] or 0) + (nan if head.dtype.is_float() else 0)
    values, numbers = rows - missing, 0 if is_time else found["numbers"] or 0
    whole, kind = found["whole"] or 0, "text"
    if values == 0:
        kind = "empty"
    elif found["least"] == found["most"]:
        kind = "constant"
    elif is_time or _holds_times(head.drop_nulls()):
        kind = "time"
    elif numbers >= MOSTLY * values:
        kind = "whole number" if whole == values else "number"
    is_number = kind in ("number", "whole number")
    ends = ("smallest", "largest") if is_number else ("least", "most")
    return ColumnProfile(
        name=name,
        kind=kind,
        values=values,
        missing=missing,
        distinct=min(int(found["distinct"] or 0), values),
        wrong=values - numbers if is_number else 0,
        least=_short(found[ends[0]]),
        most=_short(found[ends[1]]),
        hint=_hint(head.drop_nulls()) if kind == "text" else None,
    )


def _holds_times(own: "polars.Series") -> bool:
    """Whether nearly all values are dates or times of the day."""
    enough = MOSTLY * len(own)
    for _ in range(MOST_WRONG):
        wrong = first_that_is_no_time(own)
        if isinstance(wrong, str):
            return wrong in ("day", "microsecond")
        own = own[:wrong].append(own[wrong + 1 :])
        if len(own) < max(enough, 1):
            return False
    return False


MEANT = {
    r"\s*[-+]?[\d.]*\d,\d+\s*": "numbers with a decimal comma; write 1234.5",
    r"\s*[-+]?\d{1,3}(,\d{3})+(\.\d+)?\s*": "numbers with commas between thousands; write 1234.5",
}
"""Forms of texts that are meant for numbers."""

ONE_DATE = "write one column of dates such as 1959-04-01 and name it with task.time"
"""What to do about times in other forms."""

MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"

MEANT_FOR_TIMES = {
    r"\s*\d{1,2}[./-]\d{1,2}[./-]\d{2,4}.*": "dates that seqtrain does not read; write 2024-01-31",
    r"\s*\d{4}[-/ ]?[Qq][1-4]\s*": f"quarters such as 1959Q2; {ONE_DATE}",
    r"\s*[Qq][1-4][-/ ]?\d{4}\s*": f"quarters such as Q2 1959; {ONE_DATE}",
    r"\s*\d{4}[-/ ]?[Ww]\d{1,2}\s*": f"weeks such as 2020-W05; {ONE_DATE}",
    r"\s*\d{4}[-/ ]?[Mm]?\d{1,2}\s*": f"months such as 1959-04; {ONE_DATE}",
    rf"\s*(?i:{MONTHS})[a-z]*[-/. ]+\d{{2,4}}\s*": f"months such as Apr 1959; {ONE_DATE}",
}
"""Forms of texts that are meant for times."""


def _hint(own: "polars.Series") -> str | None:
    import polars

    texts = own.cast(polars.String, strict=False)
    found = (
        meant
        for form, meant in (MEANT | MEANT_FOR_TIMES).items()
        if len(texts) and texts.str.contains(f"^{form}$").all()
    )
    return next(found, None)


def _short(value: Any, longest: int = 20) -> str:
    text = "" if value is None else str(value).removesuffix(".0")
    return text if len(text) <= longest else text[: longest - 3] + "..."
