"""The peephole LSTM with one thing changed, to see what that thing is for."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqtrain.cells.base import LSTMState, MemoryCell, init_recurrent

Ablation = Literal[
    "none",
    "no_input_gate",
    "no_forget_gate",
    "no_output_gate",
    "no_input_activation",
    "no_output_activation",
    "no_peepholes",
    "coupled",
    "full_gate_recurrence",
]

TAKEN: dict[str, str] = {"no_input_gate": "i", "no_forget_gate": "f", "no_output_gate": "o", "coupled": "i"}
"""The block of parameters that an ablation takes away."""


class GatesState(NamedTuple):
    """State of an LSTM whose gates see those of the step before."""

    hidden: Tensor  # [B, H]
    cell: Tensor  # [B, H]
    i: Tensor  # [B, H]
    f: Tensor  # [B, H]
    o: Tensor  # [B, H]


@dataclass(eq=False, repr=False, kw_only=True)
class OdysseyCell(MemoryCell):
    r"""Peephole LSTM with one thing taken away or added (Greff et al. 2017, "LSTM: A Search Space Odyssey").

        i  = sigmoid(W_xi x + W_hi h + p_i * c  + b_i)          input gate
        f  = sigmoid(W_xf x + W_hf h + p_f * c  + b_f)          forget gate
        g  = tanh(W_xg x + W_hg h + b_g)                        candidate
        c' = f * c + i * g                                      cell
        o  = sigmoid(W_xo x + W_ho h + p_o * c' + b_o)          output gate: sees the NEW cell
        h' = o * tanh(c')                                       hidden

    What each `ablation` puts in place of that; the paper's name for it at the right:

        none                    nothing: the peephole LSTM      V
        no_input_gate           i  = 1                          NIG
        no_forget_gate          f  = 1                          NFG
        no_output_gate          o  = 1                          NOG
        no_input_activation     g  = W_xg x + W_hg h + b_g      NIAF
        no_output_activation    h' = o * c'                     NOAF
        no_peepholes            p_i = p_f = p_o = 0             NP
        coupled                 i  = 1 - f                      CIFG
        full_gate_recurrence    the sums inside i, f and o      FGR
                                each gain R_i i_ + R_f f_ + R_o o_
                                with matrices R of their own; i_, f_, o_
                                are the gates of the step before

    Parameters
    ----------
    w_x [4H, I], w_h [4H, H], b [4H]; blocks i, f, g, o. Peepholes p [3, H]; rows i, f, o. A gate that is constant, or
    1 - f, has no block and no row; no_peepholes has no p. full_gate_recurrence also has w_gates [3H, 3H]; rows by the
    gate that sees, columns by the gate that is seen, both i, f, o.

    Initialisation
    --------------
    As the peephole LSTM; each block of w_gates like one of w_h; i_, f_ and o_ of the first step zero. no_forget_gate
    takes no forget_bias and no chrono.

    Differs from the paper: there `coupled` keeps the input gate, f = 1 - i, which is the same with the signs of that
    gate's parameters turned.

    The plain loop runs it. Three ablations have a faster twin with the same parameters: `none` is `peephole`,
    `no_peepholes` is `lstm`, `coupled` is `{name: coupled, peepholes: true}`.
    """

    transient = ("i", "f", "o")
    state_type = cast("type[Any]", LSTMState)

    ablation: Ablation = "none"
    """What differs from the peephole LSTM (Greff et al. 2017)."""

    def __post_init__(self) -> None:
        """Make the parameters and draw them."""
        if self.ablation not in get_args(Ablation):
            raise ValueError(f"ablation is {self.ablation!r}; choose one of {', '.join(get_args(Ablation))}")
        recurs = self.ablation == "full_gate_recurrence"
        self.gates = tuple(gate for gate in "ifgo" if gate != TAKEN.get(self.ablation))
        self.state_type = GatesState if recurs else LSTMState
        super().__post_init__()
        self.peepholes = tuple(gate for gate in self.gates if gate != "g" and self.ablation != "no_peepholes")
        H = self.hidden_size
        self.p = nn.Parameter(torch.zeros(len(self.peepholes), H)) if self.peepholes else None
        self.w_gates = nn.Parameter(torch.empty(3 * H, 3 * H)) if recurs else None
        if self.w_gates is not None:
            for rows in self.w_gates.detach().chunk(3):
                for block in rows.chunk(3, -1):
                    init_recurrent(block, self.recurrent_init)
        if "f" in self.gates:
            self.init_memory("i" if "i" in self.gates else None)
        elif self.forget_bias is not None or self.chrono is not None:
            raise ValueError("no_forget_gate has no forget bias to set; leave out forget_bias and chrono")

    @classmethod
    def faults(cls, settings: Any) -> Iterator[tuple[str, str]]:
        """Settings of a gate that the ablation takes away."""
        yield from super().faults(settings)
        for name in ("forget_bias", "chrono") if settings.ablation == "no_forget_gate" else ():
            if getattr(settings, name) is not None:
                yield (
                    name,
                    f"is {getattr(settings, name)!r}, but ablation 'no_forget_gate' has no forget bias to set; "
                    "remove it",
                )

    @classmethod
    def has_forget_bias(cls, settings: Any) -> bool:
        """Likewise, if there is a forget gate."""
        return settings.ablation != "no_forget_gate" and super().has_forget_bias(settings)

    def step(self, x_gates: Tensor, state: Any) -> Any:
        """One step: `[B, G*H]` and the old state to the new state."""
        sums = self._sums(x_gates, state)
        f = self._gate("f", sums, state.cell)
        i = 1 - f if self.ablation == "coupled" else self._gate("i", sums, state.cell)
        g = self.observe(g=sums["g"] if self.ablation == "no_input_activation" else torch.tanh(sums["g"]))
        cell = self.observe(cell=f * state.cell + i * g)
        o = self._gate("o", sums, cell)
        hidden = o * (cell if self.ablation == "no_output_activation" else torch.tanh(cell))
        return self.state_type(hidden, cell, *(() if self.w_gates is None else (i, f, o)))

    def _sums(self, x_gates: Tensor, state: Any) -> dict[str, Tensor]:
        """What the candidate and each gate squash, `[B, H]`, but for the peepholes."""
        sums = torch.addmm(x_gates, state.hidden, self.w_h.t()).chunk(len(self.gates), -1)
        named = dict(zip(self.gates, sums, strict=True))
        if self.w_gates is not None:
            seen = F.linear(torch.cat((state.i, state.f, state.o), -1), self.w_gates).chunk(3, -1)
            named |= {gate: named[gate] + more for gate, more in zip("ifo", seen, strict=True)}
        return named

    def _gate(self, gate: str, sums: dict[str, Tensor], cell: Tensor) -> Tensor | float:
        """A gate that sees `cell` through its peephole; 1 if it was taken away."""
        if gate not in sums:
            return 1.0
        gate_sum = sums[gate]
        if self.p is not None:
            gate_sum = gate_sum + self.p[self.peepholes.index(gate)] * cell
        gate_values: Tensor = self.observe(**{gate: torch.sigmoid(gate_sum)})
        return gate_values
