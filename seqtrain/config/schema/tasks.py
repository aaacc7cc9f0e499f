"""Settings of the tasks."""

from typing import Annotated, Literal

from pydantic import Field, Tag

from seqtrain.config.schema.base import ONE_OR_EACH, Section, Size

Interval = Annotated[int, Field(ge=2, le=10_000)]
Intervals = Annotated[
    Annotated[Interval, Tag("one")] | Annotated[list[Interval], Field(min_length=1, max_length=1000), Tag("each")],
    ONE_OR_EACH,
]

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


class TwoSequence(Generated):
    """The two-sequence problem."""

    name: Literal["two_sequence"]
    variant: Literal["noisy_signal", "noisy_targets"] = "noisy_signal"
    """Where there is noise beside the later numbers: experiment 3b or 3c of Hochreiter & Schmidhuber 1997."""
    length: Annotated[int, Field(ge=2, le=1_000_000)] = 100
    """Least steps in a sequence; the most are a tenth more."""
    signal: Size = 3
    """The first steps, which show the class."""


class EmbeddedReber(Section):
    """The embedded Reber grammar."""

    name: Literal["embedded_reber"]
    valid_size: Annotated[int, Field(ge=1, le=2000)] = 256
    """Different strings in the fixed validation set."""
    test_size: Annotated[int, Field(ge=1, le=2000)] = 256
    """Different strings in the fixed test set."""


class Counting(Section):
    """Counting in a^n b^n or a^n b^n c^n."""

    name: Literal["counting"]
    language: Literal["ab", "abc"] = "ab"
    """The letters that come n times each."""
    train_limit: Annotated[int, Field(ge=1, le=10_000)] = 20
    """Largest n in training."""
    length_distribution: Literal["uniform", "u_shaped", "short", "long"] = "uniform"
    """Which n are the more frequent in training; it decides how far a model generalises."""
    limit: Annotated[int, Field(ge=2, le=10_000)] = 200
    """Largest n in the validation and test set, which hold every n."""


class Brackets(Generated):
    """Nested brackets of several kinds."""

    name: Literal["brackets"]
    kinds: Annotated[int, Field(ge=1, le=1000)] = 2
    """Kinds of brackets; one asks for a counter only, more for a stack."""
    train_length: Size = 50
    """Steps in a training string."""
    train_depth: Size = 5
    """Most brackets open at once in training."""
    length: Size = 100
    """Steps in a string of the fixed sets; more than in training."""
    depth: Size = 6
    """Most brackets open at once in the fixed sets; more than in training."""


class Timing(Section):
    """Generating a spike train."""

    name: Literal["timing"]
    interval: Intervals = 10
    """Steps from one spike to the next; a list is a rhythm, repeated."""
    train_spikes: Annotated[int, Field(ge=1, le=100_000)] = 10
    """Spikes in the longest training sequence."""
    spikes: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """Spikes in the evaluated sequence; more than in training."""


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
    | TwoSequence
    | EmbeddedReber
    | Counting
    | Brackets
    | Parity
    | Timing
    | Recall
    | Lookaround
    | Stories
    | LanguageModel
)
