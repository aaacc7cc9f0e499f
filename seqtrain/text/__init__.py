"""Text: reading it, numbering its tokens, laying it out for training."""

from seqtrain.text.columns import Columns, make_columns
from seqtrain.text.corpus import SPLITS, Corpus, Tokens, read_corpus, sources
from seqtrain.text.reading import Unit
from seqtrain.text.vocabulary import UNK, Vocabulary
from seqtrain.text.windows import Window, Windows

__all__ = [
    "SPLITS",
    "UNK",
    "Columns",
    "Corpus",
    "Tokens",
    "Unit",
    "Vocabulary",
    "Window",
    "Windows",
    "make_columns",
    "read_corpus",
    "sources",
]
