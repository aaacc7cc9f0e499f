"""The command line: parse, call, print. The only file that knows Typer; everything heavy is imported when needed."""

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    help="Train, evaluate and compare recurrent sequence models from a YAML config, and write text with them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
configs_app = typer.Typer(help="List the configs that come with seqtrain, show or copy one.")
app.add_typer(configs_app, name="configs")

ConfigName = Annotated[str, typer.Argument(help="A YAML file, or the name of a shipped config (quickstart).")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Settings to change, e.g. train.steps=500."),
]
RunOrCheckpoint = Annotated[
    Path, typer.Argument(metavar="RUN_OR_CHECKPOINT", help="A run directory (its best.pt), or a .pt file.")
]
PromptText = Annotated[
    str, typer.Option("--prompt", help="What to go on from; - reads it from stdin; by default the start of a line.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of what people read.")]
Names = Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Only these.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]


def _directory(text: str) -> Path:
    if not text or text.startswith("-"):
        raise typer.BadParameter(f"{text!r} is no directory to write into")
    return Path(text)


Out = Annotated[
    Path | None,
    typer.Option("--out", parser=_directory, metavar="DIR", help="Where to write; by default a folder under runs/."),
]


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"seqtrain {version('seqtrain')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options that stand before a verb."""


@app.command()
def train(
    config: ConfigName,
    overrides: Overrides = None,
    out: Out = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the run in the directory stands; start if there is none.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in the directory.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a model; stdout ends with the summary."""
    from seqtrain import tables, verbs

    outcome = verbs.train(config, overrides or [], out, resume=resume, overwrite=overwrite, quiet=quiet)
    _print(outcome.summary, json, tables.run_table)
    if outcome.message:
        typer.echo(outcome.message, err=True)
    raise typer.Exit(outcome.exit_code)


@app.command(name="eval")
def evaluate(
    run: RunOrCheckpoint,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Task settings to change, e.g. task.length=400."),
    ] = None,
    split: Annotated[str, typer.Option(help="test, valid, or train (of a text).")] = "test",
    dynamic: Annotated[
        float | None,
        typer.Option(min=0, metavar="LR", help="Go on learning from a text while it is evaluated, at this rate."),
    ] = None,
    dynamic_decay: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="How far each such step draws the weights back to the trained ones."),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Evaluate a trained model, rebuilt from its checkpoint alone."""
    from seqtrain import tables, verbs

    _print(verbs.evaluate(run, split, overrides or [], dynamic, dynamic_decay, quiet=quiet), json, tables.eval_table)


@app.command()
def generate(
    run: RunOrCheckpoint,
    prompt: PromptText = "",
    tokens: Annotated[int, typer.Option(help="Words or characters to write.")] = 100,
    temperature: Annotated[
        float, typer.Option(help="Below 1 keeps to the likely, above 1 strays further; 0 takes the most likely.")
    ] = 1.0,
    top_k: Annotated[int | None, typer.Option(help="Draw from so many of the most likely.")] = None,
    top_p: Annotated[float, typer.Option(help="Draw from the fewest most likely that together have this share.")] = 1.0,
    seed: Annotated[int, typer.Option(help="The same seed writes the same text.")] = 0,
    allow_unk: Annotated[bool, typer.Option("--allow-unk", help="Also write <unk>, for any unknown word.")] = False,
    json: Json = False,
) -> None:
    """Continue a prompt with a trained language model (task language_model)."""
    from seqtrain import tables, verbs
    from seqtrain.generate import Sampling

    sampling = Sampling(temperature, top_k, top_p)
    with tables.live_text() as write:
        result = verbs.generate(run, prompt, tokens, sampling, seed, allow_unk=allow_unk, write=None if json else write)
    if json:
        _print(result, json, None)


@app.command()
def predict(
    run: RunOrCheckpoint,
    prompt: PromptText = "",
    top: Annotated[int, typer.Option(help="How many to show.")] = 5,
    json: Json = False,
) -> None:
    """Show what a trained language model takes to be the most likely next words or characters."""
    from seqtrain import tables, verbs

    _print(verbs.predict(run, prompt, top, quiet=json), json, tables.predict_table)


@app.command()
def compare(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="CONFIG|RUN", help="A config and KEY=VALUE settings; or run directories, or folders of them."
        ),
    ],
    cells: Annotated[
        str | None,
        typer.Option(
            help="Cells to train, with commas between, options as in '{name: gru, reset: before}'; by default rnn, "
            "lstm, peephole, coupled, gru."
        ),
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Seeds of each cell; by default 3.")] = None,
    reference: Annotated[
        str | None, typer.Option(metavar="CELL", help="What the others are compared with; by default the config's own.")
    ] = None,
    match: Annotated[
        str | None, typer.Option(help="What is equal over the cells: hidden (by default), params, or step-time.")
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=A,B,C", help="Tune this setting for each cell on validation; may be repeated."),
    ] = None,
    tuning_seeds: Annotated[int | None, typer.Option(min=1, help="Seeds that tune; by default 2.")] = None,
    vary: Annotated[
        str | None, typer.Option(metavar="KEY=A,B,C", help="Compare at each of these values, e.g. of task.length.")
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(metavar="UNIT=N", help="Training of every run: steps=, sequences=, tokens= or seconds=."),
    ] = None,
    eval_lengths: Annotated[
        str | None, typer.Option(metavar="A,B,C", help="Also evaluate the trained models at these lengths.")
    ] = None,
    level: Annotated[float, typer.Option(help="How likely any verdict may be wrong by chance.")] = 0.05,
    conditions: Annotated[
        list[str] | None,
        typer.Option("--assert", metavar="CONDITION", help="Exit 4 unless it holds: 'gru.test.mse <= lstm.test.mse'."),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, max=1024, help="Runs at a time; the cores are divided among them.")] = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the commands of the runs that are not done, one a line.")
    ] = False,
    out: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train every cell with every seed and compare; or compare runs that exist."""
    from seqtrain import compare, tables

    asked = compare.Asked(cells, seeds, reference, match, grid or (), tuning_seeds, vary, budget, eval_lengths, level)
    if dry_run:
        lines = compare.compare_commands(targets, asked, out, conditions or (), quiet=quiet)
        if json:
            _print({"commands": list(lines)}, json, None)
        for line in lines:
            typer.echo(line)
        return
    typed = shlex.join(["seqtrain", *sys.argv[1:]])
    result, exit_code = compare.compare(targets, asked, out, conditions or (), jobs=jobs, quiet=quiet, command=typed)
    if not result and json:
        _print({"status": "interrupted"}, json, None)
    elif result:
        _print(result, json, tables.compare_table, tables.compare_words(result))
    raise typer.Exit(exit_code)


@app.command()
def bench(
    cells: Annotated[
        str | None,
        typer.Option(help="Cells to time, with commas between: rnn, lstm, peephole, coupled, gru, gru-before."),
    ] = None,
    shapes: Annotated[
        list[str] | None, typer.Option(metavar="T,B,I,H", help="Steps, batch, input and hidden size; may be repeated.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=3, help="How often each contestant has its turn.")] = 15,
    threads: Annotated[
        int | None, typer.Option(min=1, max=4096, help="CPU threads; by default what PyTorch finds.")
    ] = None,
    memory: Annotated[
        bool, typer.Option("--memory", help="Also measure the peak memory of a step, each in its own process (Linux).")
    ] = False,
    keep_memory: Annotated[
        bool, typer.Option("--keep-memory", help="Keep freed memory in the process, for all, as training does.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Time the cells: ours, the module of torch.nn of the same kind, and the plain loop, in turns."""
    from seqtrain import tables, verbs

    result = verbs.time_cells(cells, shapes, rounds, threads, memory=memory, keep_memory=keep_memory, quiet=quiet)
    _print(result, json, tables.bench_table, tables.bench_means(result))


