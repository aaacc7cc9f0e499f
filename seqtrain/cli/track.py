"""`seqtrain track`."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seqtrain.cli import completion
from seqtrain.cli.arguments import Json, Out, Quiet
from seqtrain.cli.guide import suggest
from seqtrain.cli.render import print_result
from seqtrain.system.errors import ConfigError
from seqtrain.system.streams import to_stderr
from seqtrain.system.tables import Column, Grid

if TYPE_CHECKING:
    from seqtrain.runs.tracking import Tracked

TRACKERS = ("tensorboard",)


def track(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...", autocompletion=completion.runs, help="Run directories, or folders of runs (a comparison)."
        ),
    ],
    to: Annotated[
        str,
        typer.Option(
            metavar="TRACKER",
            autocompletion=completion.one_of(*TRACKERS),
            help="What to write for: tensorboard.",
        ),
    ] = TRACKERS[0],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the runs have ended, or until Ctrl-C.")
    ] = False,
    out: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show runs in TensorBoard, while they train or later; a run neither knows nor waits."""
    from seqtrain.runs.tracking import track
    from seqtrain.system.signals import stop_requests

    if to not in TRACKERS:
        raise ConfigError(f"--to {to}: choose one of {', '.join(TRACKERS)}; Weights & Biases imports its files")
    folder = out or Path("runs") / "tensorboard"
    with stop_requests() as request:
        if follow and not quiet:
            to_stderr("following; ends with the runs, or with Ctrl-C")
        tracked = track(runs, folder, follow=follow, stop_requested=lambda: request.signal_number is not None)
    print_result(
        {"folder": str(folder), "runs": [{"run": str(each.run.path), "folder": str(each.folder), "ended": each.ended}
                                      for each in tracked]},
        json, lambda _: _table(tracked),
    )  # fmt: skip
    suggest(f"tensorboard --logdir {shlex.quote(str(folder))} shows them", quiet=quiet or json)
    if request.signal_number is not None:
        raise typer.Exit(128 + request.signal_number)


def _table(tracked: Sequence["Tracked"]) -> Iterator[Grid]:
    table = Grid("event files for TensorBoard", (Column("run"), Column("folder", is_text=True), Column("ended")))
    for each in tracked:
        table.add(str(each.run.path), str(each.folder), "yes" if each.ended else "no")
    yield table
