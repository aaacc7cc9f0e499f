"""Text: reading it, numbering its tokens, laying it out for training."""

from seqtrain.tasks.text.batchify import Columns, make_columns
from seqtrain.tasks.text.bptt import Windows
from seqtrain.tasks.text.corpus import SPLITS, Tokens, faults_of_text, read_corpus, sources
from seqtrain.tasks.text.tokenizer import Unit
from seqtrain.tasks.text.vocabulary import UNK, Vocabulary

__all__ = [
    "SPLITS",
    "UNK",
    "Columns",
    "Tokens",
    "Unit",
    "Vocabulary",
    "Windows",
    "faults_of_text",
    "make_columns",
    "read_corpus",
    "sources",
]
