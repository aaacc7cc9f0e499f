"""Weights for the modules of `torch.nn`: a dict of state dicts, each of which a module loads as it is.

encoder         nn.Embedding, if the symbols have learnt vectors
recurrent       nn.LSTM, nn.GRU or nn.RNN
projection      nn.Linear without bias, before a head that is the embedding but has another size
head            nn.Linear, or nn.AdaptiveLogSoftmaxWithLoss
initial_state   h_0 and c_0 [L*D, H], if they were learnt; no module, but an argument of `recurrent`
metadata        strings, see `metadata`
"""

import io
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seqtrain.cells import Cell, RNNCell
from seqtrain.cells.base import TwoBiasCell
from seqtrain.inference.load import Trained
from seqtrain.interchange.content import Check, Content, Options, refuse
from seqtrain.interchange.metadata import metadata_of
from seqtrain.interchange.plain_cell import described, plain_cell
from seqtrain.interchange.remarks import Code, remarks_on
from seqtrain.interchange.samples import TRIED, Inputs, inputs_of, largest, rounding_of
from seqtrain.models import AdaptiveHead, OneHot, TiedHead

Weights = dict[str, dict[str, Tensor]]


class Call(NamedTuple):
    """A call that makes a module of `torch.nn`; as a string, its code: `nn.Linear(7, 2, bias=False)`."""

    name: str
    arguments: tuple[object, ...]
    options: Mapping[str, object] = MappingProxyType({})

    def __str__(self) -> str:
        given = [*map(str, self.arguments), *(f"{name}={value!r}" for name, value in self.options.items())]
        return f"nn.{self.name}({', '.join(given)})"


def write(trained: Trained, options: Options) -> Content:
    """The file of a trained model, whose modules are run beside the model.

    Raises
    ------
    ConfigError : `torch.nn` has no module that computes the recurrent layers, or an option is for a whole model.
    """
    refuse("torch --out model.pt", [*_why_not(trained, options)], "--to torch --out model.pt2 can")
    weights = weights_of(trained)
    with io.BytesIO() as buffer:
        torch.save(weights | {"metadata": metadata_of(trained)}, buffer)
        content = buffer.getvalue()
    read = torch.load(io.BytesIO(content), weights_only=True)
    del read["metadata"]
    calls = calls_for(trained, read)
    return Content(
        {"model.pt": content},
        check=_check(trained, made(calls, read), read.get("initial_state"), inputs_of(trained)),
        remarks=[*_remarks(trained, weights)],
        facts={name: str(call) for name, call in calls.items()},
    )


def _why_not(trained: Trained, options: Options) -> Iterator[str]:
    model, own = trained.model, trained.config.model.cell
    cells = model.stack.cells()
    plain = plain_cell(cells[0][0])
    if plain is None or plain.p is not None:
        yield f"{described(own)} is no LSTM, GRU or plain RNN of torch.nn"
    if getattr(cells[0][0], "reset", "after") == "before":
        yield "cell gru has reset 'before', and nn.GRU applies its reset gate after the recurrent product"
    if model.dropout.zoneout_hidden or model.dropout.zoneout_memory:
        yield "the layers of torch.nn have no zoneout, which acts in evaluation too"
    if model.stack.reversed == [True]:
        yield "the layers read backward only, and those of torch.nn read forward or in both directions"
    if len(cells[0]) == 2 and model.stack.merge == "sum":
        yield "merge is 'sum', and the layers of torch.nn concatenate their directions"
    if len(sizes := {cell.hidden_size for layer in cells for cell in layer}) > 1:
        yield f"the layers have several sizes ({', '.join(map(str, sorted(sizes)))}), and those of torch.nn have one"
    for name in ("lengths", "states"):
        if getattr(options, name):
            yield f"--{name} adds an input, and weights have none"


def weights_of(trained: Trained) -> Weights:
    """The state dicts of a model; see `_why_not` for those that have none."""
    model = trained.model
    weights: Weights = {}
    if isinstance(model.encoder, nn.Embedding):
        weights["encoder"] = {"weight": model.encoder.weight.detach()}
    weights["recurrent"] = _recurrent(model.stack.cells())
    if isinstance(model.head, TiedHead):
        if isinstance(model.head.projection, nn.Linear):
            weights["projection"] = {"weight": model.head.projection.weight.detach()}
        weights["head"] = {"weight": model.head.weight.detach(), "bias": model.head.bias.detach()}
    else:
        head = model.head.clusters if isinstance(model.head, AdaptiveHead) else model.head
        weights["head"] = {name: value.detach() for name, value in head.state_dict().items()}
    cells = [cell for layer in model.stack.cells() for cell in layer]
    if getattr(cells[0], "learn_initial_state", False):
        states = [cell.initial_state(1) for cell in cells]
        parts = zip(("h_0", "c_0"), zip(*states, strict=True), strict=False)
        weights["initial_state"] = {name: torch.cat(rows).detach() for name, rows in parts}
    return weights


