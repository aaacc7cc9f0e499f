"""Every setting there is: its name, type, default, bounds and meaning.

The text under a field is its description for people; `seqtrain cells`, `seqtrain tasks` and the JSON Schema show it.
The fields of a cell, task or optimizer are the arguments of its constructor, so an option that does nothing cannot be
written down; a test holds the two together.
"""

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Discriminator, Field, JsonValue, Tag

Fraction = Annotated[float, Field(ge=0, lt=1)]
Size = Annotated[int, Field(ge=1, le=1_000_000)]
Steps = Annotated[int, Field(ge=1, le=1_000_000_000)]
Positive = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """Base of all sections: frozen, unknown keys refused, no silent conversion of types."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def name_of(section: Any) -> str | None:
    """What a section is called, whether it is raw data or already a model: the tag that chooses its class."""
    name = section.get("name") if isinstance(section, dict) else getattr(section, "name", None)
    return name if isinstance(name, str) else None


# --- cells -----------------------------------------------------------------------------------------


class Recurrent(Section):
    """What all built-in cells take."""

    recurrent_init: Literal["orthogonal", "uniform"] = "orthogonal"
    """How w_h starts: orthogonal per gate, or uniform within 1/sqrt(hidden_size)."""
    learn_initial_state: bool = False
    """Learn the state before the first step instead of starting from zero."""


class Gated(Recurrent):
    """What cells with a gate on their memory take."""

    forget_bias: float | None = None
    """Initial bias of the gate that multiplies the old state; null for 1."""
    chrono: Annotated[int, Field(ge=3, le=1_000_000_000)] | None = None
    """Longest dependency in steps, for chrono initialisation instead of a constant forget bias."""


class Rnn(Recurrent):
    """The plain RNN."""

    name: Literal["rnn"]
    nonlinearity: Literal["tanh", "relu"] = "tanh"
    """The activation."""


class Lstm(Gated):
    """The LSTM."""

    name: Literal["lstm"]


class Peephole(Gated):
    """The LSTM with peephole connections."""

    name: Literal["peephole"]


class Coupled(Gated):
    """The LSTM with coupled input and forget gates."""

    name: Literal["coupled"]
    peepholes: bool = False
    """Let the gates see the cell."""


class Gru(Gated):
    """The gated recurrent unit."""

    name: Literal["gru"]
    reset: Literal["after", "before"] = "after"
    """Apply the reset gate after the recurrent product (PyTorch, cuDNN) or before it (Cho et al. 2014)."""


class UserCell(Section):
    """A cell of the user's own; keys beside `name` go to its constructor."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue]

    name: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
    """`module:Class`; the module is looked for in the current folder, beside the config, and on Python's path."""
    folder: str | None = None
    """Where the module lies; null for what the search found, which is then noted here and in the checkpoint."""


# --- tasks -----------------------------------------------------------------------------------------


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


class CopyMemory(Generated):
    """The copy memory problem."""

    name: Literal["copy_memory"]
    length: Size = 100
    """Steps between the letters and their recall; a sequence has 20 more."""


class TemporalOrder(Generated):
    """The temporal order problem."""

    name: Literal["temporal_order"]
    length: Annotated[int, Field(ge=10, le=1_000_000)] = 100
    """Least steps in a sequence; the most are a tenth more."""
    symbols: Literal[2, 3] = 2
    """Marks whose order is asked."""


class Lookaround(Generated):
    """The task that needs past and future."""

    name: Literal["lookaround"]
    length: Annotated[int, Field(ge=3, le=1_000_000)] = 40
    """Steps in a sequence."""
    offset: Annotated[int, Field(ge=1, le=1_000_000)] = 3
    """How far back and ahead the two compared symbols lie."""
    symbols: Annotated[int, Field(ge=2, le=10_000)] = 2
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


# --- model -----------------------------------------------------------------------------------------

BuiltInCell = Rnn | Lstm | Peephole | Coupled | Gru
BuiltInTask = Adding | CopyMemory | TemporalOrder | Lookaround | Stories | LanguageModel


def _cell_tag(section: Any) -> str | None:
    name = name_of(section)
    return "user" if name is not None and ":" in name else name


Cell = Annotated[
    Annotated[Rnn, Tag("rnn")]
    | Annotated[Lstm, Tag("lstm")]
    | Annotated[Peephole, Tag("peephole")]
    | Annotated[Coupled, Tag("coupled")]
    | Annotated[Gru, Tag("gru")]
    | Annotated[UserCell, Tag("user")],
    Discriminator(_cell_tag),
]


