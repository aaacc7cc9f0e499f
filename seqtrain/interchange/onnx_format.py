"""A whole model in ONNX: encoder, layers and head, for sequences of any length and any number of them.

    inputs                                          outputs
    x          [steps, batch, I] float32, or        y             [steps, batch, O], or [batch, O] after the
               [steps, batch] or                                  last step
               [steps, batch, F] int64 symbols
    lengths    [batch] int64, with `--lengths`
    hidden_0   [D, batch, H] of layer 0             hidden_0_out  the state after the last step, the start of
    cell_0     and so on, with states               cell_0_out    the next part of the sequence

The file has the strings of `metadata`.
"""

from importlib.util import find_spec
from typing import Any, cast

import torch

from seqtrain.cells import CELLS
from seqtrain.cells.base import GateCell
from seqtrain.inference.load import Trained
from seqtrain.interchange.content import Check, Content, Options, refuse
from seqtrain.interchange.samples import TRIED, Inputs, draw_state, inputs_of, largest, named_states, rounding_of
from seqtrain.models import SequenceModel
from seqtrain.models.zoneout import Zoneout
from seqtrain.system.errors import ConfigError

MOST_BYTES = 2**31 - 2**20
"""Of the weights: a file of ONNX has at most 2 GiB."""


def write(trained: Trained, options: Options) -> Content:
    """The file of a trained model, run beside the model in onnxruntime if that is installed.

    Raises
    ------
    ConfigError : ONNX cannot hold the model, or is not installed.
    """
    if find_spec("onnx") is None:
        raise ConfigError("--to onnx: the package onnx is not installed; pip install 'seqtrain[onnx]'")
    from seqtrain.interchange import onnx_layers, onnx_model

    model = trained.model
    own = model.stack.cells()[0][0]
    reasons = []
    if type(own) not in CELLS.values():
        reasons.append(f"cell {trained.config.model.cell.name} is your own, and its equations are Python")
    if (size := sum(value.nbytes for value in model.state_dict().values())) > MOST_BYTES:
        reasons.append(f"the weights have {size:,} bytes, more than the 2 GiB of a file of ONNX")
    refuse("onnx", reasons, "--to torch can")
    cell = cast("GateCell | Zoneout", model.stack.as_run(own))
    backward = any(model.stack.reversed)
    form = options.form or onnx_layers.form_of(cell, backward=backward, lengths=options.lengths)
    if form == "op" and (why_not := onnx_layers.why_no_operator(cell)):
        raise ConfigError(f"--form op: {why_not}; use --form scan, or leave it out")
    states = options.states if options.states is not None else not backward
    inputs = inputs_of(trained)
    proto = onnx_model.build(trained, inputs, form, lengths=options.lengths, states=states)
    content = proto.SerializeToString()
    remarks = []
    if form == "op" and (lost := onnx_layers.ignored(cell, backward=backward, lengths=options.lengths)):
        remarks.append(
            f"--form op: OpenVINO or tract ignores {', '.join(lost)} of this operator, and gives wrong numbers without "
            "an error; onnxruntime is right, and with --form scan all are"
        )
    check = None
    if find_spec("onnxruntime") is None:
        remarks.append("not checked: onnxruntime is not installed; pip install onnxruntime")
    else:
        check = _check(content, model, inputs, lengths=options.lengths)
    facts = {
        "form": form,
        "inputs": ", ".join(map(_shape_of, proto.graph.input)),
        "outputs": ", ".join(map(_shape_of, proto.graph.output)),
    }
    return Content({"model.onnx": content}, check=check, remarks=remarks, facts=facts)


def _shape_of(value: Any) -> str:
    """An input or output of a graph: `x int64 [steps, batch]`."""
    tensor = value.type.tensor_type
    sizes = ", ".join(size.dim_param or str(size.dim_value) for size in tensor.shape.dim)
    return f"{value.name} {'float32' if tensor.elem_type == 1 else 'int64'} [{sizes}]"


def _check(content: bytes, model: SequenceModel, inputs: Inputs, *, lengths: bool) -> Check:
    """Run the file beside the model."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # a warning of its optimizer concerns no user
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    worst = rounding = 0.0
    for steps, batch_size in TRIED:
        x = inputs.draw(steps, batch_size)
        given = {"x": x}
        has_states, state, sizes = len(names) > 1, None, None
        if has_states:
            state = draw_state(model, batch_size)
            given |= named_states(state)
        if lengths:
            sizes = torch.tensor([steps, 0, 1] if batch_size == 3 else [steps] * batch_size)
            given["lengths"] = sizes
        with torch.inference_mode():
            outputs, after = model(x, sizes, state)
        rounding = max(rounding, rounding_of(model, x, sizes, state))
        wanted = [outputs, *(named_states(after).values() if has_states else ())]
        got = session.run(names, {name: value.numpy() for name, value in given.items()})
        worst = max(worst, largest(zip(wanted, map(torch.from_numpy, got), strict=True)))
    return Check(f"onnxruntime {onnxruntime.__version__}", worst, rounding)
