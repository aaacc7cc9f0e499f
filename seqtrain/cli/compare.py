"""`seqtrain compare`."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from seqtrain.cli import completion
from seqtrain.cli.arguments import Json, Out, Quiet
from seqtrain.cli.guide import suggest
from seqtrain.cli.render import print_result
from seqtrain.comparison.defaults import (
    ADVISED_SEEDS,
    COMPARED,
    LEVEL,
    MOST_JOBS,
    MOST_SEEDS,
    MOST_TASKS,
    PLACES,
    SEEDS,
    SLURM_KEYS,
    TUNING_SEEDS,
)
from seqtrain.system.pictures import FORMATS
from seqtrain.system.streams import to_stderr, to_stdout

if TYPE_CHECKING:
    from seqtrain.comparison.runner import Commands


ARRAY = "--dry-run-array"
"""What `--dry-run=array` is for Typer, whose options always have a value or never."""


class CompareCommand(TyperCommand):
    """The command, whose option `--dry-run` may have a value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Replace `--dry-run=array`, and parse the rest."""
        options = args[: args.index("--")] if "--" in args else args
        for number, word in enumerate(options):
            option, equals, form = word.partition("=")
            if option == "--dry-run" and equals:
                if form != "array":
                    raise typer.BadParameter(f"{form!r} is not array; write --dry-run or --dry-run=array", ctx=ctx)
                args[number] = ARRAY
        return super().parse_args(ctx, args)


def compare(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="CONFIG|RUN",
            autocompletion=completion.targets,
            help="A config and KEY=VALUE settings; or run directories, or folders of them.",
        ),
    ],
    cells: Annotated[
        str | None,
        typer.Option(
            autocompletion=completion.cells,
            help="Cells to train, with commas between, options as in '{name: gru, reset: before}'; by default "
            f"{', '.join(COMPARED)}.",
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MOST_SEEDS,
            help=f"Seeds of each cell; by default {SEEDS}, too few for a claim; {ADVISED_SEEDS} are advised.",
        ),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            metavar="CELL",
            autocompletion=completion.cells,
            help="What the others are compared with; by default the config's own, or the first; of runs, the first.",
        ),
    ] = None,
    match: Annotated[
        str | None,
        typer.Option(
            autocompletion=completion.one_of("hidden", "params", "step-time"),
            help="What is equal over the cells: hidden (by default), params, or step-time.",
        ),
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=A,B,C",
            autocompletion=completion.keys,
            help="Tune this setting for each cell on validation; may be repeated.",
        ),
    ] = None,
    tune: Annotated[
        str | None,
        typer.Option(
            metavar="METHOD:N",
            autocompletion=completion.one_of("random:20", "optuna:20"),
            help="Tune with N candidates for each cell: random:N draws them, optuna:N asks Optuna.",
        ),
    ] = None,
    ranges: Annotated[
        list[str] | None,
        typer.Option(
            "--range",
            metavar="KEY=LOW..HIGH",
            autocompletion=completion.keys,
            help="What --tune draws, on a logarithmic scale, or from a list KEY=A,B,C; may be repeated.",
        ),
    ] = None,
    tuning_seeds: Annotated[
        int | None, typer.Option(min=1, max=MOST_SEEDS, help=f"Seeds that tune; by default {TUNING_SEEDS}.")
    ] = None,
    vary: Annotated[
        str | None,
        typer.Option(
            metavar="KEY=A,B,C",
            autocompletion=completion.keys,
            help="Compare the cells at each of these values, e.g. of task.length; or compare the values for one cell.",
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(metavar="UNIT=N", help="Training of every run: steps=, sequences=, tokens= or seconds=."),
    ] = None,
    eval_lengths: Annotated[
        str | None, typer.Option(metavar="A,B,C", help="Also evaluate the trained models at these lengths.")
    ] = None,
    level: Annotated[
        float | None,
        typer.Option(
            help=f"Significance level: the probability that any verdict is wrong by chance; by default {LEVEL}."
        ),
    ] = None,
    conditions: Annotated[
        list[str] | None,
        typer.Option("--assert", metavar="CONDITION", help="Exit 4 unless it holds: 'gru.test.mse <= lstm.test.mse'."),
    ] = None,
    pictures: Annotated[
        str | None,
        typer.Option(
            metavar="FORM",
            autocompletion=completion.one_of(*FORMATS),
            help="Draw the pictures also as svg or pdf, for a paper; by default png.",
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, max=MOST_JOBS, help="Runs at a time; by default 1. On this machine they share the cores."),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(
            metavar="WHERE",
            autocompletion=completion.one_of(*PLACES),
            help=f"Where the runs are trained: {', '.join(PLACES)}; by default local.",
        ),
    ] = None,
    runs_per_job: Annotated[
        int | None, typer.Option(min=1, help="Runs that one job of Slurm trains, one after another; by default 1.")
    ] = None,
    slurm: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            autocompletion=completion.one_of(*(f"{key}=" for key in SLURM_KEYS)),
            help=f"What each job asks for: {', '.join(SLURM_KEYS)}; may be repeated.",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print the commands of the runs that are not done, one a line. --dry-run=array writes them into a "
            "file, and prints the line that submits them to Slurm as a job array.",
        ),
    ] = False,
    dry_run_array: Annotated[bool, typer.Option(ARRAY, hidden=True)] = False,
    out: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train every cell with every seed and compare; or compare runs that exist."""
    from seqtrain import comparison
    from seqtrain.cli.compare_table import compare_tables

    request = comparison.parse_request(
        targets, command=shlex.join(["seqtrain", *sys.argv[1:]]), out=out, cells=cells, seeds=seeds,
        reference=reference, match=match, grid=grid or (), tune=tune, ranges=ranges or (), tuning_seeds=tuning_seeds,
        vary=vary, budget=budget, eval_lengths=eval_lengths, level=level, conditions=conditions or (),
        pictures=pictures, jobs=jobs,
        on=on, runs_per_job=runs_per_job, slurm=slurm or (),
    )  # fmt: skip
    if dry_run or dry_run_array:
        planned = comparison.dry_run(request, quiet=quiet)
        if dry_run_array:
            _print_array(request.out, planned, jobs or 1, json=json, quiet=quiet)
        else:
            _print_lines(planned, json=json)
        left, gather = planned.round < planned.rounds, f"seqtrain compare {shlex.quote(str(request.out))}"
        then = f"repeat this command for round {planned.round + 1}" if left else gather
        suggest(f"run what is printed; when that has ended, {then}", quiet=quiet or json)
        return
    results, exit_code = comparison.answer(request, quiet=quiet)
    if results is not None or json:
        print_result(results or {"status": "interrupted"}, json, compare_tables)
    if results is not None:
        pictures = ", ".join(results.pictures.values())
        report, table = (results.files[name] for name in ("report.html", "results.csv"))
        suggest(f"open {report}; pictures: {pictures}; a line a run: {table}", quiet=quiet or json)
    raise typer.Exit(exit_code)


def _print_lines(planned: "Commands", *, json: bool) -> None:
    """Print the commands."""
    if json:
        print_result({"commands": [*planned.lines]}, json, str)
    for line in planned.lines:
        to_stdout(f"{line}\n")


def _print_array(out: Path, planned: "Commands", jobs: int, *, json: bool, quiet: bool) -> None:
    """Write the commands into a file, and print the lines that submit them."""
    from seqtrain.comparison.job_array import job_array

    array = job_array(out, planned, jobs)
    if json:
        print_result(array.as_json(), json, str)
    for line in array.submit if not json else ():
        to_stdout(f"{line}\n")
    if len(array.submit) > 1 and not quiet:
        to_stderr(f"{len(array.submit)} arrays, as Slurm usually allows {MOST_TASKS:,} tasks in one")
