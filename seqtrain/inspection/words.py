"""What the figures of an inspection say, in sentences."""

from collections.abc import Iterator

from seqtrain.inspection.api import Inspection
from seqtrain.system.words import figure

GROWS = 1.01
"""The factor a step from which on a gradient counts as exploding."""


def sentences(each: Inspection) -> Iterator[str]:
    """How far the predictions look, and whether the gradient arrives."""
    start = f"{each.name}: "
    if each.context is not None:
        low, high = each.context.interval()
        back, longest = each.context.steps_back(), int(each.context.sizes[-1]) - 1
        end = "; the sequences are no longer, so it may be more" if high == longest else ""
        yield f"{start}the predictions use {back} steps back (95 % interval {low} to {high}){end}"
    else:
        mean = each.influence.mean()
        distance = int(each.influence.distances[int(mean.nan_to_num().argmax())])
        where = "ahead" if distance < 0 else "back"
        yield f"{start}the input {abs(distance)} steps {where} changes the predictions most"
    for curve in each.gradients:
        if (factor := curve.factor_per_step()) is not None and curve.field == "hidden":
            yield f"{start}{curve.place}: {_tendency(factor, curve.fallen_to(0.01))}"


def _tendency(factor: float, fallen: int | None) -> str:
    """Whether a gradient vanishes or explodes."""
    if factor > GROWS:
        return f"the gradient grows by a factor of {figure(factor)} a step back: it explodes"
    if fallen is None:
        return f"the gradient reaches the start of the sequences (a factor of {figure(factor)} a step)"
    return f"the gradient vanishes: 1 % of it is left {fallen} steps back (a factor of {figure(factor)} a step)"
