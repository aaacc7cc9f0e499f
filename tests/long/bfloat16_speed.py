"""Training steps of an LSTM on the CPU, all in turns: `python tests/long/bfloat16_speed.py --threads 2`; two minutes.

Contestants: seqtrain in bfloat16 and in float32, `nn.LSTM` in float32, and `nn.LSTM` under autocast in bfloat16. Each
line says how many times as long the others take as seqtrain in bfloat16. Where the processor gains nothing from
bfloat16, the factors are rounded and multiplied in float32 (see docs/speed.md).
"""

import argparse
from collections.abc import Callable

import torch
from torch import Tensor, nn

from seqtrain.cells import LSTMCell, PeepholeCell
from seqtrain.native.library import describe
from seqtrain.native.storage import storage
from seqtrain.recurrence import unroll
from seqtrain.recurrence.benchmark import SHAPES, Shape, _training_step, time_in_turns
from seqtrain.system.runtime import prepare


def contestants(kind: type, shape: Shape) -> dict[str, Callable[[], None]]:
    """A training step of each."""
    torch.manual_seed(0)
    cell, module = kind(shape.I, shape.H), nn.LSTM(shape.I, shape.H)
    x = torch.randn(shape.T, shape.B, shape.I).requires_grad_()
    d_outputs = torch.randn(shape.T, shape.B, shape.H)

    def ours() -> Tensor:
        return unroll(cell, x, engine="fused")[0]

    def torch_nn() -> Tensor:
        return module(x)[0]

    low = torch.autocast("cpu", torch.bfloat16)
    runs = {"ours": low(ours), "seqtrain float32": ours, "nn.LSTM float32": torch_nn, "nn.LSTM autocast": low(torch_nn)}
    return {name: _training_step(run, d_outputs) for name, run in runs.items()}


def main() -> None:
    """Print one line a cell and shape."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    prepare(arguments.threads)
    with torch.autocast("cpu", torch.bfloat16):
        print(f"engine {describe()}, {torch.get_num_threads()} threads, bfloat16 as {storage().name}")
    for kind in (LSTMCell, PeepholeCell):
        for shape in SHAPES:
            timing = time_in_turns(contestants(kind, shape), arguments.rounds)
            sizes = f"({shape.T}, {shape.B}, {shape.I}, {shape.H})"
            ratios = "  ".join(f"{name} {ratio:.2f}" for name, ratio in timing.ratio.items())
            print(f"{kind.__name__:13} {sizes:22} {timing.ms['ours']:7.2f} ms  {ratios}", flush=True)


if __name__ == "__main__":
    main()