class FullSoftmax(Section):
    """Scores for the whole vocabulary."""

    name: Literal["full"]


class AdaptiveSoftmax(Section):
    """Rare words in clusters that are looked into only when they are needed (Grave et al. 2017)."""

    name: Literal["adaptive"]
    cutoffs: Annotated[list[Size], Field(min_length=1)] | None = None
    """Ranks at which the clusters of rarer words begin, rising; null for 1/16 and 1/4 of the vocabulary."""
    shrink: Annotated[float, Field(ge=1)] = 4.0
    """How many times fewer features each next cluster gets."""


Width = Annotated[int, Field(ge=1, le=100_000)]
Widths = Annotated[
    Annotated[Width, Tag("one")] | Annotated[list[Width], Field(min_length=1, max_length=1000), Tag("each")],
    Discriminator(lambda value: "each" if isinstance(value, list) else "one"),
]


class Model(Section):
    """The network."""

    cell: Cell
    """The recurrent cell: rnn, lstm, peephole, coupled, gru, or `module:Class` for one of your own; with options,
    {name: ..., option: ...}."""
    hidden_size: Widths = 128
    """Units of each layer and direction; a list gives each layer its own, from the lowest up."""
    depth: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Layers on top of each other; null for as many as hidden_size lists, or 1."""
    direction: Literal["forward", "backward", "bidirectional"] = "forward"
    """Which way the cells read the sequence."""
    merge: Literal["concat", "sum"] | None = None
    """How the two directions become one; null for concat."""
    dropout: Fraction = 0.0
    """Probability to drop a feature between layers, in training."""
    input_dropout: Fraction = 0.0
    """Likewise of what the first layer reads."""
    output_dropout: Fraction = 0.0
    """Likewise of what the last layer gives."""
    locked_dropout: bool = False
    """Drop a feature at all steps of a window or at none (Gal & Ghahramani 2016)."""
    embedding_dropout: Fraction = 0.0
    """Probability to drop a symbol wherever it stands in a window."""
    weight_drop: Fraction = 0.0
    """Probability to drop an entry of w_h for a window (Merity et al. 2018)."""
    zoneout_hidden: Fraction = 0.0
    """Probability that a number of a cell's output stays as it was for a step (Krueger et al. 2017); the plain loop
    runs it."""
    zoneout_memory: Fraction = 0.0
    """Likewise of what else the cell remembers."""
    embedding_size: Width | None = None
    """Size of learnt vectors for symbols; null for the first hidden_size with text, one-hot with other symbols."""
    tied: bool = False
    """Score words by their embedding, through a projection if the last layer has another size."""
    softmax: Annotated[FullSoftmax | AdaptiveSoftmax, Field(discriminator="name")] = FullSoftmax(name="full")
    """How words are scored: full, or adaptive for large vocabularies."""
    init_range: Positive | None = None
    """Start all weights and biases uniform within this of zero; null for what the cells say."""
    embedding_range: Positive | None = None
    """Likewise the embedding and the head's weights, the head's bias at zero; null for init_range, or PyTorch's way."""

    def hidden_sizes(self) -> list[int]:
        """Units of each layer."""
        return self.hidden_size if isinstance(self.hidden_size, list) else [self.hidden_size] * (self.depth or 1)


# --- optimizer and schedule ------------------------------------------------------------------------


class Optimizer(Section):
    """What all optimizers take."""

    lr: Positive = 1e-3
    """Learning rate, before the schedule."""
    clip_norm: Positive | None = 1.0
    """Largest global gradient norm; null for no clipping."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Pull of the weights to zero: decoupled in adamw, in the gradient elsewhere."""


class _Moments(Optimizer):
    betas: Annotated[list[Fraction], Field(min_length=2, max_length=2)] = [0.9, 0.999]
    """Decay of the two running moments."""
    eps: Positive = 1e-8
    """Added to the denominator."""


class Adam(_Moments):
    """Adam (Kingma & Ba 2015)."""

    name: Literal["adam"]


class AdamW(_Moments):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    name: Literal["adamw"]
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    """Pull of the weights to zero, apart from the gradient."""


class Sgd(Optimizer):
    """Stochastic gradient descent."""

    name: Literal["sgd"]
    momentum: Fraction = 0.0
    """Decay of the running gradient."""
    nesterov: bool = False
    """Nesterov's momentum."""


class RmsProp(Optimizer):
    """RMSprop (Tieleman & Hinton 2012)."""

    name: Literal["rmsprop"]
    alpha: Fraction = 0.99
    """Decay of the running square."""
    eps: Positive = 1e-8
    """Added to the denominator."""
    momentum: Fraction = 0.0
    """Decay of the running gradient."""


