"""What a recurrent cell is. Unrolling, depth, direction and masks live elsewhere.

Sizes, here and everywhere: `T` steps, `B` batch, `I` input, `H` hidden, `G` gates, `V` vocabulary, `L` layers,
`D` directions. Sequences are time-major: `[T, B, ...]`.
"""

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

AnyCell = TypeVar("AnyCell", bound="Cell")
RecurrentInit = Literal["orthogonal", "uniform"]
Biases = Literal[1, 2]


class HiddenState(NamedTuple):
    """State of a cell that remembers in its output alone."""

    hidden: Tensor  # [B, H]


class LSTMState(NamedTuple):
    """State of a cell that keeps a memory apart from its output."""

    hidden: Tensor  # [B, H]
    cell: Tensor  # [B, H]


class Cell(nn.Module, ABC):
    """One recurrent cell: `project` is the input half, `step` the equations of one time step.

    A user's own cell derives from this class, takes `input_size` and `hidden_size` (and options of its own) in
    its constructor, and is named in a config as `my_cells:MyCell`. Its state is any NamedTuple of `[B, ...]`
    tensors whose first field is `hidden`. When a run diverges, the local variables of `step` are the names by which
    the report says where.

    Parameters
    ----------
    input_size : I, at least 1.
    hidden_size : H, at least 1.
    """

    transient: ClassVar[tuple[str, ...]] = ()
    """Fields of the state that are not memory: each step makes them anew, for the next to see. Zoneout passes them."""

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


def replaced(cell: AnyCell, **parameters: Tensor) -> AnyCell:
    """A cell that shares everything with another but some parameters; the other one stays as it is.

    Parameters
    ----------
    parameters : tensors by the names of the parameters that they stand for, e.g. `w_h`; gradients flow through them.

    Raises
    ------
    AttributeError : the cell has no parameter of that name.
    """
    unknown = parameters.keys() - cell._parameters.keys()
    if unknown:
        raise AttributeError(f"{type(cell).__name__} has no parameter {', '.join(sorted(unknown))}")
    twin = object.__new__(type(cell))
    twin.__dict__.update(cell.__dict__, _parameters=cell._parameters | parameters)
    return twin


class GateCell(Cell):
    """Parameters and initialisation that the built-in cells share; each brings its own `step`.

    Parameters
    ----------
    input_size, hidden_size : I and H.
    recurrent_init : `orthogonal` (Saxe et al. 2014) or `uniform`, U(-1/sqrt(H), 1/sqrt(H)), per gate block.
    learn_initial_state : the state before the first step becomes a parameter (from zero) instead of zero.
    biases : 2 trains the bias as the sum of two, as torch.nn and cuDNN do, so that it learns twice as fast.

    Attributes
    ----------
    w_x : `[G*H, I]` input weights, Glorot uniform per gate block (Glorot & Bengio 2010).
    w_h : `[G*H, H]` recurrent weights.
    b : `[G*H]` the bias, zero where a cell does not say otherwise.
    b_h : `[G*H]` the second one, from zero; None if `biases` is 1.
    initial_* : `[H]` one for each field of the state, if `learn_initial_state`.
    """

    b_h: nn.Parameter | None

    gates: tuple[str, ...]
    """Names of the gate blocks, in the order in which they stand in `w_x`, `w_h` and `b`."""

    state_type: type[Any]
    """The NamedTuple of the state; each field is `[B, H]`."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        recurrent_init: RecurrentInit = "orthogonal",
        learn_initial_state: bool = False,
        biases: Biases = 1,
    ) -> None:
        super().__init__(input_size, hidden_size)
        rows = len(self.gates) * hidden_size
        self.w_x = nn.Parameter(torch.empty(rows, input_size))
        self.w_h = nn.Parameter(torch.empty(rows, hidden_size))
        self.b = nn.Parameter(torch.zeros(rows))
        self.register_parameter("b_h", nn.Parameter(torch.zeros(rows)) if biases == 2 else None)
        self.learn_initial_state = learn_initial_state
        if learn_initial_state:
            for field in self.state_type._fields:
                self.register_parameter(f"initial_{field}", nn.Parameter(torch.zeros(hidden_size)))
        self._initialise(recurrent_init)

    def _initialise(self, recurrent_init: RecurrentInit) -> None:
        for gate in self.gates:
            nn.init.xavier_uniform_(self.block(self.w_x, gate))
            init_recurrent(self.block(self.w_h, gate), recurrent_init)

    def block(self, parameter: Tensor, gate: str) -> Tensor:
        """The rows of `w_x`, `w_h` or `b` that belong to one gate, as a view without gradient."""
        start = self.gates.index(gate) * self.hidden_size
        return parameter.detach()[start : start + self.hidden_size]

    def project(self, x: Tensor) -> Tensor:
        """`W_x x + b` for all steps in one matrix product: `[T, B, I]` to `[T, B, G*H]`."""
        return F.linear(x, self.w_x, self.bias())

    def bias(self) -> Tensor:
        """What is added to the gates, `[G*H]`."""
        return self.b if self.b_h is None else self.b + self.b_h

    def initial_state(self, batch_size: int) -> Any:
        """Zeros, or the learnt initial state for every sequence of the batch."""
        if self.learn_initial_state:
            rows = (getattr(self, f"initial_{field}") for field in self.state_type._fields)
            return self.state_type(*(row.expand(batch_size, -1) for row in rows))
        zeros = self.w_h.new_zeros(batch_size, self.hidden_size)
        return self.state_type(*(zeros for _ in self.state_type._fields))


def init_recurrent(block: Tensor, recurrent_init: RecurrentInit) -> None:
    """Draw the `[H, H]` weights from one gate, or from the output, to one gate, in place."""
    if recurrent_init == "orthogonal":
        nn.init.orthogonal_(block)
    else:
        bound = 1 / math.sqrt(len(block))
        nn.init.uniform_(block, -bound, bound)


def init_memory(forget: Tensor, input_gate: Tensor | None, forget_bias: float | None, chrono: int | None) -> None:
    """Set the biases that decide how long a new network remembers, in place.

    Parameters
    ----------
    forget : `[H]` bias block of the gate that multiplies the old state.
    input_gate : `[H]` bias block of a separate gate for the new value, if the cell has one.
    forget_bias : the constant for `forget`; None means 1 (Gers et al. 2000; Jozefowicz et al. 2015).
    chrono : the longest dependency expected, in steps. Draws `forget ~ log U[1, chrono - 1]` and sets
        `input_gate = -forget` (Tallec & Ollivier 2018, eq. 16).

    Raises
    ------
    ValueError : both are given, or chrono is below 3.
    """
    if chrono is None:
        nn.init.constant_(forget, 1.0 if forget_bias is None else forget_bias)
        return
    if forget_bias is not None:
        raise ValueError("forget_bias and chrono both set the forget bias; give one of them")
    if chrono < 3:
        raise ValueError(f"chrono is {chrono}; it must be at least 3 steps")
    forget.uniform_(1, chrono - 1).log_()
    if input_gate is not None:
        input_gate.copy_(-forget)
