"""How fast the cells are: ours beside the module of `torch.nn` of the same kind and the plain loop, in one process.

Contestants take turns within a round, each round in another order, so that whatever else the machine does
meets all of them alike; flush-to-zero and the number of threads are the process's and so the same for all.
"""

import json
import math
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seqtrain.cells import CELLS
from seqtrain.recurrence import Chosen, choose_unroll, unroll
from seqtrain.system.progress import Progress, say
from seqtrain.system.runtime import keep_freed_memory, prepare, versions


class Shape(NamedTuple):
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

VARIANTS: dict[str, tuple[str, dict[str, Any], Callable[[int, int], nn.Module]]] = {
    "rnn": ("rnn", {}, nn.RNN),
    "lstm": ("lstm", {}, nn.LSTM),
    "peephole": ("peephole", {}, nn.LSTM),
    "coupled": ("coupled", {}, nn.LSTM),
    "gru": ("gru", {}, nn.GRU),
    "gru-before": ("gru", {"reset": "before"}, nn.GRU),
}
"""What can be measured: the cell, its options, and its peer in `torch.nn`."""

WARMUP = 2


def bench(
    variants: Sequence[str],
    shapes: Sequence[Shape],
    rounds: int,
    *,
    keep_memory: bool = False,
    memory: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Measure every variant on every shape.

    Parameters
    ----------
    keep_memory : keep freed memory in the process, for all contestants (see `keep_freed_memory`).
    memory : also measure the most memory that the first training step needs, each contestant in a process of its own.

    Returns
    -------
    What `seqtrain bench --json` prints: a row for each variant and shape with the milliseconds of each contestant
    (median, and the middle half of the rounds) in a forward pass without gradients and in a training step (forward
    and backward, the inputs having gradients too), the ratios to ours, and, if asked for, the bytes that a training
    step needs at its peak (Linux only, else null); and the geometric mean of the ratios over the shapes.
    """
    kept = keep_memory and keep_freed_memory()
    rows: list[dict[str, Any]] = []
    missing = None
    with Progress(len(variants) * len(shapes), label="bench", unit="row", quiet=quiet) as progress:
        for variant in variants:
            for shape in shapes:
                rows.append(_row(variant, shape, rounds))
                missing = missing or rows[-1].pop("missing")
                if memory:
                    rows[-1]["peak_bytes"] = {
                        name: peak_elsewhere(variant, shape, name, kept) for name in ("ours", "torch_nn")
                    }
                progress.advance()
    if missing is not None:
        say(f"engine: {missing}; what is timed as ours is the plain loop", quiet=quiet)
    return {
        "threads": torch.get_num_threads(),
        "rounds": rounds,
        "memory": "kept" if kept else "system",
        "rows": rows,
        "means": [_means(variant, rows) for variant in variants],
        "versions": versions(),
    }


def _row(variant: str, shape: Shape, rounds: int) -> dict[str, Any]:
    chosen, runs = _contestants(variant, shape)
    gemm = _gemm(variant, shape)
    d_outputs = torch.randn(shape.T, shape.B, shape.H)
    forward = _time({name: _without_gradients(run) for name, run in runs.items()} | {"floor": gemm}, rounds)
    steps = {name: _training_step(run, d_outputs) for name, run in runs.items()}
    train = _time(steps | {"floor": lambda: [gemm() for _ in range(3)]}, rounds)
    row = {"cell": variant, "shape": shape._asdict(), "engine": chosen.name, "missing": chosen.missing}
    return row | {"forward": forward, "train": train}


def _contestants(variant: str, shape: Shape) -> tuple[Chosen, dict[str, Callable[[], Tensor]]]:
    """Which loop is ours, and the forward passes over one input."""
    name, options, peer = VARIANTS[variant]
    torch.manual_seed(0)
    cell, module = CELLS[name](shape.I, shape.H, **options), peer(shape.I, shape.H)
    x = torch.randn(shape.T, shape.B, shape.I, requires_grad=True)
    chosen = choose_unroll("auto", cell)
    return chosen, {
        "ours": lambda: chosen.unroll(cell, x)[0],
        "torch_nn": lambda: module(x)[0],
        "plain": lambda: unroll(cell, x)[0],
    }


def _gemm(variant: str, shape: Shape) -> Callable[[], Any]:
    """One matrix product of torch with as many multiplications as a forward pass."""
    name, options, _ = VARIANTS[variant]
    columns = CELLS[name](1, shape.H, **options).state_dict()["w_h"].shape[0]
    left, right = torch.randn(shape.T * shape.B, shape.I + shape.H), torch.randn(shape.I + shape.H, columns)
    out = torch.empty(shape.T * shape.B, columns)
    return lambda: torch.mm(left, right, out=out)


def _without_gradients(run: Callable[[], Tensor]) -> Callable[[], Any]:
    return torch.no_grad()(run)


def _training_step(run: Callable[[], Tensor], d_outputs: Tensor) -> Callable[[], Any]:
    """Forward and backward. Gradients are added up rather than made anew, for all contestants alike."""
    return lambda: run().backward(d_outputs)  # type: ignore[no-untyped-call]


def _time(contestants: dict[str, Callable[[], Any]], rounds: int) -> dict[str, Any]:
    """Milliseconds of each, taking turns; and how many times as long as ours each took, from the medians."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    names, shuffler = list(contestants), random.Random(0)
    for turn in range(WARMUP + rounds):
        shuffler.shuffle(names)
        for name in names:
            started_at = time.perf_counter()
            contestants[name]()
            if turn >= WARMUP:
                seconds[name].append(time.perf_counter() - started_at)
    medians = {name: 1e3 * statistics.median(times) for name, times in seconds.items()}
    return {
        "ms": medians,
        "middle_half_ms": {name: _middle_half(times) for name, times in seconds.items()},
        "ratio": {name: median / medians["ours"] for name, median in medians.items() if name != "ours"},
    }


def _middle_half(times: list[float]) -> list[float]:
    if len(times) < 2:
        return [1e3 * times[0]] * 2
    first, _, third = statistics.quantiles(times, n=4)
    return [1e3 * first, 1e3 * third]


def _means(variant: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    mine = [row for row in rows if row["cell"] == variant]
    means: dict[str, Any] = {"cell": variant}
    for mode in ("forward", "train"):
        for peer in ("torch_nn", "plain"):
            ratios = [row[mode]["ratio"][peer] for row in mine]
            mean = math.exp(statistics.fmean(map(math.log, ratios)))
            means.setdefault(mode, {})[peer] = {"geometric_mean": mean, "least": min(ratios)}
    return means


def peak_elsewhere(variant: str, shape: Shape, contestant: str, keep_memory: bool = False) -> int | None:
    """The most memory that the first training step of a contestant needs, in a process of its own."""
    task = json.dumps([variant, shape, contestant, torch.get_num_threads(), keep_memory])
    ran = subprocess.run([sys.executable, "-m", __name__, task], capture_output=True, check=False, text=True)
    if ran.returncode:
        raise RuntimeError(f"the process that measures memory ended with {ran.returncode}:\n{ran.stderr}")
    peak: int | None = json.loads(ran.stdout)
    return peak


def _peak_here(variant: str, shape: Shape, contestant: str) -> int | None:
    tiny = Shape(2, 2, 2, 2)  # loads whatever is loaded at the first use
    _training_step(_contestants(variant, tiny)[1][contestant], torch.randn(tiny.T, tiny.B, tiny.H))()
    d_outputs = torch.randn(shape.T, shape.B, shape.H)
    return peak_bytes(_training_step(_contestants(variant, shape)[1][contestant], d_outputs))


def peak_bytes(run: Callable[[], Any]) -> int | None:
    """The most memory that a call needs on top of what the process holds; None where the system does not tell."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        before = _status("VmRSS")
        run()
        return _status("VmHWM") - before
    except OSError:
        return None


def _status(field: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    variant, sizes, contestant, threads, keep_memory = json.loads(sys.argv[1])
    prepare(threads)
    if keep_memory:
        keep_freed_memory()
    print(json.dumps(_peak_here(variant, Shape(*sizes), contestant)))
