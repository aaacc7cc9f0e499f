"""`seqtrain inspect`."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

import typer

from seqtrain.cli import completion
from seqtrain.cli.arguments import Json, Quiet
from seqtrain.cli.guide import suggest
from seqtrain.cli.render import print_result
from seqtrain.inspection.defaults import SEQUENCES
from seqtrain.system.errors import ConfigError
from seqtrain.system.pictures import FORMATS, check_form
from seqtrain.system.tables import WIDE, Column, Facts, Grid
from seqtrain.system.words import counted, figure

if TYPE_CHECKING:
    from seqtrain.inspection.api import Inspection
    from seqtrain.inspection.gates import Gates
    from seqtrain.inspection.gradient import Curve
    from seqtrain.inspection.subject import At
    from seqtrain.tasks import Split

PAGE, FIGURES = "inspect.html", "inspect.json"

OWN = re.compile(r"((half-life|gradient|context|influence|text)|(saturation|kept|units)[\w.-]*)\.(png|svg|pdf|csv)")
"""Names that pictures and tables can have."""

P = TypeVar("P", "Gates", "Curve")


def inspect(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN... [KEY=VALUE]",
            autocompletion=completion.targets,
            help="Run directories, checkpoints, or configs (untrained).",
        ),
    ],
    at: Annotated[
        str | None,
        typer.Option(
            autocompletion=completion.one_of("init", "best", "last"),
            help="Weights of a run: init (before the first step), best (the default), or last.",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            autocompletion=completion.one_of("test", "valid", "train"),
            help="test (the default), valid, or train (of a text).",
        ),
    ] = None,
    sequences: Annotated[int | None, typer.Option(help=f"How many sequences to look at ({SEQUENCES}).")] = None,
    prompt: Annotated[str | None, typer.Option(help="A text to look at, instead of sequences of the split.")] = None,
    after: Annotated[
        list[str] | None, typer.Option(help="Look for units that follow this token of a text; may be repeated.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="For the page, the pictures and the tables; by default runs/inspect.")
    ] = None,
    pictures: Annotated[
        str,
        typer.Option(
            metavar="FORM",
            autocompletion=completion.one_of(*FORMATS),
            help=f"Form of the pictures: {', '.join(FORMATS)}.",
        ),
    ] = FORMATS[0],
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show what a cell remembers: its gates, its gradient through time, and the context that the model uses."""
    from seqtrain.inspection.api import inspect

    names = [target for target in targets if "=" not in target or Path(target).exists()]
    overrides = [target for target in targets if target not in names]
    if not names:
        raise ConfigError("inspect takes run directories, checkpoints or configs; got only settings")
    if prompt is not None and (split, sequences, after) != (None, None, None):
        raise ConfigError("--prompt is read instead of a split; leave out --split, --sequences and --after")
    check_form(pictures)
    folder = out or Path("runs") / "inspect"
    _check_folder(folder)
    found = [
        inspect(
            name, overrides, at=cast("At | None", at), split=cast("Split", split or "test"),
            sequences=SEQUENCES if sequences is None else sequences, prompt=prompt, after=after or (), quiet=quiet,
        )
        for name in names
    ]  # fmt: skip
    found = _told_apart(found)
    result = {"runs": [each.as_json() for each in found]}
    _write(found, result, folder, pictures, quiet=quiet)
    print_result(result, json, lambda _: inspect_tables(found))
    suggest(f"open {folder / PAGE} in a browser; its pictures and tables are beside it", quiet=quiet or json)


def _told_apart(found: Sequence["Inspection"]) -> list["Inspection"]:
    """The inspections, with a number behind each name that several have."""
    names = [each.name for each in found]
    return [
        replace(each, name=f"{each.name} ({n})") if names.count(each.name) > 1 else each
        for n, each in enumerate(found, 1)
    ]


def _write(found: Sequence["Inspection"], result: dict[str, Any], folder: Path, form: str, *, quiet: bool) -> None:
    """The page, each chart as a picture and a table, and all figures as JSON, which also lists the files.

    Files of an earlier inspection that are not written again are removed.
    """
    from seqtrain.inspection.page import write_page
    from seqtrain.inspection.pictures import write_pictures
    from seqtrain.system import strict_json
    from seqtrain.system.progress import Progress

    earlier = _earlier_files(folder / FIGURES) or []
    strict_json.write(folder / FIGURES, result | {"files": earlier})  # a folder that is known as ours, also half done
    with Progress(2, label="draw", unit="part", quiet=quiet) as progress:
        write_page(found, folder / PAGE)
        progress.advance()
        files = [PAGE, *write_pictures(found, folder, form)]
    for name in {*earlier} - {*files}:
        (folder / name).unlink(missing_ok=True)
    strict_json.write(folder / FIGURES, result | {"files": files})


