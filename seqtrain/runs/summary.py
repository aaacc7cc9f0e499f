"""What summary.json says of a run, field by field: people and other programs may have written in it."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from seqtrain.system.errors import plain, short
from seqtrain.tasks import TASKS

LARGEST = 1e150
"""Figure: its square, and the sum of many, are numbers still."""

TOLD = 5
"""Faults of one summary that are told."""

Count = Annotated[int, Field(ge=0)]
Size = Annotated[int, Field(ge=1)]
Figure = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]

Figures = dict[str, Figure | None]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class _Metric(_Part):
    name: str
    higher_is_better: bool


class _Best(_Part):
    step: Count | None
    value: Figure | None


class Summary(_Part):
    """The fields that are printed or compared; there may be more."""

    status: Literal["solved", "finished", "diverged", "interrupted"]
    task: str
    variant: str
    cell: str
    direction: str
    depth: Size
    hidden_size: Annotated[list[Size], BeforeValidator(lambda value: value if isinstance(value, list) else [value])]
    parameters: Size
    seed: Count
    steps: Count
    skipped_steps: Count = 0
    planned_steps: Size
    metric: _Metric
    best: _Best
    test: Figures | None
    baseline: Figures
    solved_at_step: Count | None
    elapsed_s: Figure
    sequences_per_s: Figure | None = None
    tokens_per_s: Figure | None = None
    engine: str
    device: str
    threads: Size


def fault_of(summary: dict[str, Any], config: Mapping[str, Any]) -> str | None:
    """What is wrong with a summary beside the config of its run, in words; None if nothing is."""
    try:
        Summary.model_validate(summary)
    except ValidationError as error:
        return _told(error.errors())
    own = {"task": config["task"]["name"], "cell": config["model"]["cell"]["name"]}
    own |= {"hidden_size": config["model"]["hidden_size"], "seed": config["seed"]}
    for name, value in own.items():
        if summary[name] != value:
            return f"{name} is {short(summary[name])}, that of config.yaml is {short(value)}"
    return _other_task(summary)


def _other_task(summary: dict[str, Any]) -> str | None:
    """That the figures are not those of the task."""
    task, name = TASKS[summary["task"]], TASKS[summary["task"]].metric.name
    if (summary["metric"]["name"], summary["metric"]["higher_is_better"]) != task.metric[:2]:
        return f"metric is {short(summary['metric'])}, that of {summary['task']} is {name}"
    for part in ("test", "baseline"):
        if summary[part] is not None and name not in summary[part]:
            return f"{part} lacks {name}"
    rates = [key for key in summary if key.endswith("_per_s")]
    if rates != [f"{task.work_unit}_per_s"]:
        return f"has {', '.join(map(plain, rates)) or 'nothing'} in the place of {task.work_unit}_per_s"
    return None


def _told(errors: list[ErrorDetails]) -> str:
    lacks = [_place(error) for error in errors if error["type"] == "missing"]
    others = [error for error in errors if error["type"] != "missing"]
    told = [f"lacks {', '.join(lacks)}"] if lacks else []
    told += [f"{_place(error)} is {short(error['input'])}; {_should(error)}" for error in others[:TOLD]]
    return "; ".join(told)


def _place(error: ErrorDetails) -> str:
    return ".".join(plain(str(part)) for part in error["loc"])


def _should(error: ErrorDetails) -> str:
    """Pydantic's own words: "Input should be a valid integer"."""
    return error["msg"].replace("Input", "it", 1)
