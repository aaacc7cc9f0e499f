"""`seqtrain inspect`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

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
    found = [
        inspect(name, overrides, at=cast("At", at), split=cast("Split", split), sequences=sequences, quiet=quiet)
        for name in names
    ]
    folder = out or Path("runs") / "inspect"
    folder.mkdir(parents=True, exist_ok=True)
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
    for each in found:
        for one in each.gates:
            _add_gates(table, _place(each, one, many=len(found) > 1), one)
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
    for each in found:
        for curve in each.gradients:
            name = _place(each, curve, many=len(found) > 1)
            table.add(name, curve.field, figure(curve.factor_per_step()), *_distances(curve))
    return table


def _distances(curve: "Curve") -> Iterator[str]:
    from seqtrain.inspection.gradient import SMALLEST

    for distance in (curve.fallen_to(0.01), curve.fallen_below(SMALLEST)):
        yield "never" if distance is None else str(distance)


def _place(each: "Inspection", one: "Gates | Curve", *, many: bool) -> str:
    return f"{each.name}: {one.place}" if many else str(one.place)
