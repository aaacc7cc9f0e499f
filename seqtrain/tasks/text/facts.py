"""Hidden facts of a text: where in the line a token stands, and whether quotes or brackets are open."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from seqtrain.tasks.facts import HiddenFact
from seqtrain.tasks.text.tokenizer import EOS

LINE_ENDS = (EOS, "\n")
OPENING, CLOSING = ("(", "[", "{"), (")", "]", "}")
OPENING_QUOTES, CLOSING_QUOTES = ("“", "«", "``"), ("”", "»", "''")
EITHER_QUOTE = ('"',)
"""Opens a quotation, or closes it."""

YES = ("no", "yes")


def text_facts(inputs: Tensor, vocabulary: Sequence[str]) -> list[HiddenFact]:
    """The facts of tokens `[T, B]`, each known from the first end of a line on.

    Quotes and brackets are counted from the start of the line. A text without line ends has no such facts.
    """
    ends = _is_any(inputs, vocabulary, LINE_ENDS)
    steps = torch.arange(len(inputs))[:, None]
    last_end = steps.where(ends, -1).cummax(0).values
    known = last_end >= 0

    def since_line_start(change: Tensor) -> Tensor:
        """The sum of changes `[T, B]` after the last end of a line."""
        total = change.long().cumsum(0)
        return total - total.gather(0, last_end.clamp(min=0))

    def is_open(opening: Iterable[str], closing: Iterable[str]) -> Tensor:
        """Where more are open than closed; one that closes nothing does not count."""
        balance, line = (
            since_line_start(_balance(inputs, vocabulary, opening, closing)),
            (len(inputs) + 1) * (1 + ends.long().cumsum(0)),
        )
        least = (balance - line).cummin(0).values + line  # of the line: each line lies far below the one before
        return balance > least.clamp(max=0)

    brackets, quotes = is_open(OPENING, CLOSING), is_open(OPENING_QUOTES, CLOSING_QUOTES)
    quotes |= since_line_start(_is_any(inputs, vocabulary, EITHER_QUOTE)) % 2 > 0
    return [
        HiddenFact("position in the line", (steps - last_end).float(), known),
        HiddenFact("inside quotes", quotes.long(), known, YES),
        HiddenFact("inside brackets", brackets.long(), known, YES),
    ]


def after_token(inputs: Tensor, vocabulary: Sequence[str], token: str) -> HiddenFact:
    """Whether the last token that was read is a given one."""
    is_token = _is_any(inputs, vocabulary, (token,))
    return HiddenFact(f"after {token!r}", is_token.long(), torch.ones_like(is_token), YES)


def _balance(inputs: Tensor, vocabulary: Sequence[str], opening: Iterable[str], closing: Iterable[str]) -> Tensor:
    return _is_any(inputs, vocabulary, opening).long() - _is_any(inputs, vocabulary, closing).long()


def _is_any(inputs: Tensor, vocabulary: Sequence[str], tokens: Iterable[str]) -> Tensor:
    """`[T, B]`, where one of these tokens stands."""
    wanted = {*tokens}
    return torch.tensor([token in wanted for token in vocabulary])[inputs]
