"""Recurrent layers for a model of your own, with the interface of `torch.nn.LSTM` and `torch.nn.GRU`."""

import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any, get_args

import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from seqtrain.cells import CELLS, Cell
from seqtrain.models.dropout import Dropout
from seqtrain.models.settings import CELL_SECTIONS
from seqtrain.models.stack import Stack, StackState
from seqtrain.recurrence import Engine, Loop, unroll

__all__ = ["Recurrent"]


class Recurrent(nn.Module):
    """Layers of one kind of cell, to be used as `torch.nn.LSTM` and `torch.nn.GRU` are.

    The arguments have the names, the order and the meaning that they have in `torch.nn.LSTM`, after the cell.

    Parameters
    ----------
    cell : a name of `seqtrain.CELLS`, or your own class derived from `seqtrain.cells.Cell`.
    input_size, hidden_size : I, and H of each layer and direction.
    num_layers : L, at least 1.
    bias : must be True; every cell has a bias.
    batch_first : the inputs and outputs are `[B, T, ...]` instead of `[T, B, ...]`. The state stays as it is.
    dropout : probability to drop an output of a layer in training, except the last layer's; below 1.
    bidirectional : each layer reads the sequence in both directions (D is 2), and the outputs are concatenated.
    proj_size : must be 0; no cell projects its output.
    device, dtype : of the parameters; by default those of new tensors.
    engine : what runs the cells, as in `unroll`.
    options : of the cell, such as `reset="before"` of a GRU.

    Attributes
    ----------
    stack : the layers. Its parameters have the names that they have in a checkpoint of a trained model,
        `stack.layers.LAYER.DIRECTION.w_x` and so on; direction 0 reads forward. They start as those of the cell do, not
        as those of torch.nn.

    Raises
    ------
    TypeError : the cell is no cell, a size is no whole number, or the cell has no such option.
    ValueError : an argument or option has a value that is not allowed.
    """

    def __init__(
        self,
        cell: str | type[Cell],
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
        *,
        engine: Engine = "auto",
        **options: Any,
    ) -> None:
        super().__init__()
        _check_sizes(input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        _check_the_rest(bias, dropout, proj_size, dtype, engine)
        if dropout and num_layers == 1:
            warnings.warn(f"dropout is {dropout:g}, but it acts between layers, and num_layers is 1", stacklevel=2)
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.proj_size = True, 0
        self.batch_first = bool(batch_first)
        self.bidirectional = bool(bidirectional)
        self.stack = Stack(
            partial(_class_of(cell, options), **options),
            input_size,
            [hidden_size] * num_layers,
            direction="bidirectional" if bidirectional else "forward",
            dropout=Dropout(dropout=float(dropout)),
        )
        self.stack.loop = Loop(engine, partial(unroll, engine=engine))
        self.to(device=device, dtype=dtype)

    @property
    def dropout(self) -> float:
        """The probability; it cannot be changed."""
        return self.stack.dropout.dropout

    def forward(self, x: Tensor | PackedSequence, state: Any = None) -> tuple[Any, Any]:
        """Run all layers over a batch of sequences.

        Parameters
        ----------
        x : `[T, B, I]`, or `[B, T, I]` if `batch_first`; a single sequence `[T, I]`; or a `PackedSequence`.
        state : the state to start from; the cells' own initial state if None. A tensor `[L*D, B, H]` for each field of
            the cell's state, without B for a single sequence: `(h, c)` for the kinds of LSTM, h alone for the GRU and
            the RNN.

        Returns
        -------
        outputs : `[T, B, D*H]` of the last layer, in the form of `x`.
        state : after the last step in walking order, in the form of the argument `state`.

        Raises
        ------
        ValueError : x or state has another shape.
        """
        if isinstance(x, PackedSequence):
            return self._run_packed(x, state)
        if x.dim() not in (2, 3):
            raise ValueError(f"x has the shape {list(x.shape)}; it must have 3 dimensions, or 2 for a single sequence")
        parts = _parts(state)
        if x.dim() == 2:
            outputs, last = self._run(x.unsqueeze(1), None if parts is None else [part.unsqueeze(1) for part in parts])
            return outputs.squeeze(1), _as_state([part.squeeze(1) for part in last])
        if not self.batch_first:
            outputs, last = self._run(x, parts)
            return outputs, _as_state(last)
        outputs, last = self._run(x.transpose(0, 1), parts)
        return outputs.transpose(0, 1), _as_state(last)

    def _run_packed(self, x: PackedSequence, state: Any) -> tuple[PackedSequence, Any]:
        """Run the sequences in their order in the packed data, from the longest to the shortest."""
        padded, lengths = pad_packed_sequence(PackedSequence(x.data, x.batch_sizes))
        parts = _parts(state)
        if parts is not None and x.sorted_indices is not None:
            parts = [part.index_select(1, x.sorted_indices) for part in parts]
        outputs, last = self._run(padded, parts, lengths.to(padded.device))
        if x.unsorted_indices is not None:
            last = [part.index_select(1, x.unsorted_indices) for part in last]
        data = pack_padded_sequence(outputs, lengths).data
        return PackedSequence(data, x.batch_sizes, x.sorted_indices, x.unsorted_indices), _as_state(last)

    def _run(
        self, x: Tensor, parts: Sequence[Tensor] | None, lengths: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """`[T, B, I]` and the fields of the state, `[L*D, B, ...]` each, to the outputs and the new fields."""
        outputs, _, states = self.stack(x, lengths, None if parts is None else self._split(parts, x.shape[1]))
        cells = [after for layer in states for after in layer]
        return outputs, [torch.stack(field) for field in zip(*cells, strict=True)]

    def _split(self, parts: Sequence[Tensor], batch_size: int) -> StackState:
        """The state of each cell from the fields `[L*D, B, ...]`."""
        layers = self.stack.cells()
        kinds = [[cell.initial_state(batch_size) for cell in cells] for cells in layers]
        count, kind = sum(map(len, layers)), kinds[0][0]
        wanted = {name: [count, *part.shape] for name, part in kind._asdict().items()}
        if [list(part.shape) for part in parts] != [*wanted.values()]:
            needed = ", ".join(f"{name} {shape}" for name, shape in wanted.items())
            got = ", ".join(str(list(part.shape)) for part in parts)
            raise ValueError(f"the state has the shapes {got}; these inputs need {needed}")
        each = zip(*(part.unbind() for part in parts), strict=True)
        return [[type(state)(*next(each)) for state in layer] for layer in kinds]

    def flatten_parameters(self) -> None:
        """Do nothing; it exists since programs call it for `torch.nn.LSTM`."""

    def extra_repr(self) -> str:
        """The arguments that differ from the defaults."""
        given = {"num_layers": 1, "batch_first": False, "dropout": 0.0, "bidirectional": False}
        changed = [f"{name}={getattr(self, name)}" for name, value in given.items() if getattr(self, name) != value]
        return ", ".join([str(self.input_size), str(self.hidden_size), *changed])


def _parts(state: Any) -> list[Tensor] | None:
    """The fields of a state of the user's."""
    return None if state is None else [state] if isinstance(state, Tensor) else list(state)


def _as_state(parts: list[Tensor]) -> Any:
    """The fields as `torch.nn` returns them: a single one alone."""
    return parts[0] if len(parts) == 1 else tuple(parts)


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool):
            raise TypeError(f"{name} is {size!r}; it must be a whole number")
        if size < 1:
            raise ValueError(f"{name} is {size}; it must be at least 1")


def _check_the_rest(bias: bool, dropout: float, proj_size: int, dtype: torch.dtype | None, engine: str) -> None:
    if not bias:
        raise ValueError("bias is False, but every cell has a bias; leave it out, or set b to zero and freeze it")
    if proj_size:
        raise ValueError(f"proj_size is {proj_size}, but no cell projects its output; add a torch.nn.Linear")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout is {dropout}; it must be from 0 to below 1")
    if dtype is not None and not dtype.is_floating_point:
        raise ValueError(f"dtype is {dtype}; it must be a floating-point type")
    if engine not in get_args(Engine):
        raise ValueError(f"engine is {engine!r}; use one of {', '.join(get_args(Engine))}")


def _class_of(cell: Any, options: dict[str, Any]) -> type[Cell]:
    """The class of a cell. The options of a built-in one are checked; a class of the user's own checks its own."""
    if isinstance(cell, str) and cell not in CELLS:
        raise ValueError(f"cell is {cell!r}; use one of {', '.join(CELLS)}, or your own class")
    cls = CELLS[cell] if isinstance(cell, str) else cell
    if not (isinstance(cls, type) and issubclass(cls, Cell)):
        raise TypeError(f"cell is {cell!r}; it must be a name, or a class derived from seqtrain.cells.Cell")
    name = next((name for name, built_in in CELLS.items() if built_in is cls), None)
    if name is not None:
        _check_options(name, options)
    return cls


def _check_options(name: str, options: dict[str, Any]) -> None:
    """Refuse options that a built-in cell does not have, or whose values it does not allow, as in a config."""
    section = CELL_SECTIONS[name]
    known = section.model_fields.keys() - {"name"}
    for option in options.keys() - known:
        raise TypeError(f"cell {name!r} has no option {option!r}; it has {', '.join(sorted(known))}")
    try:
        faults = section.model_validate({"name": name, **options}).faults()
    except ValidationError as error:
        found = (f"{e['loc'][0]} is {e['input']!r}; {e['msg'][0].lower()}{e['msg'][1:]}" for e in error.errors())
        raise ValueError("; ".join(found)) from None
    if messages := [f"{option} {message}" for option, message in faults]:
        raise ValueError("; ".join(messages))
