"""Exported headers as functions of Python: compiled together into one library, and called through ctypes."""

import ctypes
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from seqtrain.interchange import c_format
from seqtrain.interchange.content import Options

CC = shutil.which("cc")
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")

SOURCE = """
#include <math.h>
#include "{name}.h"
void init_{name}(float *state);
void step_{name}(const float *x, float *state, float *y);
extern const int sizes_{name}[3];
void init_{name}(float *state) {{ model_init(state); }}
void step_{name}(const float *x, float *state, float *y) {{ model_step(x, state, y); }}
const int sizes_{name}[3] = {{MODEL_INPUTS, MODEL_STATE, MODEL_OUTPUTS}};
"""


def compiler(*arguments: object, cwd: Path | None = None) -> None:
    """Run the C compiler; its messages are those of the assertion."""
    ran = subprocess.run([CC, *map(str, arguments)], capture_output=True, text=True, check=False, cwd=cwd)
    assert ran.returncode == 0, ran.stderr[:3000]


class Program(NamedTuple):
    """One header, as its C functions."""

    library: ctypes.CDLL
    name: str

    def sizes(self) -> list[int]:
        """Inputs, state, outputs."""
        return list((ctypes.c_int * 3).in_dll(self.library, f"sizes_{self.name}"))

    def initial(self) -> np.ndarray:
        """`[S]`."""
        state = np.full(self.sizes()[1], np.nan, np.float32)
        getattr(self.library, f"init_{self.name}")(_pointer(state))
        return state

    def run(self, inputs: torch.Tensor, state: np.ndarray, *, y: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """One sequence: inputs `[T, ...]` and the state before them, to outputs `[T, O]` and the state after them."""
        state, step = state.copy(), getattr(self.library, f"step_{self.name}")
        rows = np.ascontiguousarray(inputs.float().reshape(len(inputs), -1).numpy())
        assert rows.shape[1] == self.sizes()[0]
        outputs = np.full((len(rows), self.sizes()[2]), np.nan, np.float32)
        for row, output in zip(rows, outputs, strict=True):
            step(_pointer(row), _pointer(state), _pointer(output) if y else None)
        return outputs, state


def _pointer(array: np.ndarray) -> ctypes.c_void_p:
    return array.ctypes.data_as(ctypes.c_void_p)


def compiled(headers: Mapping[str, str], folder: Path, *options: str) -> dict[str, Program]:
    """The programs of several headers."""
    folder.mkdir(exist_ok=True)
    for name, text in headers.items():
        (folder / f"{name}.h").write_text(text, "ascii")
        (folder / f"{name}.c").write_text(SOURCE.format(name=name))
    sources = [f"{name}.c" for name in headers]
    compiler(*STRICT, *options, "-fPIC", "-shared", "-o", "all.so", *sources, "-lm", cwd=folder)
    library = ctypes.CDLL(str(folder / "all.so"))
    return {name: Program(library, name) for name in headers}


def header(one, *, int8=False):
    """The text of the file of a model."""
    (text,) = c_format.write(one, Options("h", int8=int8)).files.values()
    return text.decode("ascii")


def flat(state, b):
    """The state of one sequence as C lays it out."""
    return np.concatenate([part[b].detach().numpy() for layer in state for cell in layer for part in cell])


def error(one, program, inputs, state=None):
    """The largest difference of outputs and states over the sequences of a batch; infinite for NaN.

    state : to start from; by default that at the start of a sequence.
    """
    with torch.no_grad():
        outputs, after = one.model(inputs, None, state)
    found = []
    for b in range(inputs.shape[1]):
        y, end = program.run(inputs[:, b], program.initial() if state is None else flat(state, b))
        wanted = outputs[:, b].numpy() if one.header.spec.every_step else outputs[b].numpy()
        y = y if one.header.spec.every_step else y[-1]
        found += [(y, wanted), (end, flat(after, b))]
    largest = np.max([np.abs(ours - theirs).max() / max(1, np.abs(theirs).max()) for ours, theirs in found])
    return float(np.nan_to_num(largest, nan=np.inf))
