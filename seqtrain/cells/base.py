"""What a recurrent cell is. Unrolling, depth, direction and masks live elsewhere.

Sizes, here and everywhere: `T` steps, `B` batch, `I` input, `H` hidden, `G` gates, `V` vocabulary, `L` layers,
`D` directions. Sequences are time-major: `[T, B, ...]`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from seqtrain.system.settings import Configurable, Null

RecurrentInit = Literal["orthogonal", "uniform"]


class HiddenState(NamedTuple):
    """State of a cell that remembers in its output alone."""

    hidden: Tensor  # [B, H]


class LSTMState(NamedTuple):
    """State of a cell that keeps a memory apart from its output."""

    hidden: Tensor  # [B, H]
    cell: Tensor  # [B, H]


class Cell(Configurable, nn.Module, ABC):
    """One recurrent cell: `project` is the input half, `step` the equations of one time step.

    A user's own cell derives from this class, takes `input_size` and `hidden_size` (and options of its own) in
    its constructor, and is named in a config as `my_cells:MyCell`. Its state is any NamedTuple of `[B, ...]`
    tensors whose first field is `hidden`. It passes what others may want to look at, such as its gates, through
    `observe`; `seqtrain.recurrence.observe` and the report of a run that diverges use these names.

    Parameters
    ----------
    input_size : I, at least 1.
    hidden_size : H, at least 1.
    """

    transient: ClassVar[tuple[str, ...]] = ()
    """Fields of the state that are not memory: each step makes them anew, for the next to see. Zoneout passes them."""

    given: ClassVar[tuple[str, ...]] = ("input_size", "hidden_size")
    """Arguments of the constructor that the model gives; all others are settings, `model.cell.NAME` in a config."""

    keeps: ClassVar[str | None] = None
    """The gate that multiplies the old state, by the name that `observe` gives it; None if there is none."""

    initialisation: ClassVar[tuple[str, ...]] = ()
    """Settings of how the weights start, which have no effect under `model.init_range`."""

    observer: Callable[[dict[str, Tensor]], None] | None = None
    """Called with the activations that `step` names; None if nobody looks."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size

    @abstractmethod
    def project(self, x: Tensor) -> Tensor:
        """Everything that depends on the input alone, for all steps at once: `[T, B, I]` to `[T, B, ...]`."""

    @abstractmethod
    def step(self, x_gates: Tensor, state: Any) -> Any:
        """One time step: what `project` gave for this step `[B, ...]` and the old state, to the new state."""

    @abstractmethod
    def initial_state(self, batch_size: int) -> Any:
        """The state before the first step, for `batch_size` sequences."""

    def observe(self, **activations: Tensor) -> Any:
        """Name activations of the present step. They are returned as they are, so that `step` goes on with them:

            i, f = self.observe(i=torch.sigmoid(i), f=torch.sigmoid(f))

        Parameters
        ----------
        activations : `[B, ...]` each, by name. A gate has the name that it has in `gates`.

        Returns
        -------
        The same tensors in the same order; a single one as itself.
        """
        if self.observer is not None:
            self.observer(activations)
        values = tuple(activations.values())
        return values if len(values) > 1 else values[0]

    @classmethod
    def remembers_apart(cls) -> bool:
        """Whether the state may hold memory besides the output."""
        return True


@dataclass(eq=False, repr=False)
class GateCell(Cell):
    """Parameters and initialisation that the built-in cells share; each cell has its own `step`.

    Parameters
    ----------
    input_size, hidden_size : I and H.

    Attributes
    ----------
    gates : names of the gate blocks, in the order in which they stand in `w_x`, `w_h` and `b`.
    state_type : the NamedTuple of the state; each field is `[B, H]`.
    w_x : `[G*H, I]` input weights, Glorot uniform per gate block (Glorot & Bengio 2010).
    w_h : `[G*H, H]` recurrent weights.
    b : `[G*H]` the bias, zero where a cell does not say otherwise.
    initial_* : `[H]` one for each field of the state, if `learn_initial_state`.
    """

    gates = cast("tuple[str, ...]", ())
    state_type = cast("type[Any]", HiddenState)
    initialisation: ClassVar[tuple[str, ...]] = ("recurrent_init",)

    input_size: int
    hidden_size: int
    _: KW_ONLY
    recurrent_init: RecurrentInit = "orthogonal"
    """How w_h starts: orthogonal per gate (Saxe et al. 2014), or uniform within 1/sqrt(hidden_size)."""
    learn_initial_state: bool = False
    """Learn the state before the first step instead of starting from zero."""

    def __post_init__(self) -> None:
        """Make the parameters and draw them."""
        super().__init__(self.input_size, self.hidden_size)
        rows = len(self.gates) * self.hidden_size
        self.w_x = nn.Parameter(torch.empty(rows, self.input_size))
        self.w_h = nn.Parameter(torch.empty(rows, self.hidden_size))
        self._make_biases(rows)
        if self.learn_initial_state:
            for field in self.state_type._fields:
                self.register_parameter(f"initial_{field}", nn.Parameter(torch.zeros(self.hidden_size)))
        for gate in self.gates:
            nn.init.xavier_uniform_(self.block(self.w_x, gate))
            init_recurrent(self.block(self.w_h, gate), self.recurrent_init)

    def _make_biases(self, rows: int) -> None:
        self.b = nn.Parameter(torch.zeros(rows))

    @classmethod
    def remembers_apart(cls) -> bool:
        """Whether the state has another field than the output."""
        return len(cls.state_type._fields) > 1

    def block(self, parameter: Tensor, gate: str) -> Tensor:
        """The rows of `w_x`, `w_h` or `b` that belong to one gate, as a view without gradient."""
        start = self.gates.index(gate) * self.hidden_size
        return parameter.detach()[start : start + self.hidden_size]

    def project(self, x: Tensor) -> Tensor:
        """`W_x x + b` for all steps in one matrix product: `[T, B, I]` to `[T, B, G*H]`."""
        return F.linear(x, self.w_x, self.bias())

    def bias(self) -> Tensor:
        """What is added to the gates, `[G*H]`."""
        return self.b

    def initial_state(self, batch_size: int) -> Any:
        """Zeros, or the learnt initial state for every sequence of the batch."""
        if self.learn_initial_state:
            rows = (getattr(self, f"initial_{field}") for field in self.state_type._fields)
            return self.state_type(*(row.expand(batch_size, -1) for row in rows))
        zeros = self.w_h.new_zeros(batch_size, self.hidden_size)
        return self.state_type(*(zeros for _ in self.state_type._fields))


