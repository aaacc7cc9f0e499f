"""Write the shipped gestures: ways of a pen, drawn by invented writers.

    python -m seqtrain.tasks.sequences.gestures data/gestures.csv

Each writer has a size, a speed, a slant and an unsteady hand. A gesture starts anywhere on its shape, in any direction,
so that no single step tells it: a model must follow the way.
"""

import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

WRITERS = 12
REPEATS = 4

Shape = Callable[[float], tuple[float, float]]
"""From the share of the way, 0 to 1, to a point."""


def _polygon(corners: int) -> Shape:
    points = [(math.cos(2 * math.pi * k / corners), math.sin(2 * math.pi * k / corners)) for k in range(corners)]

    def at(share: float) -> tuple[float, float]:
        side, along = divmod(share % 1 * corners, 1)
        (x, y), (u, v) = points[int(side) % corners], points[(int(side) + 1) % corners]
        return x + along * (u - x), y + along * (v - y)

    return at


SHAPES: dict[str, Shape] = {
    "circle_left": lambda s: (math.cos(2 * math.pi * s), math.sin(2 * math.pi * s)),
    "circle_right": lambda s: (math.cos(2 * math.pi * s), -math.sin(2 * math.pi * s)),
    "triangle": _polygon(3),
    "square": _polygon(4),
    "eight": lambda s: (math.sin(2 * math.pi * s), math.sin(4 * math.pi * s) / 2),
    "zigzag": lambda s: (2 * (s % 1) - 1, 0.4 * (1 if int(s % 1 * 8) % 2 else -1)),
}


def rows() -> Iterator[str]:
    """The lines of the table, the header first."""
    yield "gesture,step,dx,dy,shape,writer"
    random, number = Random(1), 0  # Random.random and gauss give the same numbers in all versions of Python
    for writer in range(1, WRITERS + 1):
        size, steps = 0.7 + 0.6 * random.random(), 14 + int(16 * random.random())
        slant, unsteady = random.gauss(0, 0.25), 0.02 + 0.05 * random.random()
        for _ in range(REPEATS):
            for name, shape in SHAPES.items():
                number += 1
                own = max(10, round(steps * (0.8 + 0.4 * random.random())))
                start, turn = random.random(), slant + random.gauss(0, 0.15)
                points = [_turned(shape(start + k / own), turn) for k in range(own + 1)]
                for step in range(own):
                    (x, y), (u, v) = points[step], points[step + 1]
                    dx, dy = (size * d + random.gauss(0, unsteady) for d in (u - x, v - y))
                    yield f"g{number:03d},{step + 1},{dx:.3f},{dy:.3f},{name},w{writer:02d}"


def _turned(point: tuple[float, float], angle: float) -> tuple[float, float]:
    x, y = point
    return x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text("".join(f"{row}\n" for row in rows()), "utf-8")
