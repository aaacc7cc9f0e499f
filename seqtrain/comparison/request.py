"""What to compare, as types: the options of a command line, as they are typed and after `options` has parsed them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict

from seqtrain.comparison.assertions import Condition
from seqtrain.comparison.place import Place
from seqtrain.comparison.records import Point, SearchMethod, label
from seqtrain.config import Config
from seqtrain.config.describe import is_text
from seqtrain.config.errors import choose
from seqtrain.system import strict_json
from seqtrain.system.errors import ConfigError
from seqtrain.system.words import visible

Match = Literal["hidden", "params", "step-time"]

Drawn = Literal["listed", "real", "whole"]

Cell = Mapping[str, Any]
"""The section of a cell: its name and options."""


class Options(TypedDict, total=False):
    """The options of `seqtrain compare`, whose `--help` says what they mean, as they are typed there.

    out : of `--out`, a path.
    ranges : of `--range`.
    conditions : of `--assert`.
    slurm : each `KEY=VALUE`.
    """

    out: str | Path | None
    cells: str | None
    seeds: int | None
    reference: str | None
    match: str | None
    grid: Sequence[str]
    tune: str | None
    ranges: Sequence[str]
    tuning_seeds: int | None
    vary: str | None
    budget: str | None
    eval_lengths: str | None
    level: float | None
    conditions: Sequence[str]
    pictures: str | None
    jobs: int | None
    on: str | None
    runs_per_job: int | None
    slurm: Sequence[str]


class Setting(NamedTuple):
    """A setting with several values: what is varied, or what is tuned.

    drawn : how a search takes a value: one of `values`; or a number between the two of them, which are then the ends of
        a range.
    """

    key: str
    values: tuple[Point, ...]
    drawn: Drawn = "listed"

    def override(self, value: Point) -> str:
        """`task.length=50`, as on the command line."""
        as_it_is = isinstance(value, str) and is_text(self.key, value)
        return f"{self.key}={value if as_it_is else strict_json.dumps(value)}"

    def short(self, value: Point) -> str:
        """`length=50`, for names of directories."""
        return f"{self.key.rsplit('.', 1)[-1]}={value}"


class Tune(NamedTuple):
    """A search: how it finds the settings to try, and how many candidates it tries for each cell."""

    method: SearchMethod
    candidates: int


class Budget(NamedTuple):
    """How long every run may train, in `steps`, `sequences`, `tokens`, or `seconds` of measured training steps."""

    unit: str
    amount: float


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to ask of runs that exist.

    runs : their directories.
    folder : that holds them, if it was named rather than the runs one by one.
    out : where the results go.
    reference : the label of the cell that the others are compared with; None for the default.
    level : the probability with which a verdict may be wrong by chance; None for the default.
    eval_lengths : other lengths to evaluate the trained models at.
    conditions : of --assert.
    pictures : the form in which they are drawn; None for the default.
    command : what the user typed, for the report.
    """

    runs: tuple[Path, ...] = ()
    folder: Path | None = None
    out: Path
    reference: str | None = None
    level: float | None = None
    eval_lengths: tuple[int, ...] = ()
    conditions: tuple[Condition, ...] = ()
    pictures: str | None = None
    command: str | None = None

    def check_reference(self, labels: Sequence[str], where: str) -> None:
        """Refuse a reference that is none of the cells.

        Raises
        ------
        ConfigError : it is none of `labels`, which are the cells of `where`.
        """
        if self.reference is not None and self.reference not in labels:
            options = choose(self.reference, dict.fromkeys(labels))
            raise ConfigError(f"--reference {self.reference}: is no cell of {where}; {options}")


@dataclass(frozen=True, kw_only=True)
class TrainingRequest(Request):
    """What to train and compare; `out` is also where the runs go.

    config, name : the config and its name.
    beside : the folder of the config, where the user's own cells may be.
    seeds : their number, counted from the seed of the config.
    match : what is made equal over the cells: the hidden size, the number of parameters, or the time of a step.
    tuned : settings that are tuned for each cell on validation, with `tuning_seeds` other seeds.
    tune : the search that finds their values; None if all points of a grid are tried.
    vary : a setting at each of whose values the cells are compared.
    place : where the runs are trained, and how many at a time.
    """

    config: Config
    name: str
    beside: Path
    cells: tuple[Cell, ...]
    seeds: int
    match: Match
    tuned: tuple[Setting, ...]
    tune: Tune | None
    tuning_seeds: int
    vary: Setting | None
    budget: Budget | None
    place: Place

    def labels(self) -> list[str]:
        """The names of all rows in sentences and conditions."""
        return [label(cell_label(cell), value) for value in self.points for cell in self.cells]

    @property
    def points(self) -> tuple[Point, ...]:
        """The values of what is varied; None alone if nothing is."""
        return self.vary.values if self.vary else (None,)

    @property
    def is_timed(self) -> bool:
        """Whether measured training steps decide how long the runs train."""
        return self.budget is not None and self.budget.unit == "seconds"


def cell_label(cell: Cell) -> str:
    """The name of a cell with the options that it is given, in one line."""
    options = (visible(f"{key}={value}") for key, value in cell.items() if key != "name")
    return " ".join([str(cell["name"]), *options])