@dataclass(eq=False, repr=False, kw_only=True)
class TwoBiasCell(GateCell):
    """A cell that may train its bias as the sum of two.

    Attributes
    ----------
    b_h : `[G*H]` the second bias, from zero; None if `biases` is 1.
    """

    biases: Literal[1, 2] = 1
    """2 trains the bias as the sum of two, as torch.nn and cuDNN do, so that it learns twice as fast."""

    def _make_biases(self, rows: int) -> None:
        super()._make_biases(rows)
        self.b_h: nn.Parameter | None = nn.Parameter(torch.zeros(rows)) if self.biases == 2 else None

    def bias(self) -> Tensor:
        """What is added to the gates, `[G*H]`."""
        return self.b if self.b_h is None else self.b + self.b_h


FORGET_BIAS = 1.0
"""Of a new cell, unless a setting says otherwise."""


@dataclass(eq=False, repr=False, kw_only=True)
class MemoryCell(GateCell):
    """A cell with a gate that multiplies its old memory."""

    keeps: ClassVar[str | None] = "f"
    initialisation: ClassVar[tuple[str, ...]] = ("recurrent_init", "forget_bias", "chrono")

    forget_bias: Annotated[
        float | None, Null(FORGET_BIAS, when=lambda section: section.owner.has_forget_bias(section))
    ] = None
    """Initial bias of the gate that multiplies the old state (Gers et al. 2000; Jozefowicz et al. 2015); null for
    {null}, or for what chrono gives."""
    chrono: Annotated[int, Field(ge=3, le=1_000_000_000)] | None = None
    """Longest dependency in steps, for chrono initialisation instead of a constant forget bias (Tallec & Ollivier
    2018); null for none."""

    @classmethod
    def faults(cls, settings: Any) -> Iterator[tuple[str, str]]:
        """Two settings for one bias."""
        if settings.forget_bias is not None and settings.chrono is not None:
            yield (
                "chrono",
                f"is {settings.chrono} beside forget_bias {settings.forget_bias:g}, and both set the same bias; "
                "give one",
            )

    @classmethod
    def has_forget_bias(cls, settings: Any) -> bool:
        """Whether one number is the forget bias of all units."""
        return settings.chrono is None

    def init_memory(self, input_gate: str | None = None) -> None:
        """Set the biases that decide how long a new network remembers.

        Without `chrono` the bias of the gate that `keeps` names is `forget_bias`. With it that bias is
        `log U[1, chrono - 1]`, and the bias of `input_gate` its negative (Tallec & Ollivier 2018, eq. 16).

        Parameters
        ----------
        input_gate : a separate gate for the new value, if the cell has one.

        Raises
        ------
        ValueError : both settings are given, or chrono is below 3.
        """
        assert self.keeps is not None
        block = self.block(self.b, self.keeps)
        if self.chrono is None:
            nn.init.constant_(block, FORGET_BIAS if self.forget_bias is None else self.forget_bias)
            return
        if self.forget_bias is not None:
            raise ValueError("forget_bias and chrono both set the forget bias; give one of them")
        if self.chrono < 3:
            raise ValueError(f"chrono is {self.chrono}; it must be at least 3 steps")
        block.uniform_(1, self.chrono - 1).log_()
        if input_gate is not None:
            self.block(self.b, input_gate).copy_(-block)


def init_recurrent(block: Tensor, recurrent_init: RecurrentInit) -> None:
    """Draw the `[H, H]` weights from one gate, or from the output, to one gate, in place."""
    if recurrent_init == "orthogonal":
        nn.init.orthogonal_(block)
    else:
        bound = 1 / math.sqrt(len(block))
        nn.init.uniform_(block, -bound, bound)
