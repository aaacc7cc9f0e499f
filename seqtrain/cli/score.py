"""`seqtrain score`."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqtrain.cli.arguments import Json, Quiet, RunOrCheckpoint
from seqtrain.cli.guide import suggest
from seqtrain.system.errors import DataError
from seqtrain.system.streams import to_stderr, to_stdout
from seqtrain.system.words import counted, figure, visible

if TYPE_CHECKING:
    from seqtrain.inference.scoring import Scored

MOST_FAULTS = 10
"""Lines of a file whose faults are named."""

STDIN = "-"


def score(
    run: RunOrCheckpoint,
    file: Annotated[str, typer.Argument(help="A text with a sentence a line; - reads stdin.")] = STDIN,
    pairs: Annotated[
        bool,
        typer.Option("--pairs", help="Lines hold two sentences and a tab between; the model should prefer the first."),
    ] = False,
    tokens: Annotated[bool, typer.Option("--tokens", help="Also show each token with its nats.")] = False,
    beginnings: Annotated[
        bool, typer.Option("--beginnings", help="The sentences may go on: do not count the end of the line.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score sentences with a trained language model: how likely it finds each; with --json an object a line."""
    from seqtrain.inference.load import load_text_model
    from seqtrain.system.runtime import prepare

    prepare(None)
    model = load_text_model(run)
    with _lines(file) as lines:
        if pairs:
            scored = model.score(chain.from_iterable(_pairs(lines, file)), beginnings=beginnings)
            _write_pairs(scored, json=json, tokens=tokens)
        else:
            _write_sentences(model.score(lines, beginnings=beginnings), json=json, tokens=tokens)
    suggest("--pairs compares two sentences a line, --tokens shows where each surprises", quiet=quiet or json)


@contextmanager
def _lines(file: str) -> Iterator[Iterator[str]]:
    """The lines of a text or of stdin, without their ends."""
    if file == STDIN and sys.stdin is None:  # a shell closed it, as by <&-
        raise DataError("stdin: is closed; give a text file, or sentences on stdin")
    try:
        with nullcontext(sys.stdin.buffer) if file == STDIN else Path(file).open("rb") as opened:
            yield _decoded(opened, "stdin" if file == STDIN else file)
    except OSError as error:
        if file == STDIN or error.filename is None:
            raise
        raise DataError(f"{file}: cannot be read ({error.strerror}); give a text file, or - for stdin") from None


def _decoded(lines: Iterable[bytes], name: str) -> Iterator[str]:
    from seqtrain.system.encoding import not_utf8

    for number, line in enumerate(lines, 1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{name}:{number}: {not_utf8(error)}") from None
        yield text.removesuffix("\n").removesuffix("\r")


def _pairs(lines: Iterator[str], file: str) -> Iterator[list[str]]:
    """The two sentences of each line.

    Raises
    ------
    DataError : lines that are no pairs.
    """
    faults: list[str] = []
    for number, line in enumerate(lines, 1):
        pair = line.split("\t")
        if len(pair) == 2 and all(sentence.strip() for sentence in pair):
            if not faults:
                yield pair
            continue
        what = "an empty side" if len(pair) == 2 else counted(len(pair) - 1, "tab")
        faults.append(f"{file}:{number}: has {what}; a pair is two sentences with one tab between")
        if len(faults) == MOST_FAULTS:
            break
    if faults:
        raise DataError("\n".join(faults))


def _write_sentences(scored: Iterator["Scored"], *, json: bool, tokens: bool) -> None:
    from seqtrain.inference.scoring import Summary

    summary = Summary()
    for one in scored:
        if not (json or summary.sentences):
            to_stdout(f"{'nats':>10} {'tokens':>7} {'perplexity':>11}  sentence\n")
        summary = summary.plus(one)
        values = as_json(one, tokens=tokens)
        if json:
            _write_json(values)
        else:
            to_stdout(
                f"{one.total:10.3f} {len(one.tokens):7} {figure(values['perplexity']):>11}  {visible(one.sentence)}\n"
            )
            if tokens:
                _write_tokens(one)
    total = summary.as_json()
    if json:
        _write_json({"summary": total})
        return
    to_stdout(
        f"\n{counted(summary.sentences, 'sentence')}, {counted(summary.tokens, 'token')}: perplexity "
        f"{figure(total['perplexity'])}, {figure(total['bits_per_token'])} bits per token, "
        f"{figure(total['bits_per_word'])} bits per word\n"
    )
    if summary.unknown:
        to_stderr(f"{counted(summary.unknown, 'token')} not in the vocabulary, read as <unk>; --json names them")


def _write_pairs(scored: Iterator["Scored"], *, json: bool, tokens: bool) -> None:
    pairs = right = ties = 0
    while len(pair := list(islice(scored, 2))) == 2:
        first, second = pair
        if not (json or pairs):
            to_stdout(f"{'first':>10} {'second':>10}  preferred\n")
        preferred = "first" if first.total < second.total else "second" if second.total < first.total else "neither"
        pairs, right, ties = pairs + 1, right + (preferred == "first"), ties + (preferred == "neither")
        if json:
            _write_json({"preferred": preferred, "pair": [as_json(one, tokens=tokens) for one in pair]})
            continue
        shown = " / ".join(visible(one.sentence) for one in pair)
        to_stdout(f"{first.total:10.3f} {second.total:10.3f}  {preferred:9}  {shown}\n")
        for one in pair if tokens else []:
            _write_tokens(one)
    share = right / pairs if pairs else None
    if json:
        _write_json({"summary": {"pairs": pairs, "right": right, "ties": ties, "share_right": share}})
    else:
        end = "" if share is None else f" ({100 * share:.1f} %)"
        to_stdout(f"\n{counted(pairs, 'pair')}: the first sentence is preferred in {right}{end}, neither in {ties}\n")


def as_json(one: "Scored", *, tokens: bool) -> dict[str, Any]:
    """A sentence with its figures."""
    from seqtrain.inference.scoring import figures

    values = {"sentence": one.sentence, "nats": one.total, "tokens": len(one.tokens), "unknown": one.unknown}
    each = {"token_nats": [list(pair) for pair in zip(one.tokens, one.nats, strict=True)]} if tokens else {}
    return values | figures(one.total, len(one.tokens), one.words) | each


def _write_json(values: dict[str, Any]) -> None:
    from seqtrain.system import strict_json

    to_stdout(strict_json.dumps(values, ascii_only=True) + "\n")


def _write_tokens(one: "Scored") -> None:
    to_stdout("".join(f"{nats:10.3f}    {visible(token)}\n" for token, nats in zip(one.tokens, one.nats, strict=True)))
