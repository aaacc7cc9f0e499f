"""Settings of the training loop."""

from typing import Annotated, Literal

from pydantic import Field

from seqtrain.system.settings import Affects, Null, Positive, Section, Size, Steps


class Train(Section):
    """The loop."""

    steps: Annotated[Steps | None, Null(3000, when=lambda train: train.epochs is None), Affects.BUDGET] = None
    """Training steps at most; null for {null}, or for as many as epochs take."""
    epochs: Annotated[Annotated[int, Field(ge=1, le=10_000)] | None, Affects.BUDGET] = None
    """Passes through the training text at most, instead of steps; null for as many as steps take."""
    batch_size: Size = 64
    """Sequences, or columns of a text, in a step."""
    shards: Annotated[int, Field(ge=1, le=1024)] = 1
    """Parts of a batch whose gradients are added in a fixed order: with torchrun, as many processes as divide it share
    them, and give the same bytes as one process; it must divide batch_size."""
    eval_every: Annotated[Steps | None, Null(200, when=lambda train: train.epochs is None)] = None
    """Steps between two evaluations on the validation set, and there is always one at the end; null for an epoch if
    epochs is set, else {null}."""
    eval_batch_size: Annotated[Size | None, Affects.EVALUATION] = None
    """Sequences, or columns of a text, evaluated side by side; null for the number that suits the task."""
    log_every: Annotated[Steps, Affects.NOTHING] = 50
    """Steps between two training records in metrics.jsonl."""
    save_every: Annotated[Steps | None, Affects.SAVING] = None
    """Steps between two times that the last checkpoint is saved, besides every evaluation, which saves it too; null for
    none."""
    save_every_s: Annotated[Positive | None, Affects.SAVING] = 600.0
    """Likewise in seconds, also during an evaluation: so much work is lost at most if the machine goes down; null for
    none."""
    ar: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the last layer's mean squared outputs in the loss (activation regularisation, Merity et al. 2017)."""
    tar: Annotated[float, Field(ge=0)] = 0.0
    """Likewise of their changes from step to step (temporal activation regularisation)."""
    stop_when_solved: Annotated[bool, Affects.BUDGET] = False
    """Stop at the first evaluation that meets the task's rule for "solved"."""
    average_after: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Average the weights from the first evaluation on that is worse than the best of all but the last so many before
    it, and evaluate the average (NT-ASGD, Merity et al. 2018, who say 5); null for never."""
    patience: Annotated[Steps | None, Affects.BUDGET] = None
    """Stop after so many evaluations without improvement; null for never."""
    on_divergence: Annotated[Literal["stop", "skip"], Affects.BUDGET] = "stop"
    """What to do when the loss or gradient of a step is not finite: stop ends the run with exit 3, skip withholds the
    update and goes on; a validation loss that is not finite always ends the run."""
    max_skips: Annotated[Steps | None, Null(10, when=lambda train: train.on_divergence == "skip"), Affects.BUDGET] = (
        None
    )
    """Steps that may be skipped in all, resumed runs included; the next one ends the run as diverged; null for
    {null}."""
