"""`seqtrain bench`."""

from typing import Annotated

import typer

from seqtrain.cli.arguments import Json, Quiet, print_result


def bench(
    cells: Annotated[
        str | None,
        typer.Option(help="Cells to time, with commas between: rnn, lstm, peephole, coupled, gru, gru-before."),
    ] = None,
    shapes: Annotated[
        list[str] | None, typer.Option(metavar="T,B,I,H", help="Steps, batch, input and hidden size; may be repeated.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=3, help="How often each contestant has its turn.")] = 15,
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
    from seqtrain.cli import render as tables
    from seqtrain.cli import verbs

    result = verbs.time_cells(cells, shapes, rounds, threads, memory=memory, keep_memory=keep_memory, quiet=quiet)
    print_result(result, json, tables.bench_table, tables.bench_means(result))