class Schedule(Section):
    """What all schedules take."""

    warmup: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    """Steps over which the learning rate rises linearly to its full value."""


class Constant(Schedule):
    """The same learning rate throughout."""

    name: Literal["constant"]


class StepDecay(Schedule):
    """Multiply the learning rate every so many steps, or every epoch."""

    name: Literal["step"]
    every: Steps | None = None
    """Steps in a period; null for an epoch."""
    hold: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """Periods before the first cut; there is one after every period from then on."""
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """What each cut multiplies by."""


class Plateau(Schedule):
    """Multiply the learning rate when the validation metric stops improving."""

    name: Literal["plateau"]
    patience: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Evaluations without improvement that are let pass before a cut."""
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.25
    """What each cut multiplies by."""


class Cosine(Schedule):
    """Half a cosine from the full learning rate at the end of the warm-up down to a part of it at the last step."""

    name: Literal["cosine"]
    final: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The part that is left at the last step."""


# --- training --------------------------------------------------------------------------------------


class Train(Section):
    """The loop."""

    steps: Steps | None = None
    """Training steps at most; null for 3,000, or for as many as epochs take."""
    epochs: Steps | None = None
    """Passes through the training text at most, instead of steps."""
    batch_size: Size = 64
    """Sequences, or columns of a text, in a step."""
    eval_every: Steps | None = None
    """Steps between two evaluations on the validation set, and there is always one at the end; null for an epoch if
    epochs is set, else 200."""
    eval_batch_size: Size | None = None
    """Sequences, or columns of a text, evaluated side by side; null for 250, or 20 columns."""
    log_every: Steps = 50
    """Steps between two training records in metrics.jsonl."""
    ar: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the last layer's mean squared outputs in the loss (activation regularisation, Merity et al. 2017)."""
    tar: Annotated[float, Field(ge=0)] = 0.0
    """Likewise of their changes from step to step (temporal activation regularisation)."""
    stop_when_solved: bool = False
    """Stop at the first evaluation that meets the task's rule for "solved"."""
    average_after: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Average the weights from the first evaluation on that is worse than the best of all but the last so many before
    it, and evaluate the average (NT-ASGD, Merity et al. 2018, who say 5); null for never."""
    patience: Steps | None = None
    """Stop after so many evaluations without improvement; null for never."""


class Config(Section):
    """A whole run."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Of the parameters, the data and the dropout."""
    device: Annotated[str, Field(pattern=r"^(cpu|cuda(:\d+)?)$")] = "cpu"
    """Where to compute: cpu, cuda, or cuda:1 and so on."""
    threads: Annotated[int, Field(ge=1, le=4096)] | None = None
    """CPU threads; null for what PyTorch finds. Results repeat to the byte only with the same number."""
    engine: Literal["auto", "reference", "fused"] = "auto"
    """What runs the cells over time: fused is the compiled engine (built-in cells on the CPU), reference the plain
    loop, auto the fused one wherever it serves."""
    task: Annotated[BuiltInTask, Field(discriminator="name")]
    """What to learn."""
    model: Model
    """The network."""
    optimizer: Annotated[Adam | AdamW | Sgd | RmsProp, Field(discriminator="name")] = Adam(name="adam")
    """How the weights move."""
    schedule: Annotated[Constant | StepDecay | Plateau | Cosine, Field(discriminator="name")] = Constant(
        name="constant"
    )
    """How the learning rate changes."""
    train: Train = Train()
    """The loop."""


Cells = BuiltInCell | UserCell


def by_name(union: Any) -> dict[str, type[Section]]:
    """The classes of a union of named sections, by name, e.g. `by_name(BuiltInTask)`."""
    return {get_args(cls.model_fields["name"].annotation)[0]: cls for cls in get_args(union)}


NAMED: dict[tuple[str, ...], dict[str, type[Section]]] = {
    ("task",): by_name(BuiltInTask),
    ("model", "cell"): by_name(BuiltInCell),
    ("optimizer",): by_name(Adam | AdamW | Sgd | RmsProp),
    ("model", "softmax"): by_name(FullSoftmax | AdaptiveSoftmax),
    ("schedule",): by_name(Constant | StepDecay | Plateau | Cosine),
}
"""The sections that are chosen by a name, which may stand alone for the section: where they are, and their classes."""

TAGGED = {*NAMED, ("model", "hidden_size")}
"""Where pydantic puts a word of its own behind the key of a setting."""
