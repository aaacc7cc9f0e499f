"""A trained language model that reads text and writes it."""

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from seqtrain.inference.defaults import TEMPERATURE, TOKENS, TOP, TOP_P
from seqtrain.inference.sampling import Sampling, continue_samples, read_tokens
from seqtrain.inference.scoring import Scored, nats_of
from seqtrain.models import SequenceModel
from seqtrain.system.errors import ConfigError
from seqtrain.system.files import check_name
from seqtrain.tasks.text.tokenizer import BYTE_ORDER_MARK, EOS, Unit, tokens_of
from seqtrain.tasks.text.vocabulary import UNK, Vocabulary

SCORED_TOGETHER = 8192
"""Sentences that are read, and sorted by length, together."""


class Prompt(NamedTuple):
    """The text that the model continues.

    tokens : as given.
    read : as the model reads them: `<unk>` for an unknown token; without any token, the one that a text starts after.
    unknown : the tokens that are not in the vocabulary, each once.
    """

    tokens: list[str]
    read: list[str]
    unknown: list[str]


@dataclass(frozen=True)
class _Answer:
    """What every answer to a prompt holds.

    checkpoint : the file of the model.
    unit : what a token is.
    prompt, read, unknown : see `Prompt`.
    """

    checkpoint: str
    unit: Unit
    prompt: list[str]
    read: list[str]
    unknown: list[str]


@dataclass(frozen=True)
class Generated(_Answer):
    """A text that a model wrote.

    generated : the new tokens, without those of the prompt.
    nats : of each new token, minus the logarithm of the probability that the model gave it, before temperature,
        `top_k` and `top_p`. Their mean is comparable to the loss that `seqtrain eval` prints.
    text : prompt and new tokens as a person reads them.
    settings : how many tokens were asked for, and how they were drawn.
    """

    generated: list[str]
    nats: list[float]
    text: str
    settings: dict[str, float | None]
    seed: int


@dataclass(frozen=True)
class Sample:
    """One of several texts; see `Generated`."""

    generated: list[str]
    nats: list[float]
    text: str


@dataclass(frozen=True)
class Samples(_Answer):
    """Several texts that a model wrote after one prompt; see `Generated`."""

    samples: list[Sample]
    settings: dict[str, float | None]
    seed: int


@dataclass(frozen=True)
class NextToken:
    """A token that may follow, with its probability."""

    token: str
    probability: float


@dataclass(frozen=True)
class Predicted(_Answer):
    """The most likely next tokens after a prompt, the most likely first."""

    next: list[NextToken]


