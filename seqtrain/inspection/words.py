"""What the figures of an inspection say, in sentences."""

import math
from collections.abc import Iterator

from seqtrain.inspection.api import Inspection
from seqtrain.inspection.kept import Kept
from seqtrain.system.words import counted, figure

GROWS = 1.01
"""The factor a step from which on a gradient counts as growing."""

EXPLODES = 1000.0
"""The factor from the prediction to the start of the sequences from which on it counts as exploding."""


def sentences(each: Inspection) -> Iterator[str]:
    """How far the predictions look, whether the gradient arrives, and which units keep the hidden facts."""
    start = f"{each.name}: "
    if each.context is not None:
        low, high = each.context.interval()
        back, longest = each.context.steps_back(), int(each.context.sizes[-1]) - 1
        end = "; the sequences are no longer, so it may be more" if high == longest else ""
        yield f"{start}the predictions use {back} steps back (95 % interval {low} to {high}){end}"
    elif each.influence is not None:
        mean = each.influence.mean()
        distance = int(each.influence.distances[int(mean.nan_to_num().argmax())])
        where = "ahead" if distance < 0 else "back"
        yield f"{start}the input {abs(distance)} steps {where} changes the predictions most"
    for cell in each.gates:
        if cell.spectral_radius is not None:
            yield f"{start}{cell.place}: the recurrent weights have a spectral radius of {figure(cell.spectral_radius)}"
        if cell.peepholes:
            sizes = ", ".join(f"{name} {figure(float(w.abs().mean()))}" for name, w in cell.peepholes.items())
            yield f"{start}{cell.place}: mean absolute peephole weights: {sizes}"
    for curve in each.gradients:
        if (factor := curve.factor_per_step()) is not None and curve.field == "hidden":
            yield f"{start}{curve.place}: {_tendency(factor, len(curve.norms), curve.fallen_to(0.01))}"
    yield from (f"{start}{_best_read(kept)}" for kept in each.kept)


def _tendency(factor: float, steps: int, fallen: int | None) -> str:
    """Whether a gradient vanishes or explodes."""
    if factor > GROWS:
        end = ": it explodes" if steps * math.log(factor) > math.log(EXPLODES) else ""
        return f"the gradient grows by a factor of {figure(factor)} a step back{end}"
    if fallen is None:
        return f"the gradient reaches the start of the sequences (a factor of {figure(factor)} a step)"
    return f"the gradient vanishes: 1 % of it is left {fallen} steps back (a factor of {figure(factor)} a step)"


def _best_read(kept: Kept) -> str:
    """From which unit a fact is best read, or that no single unit tells it."""
    best = kept.best(state=True) or kept.readings[0]
    chance, together = percent(best.one.chance, kept), f"all units together: {percent(best.every.score, kept)}"
    if not best.one.is_found():
        return f"{kept.fact}: no single unit of a state tells it; {together} (chance: {chance})"
    known = [(k, score) for k, score in zip(kept.steps, best.one.by_step, strict=True) if not math.isnan(score)]
    later = ""
    if kept.is_constant and known:
        steps, last = known[-1]
        later = f", {percent(last, kept)} after {counted(steps, 'step')}"
    return (
        f"{kept.fact}: best read from unit {best.one.unit} of {best.name}, {best.place}: "
        f"{percent(best.one.score, kept)} (chance: {chance}){later}; {together}"
    )


def percent(score: float, kept: Kept) -> str:
    """A score: the percentage of right answers, or R²."""
    return f"{100 * score:.0f} % right" if kept.classes else f"R² {score:.2f}"
