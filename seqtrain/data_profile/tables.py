"""A table: which column is the time, which tells series apart, what is missing, and a config that trains on it."""

import itertools
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seqtrain.data_profile.ahead import Ahead, known_ahead
from seqtrain.data_profile.columns import (
    EXACT,
    MEANT_FOR_TIMES,
    ONE_DATE,
    ColumnProfile,
    collected,
    profile_columns,
    scan,
)
from seqtrain.data_profile.configs import labelled_config, series_config, with_differences
from seqtrain.data_profile.layout import Layout, Steps, step_in_words
from seqtrain.data_profile.result import BROKEN, Profile
from seqtrain.data_profile.trial import first_that_builds
from seqtrain.system.errors import DataError
from seqtrain.system.words import counted
from seqtrain.tasks.tables.series import Series
from seqtrain.tasks.tables.steps import Clock, Step, read_clock, regular_step
from seqtrain.tasks.tables.table import MOST_FAULTS, SEPARATORS, Table

if TYPE_CHECKING:
    import polars

ENDINGS = (".csv", ".tsv", ".psv", ".parquet", ".pq")
"""Endings of tables."""

TIME_NAMES = re.compile(
    r"(.*[_ ])?(t|time|date|ds|datetime|timestamp|year|month|week|day|hour|minute|second|step|time_?idx|period|index)",
    re.IGNORECASE,
)
"""Names of columns of whole numbers that may be times."""

ID_NAMES = re.compile(r"(.*[_ ])?(id|series|group|store|item|station|sensor|subject|case|unit|who|key)", re.IGNORECASE)
"""Names of columns of whole numbers that may tell series apart."""

LABEL_NAMES = re.compile(r"(.*[_ ])?(label|class|class_?val|target)|y", re.IGNORECASE)
"""Names of columns of numbers that may be labels of whole sequences."""

GROUP_NAMES = re.compile(
    r"(.*[_ ])?(writer|speaker|person|subject|patient|participant|user|player|driver|group|session)(_?id)?",
    re.IGNORECASE,
)
"""Names of columns whose sequences should stay in one part."""

CALENDAR_NAMES = re.compile("year|quarter|month|week|day|hour|weekday", re.IGNORECASE)
"""Names of columns of whole numbers that are parts of a time, and nothing to forecast."""

FEW = 0.05
"""The share of rows up to which repeated times are faults; more of them belong to several series."""

MOST_SERIES = 2000
"""Series whose steps in time are looked at."""


def is_table(file: Path) -> bool:
    """Whether a file holds a table: by its name, or by a first line with a separator and numbers below it."""
    if file.suffix.lower() in ENDINGS:
        return True
    with file.open("rb") as opened:
        header, *lines = opened.read(1 << 14).decode("utf-8", "ignore").splitlines()[:6] or [""]
    separator = max(SEPARATORS, key=header.count)
    cells = [cell for line in lines for cell in line.split(separator)]
    numbers = [cell for cell in cells if re.fullmatch(r"\s*[-+]?[\d.]+(e[-+]?\d+)?\s*", cell, re.IGNORECASE)]
    return separator in header and len(numbers) >= max(1, len(cells) / 3)


def profile_table(path: str, file: Path) -> Profile:
    """A CSV or Parquet file."""
    try:
        frame, first = scan(file)
        rows, columns = profile_columns(frame, file)
    except DataError as error:
        return Profile(
            path, "unknown", "a table that cannot be read", {}, faults=str(error).splitlines(), why_not=BROKEN
        )
    if rows == 0 and not _lacks_header([column.name for column in columns]):
        fault = f"{file}: has no rows below its header; give a table with data"
        return Profile(path, "unknown", "an empty table", {"rows": 0}, faults=[fault], why_not=BROKEN)
    if first == 2 and _lacks_header([column.name for column in columns]):
        fault = f"{file}:1: the first line holds numbers, not names: write a header, such as time,value"
        facts = {"rows": rows + 1, "columns": len(columns)}
        return Profile(path, "unknown", "a table without a header", facts, faults=[fault], why_not=BROKEN)
    layout, repeated, remarks = _layout(frame, file, first, columns, rows)
    faults = [f"{file}: column {column.name!r} has {column.hint}" for column in columns if column.hint]
    faults += _wrong_cells(frame, file, first, columns) + repeated
    ahead = steps = None
    try:
        ahead, steps = _in_time(frame, file, first, columns, layout)
    except DataError as error:
        faults += str(error).splitlines()
        layout = replace(layout, time=None, unused_times=(layout.time,) if layout.time else layout.unused_times)
    roles = _roles(columns, layout)
    return _finished(path, file, rows, columns, roles, layout, steps, ahead, faults, remarks)


