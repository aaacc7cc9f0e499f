"""Text from a trained language model: what a prompt says, what may follow it, one token after another.

Sizes: `N` tokens, `V` the vocabulary.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count, islice
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqtrain.models import SequenceModel
from seqtrain.system.errors import CheckpointError
from seqtrain.system.rng import generator
from seqtrain.tasks.text import Unit, Vocabulary
from seqtrain.tasks.text.tokenizer import EOS, tokens_of
from seqtrain.tasks.text.vocabulary import UNK

READ_AT_ONCE = 1000
"""Tokens of a prompt in one call of the model; a longer prompt takes several, so that its scores fit into memory."""


class Sampling(NamedTuple):
    """How the next token is drawn from the model's distribution.

    temperature : divides the scores; 0 always takes the most likely token.
    top_k : draw from so many of the most likely tokens; None for all.
    top_p : draw from the nucleus, the fewest most likely tokens that together have at least this probability
        (Holtzman et al. 2020); 1 for all.

    `top_k` and `top_p` both look at the distribution that the temperature gives; a token must be allowed by both, and
    the probabilities of those that are are made to add up to 1 again.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0

    def faults(self) -> list[str]:
        """What is wrong with each setting, and what is allowed."""
        faults = []
        if not 0 <= self.temperature < math.inf:
            faults.append(
                f"temperature is {self.temperature:g}; it must be 0 (always the most likely token) or a number above"
            )
        if self.top_k is not None and self.top_k < 1:
            faults.append(f"top-k is {self.top_k}; it must be 1 or more; leave it out for all tokens")
        if not 0 < self.top_p <= 1:
            faults.append(f"top-p is {self.top_p:g}; it must be above 0 and at most 1; leave it out for all tokens")
        return faults


class Prompt(NamedTuple):
    """What the model is to continue.

    tokens : as they were given.
    read : as the model reads them: `<unk>` for the unknown; without any, the one that a text starts after.
    unknown : the tokens that are not in the vocabulary, each once.
    """

    tokens: list[str]
    read: list[str]
    unknown: list[str]


class Continuation(NamedTuple):
    """What a model wrote.

    generated : the tokens, without the prompt's.
    nats : of each of them, minus the logarithm of the probability that the model gave it, before temperature, `top_k`
        and `top_p`: their mean is comparable to the loss that `seqtrain eval` prints.
    text : prompt and continuation as a person reads them.
    """

    generated: list[str]
    nats: list[float]
    text: str


class TextModel(NamedTuple):
    """A trained language model with what its numbers mean.

    model : from symbols `[T, B]` to scores `[T, B, V]`.
    vocabulary : the token of each number.
    unit : what a token is.
    """

    model: SequenceModel
    vocabulary: Vocabulary
    unit: Unit

    def read(self, text: str) -> Prompt:
        """A prompt as the model reads it.

        The end of the text ends no line, other than in a file; a line feed there does. Line ends of any system are
        the same. Nothing but white space is no prompt.
        """
        text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
        tokens = tokens_of(text, self.unit) if text.strip() else []
        if tokens and self.unit == "word" and not text.endswith("\n"):
            tokens.pop()  # the <eos> of the last line, which goes on
        known = self.vocabulary.numbers
        read = [token if token in known else UNK for token in tokens] or [self.start()]
        return Prompt(tokens, read, list(dict.fromkeys(token for token in tokens if token not in known)))

    def start(self) -> str:
        """The token that a text starts after: `<eos>`, a line feed, or the most frequent one where that is unknown."""
        first = EOS if self.unit == "word" else "\n"
        if first in self.vocabulary.numbers:
            return first
        counts = dict(zip(self.vocabulary.tokens, self.vocabulary.counts, strict=True))
        del counts[UNK]
        return max(counts, key=lambda token: counts[token])


def continue_text(
    trained: TextModel,
    prompt: Prompt,
    tokens: int,
    sampling: Sampling = Sampling(),  # noqa: B008  # frozen
    *,
    seed: int = 0,
    allow_unk: bool = False,
    write: Callable[[str], None] | None = None,
) -> Continuation:
    """Continue a prompt by so many tokens.

    Parameters
    ----------
    seed : the same one gives the same text; more tokens go on where fewer end.
    allow_unk : also draw `<unk>`; otherwise the other tokens share its probability as they share the rest.
    write : is handed the text piece by piece, as it comes.

    Raises
    ------
    ValueError : a setting of `sampling` is out of its range.
    CheckpointError : the model's scores are not numbers.
    """
    known = trained.vocabulary
    banned = [] if allow_unk else [known.numbers[UNK]]
    drawn = continue_tokens(trained.model, known.encode(prompt.read), sampling, seed=seed, banned=banned)
    generated: list[str] = []
    nats: list[float] = []

    def whole() -> Iterator[str]:
        yield from prompt.tokens
        for number, surprise in islice(drawn, tokens):
            generated.append(known.tokens[number])
            nats.append(surprise)
            yield generated[-1]

    text = []
    for piece in pieces(whole(), trained.unit):
        text.append(piece)
        if write is not None:
            write(piece)
    return Continuation(generated, nats, "".join(text))


