"""Remarks on a training text, judged by its beginning: what makes a model of it worse than it need be, and the cure."""

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from seqtrain.tasks.text.tagged import seems_tagged
from seqtrain.tasks.text.tokenizer import BLOCK, EOS, Unit

LONG_WORD, LONG_UNSPACED = 12, 4
"""Characters of the mean word from which a text is taken for one without spaces: twice as many as usual, and in scripts
that are written without spaces twice as many as in a text that was cut into words."""

UNSPACED = "[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
"""Chinese and Japanese characters."""

NO_SPACES = (
    "the text has hardly any white space within its lines, so that a line or a clause is taken for a word; use "
    "task.unit=character (the config characters), or put spaces between the words"
)


TAGGED = {
    "slash": "the text holds word/TAG, so that the model learns each word together with its tag",
    "conll": "the text holds columns of words and tags, so that the model learns columns as a text",
}
TAGGER = "; to give words their tags use the config agreement with task.path; for a model of the words remove the tags"


def remarks_on(path: Path, unit: Unit) -> Iterator[str]:
    """Remarks on the form of a text file."""
    beginning = _beginning(path)
    form = seems_tagged(beginning)
    if form:
        yield TAGGED[form] + TAGGER
    if unit == "word":
        words = beginning.split()
        if not form and lacks_spaces(beginning):
            yield NO_SPACES
        if EOS in words:
            yield (
                f"the text has {EOS} of its own ({words.count(EOS):,} in its first MiB), and every line end becomes "
                f"another one, which is easy to predict and lowers the perplexity; remove {EOS} from the text"
            )
    composed, decomposed = (unicodedata.normalize(form, beginning) for form in ("NFC", "NFD"))
    if len(composed) < len(beginning) < len(decomposed):
        yield (
            "the text writes letters with accents in two ways, composed and decomposed, so that one word counts as "
            "two; convert it, e.g. uconv -x any-nfc"
        )


def advice_on_spaces(path: Path, unit: Unit) -> str | None:
    """The remark on a text without spaces between its words; None if it does not fit."""
    return NO_SPACES if unit == "word" and lacks_spaces(_beginning(path)) else None


def _beginning(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(BLOCK).decode("utf-8", "ignore")


def lacks_spaces(text: str) -> bool:
    """Whether the lines of a text are hardly split at white space, as in Chinese, Japanese or Thai."""
    words, lines = text.split(), [line for line in text.splitlines() if line.strip()]
    if not words:
        return False
    unspaced = [word for word in words if re.search(UNSPACED, word)]
    long = LONG_WORD if len(unspaced) < len(words) / 4 else LONG_UNSPACED
    measured = words if long == LONG_WORD else unspaced
    return len(words) < 1.5 * len(lines) or sum(map(len, measured)) > long * len(measured)
