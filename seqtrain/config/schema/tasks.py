"""Settings of the tasks."""

from typing import Annotated, Literal

from pydantic import Field

from seqtrain.config.schema.base import Section, Size

Symbols = Annotated[int, Field(ge=2, le=10_000)]


class Generated(Section):
    """What tasks that draw their own sequences take."""

    valid_size: Size = 2000
    """Sequences in the fixed validation set."""
    test_size: Size = 2000
    """Sequences in the fixed test set."""


class Adding(Generated):
    """The adding problem."""

    name: Literal["adding"]
    length: Annotated[int, Field(ge=2, le=1_000_000)] = 100
    """Steps in a sequence (the least, in `hochreiter`)."""
    variant: Literal["halves", "anywhere", "hochreiter"] = "halves"
    """Which published definition."""


class Multiplication(Generated):
    """The multiplication problem."""

    name: Literal["multiplication"]
    length: Annotated[int, Field(ge=2, le=1_000_000)] = 100
    """Steps in a sequence (the least, in `hochreiter`)."""
    variant: Literal["halves", "anywhere", "hochreiter"] = "halves"
    """Where the marks lie."""


class CopyMemory(Generated):
    """The copy memory problem."""

    name: Literal["copy_memory"]
    length: Size = 100
    """Steps between the letters and their recall; a sequence has 20 more."""


class SelectiveCopy(Generated):
    """Selective copying."""

    name: Literal["selective_copy"]
    length: Size = 100
    """Steps over which the letters are scattered; a sequence has one more, and one for each letter."""
    letters: Size = 10
    """Letters in a sequence."""
    alphabet: Symbols = 8
    """Different letters."""


class TemporalOrder(Generated):
    """The temporal order problem."""

    name: Literal["temporal_order"]
    length: Annotated[int, Field(ge=10, le=1_000_000)] = 100
    """Least steps in a sequence; the most are a tenth more."""
    symbols: Literal[2, 3] = 2
    """Marks whose order is asked."""


class LongLag(Generated):
    """The long time lag problem."""

    name: Literal["long_lag"]
    lag: Size = 100
    """q: distractors in a sequence at least."""
    distractors: Annotated[int, Field(ge=1, le=10_000)] = 100
    """p: different distractors."""


class Parity(Generated):
    """Running parity."""

    name: Literal["parity"]
    length: Annotated[int, Field(ge=2, le=1_000_000)] = 50
    """Steps in a training sequence."""
    eval_length: Annotated[int, Field(ge=2, le=1_000_000)] | None = None
    """Steps in a sequence of the validation and test sets; null for four times length."""


class Recall(Generated):
    """Associative recall."""

    name: Literal["recall"]
    pairs: Size = 3
    """Keys with a value in a sequence."""
    keys: Symbols = 8
    """Different keys to draw from."""
    values: Symbols = 8
    """Different values to draw from."""
    delay: Annotated[int, Field(ge=0, le=1_000_000)] = 10
    """Distractors between the last pair and the query."""


class Lookaround(Generated):
    """The task that needs past and future."""

    name: Literal["lookaround"]
    length: Annotated[int, Field(ge=3, le=1_000_000)] = 40
    """Steps in a sequence."""
    offset: Annotated[int, Field(ge=1, le=1_000_000)] = 3
    """How far back and ahead the two compared symbols lie."""
    symbols: Symbols = 2
    """Size of the alphabet."""


class Stories(Generated):
    """Stories with words that follow from a distant fact."""

    name: Literal["stories"]
    distance: Annotated[int, Field(ge=10, le=1_000_000)] = 25
    """Words from the fact to the word that follows from it."""


class LanguageModel(Section):
    """Next-token prediction over the user's text."""

    name: Literal["language_model"]
    path: Annotated[str, Field(min_length=1)]
    """A UTF-8 text file, or a folder with train.txt, valid.txt and test.txt; `shipped:stories` comes with seqtrain."""
    unit: Literal["word", "character"] = "word"
    """What is predicted."""
    window: Size = 35
    """Steps of truncated back-propagation through time."""
    vary_window: bool = False
    """Draw each training window's size around window, and scale the learning rate with it (Merity et al. 2018)."""
    min_count: Size = 1
    """Tokens seen less often in training become <unk>."""
    max_size: Annotated[int, Field(ge=2, le=100_000_000)] | None = None
    """Largest vocabulary, <unk> counted in; null for no limit."""
    fractions: Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=3, max_length=3)] | None = None
    """Shares of train, valid and test in a single file; null for 0.9, 0.05, 0.05. [0, 0, 1] evaluates all of it."""


BuiltInTask = (
    Adding
    | Multiplication
    | CopyMemory
    | SelectiveCopy
    | TemporalOrder
    | LongLag
    | Parity
    | Recall
    | Lookaround
    | Stories
    | LanguageModel
)
