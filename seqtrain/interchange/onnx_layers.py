"""A layer of recurrent cells in ONNX, in one of two forms.

`op` : the operator LSTM, GRU or RNN. The operators know lengths, peepholes and coupled gates too, but some runtimes
    ignore these without an error (docs/export.md), so they are used only where every runtime has them right.
`scan` : the operator Scan around the equations of a step, which every runtime computes as they stand.
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor

from seqtrain.cells import OdysseyCell, RNNCell
from seqtrain.cells.base import GateCell
from seqtrain.interchange.content import Form
from seqtrain.interchange.gate_order import ONNX, TORCH, reordered
from seqtrain.interchange.onnx_graph import BOOL, INT32, Graph, Shape
from seqtrain.interchange.onnx_steps import add_step
from seqtrain.interchange.plain_cell import PlainCell, plain_cell
from seqtrain.models.zoneout import Zoneout


class Lengths(NamedTuple):
    """The lengths of the sequences.

    each : `[B]`.
    inside : `[T, B, 1]`, whether a step is none of padding.
    """

    each: str
    inside: str


def form_of(cell: GateCell | Zoneout, *, backward: bool, lengths: bool) -> Form:
    """The form that every runtime computes right.

    backward : whether a layer reads backward.
    """
    is_safe = why_no_operator(cell) is None and not ignored(cell, backward=backward, lengths=lengths)
    return "op" if is_safe else "scan"


def why_no_operator(cell: GateCell | Zoneout) -> str | None:
    """Why a cell cannot have the form `op`; None if it can."""
    if isinstance(cell, Zoneout):
        return "no operator of ONNX computes zoneout"
    if isinstance(cell, OdysseyCell) and plain_cell(cell) is None:
        return f"no operator of ONNX computes cell odyssey with ablation {cell.ablation}"
    return None


def ignored(cell: GateCell | Zoneout, *, backward: bool, lengths: bool) -> list[str]:
    """What some runtime ignores in the form `op` (OpenVINO 2026.4 the first two, tract 0.23 the last three)."""
    what = {
        "peepholes": getattr(cell, "p", None) is not None,
        "lengths": lengths,
        "the direction backward": backward,
        "relu": isinstance(cell, RNNCell) and cell.nonlinearity == "relu",
    }
    return [name for name, is_used in what.items() if is_used]


def add_cell(
    graph: Graph,
    form: Form,
    cell: GateCell | Zoneout,
    reverse: bool,
    x: str,
    state: Sequence[str],
    lengths: Lengths | None,
    name: str,
) -> tuple[str, list[str]]:
    """Add one direction of a layer.

    Parameters
    ----------
    x : `[T, B, I]`.
    state : to start from, `[B, H]` for each field.
    name : how the names of its constants begin.

    Returns
    -------
    The outputs `[T, B, H]`, and the state after the last step.
    """
    if form == "scan":
        return _add_scan(graph, cell, reverse, x, state, lengths, name)
    assert not isinstance(cell, Zoneout)  # it has no operator
    return _add_operator(graph, cell, reverse, x, state, lengths, name)


def _add_operator(
    graph: Graph, cell: GateCell, reverse: bool, x: str, states: Sequence[str], lengths: Lengths | None, name: str
) -> tuple[str, list[str]]:
    """See `add_cell`. Two bidirectional operators in a row crash OpenVINO 2026.4, so each direction has its own."""
    each = "" if lengths is None else graph("Cast", lengths.each, to=INT32)
    plain = plain_cell(cell)
    assert plain is not None  # see `why_no_operator`
    operands = zip("WRBP", _operands(plain), strict=False)  # not all have P
    w, r, b, *p = (graph.constant(value[None], f"{name}/{operand}") for operand, value in operands)
    start = [graph("Unsqueeze", state, graph.constant([0])) for state in states]
    operator, attributes = _operator(cell, plain)
    direction = "reverse" if reverse else "forward"
    inputs = [x, w, r, b, each, *start, *p]
    outputs, *new = graph.several(
        operator, 1 + len(states), *inputs, hidden_size=cell.hidden_size, direction=direction, **attributes
    )
    ended = [graph("Squeeze", state, graph.constant([0])) for state in new]
    if lengths is not None:  # an empty sequence keeps its state, which the operator sets to zero
        empty = graph("Unsqueeze", graph("Equal", lengths.each, graph.constant([0])), graph.constant([1]))  # [B, 1]
        ended = [graph("Where", empty, old, after) for old, after in zip(states, ended, strict=True)]
    return graph("Squeeze", outputs, graph.constant([1])), ended


def _operator(cell: GateCell, plain: PlainCell) -> tuple[str, dict[str, object]]:
    """The operator of a cell and its attributes."""
    if isinstance(cell, RNNCell):
        return "RNN", {"activations": [cell.nonlinearity.capitalize()]}
    return plain.kind.upper(), {"linear_before_reset": int(plain.b_hn is not None)} if plain.kind == "gru" else {}


def _operands(cell: PlainCell) -> list[Tensor]:
    """W, R and B, and P if it has peepholes."""
    w, r, b = (reordered(rows, TORCH[cell.kind], ONNX[cell.kind]) for rows in (cell.w_x, cell.w_h, cell.b))
    recurrent = torch.zeros_like(b)
    if cell.b_hn is not None:
        recurrent[-len(cell.b_hn) :] = cell.b_hn
    peepholes = [] if cell.p is None else [cell.p[[0, 2, 1]].flatten()]  # i, o, f
    return [w, r, torch.cat([b, recurrent]), *peepholes]


def _add_scan(
    graph: Graph,
    cell: GateCell | Zoneout,
    reverse: bool,
    x: str,
    states: Sequence[str],
    lengths: Lengths | None,
    name: str,
) -> tuple[str, list[str]]:
    """See `add_cell`."""
    gates = cast("GateCell", cell.cell) if isinstance(cell, Zoneout) else cell
    x_gates = graph.linear(x, gates.w_x, gates.bias(), f"{name}/w_x")
    body = Graph(f"{name}/step/")
    shape: Shape = ["batch", cell.hidden_size]
    old = [body.input(f"{name}/old_{number}", shape) for number in range(len(states))]
    sums = body.input(f"{name}/x_gates", ["batch", gates.w_x.shape[0]])
    new = add_step(body, cell, sums, old)
    seen = new[0]
    scanned = [x_gates]
    if lengths is not None:
        inside = body.input(f"{name}/inside", ["batch", 1], BOOL)
        seen = body("Where", inside, seen, body.constant(torch.zeros(1)))
        new = [body("Where", inside, after, before) for after, before in zip(new, old, strict=True)]
        scanned.append(lengths.inside)
    for number, state in enumerate(new):
        body.output(state, f"{name}/new_{number}", shape)
    body.output(seen, f"{name}/seen", shape)
    *last, outputs = graph.several(
        "Scan",
        len(states) + 1,
        *states,
        *scanned,
        body=body.proto(f"{name}/step"),
        num_scan_inputs=len(scanned),
        scan_input_directions=[int(reverse)] * len(scanned),
        scan_output_directions=[int(reverse)],
    )
    return outputs, last
