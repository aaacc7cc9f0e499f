"""`seqtrain predict`."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqtrain.cli.arguments import Json, RunOrCheckpoint
from seqtrain.cli.files import Overwrite, check_overwrite
from seqtrain.cli.generate import check_options, read_prompt
from seqtrain.cli.guide import suggest
from seqtrain.cli.render import print_result
from seqtrain.inference.defaults import TOP
from seqtrain.system.errors import ConfigError
from seqtrain.system.outputs import check_output, write_output
from seqtrain.system.pictures import FORMATS, encoded
from seqtrain.system.streams import to_stderr
from seqtrain.system.tables import WIDE, Column, Grid
from seqtrain.system.words import counted, figure, visible

if TYPE_CHECKING:
    from seqtrain.inference.load import Trained
    from seqtrain.inference.predictions import Predictions
    from seqtrain.inference.text_model import Predicted

PROMPT_SHOWN = 100
"""The last characters of a prompt that stand above its table."""

FIRST, LAST = 20, 10
"""Rows of a long table that are shown."""

TABLES = ("csv", "parquet")
"""Endings of the tables that are written."""


def predict(
    run: RunOrCheckpoint,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="A table, sequences or a text; by default what the run was trained on."),
    ] = None,
    horizon: Annotated[
        int | None, typer.Option(help="Steps to forecast beyond the end; by default the task.horizon of the run.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the table to a file that ends in .csv or .parquet.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw it into a file that ends in .png, .svg or .pdf.")] = None,
    overwrite: Overwrite = False,
    prompt: Annotated[
        str | None, typer.Option(help="Of a text: what to continue; - reads stdin; by default the start of a line.")
    ] = None,
    top: Annotated[int | None, typer.Option(help=f"Of a text: how many likely tokens to show ({TOP}).")] = None,
    json: Json = False,
) -> None:
    """Predict with a trained model: forecasts, labels, classes or tags for a file, or the next word of a text."""
    from seqtrain.inference.load import load_trained
    from seqtrain.inference.predictions import PREDICTORS, predict_with
    from seqtrain.system.runtime import prepare

    check_options([f"top is {top}; it must be 1 or more"] if top is not None and top < 1 else [])
    check_output("--out", out, TABLES, overwrite=overwrite)
    check_output("--plot", plot, FORMATS, overwrite=overwrite)
    _check_file(file)
    prepare(None)
    trained = load_trained(run)
    of_table = {"--horizon": horizon, "--out": out, "--plot": plot, "--overwrite": overwrite or None}
    of_text = {"--prompt": prompt, "--top": top}
    if trained.config.task.name not in PREDICTORS:
        _check_text(run, file, [name for name, value in of_table.items() if value is not None], trained)
        _predict_text(run, trained, prompt or "", TOP if top is None else top, json=json)
        return
    _check_table(run, trained, [name for name, value in of_text.items() if value is not None])
    check_overwrite(overwrite, {"--out": out, "--plot": plot})
    result = predict_with(trained, file, horizon, quiet=json)
    _write(result, out, plot)
    files = {name: str(path) for name, path in (("out", out), ("plot", plot)) if path is not None}
    print_result(result.as_json() | {"files": files} if json else result, json, predictions_table)
    for path in files.values():
        to_stderr(f"{path} written")
    suggest(_next(run, file, out, plot, is_drawable=result.draw is not None), quiet=json)


def _check_file(file: Path | None) -> None:
    """Refuse what is no file."""
    if file is not None and str(file) == "-":
        raise ConfigError("-: predict reads a file more than once; write standard input to a file and give that")
    if file is not None and "=" in str(file) and not file.exists():
        raise ConfigError(f"{file}: the settings of a trained model stay; --horizon asks for more steps of a forecast")


def _check_text(run: Path, file: Path | None, given: Sequence[str], trained: "Trained") -> None:
    """Refuse what is for tables."""
    what = f"{run}: holds a model of task {trained.config.task.name!r}, which reads no table"
    faults = [f"{', '.join(given)}: {what}; leave it out"] if given else []
    if file is not None and trained.header.vocabulary is not None:
        score = shlex.join(["seqtrain", "score", str(run), str(file)])
        faults.append(f"{file}: {what}; {score} scores the lines of a text, and --prompt asks what comes next")
    if faults:
        raise ConfigError(faults)


def _check_table(run: Path, trained: "Trained", given: Sequence[str]) -> None:
    """Refuse what is for texts that are continued."""
    if given:
        raise ConfigError(
            f"{', '.join(given)}: {run} holds a model of task {trained.config.task.name!r}, which continues no text; "
            "leave it out (a FILE names other data)"
        )


def _predict_text(run: Path, trained: "Trained", prompt: str, top: int, *, json: bool) -> None:
    from seqtrain.inference.load import text_model

    model = text_model(trained)
    prompt = read_prompt(model, prompt, quiet=json)
    print_result(model.predict(prompt, top), json, predict_table)
    suggest(shlex.join(["seqtrain", "generate", str(run), *(["--prompt", prompt] if prompt else [])]), quiet=json)


def _write(result: "Predictions", out: Path | None, plot: Path | None) -> None:
    if plot is not None and result.draw is None:
        raise ConfigError(f"--plot: {result.file} has no labels to draw beside the predictions; leave it out")
    if out is not None:
        write_output(out, _table_file(result.columns, out.suffix))
    if plot is not None and result.draw is not None:
        write_output(plot, encoded(result.draw(), plot.suffix.lower().removeprefix(".")))


def _table_file(columns: dict[str, list[Any]], suffix: str) -> bytes:
    """A table as the content of a file."""
    import io

    import polars

    content, frame = io.BytesIO(), polars.DataFrame(columns)
    if suffix.lower() == ".csv":
        frame.write_csv(content)
    else:
        frame.write_parquet(content)
    return content.getvalue()


def _next(run: Path, file: Path | None, out: Path | None, plot: Path | None, *, is_drawable: bool) -> str:
    """The same with what was not asked for; else how good the model is."""
    again = ["seqtrain", "predict", str(run), *([] if file is None else [str(file)])]
    if plot is None and is_drawable:
        return f"{shlex.join([*again, '--plot', 'predictions.png'])} draws it"
    if out is None:
        return f"{shlex.join([*again, '--out', 'predictions.csv'])} writes the table"
    return f"{shlex.join(['seqtrain', 'eval', str(run)])} tells how far the model is off"


def predictions_table(result: "Predictions") -> list[Grid]:
    """The first and the last rows."""
    total = len(next(iter(result.columns.values())))
    what = f"forecast of {counted(result.horizon, 'step')}" if result.horizon else counted(total, "label")
    names = [*result.columns]
    table = Grid(f"{what}: {result.file}", tuple(Column(visible(name)) for name in names), look=WIDE)
    cells = [[_cell(value) for value in values] for values in result.columns.values()]
    places = range(total) if total <= FIRST + LAST + 1 else [*range(FIRST), None, *range(total - LAST, total)]
    for place in places:
        if place is None:
            table.add(f"... {counted(total - FIRST - LAST, 'row')} more", *[""] * (len(names) - 1), dim=True)
        else:
            table.add(*(column[place] for column in cells))
    return [table]


def _cell(value: Any) -> str:
    return figure(value) if isinstance(value, float) else visible(str(value))


def predict_table(result: "Predicted") -> list[Grid]:
    """The prompt as the model read it, and what may follow."""
    read = (" " if result.unit == "word" else "").join(result.read)
    read = visible(read)
    read = read if len(read) <= PROMPT_SHOWN else f"...{read[-PROMPT_SHOWN:]}"
    title = f"{'after' if result.prompt else 'no prompt; after'}: {read}"
    table = Grid(title, (Column(f"next {result.unit}"), Column("probability")), look=WIDE)
    for row in result.next:
        is_seen = row.token.isprintable() and not row.token.isspace()
        table.add(row.token if is_seen else repr(row.token), figure(row.probability))
    return [table]
