"""Text: reading it, numbering its tokens, laying it out for training."""

from seqtrain.text.columns import Columns, make_columns
from seqtrain.text.corpus import Corpus, Unit, read_corpus, sources
from seqtrain.text.vocabulary import Vocabulary
from seqtrain.text.windows import Window, Windows

__all__ = ["Columns", "Corpus", "Unit", "Vocabulary", "Window", "Windows", "make_columns", "read_corpus", "sources"]
