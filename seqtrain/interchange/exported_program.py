"""A whole model as a program of `torch.export`: encoder, layers and head, without seqtrain.

    inputs                                             outputs
    x         [T, B, I] float32, or                    y, [T, B, O], or [B, O] after the last step;
              [T, B] or [T, B, F] int64 symbols        with `--states` (y, states)
    lengths=  [B] int64, with `--lengths`
    states=   hidden_0 [D, B, H] of layer 0, cell_0,   the states after the last step, the start of the next part
              and so on by name, with `--states`       of the sequence, by the same names

T and B may be any numbers from 1. The file has the metadata as extra files.
"""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from seqtrain.cells import CELLS
from seqtrain.inference.load import Trained
from seqtrain.interchange.content import Check, Content, Options
from seqtrain.interchange.metadata import metadata_of
from seqtrain.interchange.samples import Inputs, draw_state, inputs_of, largest, named_states, rounding_of
from seqtrain.interchange.scan_loop import unroll_scan
from seqtrain.models import SequenceModel
from seqtrain.models.stack import StackState
from seqtrain.system.errors import ConfigError, plain
from seqtrain.system.ignoring import warnings_ignored

EXAMPLE = (5, 3)
"""Steps and sequences of the example with which the program is made."""

TRIED = ((1, 1), (2, 9), (50, 4))
"""Those on which it is run beside the model."""


class _Program(nn.Module):
    """A model whose states have names."""

    def __init__(self, model: SequenceModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, lengths: Tensor | None = None, states: dict[str, Tensor] | None = None) -> Any:
        state = None if states is None else _as_state(self.model, states)
        outputs, after = self.model(x, lengths, state)
        return outputs if states is None else (outputs, named_states(after))


def _as_state(model: SequenceModel, states: dict[str, Tensor]) -> StackState:
    kind = type(model.stack.cells()[0][0].initial_state(1))
    return [
        [kind(*(states[f"{field}_{depth}"][way] for field in kind._fields)) for way in range(len(layer))]
        for depth, layer in enumerate(model.stack.cells())
    ]


def write(trained: Trained, options: Options) -> Content:
    """The file of a trained model, which is read again and run beside the model.

    Raises
    ------
    ConfigError : `torch.export` cannot follow the user's own cell.
    """
    inputs, model = inputs_of(trained), trained.model.requires_grad_(False)
    x, given = inputs.draw(*EXAMPLE), _given(model, *EXAMPLE, options)
    try:
        with _quiet(), io.BytesIO() as buffer:
            torch.export.save(_exported(model, x, given), buffer, extra_files=metadata_of(trained))
            content = buffer.getvalue()
    except Exception as error:  # torch.export raises many kinds
        if type(model.stack.cells()[0][0]) in CELLS.values():
            raise
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        reason = plain(next((line for line in lines if "Error: " in line), lines[0]), 200)
        raise ConfigError(
            f"--to torch: torch.export cannot follow {trained.config.model.cell.name} ({reason}); its project and step "
            "must compute with functions of torch alone, without a branch that depends on a number in a tensor, and "
            "the tensors that they use must be parameters, or buffers (register_buffer)"
        ) from error
    check = _check(content, model, inputs, options)
    return Content({"model.pt2": content}, check=check, facts=_facts(trained, x, given))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch says about itself, and the graph that it prints when it cannot follow a cell."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings_ignored(), redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def _given(model: SequenceModel, steps: int, batch_size: int, options: Options) -> dict[str, Any]:
    """Arguments of the program by name, after x."""
    given: dict[str, Any] = {}
    if options.lengths:
        given["lengths"] = (torch.arange(batch_size) + steps - 1) % (steps + 1)  # from steps - 1 on: 0 is among them
    if options.states:
        given["states"] = named_states(draw_state(model, batch_size))
    return given


def _exported(model: SequenceModel, x: Tensor, given: dict[str, Any]) -> torch.export.ExportedProgram:
    steps, batch = Dim("steps", min=1), Dim("batch", min=1)
    sizes: dict[str, Any] = {"x": {0: steps, 1: batch}, "lengths": {0: batch}}
    sizes["states"] = {name: {1: batch} for name in given.get("states", ())}
    loop = model.stack.loop
    model.stack.loop = loop._replace(unroll=unroll_scan)
    try:
        with torch.no_grad():
            program = torch.export.export(
                _Program(model), (x,), given, dynamic_shapes={name: sizes[name] for name in ("x", *given)}, strict=False
            )
    finally:
        model.stack.loop = loop
    for part in program.graph_module.modules():
        for node in part.graph.nodes if isinstance(part, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)  # the folders of this machine concern nobody else
    return program


def _facts(trained: Trained, x: Tensor, given: dict[str, Any]) -> dict[str, str]:
    """What goes in and out, in words: `x float32 [steps, batch, 2]`."""
    states = given.get("states", {})
    inputs = [_shape("x", x.dtype, "steps", "batch", *x.shape[2:])]
    inputs += [_shape("lengths", torch.int64, "batch")] if "lengths" in given else []
    inputs += [
        _shape(f"states[{name!r}]", one.dtype, len(one), "batch", *one.shape[2:]) for name, one in states.items()
    ]
    steps = ("steps",) if trained.model.every_step else ()
    y = _shape("y", torch.float32, *steps, "batch", trained.header.spec.output_size)
    return {"inputs": ", ".join(inputs), "outputs": f"({y}, states)" if states else y}


def _shape(name: str, kind: torch.dtype, *sizes: object) -> str:
    return f"{name} {str(kind).removeprefix('torch.')} [{', '.join(map(str, sizes))}]"


def _check(content: bytes, model: SequenceModel, inputs: Inputs, options: Options) -> Check:
    """Run the file beside the model, on other numbers of steps and sequences than those of the example."""
    with _quiet():
        program = torch.export.load(io.BytesIO(content)).module()
    worst = rounding = 0.0
    for steps, batch_size in TRIED:
        x, given = inputs.draw(steps, batch_size), _given(model, steps, batch_size, options)
        with torch.inference_mode():
            ours, theirs = _Program(model)(x, **given), program(x, **given)
        pairs = zip(_tensors(ours), _tensors(theirs), strict=True)
        worst = max(worst, largest(pairs))
        state = _as_state(model, given["states"]) if options.states else None
        rounding = max(rounding, rounding_of(model, x, given.get("lengths"), state))
    return Check(f"torch.export of PyTorch {torch.__version__}", worst, rounding)


def _tensors(outputs: Any) -> list[Tensor]:
    return [outputs] if isinstance(outputs, Tensor) else [outputs[0], *outputs[1].values()]