class TextModel(NamedTuple):
    """A trained language model with its vocabulary.

    model : from token numbers `[T, B]` to scores `[T, B, V]`.
    vocabulary : the token of each number.
    unit : what a token is.
    checkpoint : the file that it comes from.
    independent : it learnt sentences, each from a fresh state and after the start of a line.
    """

    model: SequenceModel
    vocabulary: Vocabulary
    unit: Unit
    checkpoint: str = ""
    independent: bool = False

    def read(self, text: str) -> Prompt:
        """Read a prompt as the model reads it.

        The end of the text does not end its last line; a line feed does. Line ends of all systems are the same. A text
        of white space is an empty prompt. Letters with accents are read in the form, composed or decomposed, in which
        the vocabulary knows more of the prompt.

        Raises
        ------
        SeqtrainError : it is not UTF-8, as an argument of the command line may be; or it has an unknown word, and the
            vocabulary has no `<unk>`.
        """
        check_name(text)
        text = text.replace("\r\n", "\n").replace("\r", "\n").replace(BYTE_ORDER_MARK, "")
        known = self.vocabulary.numbers
        tokens = self._split(text)
        if not all(token in known for token in tokens):
            forms = [text, unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)]
            tokens = min(map(self._split, forms), key=lambda tokens: sum(token not in known for token in tokens))
        if UNK not in known:
            self.vocabulary.encode(tokens)
        read = [token if token in known else UNK for token in tokens]
        if self.independent or not read:
            read = [self.start(), *read]
        return Prompt(tokens, read, list(dict.fromkeys(token for token in tokens if token not in known)))

    def _split(self, text: str) -> list[str]:
        """The tokens of a prompt, whose last line goes on."""
        if self.unit == "word" and "\n" not in text:
            return text.split()
        tokens = tokens_of(text, self.unit) if text.strip() else []
        return tokens[:-1] if self.unit == "word" and not text.endswith("\n") else tokens

    def _numbers(self, prompt: Prompt) -> Tensor:
        """`[N]`, what the model reads: all of a prompt, or its last sentence."""
        read, first = prompt.read, 0
        if self.independent:
            first = len(read) - 1 - read[::-1].index(self.start())
        return self.vocabulary.encode(read[first:])

    def start(self) -> str:
        """The token that a text starts after.

        It is `<eos>`, of stories the end of a sentence, of characters a line feed; if that is unknown, the most
        frequent token.
        """
        numbers = self.vocabulary.numbers
        first = "\n" if self.unit == "character" else EOS if UNK in numbers else "."
        if first in numbers:
            return first
        counts = dict(zip(self.vocabulary.tokens, self.vocabulary.counts, strict=True))
        del counts[UNK]
        return max(counts, key=lambda token: counts[token])

    def ends(self) -> list[str]:
        """The token that ends a line, if the model has one."""
        end = "\n" if self.unit == "character" else EOS
        return [end] if end in self.vocabulary.numbers else []

    def score(self, sentences: Iterable[str], *, beginnings: bool = False) -> Iterator[Scored]:
        """How much sentences surprise the model, each from a fresh state and after the start of a line.

        Parameters
        ----------
        sentences : each without a line end; they are read in blocks of 8,192, so that there may be any number.
        beginnings : the sentences may go on, so that the end of the line does not count.

        Raises
        ------
        SeqtrainError : as `read`; or a score of the model is not finite.
        """
        remaining = iter(sentences)
        while block := list(islice(remaining, SCORED_TOGETHER)):
            yield from self._score_block(block, [] if beginnings else self.ends())

    def _score_block(self, sentences: Sequence[str], ends: list[str]) -> Iterator[Scored]:
        if any("\n" in sentence for sentence in sentences):
            raise ConfigError("a sentence holds a line end; give its lines as sentences of their own")
        read, known = [self.read(sentence) for sentence in sentences], self.vocabulary.numbers
        predicted = [[*prompt.read[len(prompt.read) - len(prompt.tokens) :], *ends] for prompt in read]
        numbers = [[known[token] for token in tokens] for tokens in predicted]
        nats = nats_of(self.model, known[self.start()], numbers, len(known))
        for sentence, prompt, values in zip(sentences, read, nats, strict=True):
            yield Scored(sentence, [*prompt.tokens, *ends], values, prompt.unknown)

    def generate(
        self,
        prompt: str = "",
        tokens: int = TOKENS,
        *,
        temperature: float = TEMPERATURE,
        top_k: int | None = None,
        top_p: float = TOP_P,
        seed: int = 0,
        allow_unk: bool = False,
        write: Callable[[str], None] | None = None,
    ) -> Generated:
        """Continue a prompt.

        Parameters
        ----------
        tokens : how many to add.
        temperature, top_k, top_p : see `Sampling`.
        seed : the same seed gives the same text; a longer text starts with the shorter one.
        allow_unk : also draw `<unk>`; otherwise the other tokens share its probability.
        write : called with each piece of the text as soon as it is known.

        Raises
        ------
        ConfigError : a setting is out of its range.
        CheckpointError : a score of the model is not finite.
        """
        sampling = Sampling(temperature, top_k, top_p)
        given = self.read(prompt)
        drawn = self._drawn(given, sampling, 1, tokens, seed=seed, allow_unk=allow_unk)
        generated: list[str] = []
        nats: list[float] = []

        def whole_text() -> Iterator[str]:
            yield from given.tokens
            for ((number, surprise),) in drawn:
                generated.append(self.vocabulary.tokens[number])
                nats.append(surprise)
                yield generated[-1]

        text = []
        for piece in pieces(whole_text(), self.unit):
            text.append(piece)
            if write is not None:
                write(piece)
        settings = {"tokens": tokens, **sampling._asdict(), "allow_unk": allow_unk}
        return Generated(self.checkpoint, self.unit, *given, generated, nats, "".join(text), settings, seed)

    def generate_samples(
        self,
        prompt: str = "",
        samples: int = 2,
        tokens: int = TOKENS,
        *,
        temperature: float = TEMPERATURE,
        top_k: int | None = None,
        top_p: float = TOP_P,
        seed: int = 0,
        allow_unk: bool = False,
    ) -> Samples:
        """Continue a prompt in several ways, which the model computes together; the other arguments as in `generate`.

        A text does not depend on how many others there are. The first is that of `generate`; its nats may differ in the
        last digits.
        """
        sampling = Sampling(temperature, top_k, top_p)
        given, known = self.read(prompt), self.vocabulary.tokens
        places = [*self._drawn(given, sampling, samples, tokens, seed=seed, allow_unk=allow_unk)]
        texts = []
        for each in zip(*places, strict=True):
            generated = [known[number] for number, _ in each]
            text = "".join(pieces([*given.tokens, *generated], self.unit))
            texts.append(Sample(generated, [nats for _, nats in each], text))
        settings = {"samples": samples, "tokens": tokens, **sampling._asdict(), "allow_unk": allow_unk}
        return Samples(self.checkpoint, self.unit, *given, texts, settings, seed)

    def _drawn(
        self, given: Prompt, sampling: Sampling, samples: int, tokens: int, *, seed: int, allow_unk: bool
    ) -> Iterator[list[tuple[int, float]]]:
        """As many next tokens of each sample as are asked for."""
        if faults := sampling.faults(tokens, samples):
            raise ConfigError(faults)
        known = self.vocabulary.numbers
        banned = [] if allow_unk or UNK not in known else [known[UNK]]
        fresh_after = known.get(self.start()) if self.independent else None
        drawn = continue_samples(
            self.model, self._numbers(given), sampling, samples, seed=seed, banned=banned, fresh_after=fresh_after
        )
        return islice(drawn, tokens)

    def predict(self, prompt: str = "", top: int = TOP) -> Predicted:
        """Predict the next token: the `top` most likely ones with their probabilities.

        Raises
        ------
        CheckpointError : a score of the model is not finite.
        """
        if top < 1:
            raise ConfigError(f"top is {top}; it must be 1 or more")
        given = self.read(prompt)
        scores, _ = read_tokens(self.model, self._numbers(given), None)
        likely = torch.softmax(scores.double(), 0).sort(descending=True, stable=True)
        pairs = zip(likely.indices[:top].tolist(), likely.values[:top].tolist(), strict=True)
        return Predicted(
            self.checkpoint, self.unit, *given, [NextToken(self.vocabulary.tokens[number], p) for number, p in pairs]
        )


def pieces(tokens: Iterable[str], unit: Unit) -> Iterator[str]:
    """What each token adds to a text: a space stands between words, `<eos>` ends a line, characters follow directly."""
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
