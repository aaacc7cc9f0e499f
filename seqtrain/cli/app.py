"""All verbs in one command."""

from typing import Annotated

import typer

from seqtrain.cli.bench import bench
from seqtrain.cli.catalog import cells, configs, copy, settings, show, tasks
from seqtrain.cli.check import check
from seqtrain.cli.compare import CompareCommand, compare
from seqtrain.cli.data import data
from seqtrain.cli.evaluate import evaluate
from seqtrain.cli.export import export
from seqtrain.cli.generate import generate
from seqtrain.cli.guide import START, examples
from seqtrain.cli.import_torch import import_torch
from seqtrain.cli.inspect import inspect
from seqtrain.cli.predict import predict
from seqtrain.cli.score import score
from seqtrain.cli.track import track
from seqtrain.cli.train import train
from seqtrain.cli.validate import validate
from seqtrain.system.errors import SeqtrainError
from seqtrain.system.processes import started_by_torchrun, torchrun_rank
from seqtrain.system.streams import results_apart

app = typer.Typer(
    help="Train, evaluate and compare recurrent sequence models from a YAML config, and write text with them.",
    epilog=START,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in (
    data, train, evaluate, generate, predict, score, inspect, compare, export, import_torch, track,
    bench, validate, check, cells, tasks, settings,
):  # fmt: skip
    name = "eval" if verb is evaluate else verb.__name__.replace("_", "-")
    kind = CompareCommand if verb is compare else None
    app.command(name, cls=kind, epilog=examples(name))(results_apart(verb))

configs_app = typer.Typer(
    help="List the configs that come with seqtrain, show or copy one.", epilog=examples("configs")
)
configs_app.callback(invoke_without_command=True)(configs)
configs_app.command("show", epilog=examples("configs show"))(show)
configs_app.command("copy", epilog=examples("configs copy"))(copy)
app.add_typer(configs_app, name="configs")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        from seqtrain.native.library import describe

        typer.echo(f"seqtrain {version('seqtrain')}\nengine: {describe()}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options that stand before a verb."""
    verb, processes = context.invoked_subcommand, started_by_torchrun()
    if processes > 1 and verb != "train":
        if torchrun_rank():  # process 0 says so
            raise typer.Exit(SeqtrainError.exit_code)
        raise SeqtrainError(
            f"torchrun started {processes} processes, which can only train together; start {verb} without it"
        )
