"""Find recurrent layers among the weights of a PyTorch program, by the names that `torch.nn` gives them.

    weight_ih_l0  weight_hh_l0  bias_ih_l0  bias_hh_l0          layer 0, as in nn.LSTM, nn.GRU and nn.RNN
    weight_ih_l0_reverse ...                                    its backward direction
    weight_ih  weight_hh  bias_ih  bias_hh                      of nn.LSTMCell, nn.GRUCell and nn.RNNCell

The shapes tell the kind: `weight_hh` is `[4H, H]` in an LSTM, `[3H, H]` in a GRU, `[H, H]` in a plain RNN.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from seqtrain.interchange.torch_file import listed, shown
from seqtrain.system.errors import ConfigError, plain

KINDS = {4: "lstm", 3: "gru", 1: "rnn"}
"""By the number of blocks of H rows."""

NAMES = {"lstm": "nn.LSTM", "gru": "nn.GRU", "rnn": "nn.RNN"}

WHATS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
"""The weights of a cell, in the order of `torch.nn`."""

NAME = re.compile(
    r"(?:(?P<module>.*)\.)?(?P<what>weight_ih|weight_hh|bias_ih|bias_hh|weight_hr)"
    r"(?:_l(?P<layer>\d{1,3}))?(?P<reverse>_reverse)?",
    re.DOTALL,
)


class CellWeights(NamedTuple):
    """The weights of one layer and direction.

    w_ih, w_hh : `[G*H, I]` and `[G*H, H]`.
    b_ih, b_hh : `[G*H]`; None without biases.
    """

    w_ih: Tensor
    w_hh: Tensor
    b_ih: Tensor | None
    b_hh: Tensor | None


class Recurrent(NamedTuple):
    """Recurrent layers.

    kind : `lstm`, `gru` or `rnn`.
    layers : of each layer, the forward cell, or the forward and the backward cell.
    names : of all their weights.
    """

    kind: str
    layers: list[list[CellWeights]]
    names: list[str]

    @property
    def input_size(self) -> int:
        """Numbers that the first layer reads in a step."""
        return self.layers[0][0].w_ih.shape[1]

    @property
    def hidden_sizes(self) -> list[int]:
        """H of each layer."""
        return [cells[0].w_hh.shape[1] for cells in self.layers]

    @property
    def output_size(self) -> int:
        """Numbers that the last layer gives in a step."""
        return sum(cell.w_hh.shape[1] for cell in self.layers[-1])

    @property
    def has_biases(self) -> bool:
        """Whether any cell has biases."""
        return any(cell.b_ih is not None for cells in self.layers for cell in cells)

    @property
    def is_bidirectional(self) -> bool:
        """Whether there is a backward direction."""
        return len(self.layers[0]) == 2


Places = dict[int, dict[bool, dict[str, str]]]
"""The names of a module's weights by layer, direction (whether it is the backward one), and kind of weight."""


def find_recurrent(tensors: Mapping[str, Tensor], chosen: Sequence[str] = (), *, in_order: bool = True) -> Recurrent:
    """The recurrent layers.

    Parameters
    ----------
    in_order : whether the weights are in the order of the modules; else a message sorts these by name.
    chosen : names of recurrent modules, each of which reads the outputs of the one before; by default the only one.

    Raises
    ------
    ConfigError : there are none, several and none is chosen, or their shapes do not fit together.
    """
    modules = _modules(tensors if in_order else sorted(tensors, key=_natural))
    if not modules:
        raise ConfigError(
            f"there are no recurrent weights, which torch.nn calls weight_ih_l0, weight_hh_l0 and so on; there are "
            f"{listed([*tensors])}"
        )
    names = ", ".join(map(shown, modules))
    if unknown := [module for module in chosen if module not in modules]:
        raise ConfigError(f"--recurrent {', '.join(map(shown, unknown))}: is not there; choose one of {names}")
    if len(set(chosen)) < len(chosen):
        raise ConfigError("--recurrent names a module twice; name each once, in the order in which they read")
    if not chosen and len(modules) > 1:
        all_of_them = " ".join(f"--recurrent {shown(module)}" for module in modules)
        raise ConfigError(
            f"there are several recurrent modules, {names}; if each reads the outputs of the one before, give "
            f"{all_of_them} in their order; else choose one with --recurrent, and leave out the others with --ignore"
        )
    places = [(module, layers) for module, layers in modules.items() if not chosen or module in chosen]
    places.sort(key=lambda place: chosen.index(place[0]) if chosen else 0)
    _check([fault for module, layers in places for fault in _gaps(module, layers)])
    cells = [
        [(module, directions[reverse]) for reverse in sorted(directions)]
        for module, layers in places
        for _, directions in sorted(layers.items())
    ]
    _check([fault for layer in cells for module, names in layer for fault in _faults_of_cell(module, names, tensors)])
    found = [[_cell(names, tensors) for _, names in layer] for layer in cells]
    first = [[names["weight_ih"] for _, names in layer] for layer in cells]
    _check([*_faults_together(found, first)])
    used = [names[what] for layer in cells for _, names in layer for what in WHATS if what in names]
    return Recurrent(_kind(found[0][0]), found, used)


