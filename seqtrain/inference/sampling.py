"""Draw the next tokens from the scores of a language model.

Sizes: `N` tokens, `V` the vocabulary.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqtrain.inference.defaults import TEMPERATURE, TOP_P
from seqtrain.models import SequenceModel
from seqtrain.system.errors import CheckpointError
from seqtrain.system.rng import generator

READ_AT_ONCE = 1000
"""Tokens of a prompt in one call of the model; a longer prompt takes several, so that its scores fit into memory."""


class Sampling(NamedTuple):
    """How the next token is drawn from the model's distribution.

    temperature : divides the scores; 0 always takes the most likely token.
    top_k : draw from this many of the most likely tokens; None for all.
    top_p : draw from the nucleus, the fewest most likely tokens that together have at least this probability
        (Holtzman et al. 2020); 1 for all.

    `top_k` and `top_p` both use the whole distribution after the temperature: `top_p` does not count within the `top_k`
    tokens. A token must be allowed by both. The probabilities of the allowed tokens are divided by their sum.
    """

    temperature: float = TEMPERATURE
    top_k: int | None = None
    top_p: float = TOP_P

    def faults(self, tokens: int = 1) -> list[str]:
        """A message for each setting that is out of its range, and for the number of tokens to draw."""
        faults = []
        if not 0 <= self.temperature < math.inf:
            faults.append(
                f"temperature is {self.temperature:g}; it must be 0 (always the most likely token) or a number above"
            )
        if self.top_k is not None and self.top_k < 1:
            faults.append(f"top-k is {self.top_k}; it must be 1 or more; leave it out for all tokens")
        if not 0 < self.top_p <= 1:
            faults.append(f"top-p is {self.top_p:g}; it must be above 0 and at most 1; leave it out for all tokens")
        if tokens < 1:
            faults.append(f"tokens is {tokens}; it must be 1 or more")
        return faults


def continue_tokens(
    model: SequenceModel,
    prompt: Tensor,
    sampling: Sampling,
    *,
    seed: int = 0,
    banned: Sequence[int] = (),
    fresh_after: int | None = None,
) -> Iterator[tuple[int, float]]:
    """The numbers of the tokens that follow a prompt, without end, each with its nats (see `text_model.Generated`).

    The model reads the prompt in one pass, then one token at a time with the state carried on, so the cost of a token
    does not grow with the length of the text.

    Parameters
    ----------
    prompt : `[N]` token numbers, N at least 1.
    seed : token n is drawn from `generator(seed, "generate", n)`.
    banned : tokens that are never drawn.
    fresh_after : the token after which the model starts from a fresh state, as at the start of the prompt.

    Raises
    ------
    ValueError : a setting of `sampling` is out of its range.
    CheckpointError : a score of the model is not finite.
    """
    if faults := sampling.faults():
        raise ValueError("\n".join(faults))
    scores, state = read_tokens(model, prompt, None)
    for place in count():
        number = draw(distribution(scores, sampling, banned), generator(seed, "generate", place))
        yield number, -float(torch.log_softmax(scores.double(), 0)[number])
        scores, state = read_tokens(model, torch.tensor([number]), None if number == fresh_after else state)


@torch.inference_mode()
def read_tokens(model: SequenceModel, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
    """The scores `[V]` of the token after the tokens `[N]`, and the state there."""
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
    banned : tokens that get probability 0; not all of them.
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
    """The tokens `[N]` that `top_k` and `top_p` both allow; of equally likely tokens the lower numbers come first.

    Sorting a large vocabulary takes longer than a step of the model. So the tokens below the k-th largest probability
    are removed first, and those below `(1 - top_p) / V`, whose total probability is less than `1 - top_p`.
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
    """Draw a number below V from the probabilities `[V]` by inversion; never one of probability 0."""
    cumulated = probabilities.cumsum(0)
    point = torch.rand(1, dtype=torch.float64, generator=random) * cumulated[-1]
    return int(torch.searchsorted(cumulated, point, right=True))
