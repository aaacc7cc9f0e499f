"""Benchmark of the cells: ours beside the module of `torch.nn` of the same kind and the plain loop, in one process.

The contestants take turns within a round, each round in another order, so that other work on the machine disturbs all
of them alike. The number of threads and flush-to-zero belong to the process, so they are the same for all. On a GPU the
clock starts and stops when the GPU has nothing left to do.
"""

import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Literal, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from seqtrain.cells import CELLS, Cell, OdysseyCell
from seqtrain.cells.gru import GRUCell
from seqtrain.native.library import describe
from seqtrain.native.storage import Precision
from seqtrain.recurrence import Loop, choose_loop, unroll_reference
from seqtrain.system.processes import python_command
from seqtrain.system.progress import Progress, say
from seqtrain.system.runtime import keep_freed_memory, prepare, prepare_gpu, versions

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Shape:
    """Steps, batch, input size, hidden size."""

    T: int
    B: int
    I: int
    H: int


SHAPES = (
    Shape(100, 32, 128, 128),
    Shape(35, 20, 200, 200),
    Shape(200, 64, 256, 256),
    Shape(35, 20, 650, 650),
    Shape(400, 50, 2, 128),
    Shape(1000, 16, 64, 100),
)

VARIANTS: dict[str, tuple[Callable[[int, int], Cell], Callable[[int, int], nn.Module]]] = {
    "rnn": (CELLS["rnn"], nn.RNN),
    "lstm": (CELLS["lstm"], nn.LSTM),
    "peephole": (CELLS["peephole"], nn.LSTM),
    "coupled": (CELLS["coupled"], nn.LSTM),
    "gru": (CELLS["gru"], nn.GRU),
    "gru-before": (partial(GRUCell, reset="before"), nn.GRU),
}
"""What can be measured: how to make the cell, and its peer in `torch.nn`."""

GPU_VARIANTS = VARIANTS | {
    "odyssey": (CELLS["odyssey"], nn.LSTM),
    "full-gate-recurrence": (partial(OdysseyCell, ablation="full_gate_recurrence"), nn.LSTM),
}
"""Likewise on a GPU, which has kernels for more cells."""


@dataclass(frozen=True)
class Place:
    """Where all contestants compute, and in which precision: bfloat16 is torch's autocast."""

    device: str = "cpu"
    precision: Precision = "float32"

    @property
    def is_gpu(self) -> bool:
        """Whether it is a GPU, which works on while the program goes on."""
        return self.device != "cpu"

    @property
    def name(self) -> str:
        """For the reader."""
        return torch.cuda.get_device_name(self.device) if self.is_gpu else self.device

    def wait(self) -> None:
        """Until everything is computed."""
        if self.is_gpu:
            torch.cuda.synchronize(self.device)

    def choose_loop(self, cell: Cell) -> Loop:
        """Ours, in this precision."""
        return self.autocast(partial(choose_loop, "auto"))(cell)

    def autocast(self, run: Callable[P, R]) -> Callable[P, R]:
        """A function in this precision."""
        return (
            run if self.precision == "float32" else torch.autocast(torch.device(self.device).type, torch.bfloat16)(run)
        )

    def versions(self) -> dict[str, str]:
        """Those of all software that computes."""
        found = versions()
        if self.is_gpu:
            found |= {"cuda": str(torch.version.cuda), "cudnn": str(torch.backends.cudnn.version())}  # type: ignore[no-untyped-call]
        return found


CPU = Place()

WARMUP = 3
"""Rounds that do not count; in the third, a pass on a GPU is recorded."""


@dataclass(frozen=True)
class Timing:
    """For each contestant: the median time, the quartiles over the rounds, and the ratio of its median to ours."""

    ms: dict[str, float]
    middle_half_ms: dict[str, tuple[float, float]]
    ratio: dict[str, float]


@dataclass(frozen=True)
class Row:
    """One cell on one shape.

    forward : a forward pass without gradients.
    train : forward and backward, with gradients of the inputs too.
    peak_bytes : of the first training step, if asked for; None where the system does not report it (Linux does).
    """

    cell: str
    shape: Shape
    engine: str
    forward: Timing
    train: Timing
    peak_bytes: dict[str, int | None]


@dataclass(frozen=True)
class Mean:
    """Of the ratios of a contestant over the shapes."""

    geometric_mean: float
    least: float


