"""Settings of the optimizer, the learning rate and the loop."""

from typing import Annotated, Literal

from pydantic import Field

from seqtrain.config.schema.base import Fraction, Positive, Section, Size, Steps


class Optimizer(Section):
    """What all optimizers take."""

    lr: Positive = 1e-3
    """Learning rate, before the schedule."""
    clip_norm: Positive | None = 1.0
    """Largest global gradient norm; null for no clipping."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Pull of the weights to zero: decoupled in adamw, in the gradient elsewhere."""


class _Moments(Optimizer):
    betas: Annotated[list[Fraction], Field(min_length=2, max_length=2)] = [0.9, 0.999]  # noqa: RUF012
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


class Train(Section):
    """The loop."""

    steps: Steps | None = None
    """Training steps at most; null for 3,000, or for as many as epochs take."""
    epochs: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Passes through the training text at most, instead of steps."""
    batch_size: Size = 64
    """Sequences, or columns of a text, in a step."""
    eval_every: Steps | None = None
    """Steps between two evaluations on the validation set, and there is always one at the end; null for an epoch if
    epochs is set, else 200."""
    eval_batch_size: Size | None = None
    """Sequences, or columns of a text, evaluated side by side; null for 250, or 1 column."""
    log_every: Steps = 50
    """Steps between two training records in metrics.jsonl."""
    save_every: Steps | None = None
    """Steps between two times that last.pt is saved, beside every evaluation, which saves it too; null for none."""
    save_every_s: Positive | None = 600.0
    """Likewise in seconds: so much work is lost at most if the machine goes down; null for none."""
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
    on_divergence: Literal["stop", "skip"] = "stop"
    """What to do when the loss or gradient of a step is not finite: stop ends the run with exit 3, skip withholds the
    update and goes on; a validation loss that is not finite always ends the run."""
    max_skips: Steps | None = None
    """Steps that may be skipped in all, resumed runs included; the next one ends the run as diverged. null for 10."""