def _lacks_header(names: list[str]) -> bool:
    """Whether the names of columns are values: all of them, or most, but no years or other steps of a wide table."""
    names = [re.sub(r"_duplicated_\d+$", "", name).strip() for name in names]  # as polars names the second 1.5
    values = [name for name in names if _is_number(name) or re.match(r"\d{4}-\d\d?-\d\d?", name)]
    if len(values) == len(names):
        return True
    whole = [int(name) for name in values if re.fullmatch(r"[-+]?\d{1,15}", name)]
    is_scale = len(whole) == len(values) and len({b - a for a, b in itertools.pairwise(whole)}) <= 1
    return len(values) > len(names) / 2 and not is_scale


def _finished(
    path: str,
    file: Path,
    rows: int,
    columns: list[ColumnProfile],
    roles: dict[str, str],
    layout: Layout,
    steps: Steps | None,
    ahead: Ahead | None,
    faults: list[str],
    remarks: list[str],
) -> Profile:
    """The report, with the first config that can be built."""
    facts = {"rows": rows, "columns": len(columns)} | _facts(layout, steps)
    if rows > EXACT:
        remarks = [*remarks, f"different values are estimated, as the table has more than {EXACT:,} rows"]
    if steps is not None:
        remarks = [*remarks, *steps.gaps]
    listed = [column.as_json() | {"role": roles[column.name]} for column in columns]
    if layout.label is not None:
        what = f"{counted(len(layout.lengths), 'sequence')} with a label for each, {layout.label!r}"
        labelled, _, refused = first_that_builds([labelled_config(path, columns, roles, layout)], file)
        why_not = None if labelled else BROKEN
        return Profile(path, "sequences", what, facts, listed, [*faults, *refused], remarks, labelled, why_not)
    what = f"a table of {len(layout.lengths):,} series"
    tries = series_config(path, rows, columns, roles, layout, steps, ahead)
    if not tries:
        why_not = "no column of numbers is left to forecast; give one, or make a text of numbers: 1234.5"
        return Profile(path, "series", what, facts, listed, faults, remarks, None, why_not)
    config, task, refused = first_that_builds(tries, file)
    faults += [fault for fault in refused if fault not in faults][:MOST_FAULTS]
    if config is not None and isinstance(task, Series):
        config = with_differences(config, task)
    unused = layout.unused_times or ((layout.time,) if steps is not None and steps.step is not None else ())
    if config is not None and unused and "time" not in config.settings["task"]:
        names = ", ".join(map(repr, unused))
        remarks.append(f"the config has no time, as {names} cannot be used until mended: each row is a step")
    if config is not None and task is None:
        remarks.append("the config was not tried, as the file is large; seqtrain validate tries it")
    return Profile(path, "series", what, facts, listed, faults, remarks, config, BROKEN if config is None else None)


def _facts(layout: Layout, steps: Steps | None) -> dict[str, Any]:
    """The times and the series."""
    facts: dict[str, Any] = {} if layout.time is None else {"time": layout.time}
    if steps is not None:
        facts |= {"step": "irregular" if steps.step is None else step_in_words(steps.kind, steps.step)}
        facts |= {"missing steps": steps.missing}
    if layout.id is not None:
        shortest, median, longest = (int(n) for n in np.quantile(layout.lengths, [0, 0.5, 1], method="nearest"))
        facts |= {"id": layout.id, "series": len(layout.lengths)}
        facts |= {"shortest": shortest, "median": median, "longest": longest}
    return facts


