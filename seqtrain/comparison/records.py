"""The records of a comparison: `results.json` and `question.json`. Each is defined here and nowhere else.

A field that does not apply to a comparison, such as `variant` where the variants differ, is unset and not written.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated, Literal, NamedTuple, Protocol, Self, TypeVar

from pydantic import Field

from seqtrain.comparison.defaults import LEVEL
from seqtrain.comparison.statistics import Estimate
from seqtrain.runs.records import Metric, Record, Summary
from seqtrain.system.pictures import FORMATS
from seqtrain.system.words import visible

QUESTION, RESULTS, MEASURED = "question.json", "results.json", "measured.json"
CONFIGS, TUNING, COMMANDS, CLUSTER = "configs", "tuning", "commands", "cluster"

FILES = (
    RESULTS, "results.csv", "results.md", "results.tex", "report.html",
    *(f"{plot}.{form}" for plot in ("steps", "curves", "metric", "success", "tuning") for form in FORMATS),
    MEASURED, QUESTION, CONFIGS, TUNING, COMMANDS, CLUSTER,
)  # fmt: skip
"""What a comparison leaves in its folder beside the runs."""

Point = str | int | float | bool | None
"""A value of a setting that is varied or tuned."""

Figures = dict[str, float | None]

SearchMethod = Literal["random", "optuna"]
"""How a search finds the settings that it tries: independent draws, or proposals that follow from the results before.
"""

VerdictName = Literal["better", "worse", "not distinguishable", "too few seeds", "none solved", "undecided"]


def label(cell: str, at: Point) -> str:
    """The name of a row in sentences and conditions."""
    return cell if at is None else visible(f"{cell} at {at}")


class Keyed(Protocol):
    """What belongs to a row: to a cell, at one value of the varied setting."""

    @property
    def cell(self) -> str:
        """The label of the cell."""

    @property
    def at(self) -> Point:
        """The value; None if nothing is varied."""


K = TypeVar("K", bound=Keyed)


class RowKey(Record):
    """A row of the table: a cell, at one value of the varied setting.

    at : the value; None if nothing is varied.
    off : by which part the row has more (or fewer) parameters, or a longer (or shorter) step, than it should match;
        with equal hidden sizes, parameters relative to the reference; None if unknown.
    """

    cell: str
    at: Point
    off: float | None = None


class RunKey(Record):
    """A run directory and the row that it belongs to."""

    row: str
    at: Point
    run: str


class RunResult(Summary, RunKey):
    """A run: its summary, its row and its directory."""


class FailedRun(RunKey):
    """A run that could not be trained, and why."""

    reason: str


class Values(Estimate):
    """The mean of a metric over runs, with the value of each run; in a row also their standard deviation."""

    values: list[float | None]
    sd: float | None = None


class StepsToSolve(Record):
    """Steps until each run was solved; in the mean an unsolved run counts with all steps of its budget."""

    values: list[int | None]
    mean_within_budget: float
    budget: int


class Verdict(Record):
    """A row against the row of the reference, paired by seed.

    reference_at : the value of the varied setting at which the reference stands: the first one if the values of one
        cell are compared, else that of the row, as in the files of earlier versions, which do not say it.
    solved, diverged : numbers of runs, of the row and of the reference.
    difference : the mean of the differences of the pairs.
    ratio : the geometric mean of the ratios of the pairs, if the test compares logarithms, as of steps to solve; else
        None.
    better_in, worse_in : numbers of pairs.
    effect_size : Cohen's d_z, of the differences of what is tested; None if they do not vary.
    p, p_corrected : of the sign-flip test, without and with Holm's correction over all `tests`.
    """

    cell: str
    at: Point
    reference: str
    outcome: str
    lower_is_better: bool
    pairs: int
    solved: list[int]
    diverged: list[int]
    difference: Estimate
    ratio: Estimate | None
    better_in: int
    worse_in: int
    effect_size: float | None
    p: float
    p_corrected: float
    tests: int
    level: float
    verdict: VerdictName
    sentence: str
    reference_at: Point = Field(default_factory=lambda verdict: verdict["at"])

    @property
    def row_label(self) -> str:
        """The name of the row in sentences, where that of the reference has the value if it is the same."""
        return self.cell if self.at == self.reference_at else label(self.cell, self.at)

    @property
    def reference_label(self) -> str:
        """The name of the reference in sentences."""
        return label(self.reference, self.reference_at)


class Row(RowKey):
    """The figures of one row.

    metric, test, valid : over the runs, on the test set; `valid` at the best validation.
    of_baseline : the mean of the metric over that of the baseline.
    median_steps_to_solve : an unsolved run counts as infinite: None if half of the runs or more are unsolved.
    sequences_per_s, tokens_per_s, elapsed_s : medians; only the speed in the task's unit is set.
    versus : None for the reference itself.
    """

    variant: str
    hidden_size: int | list[int]
    parameters: int
    runs: int
    seeds: list[int]
    diverged: int
    metric: Values
    test: Figures
    valid: Figures
    baseline: Figures
    of_baseline: float | None
    solvable: bool
    solved: int
    solved_share: Estimate
    median_steps_to_solve: int | float | None
    steps_to_solve: StepsToSolve
    sequences_per_s: float | None = None
    tokens_per_s: float | None = None
    elapsed_s: float
    versus: Verdict | None

    @property
    def label(self) -> str:
        """The name of the row in sentences."""
        return label(self.cell, self.at)


class Note(NamedTuple):
    """A remark on a comparison.

    fact : what readers of a paper should know, too.
    cure : what the user can do about it; None if there is nothing to say.
    """

    fact: str
    cure: str | None = None

    def sentence(self) -> str:
        """Both, for the user."""
        return self.fact if self.cure is None else f"{self.fact}; {self.cure}"


class TuningPoint(Record):
    """One candidate and how its runs did; its settings are further fields.

    valid : mean of the best validation metric.
    steps_to_solve : unset if the task has no rule for "solved".
    """

    __pydantic_extra__: dict[str, Point]

    valid: float | None
    solved: int
    runs: int
    steps_to_solve: StepsToSolve | None = None

    @property
    def settings(self) -> dict[str, Point]:
        """The settings of the candidate by key."""
        return self.__pydantic_extra__


MOST_LISTED = 20
"""The largest number of candidates of a search that a table lists."""


class Tuning(Record):
    """What was tuned for a row.

    at_the_edge : settings whose chosen value is the smallest or largest tried, or lies near an end of its range.
    method : of the search; unset for a grid, as are the fields below.
    judged_by, lower_is_better : the figure of a candidate.
    best_of : the figure of the best of n candidates, for n from 1: the expected one if they were drawn at random, else
        that of the first n. None if no candidate of any cell has a figure.
    """

    cell: str
    at: Point
    chosen: dict[str, Point]
    at_the_edge: list[str]
    points: list[TuningPoint]
    method: SearchMethod | None = None
    judged_by: str = ""
    lower_is_better: bool = True
    best_of: list[float | None] = []  # noqa: RUF012

    @property
    def listed(self) -> list[TuningPoint]:
        """The candidates for a table; none if a search tried so many that nobody would read them."""
        return self.points if self.method is None or len(self.points) <= MOST_LISTED else []

    def remarks(self) -> list[Note]:
        """Choices at the edge of the grid, or of a range."""
        row = label(self.cell, self.at)
        place, cure = "at the edge of the grid", "widen it"
        if self.method is not None:
            place, cure = "near an end of its range", "widen it with --range"
        edges = {key: self.chosen[key] for key in self.at_the_edge}
        return [Note(f"{row}: the best {key} tried is {value}, {place}", cure) for key, value in edges.items()]


class LengthRow(Record):
    """The runs of a row, evaluated at another length; or, if `trained`, at the length of their training."""

    cell: str
    at: Point
    setting: str
    length: int
    trained: bool
    metric: Values
    solved: int
    runs: int


class Assertion(Record):
    """Whether a condition holds, and the values of its two sides; None for a value that does not exist."""

    text: str
    holds: bool
    left: float | None
    right: float | None

    def sentence(self) -> str:
        """For people."""
        values = " and ".join("nothing" if value is None else f"{value:.6g}" for value in (self.left, self.right))
        return f"--assert {self.text}: {'holds' if self.holds else 'does not hold'} ({values})"


class Question(Record):
    """What is asked of which runs: `question.json`, and a part of `results.json`.

    reference : the cell that the others are compared with.
    level : the probability with which a verdict may be wrong by chance.
    varied : the setting that has another value at each point; None for none.
    between : what is compared: cells, at each value; or the values of the varied setting, each with the first. None if
        it is not known yet, or the version that wrote it only knew cells; see `settled`.
    match : what is equal over the cells; None if unknown.
    timed : whether a budget in seconds decided the steps of every run.
    eval_lengths : other lengths to evaluate the trained models at; only in `question.json`.
    drawn_as : the form of the pictures.
    command : what the user typed.
    """

    reference: str
    level: float = LEVEL
    varied: str | None = None
    between: Literal["cells", "values"] | None = None
    match: str | None = None
    timed: bool = False
    drawn_as: Literal["png", "svg", "pdf"] = "png"
    command: str | None = None
    tuning: list[Tuning] = []  # noqa: RUF012
    eval_lengths: list[Annotated[int, Field(ge=1)]] = []  # noqa: RUF012
    lengths: list[LengthRow] = []  # noqa: RUF012
    cells: Sequence[RowKey] = ()
    runs: Sequence[RunKey] = ()

    def settled(self, cells: Iterable[str]) -> Self:
        """The same with `between`, if it is not known yet: the values are compared if one cell was asked for.

        Another value of a setting of the task makes another task, which may be harder: those are not compared.
        """
        if self.between is not None:
            return self
        is_of_task = self.varied is None or self.varied.partition(".")[0] == "task"
        return self.model_copy(update={"between": "cells" if is_of_task or len(set(cells)) > 1 else "values"})

    def compared_together(self, rows: Sequence[K]) -> list[list[K]]:
        """The rows that are compared with one another: all of them if values are compared, else those of each value."""
        if self.between == "values":
            return [[*rows]]
        return [[row for row in rows if row.at == at] for at in dict.fromkeys(row.at for row in rows)]

    def reference_of(self, together: Sequence[K]) -> K | None:
        """The row with which others are compared: of the values of one cell, the first; None if it is missing."""
        return next((row for row in together if row.cell == self.reference), None)

    def reference_label(self, rows: Sequence[Keyed]) -> str:
        """The name of what the others are compared with: of a cell, or of the row at the first value."""
        return label(self.reference, rows[0].at) if self.between == "values" else self.reference

    def fault(self) -> str | None:
        """Which parts do not fit each other; None if all do."""
        rows = [(row.cell, repr(row.at)) for row in self.cells]
        if len(set(rows)) < len(rows) or {(run.row, repr(run.at)) for run in self.runs} != set(rows):
            return "its cells are not those of its runs"
        if self.reference not in (row.cell for row in self.cells):
            return "its reference is none of its cells"
        if self.between == "values" and (self.varied is None or len({cell for cell, _ in rows}) > 1):
            return "it compares values, but has no varied setting or several cells"
        for entry in self.tuning:
            tried = all(entry.chosen.keys() <= point.settings.keys() for point in entry.points)
            if not tried or not set(entry.at_the_edge) <= entry.chosen.keys():
                return "its tuning names settings that were not tried"
            if entry.method is not None and not len(entry.points) == len(entry.best_of) > 0:
                return "its tuning has another number of figures than of candidates"
        if len({len(entry.best_of) for entry in self.tuning}) > 1:
            return "its cells tried different numbers of candidates"
        return None


class Results(Question):
    """A comparison: `results.json`, and what `seqtrain compare --json` prints.

    variant, baseline : of all rows; set only if nothing is varied.
    outcome : what the verdicts are about.
    longest_solved : by cell, the largest varied value up to which most runs were solved.
    facts : the notes without what the user can do about them, for a paper; not written.
    question, summary : sentences for people.
    pictures, files : paths by name.
    failed : runs that a cluster could not train; only set if there are any.
    assertions : only printed, and only if there are conditions.
    """

    task: str
    metric: Metric
    outcome: str
    solvable: bool
    baselines: dict[str, Figures]
    cells: Sequence[Row]
    verdicts: list[str]
    longest_solved: dict[str, Point] | None
    notes: list[str]
    facts: list[str] = Field(default=[], exclude=True)
    runs: Sequence[RunResult]
    versions: dict[str, str]
    variant: str | None = None
    baseline: Figures | None = None
    question: str
    summary: str
    pictures: dict[str, str] = {}  # noqa: RUF012
    files: dict[str, str] = {}  # noqa: RUF012
    failed: list[FailedRun] = []  # noqa: RUF012
    assertions: list[Assertion] = []  # noqa: RUF012
