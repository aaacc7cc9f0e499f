"""The plain loop over time with an eye on every number: it finds where the first one that is not finite arises."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from seqtrain.cells import Cell
from seqtrain.recurrence.unroll import unroll


class Place(NamedTuple):
    """Where numbers are not finite.

    kind : `nan`, or `inf` of either sign.
    computing : `backward` for a gradient of the part, `forward` for the part itself.
    part : `input`, `embedding`, `carried state`, `gate`, `variable` (of a cell's `step`), `state`, `features`,
        `output`, `loss`, `penalty`, `parameter` or `norm`.
    name : of the gate, variable, field of the state, or parameter.
    layer : from 1.
    direction : `forward` or `backward` in time.
    time : the index in the sequence, from 0.
    """

    kind: Literal["nan", "inf"]
    computing: Literal["forward", "backward"]
    part: str
    name: str | None = None
    layer: int | None = None
    direction: str | None = None
    time: int | None = None


class Watch:
    """Stands in for a stack's loop and remembers the first place that is not finite; padding is not looked at.

    In the forward pass that is the first step after which the state is not finite, and within it the first of the
    cell's own names: the tensors that its `step` binds to local variables are known by these. An infinite sum that a
    sigmoid makes a harmless 0 or 1 is therefore nothing to report. In the backward pass it is the first gradient.

    Parameters
    ----------
    directions : cells in a layer.
    source : what the first layer's input is called.

    Attributes
    ----------
    first : the place; None as long as everything is finite.
    norms : of the gradient of the hidden state, as pairs of time and norm in the order of the backward pass, by layer
        and direction.
    """

    def __init__(self, directions: int, source: str = "input") -> None:
        self.first: Place | None = None
        self.norms: dict[tuple[int, str], list[tuple[int, float]]] = {}
        self._directions = directions
        self._source = source
        self._runs = 0

    def see(self, tensor: Tensor, part: str, rows: Tensor | None = None, **place: Any) -> None:
        """Remember the place, if numbers of the tensor (of the rows that are True) are the first not to be finite."""
        if self.first is None and (kind := _fault(tensor, rows)) is not None:
            self.first = Place(kind, place.pop("computing", "forward"), part, **place)

    def see_sequence(self, x: Tensor, part: str, lengths: Tensor | None = None, **place: Any) -> None:
        """Likewise of `[T, B, ...]`, and when."""
        if self.first is None and _fault(x) is not None:
            for t, row in enumerate(x):
                self.see(row, part, None if lengths is None else t < lengths, time=t, **place)

    def see_gradient(self, tensor: Tensor, part: str, **place: Any) -> None:
        """Likewise of the gradient of a tensor, once it is computed."""
        if tensor.requires_grad:
            tensor.register_hook(  # type: ignore[no-untyped-call]
                lambda gradient: self.see(gradient, part, computing="backward", **place)
            )

    def unroll(
        self, cell: Cell, x: Tensor, state: Any = None, *, lengths: Tensor | None = None, reverse: bool = False
    ) -> tuple[Tensor, Any]:
        """`unroll`, watched; to be called for one cell after another in the order in which a stack does."""
        layer, second = divmod(self._runs, self._directions)
        self._runs += 1
        place: dict[str, Any] = {"layer": layer + 1, "direction": "backward" if reverse else "forward"}
        if not second:
            part = "input" if layer else self._source
            self.see_sequence(x, part, lengths, layer=layer + 1)
            self.see_gradient(x, part, layer=layer + 1)
        for field, values in () if state is None else state._asdict().items():
            self.see(values, "carried state", name=field, **place)
        return unroll(_Watched(cell, self, place, len(x), lengths, reverse), x, state, lengths=lengths, reverse=reverse)


class _Watched(Cell):
    """A cell for one walk over time."""

    def __init__(
        self, cell: Cell, watch: Watch, place: dict[str, Any], steps: int, lengths: Tensor | None, reverse: bool
    ) -> None:
        super().__init__(cell.input_size, cell.hidden_size)
        self.cell = cell
        self.watch = watch
        self.place = place
        self.times = iter(reversed(range(steps)) if reverse else range(steps))
        self.lengths = lengths
        self.gates = next((names for part in cell.modules() if (names := getattr(part, "gates", ()))), ())

    def project(self, x: Tensor) -> Tensor:
        return self.cell.project(x)

    def initial_state(self, batch_size: int) -> Any:
        return self.cell.initial_state(batch_size)

    def step(self, x_gates: Tensor, state: Any) -> Any:
        t = next(self.times)
        with _names_of_step(self.cell, x_gates, *state) as named:
            new = self.cell.step(x_gates, state)
        inside = None if self.lengths is None else t < self.lengths
        if any(_fault(part, inside) for part in new):
            for name, tensor in (*self._blocks(x_gates), *named, *_labelled("", new)):
                self.watch.see(tensor, self._part(name, new), inside, name=name, time=t, **self.place)
        for name, tensor in (*named, *_labelled("", new)):
            self.watch.see_gradient(tensor, self._part(name, new), name=name, time=t, **self.place)
        if new.hidden.requires_grad:
            norms = self.watch.norms.setdefault((self.place["layer"], self.place["direction"]), [])
            new.hidden.register_hook(lambda gradient: norms.append((t, gradient.double().norm().item())))
        return new

    def _blocks(self, x_gates: Tensor) -> list[tuple[str, Tensor]]:
        """The input's share in each gate."""
        if self.gates and x_gates.shape[1:] == (len(self.gates) * self.hidden_size,):
            return [*zip(self.gates, x_gates.chunk(len(self.gates), -1), strict=True)]
        return [("x_gates", x_gates)]

    def _part(self, name: str, state: Any) -> str:
        return "gate" if name in self.gates else "state" if name in state._fields else "variable"


@contextmanager
def _names_of_step(cell: Cell, *given: Tensor) -> Iterator[list[tuple[str, Tensor]]]:
    """Collect the tensors that `step` binds to names in the body, in this order; views of what it is given left out.

    Python tells the frames of `step` to a trace function line by line, as it does for a debugger, so that a cell needs
    no words of its own for it.
    """
    mine = {id(part) for part in cell.modules()}
    known = {_memory(tensor) for tensor in (*given, *cell.parameters(), *cell.buffers())}
    found: list[tuple[str, Tensor]] = []
    seen: set[int] = set()  # ids stay what they are, since `found` keeps the tensors

    def trace(frame: FrameType, _event: str, _argument: Any) -> Any:
        code = frame.f_code
        if code.co_name != "step" or not code.co_argcount or id(frame.f_locals.get(code.co_varnames[0])) not in mine:
            return None
        for name, value in list(frame.f_locals.items()):
            for label, tensor in _labelled(name, value):
                if _memory(tensor) not in known and id(tensor) not in seen:
                    seen.add(id(tensor))
                    found.append((label, tensor))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield found
    finally:
        sys.settrace(before)


def _labelled(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    """The tensors in a value: known by their fields or keys, else by the name."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, dict):
        yield from ((str(key), item) for key, item in value.items() if isinstance(item, Tensor))
    elif isinstance(value, tuple | list):
        labels = getattr(value, "_fields", None) or [f"{name}[{k}]" for k in range(len(value))]
        yield from ((label, item) for label, item in zip(labels, value, strict=True) if isinstance(item, Tensor))


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _fault(tensor: Tensor, rows: Tensor | None = None) -> Literal["nan", "inf"] | None:
    """What is wrong with the numbers of a tensor, in the rows that are True."""
    if not tensor.is_floating_point():
        return None
    numbers = tensor.detach()
    if rows is not None and numbers.dim() and len(numbers) == len(rows):
        numbers = numbers[rows]
    if bool(torch.isfinite(numbers).all()):
        return None
    return "nan" if bool(numbers.isnan().any()) else "inf"
