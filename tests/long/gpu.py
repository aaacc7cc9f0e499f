"""What only a GPU can show: `python tests/long/gpu.py [CELL ...]`; about two minutes. `seqtrain bench --device cuda`
measures.

On the first GPU, compared with the plain loop in float64 on the CPU:

- cuDNN and the kernels in Triton: outputs, states and all gradients in float32 and float64, with lengths, in both
  directions, with a given and a learnt initial state;
- under autocast in bfloat16: the differences, and that outputs, states and gradients are in float32;
- the same bits again, also from a recorded graph; no warning about weights that are not in one array;
- which of the paths torch takes: whether cuDNN has bfloat16 (it needs cuDNN 9.13).

`--compile` needs no GPU: it compiles every kernel to machine code for compute capabilities 8.0 and 9.0.
"""

import argparse
import copy
import sys
import warnings
from itertools import product
from typing import get_args

import torch

from seqtrain.cells import Cell, CoupledCell, GRUCell, LSTMCell, OdysseyCell, PeepholeCell, RNNCell
from seqtrain.cells.odyssey import Ablation
from seqtrain.recurrence import choose_loop, unroll, unroll_reference
from seqtrain.recurrence.launches import BLOCK, kind_of
from seqtrain.system.runtime import prepare_gpu

I, H = 24, 40
CELLS = {
    "lstm": (LSTMCell, {}),
    "lstm, two biases": (LSTMCell, {"biases": 2}),
    "gru": (GRUCell, {}),
    "rnn": (RNNCell, {"biases": 2}),
    "rnn, relu": (RNNCell, {"nonlinearity": "relu"}),
    "peephole": (PeepholeCell, {}),
    "coupled": (CoupledCell, {}),
    "coupled, peepholes": (CoupledCell, {"peepholes": True}),
    "gru, before": (GRUCell, {"reset": "before"}),
    **{f"odyssey, {name}": (OdysseyCell, {"ablation": name}) for name in get_args(Ablation)},
}


def make(name: str, **options: object) -> Cell:
    """A cell whose every parameter is random, in float64 on the CPU."""
    kind, own = CELLS[name]
    cell = kind(I, H, **own, **options).double()
    for parameter in cell.parameters():
        parameter.data.normal_(std=0.2)
    return cell


def results(run, cell, x, state, dtype, device, **options):
    """Outputs, last state and all gradients of a random weighting of them, by name, in float64 on the CPU."""
    cell = copy.deepcopy(cell).to(device, dtype)
    x = x.to(device, dtype, copy=True).requires_grad_()
    start = None
    if state is not None:
        start = type(state)(*(part.to(device, dtype, copy=True).requires_grad_() for part in state))
    outputs, last = run(cell, x, start, **options)
    found = {"outputs": outputs, **{f"last {name}": part for name, part in last._asdict().items()}}
    assert {part.dtype for part in found.values()} == {dtype}, "outputs and states have the type of the weights"
    random = torch.Generator().manual_seed(1)
    sum((part * torch.randn(part.shape, generator=random).to(part)).sum() for part in found.values()).backward()
    gradients = {"x": x, **dict(cell.named_parameters()), **({} if start is None else start._asdict())}
    found |= {f"d {name}": tensor.grad for name, tensor in gradients.items()}
    return {name: value.detach().double().cpu() for name, value in found.items() if value is not None}


def worst(found, wanted) -> tuple[float, str]:
    """The largest difference, relative to the largest value of each tensor, and where it is."""
    return max(
        (float((found[name] - wanted[name]).abs().max() / wanted[name].abs().max().clamp(min=1e-3)), name)
        for name in wanted
    )


