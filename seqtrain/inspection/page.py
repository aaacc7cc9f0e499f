"""One HTML page that shows an inspection, and needs no other file and no network."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bokeh.embed import components
from bokeh.resources import Resources
from jinja2 import Environment, PackageLoader, StrictUndefined

from seqtrain.inspection.api import Inspection
from seqtrain.inspection.charts import charts, shortened
from seqtrain.inspection.figures import drawn, gap, heat_map
from seqtrain.inspection.words import sentences
from seqtrain.system.files import write_whole

MOST_BITS = 12.0
"""The surprisal that is drawn in the darkest colour."""


class Part(NamedTuple):
    """A part of the page.

    id : for links.
    note : how to read it.
    figures : to draw.
    """

    id: str
    title: str
    note: str
    figures: list[Any]


def write_page(found: Sequence[Inspection], path: Path) -> None:
    """Write the page of one or several models."""
    parts = [part for part in _parts(found) if part.figures]
    script, divs = components([one for part in parts for one in part.figures])
    remaining = iter(divs)
    drawn = [part._replace(figures=[next(remaining) for _ in part.figures]) for part in parts]
    environment = Environment(
        loader=PackageLoader("seqtrain.inspection", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("inspect.html.jinja").render(
        names=[each.name for each in found],
        parts=drawn,
        texts=[*_texts(found)],
        sentences=[sentence for each in found for sentence in sentences(each)],
        resources=Resources(mode="inline", components=["bokeh", "bokeh-widgets"]).render(),
        script=script,
    )
    write_whole(path, page.encode())


NOTES = {
    "gates": (
        "Gates",
        "A gate that is often near 0 or near 1 decides; one that stays between lets a part pass. The half-life is the "
        "number of steps after which half of a unit's old state is left.",
    ),
    "gradient": (
        "Gradient through time",
        "The norm of the gradient of one prediction, by the distance from it, on a logarithmic axis: the mean over the "
        "sequences, and the range of the middle 80 %. A straight line down is a gradient that vanishes. Dashed: before "
        "training. A horizontal line, where there is one, is the smallest number that 32 bits hold in full precision.",
    ),
    "context": (
        "Context",
        "The loss of the last prediction of each sequence if the model sees the last inputs alone. The dashed line is "
        "the effective memory: with so many inputs, the loss is within 1 % of that with all, or within 1 % of the "
        "difference between the first and the last loss if that is larger. Then how much this loss changes if a single "
        "input is replaced.",
    ),
    "kept": (
        "What a unit keeps",
        "How well a fact can be read from the state at each step after the one that told it: by the single unit that "
        "is best over all steps, and by all units together (dashed). Both have learnt on one half of the sequences and "
        "are judged on the other; the horizontal line is chance. Below, the unit of the state over a sequence: the "
        "solid line is the state that keeps the fact, the vertical lines are where the fact is told and used.",
    ),
}
"""The title of each part with charts, and how to read it."""


def _parts(found: Sequence[Inspection]) -> Iterator[Part]:
    for name, own in charts(found).items():
        yield Part(name, *NOTES[name], [drawn(chart) for chart in own])
    yield Part(
        "units",
        "Units",
        "Red is positive, white 0, blue negative. Choose an activation, a sequence and a unit; the arrow keys move a "
        "slider that has the focus. Below, what the model reads is coloured by the unit.",
        [heat_map(each, len(found)) for each in found],
    )


def _texts(found: Sequence[Inspection]) -> Iterator[dict[str, Any]]:
    """The traced sequences of each model that reads words, with the surprisal of each word after the first."""
    for each in found:
        for number, tokens in enumerate(each.traces.surprise_by_token()):
            words = [
                {"text": shortened(token), "bits": bits, "share": min(1.0, (bits or 0.0) / MOST_BITS)}
                for token, bits in tokens
            ]
            yield {"name": f"{each.name}, sequence {number}", "words": words, "gap": gap(each)}
