"""Give each word of a sentence its tag, as in a corpus of the user."""

import hashlib
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import InitVar
from typing import Annotated, Any

import torch
from pydantic import Field, JsonValue
from torch import Tensor

from seqtrain.system.errors import DataError
from seqtrain.system.settings import Affects, Faults, Null, Size
from seqtrain.system.shipped import text_path
from seqtrain.system.words import counted
from seqtrain.tasks.base import Batch, Prediction, Split
from seqtrain.tasks.finite import FiniteTask, Passes, ShuffledPasses, by_length, longest
from seqtrain.tasks.metrics import ACCURACY, Metric, Tally
from seqtrain.tasks.tagging.corpus import TaggedSentences, read_parts, split_file
from seqtrain.tasks.tagging.entities import Entities, are_entities
from seqtrain.tasks.tagging.features import MOST_SUFFIXES, count_alphabets, symbols_of
from seqtrain.tasks.tagging.learnt import Learnt
from seqtrain.tasks.tagging.reader import Layout
from seqtrain.tasks.text.corpus import SPLITS, faults_of_text, sources
from seqtrain.tasks.text.tagged import Form

FRACTIONS = [0.8, 0.1, 0.1]
Fractions = Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=3, max_length=3)]
Column = Annotated[int, Field(ge=-1000, le=1000)]

EVALUATED_TOGETHER = 64
"""Sentences that are evaluated side by side by default."""

FEW_WORDS = 100
"""The least words in a split with which its figures say something."""

F1 = Metric("f1", higher_is_better=True, most=1.0)
RULE = " of most frequent tag"


