"""Settings that are each allowed but make no sense together, so that no accepted option does nothing."""

from collections.abc import Iterator
from itertools import pairwise

from seqtrain.config.errors import Fault
from seqtrain.config.schema import AdaptiveSoftmax, Config, Gated, Gru, Model, Odyssey, Rnn, Sgd, UserCell
from seqtrain.config.task_validators import check_task


def check_together(config: Config, *, task_is_known: bool = True) -> Iterator[Fault]:
    """Every combination that cannot work or would be ignored; without those of the task if that is not known."""
    if task_is_known:
        yield from check_task(config)
    yield from _model(config.model)
    yield from _training(config)


def _model(model: Model) -> Iterator[Fault]:
    cell = model.cell
    if model.merge is not None and model.direction != "bidirectional":
        yield Fault(
            ("model", "merge"),
            f"is {model.merge!r}, but there is nothing to merge with direction {model.direction!r}; "
            "remove it or use direction: bidirectional",
        )
    if isinstance(model.hidden_size, list) and model.depth not in (None, len(model.hidden_size)):
        yield Fault(
            ("model", "depth"),
            f"is {model.depth}, but hidden_size lists {len(model.hidden_size)} layers; remove it",
        )
    yield from _dropout(model)
    if isinstance(model.softmax, AdaptiveSoftmax):
        yield from _adaptive(model.softmax, tied=model.tied)
    if model.init_range is not None and not isinstance(cell, UserCell):
        own = [name for name in ("forget_bias", "chrono") if getattr(cell, name, None) is not None]
        for name in [*own, *(["recurrent_init"] if cell.recurrent_init != "orthogonal" else [])]:
            yield Fault(
                ("model", "cell", name),
                f"is {getattr(cell, name)!r}, but init_range {model.init_range:g} starts all weights and biases anew; "
                "give one",
            )
    if isinstance(cell, Gated) and cell.forget_bias is not None and cell.chrono is not None:
        yield Fault(
            ("model", "cell", "chrono"),
            f"is {cell.chrono} beside forget_bias {cell.forget_bias:g}, and both set the same bias; give one",
        )
    if isinstance(cell, Odyssey) and cell.ablation == "no_forget_gate":
        for name in (name for name in ("forget_bias", "chrono") if getattr(cell, name) is not None):
            yield Fault(
                ("model", "cell", name),
                f"is {getattr(cell, name)!r}, but ablation 'no_forget_gate' has no forget bias to set; remove it",
            )


def _dropout(model: Model) -> Iterator[Fault]:
    if model.dropout > 0 and len(model.hidden_sizes()) == 1:
        yield Fault(
            ("model", "dropout"),
            f"is {model.dropout:g}, but dropout acts between layers and depth 1 has no between; "
            "use depth: 2 or more, or dropout: 0 (input_dropout and output_dropout act around them)",
        )
    if model.zoneout_memory and isinstance(model.cell, Rnn | Gru):
        yield Fault(
            ("model", "zoneout_memory"),
            f"is {model.zoneout_memory:g}, but cell {model.cell.name!r} remembers in its output alone; "
            "use zoneout_hidden",
        )
    if model.locked_dropout and not (model.dropout or model.input_dropout or model.output_dropout):
        yield Fault(
            ("model", "locked_dropout"),
            "is true, but no feature is dropped; set dropout, input_dropout or output_dropout, or remove it",
        )


def _adaptive(softmax: AdaptiveSoftmax, *, tied: bool) -> Iterator[Fault]:
    if tied:
        yield Fault(
            ("model", "softmax"),
            "is 'adaptive', whose clusters have weights of their own, and tied asks for those of the embedding; "
            "use 'full', or tied: false",
        )
    cutoffs = softmax.cutoffs or []
    if any(a >= b for a, b in pairwise(cutoffs)):
        yield Fault(("model", "softmax", "cutoffs"), f"are {cutoffs}; each must be larger than the one before")


def _training(config: Config) -> Iterator[Fault]:
    train, optimizer = config.train, config.optimizer
    if train.max_skips is not None and train.on_divergence == "stop":
        yield Fault(
            ("train", "max_skips"),
            f"is {train.max_skips}, but on_divergence is 'stop', so no step is skipped; remove it, or use "
            "on_divergence: skip",
        )
    if isinstance(optimizer, Sgd) and optimizer.nesterov and optimizer.momentum == 0:
        yield Fault(("optimizer", "nesterov"), "is true, but momentum is 0; set optimizer.momentum, e.g. 0.9")
