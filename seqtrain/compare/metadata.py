"""What a folder says of how its runs were made, as that is not in the runs themselves."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from seqtrain.compare.load_runs import FinishedRun
from seqtrain.system import strict_json
from seqtrain.system.errors import CheckpointError
from seqtrain.system.files import UnreadableError, write_whole

Point = str | int | float | bool | None
"""A value of what is varied."""


QUESTION = "question.json"
"""What is to be asked of runs that are started by hand, until there are results."""


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class _Run(_Part):
    row: str
    at: Point
    run: str


class _Cell(_Part):
    cell: str
    at: Point
    off: float | None = None


class _Tried(_Part):
    valid: float | None
    solved: int
    runs: int


class _Tuned(_Part):
    cell: str
    at: Point
    chosen: dict[str, Any]
    at_the_edge: list[str]
    points: list[_Tried]


class _Interval(_Part):
    mean: float | None
    low: float | None
    high: float | None


class _Length(_Part):
    cell: str
    at: Point
    setting: str
    length: int
    trained: bool
    metric: _Interval
    solved: int
    runs: int


class _Results(_Part):
    """The fields of a result that are taken over from it."""

    reference: str
    level: float
    varied: str | None = None
    match: str | None = None
    timed: bool = False
    command: str | None = None
    tuning: list[_Tuned] = []
    lengths: list[_Length] = []
    cells: list[_Cell]
    runs: list[_Run]


def note_question(out: Path, question: dict[str, Any]) -> None:
    """Keep for a later gathering what the fields of `_Results` say."""
    write_whole(out / QUESTION, (strict_json.dumps(question, indent=2) + "\n").encode())


def earlier_results(out: Path, runs: Sequence[FinishedRun], *, folder: bool) -> dict[str, Any]:
    """The question or the results in a folder if they are of the same runs; else nothing.

    Parameters
    ----------
    folder : whether the runs are all that the folder holds, rather than named: then they may be more, and of a question
        that has no results yet, fewer.

    Raises
    ------
    CheckpointError : there is a file that no comparison has written, and it would be overwritten.
    """
    asked = out / QUESTION
    path = asked if asked.exists() else out / "results.json"
    if not path.exists():
        return {}
    try:
        found = strict_json.read(path)
        _check(_Results.model_validate(found), path)
        known = {Path(run["run"]).resolve() for run in found["runs"]}
    except ValidationError as error:
        first = ".".join(map(str, error.errors()[0]["loc"]))
        why: str = f"{path}: is none that seqtrain compare wrote (see {first})"
    except (ValueError, RuntimeError):  # a name that no file has, or links in a circle
        why = f"{path}: names runs that cannot be"
    except UnreadableError as error:
        why = str(error)
    else:
        there = {run.path.resolve() for run in runs}
        same = known == there or (folder and (known < there or (path == asked and known & there)))
        return found if same else {}
    raise CheckpointError(f"{why}; it would be overwritten: move it away, or choose another folder with --out")


def _check(found: _Results, path: Path) -> None:
    """Raise an UnreadableError if parts of the results do not fit each other."""
    rows = [json.dumps([row.cell, row.at]) for row in found.cells]
    settings = [(entry.chosen, entry.at_the_edge, entry.points) for entry in found.tuning]
    if len(set(rows)) < len(rows) or {json.dumps([run.row, run.at]) for run in found.runs} != set(rows):
        raise UnreadableError(path, "its cells are not those of its runs")
    if found.reference not in (row.cell for row in found.cells):
        raise UnreadableError(path, "its reference is none of its cells")
    for chosen, edge, points in settings:
        if any(chosen.keys() - (point.model_extra or {}).keys() for point in points) or set(edge) - chosen.keys():
            raise UnreadableError(path, "its tuning names settings that were not tried")
