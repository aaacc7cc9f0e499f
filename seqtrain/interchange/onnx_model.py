"""The graph of a whole model: encoder, layers, head."""

from collections.abc import Sequence
from typing import cast

import onnx
import torch
from onnx import helper
from torch import nn

from seqtrain.cells.base import GateCell
from seqtrain.inference.load import Trained
from seqtrain.interchange.content import Form
from seqtrain.interchange.metadata import metadata_of
from seqtrain.interchange.onnx_graph import INT64, IR_VERSION, OPSET, Graph
from seqtrain.interchange.onnx_layers import Lengths, add_cell
from seqtrain.interchange.samples import Inputs
from seqtrain.models import AdaptiveHead, OneHot, TiedHead
from seqtrain.models.stack import Stack
from seqtrain.models.zoneout import Zoneout


def build(trained: Trained, inputs: Inputs, form: Form, *, lengths: bool, states: bool) -> onnx.ModelProto:
    """The model as ONNX has it; see `onnx_format` for the inputs and outputs.

    Parameters
    ----------
    form : of the layers.
    lengths, states : whether the graph has these inputs.
    """
    graph, model = Graph(), trained.model
    if inputs.symbols:
        together = [] if inputs.together is None else [inputs.together]
        x = graph.input("x", ["steps", "batch", *together], INT64)
    else:
        x = graph.input("x", ["steps", "batch", inputs.size])
    vectors = _add_encoder(graph, model.encoder, x, inputs)
    outputs, final, ended = _add_stack(graph, model.stack, vectors, form, lengths=lengths, states=states)
    steps = ["steps"] if model.every_step else []
    scores = _add_head(graph, model.head, outputs if model.every_step else final)
    graph.output(scores, "y", [*steps, "batch", trained.header.spec.output_size])
    if states:
        for name, (parts, shape) in ended.items():
            ways = [graph("Unsqueeze", part, graph.constant([0])) for part in parts]
            graph.output(ways[0] if len(ways) == 1 else graph("Concat", *ways, axis=0), f"{name}_out", shape)
    proto = helper.make_model(
        graph.proto("seqtrain"),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="seqtrain",
    )
    helper.set_model_props(proto, metadata_of(trained))
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _add_encoder(graph: Graph, encoder: nn.Module, x: str, inputs: Inputs) -> str:
    """Vectors `[T, B, I]` from the inputs."""
    if not inputs.symbols:
        return x
    if isinstance(encoder, OneHot):
        one = graph.constant(torch.tensor([0.0, 1.0]), "zero_and_one")
        vectors = graph("OneHot", x, graph.constant([encoder.symbols]), one, axis=-1)
    else:
        vectors = graph("Gather", graph.constant(encoder.get_parameter("weight"), "embedding"), x, axis=0)
    return vectors if inputs.together is None else graph("ReduceSum", vectors, graph.constant([2]), keepdims=0)


State = dict[str, tuple[Sequence[str], list[int | str]]]
"""The states of all layers by name: `[B, H]` of each direction, and the shape of all together."""


def _add_stack(
    graph: Graph, stack: Stack, x: str, form: Form, *, lengths: bool, states: bool
) -> tuple[str, str, State]:
    """The layers: outputs `[T, B, F]` and final `[B, F]` of the last, and the states after the last step."""
    batch = graph.size_along(x, 1)
    sizes = _add_lengths(graph, x) if lengths else None
    ended: State = {}
    outputs = final = x
    for depth, cells in enumerate(cast("list[list[GateCell]]", stack.cells())):
        fields, H = cells[0].initial_state(1)._fields, cells[0].hidden_size
        shape: list[int | str] = [len(cells), "batch", H]
        names = [f"{field}_{depth}" for field in fields]
        if states:
            given = [graph.input(name, shape) for name in names]
            starts = [[graph("Gather", one, graph.constant(way), axis=0) for one in given] for way in range(len(cells))]
        else:
            starts = [_add_initial(graph, cell, batch) for cell in cells]
        run = [cast("GateCell | Zoneout", stack.as_run(cell)) for cell in cells]
        ran = [
            add_cell(graph, form, cell, reverse, outputs, start, sizes, f"layer_{depth}/{way}")
            for way, (cell, reverse, start) in enumerate(zip(run, stack.reversed, starts, strict=True))
        ]
        outputs = _merged(graph, stack, [output for output, _ in ran])
        final = _merged(graph, stack, [after[0] for _, after in ran])
        for name, parts in zip(names, zip(*(after for _, after in ran), strict=True), strict=True):
            ended[name] = (parts, shape)
    return outputs, final, ended


def _add_initial(graph: Graph, cell: GateCell, batch: str) -> list[str]:
    """The state that a cell starts from, `[B, H]` for each field."""
    size = graph("Concat", batch, graph.constant([1]), axis=0)
    return [graph("Expand", graph.constant(part.float()), size) for part in cell.initial_state(1)]


def _add_lengths(graph: Graph, x: str) -> Lengths:
    """The input `lengths`, and which steps are none of padding."""
    each = graph.input("lengths", ["batch"], INT64)
    zero, one = graph.constant(0), graph.constant(1)
    steps = graph("Range", zero, graph("Squeeze", graph.size_along(x, 0)), one)
    inside = graph(
        "Less", graph("Unsqueeze", steps, graph.constant([1])), graph("Unsqueeze", each, graph.constant([0]))
    )
    return Lengths(each, graph("Unsqueeze", inside, graph.constant([2])))


def _merged(graph: Graph, stack: Stack, parts: list[str]) -> str:
    if len(parts) == 1:
        return parts[0]
    return graph("Concat", *parts, axis=-1) if stack.merge == "concat" else graph("Add", *parts)


def _add_head(graph: Graph, head: nn.Module, features: str) -> str:
    """Scores from features `[..., F]`."""
    if isinstance(head, AdaptiveHead):
        return _add_clusters(graph, head.clusters, features)
    if not isinstance(head, TiedHead):
        return graph.linear(features, head.get_parameter("weight"), head.get_parameter("bias"), "head")
    if isinstance(head.projection, nn.Linear):
        features = graph.linear(features, head.projection.weight, None, "projection")
    embedding = graph("Transpose", graph.constant(head.weight, "embedding"), perm=[1, 0])
    return graph("Add", graph("MatMul", features, embedding), graph.constant(head.bias, "head_bias"))


def _add_clusters(graph: Graph, clusters: nn.AdaptiveLogSoftmaxWithLoss, features: str) -> str:
    """Log-probabilities of an adaptive softmax: those of a cluster, plus that of its words (Grave et al. 2017)."""
    first = graph("LogSoftmax", graph.linear(features, clusters.head.weight, clusters.head.bias, "head"), axis=-1)
    sizes = [clusters.shortlist_size, *[1] * clusters.n_clusters]
    shortlist, *whole = graph.several("Split", len(sizes), first, graph.constant(sizes), axis=-1)
    parts = [shortlist]
    for number, (tail, log_probability) in enumerate(zip(clusters.tail, whole, strict=True)):
        assert isinstance(tail, nn.Sequential)
        scores = features
        for place, layer in enumerate(tail):
            scores = graph.linear(scores, layer.get_parameter("weight"), None, f"tail_{number}_{place}")
        parts.append(graph("Add", graph("LogSoftmax", scores, axis=-1), log_probability))
    return graph("Concat", *parts, axis=-1)
