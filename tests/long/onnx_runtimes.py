"""Every cell, direction, depth and head, with lengths or none, with states or none, in each ONNX runtime at hand.

    python tests/long/onnx_runtimes.py [--every-form] [onnxruntime] [openvino] [tract]

It prints the number of cases and the largest difference from the plain loop, and what is wrong or refused. The exit
code is 1 if a case is wrong. The forms are those that are written by default; `--every-form` runs `op` and `scan` of
all. Each case runs two inputs: one sequence of one step, and three sequences of up to seven steps, one of them empty
where there are lengths.
"""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1] / "interchange"))
from exported import CELLS, DIRECTIONS, HEADS, trained

from seqtrain.interchange import onnx_layers, onnx_model
from seqtrain.interchange.samples import draw_state, inputs_of, largest, named_states

Outputs = list[list[np.ndarray]]
"""Of each run, in the order of the file."""

Run = Callable[[bytes, list[dict[str, np.ndarray]]], Outputs]
"""A file and its inputs, by name for each run, to the outputs."""


def in_onnxruntime(content: bytes, given: list[dict[str, np.ndarray]]) -> Outputs:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return [session.run(None, one) for one in given]


def in_openvino(content: bytes, given: list[dict[str, np.ndarray]]) -> Outputs:
    import openvino

    core = openvino.Core()
    compiled = core.compile_model(core.read_model(content), "CPU")
    return [[np.array(ran[out]) for out in compiled.outputs] for ran in map(compiled, given)]


def in_tract(content: bytes, given: list[dict[str, np.ndarray]]) -> Outputs:
    import tract

    with tempfile.TemporaryDirectory() as folder:
        (file := Path(folder) / "model.onnx").write_bytes(content)
        model = tract.onnx().load(str(file)).into_model()
    runnable = model.into_runnable()
    return [[out.to_numpy() for out in runnable.run([*one.values()])] for one in given]


RUNTIMES: dict[str, Run] = {"onnxruntime": in_onnxruntime, "openvino": in_openvino, "tract": in_tract}


def cases(every_form: bool) -> Iterator[tuple[Any, ...]]:
    for cell, direction, depth, head in product(CELLS, DIRECTIONS, (1, 2), HEADS):
        model = trained(cell, head, direction=direction, depth=depth)
        kind: Any = model.model.stack.cells()[0][0]
        for lengths, states in product((False, True), (False, True)):
            usual = onnx_layers.form_of(kind, backward=direction != "forward", lengths=lengths)
            forms = ("scan",) if onnx_layers.why_no_operator(kind) else ("op", "scan")
            for form in forms if every_form else (usual,):
                yield model, form, lengths, states, f"{cell} {direction} {form}{' lengths' if lengths else ''}"


def off(run: Run, model: Any, form: Any, lengths: bool, states: bool) -> float:
    """The largest difference of a case."""
    content = onnx_model.build(model, inputs_of(model), form, lengths=lengths, states=states).SerializeToString()
    given, wanted = [], []
    for steps, sizes in ((1, [1]), (7, [7, 0, 3])):
        x = inputs_of(model).draw(steps, len(sizes))
        each = torch.tensor(sizes) if lengths else None
        state = draw_state(model.model, len(sizes)) if states else None
        with torch.inference_mode():
            y, after = model.model(x, each, state)
        values = {"x": x} | ({} if each is None else {"lengths": each})
        given.append(values | ({} if state is None else named_states(state)))
        wanted.append([y, *(named_states(after).values() if states else ())])
    got = run(content, [{name: value.numpy() for name, value in one.items()} for one in given])
    pairs = [pair for a, b in zip(wanted, got, strict=True) for pair in zip(a, map(torch.tensor, b), strict=True)]
    return largest(pairs)


def main() -> int:
    """Run every case in each runtime, and print what is right, wrong and refused."""
    any_wrong = False
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runtimes", nargs="*", default=[*RUNTIMES])
    parser.add_argument("--every-form", action="store_true")
    arguments = parser.parse_args()
    for name in arguments.runtimes:
        if find_spec(name) is None:
            print(f"{name}: not installed")
            continue
        right, worst, others = 0, 0.0, Counter[str]()
        for model, form, lengths, states, label in tqdm(cases(arguments.every_form), name, unit=" cases"):
            try:
                value = off(RUNTIMES[name], model, form, lengths, states)
            except Exception as error:  # each runtime has errors of its own
                others[f"{label}: refused ({str(error).splitlines()[0][:100]})"] += 1
                continue
            if value <= 1e-5:
                right, worst = right + 1, max(worst, value)
            else:
                others[f"{label}: WRONG"] += 1
                any_wrong = True
        print(f"{name}: {right} cases right, largest difference {worst:.2g}; {others.total()} others")
        for label, count in sorted(others.items()):
            print(f"  {count} x {label}")
    return int(any_wrong)


if __name__ == "__main__":
    sys.exit(main())
