"""The output layer in the engine beside `cross_entropy(linear(...))` of torch: time and peak memory of a training step.

python tests/long/output_layer.py --threads 1
python tests/long/output_layer.py --shapes 700,200,10000 3200,256,1024

Run it with GOMP_SPINCOUNT=1000, as the command line does: the threads of torch would otherwise spin while those of the
engine compute.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from seqtrain.native.linear_cross_entropy import linear_cross_entropy
from seqtrain.recurrence.benchmark import peak_bytes, time_in_turns
from seqtrain.system.runtime import keep_freed_memory, prepare

SHAPES = ["700,200,10000", "700,200,14143", "700,200,33278", "700,650,10000", "3200,256,1024"]
"""Rows, hidden size, words."""


def plain(features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(features, weight, bias), targets, reduction="sum")


LAYERS = {"ours": linear_cross_entropy, "torch": plain}


def steps(shape: str) -> dict[str, Callable[[], None]]:
    """A forward and backward pass of the mean loss, by contestant."""
    N, H, V = map(int, shape.split(","))
    torch.manual_seed(0)
    given = [torch.randn(N, H), torch.randn(V, H) / H**0.5, torch.zeros(V)]
    targets = torch.randint(V, (N,))

    def step(layer: Callable[..., Tensor]) -> None:
        leaves = [one.detach().requires_grad_() for one in given]
        (layer(*leaves, targets) / N).backward()

    return {name: lambda layer=layer: step(layer) for name, layer in LAYERS.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=SHAPES)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--bfloat16", action="store_true", help="both under autocast")
    parser.add_argument("--peak", choices=LAYERS, help="print the peak memory of this one alone")
    options = parser.parse_args()
    prepare(options.threads)
    if options.peak:
        steps("64,8,1024")[options.peak]()  # loads what is loaded at the first use
        print(peak_bytes(steps(options.shapes[0])[options.peak]))
        return
    keep_freed_memory()
    for shape in options.shapes:
        with torch.autocast("cpu", torch.bfloat16, enabled=options.bfloat16):
            timing = time_in_turns(steps(shape), options.rounds)
        alone = [sys.executable, __file__, "--threads", str(options.threads), "--shapes", shape, "--peak"]
        peaks = {name: int(subprocess.check_output([*alone, name])) / 1e6 for name in LAYERS}
        print(
            f"{shape}: ours {timing.ms['ours']:.1f} ms, torch {timing.ms['torch']:.1f} ms "
            f"({timing.ratio['torch']:.2f}); peak {peaks['ours']:.0f} MB and {peaks['torch']:.0f} MB",
            flush=True,
        )


if __name__ == "__main__":
    main()
