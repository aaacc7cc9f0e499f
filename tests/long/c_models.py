"""Every cell, depth and head that `--to c` writes, with rounded weights or not, with zoneout or not, beside the model.

    python tests/long/c_models.py [--cc-options "-O3 -march=native"]

It prints the number of models and the largest difference of an output or a state from the plain loop, divided by the
largest one where that is above 1. Each header is compiled strictly, and runs two sequences of five steps from the
initial state and from another one. The exit code is 1 if a model is more than 1e-5 off.
"""

import argparse
import shlex
import sys
import tempfile
from itertools import islice, product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "interchange"))
from c_programs import compiled, error, header
from exported import CELLS, HEADS, trained

from seqtrain.interchange.int8 import rounded
from seqtrain.interchange.samples import Inputs, draw_state

TOGETHER = 50
"""Headers in one call of the compiler."""


def models():
    """The models and whether their matrices are rounded."""
    for cell, head, sizes, int8, zoneout in product(CELLS, HEADS, ([6], [4, 7], [9, 3, 5]), (False, True), (0, 0.2)):
        own = cell | {"learn_initial_state": bool(zoneout) != cell.get("learn_initial_state", False)}
        rates = {"zoneout_hidden": zoneout}
        if cell["name"] not in ("rnn", "gru"):
            rates["zoneout_memory"] = zoneout / 2
        yield trained(own, head, hidden_size=sizes, depth=len(sizes), **rates), int8


def main() -> int:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cc-options", default="")
    options = shlex.split(parser.parse_args().cc_options)
    remaining, count, worst = models(), 0, 0.0
    while block := list(islice(remaining, TOGETHER)):
        with tempfile.TemporaryDirectory() as folder:
            texts = {f"m{n}": header(one, int8=int8) for n, (one, int8) in enumerate(block)}
            programs = compiled(texts, Path(folder), *options)
            for program, (one, int8) in zip(programs.values(), block, strict=True):
                for name, parameter in one.model.named_parameters() if int8 else ():
                    if parameter.dim() == 2 and not name.endswith(".p"):
                        parameter.data.copy_(rounded(parameter).weight)
                inputs = Inputs(one.header.spec.symbols, one.header.spec.input_size).draw(5, 2)
                found = [error(one, program, inputs, state) for state in (None, draw_state(one.model, 2))]
                if not max(found) <= 1e-5:
                    print(f"{max(found):.2g}: {one.config.model}")
                worst, count = max(worst, *found), count + 1
    print(f"{count:,} models, largest difference {worst:.2g}")
    return int(not worst <= 1e-5)


if __name__ == "__main__":
    sys.exit(main())
