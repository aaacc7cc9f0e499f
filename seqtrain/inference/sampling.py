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
from seqtrain.recurrence.reference import choose_rows
from seqtrain.system.errors import CheckpointError
from seqtrain.system.rng import generator

TOGETHER = 16
"""Texts that go through the model side by side. It is always the same number, with empty rows if there are fewer texts,
as the last bits of a matrix product depend on it."""

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

    def faults(self, tokens: int = 1, samples: int = 1) -> list[str]:
        """A message for each setting that is out of its range, and for the numbers of tokens and of samples."""
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
        if samples < 1:
            faults.append(f"samples is {samples}; it must be 1 or more")
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

    The first sample of `continue_samples`, whose other arguments it takes; token n is drawn from
    `generator(seed, "generate", n)`.
    """
    for (token,) in continue_samples(model, prompt, sampling, 1, seed=seed, banned=banned, fresh_after=fresh_after):
        yield token


def continue_samples(
    model: SequenceModel,
    prompt: Tensor,
    sampling: Sampling,
    samples: int,
    *,
    seed: int = 0,
    banned: Sequence[int] = (),
    fresh_after: int | None = None,
) -> Iterator[list[tuple[int, float]]]:
    """The next token of each of several texts that follow one prompt, without end, each with its nats.

    The model reads the prompt in one pass, then one token of each text at a time with the state carried on, so the cost
    of a token does not grow with the length of the text. A text does not depend on the number of the others.

    Parameters
    ----------
    prompt : `[N]` token numbers, N at least 1.
    seed : token n of sample k > 0 is drawn from `generator(seed, "generate", n, k)`.
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
    rows = 1 if samples == 1 else TOGETHER
    starts = range(0, samples, rows)
    blocks = [(scores.expand(rows, -1), _repeated(state, rows)) for _ in starts]
    for place in count():
        drawn = []
        for start, (scores, _) in zip(starts, blocks, strict=True):
            chosen = range(start, min(start + rows, samples))
            random = [generator(seed, "generate", place, *([k] if k else [])) for k in chosen]
            drawn += _draw_rows(scores[: len(chosen)], sampling, banned, random)
        yield drawn
        numbers = [number for number, _ in drawn] + [0] * (len(starts) * rows - samples)
        blocks = [
            _read_row(model, numbers[start : start + rows], state, fresh_after)
            for start, (_, state) in zip(starts, blocks, strict=True)
        ]


def _repeated(state: Any, rows: int) -> Any:
    """The state of one text for as many rows."""
    if rows == 1:
        return state
    return [
        [type(cell)(*(part.expand(rows, *part.shape[1:]).clone() for part in cell)) for cell in each] for each in state
    ]


@torch.inference_mode()
def _read_row(model: SequenceModel, numbers: list[int], state: Any, fresh_after: int | None) -> tuple[Tensor, Any]:
    """The scores `[B, V]` after one more token of each text, and the state there."""
    is_fresh = [number == fresh_after for number in numbers]
    if all(is_fresh):
        state = None
    elif any(is_fresh):
        state = _restarted(model, state, torch.tensor(is_fresh))
    outputs, state = model(torch.tensor([numbers]), None, state)
    return _checked(outputs[-1]), state


def _restarted(model: SequenceModel, state: Any, rows: Tensor) -> Any:
    """The state, as at the start of a text in some rows."""
    fresh = [[cell.initial_state(len(rows)) for cell in each] for each in model.stack.cells()]

    def chosen(old: Any, new: Any) -> Any:
        return type(old)(*(choose_rows(rows, b, a) for a, b in zip(old, new, strict=True)))

    return [[chosen(*pair) for pair in zip(*each, strict=True)] for each in zip(state, fresh, strict=True)]


def _checked(scores: Tensor) -> Tensor:
    if not scores.isfinite().all():
        raise CheckpointError("the model's scores are not numbers; use another checkpoint, of a run that converged")
    return scores


@torch.inference_mode()
def _draw_rows(
    scores: Tensor, sampling: Sampling, banned: Sequence[int], random: Sequence[torch.Generator]
) -> list[tuple[int, float]]:
    """A token for each row of the scores `[B, V]`, with its nats."""
    if sampling.temperature == 0:
        numbers = _without(scores, banned).argmax(-1, keepdim=True)  # [B, 1]
    else:
        numbers = _invert(distribution(scores, sampling, banned), random)
    nats = -torch.log_softmax(scores.double(), -1).gather(-1, numbers)
    return list(zip(numbers[:, 0].tolist(), nats[:, 0].tolist(), strict=True))


@torch.inference_mode()
def read_tokens(model: SequenceModel, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
    """The scores `[V]` of the token after the tokens `[N]`, and the state there."""
    for part in torch.split(tokens, READ_AT_ONCE):
        outputs, state = model(part[:, None], None, state)
    return _checked(outputs[-1, 0]), state


def distribution(scores: Tensor, sampling: Sampling, banned: Sequence[int] = ()) -> Tensor:
    """The probabilities `[..., V]` to draw the next tokens from, in double precision.

    Parameters
    ----------
    scores : `[..., V]`, logarithms of probabilities up to a constant.
    banned : tokens that get probability 0; not all of them.
    """
    scores = _without(scores, banned)
    best = scores.argmax(-1, keepdim=True)
    if sampling.temperature == 0:
        return torch.zeros_like(scores).scatter(-1, best, 1.0)
    probabilities = torch.softmax((scores - scores.gather(-1, best)) / sampling.temperature, -1)
    if sampling.top_p < 1 or (sampling.top_k or math.inf) < scores.shape[-1]:
        whole, probabilities = probabilities, torch.zeros_like(probabilities)
        for row, kept in zip(whole.view(-1, whole.shape[-1]), probabilities.view(-1, whole.shape[-1]), strict=True):
            allowed = _allowed(row, sampling)
            kept.index_copy_(0, allowed, row[allowed])
    return probabilities / probabilities.sum(-1, keepdim=True)


def _without(scores: Tensor, banned: Sequence[int]) -> Tensor:
    """The scores in double precision; those of banned tokens are minus infinity."""
    scores = scores.double()
    return scores.index_fill(-1, torch.tensor(banned), -math.inf) if banned else scores


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
    likely = (probabilities >= floor).nonzero()[:, 0]
    likely = likely[probabilities[likely].sort(descending=True, stable=True).indices]
    if sampling.top_p == 1:
        return likely[:top_k]
    below = int((probabilities[likely].cumsum(0) < sampling.top_p).sum())
    return likely[: min(top_k, below + 1)]


def draw(probabilities: Tensor, random: torch.Generator) -> int:
    """Draw a number below V from the probabilities `[V]` by inversion; never one of probability 0."""
    return int(_invert(probabilities[None], [random]))


def _invert(probabilities: Tensor, random: Sequence[torch.Generator]) -> Tensor:
    """Likewise for each row of `[B, V]`: `[B, 1]`."""
    cumulated = probabilities.cumsum(-1)
    points = torch.stack([torch.rand(1, dtype=torch.float64, generator=one) for one in random])
    return torch.searchsorted(cumulated, points * cumulated[:, -1:], right=True)
