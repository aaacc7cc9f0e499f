"""`seqtrain inspect`: what a trained cell remembers, as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, get_args

from torch import Tensor

from seqtrain.inspection.context import Context, Influence, effective_context, growing, influence
from seqtrain.inspection.defaults import SEQUENCES, TRACED
from seqtrain.inspection.gates import Gates, gates
from seqtrain.inspection.gradient import SMALLEST, Curve, gradient_through_time
from seqtrain.inspection.kept import Kept, Reading, what_is_kept
from seqtrain.inspection.subject import (
    At,
    Subject,
    facts_of,
    prompted,
    sequences_for_probes,
    sequences_of,
    subject,
    unit_of,
)
from seqtrain.inspection.traces import Traces, traces
from seqtrain.system.errors import ConfigError
from seqtrain.system.progress import Progress
from seqtrain.system.runtime import settings_restored
from seqtrain.tasks import Batch, LanguageModel, Split, Task
from seqtrain.tasks.text.tokenizer import Unit

Done = TypeVar("Done")


@dataclass(frozen=True)
class Inspection:
    """What is known about a model; see the classes of the fields. Arrays are time-major.

    name : the run, checkpoint or config.
    at, step : which weights: `init`, `best` or `last`, and the training steps that they have had.
    unit : what a token of a text is; None without a text.
    split, sequences, steps : what it read: the split, the number of sequences, and the steps of the longest. Of a
        prompt, the split is None.
    gates : of each cell, from the lowest layer up.
    gradients : of each field of the state of each cell.
    gradients_before : likewise before training; empty for a model that is not trained.
    context : None for a model that reads backward, and for a prompt.
    influence : by the distance of an input from the last prediction; None for a prompt.
    kept : where each hidden fact of the task can be read; empty for a prompt, and for a task that knows none.
    traces : every activation of the first sequences.
    """

    name: str
    at: At
    step: int
    task: str
    cell: str
    unit: Unit | None
    split: Split | None
    sequences: int
    steps: int
    gates: list[Gates]
    gradients: list[Curve]
    gradients_before: list[Curve]
    context: Context | None
    influence: Influence | None
    kept: list[Kept]
    traces: Traces

    def as_json(self) -> dict[str, Any]:
        """The figures, without the single sequences."""
        plain = ("name", "at", "step", "task", "cell", "split", "sequences", "steps")
        return {name: getattr(self, name) for name in plain} | {
            "gates": [_gates_as_json(each) for each in self.gates],
            "gradients": [_curve_as_json(curve) for curve in self.gradients],
            "gradients_before": [_curve_as_json(curve) for curve in self.gradients_before],
            "context": None if self.context is None else _context_as_json(self.context),
            "influence": None if self.influence is None else _influence_as_json(self.influence),
            "kept": [_kept_as_json(kept) for kept in self.kept],
            "text": [
                [{"token": token, "bits": bits} for token, bits in text] for text in self.traces.surprise_by_token()
            ],
        }


@settings_restored()
def inspect(
    target: str | Path,
    overrides: Sequence[str] = (),
    *,
    at: At | None = None,
    split: Split = "test",
    sequences: int = SEQUENCES,
    prompt: str | None = None,
    after: Sequence[str] = (),
    quiet: bool = True,
) -> Inspection:
    """What a trained model remembers, and how.

    Parameters
    ----------
    target : a run directory, a checkpoint, or a config, whose untrained model is inspected.
    overrides : settings to change, each `KEY=VALUE`; of a run, those that its weights allow.
    at : the weights of a run: `init` before the first step, `best` (None) or `last`.
    split : from which the sequences are.
    sequences : how many; of a text, parts of it. The probes of hidden facts read more.
    prompt : a text to read instead of sequences of the split.
    after : tokens of a text; for each, the units that follow it are looked for. By default the most frequent token.
    quiet : no progress and no remarks on stderr.

    Raises
    ------
    SeqtrainError : the target cannot be used, or a parameter is out of its range.
    """
    if at is not None and at not in get_args(At):
        raise ConfigError(f"--at is {at!r}; choose one of {', '.join(get_args(At))}")
    if split not in get_args(Split):
        raise ConfigError(f"--split is {split!r}; choose one of test, valid, or train (of a text)")
    if sequences < 2:
        raise ConfigError(f"--sequences is {sequences}; it must be 2 or more, as they are compared with each other")
    one = subject(target, overrides, at=at, quiet=quiet)
    if prompt is not None:
        return _inspected(one, None, prompted(one, prompt, quiet=quiet), None, after, quiet=quiet)
    batch, many = sequences_of(one.task, split, sequences), sequences_for_probes(one, split, sequences)
    return _inspected(one, split, batch, many, after, quiet=quiet)


def _inspected(
    one: Subject, split: Split | None, batch: Batch, many: Batch | None, after: Sequence[str], *, quiet: bool
) -> Inspection:
    model, task, T = one.model, one.task, len(batch.inputs)
    several, cuts = batch.size > 1, batch.size > 1 and True not in model.stack.reversed
    distances = _distances(model.stack.reversed, T) if several else []
    look_for = partial(facts_of, task, after=after)
    facts = [] if many is None else look_for(many)
    judged = batch if split is None else _judged(task, batch)
    of_context = _judged(task, many) if many is not None and isinstance(task, LanguageModel) else judged
    parts = 3 + len(distances) + len(facts) + (len(growing(T)) if cuts else 0)
    with Progress(parts, label=f"inspect {Path(one.name).name}", unit="part", quiet=quiet) as progress:

        def done(result: Done) -> Done:
            progress.advance()
            return result

        return Inspection(
            name=one.name,
            at=one.at,
            step=one.step,
            task=task.definition,
            cell=one.config.model.cell.name,
            unit=unit_of(task),
            split=split,
            sequences=batch.size,
            steps=T,
            gates=done(gates(model, [batch])),
            gradients=done(gradient_through_time(model, task, judged)),
            gradients_before=done(gradient_through_time(one.untrained(), task, judged) if one.step else []),
            context=effective_context(model, task, of_context, advance=progress.advance) if cuts else None,
            influence=influence(model, task, judged, distances, advance=progress.advance) if several else None,
            kept=[] if many is None else what_is_kept(model, task, many, look_for, advance=progress.advance),
            traces=traces(model, task, batch.rows(0, min(TRACED, batch.size))),
        )


def _judged(task: Task, batch: Batch) -> Batch:
    """The batch, of whose predictions those count that need a memory."""
    return replace(batch, scored=task.memory_predictions(batch))


def _distances(reversed_: list[bool], T: int) -> list[int]:
    """Growing distances from a prediction to inputs before it, and after it if a cell walks backward."""
    before = [0, *growing(T - 1)] if T > 1 else [0]
    after = [-distance for distance in before[:0:-1]]
    return [*(after if True in reversed_ else []), *(before if False in reversed_ else [0])]


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


def _kept_as_json(kept: Kept) -> dict[str, Any]:
    return {
        "fact": kept.fact,
        "classes": list(kept.classes),
        "is_constant": kept.is_constant,
        "sequences": kept.sequences,
        "steps": kept.steps,
        "readings": [_reading_as_json(each) for each in kept.readings],
        "best_state": _best_as_json(kept.best(state=True)),
        "best_gate": _best_as_json(kept.best(state=False)),
    }


def _reading_as_json(each: Reading) -> dict[str, Any]:
    return {
        "layer": each.place.layer,
        "direction": each.place.direction,
        "activation": each.name,
        "unit": each.one.unit,
        "score": each.one.score,
        "chance": each.one.chance,
        "score_by_step": each.one.by_step,
        "score_by_unit": None if each.one.by_unit is None else each.one.by_unit.tolist(),
        "all_units": each.every.score,
        "best_unit_by_step": [None if one is None else one.unit for one in each.one_at],
        "best_score_by_step": [None if one is None else one.score for one in each.one_at],
        "all_units_by_step": [None if one is None else one.score for one in each.every_at],
    }


def _best_as_json(best: Reading | None) -> dict[str, Any] | None:
    """The best unit, with the probability of such a score by chance."""
    if best is None:
        return None
    return _reading_as_json(best) | {"p": best.one.p, "all_units_p": best.every.p, "is_found": best.one.is_found()}


def _influence_as_json(influence: Influence) -> dict[str, Any]:
    low, high = influence.interval()
    return {
        "distances": influence.distances.tolist(),
        "mean_change": influence.mean().tolist(),
        "low": low.tolist(),
        "high": high.tolist(),
    }


def _context_as_json(context: Context) -> dict[str, Any]:
    means: Tensor = context.losses.mean(1)
    return {
        "steps_back": context.steps_back(),
        "interval": list(context.interval()),
        "sizes": context.sizes.tolist(),
        "loss": means.tolist(),
    }
