"""`seqtrain generate` and `predict`: a trained language model, writing."""

from typing import Annotated

import typer

from seqtrain.cli.arguments import Json, RunOrCheckpoint, print_result

PromptText = Annotated[
    str, typer.Option("--prompt", help="What to go on from; - reads it from stdin; by default the start of a line.")
]


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
    from seqtrain.cli import render as tables
    from seqtrain.cli import verbs
    from seqtrain.inference.sampling import Sampling

    sampling = Sampling(temperature, top_k, top_p)
    with tables.live_text() as write:
        result = verbs.generate(run, prompt, tokens, sampling, seed, allow_unk=allow_unk, write=None if json else write)
    if json:
        print_result(result, json, None)


def predict(
    run: RunOrCheckpoint,
    prompt: PromptText = "",
    top: Annotated[int, typer.Option(help="How many to show.")] = 5,
    json: Json = False,
) -> None:
    """Show what a trained language model takes to be the most likely next words or characters."""
    from seqtrain.cli import render as tables
    from seqtrain.cli import verbs

    print_result(verbs.predict(run, prompt, top, quiet=json), json, tables.predict_table)