@app.command()
def validate(config: ConfigName, overrides: Overrides = None, json: Json = False, quiet: Quiet = False) -> None:
    """Build everything a config asks for, train nothing, report every fault at once."""
    from seqtrain import tables, verbs

    _print(verbs.validate(config, overrides or [], quiet=quiet), json, tables.validate_table)


@app.command()
def check(config: ConfigName, overrides: Overrides = None, json: Json = False, quiet: Quiet = False) -> None:
    """Prove on a config what is promised: exact resume, determinism, causality, padding, gradients, the test set."""
    from seqtrain import tables, verbs

    result = verbs.check(config, overrides or [], quiet=quiet)
    _print(result, json, tables.check_table)
    raise typer.Exit(0 if result["holds"] else verbs.PROMISE_BROKEN)


@app.command()
def cells(names: Names = None, json: Json = False) -> None:
    """List the cells: equations, parameters, options."""
    from seqtrain import catalogue, tables

    _print({"cells": catalogue.cells(names or ())}, json, tables.definitions)


@app.command()
def tasks(names: Names = None, json: Json = False) -> None:
    """List the tasks: definitions, metrics, settings."""
    from seqtrain import catalogue, tables

    _print({"tasks": catalogue.tasks(names or ())}, json, tables.definitions)


@app.command()
def settings(names: Names = None, json: Json = False) -> None:
    """List the settings of every section of a config, or of some: train, optimizer adam, task language_model."""
    from seqtrain import catalogue, tables

    _print({"settings": catalogue.settings(names or ())}, json, tables.definitions)


@configs_app.callback(invoke_without_command=True)
def configs(context: typer.Context, json: Json = False) -> None:
    """List the configs that come with seqtrain."""
    if context.invoked_subcommand is None:
        from seqtrain import catalogue, tables

        _print({"configs": catalogue.configs()}, json, tables.config_table)


ShippedName = Annotated[str, typer.Argument(help="A name that seqtrain configs lists.")]


@configs_app.command(name="show")
def show_config(name: ShippedName) -> None:
    """Print a shipped config as it is written."""
    from seqtrain import catalogue

    typer.echo(catalogue.config_text(name), nl=False)


@configs_app.command()
def copy(
    name: ShippedName,
    file: Annotated[Path, typer.Argument(help="Where to write it; never overwrites.")],
) -> None:
    """Copy a shipped config, to start from."""
    from seqtrain import verbs

    typer.echo(verbs.copy_config(name, file))


def _print(result: dict[str, Any], json: bool, table: Any, *more: Any) -> None:
    """The result on stdout: one JSON object, or for people."""
    if json:
        from seqtrain import strict_json

        typer.echo(strict_json.dumps(result, indent=2))
    else:
        from seqtrain import tables

        tables.show(table(result), *more)