def _check(faults: Sequence[str]) -> None:
    if faults:
        raise ConfigError(faults)


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """A key to sort names by, with numbers as numbers: `cells.2` before `cells.10`."""
    digits = re.compile(r"([0-9]+)")
    pieces = [(piece.lstrip("0"), digits.fullmatch(piece)) for piece in digits.split(name)]
    return [(match is None, len(piece) if match else 0, piece) for piece, match in pieces]


def _modules(tensors: Iterable[str]) -> dict[str, Places]:
    modules: dict[str, Places] = {}
    for name in tensors:
        if match := NAME.fullmatch(name):
            layer, reverse = int(match["layer"] or 0), match["reverse"] is not None
            places = modules.setdefault(match["module"] or "", {})
            places.setdefault(layer, {}).setdefault(reverse, {})[match["what"]] = name
    return modules


def _gaps(module: str, layers: Places) -> Iterator[str]:
    """Layers and directions that are missing."""
    both = any(True in directions for directions in layers.values())
    missing = [
        _name(module, "weight_ih", f"_l{layer}" + "_reverse" * reverse)
        for layer in range(max(layers) + 1)
        for reverse in ((False, True) if both else (False,))
        if reverse not in layers.get(layer, {})
    ]
    if missing:
        yield f"missing: {listed(missing)}"


def _name(module: str, what: str, ending: str) -> str:
    return plain(f"{module}.{what}{ending}" if module else f"{what}{ending}")


def _faults_of_cell(module: str, names: Mapping[str, str], tensors: Mapping[str, Tensor]) -> Iterator[str]:
    """What is wrong with the weights of one layer and direction."""
    what, one = next(iter(names.items()))
    ending = one[len(module) + bool(module) + len(what) :]
    if "weight_hr" in names:
        yield (
            f"{plain(names['weight_hr'])} is the projection of an LSTM with proj_size, which no cell of seqtrain has; "
            "import a model without proj_size"
        )
        return
    missing = [what for what in ("weight_ih", "weight_hh") if what not in names]
    missing += [what for what in ("bias_ih", "bias_hh") if what not in names and len(names) > 2]
    if missing:
        yield from (f"{_name(module, what, ending)} is missing" for what in missing)
        return
    w_hh = tensors[names["weight_hh"]]
    rows = len(w_hh) if w_hh.dim() else 0
    if w_hh.dim() != 2 or not w_hh.numel() or rows / w_hh.shape[1] not in KINDS:
        yield (
            f"{plain(names['weight_hh'])} is {_shape(w_hh)}; it must be [4H, H] of an LSTM, [3H, H] of a GRU, or "
            "[H, H] of a plain RNN"
        )
        return
    for what, dimensions in (("weight_ih", 2), ("bias_ih", 1), ("bias_hh", 1)):
        if what in names and not (tensors[names[what]].dim() == dimensions and len(tensors[names[what]]) == rows):
            yield f"{plain(names[what])} is {_shape(tensors[names[what]])}, but weight_hh has {rows} rows"


def _cell(names: Mapping[str, str], tensors: Mapping[str, Tensor]) -> CellWeights:
    b_ih, b_hh = (tensors[names[what]] if what in names else None for what in ("bias_ih", "bias_hh"))
    return CellWeights(tensors[names["weight_ih"]], tensors[names["weight_hh"]], b_ih, b_hh)


def _kind(cell: CellWeights) -> str:
    return KINDS[len(cell.w_hh) // cell.w_hh.shape[1]]


def _faults_together(layers: Sequence[Sequence[CellWeights]], names: Sequence[Sequence[str]]) -> Iterator[str]:
    """Cells of several kinds, and layers that do not read what the layer before gives.

    names : of each `w_ih`.
    """
    kinds = sorted({NAMES[_kind(cell)] for layer in layers for cell in layer})
    if len(kinds) > 1:
        yield f"the layers are of several kinds, {' and '.join(kinds)}; a stack has one kind"
    if len({len(layer) for layer in layers}) > 1:
        yield "some layers have a backward direction and some have none; a stack has one direction"
    given = layers[0][0].w_ih.shape[1]
    for layer, own in zip(layers, names, strict=True):
        for cell, name in zip(layer, own, strict=True):
            if cell.w_ih.shape[1] != given:
                yield f"{plain(name)} reads {cell.w_ih.shape[1]} numbers in a step, but it is given {given}"
        if len({cell.w_hh.shape for cell in layer}) > 1:
            yield f"the two directions of the layer of {plain(own[0])} have different sizes; in a stack they are equal"
        given = sum(cell.w_hh.shape[1] for cell in layer)


def _shape(tensor: Tensor) -> str:
    return str(list(tensor.shape))
