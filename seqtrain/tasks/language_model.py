"""Next-token prediction over a text of the user."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import InitVar, replace
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from seqtrain.system.errors import DataError
from seqtrain.system.files import split_file
from seqtrain.system.settings import Affects, Faults, Null, Size
from seqtrain.system.shipped import text_path
from seqtrain.system.words import counted
from seqtrain.tasks.base import Batch, Prediction, Split, Task
from seqtrain.tasks.facts import HiddenFact
from seqtrain.tasks.metrics import Metric, Tally, perplexity, unigram_nats
from seqtrain.tasks.text.advice import advice_on_spaces, lacks_spaces, remarks_on
from seqtrain.tasks.text.batchify import Columns
from seqtrain.tasks.text.bptt import Windows
from seqtrain.tasks.text.corpus import SPLITS, Tokens, faults_of_text, read_corpus, sources
from seqtrain.tasks.text.facts import text_facts
from seqtrain.tasks.text.tokenizer import Unit
from seqtrain.tasks.text.vocabulary import UNK, Vocabulary

FRACTIONS = [0.9, 0.05, 0.05]
Fractions = Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=3, max_length=3)]


LONGEST_WINDOW = 1024
MOST_SCORES = 1 << 24
"""Limits of a window in evaluation, where its size changes the time only: steps, and scores (64 MiB)."""

MUCH_UNK = 0.25
"""The share of `<unk>` in the training text from which on the perplexity is mostly that of `<unk>`."""

FEW_PREDICTIONS = 100
"""The least predictions in a split with which its figures say something."""


class LanguageModel(Task):
    """Predict the next word or character of a text.

        ... the | cat  sat  on   the | mat  <eos>         windows of `window` tokens; the state is carried from
            cat | sat  on   the  mat | <eos> ...          window to window, the gradient is not

    The text is read in `batch_size` contiguous columns; each window is one training step, and each pass through the
    text starts from a fresh state. In evaluation every token except the first one of a split counts exactly once.

    Loss: cross-entropy in nats per token. Metrics: `perplexity`, `bits_per_token`; with words also
    `bits_per_character`, which counts one space or line end after each word; with characters also `word_perplexity`,
    which counts every line end as a word, unless the text has no spaces between its words. Baseline: the word
    frequencies of the training text (add-one smoothed). There is no rule for "solved".
    """

    name = "language_model"
    reach = None
    metric = Metric("perplexity", higher_is_better=False, least=1.0)
    work_unit = "tokens"
    given = ("seed", "known", "quiet")
    words = True
    ranked = True
    every_step = True
    next_token = True
    has_epochs = True
    solvable = False
    carries_state = True
    eval_batch_size = 1  # the state is carried through the whole split

    path: Annotated[str, Field(min_length=1), Affects.CONTENT]
    """A UTF-8 text file, or a folder with train.txt, valid.txt and test.txt; `shipped:stories` comes with seqtrain."""
    unit: Unit = "word"
    """What is predicted."""
    window: Annotated[Size, Affects.EVALUATION] = 35
    """Steps of truncated back-propagation through time."""
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
        corpus = read_corpus(path, self.unit, fractions, quiet=self.quiet)
        self.sources = sources(path, fractions)
        self._file = split_file(path, "train") if path.is_dir() else path
        words = known or Vocabulary.count(corpus.train.counts(), min_count=self.min_count, max_size=self.max_size)
        self.vocabulary, self.counts = words.tokens, words.counts
        parts = corpus._asdict().items()
        self.tokens = {split: Tokens(part, words.encode(part.types).numpy()) for split, part in parts}
        if len(words) == 1:
            raise DataError(f"{path}: task.min_count {self.min_count} leaves no token but <unk>; lower it")
        for split in SPLITS if known is None else ():
            self._check_length(split, unit_is_free=True)
        self.input_size = self.output_size = len(words)
        self._fingerprints = {split: self._digest(tokens) for split, tokens in self.tokens.items()}
        digest = hashlib.sha256("".join(self._fingerprints.values()).encode()).hexdigest()[:12]
        self.definition = f"language_model/{self.unit}/{path.name}/{digest}/v{self.generator_version}"
        self._layouts: dict[int, tuple[Columns, Windows]] = {}

    @classmethod
    def faults(cls, settings: Any) -> Faults:
        """A missing text, and settings that do not fit the text."""
        yield from faults_of_text(settings.path, settings.fractions)
        if settings.vary_window and settings.window < 10:
            yield (
                "window",
                f"is {settings.window}; with vary_window, which draws no less than 5, it must be at least 10",
            )

    def train_batch(self, step: int, batch_size: int) -> Batch:
        """The window of a step; after the last window of the text, the first one follows again."""
        columns, windows = self._layout(batch_size)
        window = windows.at(step)
        batch = self._batch(columns.window(window.start, window.size), fresh=window.start == 0)
        return replace(batch, lr_factor=window.size / self.window)

    def specimen(self, split: Split, batch_size: int) -> Batch:
        """The first column of the first window."""
        first = self.train_batch(0, batch_size) if split == "train" else next(self.eval_batches(split, batch_size))
        return first.rows(0, 1)

    def epoch_at(self, step: int, batch_size: int) -> int:
        """Passes through the training text that are finished before a step."""
        return self._layout(batch_size)[1].at(step).epoch

    def steps_in(self, epochs: int, batch_size: int) -> int:
        """Windows in a number of passes."""
        return self._layout(batch_size)[1].steps(epochs)

    def trained_together(self, batch_size: int) -> int:
        """The columns that the training text makes."""
        return len(self._layout(batch_size)[0].begins)

    def windows_bytes(self, batch_size: int) -> int:
        """Those of one pass."""
        return self._layout(batch_size)[1].bytes

    def _layout(self, batch_size: int) -> tuple[Columns, Windows]:
        if batch_size not in self._layouts:
            columns = Columns(self.tokens["train"], batch_size)
            seed = self.seed if self.vary_window else None
            self._layouts[batch_size] = columns, Windows(columns.length, self.window, seed)
        return self._layouts[batch_size]

    def eval_batches(self, split: Split, batch_size: int) -> Iterator[Batch]:
        """All windows of a split, which carry the state; the last columns may be shorter."""
        self._check_length(split)
        columns, window = Columns(self.tokens[split], batch_size), self._eval_window(batch_size)
        for start in columns.starts(window):
            yield self._batch(columns.window(start, window), fresh=start == 0)

    def count_eval_batches(self, split: Split, batch_size: int) -> int:
        """How many windows `eval_batches` gives."""
        self._check_length(split)
        return len(Columns(self.tokens[split], batch_size).starts(self._eval_window(batch_size)))

    def _eval_window(self, batch_size: int) -> int:
        return self.eval_window or max(1, min(LONGEST_WINDOW, MOST_SCORES // (batch_size * len(self.vocabulary))))

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
        return {
            "text": self.sources[split],
            "tokens": len(self.tokens[split]) - 1,
            "vocabulary_size": len(self.vocabulary),
            "unk_share": self._unk_share(split),
        }

    def _unk_share(self, split: Split) -> float:
        tokens, number = self.tokens[split], self.vocabulary.index(UNK)
        return sum(int((targets == number).sum()) for targets in tokens.blocks(1)) / (len(tokens) - 1)

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
        sizes = {split: len(self.tokens[split]) - 1 for split in splits}
        few = [f"{split} has {counted(size, 'prediction')}" for split, size in sizes.items() if size < FEW_PREDICTIONS]
        if few:
            yield f"{', '.join(few)}: with fewer than {FEW_PREDICTIONS}, the figures say little; give a longer text"

    def _remarks_on_columns(self, batch_size: int) -> Iterator[str]:
        length, predictions = self._layout(batch_size)[0].length, len(self.tokens["train"]) - 1
        if batch_size > 1 and length < min(self.window, predictions):
            yield (
                f"train.batch_size {batch_size} cuts the {predictions:,} {self.unit}s of training into columns of "
                f"{length}, shorter than task.window {self.window}, so that nothing further back is ever seen; use "
                f"train.batch_size={max(1, predictions // self.window)} or less"
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
        text, nats = self.tokens[split].text, loss * (len(self.tokens[split]) - 1)
        if self.unit == "character":
            has_words = not lacks_spaces(text.beginning())
            return {"word_perplexity": perplexity(nats / max(1, text.words()))} if has_words else {}
        characters = text.characters()  # none if only the end of a line is predicted
        return {"bits_per_character": nats / math.log(2) / characters} if characters else {}

    def _check_length(self, split: str, *, unit_is_free: bool = False) -> None:
        """Raise a DataError if there is nothing to predict; its cure may be another unit if no model is trained yet."""
        count = len(self.tokens[split])
        if count < 2:
            advice = advice_on_spaces(self._file, self.unit) if unit_is_free else None
            raise DataError(
                f"{self.sources[split]}: too short, {split} has {counted(count, 'token')}; at least 2 are needed; "
                f"{advice or 'give a longer text'}"
            )

    def _batch(self, window: tuple[Tensor, Tensor, Tensor], *, fresh: bool) -> Batch:
        inputs, targets, lengths = window
        if bool((lengths == len(inputs)).all()):
            return Batch(inputs, targets, fresh=fresh)
        scored = torch.arange(len(inputs))[:, None] < lengths
        return Batch(inputs, targets, lengths, scored, fresh=fresh)

    def measure(self, prediction: Prediction, batch: Batch) -> Tally:  # noqa: ARG002
        """Nothing: all metrics follow from the loss."""
        return Tally()

    def summarise(self, means: dict[str, float]) -> dict[str, float]:
        """The loss, the perplexity and the bits per token."""
        nats = means["loss"]
        return means | {"perplexity": perplexity(nats), "bits_per_token": nats / math.log(2)}

    def baseline(self, split: Split) -> dict[str, float]:
        """The token frequencies of the text that the model was trained on."""
        counts, tokens = torch.tensor(self.counts), self.tokens[split]
        nats = sum(unigram_nats(counts, targets) for targets in tokens.blocks(1))
        return self.summarise({"loss": nats / (len(tokens) - 1)})