def predict_next(trained: TextModel, prompt: Prompt, top: int) -> list[tuple[str, float]]:
    """The most likely next tokens, each with its probability, the most likely first; at most `top`.

    Raises
    ------
    CheckpointError : the model's scores are not numbers.
    """
    scores, _ = _read(trained.model, trained.vocabulary.encode(prompt.read), None)
    likely = torch.softmax(scores.double(), 0).sort(descending=True, stable=True)
    pairs = zip(likely.indices[:top].tolist(), likely.values[:top].tolist(), strict=True)
    return [(trained.vocabulary.tokens[number], probability) for number, probability in pairs]


def continue_tokens(
    model: SequenceModel, prompt: Tensor, sampling: Sampling, *, seed: int = 0, banned: Sequence[int] = ()
) -> Iterator[tuple[int, float]]:
    """The numbers of the tokens that follow a prompt, without end, each with its nats (see `Continuation`).

    The prompt is read at once, then one token at a time with the state carried, so a token costs the same however
    long the text has become.

    Parameters
    ----------
    prompt : `[N]` token numbers, N at least 1.
    seed : token n is drawn from `generator(seed, "generate", n)`.
    banned : tokens that are never drawn.

    Raises
    ------
    ValueError : a setting of `sampling` is out of its range.
    CheckpointError : the model's scores are not numbers.
    """
    if faults := sampling.faults():
        raise ValueError("\n".join(faults))
    scores, state = _read(model, prompt, None)
    for place in count():
        number = draw(distribution(scores, sampling, banned), generator(seed, "generate", place))
        yield number, -float(torch.log_softmax(scores.double(), 0)[number])
        scores, state = _read(model, torch.tensor([number]), state)


@torch.inference_mode()
def _read(model: SequenceModel, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
    """The scores `[V]` of what follows the tokens `[N]`, and the state there."""
    for part in torch.split(tokens, READ_AT_ONCE):
        outputs, state = model(part[:, None], None, state)
    scores = outputs[-1, 0]
    if not scores.isfinite().all():
        raise CheckpointError("the model's scores are not numbers; use another checkpoint, of a run that converged")
    return scores, state


def distribution(scores: Tensor, sampling: Sampling, banned: Sequence[int] = ()) -> Tensor:
    """The probabilities `[V]` to draw the next token from, in double precision.

    Parameters
    ----------
    scores : `[V]`, logarithms of probabilities up to a constant.
    banned : tokens that get none; not all.
    """
    scores = scores.double().index_fill(0, torch.tensor(banned, dtype=torch.long), -math.inf)
    best = scores.argmax()
    if sampling.temperature == 0:
        return torch.zeros_like(scores).index_fill(0, best, 1.0)
    probabilities = torch.softmax((scores - scores[best]) / sampling.temperature, 0)
    allowed = _allowed(probabilities, sampling)
    kept = torch.zeros_like(probabilities).index_copy(0, allowed, probabilities[allowed])
    return kept / kept.sum()


def _allowed(probabilities: Tensor, sampling: Sampling) -> Tensor:
    """The tokens `[N]` that `top_k` and `top_p` both allow; of equally likely ones the lower numbers come first.

    Sorting a large vocabulary takes longer than the model's step, so tokens that cannot be among them are left out
    first: those below the k-th in probability, and those below `(1 - top_p) / V`, which all together have less than
    `1 - top_p`.
    """
    V = len(probabilities)
    top_k = min(sampling.top_k or V, V)
    floor = (1 - sampling.top_p) / V
    if top_k < V:
        floor = max(floor, float(probabilities.topk(top_k).values[-1]))
    elif sampling.top_p == 1:
        return torch.arange(V)
    likely = (probabilities >= floor).nonzero()[:, 0]
    likely = likely[probabilities[likely].sort(descending=True, stable=True).indices]
    if sampling.top_p == 1:
        return likely[:top_k]
    below = int((probabilities[likely].cumsum(0) < sampling.top_p).sum())
    return likely[: min(top_k, below + 1)]


def draw(probabilities: Tensor, random: torch.Generator) -> int:
    """A number below V, by where a uniform draw falls in the cumulated probabilities `[V]`; never one without any."""
    cumulated = probabilities.cumsum(0)
    point = torch.rand(1, dtype=torch.float64, generator=random) * cumulated[-1]
    return int(torch.searchsorted(cumulated, point, right=True))


def pieces(tokens: Iterable[str], unit: Unit) -> Iterator[str]:
    """What each token adds to a text: words stand apart, `<eos>` ends a line, characters follow each other."""
    gap = ""
    for token in tokens:
        if unit == "character":
            yield token
        elif token == EOS:
            yield "\n"
            gap = ""
        else:
            yield gap + token
            gap = " "
