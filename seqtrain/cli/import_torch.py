"""`seqtrain import-torch`."""

from pathlib import Path
from typing import Annotated

import typer

from seqtrain.cli import completion
from seqtrain.cli.arguments import Json, Out, Overrides, Quiet
from seqtrain.cli.guide import after_import, suggest
from seqtrain.cli.render import print_result
from seqtrain.cli.train import run_table
from seqtrain.system.errors import ConfigError


def import_torch(
    weights: Annotated[
        Path, typer.Argument(metavar="FILE", help="What torch.save or safetensors wrote of a state_dict().")
    ],
    overrides: Overrides = None,
    like: Annotated[
        str | None,
        typer.Option(
            metavar="CONFIG",
            autocompletion=completion.configs,
            help="The task, the cell and the training: a YAML file, a shipped config (quickstart), or a run.",
        ),
    ] = None,
    recurrent: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="The recurrent module; repeat it if each reads the outputs of the last."),
    ] = None,
    rename: Annotated[
        list[str] | None,
        typer.Option(
            metavar="THEIRS=OURS",
            help="What a weight is: encoder.weight, head.weight, head.bias, head.projection.weight, or a recurrent "
            "name such as lstm.weight_hh_l0.",
        ),
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Leave a weight out; 'norm.*' leaves out several.")
    ] = None,
    vocabulary: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The tokens of a text, one a line in the order of the rows.")
    ] = None,
    out: Out = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in the directory.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a run of the weights of a PyTorch model."""
    from seqtrain.interchange.import_torch import import_torch

    if like is None:
        raise ConfigError(
            "--like is missing; give the config of the task that the model is for, e.g. --like quickstart"
        )
    made = import_torch(
        weights,
        like,
        overrides or (),
        recurrent=recurrent or (),
        rename=_pairs(rename or []),
        ignore=ignore or (),
        vocabulary=vocabulary,
        out=out,
        overwrite=overwrite,
        quiet=quiet,
    )
    print_result(made, json, lambda _: [run_table(made)])
    suggest(after_import(made), quiet=quiet or json)


def _pairs(given: list[str]) -> dict[str, str]:
    """The names of weights, and what they are."""
    pairs = dict[str, str]()
    for one in given:
        theirs, equals, ours = one.partition("=")
        if not (theirs and equals and ours) or theirs in pairs:
            raise ConfigError(f"--rename is {one!r}; give THEIRS=OURS, each weight once: fc.weight=head.weight")
        pairs[theirs] = ours
    return pairs
