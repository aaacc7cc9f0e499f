"""The kernels of the compiled engine: which cells they run, and how their arrays lie in memory."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from seqtrain.cells import Cell, CoupledCell, GRUCell, LSTMCell, PeepholeCell, RNNCell


class Blocks(NamedTuple):
    """How the gradients of the pre-activations lie in `d_gates`, in blocks of H columns.

    total : the number of blocks.
    x : the blocks that belong to the rows of `w_x`; if `turned`, the last H rows of `w_x` come first.
    h : the blocks that belong to the rows of `w_h` that multiply h of the step before; other rows of `w_h` multiply
        what the engine puts `aside`.
    """

    total: int
    x: slice
    h: slice
    turned: bool = False

    def split(self, d_gates: Tensor) -> tuple[Tensor, Tensor]:
        """The blocks of `w_x`, `[T, B, rows of w_x]`, and of `w_h`, `[T, B, rows of w_h that multiply h]`."""
        H = d_gates.shape[-1] // self.total
        of_x, of_h = (d_gates[..., blocks.start * H : blocks.stop * H] for blocks in (self.x, self.h))
        return of_x, of_h

    def turn(self, w_x: Tensor) -> Tensor:
        """`w_x` with its rows in the order of these blocks."""
        return w_x.roll(len(w_x) // 3, 0) if self.turned else w_x

    def turn_back(self, dw_x: Tensor) -> Tensor:
        """The inverse of `turn` for a gradient of `w_x` or of the bias."""
        return dw_x.roll(-(len(dw_x) // 3), 0) if self.turned else dw_x


class Kernel(NamedTuple):
    """One kernel of the engine.

    cell : the class that it runs. A class derived from it may compute something else, and is not run.
    blocks : how its gradients lie.
    runs : which cells of that class; all of them unless said otherwise.
    vectors : the name of the parameter that acts unit by unit, and its shape before H; None if there is none.
    """

    cell: type[Cell]
    blocks: Blocks
    runs: Callable[[Any], bool] = lambda _: True
    vectors: tuple[str, tuple[int, ...]] | None = None


def _alike(gates: int) -> Blocks:
    return Blocks(gates, slice(0, gates), slice(0, gates))


KERNELS = {
    "lstm": Kernel(LSTMCell, _alike(4)),
    "peephole": Kernel(PeepholeCell, _alike(4), vectors=("p", (3,))),
    "coupled": Kernel(CoupledCell, _alike(3), lambda cell: cell.p is None),
    "coupled_peepholes": Kernel(CoupledCell, _alike(3), lambda cell: cell.p is not None, ("p", (2,))),
    # Blocks n, r, z, r * n: see csrc/cells.h.
    "gru_after": Kernel(
        GRUCell, Blocks(4, slice(0, 3), slice(1, 4), turned=True), lambda cell: cell.b_hn is not None, ("b_hn", ())
    ),
    "gru_before": Kernel(GRUCell, Blocks(3, slice(0, 3), slice(0, 2)), lambda cell: cell.b_hn is None),
    "rnn_tanh": Kernel(RNNCell, _alike(1), lambda cell: cell.nonlinearity == "tanh"),
    "rnn_relu": Kernel(RNNCell, _alike(1), lambda cell: cell.nonlinearity == "relu"),
}
"""In the order of `kRuns` in csrc/engine.cpp."""


def is_changed(cell: Cell) -> bool:
    """Whether a cell has a method of its own in place of the one of its class."""
    return bool({"step", "project", "initial_state"} & vars(cell).keys())


def kernel_of(cell: Cell) -> str | None:
    """The name of the kernel that runs a cell; None if there is none."""
    if is_changed(cell):
        return None
    kernels = KERNELS.items()
    return next((name for name, kernel in kernels if type(cell) is kernel.cell and kernel.runs(cell)), None)
