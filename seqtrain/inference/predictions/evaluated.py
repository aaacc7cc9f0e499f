"""Pictures of an evaluation: what a model said of a split, beside the truth."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqtrain.inference.load import Trained, load_trained
from seqtrain.inference.predictions.outputs import outputs_of
from seqtrain.inference.predictions.sequences import picture_of
from seqtrain.inference.predictions.series import MOST_PANELS, read_through
from seqtrain.inference.predictions.tagging import draw_tags
from seqtrain.system.errors import ConfigError
from seqtrain.tasks import LabelledSequences, Series, Split, Task
from seqtrain.tasks.tables.one import filled_forward
from seqtrain.tasks.tables.whole import WholeSeries
from seqtrain.tasks.tagging.task import Tagging

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from seqtrain.inference.predictions.picture import Panel

MOST_STEPS = 1000
"""The last steps of a series in a picture."""


def draw_evaluation(path: Path, task: Task, split: Split) -> "Figure":
    """What the model of a checkpoint says of a split: a confusion matrix, a scatter, or forecasts over time.

    Raises
    ------
    ConfigError : there is no such picture for the task.
    """
    check_picture(task)
    return PICTURES[task.name](load_trained(path), task, split)


def check_picture(task: Task) -> None:
    """Raise a ConfigError if there is no picture of an evaluation of the task."""
    own = getattr(task, "predict", None)
    if task.name not in PICTURES or own == "next_step":
        of = f" with predict {own}" if own else ""
        raise ConfigError(
            f"--plot: there is no picture of an evaluation on {task.name}{of}; leave it out (there are some of "
            f"{', '.join(PICTURES)})"
        )


def _of_sequences(trained: Trained, task: Any, split: Split) -> "Figure":
    part, own = task.parts[split], task.collections[split]
    draw = picture_of(
        f"{task.name}, {split}", task.prepared, own, outputs_of(trained.model, part, by_step=part.by_step)
    )
    figure: Figure = draw()
    return figure


def _of_series(trained: Trained, task: Any, split: Split) -> "Figure":
    from seqtrain.inference.predictions.picture import draw_panels

    own = WholeSeries(**trained.config.task.options() | {"path": task.path}, fitted=trained.header.fitted)
    chosen = [number for number, one in enumerate(task.series) if task.origins(one, split).size]
    chosen = chosen[: -(-MOST_PANELS // len(own.targets))]
    panels = [panel for number in chosen for panel in _panels(trained, task, own, number, split)]
    what = "forecasts of the next step" if own.horizon else "labels"
    title = f"{what}, {split}: {own.table.path.name}"
    return draw_panels(title, panels[:MOST_PANELS], len(task.series) * len(own.targets), own.step_name)


def _panels(trained: Trained, task: Any, own: WholeSeries, number: int, split: Split) -> list["Panel"]:
    """The values of one series in a split, and what was said of each one step before."""
    from seqtrain.inference.predictions.picture import Panel

    one, n = task.series[number], len(own.targets)
    origins = task.origins(one, split)[-MOST_STEPS:]
    outputs = read_through(trained.model, own.inputs_of(number)[: origins[-1] + 1], whole=own.horizon == 0)
    last = filled_forward(one.values)[origins, :n]
    said = own.restored(outputs[origins], last)[:, 0]
    steps = origins + min(1, own.horizon)
    times = own.times(number, steps)
    return [
        Panel(one.name if own.id else "", name, times, one.values[steps, k], times, said[:, k], None)
        for k, name in enumerate(own.targets)
    ]


PICTURES: Mapping[str, Callable[[Trained, Any, Split], "Figure"]] = {
    LabelledSequences.name: _of_sequences,
    Series.name: _of_series,
    Tagging.name: draw_tags,
}
