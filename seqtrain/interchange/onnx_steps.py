"""The equations of one time step of each cell in ONNX; `seqtrain.cells` has them in words."""

from collections.abc import Sequence
from typing import cast

import torch

from seqtrain.cells import GRUCell, RNNCell
from seqtrain.cells.base import GateCell
from seqtrain.cells.lstm_kind import lstm_kind
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
    return _lstm(graph, cell, x_gates, state)


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


def _lstm(graph: Graph, cell: GateCell, x_gates: str, state: Sequence[str]) -> list[str]:
    """Every kind of LSTM. A gate that a cell lacks is 1."""
    kind = lstm_kind(cell)
    hidden, memory, *before = state
    sums = graph("Add", x_gates, _recurrent(graph, cell, hidden))
    named = dict(zip(cell.gates, graph.several("Split", len(cell.gates), sums, axis=1), strict=True))
    if kind.sees_gates:
        seen = graph.linear(graph("Concat", *before, axis=1), cell.get_parameter("w_gates"), None, "w_gates")
        for name, more in zip("ifo", graph.several("Split", 3, seen, axis=1), strict=True):
            named[name] = graph("Add", named[name], more)

    def gate(name: str, seen_cell: str) -> str | None:
        if name not in named:
            return None
        gate_sum = named[name]
        if name in kind.peepholes:
            row = cell.get_parameter("p")[kind.peepholes.index(name)]
            peephole = graph.constant(row, f"p_{name}")
            gate_sum = graph("Add", gate_sum, graph("Mul", peephole, seen_cell))
        return graph("Sigmoid", gate_sum)

    f = gate("f", memory)
    i = graph("Sub", graph.constant(torch.ones(1), "one"), f) if kind.is_coupled and f else gate("i", memory)
    g = graph("Tanh", named["g"]) if kind.squashes_input else named["g"]
    kept = graph("Mul", f, memory) if f else memory
    new_memory = graph("Add", kept, graph("Mul", i, g) if i else g)
    o = gate("o", new_memory)
    squashed = graph("Tanh", new_memory) if kind.squashes_output else new_memory
    new_hidden = graph("Mul", o, squashed) if o else squashed
    remembered = [value for value in (i, f, o) if value] if before else []
    return [new_hidden, new_memory, *remembered]