def _recurrent(layers: list[list[Cell]]) -> dict[str, Tensor]:
    return {
        f"{name}_l{depth}{'_reverse' * way}": value
        for depth, directions in enumerate(layers)
        for way, cell in enumerate(directions)
        for name, value in _of_cell(cell).items()
    }


def _of_cell(cell: Cell) -> dict[str, Tensor]:
    plain = plain_cell(cell)
    assert plain is not None
    b_ih, b_hh = plain.b, torch.zeros_like(plain.b)
    if isinstance(cell, TwoBiasCell) and cell.b_h is not None:
        b_ih, b_hh = cell.b.detach(), cell.b_h.detach()
    if plain.b_hn is not None:
        b_hh[-len(plain.b_hn) :] = plain.b_hn
    return {"weight_ih": plain.w_x, "weight_hh": plain.w_h, "bias_ih": b_ih, "bias_hh": b_hh}


def calls_for(trained: Trained, weights: Weights) -> dict[str, Call]:
    """The calls of `torch.nn` that make the modules of these weights."""
    layers, head = trained.model.stack.cells(), trained.model.head
    calls = {}
    if "encoder" in weights:
        calls["encoder"] = Call("Embedding", tuple(weights["encoder"]["weight"].shape))
    calls["recurrent"] = _recurrent_call(layers)
    if "projection" in weights:
        E, H = weights["projection"]["weight"].shape
        calls["projection"] = Call("Linear", (H, E), {"bias": False})
    if isinstance(head, AdaptiveHead):
        own = head.clusters
        sizes = (own.in_features, own.n_classes, own.cutoffs[:-1])
        calls["head"] = Call("AdaptiveLogSoftmaxWithLoss", sizes, {"div_value": own.div_value, "head_bias": True})
    else:
        O, F = weights["head"]["weight"].shape
        calls["head"] = Call("Linear", (F, O))
    return calls


def _recurrent_call(layers: list[list[Cell]]) -> Call:
    first, plain = layers[0][0], plain_cell(layers[0][0])
    assert plain is not None
    options: dict[str, object] = {"num_layers": len(layers)} if len(layers) > 1 else {}
    if len(layers[0]) == 2:
        options["bidirectional"] = True
    if isinstance(first, RNNCell) and first.nonlinearity == "relu":
        options["nonlinearity"] = "relu"
    return Call(plain.kind.upper(), (first.input_size, first.hidden_size), options)


def made(calls: Mapping[str, Call], weights: Weights) -> dict[str, nn.Module]:
    """The modules, with their weights."""
    modules = {name: getattr(nn, call.name)(*call.arguments, **call.options) for name, call in calls.items()}
    for name, module in modules.items():
        module.to(next(iter(weights[name].values())).dtype).load_state_dict(weights[name])
    return modules


def _remarks(trained: Trained, weights: Weights) -> Iterator[str]:
    yield from remarks_on(trained, Code("torch.nn.functional.one_hot(x, {size}){added}.float()", "encoder(x)"))
    if "initial_state" in weights:
        yield "the initial state was learnt; give it to the recurrent module, which starts from zero without it"


def run_modules(
    modules: dict[str, nn.Module], x: Tensor, initial_state: dict[str, Tensor] | None, *, every_step: bool
) -> Tensor:
    """What the modules compute, as a user would write it: `[T, B, O]` or `[B, O]`.

    x : `[T, B, I]` numbers, `[T, B]` symbols, or `[T, B, F]` symbols whose vectors are added, for an encoder.
    """
    if "encoder" in modules:
        together = x.dim() == 3
        x = modules["encoder"](x)
        x = x.sum(2) if together else x
    state = None
    if initial_state is not None:
        parts = [part[:, None].repeat(1, x.shape[1], 1) for part in initial_state.values()]
        state = tuple(parts) if len(parts) == 2 else parts[0]
    features, last = modules["recurrent"](x, state)
    if not every_step:
        h = last[0] if isinstance(last, tuple) else last
        features = torch.cat([*h[-2:]], -1) if modules["recurrent"].bidirectional else h[-1]
    if "projection" in modules:
        features = modules["projection"](features)
    head = modules["head"]
    if isinstance(head, nn.AdaptiveLogSoftmaxWithLoss):
        return head.log_prob(features.flatten(0, -2)).view(*features.shape[:-1], -1)
    scores: Tensor = head(features)
    return scores


def _check(
    trained: Trained, modules: dict[str, nn.Module], initial_state: dict[str, Tensor] | None, inputs: Inputs
) -> Check:
    model, pairs, rounding = trained.model, [], 0.0
    for steps, batch_size in TRIED:
        x = inputs.draw(steps, batch_size)
        read = model.encoder(x) if isinstance(model.encoder, OneHot) else x
        with torch.inference_mode():
            pairs.append((model(x)[0], run_modules(modules, read, initial_state, every_step=model.every_step)))
        rounding = max(rounding, rounding_of(model, x, None, None))
    return Check(f"torch.nn of PyTorch {torch.__version__}", largest(pairs), rounding)
