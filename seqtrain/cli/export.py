"""`seqtrain export`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from seqtrain.cli import completion
from seqtrain.cli.arguments import Json, RunOrCheckpoint
from seqtrain.cli.files import Overwrite
from seqtrain.cli.guide import suggest
from seqtrain.cli.render import print_result
from seqtrain.interchange.content import Options
from seqtrain.interchange.formats import FORMATS
from seqtrain.interchange.request import check_request, check_target
from seqtrain.system.errors import ConfigError
from seqtrain.system.progress import Progress
from seqtrain.system.streams import to_stderr
from seqtrain.system.tables import Facts
from seqtrain.system.words import figure, in_words

if TYPE_CHECKING:
    from seqtrain.interchange.content import Form
    from seqtrain.interchange.export import Exported


def export(
    run: RunOrCheckpoint,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT", autocompletion=completion.one_of(*FORMATS), help=f"One of {', '.join(FORMATS)}."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The file, or the folder of several; by default in the run directory.")
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            metavar="FORM",
            autocompletion=completion.one_of("op", "scan"),
            help="Of onnx: op (an operator a layer) or scan (its equations); by default what is right everywhere.",
        ),
    ] = None,
    lengths: Annotated[
        bool, typer.Option("--lengths", help="Of onnx and torch: an input for the length of each sequence.")
    ] = False,
    states: Annotated[
        bool | None,
        typer.Option(
            "--states/--no-states",
            help="Of onnx and torch: the states are inputs and outputs; by default in onnx if the model reads forward.",
        ),
    ] = None,
    license: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of safetensors: for the model card, e.g. mit.")
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="Of c: round the matrices to 8 bits, and say what the loss becomes.")
    ] = False,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Write a trained model for other programs."""
    if to is None:
        raise ConfigError(f"--to is missing; choose one of {', '.join(FORMATS)} (docs/export.md says what each is)")
    asked = Options(form=cast("Form | None", form), lengths=lengths, states=states, license=license, int8=int8)
    check_request(to, asked)
    if out is not None:
        check_target(to, out, overwrite=overwrite)
    from seqtrain.interchange.export import export  # which loads PyTorch

    with Progress(1, label=f"export to {to}", unit="model", quiet=json):  # torch.export takes a while
        result = export(
            run, to, out, form=asked.form, lengths=lengths, states=states, license=license, int8=int8,
            overwrite=overwrite,
        )  # fmt: skip
    for remark in result.remarks:
        to_stderr(remark)
    print_result(result, json, lambda _: [export_table(result)])
    suggest("docs/export.md says how to use it", quiet=json)


def export_table(result: "Exported") -> Facts:
    """What was written, and how far it is from the model."""
    check = "not run here" if result.check is None else f"{result.check.difference:.1e} in {result.check.program}"
    rows = [
        ("checkpoint", result.checkpoint),
        ("written", ", ".join(result.files)),
        ("size", in_words(result.bytes) if result.bytes >= 2**20 else f"{result.bytes / 2**10:,.0f} KiB"),
        *result.facts.items(),
        ("largest difference", check),
        *(
            (f"test {name} in {kind}", "not measured" if value is None else figure(value))
            for kind, figures in result.figures.items()
            for name, value in figures.items()
        ),
    ]
    return Facts(f"{result.cell} on {result.task} as {result.format}", rows)
