"""The vocabulary of a model from elsewhere: what the rows of its embedding and of its head stand for."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from seqtrain.interchange.torch_file import listed
from seqtrain.interchange.torch_parts import Parts
from seqtrain.system.errors import ConfigError
from seqtrain.system.files import read_whole
from seqtrain.system.words import counted, visible
from seqtrain.tasks import LanguageModel, Task
from seqtrain.tasks.text.tokenizer import EOS
from seqtrain.tasks.text.vocabulary import UNK, Vocabulary

LARGEST = 1 << 28
"""Bytes of a vocabulary that is read."""

NAMES_OF_UNKNOWN = ("<UNK>", "[UNK]", "<unknown>", "UNK", "<oov>", "<OOV>")
"""What other programs call `<unk>`."""

NEVER = -1000.0
"""The score of a token that a model does not know: beside any usual score, its probability is zero in float64 too."""


class Rows(NamedTuple):
    """What the rows of the weights stand for.

    path : the file that says it.
    tokens : one for each row.
    vocabulary : that the task must have instead of its own, so that each row has a place; None if its own will do.
    remarks : what a user should know.
    """

    path: Path
    tokens: list[str]
    vocabulary: Vocabulary | None
    remarks: list[str]


def read_rows(path: Path, task: Task) -> Rows:
    """The tokens in a file, one a line, in the order of the rows.

    A character that cannot be printed is written as seqtrain shows it: `\\n` is the end of a line. `<unk>` may be
    missing if no token of the training text is read as it.

    Raises
    ------
    SeqtrainError : the file cannot be read, or the task cannot be done with these tokens.
    """
    try:
        lines = read_whole(path, LARGEST).decode("utf-8-sig").replace("\r\n", "\n").removesuffix("\n").split("\n")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8; convert it, e.g. with iconv -t utf8") from None
    if "" in lines:
        raise ConfigError(f"{path}:{lines.index('') + 1}: is empty; give one token a line, for each row of the weights")
    own = {visible(token): token for token in task.vocabulary} | {token: token for token in task.vocabulary}
    tokens = [own.get(line, line) for line in lines]
    if twice := [token for token, times in Counter(tokens).items() if times > 1]:
        raise ConfigError(f"{path}: has {_shown(twice)} more than once; each row of the weights has a token of its own")
    return _rows_for(path, tokens, task)


def _rows_for(path: Path, tokens: list[str], task: Task) -> Rows:
    """Compare the tokens with the vocabulary of the task."""
    known, given = set(task.vocabulary), set(tokens)
    more = [token for token in tokens if token not in known]
    less = [token for token in task.vocabulary if token not in given and not _is_unused(token, task)]
    has = f"has {counted(len(more), 'token')} that the training text lacks: {_shown(more)}" if more else ""
    lacks = f"lacks {counted(len(less), 'token')} of the training text: {_shown(less)}" if less else ""
    if not more and not less:
        return Rows(path, tokens, None, [])
    if not isinstance(task, LanguageModel):
        raise ConfigError(
            [f"{path}: {fault}; task {task.name!r} has a fixed vocabulary" for fault in (has, lacks) if fault]
        )
    if not (known & given) - {UNK}:
        raise ConfigError(
            f"{path}: has no token of the training text; see task.path, and task.unit (word or character)"
        )
    if EOS in less:
        raise ConfigError(
            f"{path}: lacks {EOS!r}, which stands at the end of each line; write {EOS} on the line of your own end "
            "token"
        )
    if UNK not in given and (theirs := [token for token in tokens if token in NAMES_OF_UNKNOWN]):
        raise ConfigError(f"{path}: lacks {UNK!r}; write {UNK} on the line of your own token for it, {_shown(theirs)}")
    if less and UNK not in given:
        raise ConfigError(
            f"{path}: {lacks}, and {UNK}, as which they would be read; name the text of the model (task.path)"
        )
    remarks = [f"{path}: {fact}" for fact in (has, f"{lacks}, read as {UNK}" if less else "") if fact]
    remarks.append("so its perplexities cannot be compared with those of the vocabulary of the text itself")
    return Rows(path, tokens, _counted(tokens, task), remarks)


def _is_unused(token: str, task: Task) -> bool:
    """Whether a token is `<unk>`, and none of the training text is read as it."""
    return token == UNK and task.counts is not None and task.counts[task.vocabulary.index(UNK)] == 0


def _counted(tokens: list[str], task: LanguageModel) -> Vocabulary:
    """The tokens, with `<unk>`, and how often each occurs in the training text."""
    counts = dict(zip(task.vocabulary, task.counts or [], strict=True))
    all_of_them = tokens if UNK in tokens else [UNK, *tokens]
    given = set(all_of_them)
    others = sum(count for token, count in counts.items() if token not in given)
    return Vocabulary(all_of_them, [counts.get(token, 0) + (others if token == UNK else 0) for token in all_of_them])


def _shown(tokens: list[str]) -> str:
    return listed([repr(visible(token)) for token in tokens], most=10)


def in_order(parts: Parts, tokens: list[str], vocabulary: list[str]) -> Parts:
    """The same parts, their rows in the order of a vocabulary instead of that of `tokens`."""
    place = {token: number for number, token in enumerate(tokens)}
    rows = torch.tensor([place.get(token, len(tokens)) for token in vocabulary])
    bias = parts.bias
    if bias is None and len(tokens) < len(vocabulary):
        bias = parts.head.new_zeros(len(tokens))
    return parts._replace(
        embedding=None if parts.embedding is None else _ordered(parts.embedding, rows, 0.0),
        head=_ordered(parts.head, rows, 0.0),
        bias=None if bias is None else _ordered(bias, rows, NEVER),
    )


def _ordered(weight: Tensor, rows: Tensor, other: float) -> Tensor:
    """Rows by their numbers; the number behind the last one stands for a row of `other`."""
    return torch.cat([weight, torch.full_like(weight[:1], other)])[rows]
