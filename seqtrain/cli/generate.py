"""`seqtrain generate`."""

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqtrain.cli.arguments import Json, RunOrCheckpoint
from seqtrain.cli.guide import suggest
from seqtrain.cli.render import print_result
from seqtrain.inference.defaults import TEMPERATURE, TOKENS, TOP_P
from seqtrain.system.encoding import not_utf8
from seqtrain.system.errors import ConfigError, DataError
from seqtrain.system.streams import stdout, to_stderr

if TYPE_CHECKING:
    from seqtrain.inference.sampling import Sampling
    from seqtrain.inference.text_model import Samples, TextModel

NAMED = 10
"""How many unknown words of a prompt are named."""

LIKELIER = 0.7
"""The temperature that is advised for a text of likelier tokens."""

PromptText = Annotated[
    str, typer.Option("--prompt", help="The text to continue; - reads it from stdin; by default the start of a line.")
]


def generate(
    run: RunOrCheckpoint,
    prompt: PromptText = "",
    tokens: Annotated[int, typer.Option(help="Words or characters to write.")] = TOKENS,
    temperature: Annotated[
        float, typer.Option(help="Below 1 prefers likely tokens, above 1 unlikely ones; 0 takes the most likely.")
    ] = TEMPERATURE,
    top_k: Annotated[int | None, typer.Option(help="Draw from this many of the most likely.")] = None,
    top_p: Annotated[
        float, typer.Option(help="Draw from the fewest most likely that together have this share.")
    ] = TOP_P,
    samples: Annotated[int, typer.Option(help="Texts to write, which are computed together.")] = 1,
    seed: Annotated[int, typer.Option(help="The same seed writes the same text.")] = 0,
    allow_unk: Annotated[bool, typer.Option("--allow-unk", help="Also write <unk>, for any unknown word.")] = False,
    json: Json = False,
) -> None:
    """Continue a prompt with a trained model of a text or of stories."""
    from seqtrain.inference.sampling import Sampling

    sampling = Sampling(temperature, top_k, top_p)
    check_options(sampling.faults(tokens, samples))
    model, prompt = load(run, prompt, quiet=json)
    say_idle_options(sampling, seed, samples, quiet=json)
    how: dict[str, Any] = {**sampling._asdict(), "seed": seed, "allow_unk": allow_unk}
    with live_text() as write:
        if samples > 1:
            result: Any = model.generate_samples(prompt, samples, tokens, **how)
            for part in () if json else in_parts(result):
                write(part)
        else:
            result = model.generate(prompt, tokens, **how, write=None if json else write)
    if json:
        print_result(result, json, str)
    what = another_text(sampling, model.unit)
    suggest(f"{what}; seqtrain eval {shlex.quote(str(run))} measures the model", quiet=json)


def in_parts(result: "Samples") -> Iterator[str]:
    """Each text as it is, below a line with its number."""
    for number, sample in enumerate(result.samples, 1):
        end = "" if sample.text.endswith("\n") else "\n"
        yield f"--- {number} of {len(result.samples)} ---\n{sample.text}{end}"


def say_idle_options(sampling: "Sampling", seed: int, samples: int, *, quiet: bool) -> None:
    """Name the options that change nothing, as nothing is drawn by chance."""
    given = {"--seed": seed != 0, "--top-k": sampling.top_k is not None, "--top-p": sampling.top_p != TOP_P}
    idle = [option for option, is_given in given.items() if is_given]
    effects = [f"it ignores {', '.join(idle)}"] if idle else []
    effects += [f"all {samples} texts are the same"] if samples > 1 else []
    if sampling.temperature == 0 and effects and not quiet:
        to_stderr(f"--temperature 0 always takes the most likely token, so {', and '.join(effects)}")


def another_text(sampling: "Sampling", unit: str) -> str:
    """Options that give another text than these."""
    if sampling.temperature == 0:
        return f"--temperature {LIKELIER}, with which each --seed gives another text"
    if sampling.top_k == 1:
        return "a larger --top-k, with which each --seed gives another text"
    if sampling.temperature <= LIKELIER:
        return f"another --seed, or a higher --temperature for less likely {unit}s"
    return f"another --seed, or --temperature {LIKELIER} for likelier {unit}s"


def check_options(faults: list[str]) -> None:
    """Raise a `ConfigError` if there are faults, each of which begins with the name of an option."""
    if faults:
        raise ConfigError([f"--{fault}" for fault in faults])


def load(run: Path, prompt: str, *, quiet: bool) -> tuple["TextModel", str]:
    """The model and the text of the prompt; see `read_prompt`."""
    from seqtrain.inference.load import load_text_model
    from seqtrain.system.runtime import prepare

    prepare(None)
    model = load_text_model(run)
    return model, read_prompt(model, prompt, quiet=quiet)


def read_prompt(model: "TextModel", prompt: str, *, quiet: bool) -> str:
    """The text of the prompt, which may be on stdin; remarks on it go to stderr unless `quiet`."""
    from seqtrain.system.progress import say

    text = _standard_input() if prompt == "-" else prompt
    tokens, read, unknown = model.read(text)
    if not tokens:
        say(f"no prompt, so the text starts after {read[0]!r}; give one with --prompt TEXT", quiet=quiet)
    if unknown:
        more = f" and {len(unknown) - NAMED} more" if len(unknown) > NAMED else ""
        say(f"not in the vocabulary, read as <unk>: {', '.join(map(repr, unknown[:NAMED]))}{more}", quiet=quiet)
    return text


def _standard_input() -> str:
    """The text on stdin, without the line end that `echo` adds."""
    raw = sys.stdin.buffer.read() if sys.stdin is not None else b""
    try:
        return raw.decode("utf-8-sig").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise DataError(f"stdin: {not_utf8(error)}") from None


@contextmanager
def live_text() -> Iterator[Callable[[str], None]]:
    """A function that prints pieces of a text on stdout as they come; the last line is ended in every case.

    A reader that closes the pipe early, such as `head -1`, ends the program with exit code 0.
    """
    last = "\n"

    def write(piece: str) -> None:
        nonlocal last
        last = piece
        stdout().write(piece)
        stdout().flush()

    try:
        try:
            yield write
        finally:
            if not last.endswith("\n"):
                write("\n")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stdout().fileno())  # the buffered rest has to go somewhere
        raise typer.Exit(0) from None
