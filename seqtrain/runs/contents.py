"""What a checkpoint holds, entry by entry: of which type, within which bounds.

Strict: no type is made of another, no entry is missing, and none is there that nobody reads.
"""

from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)
from torch import Tensor

from seqtrain.system.errors import CheckpointError


def _dense(tensor: Tensor) -> Tensor:
    """A tensor that shows all of its memory, once."""
    if not tensor.is_contiguous() or tensor.numel() * tensor.element_size() != tensor.untyped_storage().nbytes():
        raise ValueError("shows its numbers otherwise than one after another")
    return tensor


def _exact(value: Any) -> Any:
    """A number of Python's, rather than whatever can be made one, such as a tensor."""
    if type(value) not in (float, int):
        raise ValueError("must be a number")
    return value


Dense = Annotated[Tensor, AfterValidator(_dense)]
Finite = Annotated[float, BeforeValidator(_exact)]
Whole = Annotated[int, Field(ge=0, le=2**40)]
Size = Annotated[int, Field(ge=1, le=2**31)]


class _Entries(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True)


class OptimizerEntries(_Entries):
    """What torch's optimizers give as their state: that of each parameter by its number, and the settings."""

    state: dict[Whole, dict[str, Dense | None]]
    param_groups: Annotated[list[dict[str, JsonValue | tuple[float, ...]]], Field(min_length=1, max_length=1)]


class AverageEntries(_Entries):
    """See `average.Average`."""

    count: Whole
    weights: dict[str, Dense]


class TrainingEntries(_Entries):
    """See `train_state.TrainState`."""

    step: Whole
    evaluated_at: Whole
    best_step: Whole | None
    best_value: Finite | None
    stalled: Whole
    cuts: Whole
    stalled_since_cut: Whole
    solved_at_step: Whole | None
    window_loss: Finite
    window_norm: Finite
    window_steps: Whole
    skipped_steps: Whole
    losses: Annotated[list[Finite], Field(fail_fast=True)]
    carried: list[list[tuple[Dense, ...]]] | None
    optimizer: OptimizerEntries
    average: AverageEntries | None

    @model_validator(mode="after")
    def _in_order(self) -> "TrainingEntries":
        if not max(self.best_step or 0, self.solved_at_step or 0) <= self.evaluated_at <= self.step:
            raise ValueError("evaluations come after the step where the run stands")
        if (self.best_step is None) != (self.best_value is None):
            raise ValueError("the best evaluation has a step or a value, but not both")
        return self


class Contents(_Entries):
    """A whole checkpoint.

    format : of the file.
    config : the resolved config, which the config's own schema checks.
    variant : of the task.
    fingerprints : hashes of the task's fixed sets.
    spec : what the model takes and gives, see `tasks.Spec`.
    vocabulary, counts : the tokens of a text model and how often each stood in its training text.
    model : the weights.
    training : the rest of the training state.
    """

    format: int
    config: dict[str, JsonValue]
    variant: str
    fingerprints: dict[str, str]
    spec: tuple[Size, bool, Size, bool, bool]
    vocabulary: Annotated[list[str], Field(fail_fast=True)] | None
    counts: Annotated[list[Whole], Field(fail_fast=True)] | None
    model: dict[str, Dense]
    training: TrainingEntries

    @model_validator(mode="after")
    def _vocabulary_fits(self) -> "Contents":
        task = self.config.get("task")
        if isinstance(task, dict) and task.get("name") == "language_model" and None in (self.vocabulary, self.counts):
            raise ValueError("a language model has a vocabulary with counts")
        if self.vocabulary is None:
            if self.counts is not None:
                raise ValueError("there are counts without a vocabulary")
            return self
        if not len(self.vocabulary) == self.spec[0] == self.spec[2]:
            raise ValueError("the vocabulary does not fit the model")
        if len(set(self.vocabulary)) < len(self.vocabulary):
            raise ValueError("a token stands twice in the vocabulary")
        if self.counts is not None and len(self.counts) != len(self.vocabulary):
            raise ValueError("the vocabulary does not fit its counts")
        return self


def check_contents(content: Any) -> None:
    """Refuse contents that make no sense.

    Raises
    ------
    CheckpointError : saying what is wrong, not where.
    """
    try:
        Contents.model_validate(content)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in fault["loc"] if not _is_of_pydantic(part))
        told = fault["msg"].removeprefix("Value error, ")
        where = f"{place[:80]!r}: " if place else ""
        raise CheckpointError(f"is damaged (its contents make no sense: {where}{told})") from None
    except RecursionError:
        raise CheckpointError("is damaged (its contents are nested too deeply)") from None


def _is_of_pydantic(part: int | str) -> bool:
    """Whether a part of a place is the name of a type that was tried there, rather than of an entry."""
    return isinstance(part, str) and (part in {"float", "int", "str", "bool", "list", "dict"} or "[" in part)
