"""`seqtrain bench`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from seqtrain.cli.arguments import Json, Quiet
from seqtrain.cli.guide import suggest
from seqtrain.cli.render import print_result
from seqtrain.system.errors import ConfigError
from seqtrain.system.tables import WIDE, Column, Grid
from seqtrain.system.words import counted

if TYPE_CHECKING:
    from seqtrain.recurrence.benchmark import Benchmark, Shape

LARGEST_SIZE = 1_000_000
"""Of a dimension of a shape."""


def bench(
    cells: Annotated[
        str | None,
        typer.Option(help="Cells to time, with commas between: rnn, lstm, peephole, coupled, gru, gru-before."),
    ] = None,
    shapes: Annotated[
        list[str] | None, typer.Option(metavar="T,B,I,H", help="Steps, batch, input and hidden size; may be repeated.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=3, help="How often each contestant is timed.")] = 15,
    threads: Annotated[
        int | None, typer.Option(min=1, max=4096, help="CPU threads; by default what PyTorch finds.")
    ] = None,
    memory: Annotated[
        bool, typer.Option("--memory", help="Also measure the peak memory of a step, each in its own process (Linux).")
    ] = False,
    keep_memory: Annotated[
        bool, typer.Option("--keep-memory", help="Keep freed memory in the process, for all, as training does.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Time the cells: ours, the module of torch.nn of the same kind, and the plain loop, in turns."""
    from seqtrain.recurrence.benchmark import bench
    from seqtrain.system.runtime import prepare

    variants, sizes = _parse(cells, shapes)
    prepare(threads)
    result = bench(variants, sizes, rounds, keep_memory=keep_memory, memory=memory, quiet=quiet)
    print_result(result, json, bench_tables)
    cells_named = ",".join(dict.fromkeys(name.removesuffix("-before") for name in variants))
    what = f"seqtrain compare quickstart --cells {cells_named} --match step-time"
    suggest(f"{what} asks which cell learns more in the same time", quiet=quiet or json)


def _parse(cells: str | None, shapes: Sequence[str] | None) -> tuple[list[str], list["Shape"]]:
    """The variants and shapes that the options name, each once; all of them by default.

    Raises
    ------
    ConfigError : with every fault.
    """
    from seqtrain.config.errors import choose
    from seqtrain.recurrence.benchmark import SHAPES, VARIANTS, Shape

    names = list(VARIANTS) if cells is None else [cell.strip() for cell in cells.split(",")]
    faults = [f"--cells {name or repr(name)}: {choose(name, VARIANTS)}" for name in names if name not in VARIANTS]
    sizes = [] if shapes else list(SHAPES)
    for part in [part for text in shapes or () for part in text.split() or [repr(text)]]:
        numbers = [int(number) if number.isdecimal() else 0 for number in part.split(",")]
        if len(numbers) == 4 and min(numbers) > 0 and max(numbers) <= LARGEST_SIZE:
            sizes.append(Shape(*numbers))
        else:
            faults.append(
                f"--shapes {part}: is no shape; write T,B,I,H as whole numbers from 1 to {LARGEST_SIZE:,}, "
                "e.g. 100,32,128,128"
            )
    if faults:
        raise ConfigError(faults)
    return list(dict.fromkeys(names)), list(dict.fromkeys(sizes))


def bench_tables(result: "Benchmark") -> list[Grid]:
    """One row a cell and shape, with milliseconds of a training step and the ratios; and the means over the shapes."""
    engines = ", ".join(sorted({row.engine for row in result.rows}))
    table = Grid(
        f"milliseconds, medians of {result.rounds} rounds, {counted(result.threads, 'thread')}, "
        f"freed memory: {result.memory}, engine: {engines}; ratios: how many times as long as ours",
        (
            *(Column("cell"), Column("T,B,I,H"), Column("step\nours"), Column("torch\n.nn")),
            *(Column("plain\nloop", 3), Column("GEMM\nfloor", 1), Column("ratio\n.nn"), Column("ratio\nplain", 4)),
            *(Column("forward\nours", 6), Column("forward\n.nn", 5), Column("forward\nratio", 7)),
            Column("peak MB\nours / .nn", 2),
        ),
    )
    for row in result.rows:
        peaks = ["-" if peak is None else f"{peak / 1e6:.0f}" for peak in row.peak_bytes.values()]
        table.add(
            row.cell,
            ",".join(map(str, vars(row.shape).values())),
            *(f"{row.train.ms[name]:.3g}" for name in ("ours", "torch_nn", "plain", "floor")),
            *(f"{row.train.ratio[name]:.2f}" for name in ("torch_nn", "plain")),
            *(f"{row.forward.ms[name]:.3g}" for name in ("ours", "torch_nn")),
            f"{row.forward.ratio['torch_nn']:.2f}",
            " / ".join(peaks) or "-",
        )
    names = ("step, torch.nn", "step, plain loop", "forward, torch.nn", "forward, plain loop")
    columns = (Column("cell"), *(Column(name, drop) for drop, name in zip((0, 1, 3, 2), names, strict=True)))
    means_table = Grid("over the shapes: geometric mean, least", columns, title_style="", look=WIDE)
    for mean_row in result.means:
        means = [mode[peer] for mode in (mean_row.train, mean_row.forward) for peer in ("torch_nn", "plain")]
        means_table.add(mean_row.cell, *(f"{mean.geometric_mean:.2f}, {mean.least:.2f}" for mean in means))
    return [table, means_table]
