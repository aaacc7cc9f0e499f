"""Tokens per second of a word model that writes one token after another: in C, in onnxruntime and in seqtrain.

    python tests/long/export_speed.py [--text FOLDER] [--steps 100] [--tokens 200] [--rounds 15]

Without a text, one is drawn: `--words` different words, by Zipf's law. All contestants take the most likely next token,
in one thread, in turns. It prints the medians of tokens per second of processor time, each beside seqtrain, sizes of
the files, and the time of the compiler. What is not installed is left out.
"""

import argparse
import random
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from statistics import median

import numpy as np
import torch

from seqtrain import export, train
from seqtrain.inference.load import load_text_model
from seqtrain.inference.sampling import Sampling, continue_tokens
from seqtrain.system.runtime import prepare

OPTIONS = {"cc -O3 -march=native": ("-O3", "-march=native"), "cc -O3": ("-O3",), "cc -O2": ("-O2",)}

MAIN = """
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "{header}"
int main(int count, char **arguments)
{{
    static float state[MODEL_STATE], y[MODEL_OUTPUTS];
    const int tokens = count > 1 ? atoi(arguments[1]) : 1;
    float x = MODEL_START;
    const clock_t start = clock();
    model_init(state);
    for (int n = 0; n < tokens; n++) {{
        int best = 0;
        model_step(&x, state, y);
        for (int k = 1; k < MODEL_OUTPUTS; k++)
            if (y[k] > y[best])
                best = k;
        x = (float)best;
        printf("%d\\n", best);
    }}
    fprintf(stderr, "%.9f\\n", (double)(clock() - start) / CLOCKS_PER_SEC);
    return 0;
}}
"""

Contestant = Callable[[int], tuple[list[int], float]]
"""A number of tokens, to these tokens and the seconds that they took."""


def write_text(folder: Path, words: int) -> Path:
    """A text of that many different words."""
    folder.mkdir()
    rng, names = random.Random(0), [f"word{number}" for number in range(words - 2)]  # and <unk>, <eos>
    for split, count in (("train", 10 * words), ("valid", 2000), ("test", 2000)):
        drawn = rng.choices(names, [1 / (rank + 1) for rank in range(len(names))], k=count)
        text = [*(names if split == "train" else ()), *drawn]
        lines = (" ".join(text[start : start + 20]) for start in range(0, len(text), 20))
        (folder / f"{split}.txt").write_text("\n".join(lines) + "\n")
    return folder


def compiled(header: Path, name: str, options: tuple[str, ...]) -> tuple[Path, float]:
    """The program of a header, and the seconds that the compiler took."""
    program, source = header.with_name(name), header.with_name(f"{name}.c")
    source.write_text(MAIN.format(header=header.name))
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    subprocess.run(["cc", *options, "-o", program, source, "-lm"], check=True)
    return program, resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def in_c(program: Path) -> Contestant:
    def run(tokens: int) -> tuple[list[int], float]:
        ran = subprocess.run([program, str(tokens)], capture_output=True, text=True, check=True)
        return [*map(int, ran.stdout.split())], float(ran.stderr)

    return run


def in_seqtrain(run: Path) -> Contestant:
    text = load_text_model(run)
    start = text.vocabulary.encode([text.start()])

    def write(tokens: int) -> tuple[list[int], float]:
        began = time.process_time()
        drawn = [token for token, _ in islice(continue_tokens(text.model, start, Sampling(0)), tokens)]
        return drawn, time.process_time() - began

    return write


def in_onnxruntime(file: Path, start: int) -> Contestant:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    shapes = {one.name: [size if isinstance(size, int) else 1 for size in one.shape] for one in session.get_inputs()}
    zeros = {name: np.zeros(shape, np.float32) for name, shape in shapes.items() if name != "x"}

    def write(tokens: int) -> tuple[list[int], float]:
        began, drawn, states = time.process_time(), [start], zeros
        for _ in range(tokens):
            y, *after = session.run(names, {"x": np.array([[drawn[-1]]])} | states)
            states = dict(zip(zeros, after, strict=True))
            drawn.append(int(y[0, 0].argmax()))
        return drawn[1:], time.process_time() - began

    return write


def main() -> None:
    """Train, export, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, help="a folder with train.txt, valid.txt and test.txt")
    parser.add_argument("--words", type=int, default=10_000)
    parser.add_argument("--hidden", type=int, default=200)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        measure(Path(name), arguments)


def measure(folder: Path, arguments: argparse.Namespace) -> None:
    text = arguments.text or write_text(folder / "text", arguments.words)
    settings = [f"task.path={text}", f"model.hidden_size={arguments.hidden}", "threads=1", "train.epochs=null"]
    trained = train("word-lm", (*settings, f"train.steps={arguments.steps}"), out=folder / "run")
    sizes, contestants, notes = {"best.safetensors": folder / "run/best.safetensors"}, {}, {}
    contestants["seqtrain"] = in_seqtrain(trained.path)
    for kind, int8 in (("float32", False), ("int8", True)):
        export(trained.path, "c", folder / f"{kind}.h", int8=int8)
        sizes[f"{kind}.h"] = folder / f"{kind}.h"
        for number, (how, options) in enumerate(OPTIONS.items()):
            program, seconds = compiled(folder / f"{kind}.h", f"{kind}{number}", options)
            contestants[f"C, {kind}, {how}"] = in_c(program)
            notes[f"C, {kind}, {how}"] = f"compiled in {seconds:.0f} s"
            sizes[f"program, {kind}"] = program
    if find_spec("onnx") and find_spec("onnxruntime"):
        export(trained.path, "onnx", folder / "model.onnx")
        sizes["model.onnx"] = folder / "model.onnx"
        model = load_text_model(trained.path)
        contestants["onnxruntime"] = in_onnxruntime(folder / "model.onnx", model.vocabulary.numbers[model.start()])
    prepare(1)
    torch.set_num_threads(1)
    speeds = {how: [] for how in contestants}
    wanted, _ = contestants["seqtrain"](arguments.tokens)
    for _ in range(arguments.rounds):
        for how, contestant in contestants.items():
            tokens, seconds = contestant(arguments.tokens)
            speeds[how].append(arguments.tokens / seconds)
            same = sum(ours == theirs for ours, theirs in zip(wanted, tokens, strict=True))
            notes[how] = f"{notes.get(how, '').partition('; ')[0]}; {same} of {arguments.tokens} tokens as in seqtrain"
    base = median(speeds["seqtrain"])
    for how, found in speeds.items():
        print(f"{how:34} {median(found):7,.0f} tokens/s {median(found) / base:5.2f}   {notes[how].removeprefix('; ')}")
    for what, file in sizes.items():
        print(f"{what:34} {file.stat().st_size / 2**20:7.1f} MiB")


if __name__ == "__main__":
    main()