def _check_folder(folder: Path) -> None:
    """Make the folder, before the work.

    Raises
    ------
    ConfigError : it holds something else than an earlier inspection, or it cannot be written.
    """
    from seqtrain.runs.directory import RunDir

    try:
        is_free = not folder.exists() or not any(folder.iterdir())
        if not is_free and (RunDir(folder).holds_run() or _earlier_files(folder / FIGURES) is None):
            raise ConfigError(f"{folder}: holds files that inspect did not write; choose a new folder with --out")
        folder.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ConfigError(
            f"{folder}: cannot be written ({error.strerror or error}); choose another folder with --out"
        ) from None


def _earlier_files(figures: Path) -> list[str] | None:
    """The pictures and tables that an earlier inspection wrote beside its figures; None if there was none."""
    from seqtrain.system import strict_json
    from seqtrain.system.files import UnreadableError

    try:
        found = strict_json.read(figures)
    except UnreadableError:
        return None
    runs, names = found.get("runs"), found.get("files")
    if not isinstance(runs, list) or not isinstance(names, list):
        return None
    return [name for name in names if isinstance(name, str) and OWN.fullmatch(name)]


def inspect_tables(found: Sequence["Inspection"]) -> Iterator[Facts | Grid | str]:
    """What was read, the gates, the gradients, and the memory of each run."""
    from seqtrain.inspection.words import sentences

    for each in found:
        read = f"{counted(each.sequences, 'sequence')} of the {each.split} set, at most {each.steps} steps"
        if each.split is None:
            read = f"a prompt of {counted(each.steps, 'token')}"
        weights = f"{each.at}, step {each.step}" if each.at != "init" else "init, untrained"
        yield Facts(f"{each.name}: {each.cell}", [("task", each.task), ("weights", weights), ("read", read)])
    yield _gates_table(found)
    yield _gradient_table(found)
    if any(each.kept for each in found):
        yield _kept_table(found)
    yield from (f"- {sentence}" for each in found for sentence in sentences(each))


def _gates_table(found: Sequence["Inspection"]) -> Grid:
    table = Grid(
        "gates over all units and steps; half-life of the state in steps: quartiles over the units",
        (
            *(Column("cell"), Column("gate", align="left"), Column("mean"), Column("below\n0.1"), Column("above\n0.9")),
            Column("half-life", 1),
        ),
        look=WIDE,
    )
    for name, one in _named(found, lambda each: each.gates):
        _add_gates(table, name, one)
    return table


def _add_gates(table: Grid, name: str, one: "Gates") -> None:
    """A row for each gate; of a cell without gates, one for its state."""
    gates = [activation for activation in one.activations.values() if activation.is_gate]
    for activation in gates or [one.activations["hidden"]]:
        shares = [f"{100 * float(share.mean()):.1f} %" for share in (activation.low, activation.high)]
        label = activation.name if activation.is_gate else "state: h < -0.9, h > 0.9"
        half_life = ""
        if activation.name == one.keeps and one.half_life is not None:
            half_life = " / ".join(f"{float(one.half_life.quantile(q)):.3g}" for q in (0.25, 0.5, 0.75))
        table.add(name, label, figure(float(activation.mean.mean())), *shares, half_life)


def _gradient_table(found: Sequence["Inspection"]) -> Grid:
    table = Grid(
        "gradient of one loss, by the distance back in time",
        (
            *(Column("cell"), Column("of", align="left"), Column("factor\na step"), Column("1 % of it\nleft after")),
            Column("below 1e-38\nafter", 1),
        ),
        look=WIDE,
    )
    for name, curve in _named(found, lambda each: each.gradients):
        table.add(name, curve.field, figure(curve.factor_per_step()), *_distances(curve))
    return table


def _kept_table(found: Sequence["Inspection"]) -> Grid:
    from seqtrain.inspection.words import percent

    table = Grid(
        "hidden facts: the state and the gate from which one unit, and all units together, tell each best",
        (
            *(Column("cell"), Column("fact", align="left"), Column("of", align="left"), Column("unit")),
            *(Column("one unit"), Column("all units"), Column("chance", 1), Column("p", 1)),
        ),
        look=WIDE,
    )
    for each in found:
        for kept in each.kept:
            for best in (kept.best(state=True), kept.best(state=False)):
                if best is not None:
                    name = f"{each.name}: {best.place}" if len(found) > 1 else str(best.place)
                    scores = [percent(score, kept) for score in (best.one.score, best.every.score, best.one.chance)]
                    table.add(name, kept.fact, best.name, str(best.one.unit), *scores, figure(best.one.p))
    return table


def _distances(curve: "Curve") -> Iterator[str]:
    from seqtrain.inspection.gradient import SMALLEST

    for distance in (curve.fallen_to(0.01), curve.fallen_below(SMALLEST)):
        yield "never" if distance is None else str(distance)


def _named(found: Sequence["Inspection"], parts: Callable[["Inspection"], Iterable[P]]) -> Iterator[tuple[str, P]]:
    """The parts of all models, each with the name of its cell, and that of its model if there are several."""
    for each in found:
        for one in parts(each):
            yield (f"{each.name}: {one.place}" if len(found) > 1 else str(one.place)), one
