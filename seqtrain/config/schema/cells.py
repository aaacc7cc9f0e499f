"""Settings of the cells."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, JsonValue, Tag

from seqtrain.config.schema.base import Section, name_of


class Recurrent(Section):
    """What all built-in cells take."""

    recurrent_init: Literal["orthogonal", "uniform"] = "orthogonal"
    """How w_h starts: orthogonal per gate, or uniform within 1/sqrt(hidden_size)."""
    learn_initial_state: bool = False
    """Learn the state before the first step instead of starting from zero."""


class Gated(Recurrent):
    """What cells with a gate on their memory take."""

    forget_bias: float | None = None
    """Initial bias of the gate that multiplies the old state; null for 1."""
    chrono: Annotated[int, Field(ge=3, le=1_000_000_000)] | None = None
    """Longest dependency in steps, for chrono initialisation instead of a constant forget bias."""


class _TwoBiases(Recurrent):
    biases: Literal[1, 2] = 1
    """2 trains the bias as the sum of two, as torch.nn and cuDNN do, so that it learns twice as fast."""


class Rnn(_TwoBiases):
    """The plain RNN."""

    name: Literal["rnn"]
    nonlinearity: Literal["tanh", "relu"] = "tanh"
    """The activation."""


class Lstm(Gated, _TwoBiases):
    """The LSTM."""

    name: Literal["lstm"]


class Peephole(Gated):
    """The LSTM with peephole connections."""

    name: Literal["peephole"]


class Coupled(Gated):
    """The LSTM with coupled input and forget gates."""

    name: Literal["coupled"]
    peepholes: bool = False
    """Let the gates see the cell."""


class Gru(Gated):
    """The gated recurrent unit."""

    name: Literal["gru"]
    reset: Literal["after", "before"] = "after"
    """Apply the reset gate after the recurrent product (PyTorch, cuDNN) or before it (Cho et al. 2014)."""


class Odyssey(Gated):
    """The peephole LSTM with one thing taken away or added."""

    name: Literal["odyssey"]
    ablation: Literal[
        "none",
        "no_input_gate",
        "no_forget_gate",
        "no_output_gate",
        "no_input_activation",
        "no_output_activation",
        "no_peepholes",
        "coupled",
        "full_gate_recurrence",
    ] = "none"
    """What differs from the peephole LSTM (Greff et al. 2017)."""


class UserCell(Section):
    """A cell of the user's own; keys beside `name` go to its constructor."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue]

    name: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
    """`module:Class`; the module is looked for in the current folder, beside the config, and on Python's path."""
    folder: str | None = None
    """Where the module lies; null for what the search found, which is then noted here. It is not followed when a
    checkpoint names it."""


BuiltInCell = Rnn | Lstm | Peephole | Coupled | Gru | Odyssey


def _cell_tag(section: Any) -> str | None:
    name = name_of(section)
    return "user" if name is not None and ":" in name else name


Cell = Annotated[
    Annotated[Rnn, Tag("rnn")]
    | Annotated[Lstm, Tag("lstm")]
    | Annotated[Peephole, Tag("peephole")]
    | Annotated[Coupled, Tag("coupled")]
    | Annotated[Gru, Tag("gru")]
    | Annotated[Odyssey, Tag("odyssey")]
    | Annotated[UserCell, Tag("user")],
    Discriminator(_cell_tag),
]
