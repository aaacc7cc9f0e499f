"""`seqtrain eval`."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from seqtrain.cli import completion
from seqtrain.cli.arguments import Json, Quiet, RunOrCheckpoint
from seqtrain.cli.files import Overwrite, check_overwrite
from seqtrain.cli.guide import suggest
from seqtrain.cli.render import in_figures, in_words, print_result
from seqtrain.system.outputs import check_output, write_output
from seqtrain.system.pictures import FORMATS, encoded
from seqtrain.system.progress import say
from seqtrain.system.tables import Facts

if TYPE_CHECKING:
    from seqtrain.inference.evaluate import Evaluation
    from seqtrain.tasks import Split


def evaluate(
    run: RunOrCheckpoint,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE",
            autocompletion=completion.overrides,
            help="Task settings to change, e.g. task.length=400.",
        ),
    ] = None,
    split: Annotated[
        str,
        typer.Option(
            autocompletion=completion.one_of("test", "valid", "train"), help="test, valid, or train (of a text)."
        ),
    ] = "test",
    dynamic: Annotated[
        float | None,
        typer.Option(min=0, metavar="LR", help="Continue to learn from a text while it is evaluated, at this rate."),
    ] = None,
    dynamic_decay: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="How far each such step moves the weights back to the trained ones."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw what was confused, or predicted, into a .png, .svg or .pdf file.")
    ] = None,
    overwrite: Overwrite = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Evaluate a trained model, rebuilt from its checkpoint alone."""
    from seqtrain.inference.evaluate import evaluate

    check_overwrite(overwrite, {"--plot": plot})
    check_output("--plot", plot, FORMATS, overwrite=overwrite)
    result = evaluate(
        run,
        overrides or (),
        split=cast("Split", split),
        dynamic=dynamic,
        dynamic_decay=dynamic_decay,
        picture=plot is not None,
        quiet=quiet,
    )
    if plot is not None and result.draw is not None:
        write_output(plot, encoded(result.draw(), plot.suffix.lower().removeprefix(".")))
        say(f"{plot} written", quiet=quiet)
    print_result(result, json, lambda _: [eval_table(result)])
    where = shlex.quote(str(run))
    what = f"seqtrain generate {where} writes a text with it; " if result.task == "language_model" else ""
    suggest(f"{what}seqtrain compare {where} OTHER_RUN compares it with another run", quiet=quiet or json)


def eval_table(result: "Evaluation") -> Facts:
    """The figures of an evaluation, with its data."""
    changed = ", ".join(f"{key}={value}" for key, value in result.changed.items())
    dynamic = {} if result.dynamic is None else result.dynamic._asdict()
    worse = result.metric.remark(result.figures[result.metric.name], result.baseline)
    rows = [
        ("checkpoint", f"{result.checkpoint} (step {result.step})"),
        ("task", result.variant + (f", not as trained: {changed}" if changed else "")),
        *([("dynamic", ", ".join(f"{key} {value:g}" for key, value in dynamic.items()))] if dynamic else []),
        *in_figures(result.split, result.figures | result.conversions),
        *in_figures("baseline", result.baseline),
        *in_words(result.data),
        ("on", f"engine {result.engine}, {result.precision}"),
        *([] if result.solved is None else [("solved", "yes" if result.solved else "no")]),
        *([("note", worse)] if worse else []),
    ]
    return Facts(f"{result.cell} on {result.task}, {result.split} set", rows)
