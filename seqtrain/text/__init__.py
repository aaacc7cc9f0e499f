"""Text: reading it, numbering its tokens, laying it out for training."""

from seqtrain.text.columns import Columns, make_columns
from seqtrain.text.corpus import Corpus, Unit, read_corpus, sources
from seqtrain.text.vocabulary import Vocabulary

__all__ = ["Columns", "Corpus", "Unit", "Vocabulary", "make_columns", "read_corpus", "sources"]