@dataclass(frozen=True)
class Means:
    """The means of one cell, by contestant."""

    cell: str
    forward: dict[str, Mean]
    train: dict[str, Mean]


@dataclass(frozen=True)
class Benchmark:
    """All measurements.

    device : `cpu`, or a GPU with its name.
    memory : `kept` if freed memory stayed in the process.
    engine : which compiled engine there is, and why no better one.
    """

    device: str
    precision: Precision
    threads: int
    rounds: int
    memory: Literal["kept", "system"]
    engine: str
    rows: list[Row]
    means: list[Means]
    versions: dict[str, str]

    def as_json(self) -> dict[str, object]:
        """What `seqtrain bench --json` prints: peaks of memory only if they were asked for."""
        rows = [{name: value for name, value in asdict(row).items() if value != {}} for row in self.rows]
        return asdict(self) | {"rows": rows}


def bench(
    variants: Sequence[str],
    shapes: Sequence[Shape],
    rounds: int,
    *,
    keep_memory: bool = False,
    memory: bool = False,
    quiet: bool = False,
    place: Place = CPU,
) -> Benchmark:
    """Measure every variant on every shape.

    Parameters
    ----------
    variants : names in `VARIANTS`, on a GPU in `GPU_VARIANTS`.
    keep_memory : keep freed memory in the process, for all contestants (see `keep_freed_memory`).
    memory : also measure the peak memory of the first training step, each contestant in a process of its own.
    """
    kept = keep_memory and keep_freed_memory()
    rows = []
    with Progress(len(variants) * len(shapes), label="bench", unit="row", quiet=quiet) as progress:
        for variant, shape in product(variants, shapes):
            rows.append(_row(place, variant, shape, rounds, kept if memory else None))
            progress.advance()
    loops = (place.choose_loop(GPU_VARIANTS[variant][0](1, 1).to(place.device)) for variant in variants)
    if loop := next((loop for loop in loops if loop.missing), None):
        say(f"engine: {loop.missing}; what is timed as ours is {loop.instead}", quiet=quiet)
    means = [_means(variant, [row for row in rows if row.cell == variant]) for variant in variants]
    kept_or_not: Literal["kept", "system"] = "kept" if kept else "system"
    threads, software = torch.get_num_threads(), place.versions()
    return Benchmark(place.name, place.precision, threads, rounds, kept_or_not, describe(), rows, means, software)


def _row(place: Place, variant: str, shape: Shape, rounds: int, measure_kept: bool | None) -> Row:
    """Measure a variant on a shape; its memory too, with freed memory kept or not, unless `measure_kept` is None."""
    loop, runs = _contestants(place, variant, shape)
    gemm = _gemm(place, variant, shape)
    forwards = {name: torch.no_grad()(run) for name, run in runs.items()}
    forward = time_in_turns(forwards | {"floor": gemm}, rounds, place.wait)
    d_outputs = torch.randn(shape.T, shape.B, shape.H, device=place.device)
    steps: dict[str, Callable[[], object]] = {name: _training_step(run, d_outputs) for name, run in runs.items()}
    train = time_in_turns(steps | {"floor": lambda: [gemm() for _ in range(3)]}, rounds, place.wait)
    peaks = {}
    if measure_kept is not None:
        peaks = {name: peak_elsewhere(variant, shape, name, measure_kept, place) for name in ("ours", "torch_nn")}
    return Row(variant, shape, loop.name, forward, train, peaks)


def _contestants(place: Place, variant: str, shape: Shape) -> tuple[Loop, dict[str, Callable[[], Tensor]]]:
    """Which loop is ours, and the forward passes over one input."""
    make_cell, make_peer = GPU_VARIANTS[variant]
    torch.manual_seed(0)
    cell, module = make_cell(shape.I, shape.H).to(place.device), make_peer(shape.I, shape.H).to(place.device)
    x = torch.randn(shape.T, shape.B, shape.I).to(place.device).requires_grad_()
    loop = place.choose_loop(cell)
    runs: dict[str, Callable[[], Tensor]] = {
        "ours": lambda: loop.unroll(cell, x)[0],
        "torch_nn": lambda: module(x)[0],
        "plain": lambda: unroll_reference(cell, x)[0],
    }
    return loop, {name: place.autocast(run) for name, run in runs.items()}