# --- what the columns are for ---------------------------------------------------------------------------------------


def _layout(
    frame: "polars.LazyFrame", file: Path, first: int, columns: list[ColumnProfile], rows: int
) -> tuple[Layout, list[str], list[str]]:
    """The columns of time, of ids and of labels; faults of repeated times; and remarks on what is uncertain."""
    times = [column for column in columns if column.kind == "time"]
    times += [c for c in columns if c.kind == "whole number" and TIME_NAMES.fullmatch(c.name)]
    ids = [c for c in columns if c not in times and 1 < c.distinct <= 0.6 * rows and _may_be_id(c)]
    faults, remarks = list[str](), list[str]()
    time = name = None
    unused = [column.name for column in columns if column.hint in MEANT_FOR_TIMES.values()]
    for each in times:
        key = _key(frame, file, each.name, ids, rows)
        if key is None:
            unused += [each.name] if each.kind == "time" else []
            remarks.append(_remark_on_repeated(each.name))
            continue
        time, name = each.name, key[0]
        if key[1]:
            faults = _repeated(frame, file, first, each.name, name, key[1])
            time, unused = None, [each.name]
        break
    if time is None and name is None:
        name = next((c.name for c in ids if _is_in_blocks(frame, file, c.name)), None)
    if time is None and not faults and (parts := [column.name for column in columns if _is_of_calendar(column)]):
        unused += [part for part in parts if part not in unused]
        remarks.append(f"parts of a time are no targets: {', '.join(map(repr, parts))}; {ONE_DATE}")
    lengths = np.array([rows])
    label = group = part = None
    if name is not None:
        lengths = collected(frame.group_by(name).len(), file)["len"].to_numpy().astype(np.int64)
        label, group, part = _label(frame, file, columns, name, time)
    return Layout(time, name, label, group, part, lengths, () if time else tuple(unused)), faults, remarks


def _is_of_calendar(column: ColumnProfile) -> bool:
    return column.kind == "whole number" and bool(CALENDAR_NAMES.fullmatch(column.name))


def _may_be_id(column: ColumnProfile) -> bool:
    if column.kind == "text":
        return column.hint is None
    return column.kind == "whole number" and bool(ID_NAMES.fullmatch(column.name))


def _remark_on_repeated(time: str) -> str:
    what = f"column {time!r} has the same time in several rows, and no other column tells series apart by itself"
    return what if CALENDAR_NAMES.fullmatch(time) else f"{what}; to use it, write a column of ids"


def _key(
    frame: "polars.LazyFrame", file: Path, time: str, ids: list[ColumnProfile], rows: int
) -> tuple[str | None, int] | None:
    """The column of ids that makes times unique, or None if they are so by themselves; and how many rows repeat a time.

    None if too many do.
    """
    few = max(1, int(FEW * rows))
    alone = _count_repeated(frame, file, [time])
    if alone == 0:
        return None, 0
    if alone <= few:
        ids = [c for c in ids if ID_NAMES.fullmatch(c.name) or _is_in_blocks(frame, file, c.name)]
    best, name = few + 1, None
    for column in sorted(ids, key=lambda column: column.distinct):
        if (repeated := _count_repeated(frame, file, [column.name, time])) < best:
            best, name = repeated, column.name
        if best == 0:
            break
    if name is not None:
        return name, best
    return (None, alone) if alone <= few else None


def _count_repeated(frame: "polars.LazyFrame", file: Path, names: list[str]) -> int:
    """How many rows have the same values in these columns as a row before them."""
    import polars

    groups = frame.select(names).drop_nulls().group_by(names).agg(polars.len().alias("rows of it"))
    return int(collected(groups.select((polars.col("rows of it") - 1).sum()), file).item())


