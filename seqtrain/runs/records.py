"""The records of a run: `summary.json` and the lines of `metrics.jsonl`. Each is defined here and nowhere else.

A record writes itself as strict JSON and reads itself back. People and other programs may have edited the files, so a
reader checks every field.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, Tag, ValidationError
from pydantic_core import ErrorDetails

from seqtrain.config import Config
from seqtrain.native.storage import Precision
from seqtrain.system import strict_json
from seqtrain.system.errors import plain, short
from seqtrain.system.settings import ONE_OR_EACH
from seqtrain.tasks import TASKS, Task
from seqtrain.tasks import Metric as TaskMetric

LARGEST = 1e150
"""The largest figure that can be compared: its square, and a sum of many squares, are still finite."""

MOST_FAULTS = 5
"""How many faults of one summary a message names."""

Status = Literal["solved", "finished", "diverged", "interrupted"]
"""How a run ended."""

DONE = ("solved", "finished", "diverged")
"""Statuses of runs that are not trained further."""

Count = Annotated[int, Field(ge=0, lt=2**63)]
Size = Annotated[int, Field(ge=1, lt=2**63)]
Sizes = Annotated[Annotated[Size, Tag("one")] | Annotated[list[Size], Tag("each")], ONE_OR_EACH]


class Record(BaseModel):
    """Base of all records: frozen, no conversion of types, finite numbers only; unknown fields are kept."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow", allow_inf_nan=False)

    def as_json(self) -> dict[str, Any]:
        """The record as JSON data: the fields that are set, in the order of the file."""
        return self.model_dump(mode="json", exclude_unset=True)

    @classmethod
    def from_text(cls, text: bytes) -> Self:
        """Read a record.

        Raises
        ------
        ValueError : the text is not JSON, or not such a record; the message names every fault.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise ValueError(_in_words(error.errors())) from None


class Metric(Record):
    """The figure by which the task judges a model, with its smallest and largest possible value."""

    name: str
    higher_is_better: bool
    least: float | None = None
    most: float | None = None


class Traits(Record):
    """What the readers of a summary must know of a task beside its metric.

    solvable : there is a rule for "solved".
    reach : the setting that says how far back a model must look in evaluation; None if there is none.
    words : the symbols are words, so that a model of them writes text.
    """

    solvable: bool
    reach: str | None
    words: bool


def traits_of(task: type[Task]) -> Traits:
    """The traits of a task."""
    return Traits(solvable=task.solvable, reach=task.reach, words=task.words)


class Best(Record):
    """The best evaluation on the validation set; both are None if there is none."""

    step: Count | None
    value: float | None


class Summary(Record):
    """How a run ended: `summary.json`.

    variant : the definition of the task with its settings.
    fingerprints : SHA-256 of each fixed set: the same for the same text, wherever it is.
    steps : training steps done; `skipped_steps` of them changed nothing.
    planned_steps : training steps that the run was given.
    lost_best_step : of a better evaluation whose checkpoint was removed; `best` is then the best of the later ones.
    test : loss and metrics of the best checkpoint on the test set; None if there is no best, or the run is interrupted.
    baseline : what the best model without a memory reaches on the test set.
    solved_at_step : the first evaluation that met the task's rule; None if none did.
    elapsed_s : seconds of the run, interruptions left out.
    sequences_per_s, tokens_per_s : training speed of the last process; the file has the one of the task's unit.
    engine : what ran the cells over time.
    precision : of the factors of matrix products.
    divergence : what is known about the first number that was not finite; None if the run did not diverge.
    data : what was read for the test set, such as its size and what was left out; of data of the user.
    own_task : of a user's own task, so that its code is not needed to read the summary; None for a built-in task.
    imported : the name of the file that the first weights came from; None if they were drawn.
    """

    status: Status
    task: str
    variant: str
    fingerprints: dict[str, str] = {}
    cell: str
    direction: str
    depth: Size
    hidden_size: Sizes
    parameters: Size
    seed: Count
    steps: Count
    skipped_steps: Count = 0
    planned_steps: Size
    metric: Metric
    best: Best
    lost_best_step: Count | None = None
    test: dict[str, float | None] | None
    baseline: dict[str, float | None]
    solved_at_step: Count | None
    elapsed_s: float
    sequences_per_s: float | None = None
    tokens_per_s: float | None = None
    engine: str
    precision: Precision = "float32"
    device: str
    threads: Size
    versions: dict[str, str] = {}
    divergence: dict[str, JsonValue] | None = None
    data: dict[str, JsonValue] = {}
    own_task: Traits | None = None
    imported: str | None = None

    def fault_beside(self, config: Config) -> str | None:
        """What is wrong with the summary beside the config of its run, in words; None if nothing is."""
        model = config.model
        own = {"task": config.task.name, "cell": model.cell.name, "hidden_size": model.hidden_size, "seed": config.seed}
        for name, value in own.items():
            if getattr(self, name) != value:
                return f"{name} is {short(getattr(self, name))}, that of config.yaml is {short(value)}"
        return self._fault_of_figures()

    def _fault_of_figures(self) -> str | None:
        """The figures are not those of the task, or too large to be compared."""
        task = TASKS.get(self.task)
        if task is None and self.own_task is None:
            return f"lacks own_task, which says what {plain(self.task)} is"
        always: TaskMetric | None = getattr(task, "metric", None)  # None if the settings decide it
        if always is not None and (self.metric.name, self.metric.higher_is_better) != always[:2]:
            return f"metric is {short(self.metric.as_json())}, that of {self.task} is {always.name}"
        rate = f"{self.work_unit}_per_s" if task is None else f"{task.work_unit}_per_s"
        figures = {"best.value": self.best.value, "elapsed_s": self.elapsed_s, rate: self.throughput}
        for part, values in (("test", self.test), ("baseline", self.baseline)):
            if values is not None and self.metric.name not in values:
                return f"{part} lacks {self.metric.name}"
            figures |= {f"{part}.{name}": value for name, value in (values or {}).items()}
        rates = [key for key in self.as_json() if key.endswith("_per_s")]
        if rates != [rate]:
            return f"has {', '.join(map(plain, rates)) or 'nothing'} in the place of {rate}"
        large = [f"{plain(name)} is {value:g}" for name, value in figures.items() if abs(value or 0) > LARGEST]
        return f"{'; '.join(large[:MOST_FAULTS])}; at most {LARGEST:g} can be compared" if large else None

    @property
    def traits(self) -> Traits:
        """What is known of the task beside its metric."""
        return self.own_task or traits_of(TASKS[self.task])

    @property
    def judged_by(self) -> TaskMetric:
        """The metric of the task."""
        always: TaskMetric | None = getattr(TASKS.get(self.task), "metric", None)
        return always or TaskMetric(self.metric.name, self.metric.higher_is_better, self.metric.least, self.metric.most)

    @property
    def work_unit(self) -> str:
        """What the throughput counts."""
        return "tokens" if "tokens_per_s" in self.model_fields_set else "sequences"

    @property
    def throughput(self) -> float | None:
        """Sequences or tokens per second of training, whichever is the task's unit."""
        return self.sequences_per_s if self.tokens_per_s is None else self.tokens_per_s