def compare(name: str) -> bool:
    """All of one cell."""
    torch.manual_seed(0)
    T, B, good = 20, 7, True
    x, lengths = torch.randn(T, B, I).double(), torch.tensor([20, 3, 0, 11, 20, 1, 8])
    differences: dict[str, tuple[float, str]] = {}
    for learnt, given, with_lengths, reverse in product((False, True), repeat=4):
        cell = make(name, learn_initial_state=learnt)
        state = cell.state_type(*(torch.randn(B, H).double() for _ in cell.state_type._fields)) if given else None
        options = {"lengths": lengths if with_lengths else None, "reverse": reverse}
        wanted = results(unroll_reference, cell, x, state, torch.float64, "cpu", **options)
        loop = choose_loop("fused", copy.deepcopy(cell).cuda())
        if with_lengths:
            options["lengths"] = lengths.cuda()
        single = 5e-5 if loop.name == "cudnn" else 2e-5  # cuDNN's own, as in torch.nn: 2.2e-5 on an H200
        for dtype, bound in ((torch.float64, 1e-10), (torch.float32, single)):
            # The third time, the triton loop records a graph.
            found, *others = (results(loop.unroll, cell, x, state, dtype, "cuda", **options) for _ in range(4))
            key = str(dtype).removeprefix("torch.")
            differences[key] = max(differences.get(key, (0.0, "")), worst(found, wanted))
            if not all(torch.equal(found[part], again[part]) for again in others for part in found):
                print(f"{name}, {loop.name}, {key}: NOT THE SAME BITS AGAIN")
                good = False
            good &= differences[key][0] < bound
        with torch.autocast("cuda", torch.bfloat16):
            found = results(loop.unroll, cell, x, state, torch.float32, "cuda", **options)
        differences["bfloat16"] = max(differences.get("bfloat16", (0.0, "")), worst(found, wanted))
        good &= differences["bfloat16"][0] < (0.5 if "relu" in name else 0.1)  # a sum near zero may change its side
    shown = "  ".join(f"{key} {value:.1e} ({where})" for key, (value, where) in differences.items())
    print(f"{name:32} {loop.name:8} {shown}  {'ok' if good else 'WRONG'}", flush=True)
    return good


def compile_all() -> None:
    """Compile every kernel that can be asked for to machine code."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from seqtrain.recurrence import triton_kernels as kernels

    families = {
        tuple(flags.items())
        for kind, own in CELLS.values()
        if kind not in (RNNCell, GRUCell) and (flags := kind_of(kind(I, H, **own)).flags) is not None
    }
    lstm = [(kernel, dict(flags)) for kernel in (kernels.lstm_forward, kernels.lstm_backward) for flags in families]
    names = ("gru_reset", "gru_update", "gru_update_backward", "gru_reset_backward")
    jobs = [*lstm, *((getattr(kernels, name), {}) for name in names)]
    types = (("*fp32", "*fp32"), ("*bf16", "*fp32"), ("*fp64", "*fp64"))
    count = 0
    for (kernel, flags), (low, own), capability, with_lengths in product(jobs, types, (80, 90), (False, True)):
        constants = flags | {"REVERSE": 1, "BLOCK": BLOCK, "HAS_LENGTHS": with_lengths, "HAS_LOW": low != own}
        constants = {name: value for name, value in constants.items() if name in kernel.arg_names}
        kinds = dict.fromkeys(("x_gates", "gates", "d_gates", "low", "aside"), low) | dict.fromkeys("tBH", "i32")
        kinds |= {"lengths": "*i64" if with_lengths else own} | dict.fromkeys(constants, "constexpr")
        signature = {name: kinds.get(name, own) for name in kernel.arg_names}
        places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
        source = ASTSource(fn=kernel, signature=signature, constexprs=places)
        assert triton.compile(source, target=GPUTarget("cuda", capability, 32)).asm["cubin"]
        count += 1
    print(f"{count} kernels compiled")


def main() -> None:
    """Compare, or compile."""
    parser = argparse.ArgumentParser()
    parser.add_argument("cells", nargs="*", metavar="CELL", help=f"all by default: {'; '.join(CELLS)}")
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    if unknown := set(arguments.cells) - set(CELLS):
        parser.error(f"no such cell: {', '.join(sorted(unknown))}; use {'; '.join(CELLS)}")
    if arguments.compile:
        compile_all()
        return
    if not torch.cuda.is_available():
        sys.exit("there is no GPU here; --compile needs none")
    prepare_gpu()
    warnings.filterwarnings("error", message=".*weights are not part of single contiguous chunk.*")
    print(torch.cuda.get_device_name(), "torch", torch.__version__, "cuDNN", torch.backends.cudnn.version())
    good = [compare(name) for name in arguments.cells or CELLS]
    on_gpu = unroll(LSTMCell(I, H).cuda(), torch.randn(3, 2, I).cuda())[0]
    assert on_gpu.is_cuda
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