def _repeated(frame: "polars.LazyFrame", file: Path, first: int, time: str, name: str | None, count: int) -> list[str]:
    """The rows that have the same time as one before them in their series."""
    import polars

    names = [time] if name is None else [time, name]
    number = polars.col("the row")
    own = frame.select(names).with_row_index("the row").drop_nulls()
    own = own.with_columns(number.min().over(names).alias("the first")).filter(number > polars.col("the first"))
    place = "row" if first == 1 else "line"
    faults = [
        f"{file}:{first + row['the row']}: has the same time, {row[time]}, as {place} {first + row['the first']}"
        f"{'' if name is None else f' of {name} {row[name]}'}; keep one of them"
        for row in collected(own.sort("the row").head(MOST_FAULTS), file).iter_rows(named=True)
    ]
    return [*faults, f"{counted(count, 'repeated time')} in all"] if count > MOST_FAULTS else faults


def _is_in_blocks(frame: "polars.LazyFrame", file: Path, name: str) -> bool:
    """Whether all rows of each value follow each other."""
    import polars

    own = polars.col(name)
    begins = (own != own.shift()).fill_null(True).sum().alias("begins")
    (found,) = collected(frame.select(begins, own.n_unique().alias("distinct")), file).iter_rows(named=True)
    return bool(found["begins"] == found["distinct"])


def _label(
    frame: "polars.LazyFrame", file: Path, columns: list[ColumnProfile], name: str, time: str | None
) -> tuple[str | None, str | None, str | None]:
    """The column that has one value in each series, and not the same in all; one that tells groups of series; and one
    that tells whether they are for training.

    Beside dates, a text that never changes in a series is taken for a label only if its name says so: the sales of
    each shop, with its town, are to be forecast.
    """
    import polars

    has_dates = any(column.name == time and column.kind == "time" for column in columns)
    may_be = [
        column.name
        for column in columns
        if column.name not in (name, time)
        and (LABEL_NAMES.fullmatch(column.name) if has_dates or column.kind != "text" else True)
        and column.kind in ("text", "number", "whole number")
    ]
    if not may_be:
        return None, None, None
    most = frame.group_by(name).agg(polars.col(may_be).n_unique()).select(polars.col(may_be).max())
    (found,) = collected(most, file).iter_rows(named=True)
    steady = [each for each in may_be if found[each] == 1]
    steady.sort(key=lambda each: (not LABEL_NAMES.fullmatch(each), bool(GROUP_NAMES.fullmatch(each))))
    part = next((each for each in steady if _names_parts(frame, file, columns, each)), None)
    steady = [each for each in steady if each != part]
    groups = [each for each in steady[1:] if GROUP_NAMES.fullmatch(each)]
    if part is not None or not steady:
        groups = []
    return (steady[0] if steady else None), (groups[0] if groups else None), part if steady else None


def _names_parts(frame: "polars.LazyFrame", file: Path, columns: list[ColumnProfile], name: str) -> bool:
    """Whether the values of a column are train, valid and test."""
    column = next(column for column in columns if column.name == name)
    if (column.distinct, column.least, column.most) != (3, "test", "valid"):
        return False
    return "train" in collected(frame.select(name).unique(), file)[name].to_list()


def _roles(columns: list[ColumnProfile], layout: Layout) -> dict[str, str]:
    """What each column is for: `time`, `id`, `label`, `group`, `part`, `calendar`, `number` or `-`."""
    named = {layout.time: "time", layout.id: "id", layout.label: "label", layout.group: "group", layout.part: "part"}
    roles = {}
    for column in columns:
        is_number = column.name and column.kind in ("number", "whole number") and not column.wrong
        plain = "calendar" if _is_of_calendar(column) else "-" if column.name in layout.unused_times else "number"
        roles[column.name] = named.get(column.name) or (plain if is_number else "-")
    return roles


