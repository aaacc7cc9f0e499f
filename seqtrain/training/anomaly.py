"""What went wrong in a step, or an evaluation, whose numbers are not finite: asked for only then.

Every random draw is named by the seed and the step, and the weights are those from before the step, since it was
withheld. So the very computation can be done again, by the plain loop under a `Watch`.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seqtrain.models import Prediction, SequenceModel, StackState
from seqtrain.recurrence import Chosen
from seqtrain.recurrence.watch import Place, Watch
from seqtrain.tasks import Batch, Task


class Forward(NamedTuple):
    """What a forward pass gives.

    state : after the batch.
    loss, penalty : their sum is what is differentiated; a penalty is not part of the loss that is reported.
    """

    prediction: Prediction
    state: StackState
    loss: Tensor
    penalty: Tensor | float = 0.0


def is_finite(state: StackState) -> bool:
    """Whether every number of a state is."""
    return all(bool(torch.isfinite(part).all()) for layer in state for cell in layer for part in cell)


def examine(
    model: SequenceModel, forward: Callable[[], Forward], lengths: Tensor | None, *, backward: bool
) -> dict[str, Any]:
    """Compute once more, watched, and report where the first number arises that is not finite.

    Parameters
    ----------
    forward : the pass to repeat.
    lengths : of its sequences.
    backward : whether to go on with the gradients.

    Returns
    -------
    engine : what ran the cells when it happened; the plain loop repeats it.
    first : a `Place`, or None if the repetition stays finite.
    failure : why the repetition could not be completed, or None.
    gradients : names of the parameters whose gradients are not finite; only if everything forward is.
    growth : likewise, of the gradient of each cell's hidden state on its way back through time (see `_growth`).
    largest_weight : by absolute value, of those that are finite, and the parameter that it is in.
    weights : names of the parameters that are not finite themselves.
    """
    watch = Watch(len(model.stack.reversed), "embedding" if isinstance(model.encoder, nn.Embedding) else "input")
    report = _nothing_found(model)
    try:
        with _watched(model, watch):
            _compute(model, watch, forward, lengths, backward=backward)
    except (MemoryError, RuntimeError) as error:  # the plain loop needs more memory than the engine
        return report | {"failure": str(error)}
    if backward and (watch.first is None or watch.first.computing == "backward"):
        report |= _gradients(model, watch)
    return report | {"first": None if watch.first is None else watch.first._asdict()}


def _nothing_found(model: SequenceModel) -> dict[str, Any]:
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    largest = {name: p.abs().nan_to_num(0.0, 0.0, 0.0).max().item() for name, p in parameters.items() if p.numel()}
    name = max(largest, key=largest.__getitem__)
    return {
        "engine": model.stack.loop.name,
        "failure": None,
        "first": None,
        "gradients": [],
        "growth": [],
        "largest_weight": {"parameter": name, "value": largest[name]},
        "weights": _not_finite(parameters),
    }


def _gradients(model: SequenceModel, watch: Watch) -> dict[str, Any]:
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    for name, gradient in gradients.items():
        watch.see(gradient, "parameter", computing="backward", name=name)
    watch.see(nn.utils.get_total_norm(gradients.values()), "norm", computing="backward")
    growth = [_growth(*run, norms) for run, norms in sorted(watch.norms.items())]
    return {"gradients": _not_finite(gradients), "growth": growth}


@torch.inference_mode()
def examine_evaluation(model: SequenceModel, batches: Iterable[Batch], task: Task) -> dict[str, Any]:
    """Likewise of a whole split, as it is evaluated: of the first batch whose loss or last state is not finite.

    Returns
    -------
    The report of `examine`, and as `batch` the number of the batch, from 0; None if all are finite.
    """
    before: StackState | None = None
    for number, batch in enumerate(batches):
        forward = partial(_evaluated, model, task, batch, before)
        found = forward()
        if not (torch.isfinite(found.loss) and is_finite(found.state)):
            return {"batch": number} | examine(model, forward, batch.lengths, backward=False)
        before = found.state
    return {"batch": None} | _nothing_found(model)


def _evaluated(model: SequenceModel, task: Task, batch: Batch, before: StackState | None) -> Forward:
    prediction, state = model.predict(batch.inputs, batch.lengths, None if batch.fresh else before)
    return Forward(prediction, state, task.loss(prediction, batch)[0])


@contextmanager
def _watched(model: SequenceModel, watch: Watch) -> Iterator[None]:
    loop = model.stack.loop
    model.stack.loop = Chosen("watched", watch.unroll, None)
    try:
        yield
    finally:
        model.stack.loop = loop


def _compute(
    model: SequenceModel, watch: Watch, forward: Callable[[], Forward], lengths: Tensor | None, *, backward: bool
) -> None:
    """Forward in the order of computation, then backward if that was finite."""
    model.zero_grad()
    with torch.set_grad_enabled(backward):
        prediction, _, loss, penalty = forward()
    features = prediction.features
    see = watch.see_sequence if features.dim() == 3 else watch.see
    see(features, "features", lengths if features.dim() == 3 else None)
    if watch.first is None and not torch.isfinite(loss):
        with torch.no_grad():  # step by step: all scores of a large vocabulary at once are many
            for t, row in enumerate(features if features.dim() == 3 else features[None]):
                time = {"time": t} if features.dim() == 3 else {}
                watch.see(prediction.score(row), "output", None if lengths is None or not time else t < lengths, **time)
    watch.see(loss, "loss")
    watch.see(torch.as_tensor(penalty), "penalty")
    if backward and watch.first is None:
        watch.see_gradient(features, "features")
        (loss + penalty).backward()  # type: ignore[no-untyped-call]


def _growth(layer: int, direction: str, norms: list[tuple[int, float]]) -> dict[str, Any]:
    """How the norm of the gradient of h changed on its way back, from the first that is not 0 to the last finite one.

    factor_per_step : above 1 for a gradient that explodes, below 1 for one that vanishes.
    """
    moved = [(t, norm) for t, norm in norms if norm > 0 and math.isfinite(norm)] or norms[:1]
    (from_time, from_norm), (to_time, to_norm) = moved[0], moved[-1]
    steps = abs(from_time - to_time)
    factor = math.exp(math.log(to_norm / from_norm) / steps) if steps else None
    return {
        "layer": layer,
        "direction": direction,
        "from_time": from_time,
        "from_norm": from_norm,
        "to_time": to_time,
        "to_norm": to_norm,
        "factor_per_step": factor,
    }


def _not_finite(tensors: dict[str, Tensor]) -> list[str]:
    return [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]


def sentence(report: dict[str, Any]) -> str:
    """Where it began, and what it began with, in a line."""
    largest = report["largest_weight"]
    told = f"largest weight {largest['value']:.3g} in {largest['parameter']}"
    if report["weights"]:
        told += f", and not finite before the step: {', '.join(report['weights'])}"
    return f"{told}; {_where(report)}"


def _where(report: dict[str, Any]) -> str:
    if report["failure"] is not None:
        return f"the plain loop could not repeat it ({report['failure'].splitlines()[0]})"
    if report["first"] is None:
        told = "the plain loop stays finite on the same batch"
        if report["engine"] == "reference":
            return told
        return f"{told}: the numbers are at the edge of their range, or engine {report['engine']} is at fault"
    place = Place(**report["first"])
    what = " ".join(filter(None, [{"norm": "norm of all gradients"}.get(place.part, place.part), place.name]))
    if place.computing == "backward" and place.part != "norm":
        what = f"the gradient of {what}"
    layer = None if place.layer is None else f"layer {place.layer}"
    time = None if place.time is None else f"t = {place.time}"
    batch = f"batch {report['batch']}" if "batch" in report else None
    told = ", ".join(filter(None, [f"first {place.kind}: {what}", layer, place.direction, time, batch]))
    runs = [run for run in report["growth"] if run["factor_per_step"]]
    here = [run for run in runs if (run["layer"], run["direction"]) == (place.layer, place.direction)] or runs
    if here:
        factor = max(run["factor_per_step"] for run in here)
        told += f" (back through time, the gradient of h changed by a factor of {factor:.3g} a step)"
    return told
