"""Find where the first number arises that is not finite, in a training step or an evaluation that diverged.

Nothing is recorded while training goes well. The random draws follow from the seed and the step, and the weights are
those from before the step, which was withheld. So the plain loop can repeat the same computation and look at all of it.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from seqtrain.cells import Cell
from seqtrain.models import Prediction, SequenceModel, StackState
from seqtrain.recurrence import gates_of, observe
from seqtrain.tasks import Batch, Task


@dataclass(frozen=True)
class Place:
    """Where numbers are not finite.

    part : `input`, `embedding`, `carried state`, `gate`, `variable` (`x_gates`, or what the cell names), `state`,
        `features`, `output`, `loss`, `penalty`, `parameter` or `norm`.
    name : of the gate, variable, field of the state, or parameter.
    layer : from 1.
    direction : `forward` or `backward` in time.
    time : the index in the sequence, from 0.
    computing : `backward` for a gradient of the part, `forward` for the part itself.
    kind : `nan`, or `inf` of either sign.
    """

    part: str
    name: str | None = None
    layer: int | None = None
    direction: str | None = None
    time: int | None = None
    computing: Literal["forward", "backward"] = "forward"
    kind: Literal["nan", "inf"] = "nan"

    def __str__(self) -> str:
        what = " ".join(filter(None, ["norm of all gradients" if self.part == "norm" else self.part, self.name]))
        if self.computing == "backward" and self.part != "norm":
            what = f"the gradient of {what}"
        layer = None if self.layer is None else f"layer {self.layer}"
        time = None if self.time is None else f"t = {self.time}"
        return ", ".join(filter(None, [f"first {self.kind}: {what}", layer, self.direction, time]))


@dataclass(frozen=True)
class Growth:
    """How the norm of the gradient of h changes in one cell, from the first that is not 0 to the last finite one.

    factor_per_step : above 1 for a gradient that explodes, below 1 for one that vanishes; None over a single step.
    """

    layer: int
    direction: str
    from_time: int
    from_norm: float
    to_time: int
    to_norm: float
    factor_per_step: float | None


@dataclass(frozen=True)
class LargestWeight:
    """The largest of the finite weights by absolute value, and the parameter that holds it."""

    parameter: str
    value: float


@dataclass(frozen=True)
class Report:
    """What is known about numbers that are not finite.

    engine : what ran the cells when it happened.
    weights : names of the parameters that are not finite themselves.
    batch : the number of the evaluated batch, from 0; None in training, or if none is at fault.
    failure : why the computation could not be repeated, or None.
    first : where the first number is that is not finite; None if the repetition stays finite.
    gradients : names of the parameters whose gradients are not finite; only if everything forward is finite.
    growth : of the gradients through time, by cell; likewise.
    """

    engine: str
    largest_weight: LargestWeight
    weights: list[str]
    batch: int | None = None
    failure: str | None = None
    first: Place | None = None
    gradients: list[str] = field(default_factory=list)
    growth: list[Growth] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        """The report in plain values, as `summary.json` holds it."""
        return asdict(self)

    def __str__(self) -> str:
        weights = f"largest weight {self.largest_weight.value:.3g} in {self.largest_weight.parameter}"
        if self.weights:
            weights += f", and not finite before the step: {', '.join(self.weights)}"
        return f"{weights}; {self._where()}"

    def _where(self) -> str:
        if self.failure is not None:
            return f"the plain loop could not repeat it ({self.failure.splitlines()[0]})"
        if self.first is None:
            finite = "the plain loop stays finite on the same batch"
            if self.engine == "reference":
                return finite
            return f"{finite}: the numbers are at the edge of their range, or engine {self.engine} is at fault"
        where = str(self.first) + ("" if self.batch is None else f", batch {self.batch}")
        factors = {(run.layer, run.direction): run.factor_per_step for run in self.growth if run.factor_per_step}
        if factors:
            factor = factors.get((self.first.layer or 0, self.first.direction or ""), max(factors.values()))
            where += f" (back through time, the gradient of h changed by a factor of {factor:.3g} a step)"
        return where


class Forward(NamedTuple):
    """What a forward pass gives.

    state : after the batch.
    total, scored : the loss as a sum over the scored predictions, and their number.
    penalty : what is differentiated beside the loss, and is not part of the loss that is reported.
    """

    prediction: Prediction
    state: StackState
    total: Tensor
    scored: int = 1
    penalty: Tensor | float = 0.0

    @property
    def loss(self) -> Tensor:
        """The mean; 0 if nothing is scored, as all values of a window may be missing."""
        return self.total / max(self.scored, 1)


def is_finite(state: StackState) -> bool:
    """Whether every number of a state is finite."""
    return all(bool(torch.isfinite(part).all()) for layer in state for cell in layer for part in cell)


def examine(model: SequenceModel, forward: Callable[[], Forward], lengths: Tensor | None, *, backward: bool) -> Report:
    """Repeat a computation that diverged, and report where the first number is that is not finite.

    Parameters
    ----------
    forward : computes the forward pass once more.
    lengths : of its sequences.
    backward : whether to go on to the gradients.
    """
    report, watch, loop = _weights_of(model), _Watch(model, lengths), model.stack.loop
    model.stack.loop = loop._replace(unroll=watch.unroll)
    try:
        _compute(model, watch, forward, backward=backward)
    except (MemoryError, RuntimeError) as error:  # the plain loop needs more memory than the engine
        return replace(report, failure=str(error))
    finally:
        model.stack.loop = loop
    if backward and (watch.first is None or watch.first.computing == "backward"):
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        for name, gradient in gradients.items():
            watch.see(gradient, Place("parameter", name, computing="backward"))
        watch.see(nn.utils.get_total_norm(gradients.values()), Place("norm", computing="backward"))
        report = replace(report, gradients=_not_finite(gradients), growth=watch.growth())
    return replace(report, first=watch.first)


@torch.inference_mode()
def examine_evaluation(model: SequenceModel, batches: Iterable[Batch], task: Task) -> Report:
    """Likewise for the batches of an evaluated split: examine the first whose loss or last state is not finite."""

    def evaluate(batch: Batch, before: StackState | None) -> Forward:
        prediction, state = model.predict(batch.inputs, batch.lengths, None if batch.fresh else before)
        return Forward(prediction, state, task.loss(prediction, batch)[0])

    before: StackState | None = None
    for number, batch in enumerate(batches):
        ahead = evaluate(batch, before)
        if not (torch.isfinite(ahead.total) and is_finite(ahead.state)):
            report = examine(model, partial(evaluate, batch, before), batch.lengths, backward=False)
            return replace(report, batch=number)
        before = ahead.state
    return _weights_of(model)


def _weights_of(model: SequenceModel) -> Report:
    """A report on the weights alone."""
    weights = {name: parameter.detach() for name, parameter in model.named_parameters() if parameter.numel()}
    largest = {name: weight.abs().nan_to_num(0.0, 0.0, 0.0).max().item() for name, weight in weights.items()}
    name = max(largest, key=largest.__getitem__)
    return Report(model.stack.loop.name, LargestWeight(name, largest[name]), _not_finite(weights))


def _not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    return [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]


def _compute(model: SequenceModel, watch: "_Watch", forward: Callable[[], Forward], *, backward: bool) -> None:
    """Forward in the order of computation, then backward if that was finite."""
    model.zero_grad()
    with torch.set_grad_enabled(backward):
        ahead = forward()
    prediction, loss, penalty = ahead.prediction, ahead.loss, ahead.penalty
    features = prediction.features
    steps = [*enumerate(features)] if features.dim() == 3 else [(None, features)]
    for t, row in steps:
        watch.see(row, Place("features", time=t))
    if watch.first is None and not torch.isfinite(loss):
        with torch.no_grad():  # step by step: all scores of a large vocabulary at once are many
            for t, row in steps:
                watch.see(prediction.score(row), Place("output", time=t))
    watch.see(loss, Place("loss"))
    watch.see(torch.as_tensor(penalty), Place("penalty"))
    if backward and watch.first is None:
        watch.see_gradient(features, Place("features"))
        (loss + penalty).backward()  # type: ignore[no-untyped-call]


class _Watch:
    """Runs the cells of a stack and remembers the first place that is not finite.

    The forward pass examines only steps after which the state is not finite: an infinite sum from which a sigmoid makes
    a harmless 0 or 1 is not reported.
    """

    def __init__(self, model: SequenceModel, lengths: Tensor | None) -> None:
        self.first: Place | None = None
        self._lengths = lengths
        self._directions = len(model.stack.reversed)
        self._source = "embedding" if isinstance(model.encoder, nn.Embedding) else "input"
        self._runs = 0
        self._norms: dict[tuple[int, str], list[tuple[int, float]]] = {}  # of the gradient of h: time and norm

    def see(self, values: Tensor, place: Place) -> None:
        """Remember the place if these are the first values that are not finite; `[B, ...]` if the place has a time."""
        rows = self._inside(place.time) if place.computing == "forward" else None  # padding can spoil a gradient
        if self.first is None and (kind := _fault(values, rows)):
            self.first = replace(place, kind=kind)

    def see_gradient(self, values: Tensor, place: Place) -> None:
        """Likewise for the gradient of the values, when it is computed."""
        if values.requires_grad:
            place = replace(place, computing="backward")
            values.register_hook(lambda gradient: self.see(gradient, place))  # type: ignore[no-untyped-call]

    def unroll(self, cell: Cell, x: Tensor, state: Any = None, **options: Any) -> tuple[Tensor, Any]:
        """`unroll`, watched. To be called for one cell after another in the order in which a stack runs them."""
        layer, second = divmod(self._runs, self._directions)
        self._runs += 1
        if not second:
            source = Place("input" if layer else self._source, layer=layer + 1)
            for t, row in enumerate(x):
                self.see(row, replace(source, time=t))
            self.see_gradient(x, source)
        place = Place("carried state", layer=layer + 1, direction="backward" if options["reverse"] else "forward")
        for name, values in () if state is None else state._asdict().items():
            self.see(values, replace(place, name=name))
        return observe(cell, x, state, on_step=partial(self._see_step, place, gates_of(cell)), **options)[:2]

    def _see_step(self, cell: Place, gates: tuple[str, ...], t: int, activations: dict[str, Tensor], new: Any) -> None:
        is_faulty = any(_fault(values, self._inside(t)) for values in new)
        for name, values in activations.items():
            part = "gate" if name in gates else "state" if name in new._fields else "variable"
            place = replace(cell, part=part, name=name, time=t)
            if is_faulty:
                self.see(values, place)
            if name != "x_gates":  # autograd computes these for all steps at once
                self.see_gradient(values, place)
        if new.hidden.requires_grad:
            norms = self._norms.setdefault((cell.layer or 0, cell.direction or ""), [])
            new.hidden.register_hook(lambda gradient: norms.append((t, gradient.double().norm().item())))

    def _inside(self, t: int | None) -> Tensor | None:
        """`[B]` the sequences that have a step t; None for all."""
        return None if self._lengths is None or t is None else t < self._lengths

    def growth(self) -> list[Growth]:
        """How the gradient of each cell's hidden state changes."""
        runs = []
        for cell, norms in sorted(self._norms.items()):
            moved = [(t, norm) for t, norm in norms if norm > 0 and math.isfinite(norm)] or norms[:1]
            (start, first), (end, last) = moved[0], moved[-1]
            factor = None if start == end else math.exp(math.log(last / first) / abs(start - end))
            runs.append(Growth(*cell, start, first, end, last, factor))
        return runs


def _fault(values: Tensor, rows: Tensor | None = None) -> Literal["nan", "inf"] | None:
    """What is wrong with the values, in the rows that are True."""
    if not values.is_floating_point():
        return None
    values = values.detach()
    if rows is not None and values.dim() and len(values) == len(rows):
        values = values[rows]
    if bool(torch.isfinite(values).all()):
        return None
    return "nan" if bool(values.isnan().any()) else "inf"