class MetricsRecord(Record):
    """One evaluation, or the training since the record before: a line of `metrics.jsonl`.

    Further fields are the metrics of the task, its main metric first.

    split : `train` for means over training steps, `valid` for an evaluation.
    loss : without penalties.
    lr : the learning rate of the last update.
    grad_norm : before clipping.
    elapsed_s : seconds since the start of the run, interruptions left out.
    skipped_steps : training steps so far that changed nothing; only where steps may be skipped.
    """

    __pydantic_extra__: dict[str, float | None]

    step: Count
    split: str
    loss: float | None = None
    lr: float | None = None
    grad_norm: float | None = None
    elapsed_s: float
    sequences_per_s: float | None = None
    tokens_per_s: float | None = None
    skipped_steps: Count | None = None

    @property
    def metrics(self) -> dict[str, float | None]:
        """The metrics of the task by name; the main metric comes first."""
        return self.__pydantic_extra__

    def as_json(self) -> dict[str, Any]:
        """The record as JSON data: the main metric stands behind the loss, the others stand at the end."""
        values = super().as_json()
        first = ["step", "split", "loss", *list(self.metrics)[:1]]
        return {name: values[name] for name in dict.fromkeys([*first, *values]) if name in values}

    def line(self) -> str:
        """The record as one line of JSON."""
        return strict_json.dumps(self.as_json())


def _in_words(errors: list[ErrorDetails]) -> str:
    """Pydantic's own words, "Input should be a valid integer", with the place and what stands there."""
    if not errors[0]["loc"]:  # of the whole text
        return f"is not a JSON object ({errors[0]['msg']})"
    missing, faults = [], []
    for error in errors:
        place = ".".join(plain(str(part)) for part in error["loc"] if part not in ("one", "each"))
        if error["type"] == "missing":
            missing.append(place)
        else:
            faults.append(f"{place} is {short(error['input'])}; {error['msg'].replace('Input', 'it', 1)}")
    lacks = [f"lacks {', '.join(missing)}"] if missing else []
    return "; ".join(lacks + faults[:MOST_FAULTS])
