"""`seqtrain predict`."""

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from seqtrain.cli.arguments import Json, RunOrCheckpoint
from seqtrain.cli.generate import PromptText, check_options, load
from seqtrain.cli.guide import suggest
from seqtrain.cli.render import print_result
from seqtrain.inference.defaults import TOP
from seqtrain.system.tables import WIDE, Column, Grid
from seqtrain.system.words import figure, visible

if TYPE_CHECKING:
    from seqtrain.inference.text_model import Predicted

PROMPT_SHOWN = 100
"""The last characters of a prompt that stand above its table."""


def predict(
    run: RunOrCheckpoint,
    prompt: PromptText = "",
    top: Annotated[int, typer.Option(help="How many to show.")] = TOP,
    json: Json = False,
) -> None:
    """Predict the next word or character with a trained language model: the most likely ones."""
    check_options([f"top is {top}; it must be 1 or more"] if top < 1 else [])
    model, prompt = load(run, prompt, quiet=json)
    print_result(model.predict(prompt, top), json, predict_table)
    suggest(shlex.join(["seqtrain", "generate", str(run), *(["--prompt", prompt] if prompt else [])]), quiet=json)


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
