"""The equations of one time step of each cell in ONNX; `seqtrain.cells` has them in words."""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor

from seqtrain.cells import CoupledCell, GRUCell, LSTMCell, OdysseyCell, PeepholeCell, RNNCell
from seqtrain.cells.base import GateCell
from seqtrain.interchange.onnx_graph import Graph
from seqtrain.models.zoneout import Zoneout


def add_step(graph: Graph, cell: GateCell | Zoneout, x_gates: str, state: Sequence[str]) -> list[str]:
    """Add a step of a built-in cell, with zoneout around it or not.

    Parameters
    ----------
    x_gates : `[B, G*H]`, what the cell's `project` gives.
    state : the fields of the old state, `[B, H]` each.

    Returns
    -------
    The fields of the new state.
    """
    if isinstance(cell, Zoneout):
        gates = cast("GateCell", cell.cell)
        mixed = zip(add_step(graph, gates, x_gates, state), state, cell.rates(gates.state_type._fields), strict=True)
        return [_zoned_out(graph, new, old, rate) for new, old, rate in mixed]
    if isinstance(cell, RNNCell):
        sums = graph("Add", x_gates, _recurrent(graph, cell, state[0]))
        return [graph(cell.nonlinearity.capitalize(), sums)]
    if isinstance(cell, GRUCell):
        return [_gru(graph, cell, x_gates, state[0])]
    return _lstm(graph, cell, _traits(cell), x_gates, state)


def _zoned_out(graph: Graph, new: str, old: str, rate: float) -> str:
    """`new + rate * (old - new)`, as zoneout is in evaluation."""
    if rate == 0:
        return new
    return graph("Add", new, graph("Mul", graph.constant(torch.tensor([rate])), graph("Sub", old, new)))


def _recurrent(graph: Graph, cell: GateCell, h: str) -> str:
    """`W_h h`, `[B, G*H]`."""
    return graph.linear(h, cell.w_h, None, "w_h")


def _gru(graph: Graph, cell: GRUCell, x_gates: str, h: str) -> str:
    H = cell.hidden_size
    x_rz, x_n = graph.several("Split", 2, x_gates, graph.constant([2 * H, H]), axis=1)
    w_rz, w_n = cell.w_h[: 2 * H], cell.w_h[2 * H :]
    gates = graph("Sigmoid", graph("Add", x_rz, graph.linear(h, w_rz, None, "w_h_rz")))
    r, z = graph.several("Split", 2, gates, axis=1)
    if cell.b_hn is None:
        seen = graph.linear(graph("Mul", r, h), w_n, None, "w_h_n")
    else:
        seen = graph("Mul", r, graph.linear(h, w_n, cell.b_hn, "w_h_n"))
    n = graph("Tanh", graph("Add", x_n, seen))
    return graph("Add", n, graph("Mul", z, graph("Sub", h, n)))  # (1 - z) * n + z * h


class _Traits(NamedTuple):
    """How a cell differs from the LSTM.

    peepholes : the peephole of a gate, `[H]`.
    is_coupled : the input gate is 1 - f.
    squashes_input, squashes_output : tanh of the candidate, and of the cell.
    w_gates : `[3H, 3H]`, what the gates see of those of the step before; None if they do not.
    """

    peepholes: dict[str, Tensor] = {}  # noqa: RUF012  # nothing changes it
    is_coupled: bool = False
    squashes_input: bool = True
    squashes_output: bool = True
    w_gates: Tensor | None = None


def _traits(cell: GateCell) -> _Traits:
    if isinstance(cell, LSTMCell):
        return _Traits()
    if isinstance(cell, PeepholeCell):
        return _Traits(dict(zip("ifo", cell.p, strict=True)))
    if isinstance(cell, CoupledCell):
        return _Traits({} if cell.p is None else dict(zip("fo", cell.p, strict=True)), is_coupled=True)
    assert isinstance(cell, OdysseyCell)
    return _Traits(
        {} if cell.p is None else dict(zip(cell.peepholes, cell.p, strict=True)),
        is_coupled=cell.ablation == "coupled",
        squashes_input=cell.ablation != "no_input_activation",
        squashes_output=cell.ablation != "no_output_activation",
        w_gates=cell.w_gates,
    )


def _lstm(graph: Graph, cell: GateCell, traits: _Traits, x_gates: str, state: Sequence[str]) -> list[str]:
    """Every kind of LSTM. A gate that a cell lacks is 1."""
    hidden, memory, *before = state
    sums = graph("Add", x_gates, _recurrent(graph, cell, hidden))
    named = dict(zip(cell.gates, graph.several("Split", len(cell.gates), sums, axis=1), strict=True))
    if traits.w_gates is not None:
        seen = graph.linear(graph("Concat", *before, axis=1), traits.w_gates, None, "w_gates")
        for name, more in zip("ifo", graph.several("Split", 3, seen, axis=1), strict=True):
            named[name] = graph("Add", named[name], more)

    def gate(name: str, seen_cell: str) -> str | None:
        if name not in named:
            return None
        gate_sum = named[name]
        if name in traits.peepholes:
            peephole = graph.constant(traits.peepholes[name], f"p_{name}")
            gate_sum = graph("Add", gate_sum, graph("Mul", peephole, seen_cell))
        return graph("Sigmoid", gate_sum)

    f = gate("f", memory)
    i = (
        graph("Sub", graph.constant(cell.get_parameter("b").new_ones(1)), f)
        if traits.is_coupled and f
        else gate("i", memory)
    )
    g = graph("Tanh", named["g"]) if traits.squashes_input else named["g"]
    kept = graph("Mul", f, memory) if f else memory
    new_memory = graph("Add", kept, graph("Mul", i, g) if i else g)
    o = gate("o", new_memory)
    squashed = graph("Tanh", new_memory) if traits.squashes_output else new_memory
    new_hidden = graph("Mul", o, squashed) if o else squashed
    remembered = [value for value in (i, f, o) if value] if before else []
    return [new_hidden, new_memory, *remembered]