class Tagging(FiniteTask):
    """Give each word of a sentence its tag.

        word     The     grey    sheep   near    the    barn    are     quiet
        read     The -e  grey -y sheep -p ...                     also -he, -ey, -ep, The, rey, eep, and the shape
        tag      DT      JJ      NNS     IN      DT     NN      VBP     JJ

    The corpus has CoNLL columns (a word and its tag in a line, an empty line between two sentences) or `word/TAG`, a
    sentence in a line. The task recognises the form. Each sentence starts from a fresh state, and a batch has sentences
    of similar lengths. Of each word a model reads the word, its last characters and its shape, all known from training
    only, and adds their vectors. Words that are rare in training are read as `<unk>`.

    Loss: cross-entropy over all words. Metrics: `accuracy`; `accuracy_ambiguous`, of words that training has with
    several tags; `accuracy_unknown`, of words that training does not have. If the tags mark entities (`B-PER`, in IOB,
    IOB2, IOBES or BILOU), also `precision`, `recall` and `f1` of entities by the definition of conlleval, and then `f1`
    decides. A tag that training does not have is always wrong. Baseline: the most frequent tag of each word in
    training; of another word, the most frequent tag of all. There is no rule for "solved".
    """

    name = "tagging"
    work_unit = "tokens"
    given = ("seed", "fitted")
    embedded = True
    every_step = True

    path: Annotated[str, Field(min_length=1), Affects.CONTENT]
    """A UTF-8 file, or a folder with train, valid (or dev) and test files that end in .txt, .conll, .conllu or .tsv;
    `shipped:agreement.txt` comes with seqtrain."""
    form: Annotated[Form | None, Affects.DATA] = None
    """CoNLL columns, or `word/TAG` (slash); null for the form that the text shows."""
    token_column: Annotated[Column | None, Affects.DATA] = None
    """The column of the word, from 0, negative from the end; null for the first one, of CoNLL-U the second."""
    tag_column: Annotated[Column | None, Affects.DATA] = None
    """The column of the tag; null for the last one, of CoNLL-U the fourth (UPOS)."""
    fractions: Annotated[
        Fractions | None, Null(FRACTIONS, when=lambda task: text_path(task.path).is_file()), Affects.DATA
    ] = None
    """Shares of train, valid and test of the sentences in a single file; null for {null}."""
    min_count: Size = 2
    """Words and suffixes that are rarer in training become <unk>."""
    max_size: Annotated[int, Field(ge=2, le=100_000_000)] | None = None
    """Largest number of words that are known, including <unk>; null for no limit."""
    suffixes: Annotated[int, Field(ge=0, le=MOST_SUFFIXES)] = 3
    """Also read the last 1 to so many characters of each word."""
    shape: bool = True
    """Also read the shape of each word: capitals, digits, hyphens."""

    fitted: InitVar[dict[str, JsonValue] | None] = None
    seed: int = 0

    def __post_init__(self, fitted: dict[str, JsonValue] | None) -> None:
        """Read the corpus, and count its words and tags.

        Parameters
        ----------
        fitted : what a trained model knows of words and tags; None to count them. With it, the training and validation
            part of the corpus may be empty.

        Raises
        ------
        DataError : a file is missing, not UTF-8, in no known form, or has lines that are wrong.
        """
        path, fractions = text_path(str(self.path)), self.fractions or FRACTIONS
        self.parts = read_parts(path, Layout(self.form, self.token_column, self.tag_column), fractions)
        self.sources = sources(path, fractions, split_file)
        self._fingerprints = {split: self._digest(split) for split in SPLITS}
        for split in SPLITS if fitted is None else ():
            self._check_not_empty(split)
        self.learnt = self._count() if fitted is None else Learnt.read(fitted, 1 + self.suffixes + self.shape)
        self.fitted = self.learnt.model_dump()
        self.input_size = sum(map(len, self.learnt.alphabets))
        self.output_size = len(self.learnt.tags) + 1  # all tags that training does not have are one class
        self._number()
        self._entities = Entities(self.tags) if are_entities(self.learnt.tags) else None
        self.metric = ACCURACY if self._entities is None else F1
        digest = hashlib.sha256("".join(self._fingerprints.values()).encode()).hexdigest()[:12]
        self.definition = f"tagging/{path.name}/{digest}/v{self.generator_version}"

    def _count(self) -> Learnt:
        part = self.parts["train"]
        alphabets = count_alphabets(
            Counter(part.words), self.suffixes, shape=self.shape, min_count=self.min_count, max_size=self.max_size
        )
        return Learnt.count(alphabets, part.words, part.tags)

    def _number(self) -> None:
        """Number the words and tags of the whole corpus; the tags of training come first."""
        words = [word for part in self.parts.values() for word in part.words]
        tags = [tag for part in self.parts.values() for tag in part.tags]
        self.types = list(dict.fromkeys(words))
        self.tags = list(dict.fromkeys([*self.learnt.tags, *tags]))
        self._types, self._tags = _numbers(words, self.types), _numbers(tags, self.tags)
        symbols = symbols_of(self.types, self.learnt.alphabets, self.suffixes, shape=self.shape)
        own = [self.learnt.words.get(word, []) for word in self.types]
        self._is_known = torch.tensor([bool(tags) for tags in own])
        self._is_ambiguous = torch.tensor([len(tags) > 1 for tags in own])
        self._usual = torch.tensor([tags[0] if tags else 0 for tags in own])
        self._sentences, start = {}, 0
        for split, part in self.parts.items():
            self._sentences[split] = TaggedSentences(
                start,
                part.sizes,
                symbols=symbols,
                types=self._types,
                tags=self._tags,
                classes=len(self.learnt.tags),
            )
            start += len(part.words)

    @classmethod
    def default_eval_batch_size(cls, settings: Any) -> int:  # noqa: ARG003
        """Sentences."""
        return EVALUATED_TOGETHER

    @classmethod
    def faults(cls, settings: Any) -> Faults:
        """A missing corpus, and columns where there are none."""
        yield from faults_of_text(settings.path, settings.fractions, split_file)
        for name in ("token_column", "tag_column") if settings.form == "slash" else ():
            if getattr(settings, name) is not None:
                yield name, "is for CoNLL columns, and task.form is slash; remove one of the two"

    # --- batches ----------------------------------------------------------------------------------------------------

    def sequences(self, split: Split) -> TaggedSentences:
        """The sentences of a split."""
        self._check_not_empty(split)
        return self._sentences[split]

    def passes(self, batch_size: int) -> Passes:
        """The sentences of the training part."""
        return ShuffledPasses(self.sequences("train"), batch_size, self.seed)

    def specimen(self, split: Split, batch_size: int) -> Batch:  # noqa: ARG002
        """The longest sentence."""
        return longest(self.sequences(split))

    def eval_batches(self, split: Split, batch_size: int) -> Iterator[Batch]:
        """All sentences, the shortest first."""
        yield from by_length(self.sequences(split), batch_size)

    def count_eval_batches(self, split: Split, batch_size: int) -> int:
        """How many batches `eval_batches` gives."""
        return -(-len(self.sequences(split).sizes) // batch_size)

    def _check_not_empty(self, split: str) -> None:
        if not self.parts[split].sizes:
            raise DataError(
                f"{self.sources[split]}: {split} has no sentence; give a longer file, or other task.fractions"
            )

    def read_in_words(self, batch: Batch) -> list[str]:
        """The words as they stand in the corpus, also those that the model reads as `<unk>`."""
        assert batch.marks is not None
        return [self.types[number] for number in self._types[batch.marks[:, 0]].tolist()]

    # --- figures ----------------------------------------------------------------------------------------------------

    def measure(self, prediction: Prediction, batch: Batch) -> Tally:
        """Words with the right tag, and entities."""
        return self._tally(prediction.outputs[..., :-1].argmax(-1).cpu(), batch.to(torch.device("cpu")))

    def _tally(self, guess: Tensor, batch: Batch) -> Tally:
        """The sums for guessed tags `[T, B]`."""
        assert batch.marks is not None
        assert batch.scored is not None
        types, gold = self._types[batch.marks], self._tags[batch.marks]
        right, tally = guess == gold, Tally()
        for name, counted_types in (
            ("accuracy", None),
            ("accuracy_ambiguous", self._is_ambiguous),
            ("accuracy_unknown", ~self._is_known),
        ):
            chosen = batch.scored if counted_types is None else batch.scored & counted_types[types]
            tally.add(name, right[chosen].sum(), chosen.sum())
        if self._entities is not None:
            found, guessed, wanted = self._entities.count(guess, gold, batch.scored)
            tally.add("precision", found, guessed).add("recall", found, wanted).add("f1", 2 * found, guessed + wanted)
        return tally

    def summarise(self, means: dict[str, float]) -> dict[str, float]:
        """The means; without those of words that are not there, and 0 for shares of no entities, as conlleval does."""
        absent = {name for name in ("accuracy_ambiguous", "accuracy_unknown") if math.isnan(means.get(name, 0.0))}
        shares = ("precision", "recall", "f1")
        return {
            name: 0.0 if name in shares and math.isnan(mean) else mean
            for name, mean in means.items()
            if name not in absent
        }

    def baseline(self, split: Split) -> dict[str, float]:
        """The most frequent tag of each word in training; of another word, the most frequent tag of all."""
        tally = Tally()
        for batch in self.eval_batches(split, EVALUATED_TOGETHER):
            tally.merge(self._tally(self._usual[self._types[batch.marks]], batch))
        figures = self.summarise(tally.means())
        return figures | {self.metric.name + RULE: figures[self.metric.name]}

    def facts(self, split: Split) -> dict[str, str | float]:
        """What was read, and what was left out."""
        part = self.parts[split]
        found: dict[str, str | float] = {
            "text": self.sources[split],
            "sentences": len(part.sizes),
            "words": len(part.words),
            "words_not_in_training": sum(word not in self.learnt.words for word in part.words),
            "tags": len(self.learnt.tags),
            "tags_not_in_training": sum(tag not in self._known_tags for tag in part.tags),
        }
        return found | dict(sorted(Counter(kind for kind, _ in part.left_out).items()))

    @property
    def _known_tags(self) -> set[str]:
        return set(self.learnt.tags)

    def remarks(self, batch_size: int) -> list[str]:  # noqa: ARG002
        """Remarks on small splits, and on tags that training does not have."""
        return [*self._remarks_on_size("valid", "test"), *self._remarks_on_tags("valid", "test")]

    def remarks_on_evaluation(self, split: Split) -> list[str]:
        """The same on one split."""
        return [*self._remarks_on_size(split), *self._remarks_on_tags(split)]

    def _remarks_on_size(self, *splits: Split) -> Iterator[str]:
        sizes = {split: len(self.parts[split].words) for split in splits}
        few = [f"{split} has {counted(size, 'word')}" for split, size in sizes.items() if size < FEW_WORDS]
        if few:
            yield f"{', '.join(few)}: with fewer than {FEW_WORDS}, the figures say little; give a longer corpus"

    def _remarks_on_tags(self, *splits: Split) -> Iterator[str]:
        known = self._known_tags
        for split in splits:
            if strange := Counter(tag for tag in self.parts[split].tags if tag not in known):
                names = ", ".join(tag for tag, _ in strange.most_common(5))
                yield (
                    f"{counted(strange.total(), 'word')} of {split} have tags that training does not have ({names}"
                    f"{', ...' if len(strange) > 5 else ''}); they count as wrong"
                )

    def fingerprints(self) -> dict[str, str]:
        """SHA-256 of the words, the tags and the sentences of each split."""
        return dict(self._fingerprints)

    def _digest(self, split: str) -> str:
        part = self.parts[split]
        return hashlib.sha256(repr((part.words, part.tags, part.sizes)).encode()).hexdigest()


def _numbers(values: list[str], names: list[str]) -> Tensor:
    """The place of each value among the names."""
    number = {name: n for n, name in enumerate(names)}
    return torch.tensor([number[value] for value in values], dtype=torch.long)