def _wrong_cells(frame: "polars.LazyFrame", file: Path, first: int, columns: list[ColumnProfile]) -> list[str]:
    """Cells of columns of numbers that are none, as the task tells them."""
    import polars

    wrong = [column.name for column in columns if column.wrong]
    if not wrong:
        return []
    cells = [polars.col(name) for name in wrong]
    finite = [cell.cast(polars.Float64, strict=False).is_finite().fill_null(False) for cell in cells]
    at_fault = polars.any_horizontal(cell.is_not_null() & ~one for cell, one in zip(cells, finite, strict=True))
    rows = collected(frame.with_row_index("the row").filter(at_fault).head(MOST_FAULTS), file)
    faults = []
    for row in rows.iter_rows(named=True):
        for name in wrong:
            if row[name] is not None and not _is_number(row[name]):
                faults.append(f"{file}:{first + row['the row']}: column {name!r} has {row[name]!r}, which is no number")
    total = sum(column.wrong for column in columns)
    more = f"{counted(total, 'cell')} in all; " if total > 1 else ""
    cure = "write numbers as 1234.5, and leave a missing value empty; until then the config leaves these columns out"
    return [*faults[:MOST_FAULTS], more + cure]


def _is_number(text: Any) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except (TypeError, ValueError):
        return False


# --- steps in time --------------------------------------------------------------------------------------------------


def _in_time(
    frame: "polars.LazyFrame", file: Path, first: int, columns: list[ColumnProfile], layout: Layout
) -> tuple[Ahead | None, Steps | None]:
    """What is known ahead, and the steps of the series; raises a DataError if a row has no time or no id."""
    table = clock = None
    if layout.time is not None:
        table = _times(frame, file, first, layout)
        clock = read_clock(table, layout.time)
    roles = _roles(columns, layout)
    numbers = [column for column in columns if roles[column.name] == "number"]
    ahead = None if layout.label is not None else known_ahead(frame, file, first, layout, numbers, clock)
    if table is None or clock is None:
        return ahead, None
    return ahead, _steps(table, layout, clock, None if ahead is None else ahead.future)


def _times(frame: "polars.LazyFrame", file: Path, first: int, layout: Layout) -> Table:
    """The columns of the time and of the ids."""
    return Table(file, collected(frame.select([name for name in (layout.time, layout.id) if name]), file), first)


def _steps(table: Table, layout: Layout, clock: Clock, future: NDArray[np.bool_] | None) -> Steps:
    """The steps of the series, of which the rows after the last targets are divided into no parts."""
    groups = [np.arange(len(clock.values))] if layout.id is None else [*table.rows_of(layout.id).values()]
    step, missing, gaps, irregular = None, 0, list[str](), 0
    for rows in groups[:MOST_SERIES]:
        rows = rows[np.argsort(clock.values[rows], kind="stable")]
        own = regular_step(clock.of(rows))
        if own is None:
            irregular += len(rows) > 1
            continue
        step = own if step is None else step
        after, lacking = _gaps(clock, rows, own)
        missing += int(lacking.sum())
        for row, count in zip(after[: MOST_FAULTS - len(gaps)], lacking, strict=False):
            gaps.append(f"{table.row(int(row))}: {counted(int(count), 'step')} missing after {clock.texts[int(row)]}")
    if missing and len(gaps) == MOST_FAULTS:
        gaps.append(f"{counted(missing, 'missing step')} in all")
    if irregular:
        gaps.append(
            f"the steps of {irregular:,} series are not at regular distances in column "
            f"{layout.time!r}; without it, each row is a step"
        )
    order = np.argsort(clock.values, kind="stable")
    if future is not None and not future.all():
        order = order[~future[order]]
    cuts = [int(order[round(share * len(order))]) for share in (0.7, 0.85)]
    before, between = (int(clock.values[cut]) for cut in cuts)
    texts = [str(clock.texts[cut]).removesuffix(".000000") for cut in cuts]
    middle = (texts[0], texts[1]) if before < between else None
    return Steps(clock.kind, None if irregular else step, missing, gaps, middle)


def _gaps(clock: Clock, rows: NDArray[np.int64], step: Step) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of a series after which steps are missing, and how many."""
    own = clock.of(rows)
    values = own.months() if step.is_months else own.values
    assert values is not None
    lacking = np.diff(values) // step.size - 1
    return rows[:-1][lacking > 0], lacking[lacking > 0]
