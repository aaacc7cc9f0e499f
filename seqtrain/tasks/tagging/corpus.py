"""A corpus of tagged words: three files, or one that is cut into three, as numbers."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqtrain.system.errors import DataError
from seqtrain.tasks.base import Batch
from seqtrain.tasks.tagging.reader import Layout, Sentences, read_file
from seqtrain.tasks.text.corpus import SPLITS

ENDINGS = ("txt", "conll", "conllu", "tsv")

Numbers = NDArray[np.int64]


def split_file(folder: Path, split: str) -> Path:
    """Where a folder has the file of a split: `train.conll`, or as Universal Dependencies name it, `en-ud-dev.conllu`.

    The validation part may be called `dev`.
    """
    names = (split, "dev") if split == "valid" else (split,)
    here = [folder / f"{name}.{ending}" for name in names for ending in ENDINGS]
    published = [path for name in names for path in sorted(folder.glob(f"*-ud-{name}.conllu"))]
    endings = [ending for ending in ENDINGS if any((folder / f"{name}.{ending}").exists() for name in SPLITS)]
    missing = folder / f"{split}.{next(iter(endings), ENDINGS[0])}"  # named as the others are
    return next((path for path in [*here, *published] if path.exists()), missing)


def read_parts(path: Path, layout: Layout, fractions: Sequence[float]) -> dict[str, Sentences]:
    """The sentences of each split: of three files in a folder, or of one file, which is cut between two sentences.

    Raises
    ------
    DataError : names all faults of all files.
    """
    if not path.is_dir():
        whole = read_file(path, layout)
        count = len(whole.sizes)
        first, second = (min(count, round(share * count)) for share in (fractions[0], fractions[0] + fractions[1]))
        return dict(zip(SPLITS, _cut(whole, [0, first, second, count]), strict=True))
    parts, faults = {}, []
    for split in SPLITS:
        try:
            parts[split] = read_file(split_file(path, split), layout)
        except DataError as error:
            faults.append(str(error))
    if faults:
        raise DataError("\n".join(faults))
    return parts


def _cut(whole: Sentences, bounds: Sequence[int]) -> list[Sentences]:
    """The parts of a file; what is left out behind the last sentence belongs to the last part."""
    ends = np.cumsum([0, *whole.sizes]).tolist()
    parts: list[Sentences] = []
    for start, stop in pairwise(bounds):
        words, is_last = slice(ends[start], ends[stop]), len(parts) == len(bounds) - 2
        own = [(kind, at - start) for kind, at in whole.left_out if start <= at and (at < stop or is_last)]
        parts.append(Sentences(whole.words[words], whole.tags[words], whole.sizes[start:stop], own))
    return parts


class TaggedSentences:
    """The sentences of a split, as numbers.

    Parameters
    ----------
    start : the place of the first word in the corpus.
    sizes : `[N]`, words of each sentence.
    symbols : `[types, F]` or `[types]`, what is read of each type of word.
    types, tags : `[words of the corpus]`, the number of each word's type and of its tag.
    classes : how many tags a model may give; all others are one class more.
    """

    def __init__(
        self, start: int, sizes: Sequence[int], *, symbols: Tensor, types: Tensor, tags: Tensor, classes: int
    ) -> None:
        self.sizes: Numbers = np.array(sizes, np.int64)
        self._starts = start + np.cumsum([0, *sizes])[:-1]
        self._symbols, self._types, self._tags, self._classes = symbols, types, tags, classes

    def batch(self, chosen: Numbers) -> Batch:
        """The sentences with these numbers, `[B]`; `marks` are the places of their words in the corpus."""
        lengths = torch.from_numpy(self.sizes[chosen])
        steps = torch.arange(int(lengths.max()))[:, None]
        inside = steps < lengths
        places = (torch.from_numpy(self._starts[chosen]) + steps).where(inside, 0)
        symbols = self._symbols[self._types[places]]
        inputs = symbols.where(inside if symbols.dim() == 2 else inside[..., None], 0)
        targets = self._tags[places].clamp(max=self._classes).where(inside, 0)
        return Batch(inputs, targets, None if bool(inside.all()) else lengths, inside, marks=places)
