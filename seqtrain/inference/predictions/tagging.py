"""Predictions of the task `tagging`: the tag of each word of a text."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from seqtrain.inference.load import Trained
from seqtrain.inference.predictions.outputs import outputs_of
from seqtrain.inference.predictions.result import Predictions
from seqtrain.models import SequenceModel
from seqtrain.system.errors import ConfigError, DataError
from seqtrain.system.progress import say
from seqtrain.system.shipped import text_path
from seqtrain.tasks.base import Split
from seqtrain.tasks.tagging.corpus import TaggedSentences, split_file
from seqtrain.tasks.tagging.features import symbols_of
from seqtrain.tasks.tagging.learnt import Learnt
from seqtrain.tasks.tagging.reader import Layout, Sentences, read_file
from seqtrain.tasks.tagging.task import Tagging
from seqtrain.tasks.text.tagged import BLANKS, seems_tagged
from seqtrain.tasks.text.tokenizer import blocks_of, decode

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STRANGE = "(not in training)"
"""Stands for all tags that training does not have, in a picture."""


class Read(NamedTuple):
    """A text as it was read.

    sentences : its tags are empty texts if the text has none.
    form : in words.
    is_tagged : whether it has tags.
    """

    sentences: Sentences
    form: str
    is_tagged: bool


def predict_tags(trained: Trained, file: Path | None, horizon: int | None, *, quiet: bool) -> Predictions:
    """The tag of each word of a text, with its probability; tags that the text may have are not looked at."""
    task = trained.config.task
    if horizon is not None:
        raise ConfigError("--horizon is for forecasts of a series, and the model tags words; leave it out")
    path = text_path(str(task.path)) if file is None else file
    path = split_file(path, "test") if path.is_dir() else path
    read = read_text(path, Layout(task.form, task.token_column, task.tag_column))
    say(f"{path}: read as {read.form}", quiet=quiet)
    learnt = Learnt.read(trained.header.fitted or {}, 1 + task.suffixes + task.shape)
    shares = shares_of(trained.model, read.sentences, learnt, task.suffixes, shape=task.shape)
    best, own = shares[:, :-1].max(-1)  # the last class is that of all tags that training does not have
    sizes = read.sentences.sizes
    columns: dict[str, list[Any]] = {
        "sentence": [number for number, size in enumerate(sizes, 1) for _ in range(size)],
        "place": [place for size in sizes for place in range(1, size + 1)],
        "word": read.sentences.words,
        "tag": [learnt.tags[k] for k in own.tolist()],
        "probability": best.tolist(),
    }

    def draw() -> "Figure":
        return _confusion(path.name, learnt.tags, read.sentences.tags, own)

    return Predictions(
        str(trained.path), task.name, str(path), 0, columns, ["tag", "probability"], draw if read.is_tagged else None
    )


def read_text(path: Path, layout: Layout) -> Read:
    """The words of a text with or without tags, whose form it shows itself.

    Raises
    ------
    DataError : it has no word, or lines that do not follow its form.
    """
    text = "".join(decode(path, blocks_of(path, "reading", quiet=True)))
    if form := seems_tagged(text):
        name = "columns, a word in a line" if form == "conll" else "word/TAG, a sentence in a line"
        return Read(read_file(path, layout._replace(form=form)), f"{name} (its tags are not looked at)", True)
    lines = [BLANKS.split(line) if line else [] for line in (own.strip(" \t\r") for own in text.split("\n"))]
    is_column = max(map(len, lines)) == 1 and any(not line for line in lines[:-1])
    if is_column:
        groups: list[list[str]] = [[]]
        for line in lines:
            groups = [*groups, []] if not line else groups
            groups[-1].extend(line)
        lines = groups
    sentences = [line for line in lines if line]
    if not sentences:
        raise DataError(f"{path}: has no word; give a text with a sentence in each line")
    words = [word for line in sentences for word in line]
    found = Sentences(words, [""] * len(words), [len(line) for line in sentences])
    return Read(found, "a word in a line" if is_column else "a sentence in a line, words between blanks", False)


def shares_of(model: SequenceModel, own: Sentences, learnt: Learnt, suffixes: int, *, shape: bool) -> Tensor:
    """The probability of each tag of all words, `[words, tags + 1]`."""
    types = list(dict.fromkeys(own.words))
    number = {word: n for n, word in enumerate(types)}
    sentences = TaggedSentences(
        0,
        own.sizes,
        symbols=symbols_of(types, learnt.alphabets, suffixes, shape=shape),
        types=torch.tensor([number[word] for word in own.words]),
        tags=torch.zeros(len(own.words), dtype=torch.long),
        classes=len(learnt.tags),
    )
    return outputs_of(model, sentences, by_step=True).softmax(-1)


def draw_tags(trained: Trained, task: Tagging, split: Split) -> "Figure":
    """Which tags were confused in a split."""
    part = task.parts[split]
    shares = shares_of(trained.model, part, task.learnt, task.suffixes, shape=task.shape)
    return _confusion(f"{task.name}, {split}", task.learnt.tags, part.tags, shares[:, :-1].argmax(-1))


def _confusion(title: str, names: list[str], truth: list[str], answers: Tensor) -> "Figure":
    from seqtrain.inference.predictions import judged

    number = {name: n for n, name in enumerate(names)}
    targets = torch.tensor([number.get(tag, len(names)) for tag in truth])
    strange = [STRANGE] if bool((targets == len(names)).any()) else []
    return judged.confusion(title, [*names, *strange], targets, answers)
