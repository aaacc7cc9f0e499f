"""A whole config, and its sections by name."""

from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from seqtrain.config.schema.base import Section
from seqtrain.config.schema.cells import BuiltInCell
from seqtrain.config.schema.model import AdaptiveSoftmax, FullSoftmax, Model
from seqtrain.config.schema.tasks import BuiltInTask
from seqtrain.config.schema.training import Adam, AdamW, Constant, Cosine, Plateau, RmsProp, Sgd, StepDecay, Train


class Config(Section):
    """A whole run."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Of the parameters, the data and the dropout."""
    device: Annotated[str, Field(pattern=r"^(cpu|cuda(:\d+)?)$")] = "cpu"
    """Where to compute: cpu, cuda, or cuda:1 and so on."""
    threads: Annotated[int, Field(ge=1, le=4096)] | None = None
    """CPU threads; null for what PyTorch finds. Results repeat to the byte only with the same number."""
    engine: Literal["auto", "reference", "fused"] = "auto"
    """What runs the cells over time: fused is the compiled engine (rnn, lstm, peephole, coupled and gru on the CPU),
    reference the plain loop, auto the fused one wherever it serves."""
    task: Annotated[BuiltInTask, Field(discriminator="name")]
    """What to learn."""
    model: Model
    """The network."""
    optimizer: Annotated[Adam | AdamW | Sgd | RmsProp, Field(discriminator="name")] = Adam(name="adam")
    """How the weights move."""
    schedule: Annotated[Constant | StepDecay | Plateau | Cosine, Field(discriminator="name")] = Constant(
        name="constant"
    )
    """How the learning rate changes."""
    train: Train = Train()
    """The loop."""


def by_name(union: Any) -> dict[str, type[Section]]:
    """The classes of a union of named sections, by name, e.g. `by_name(BuiltInTask)`."""
    return {get_args(cls.model_fields["name"].annotation)[0]: cls for cls in get_args(union)}


NAMED: dict[tuple[str, ...], dict[str, type[Section]]] = {
    ("task",): by_name(BuiltInTask),
    ("model", "cell"): by_name(BuiltInCell),
    ("optimizer",): by_name(Adam | AdamW | Sgd | RmsProp),
    ("model", "softmax"): by_name(FullSoftmax | AdaptiveSoftmax),
    ("schedule",): by_name(Constant | StepDecay | Plateau | Cosine),
}
"""The sections that are chosen by a name, which may stand alone for the section: where they are, and their classes."""

TAGGED = {*NAMED, ("model", "hidden_size"), ("task", "interval")}
"""Where pydantic puts a word of its own behind the key of a setting."""
