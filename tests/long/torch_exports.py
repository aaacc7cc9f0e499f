"""What `seqtrain export --to torch` writes, run beside the plain loop.

    python tests/long/torch_exports.py [pt2] [pt]

It prints for each kind of file the number of cases, the largest difference, and what is wrong. `pt2`: every cell and
direction, with lengths or none, with states or none; depths and heads take turns; 1 to 50 steps, 1 to 9 sequences.
`pt`: every cell that has a module, in every direction, depth and head, in float32. The exit code is 1 if a case is
wrong.
"""

import io
import sys
from collections.abc import Iterator
from itertools import cycle, product
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "interchange"))
import test_torch
from exported import CELLS, DIRECTIONS, HEADS, trained

from seqtrain.interchange import exported_program, samples, torch_weights
from seqtrain.interchange.content import Options
from seqtrain.recurrence import unroll_reference

LIMIT = 1e-5


def programs() -> Iterator[tuple[str, float]]:
    rest = cycle(product((1, 2), HEADS))
    for cell, direction, lengths, states in product(CELLS, DIRECTIONS, (False, True), (False, True)):
        depth, head = [next(rest) for _ in range(3)][-1]
        model = trained(cell, head, direction=direction, depth=depth, merge="sum" if depth == 2 else None)
        model.model.stack.loop = model.model.stack.loop._replace(unroll=unroll_reference)
        content = exported_program.write(model, Options("pt2", lengths=lengths, states=states))
        program = torch.export.load(io.BytesIO(content.files["model.pt2"])).module()
        worst = 0.0
        for steps, batch_size in product((1, 2, 3, 7, 50), (1, 2, 9)):
            x = samples.inputs_of(model).draw(steps, batch_size, seed=1)
            sizes = torch.arange(batch_size) * 7 % (steps + 1) if lengths else None
            state = samples.draw_state(model.model, batch_size, seed=1) if states else None
            named = {} if state is None else {"states": samples.named_states(state)}
            with torch.inference_mode():
                wanted, after = model.model(x, sizes, state)
                got = program(x, **({} if sizes is None else {"lengths": sizes}), **named)
            pairs = [(wanted, got)]
            if states:
                pairs = [(wanted, got[0]), *zip(samples.named_states(after).values(), got[1].values(), strict=True)]
            worst = max(worst, samples.largest(pairs))
        yield f"{cell} {direction} {head} depth {depth} lengths {lengths} states {states}", worst


def modules() -> Iterator[tuple[str, float]]:
    for (kind, cell), direction, depth, head in product(
        test_torch.WITH_MODULE, ("forward", "bidirectional"), (1, 2, 3), HEADS
    ):
        model = trained(cell, head, direction=direction, depth=depth)
        x = samples.inputs_of(model).draw(9, 4, seed=1)
        with torch.no_grad():
            found = test_torch.in_torch(torch_weights.weights_of(model), kind, model.model, x)
            yield f"{cell} {direction} {head} depth {depth}", samples.difference(model.model(x)[0], found)


FORMATS = {"pt2": programs, "pt": modules}


def main() -> int:
    """Run every case of each kind, and print what is wrong."""
    any_wrong = False
    torch.set_num_threads(1)
    for name in sys.argv[1:] or FORMATS:
        found = [*FORMATS[name]()]
        wrong = [label for label, value in found if not value <= LIMIT]
        print(
            f"{name}: {len(found)} cases, largest difference {max(value for _, value in found):.2g}, {len(wrong)} wrong"
        )
        for label in wrong:
            print(f"  WRONG: {label}")
        any_wrong = any_wrong or bool(wrong)
    return int(any_wrong)


if __name__ == "__main__":
    sys.exit(main())
