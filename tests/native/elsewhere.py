"""The engine as another machine or another compiler has it, beside the plain loop in double precision.

    python tests/native/elsewhere.py          # ARM64, with Debian's cross compiler and qemu-user
    python tests/native/elsewhere.py --compiler "clang++ -O3" --runner ""
    python tests/native/elsewhere.py --compiler "g++ -O1 -g -fsanitize=thread" --runner ""

The engine is compiled into a program (driver.cpp), which another machine's emulator can run. Every call that seqtrain
makes goes there, with its arrays, and the results come back; so all that is around the engine is what always runs.
"""

import argparse
import ctypes
import random
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from seqtrain.cells import Cell, CoupledCell, GRUCell, LSTMCell, PeepholeCell, RNNCell
from seqtrain.native import gemm, linear_cross_entropy
from seqtrain.recurrence import autograd, unroll_reference
from seqtrain.recurrence.fused import unroll_fused
from seqtrain.recurrence.kernels import KERNELS

CHECKOUT = Path(__file__).parents[2]
COMPILER, RUNNER = "aarch64-linux-gnu-g++ -O3 -static", "qemu-aarch64"
ALWAYS = ["-std=c++17", "-pthread", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"]

CELLS = {
    "lstm": lambda I, H: LSTMCell(I, H),
    "peephole": lambda I, H: PeepholeCell(I, H),
    "coupled": lambda I, H: CoupledCell(I, H),
    "coupled_peepholes": lambda I, H: CoupledCell(I, H, peepholes=True),
    "gru_after": lambda I, H: GRUCell(I, H, reset="after"),
    "gru_before": lambda I, H: GRUCell(I, H, reset="before"),
    "rnn_tanh": lambda I, H: RNNCell(I, H, nonlinearity="tanh"),
    "rnn_relu": lambda I, H: RNNCell(I, H, nonlinearity="relu"),
}


def compiled(compiler: Sequence[str], folder: Path) -> Path:
    """The program with the engine."""
    program = folder / "driver"
    sources = ["-I", CHECKOUT / "seqtrain/native/csrc", CHECKOUT / "tests/native/driver.cpp"]
    subprocess.run([*compiler, *ALWAYS, *sources, "-o", program], check=True)
    return program


class Elsewhere:
    """The engine in another process: `call` stands in the place of `seqtrain.native.library.call`."""

    def __init__(self, command: Sequence[str | Path]) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.calls = 0

    def call(self, function: str, *arguments) -> None:
        """Send a call with all its arrays, and take the arrays back."""
        self.calls += 1
        if function == "seqtrain_run":
            kernel, backward, call = arguments
            self._exchange(kernel, backward, _blocks_of_run(kernel, call._obj))
        elif function == "seqtrain_cross_entropy":
            self._exchange(-2, 0, _blocks_of_layer(arguments[0]._obj))
        else:
            self._exchange(-1, 0, _blocks_of_product(*arguments))

    def _exchange(self, kernel: int, backward: int, blocks: "_Blocks") -> None:
        memory = [ctypes.string_at(address, size) for address, size in blocks.blocks]
        message = struct.pack("3q", kernel, backward, len(memory))
        message += b"".join(struct.pack("q", len(block)) + block for block in memory)
        message += struct.pack("q", len(blocks.pointers))
        message += b"".join(struct.pack("3q", *pointer) for pointer in blocks.pointers)
        self.process.stdin.write(message)
        self.process.stdin.flush()
        assert struct.unpack("q", self.process.stdout.read(8)) == (0,)
        for n, (address, size) in enumerate(blocks.blocks):
            block = self.process.stdout.read(size)
            if n not in blocks.structures:
                ctypes.memmove(address, block, size)

    def end(self) -> None:
        """End the process, and see that all was well in it."""
        self.process.stdin.close()
        self.process.stdout.close()
        assert self.process.wait() == 0


class _Blocks:
    """Blocks of memory, each once, and the places where a pointer to one of them stands."""

    def __init__(self) -> None:
        self.blocks: list[tuple[int, int]] = []
        self.pointers: list[tuple[int, int, int]] = []  # block, offset, the block that it points to
        self.structures: set[int] = set()  # blocks that hold pointers

    def add(self, address: int, size: int) -> int:
        """The number of a block."""
        if (address, size) not in self.blocks:
            self.blocks.append((address, size))
        return self.blocks.index((address, size))

    def structure(self, value: ctypes.Structure | ctypes.Array) -> int:
        """Likewise, of a structure."""
        self.structures.add(number := self.add(ctypes.addressof(value), ctypes.sizeof(value)))
        return number

    def point(self, block: int, offset: int, address: int | None, floats: int) -> None:
        """There is a pointer to an array of float32."""
        if address:
            self.pointers.append((block, offset, self.add(address, 4 * floats)))


def _blocks_of_run(kernel: int, call: autograd._Call) -> _Blocks:
    found = list(KERNELS.values())[kernel]
    T, B, H, blocks = call.steps, call.batch, call.hidden, found.blocks.total
    gates = 3 if blocks == 4 and found.cell is GRUCell else blocks
    vectors = 0 if found.vectors is None else H * (found.vectors[1] or (1,))[0]
    kept, state, every = (T if call.saving else 1) * B * H, B * H, T * B * H
    floats = {"lengths": 2 * B, "w_h": gates * H * H, "p": vectors, "gates": gates * every, "outputs": every}
    floats |= {"cells": kept, "aside": kept, "d_outputs": every, "d_gates": blocks * every, "db": blocks * H}
    floats |= dict.fromkeys(("h_first", "c_first", "h_last", "c_last", "dh", "dc"), state) | {"dp": vectors}
    result = _Blocks()
    number = result.structure(call)
    for name, kind in call._fields_:
        if kind is ctypes.c_void_p:
            result.point(number, getattr(autograd._Call, name).offset, getattr(call, name), floats[name])
    return result


def _blocks_of_layer(call: linear_cross_entropy._Call) -> _Blocks:
    N, H, V = call.rows, call.hidden, call.words
    floats = {"targets": 2 * N, "features": N * H, "weight": V * H, "bias": V, "scales": N, "losses": N}
    floats |= {"d_features": N * H, "d_weight": V * H, "d_bias": V}
    result = _Blocks()
    number = result.structure(call)
    for name, size in floats.items():
        result.point(number, getattr(type(call), name).offset, getattr(call, name), size)
    return result


def _blocks_of_product(depth, columns, b, bias, factors, count, threads, storage) -> _Blocks:
    result, (depth, columns, b) = _Blocks(), (depth.value, columns.value, b._obj)
    call = _ProductCall(depth, columns, None, None, None, count, threads, storage)
    number = result.structure(call)
    assert number == 0
    result.pointers.append((number, _ProductCall.b.offset, matrix := result.structure(b)))
    result.pointers.append((number, _ProductCall.factors.offset, all_factors := result.structure(factors)))
    result.point(number, _ProductCall.bias.offset, bias.value, columns)
    result.point(matrix, gemm._Matrix.data.offset, b.data, _extent(b, depth, columns))
    for n, factor in enumerate(factors):
        at = n * ctypes.sizeof(gemm._Factor)
        a = at + gemm._Factor.a.offset + gemm._Matrix.data.offset
        result.point(all_factors, a, factor.a.data, _extent(factor.a, factor.rows, factor.end - factor.begin))
        result.point(all_factors, at + gemm._Factor.c.offset, factor.c, factor.rows * columns)
        result.point(all_factors, at + gemm._Factor.turned.offset, factor.turned, factor.rows * columns)
    result.call = call  # lives as long
    return result


class _ProductCall(ctypes.Structure):
    """`ProductCall` in driver.cpp."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("depth", "columns")),
        *((name, ctypes.c_void_p) for name in ("b", "bias", "factors")),
        *((name, ctypes.c_int32) for name in ("count", "threads", "storage")),
    )


def _extent(matrix: gemm._Matrix, rows: int, columns: int) -> int:
    return (rows - 1) * matrix.row_step + (columns - 1) * matrix.column_step + 1 if rows * columns else 0


def compare(name: str, sizes: tuple[int, int, int, int], *, lengths: bool, reverse: bool) -> float:
    """The largest error of outputs, last state and all gradients of a cell, relative to 1 + their size."""
    T, B, I, H = sizes
    cell = CELLS[name](I, H)
    for parameter in cell.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    x, state = torch.randn(T, B, I), cell.state_type(*(torch.randn(B, H) for _ in cell.state_type._fields))
    options = {"lengths": torch.randint(0, T + 1, (B,)) if lengths else None, "reverse": reverse}
    found, right = (_results(run, cell, x, state, kind, options)
                    for run, kind in ((unroll_fused, torch.float32), (unroll_reference, torch.float64)))  # fmt: skip
    return max(float(((a - b).abs() / (1 + b.abs())).max()) for a, b in zip(found, right, strict=True))


def _results(run, cell: Cell, x: Tensor, state, kind: torch.dtype, options) -> list[Tensor]:
    cell = cell.to(kind)
    cell.zero_grad()
    x = x.to(kind).detach().requires_grad_()
    state = type(state)(*(part.to(kind).detach().requires_grad_() for part in state))
    with torch.no_grad():
        forward_alone, _ = run(cell, x, state, **options)
    outputs, last = run(cell, x, state, **options)
    sum((part * part.detach().cos()).sum() for part in (outputs, *last)).backward()
    leaves = [x, *state, *cell.parameters()]
    return [part.detach().double() for part in (forward_alone, outputs, *last, *(leaf.grad for leaf in leaves))]


def compare_layer(N: int, H: int, V: int) -> float:
    """The largest error of an output layer: losses, their sum and all gradients."""
    features, weight, bias, targets = torch.randn(N, H), torch.randn(V, H) / H**0.5, torch.randn(V), torch.arange(N) % V

    def results(run, kind: torch.dtype) -> list[Tensor]:
        given = [one.to(kind, copy=True).requires_grad_() for one in (features, weight, bias)]
        each, total = run(*given, targets, reduction="none"), run(*given, targets, reduction="sum")
        (each * each.detach().cos()).sum().backward()
        (total / N).backward()
        return [one.detach().double() for one in (each, total / N, *(one.grad for one in given))]

    def plain(features, weight, bias, targets, reduction):
        scores = torch.nn.functional.linear(features, weight, bias)
        return torch.nn.functional.cross_entropy(scores, targets, reduction=reduction)

    found, right = results(linear_cross_entropy.linear_cross_entropy, torch.float32), results(plain, torch.float64)
    return max(float(((a - b).abs() / (1 + b.abs())).max()) for a, b in zip(found, right, strict=True))


def check(command: Sequence[str | Path], sizes: Sequence[tuple[int, int, int, int]]) -> tuple[float, int]:
    """The largest error over all kernels, directions and sizes, and the number of calls of the engine."""
    engine, random_lengths = Elsewhere(command), random.Random(0)
    modules, threads = (autograd, gemm, linear_cross_entropy), torch.get_num_threads()
    before = [module.call for module in modules]
    torch.manual_seed(0)
    try:
        for module in modules:
            module.call = engine.call
        worst = 0.0
        for n, size in enumerate(LAYERS):
            torch.set_num_threads(1 + n % 3)
            worst = max(worst, compare_layer(*size))
        for n, (name, size) in enumerate((name, size) for name in CELLS for size in sizes):
            torch.set_num_threads(1 + n % 3)
            for reverse in (False, True):
                worst = max(worst, compare(name, size, lengths=random_lengths.random() < 0.5, reverse=reverse))
    finally:
        for module, own in zip(modules, before, strict=True):
            module.call = own
        torch.set_num_threads(threads)
        engine.end()
    return worst, engine.calls


SIZES = [(5, 3, 2, 5), (3, 50, 1, 16), (6, 7, 4, 37), (2, 2, 70, 130), (300, 2, 3, 8)]
LAYERS = [(64, 1, 1024), (300, 33, 1537), (65, 40, 5000)]


def main() -> int:
    """Compile, compare and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compiler", default=COMPILER)
    parser.add_argument("--runner", default=RUNNER, help="the program that runs the other machine's programs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        program = compiled(options.compiler.split(), Path(folder))
        if (objdump := shutil.which("aarch64-linux-gnu-objdump")) and "aarch64" in options.compiler:
            listing = subprocess.run([objdump, "-d", program], capture_output=True, text=True, check=True).stdout
            count = sum("fmla" in line and ".4s" in line for line in listing.splitlines())
            print(f"fused multiply-adds of four lanes: {count}")
        worst, calls = check([*options.runner.split(), program], SIZES)
    print(f"{calls} calls of the engine; the largest error is {worst:.1e}")
    return worst > 2e-5


if __name__ == "__main__":
    sys.exit(main())
