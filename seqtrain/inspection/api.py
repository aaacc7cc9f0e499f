"""`seqtrain inspect`: what a trained cell remembers, as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from torch import Tensor

from seqtrain.inspection.context import Context, Influence, effective_context, growing, influence
from seqtrain.inspection.defaults import SEQUENCES, TRACED
from seqtrain.inspection.gates import Gates, gates
from seqtrain.inspection.gradient import SMALLEST, Curve, gradient_through_time
from seqtrain.inspection.subject import At, Subject, sequences_of, subject
from seqtrain.inspection.traces import Traces, traces
from seqtrain.system.errors import ConfigError
from seqtrain.system.progress import Progress
from seqtrain.tasks import Batch, Split


@dataclass(frozen=True)
class Inspection:
    """What is known about a model; see the classes of the fields. Arrays are time-major.

    name : the run, checkpoint or config.
    at, step : which weights: `init`, `best` or `last`, and the training steps that they have had.
    split, sequences, steps : what it read: the split, the number of sequences, and the steps of the longest.
    gates : of each cell, from the lowest layer up.
    gradients : of each field of the state of each cell.
    context : None for a model that reads backward.
    influence : by the distance of an input from the last prediction.
    traces : every activation of the first sequences.
    """

    name: str
    at: At
    step: int
    task: str
    cell: str
    split: Split
    sequences: int
    steps: int
    gates: list[Gates]
    gradients: list[Curve]
    context: Context | None
    influence: Influence
    traces: Traces

    def as_json(self) -> dict[str, Any]:
        """The figures, without the single sequences."""
        plain = ("name", "at", "step", "task", "cell", "split", "sequences", "steps")
        return {name: getattr(self, name) for name in plain} | {
            "gates": [_gates_as_json(each) for each in self.gates],
            "gradients": [_curve_as_json(curve) for curve in self.gradients],
            "context": None if self.context is None else _context_as_json(self.context),
            "influence": {
                "distances": self.influence.distances.tolist(),
                "mean_change": self.influence.mean().tolist(),
            },
        }


def inspect(
    target: str | Path,
    overrides: Sequence[str] = (),
    *,
    at: At = "best",
    split: Split = "test",
    sequences: int = SEQUENCES,
    quiet: bool = True,
) -> Inspection:
    """What a trained model remembers, and how.

    Parameters
    ----------
    target : a run directory, a checkpoint, or a config, whose untrained model is inspected.
    overrides : settings to change, each `KEY=VALUE`; of a run, those that its weights allow.
    at : the weights of a run: `init` before the first step, `best` or `last`.
    split : from which the sequences are.
    sequences : how many; of a text, parts of it.
    quiet : no progress and no remarks on stderr.

    Raises
    ------
    SeqtrainError : the target cannot be used, or a parameter is out of its range.
    """
    if at not in get_args(At):
        raise ConfigError(f"--at is {at!r}; choose one of {', '.join(get_args(At))}")
    if split not in get_args(Split):
        raise ConfigError(f"--split is {split!r}; choose one of test, valid, or train (of a text)")
    if sequences < 2:
        raise ConfigError(f"--sequences is {sequences}; it must be 2 or more, as they are compared with each other")
    one = subject(target, overrides, at=at, quiet=quiet)
    batch = sequences_of(one.task, split, sequences)
    return _inspected(one, split, batch, quiet=quiet)


def _inspected(one: Subject, split: Split, batch: Batch, *, quiet: bool) -> Inspection:
    model, task, T = one.model, one.task, len(batch.inputs)
    reads_backward = True in model.stack.reversed
    distances = [0, *growing(T - 1)] if T > 1 else [0]
    if reads_backward:
        behind = [-distance for distance in distances[:0:-1]]
        distances = behind if False not in model.stack.reversed else [*behind, *distances]
    parts = 2 + len(distances) + (0 if reads_backward else len(growing(T)))
    with Progress(parts, label=f"inspect {Path(one.name).name}", unit="part", quiet=quiet) as progress:
        all_gates = gates(model, [batch])
        progress.advance()
        gradients = gradient_through_time(model, task, batch)
        progress.advance()
        context = None if reads_backward else effective_context(model, task, batch, advance=progress.advance)
        changes = influence(model, task, batch, distances, advance=progress.advance)
    return Inspection(
        name=one.name,
        at=one.at,
        step=one.step,
        task=task.definition,
        cell=one.config.model.cell.name,
        split=split,
        sequences=batch.size,
        steps=T,
        gates=all_gates,
        gradients=gradients,
        context=context,
        influence=changes,
        traces=traces(model, task, batch.rows(0, min(TRACED, batch.size))),
    )


def _gates_as_json(gates: Gates) -> dict[str, Any]:
    return {
        "layer": gates.place.layer,
        "direction": gates.place.direction,
        "activations": {
            name: {
                "is_gate": activation.is_gate,
                "mean": activation.mean.tolist(),
                "low": activation.low.tolist(),
                "high": activation.high.tolist(),
            }
            for name, activation in gates.activations.items()
        },
        "half_life": None if gates.half_life is None else gates.half_life.tolist(),
        "spectral_radius": gates.spectral_radius,
        "peepholes": {name: weights.tolist() for name, weights in gates.peepholes.items()},
    }


def _curve_as_json(curve: Curve) -> dict[str, Any]:
    low, high = curve.spread()
    return {
        "layer": curve.place.layer,
        "direction": curve.place.direction,
        "field": curve.field,
        "mean": curve.mean().tolist(),
        "low": low.tolist(),
        "high": high.tolist(),
        "factor_per_step": curve.factor_per_step(),
        "distance_of_1_percent": curve.fallen_to(0.01),
        "distance_of_smallest_float": curve.fallen_below(SMALLEST),
    }


def _context_as_json(context: Context) -> dict[str, Any]:
    means: Tensor = context.losses.mean(1)
    return {
        "steps_back": context.steps_back(),
        "interval": list(context.interval()),
        "sizes": context.sizes.tolist(),
        "loss": means.tolist(),
    }
