"""`seqtrain bench`."""

import re
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
    from seqtrain.recurrence.benchmark import Benchmark, Place, Shape

LARGEST_SIZE = 1_000_000
"""Of a dimension of a shape."""


def bench(
    cells: Annotated[
        str | None,
        typer.Option(
            help="Cells to time, with commas between: rnn, lstm, peephole, coupled, gru, gru-before; on a GPU also "
            "odyssey, full-gate-recurrence."
        ),
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
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, or cuda:1 and so on.")] = "cpu",
    precision: Annotated[
        str, typer.Option(help="float32, or bfloat16, which is PyTorch's autocast, for all contestants.")
    ] = "float32",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Time the cells: ours, the module of torch.nn of the same kind, and the plain loop, in turns."""
    from seqtrain.recurrence.benchmark import bench
    from seqtrain.system.runtime import prepare, prepare_gpu

    place = _parse_place(device, precision, keep_memory=keep_memory)
    variants, sizes = _parse(cells, shapes, place)
    prepare(threads)
    if place.is_gpu:
        prepare_gpu()
    result = bench(variants, sizes, rounds, keep_memory=keep_memory, memory=memory, quiet=quiet, place=place)
    print_result(result, json, bench_tables)
    of_a_config = {"full-gate-recurrence": "odyssey"}
    cells_named = ",".join(dict.fromkeys(of_a_config.get(name, name.removesuffix("-before")) for name in variants))
    what = f"seqtrain compare quickstart --cells {cells_named} --match step-time"
    suggest(f"{what} asks which cell learns more in the same time", quiet=quiet or json)


def _parse_place(device: str, precision: str, *, keep_memory: bool) -> "Place":
    """Where to compute.

    Raises
    ------
    ConfigError : with every fault.
    """
    from typing import get_args

    from seqtrain.config.errors import choose
    from seqtrain.native.storage import Precision
    from seqtrain.recurrence.benchmark import Place
    from seqtrain.system.runtime import why_no_device

    faults = []
    if re.fullmatch(r"cpu|cuda(:\d+)?", device) is None:
        faults.append(f"--device is {device!r}; write it as cpu, cuda or cuda:1")
    elif (why_not := why_no_device(device)) is not None:
        faults.append(f"--device is {device!r}, but {why_not}; use --device cpu")
    if precision not in get_args(Precision):
        faults.append(f"--precision is {precision!r}; {choose(precision, get_args(Precision))}")
    if keep_memory and device != "cpu":
        faults.append(
            "--keep-memory is about the memory of the CPU, and PyTorch keeps that of a GPU anyway; leave it out"
        )
    if faults:
        raise ConfigError(faults)
    return Place(device, precision)  # type: ignore[arg-type]  # it is one of them


def _parse(cells: str | None, shapes: Sequence[str] | None, place: "Place") -> tuple[list[str], list["Shape"]]:
    """The variants and shapes that the options name, each once; all of them by default.

    Raises
    ------
    ConfigError : with every fault.
    """
    from seqtrain.config.errors import choose
    from seqtrain.recurrence.benchmark import GPU_VARIANTS, SHAPES, VARIANTS, Shape

    variants = GPU_VARIANTS if place.is_gpu else VARIANTS
    names = list(variants) if cells is None else [cell.strip() for cell in cells.split(",")]
    faults = [f"--cells {name or repr(name)}: {choose(name, variants)}" for name in names if name not in variants]
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
    where = result.device
    if where == "cpu":
        where = f"{counted(result.threads, 'thread')}, freed memory: {result.memory}"
    table = Grid(
        f"milliseconds, medians of {result.rounds} rounds, {where}, {result.precision}, engine: {engines}; "
        f"ratios: how many times as long as ours; compiled engine: {result.engine}",
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