def _gemm(place: Place, variant: str, shape: Shape) -> Callable[[], Tensor]:
    """One matrix product of torch with as many multiplications as a forward pass."""
    columns = GPU_VARIANTS[variant][0](1, shape.H).state_dict()["w_h"].shape[0]
    rows, inner, dtype = shape.T * shape.B, shape.I + shape.H, getattr(torch, place.precision)
    left, right = (torch.randn(size, device=place.device).to(dtype) for size in ((rows, inner), (inner, columns)))
    out = left.new_empty(rows, columns)
    return lambda: torch.mm(left, right, out=out)


def _training_step(run: Callable[[], Tensor], d_outputs: Tensor) -> Callable[[], None]:
    """Forward and backward. Gradients accumulate, for all contestants alike."""

    def step() -> None:
        outputs = run()
        outputs.backward(d_outputs.to(outputs.dtype))  # type: ignore[no-untyped-call]

    return step


def time_in_turns(
    contestants: Mapping[str, Callable[[], object]], rounds: int, wait: Callable[[], object] = lambda: None
) -> Timing:
    """Time contestants, one of them `ours`, that take turns in a new order each round; `wait` ends pending work."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    names, shuffler = list(contestants), random.Random(0)
    for turn in range(WARMUP + rounds):
        shuffler.shuffle(names)
        for name in names:
            wait()
            started_at = time.perf_counter()
            contestants[name]()
            wait()
            if turn >= WARMUP:
                seconds[name].append(time.perf_counter() - started_at)
    medians = {name: 1e3 * statistics.median(times) for name, times in seconds.items()}
    quartiles = {name: statistics.quantiles(times, n=4) for name, times in seconds.items()}
    return Timing(
        medians,
        {name: (1e3 * first, 1e3 * third) for name, (first, _, third) in quartiles.items()},
        {name: median / medians["ours"] for name, median in medians.items() if name != "ours"},
    )


def _means(variant: str, rows: Sequence[Row]) -> Means:
    def means(timings: list[Timing]) -> dict[str, Mean]:
        ratios = {peer: [timing.ratio[peer] for timing in timings] for peer in ("torch_nn", "plain")}
        return {peer: Mean(statistics.geometric_mean(values), min(values)) for peer, values in ratios.items()}

    return Means(variant, forward=means([row.forward for row in rows]), train=means([row.train for row in rows]))


def peak_elsewhere(
    variant: str, shape: Shape, contestant: str, keep_memory: bool = False, place: Place = CPU
) -> int | None:
    """The peak memory of the first training step of a contestant, in a process of its own."""
    task = json.dumps([variant, astuple(shape), contestant, torch.get_num_threads(), keep_memory, astuple(place)])
    ran = subprocess.run(python_command(__name__, task), capture_output=True, check=False, text=True)
    if ran.returncode:
        raise RuntimeError(f"the process that measures memory ended with {ran.returncode}:\n{ran.stderr}")
    peak: int | None = json.loads(ran.stdout)
    return peak


def peak_bytes(run: Callable[[], object]) -> int | None:
    """The peak memory of a call above that of the process before it; None where the system does not report it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        before = _status("VmRSS")
        run()
        return _status("VmHWM") - before
    except OSError:
        return None


def peak_bytes_on_gpu(run: Callable[[], object]) -> int:
    """Likewise of the memory of a GPU that PyTorch manages; what cuDNN takes for itself is not seen."""
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    return torch.cuda.max_memory_allocated() - before


def _status(field: str) -> int:
    """Bytes that Linux reports about this process."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def main() -> None:
    """Print the peak memory of one training step: what `peak_elsewhere` runs."""
    variant, sizes, contestant, threads, keep_memory, where = json.loads(sys.argv[1])
    place = Place(*where)
    prepare(threads)
    if place.is_gpu:
        prepare_gpu()
        torch.cuda.set_device(place.device)
    if keep_memory:
        keep_freed_memory()
    # A tiny step first, as it loads what is loaded at the first use.
    tiny, real = (
        _training_step(
            _contestants(place, variant, shape)[1][contestant],
            torch.randn(shape.T, shape.B, shape.H, device=place.device),
        )
        for shape in (Shape(2, 2, 2, 2), Shape(*sizes))
    )
    tiny()
    print(json.dumps((peak_bytes_on_gpu if place.is_gpu else peak_bytes)(real)))


if __name__ == "__main__":
    main()
