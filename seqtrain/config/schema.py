"""A whole config, and its sections by name. Each setting is declared in the class that it sets."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from seqtrain.models.head import SOFTMAXES
from seqtrain.models.settings import CELL_SECTIONS, Model, UserCell
from seqtrain.native.storage import Precision
from seqtrain.system.settings import Affects, Declared, Named, OneOf, Section, UserClass, section_of
from seqtrain.tasks import TASKS
from seqtrain.training.optimizers import OPTIMIZERS, Adam, Optimizer
from seqtrain.training.schedules import SCHEDULES, Constant, Schedule
from seqtrain.training.settings import Train

TASK_SECTIONS = {name: section_of(task, name, Declared) for name, task in TASKS.items()}
"""The sections of the built-in tasks."""


class UserTask(UserClass):
    """A task of the user's own."""


class Config(Section):
    """A whole run."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Of the parameters, the data and the dropout."""
    device: Annotated[str, Field(pattern=r"^(cpu|cuda(:\d+)?)$"), Affects.SPEED] = "cpu"
    """Where to compute: cpu, cuda, or cuda:1 and so on."""
    threads: Annotated[Annotated[int, Field(ge=1, le=4096)] | None, Affects.MACHINE] = None
    """CPU threads; null for what PyTorch finds. Results repeat to the byte only with the same number."""
    engine: Annotated[Literal["auto", "reference", "fused"], Affects.SPEED] = "auto"
    """What runs the cells over time: fused is the compiled engine (on the CPU, for the cells that it has a kernel for;
    on a GPU cuDNN, or kernels in Triton), reference the plain loop, auto the fused one wherever it serves. All but
    reference also use the compiled engine for large output layers on the CPU."""
    precision: Precision = "float32"
    """Of the factors of matrix products. bfloat16 keeps 8 significant bits, and is faster on processors made for it;
    weights, states, sums and the optimizer stay in float32."""
    task: Annotated[Named, OneOf(TASK_SECTIONS, others=UserTask)]
    """What to learn; `module:Class` is your own, the class of that name in module.py. With options: {name: ...,
    option: ...}."""
    model: Model
    """The network."""
    optimizer: Annotated[Optimizer, OneOf(OPTIMIZERS)] = Adam()
    """How the weights move."""
    schedule: Annotated[Schedule, OneOf(SCHEDULES)] = Constant()
    """How the learning rate changes."""
    train: Train = Train()
    """The loop."""


NAMED: dict[tuple[str, ...], Mapping[str, type[Named]]] = {
    ("task",): TASK_SECTIONS,
    ("model", "cell"): CELL_SECTIONS,
    ("optimizer",): OPTIMIZERS,
    ("model", "softmax"): SOFTMAXES,
    ("schedule",): SCHEDULES,
}
"""The sections that are chosen by a name, which may stand alone for the section: where they are, and their classes."""

USER_CLASSES: dict[tuple[str, ...], type[UserClass]] = {("task",): UserTask, ("model", "cell"): UserCell}
"""The sections that may name a class of the user's own: where they are, and what they then are."""
