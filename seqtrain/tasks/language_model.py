"""Next-token prediction over a text of the user."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import InitVar
from typing import Annotated, Any, Literal

import torch
from pydantic import Field

from seqtrain.system.errors import DataError
from seqtrain.system.files import split_file
from seqtrain.system.settings import Affects, Faults, Null, Size
from seqtrain.system.shipped import text_path
from seqtrain.system.words import counted
from seqtrain.tasks.base import Batch, Prediction, Split
from seqtrain.tasks.facts import HiddenFact
from seqtrain.tasks.finite import FiniteTask, Passes, ShuffledPasses
from seqtrain.tasks.metrics import Metric, Tally, perplexity, unigram_nats
from seqtrain.tasks.text.advice import advice_on_spaces, lacks_spaces, remarks_on
from seqtrain.tasks.text.corpus import SPLITS, Tokens, faults_of_text, read_corpus, sources
from seqtrain.tasks.text.facts import text_facts
from seqtrain.tasks.text.running import RunningEvaluation, RunningTraining
from seqtrain.tasks.text.sentences import EVALUATED_TOGETHER, SentenceEvaluation, Sentences
from seqtrain.tasks.text.tokenizer import EOS, Unit
from seqtrain.tasks.text.vocabulary import UNK, Vocabulary

FRACTIONS = [0.9, 0.05, 0.05]
Fractions = Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=3, max_length=3)]


WINDOW = 35
"""Steps of a window of running text."""

MUCH_UNK = 0.25
"""The share of `<unk>` in the training text from which on the perplexity is mostly that of `<unk>`."""

FEW_PREDICTIONS = 100
"""The least predictions in a split with which its figures say something."""


class LanguageModel(FiniteTask):
    """Predict the next word or character of a text.

        ... the | cat  sat  on   the | mat  <eos>         windows of `window` tokens; the state is carried from
            cat | sat  on   the  mat | <eos> ...          window to window, the gradient is not

    The text is read in `batch_size` contiguous columns; each window is one training step, and each pass through the
    text starts from a fresh state. In evaluation every token except the first one of a split counts exactly once.

    With `sentences: independent` each line is a sentence of its own, from a fresh state:

        <eos> the cat sat           one sequence of a batch, which has sentences of similar lengths
        the   cat sat <eos>         every token counts, the first word and the end of the line included

    Loss: cross-entropy in nats per token. Metrics: `perplexity`, `bits_per_token`; with words also
    `bits_per_character`, which counts one space or line end after each word; with characters also `word_perplexity`,
    which counts every line end as a word, unless the text has no spaces between its words. Baseline: the word
    frequencies of the training text (add-one smoothed). There is no rule for "solved".
    """

    name = "language_model"
    metric = Metric("perplexity", higher_is_better=False, least=1.0)
    work_unit = "tokens"
    given = ("seed", "known", "quiet")
    words = True
    ranked = True
    every_step = True
    next_token = True

    path: Annotated[str, Field(min_length=1), Affects.CONTENT]
    """A UTF-8 text file, or a folder with train.txt, valid.txt and test.txt; `shipped:stories` comes with seqtrain."""
    unit: Unit = "word"
    """What is predicted."""
    sentences: Annotated[Literal["running", "independent"], Affects.DATA] = "running"
    """Read the lines as one running text, or each line as a sentence of its own, in batches of similar lengths."""
    window: Annotated[Size | None, Null(WINDOW, when=lambda task: task.sentences == "running"), Affects.EVALUATION] = (
        None
    )
    """Steps of truncated back-propagation through time in running text; null for {null}."""
    vary_window: bool = False
    """Draw the size of each training window around window, and scale the learning rate with it (Merity et al. 2018)."""
    min_count: Size = 1
    """Tokens that are rarer in training become <unk>."""
    max_size: Annotated[int, Field(ge=2, le=100_000_000)] | None = None
    """Largest size of the vocabulary, including <unk>; null for no limit."""
    fractions: Annotated[
        Fractions | None, Null(FRACTIONS, when=lambda task: text_path(task.path).is_file()), Affects.DATA
    ] = None
    """Shares of train, valid and test in a single file; null for {null}. [0, 0, 1] evaluates all of it."""

    known: InitVar[Vocabulary | None] = None
    seed: int = 0
    quiet: bool = False

    def __post_init__(self, known: Vocabulary | None) -> None:
        """Read the text and count its vocabulary.

        Parameters
        ----------
        known : the vocabulary of a trained model; None to count one. With it, the training and validation part of the
            text may be empty.

        Raises
        ------
        DataError : a file is missing, empty, binary, not UTF-8, or too short.
        """
        path, fractions = text_path(str(self.path)), self.fractions or FRACTIONS
        self.eval_window: int | None = None  # None: as many steps as memory allows
        end = EOS if self.unit == "word" else "\n"
        independent = self.sentences == "independent"
        if not independent:
            self.window = self.window or WINDOW
        corpus = read_corpus(path, self.unit, fractions, cut_after=end if independent else None, quiet=self.quiet)
        self.sources = sources(path, fractions)
        self._file = split_file(path, "train") if path.is_dir() else path
        words = known or Vocabulary.count(corpus.train.counts(), min_count=self.min_count, max_size=self.max_size)
        self.vocabulary, self.counts = words.tokens, words.counts
        parts = corpus._asdict().items()
        self.tokens = {split: Tokens(part, words.encode(part.types).numpy()) for split, part in parts}
        if len(words) == 1:
            raise DataError(f"{path}: task.min_count {self.min_count} leaves no token but <unk>; lower it")
        self.input_size = self.output_size = len(words)
        self.reading = SentenceEvaluation(end) if independent else RunningEvaluation(len(words))
        for split in SPLITS if known is None else ():
            self._check_length(split, unit_is_free=True)
        self._fingerprints = {split: self._digest(tokens) for split, tokens in self.tokens.items()}
        digest = hashlib.sha256("".join(self._fingerprints.values()).encode()).hexdigest()[:12]
        kind = f"{self.unit}/sentences" if independent else self.unit
        self.definition = f"language_model/{kind}/{path.name}/{digest}/v{self.generator_version}"

    @classmethod
    def default_eval_batch_size(cls, settings: Any) -> int:
        """One column, so that the state is carried through the whole split; of sentences several."""
        return EVALUATED_TOGETHER if settings.sentences == "independent" else 1

    @classmethod
    def faults(cls, settings: Any) -> Faults:
        """A missing text, and settings that do not fit the text."""
        yield from faults_of_text(settings.path, settings.fractions)
        if settings.sentences == "independent":
            for name, off in (("window", "null"), ("vary_window", "false")):
                if getattr(settings, name):
                    why = "divides running text, but with sentences: independent each line is read whole"
                    yield name, f"{why}; set task.{name}={off}"
        elif settings.vary_window and (settings.window or WINDOW) < 10:
            yield (
                "window",
                f"is {settings.window}; with vary_window, which draws no less than 5, it must be at least 10",
            )

    @property
    def carries_state(self) -> bool:
        """Whether the text is read as one."""
        return self.sentences == "running"

    def sequences(self, split: Split) -> Sentences | None:
        """The sentences of a split."""
        reading = self.reading
        return reading.sentences(self.tokens[split]) if isinstance(reading, SentenceEvaluation) else None

    def passes(self, batch_size: int) -> Passes:
        """The windows of the training text, or its sentences."""
        if (sentences := self.sequences("train")) is not None:
            return ShuffledPasses(sentences, batch_size, self.seed)
        tokens = self.tokens["train"]
        return RunningTraining(tokens, batch_size, self.window or WINDOW, self.seed if self.vary_window else None)

    def specimen(self, split: Split, batch_size: int) -> Batch:
        """The first column of the first window; of sentences the longest one."""
        if split == "train":
            return self._trained(batch_size).longest()
        return self.reading.longest(self.tokens[split], batch_size, self.eval_window)

    def eval_batches(self, split: Split, batch_size: int) -> Iterator[Batch]:
        """All windows of a split, which carry the state; or all sentences."""
        self._check_length(split)
        yield from self.reading.batches(self.tokens[split], batch_size, self.eval_window)

    def count_eval_batches(self, split: Split, batch_size: int) -> int:
        """How many batches `eval_batches` gives."""
        self._check_length(split)
        return self.reading.count(self.tokens[split], batch_size, self.eval_window)

    def fingerprints(self) -> dict[str, str]:
        """SHA-256 of the vocabulary and the tokens of each split, the training text included."""
        return dict(self._fingerprints)

    def _digest(self, tokens: Tokens) -> str:
        digest = hashlib.sha256(repr(self.vocabulary).encode())
        for block in tokens.blocks():
            digest.update(block.numpy().data)
        return digest.hexdigest()

    def hidden_facts(self, batch: Batch) -> list[HiddenFact]:
        """The position in the line, and whether quotes or brackets are open."""
        return text_facts(batch.inputs, self.vocabulary)

    def facts(self, split: Split) -> dict[str, str | float]:
        """The source of the split, its predictions, and the share of `<unk>` among them."""
        found: dict[str, str | float] = {
            "text": self.sources[split],
            "tokens": self._predictions(split),
            "vocabulary_size": len(self.vocabulary),
            "unk_share": self._unk_share(split),
        }
        if (sentences := self.sequences(split)) is not None:
            found |= {"sentences": len(sentences), "empty_lines": sentences.empty}
        return found

    def _predictions(self, split: str) -> int:
        return self.reading.predictions(self.tokens[split])

    def _unk_share(self, split: Split) -> float:
        number, targets = self.vocabulary.index(UNK), self.reading.targets(self.tokens[split])
        return sum(int((block == number).sum()) for block in targets) / self._predictions(split)

    def remarks(self, batch_size: int) -> list[str]:
        """Remarks on the form of the text, on columns shorter than a window, on `<unk>`, and on small splits."""
        form = list(remarks_on(self._file, self.unit))
        unk = self._remarks_on_unk(advise_min_count=not form)
        return [*form, *self._remarks_on_columns(batch_size), *unk, *self._remarks_on_size("valid", "test")]

    def remarks_on_evaluation(self, split: Split) -> list[str]:
        """Remarks on much `<unk>` in the split, and on a small split."""
        share = self._unk_share(split)
        unk = f"{100 * share:.2g} % of the {split} text is {UNK}, so that its perplexity says little"
        cure = "give a text with the words of the training text, or train on a text like this one"
        return [*([f"{unk}; {cure}"] if share > MUCH_UNK else []), *self._remarks_on_size(split)]

    def _remarks_on_size(self, *splits: Split) -> Iterator[str]:
        sizes = {split: self._predictions(split) for split in splits}
        few = [f"{split} has {counted(size, 'prediction')}" for split, size in sizes.items() if size < FEW_PREDICTIONS]
        if few:
            yield f"{', '.join(few)}: with fewer than {FEW_PREDICTIONS}, the figures say little; give a longer text"

    def _remarks_on_columns(self, batch_size: int) -> Iterator[str]:
        trained, predictions, window = self._trained(batch_size), self._predictions("train"), self.window or WINDOW
        if isinstance(trained, RunningTraining) and batch_size > 1 and trained.length < min(window, predictions):
            yield (
                f"train.batch_size {batch_size} cuts the {predictions:,} {self.unit}s of training into columns of "
                f"{trained.length}, shorter than task.window {window}, so that nothing further back is ever seen; use "
                f"train.batch_size={max(1, predictions // window)} or less"
            )

    def _remarks_on_unk(self, *, advise_min_count: bool) -> Iterator[str]:
        if self.counts is None:
            return
        known, valid = self.counts[self.vocabulary.index(UNK)] / sum(self.counts), self._unk_share("valid")
        if known > MUCH_UNK:
            yield (
                f"{100 * known:.2g} % of the training text is {UNK}, so that a low perplexity says little; lower "
                "task.min_count, or raise task.max_size"
            )
        elif not known and valid:
            cure = "; task.min_count=2 makes the rare words of training <unk> too" if advise_min_count else ""
            yield (
                f"{100 * valid:.2g} % of the validation text is {UNK}, which the training text never has, so no model "
                f"can learn to expect it{cure} (perplexities with different vocabularies do not compare)"
            )

    def conversions(self, split: Split, loss: float) -> dict[str, float]:
        """The loss in other units: bits per character for words, perplexity per word for characters."""
        text, nats = self.tokens[split].text, loss * self._predictions(split)
        first, empty = 1, 0  # of running text, the first token is not predicted
        if (sentences := self.sequences(split)) is not None:
            first, empty = 0, sentences.empty
        if self.unit == "character":
            has_words = not lacks_spaces(text.beginning())
            return {"word_perplexity": perplexity(nats / max(1, text.words(first) - empty))} if has_words else {}
        characters = text.characters(first) - empty  # none if only the end of a line is predicted
        return {"bits_per_character": nats / math.log(2) / characters} if characters else {}

    def _check_length(self, split: str, *, unit_is_free: bool = False) -> None:
        """Raise a DataError if there is nothing to predict; its cure may be another unit if no model is trained yet."""
        count = len(self.tokens[split])
        if self._predictions(split) < 1:
            advice = advice_on_spaces(self._file, self.unit) if unit_is_free else None
            least = "a line with a token is" if self.sentences == "independent" else "at least 2 are"
            raise DataError(
                f"{self.sources[split]}: too short, {split} has {counted(count, 'token')}; {least} needed; "
                f"{advice or 'give a longer text'}"
            )

    def measure(self, prediction: Prediction, batch: Batch) -> Tally:  # noqa: ARG002
        """Nothing: all metrics follow from the loss."""
        return Tally()

    def summarise(self, means: dict[str, float]) -> dict[str, float]:
        """The loss, the perplexity and the bits per token."""
        nats = means["loss"]
        return means | {"perplexity": perplexity(nats), "bits_per_token": nats / math.log(2)}

    def baseline(self, split: Split) -> dict[str, float]:
        """The token frequencies of the text that the model was trained on."""
        counts, targets = torch.tensor(self.counts), self.reading.targets(self.tokens[split])
        nats = sum(unigram_nats(counts, block) for block in targets)
        return self.summarise({"loss": nats / self._predictions(split)})
