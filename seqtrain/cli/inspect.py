"""`seqtrain inspect`."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar, cast

import typer

from seqtrain.cli.arguments import Json, Out, Quiet
from seqtrain.cli.guide import suggest
from seqtrain.cli.render import print_result
from seqtrain.inspection.defaults import SEQUENCES
from seqtrain.system.errors import ConfigError
from seqtrain.system.tables import WIDE, Column, Facts, Grid
from seqtrain.system.words import figure

if TYPE_CHECKING:
    from seqtrain.inspection.api import Inspection
    from seqtrain.inspection.gates import Gates
    from seqtrain.inspection.gradient import Curve
    from seqtrain.inspection.subject import At
    from seqtrain.tasks import Split

PAGE = "inspect.html"

P = TypeVar("P", "Gates", "Curve")


def inspect(
    targets: Annotated[
        list[str],
        typer.Argument(metavar="RUN... [KEY=VALUE]", help="Run directories, checkpoints, or configs (untrained)."),
    ],
    at: Annotated[str, typer.Option(help="Weights of a run: init (before the first step), best, or last.")] = "best",
    split: Annotated[str, typer.Option(help="test, valid, or train (of a text).")] = "test",
    sequences: Annotated[int, typer.Option(help="How many sequences to look at.")] = SEQUENCES,
    out: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show what a cell remembers: its gates, its gradient through time, and the context that the model uses."""
    from seqtrain.inspection.api import inspect
    from seqtrain.inspection.page import write_page

    names = [target for target in targets if "=" not in target]
    overrides = [target for target in targets if "=" in target]
    if not names:
        raise ConfigError("inspect takes run directories, checkpoints or configs; got only settings")
    folder = out or Path("runs") / "inspect"
    folder.mkdir(parents=True, exist_ok=True)  # a folder that cannot be written is known before the work
    found = [
        inspect(name, overrides, at=cast("At", at), split=cast("Split", split), sequences=sequences, quiet=quiet)
        for name in names
    ]
    write_page(found, folder / PAGE)
    print_result({"runs": [each.as_json() for each in found]}, json, lambda _: inspect_tables(found))
    suggest(f"open {folder / PAGE} in a browser", quiet=quiet or json)


def inspect_tables(found: Sequence["Inspection"]) -> Iterator[Facts | Grid | str]:
    """What was read, the gates, the gradients, and the memory of each run."""
    from seqtrain.inspection.words import sentences

    for each in found:
        read = f"{each.sequences} sequences of the {each.split} set, at most {each.steps} steps"
        weights = f"{each.at}, step {each.step}" if each.at != "init" else "init, untrained"
        yield Facts(f"{each.name}: {each.cell}", [("task", each.task), ("weights", weights), ("read", read)])
    yield _gates_table(found)
    yield _gradient_table(found)
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
        label = activation.name if activation.is_gate else "state: |h| > 0.9"
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


def _distances(curve: "Curve") -> Iterator[str]:
    from seqtrain.inspection.gradient import SMALLEST

    for distance in (curve.fallen_to(0.01), curve.fallen_below(SMALLEST)):
        yield "never" if distance is None else str(distance)


def _named(found: Sequence["Inspection"], parts: Callable[["Inspection"], Iterable[P]]) -> Iterator[tuple[str, P]]:
    """The parts of all models, each with the name of its cell, and that of its model if there are several."""
    for each in found:
        for one in parts(each):
            yield (f"{each.name}: {one.place}" if len(found) > 1 else str(one.place)), one
