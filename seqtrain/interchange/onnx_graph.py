"""A graph of ONNX under construction."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from torch import Tensor

OPSET, IR_VERSION = 17, 8
"""The version of the operators, and of the file that goes with it: old enough for every runtime in use."""

FLOAT, BOOL, INT32, INT64 = (getattr(onnx.TensorProto, kind) for kind in ("FLOAT", "BOOL", "INT32", "INT64"))

Shape = Sequence[int | str]


class Graph:
    """Nodes and constants, each with a name of its own.

    Parameters
    ----------
    prefix : of the names that are given to values that have none.
    """

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, shape: Shape | None, kind: int = FLOAT) -> str:
        """An input of the graph."""
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, value: str, name: str, shape: Shape | None, kind: int = FLOAT) -> None:
        """Make a value an output of the graph."""
        self.nodes.append(helper.make_node("Identity", [value], [name]))
        self.outputs.append(helper.make_tensor_value_info(name, kind, shape))

    def constant(self, value: Tensor | Sequence[int] | int, name: str | None = None) -> str:
        """A constant: a tensor as float32, or whole numbers. One of a name that is there already is not added again."""
        name = name or f"{self.prefix}constant_{len(self.constants)}"
        if name not in self.constants:
            array = value.detach().float().numpy() if isinstance(value, Tensor) else np.asarray(value, np.int64)
            self.constants[name] = numpy_helper.from_array(np.array(array, order="C"), name)
        return name

    def __call__(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output, and return the name of that."""
        return self.several(operator, 1, *inputs, **attributes)[0]

    def several(self, operator: str, outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        """Add a node with several outputs."""
        name = f"{self.prefix}{operator.lower()}_{len(self.nodes)}"
        names = [name] if outputs == 1 else [f"{name}_{number}" for number in range(outputs)]
        self.nodes.append(helper.make_node(operator, inputs, names, name=name, **attributes))
        return names

    def size_along(self, value: str, axis: int) -> str:
        """The size of a value along an axis, `[1]`."""
        return self("Gather", self("Shape", value), self.constant([axis]), axis=0)

    def linear(self, x: str, weight: Tensor, bias: Tensor | None, name: str) -> str:
        """`W x + b`: `[..., I]` to `[..., O]`; the weight `[O, I]` is kept transposed."""
        product = self("MatMul", x, self.constant(weight.detach().t(), f"{name}_transposed"))
        return product if bias is None else self("Add", product, self.constant(bias, f"{name}_bias"))

    def proto(self, name: str) -> onnx.GraphProto:
        """The graph as ONNX has it."""
        return helper.make_graph(self.nodes, name, self.inputs, self.outputs, [*self.constants.values()])
