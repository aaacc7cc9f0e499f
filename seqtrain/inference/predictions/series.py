"""Predictions of the task `series`: forecasts beyond the end of each series, or the label of each row."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from seqtrain.inference.load import Trained
from seqtrain.inference.predictions.result import Predictions
from seqtrain.models import SequenceModel
from seqtrain.models.stack import StackState
from seqtrain.system.errors import ConfigError, DataError, SeqtrainError
from seqtrain.system.progress import say
from seqtrain.tasks.tables.one import Numbers, filled_forward
from seqtrain.tasks.tables.pieces import LONGEST_WINDOW
from seqtrain.tasks.tables.whole import Origin, WholeSeries

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from seqtrain.inference.predictions.picture import Panel

TOGETHER = 250
"""Series that are read side by side."""

MOST_READ = 200_000
"""Steps of all series that are read side by side, for labels."""

MOST_STEPS = 100_000
"""Steps of a forecast."""

MOST_PANELS = 8
"""Panels of a picture."""

PAST = 5
"""A picture shows this many times the forecast of the past, but at least `LEAST_PAST` steps."""

LEAST_PAST, MOST_LABELS = 60, 1000
"""Steps of the past, and steps with labels, in a picture."""

MOST_ORIGINS, FEWEST_ERRORS = 200, 10
"""Forecasts on the validation set that give the band of a panel at most, and errors that a step of it needs."""

SHARE = 0.8
"""Of the errors, that lie in the band."""


def predict_series(trained: Trained, file: Path | None, horizon: int | None, *, quiet: bool) -> Predictions:
    """Forecasts of `horizon` steps beyond the end of each series; or, for a model of labels, the label of each row."""
    own: int = trained.config.task.horizon
    if own == 0 and horizon is not None:
        raise ConfigError("--horizon is for forecasts, but the model labels each row (task.horizon is 0); leave it out")
    if horizon is not None and not 1 <= horizon <= MOST_STEPS:
        raise ConfigError(f"--horizon is {horizon}; it must be from 1 to {MOST_STEPS:,} steps")
    options: dict[str, Any] = trained.config.task.options()
    options |= {} if file is None else {"path": str(file)}
    task = WholeSeries(**options, fitted=trained.header.fitted)
    if own == 0:
        columns, draw = _labelled(trained.model, task)
    else:
        columns, draw = _forecast(trained, task, horizon or own, quiet=quiet)
    return Predictions(
        checkpoint=str(trained.path),
        task=trained.config.task.name,
        file=str(task.table.path),
        horizon=(horizon or own) if own else 0,
        columns=columns,
        predicted=list(task.targets),
        draw=draw,
    )


# --- forecasts ------------------------------------------------------------------------------------------------------


def _forecast(trained: Trained, task: WholeSeries, steps: int, *, quiet: bool) -> tuple[dict[str, list[Any]], Any]:
    """The columns of a forecast, and how to draw it."""
    values = forecasts(trained.model, task, task.origins_at_ends(steps), steps)
    times = [task.times(number, end + np.arange(steps)) for number, end in enumerate(task.ends)]
    order = task.order
    columns: dict[str, list[Any]] = {}
    if task.id is not None:
        columns[task.id] = task.ids([task.series[number].name for number in order for _ in range(steps)])
    columns[task.step_name] = [time for number in order for time in task.as_written(times[number])]
    for n, name in enumerate(task.targets):
        columns[name] = values[order][..., n].ravel().tolist()

    def draw() -> "Figure":
        from seqtrain.inference.predictions.picture import draw_panels

        chosen = _chosen(task)
        bands = _bands(trained, task, chosen, steps, quiet=quiet)
        panels = [
            panel
            for number, band in zip(chosen, bands, strict=True)
            for panel in _forecast_panels(task, number, values[number], times[number], band)
        ]
        title = f"forecast of {steps:,} {'step' if steps == 1 else 'steps'}: {task.table.path.name}"
        return draw_panels(title, panels[:MOST_PANELS], len(task.series) * len(task.targets), task.step_name)

    return columns, draw


def forecasts(model: SequenceModel, task: WholeSeries, origins: Sequence[Origin], steps: int) -> Numbers:
    """The values `[N, steps, targets]` after each origin, in the units of the data.

    A series is read once, with the state carried on. Beyond the horizon of the task, its forecasts are read as if they
    were values of the table.
    """
    found = np.empty((len(origins), steps, len(task.targets)))
    order = sorted(range(len(origins)), key=lambda number: len(origins[number].inputs))
    for at in range(0, len(order), TOGETHER):
        group = order[at : at + TOGETHER]
        found[group] = _forecast_together(model, task, [origins[number] for number in group], steps)
    return found


def _forecast_together(model: SequenceModel, task: WholeSeries, origins: Sequence[Origin], steps: int) -> Numbers:
    horizon, n = task.horizon, len(task.targets)
    after = np.stack([origin.after for origin in origins])  # [B, 1 + N, C]
    outputs, state = _read(model, [origin.inputs for origin in origins])
    last, blocks = 0, []
    while True:
        block = task.restored(outputs, after[:, last, :n])
        blocks.append(block)
        if len(blocks) * horizon >= steps:
            return np.concatenate(blocks, 1)[:, :steps]
        after[:, last + 1 : last + 1 + horizon, :n] = block
        read = [task.inputs_after(own[last : last + 1 + 2 * horizon])[:horizon] for own in after]
        found, state = _run(model, torch.from_numpy(np.stack(read, 1)), None, state)
        outputs = found[-1].double().numpy()
        for own in after:
            own[last + horizon] = filled_forward(own[last : last + 1 + horizon])[-1]
        last += horizon


def _read(model: SequenceModel, inputs: Sequence[NDArray[np.float32]]) -> tuple[Numbers, StackState]:
    """The outputs `[B, O]` at the last step of each series, and the state after it."""
    sizes = np.array([len(own) for own in inputs])
    found: dict[int, Numbers] = {}
    state: StackState | None = None
    for start in range(0, int(sizes.max()), LONGEST_WINDOW):
        lengths = np.clip(sizes - start, 0, LONGEST_WINDOW)
        x = torch.zeros(int(lengths.max()), len(inputs), inputs[0].shape[1])
        for b, own in enumerate(inputs):
            x[: lengths[b], b] = torch.from_numpy(own[start : start + LONGEST_WINDOW])
        outputs, state = _run(model, x, torch.from_numpy(lengths), state)
        for b in np.flatnonzero((lengths > 0) & (sizes <= start + LONGEST_WINDOW)).tolist():
            found[b] = outputs[lengths[b] - 1, b].double().numpy()
    assert state is not None
    return np.stack([found[b] for b in range(len(inputs))]), state


def read_through(model: SequenceModel, inputs: NDArray[np.float32], *, whole: bool) -> Numbers:
    """The outputs `[T, O]` at all steps of one series.

    whole : read it at once, as a model may read it from both sides.
    """
    state: StackState | None = None
    found, size = [], len(inputs) if whole else LONGEST_WINDOW
    for start in range(0, len(inputs), size):
        outputs, state = _run(model, torch.from_numpy(inputs[start : start + size])[:, None], None, state)
        found.append(outputs[:, 0].double().numpy())
    return np.concatenate(found)


def _run(
    model: SequenceModel, x: torch.Tensor, lengths: torch.Tensor | None, state: StackState | None
) -> tuple[torch.Tensor, StackState]:
    """Outputs `[T, B, O]` and the state after them."""
    with torch.no_grad():
        outputs, state = model(x, None if lengths is None or bool((lengths == len(x)).all()) else lengths, state)
    return outputs, state


# --- the picture of a forecast --------------------------------------------------------------------------------------


def _chosen(task: WholeSeries) -> list[int]:
    """The series in a picture."""
    return task.order[: -(-MOST_PANELS // len(task.targets))]


def _forecast_panels(
    task: WholeSeries, number: int, values: Numbers, times: NDArray[Any], band: Numbers | None
) -> list["Panel"]:
    from seqtrain.inference.predictions.picture import Panel

    one, end = task.series[number], task.ends[number]
    start = max(0, end - max(LEAST_PAST, PAST * len(values)))
    past = task.times(number, np.arange(start, end))
    return [
        Panel(
            title=one.name if task.id else "",
            name=name,
            times=past,
            values=one.values[start:end, n],
            later=times,
            predicted=values[:, n],
            band=None if band is None else (values[:, n] + band[0, :, n], values[:, n] + band[1, :, n]),
        )
        for n, name in enumerate(task.targets)
    ]


def _bands(
    trained: Trained, task: WholeSeries, chosen: Sequence[int], steps: int, *, quiet: bool
) -> list[Numbers | None]:
    """For each series, what to add to a forecast for both ends of its band, `[2, steps, targets]`, NaN if unknown."""
    try:
        own = WholeSeries(**trained.config.task.options(), fitted=trained.header.fitted)
        if own.fingerprints()["valid"] != trained.header.fingerprints.get("valid"):
            raise DataError(f"{own.path}: its validation rows are not those of the training")
    except SeqtrainError as error:
        reason = str(error).splitlines()[0]
        say(f"the forecast has no band, as the errors on the validation set cannot be measured: {reason}", quiet=quiet)
        return [None for _ in chosen]
    bands: list[Numbers | None] = [_band(trained.model, own, task.series[number].name, steps) for number in chosen]
    if any(band is not None and np.isnan(band).any() for band in bands):
        say(f"the band needs {FEWEST_ERRORS} errors on the validation set; further ahead there is none", quiet=quiet)
    return bands


def _band(model: SequenceModel, own: WholeSeries, name: str, steps: int) -> Numbers:
    """The ends of the band from forecasts on the validation set of the run: of the same series, or of all."""

    def before_validation(numbers: Sequence[int]) -> list[tuple[int, int]]:
        """Every step whose next one is in the validation set."""
        spans = [(number, own.series[number].span("valid")) for number in numbers]
        return [(number, step - 1) for number, (start, stop) in spans for step in range(max(start, 1), stop)]

    places = before_validation([number for number, one in enumerate(own.series) if one.name == name])
    if len(places) < FEWEST_ERRORS:
        places = before_validation(range(len(own.series)))
    places = [places[n] for n in np.unique(np.linspace(0, len(places) - 1, MOST_ORIGINS).astype(int))] if places else []
    errors = np.full((max(1, len(places)), steps, len(own.targets)), np.nan)
    if places:
        beyond = own.horizon * -(-steps // own.horizon)
        guesses = forecasts(model, own, [own.origin(number, step, beyond) for number, step in places], steps)
        for n, (number, step) in enumerate(places):
            one = own.series[number]
            actual = one.values[step + 1 : min(step + 1 + steps, one.starts[1]), : len(own.targets)]
            errors[n, : len(actual)] = actual - guesses[n, : len(actual)]
    enough = (~np.isnan(errors)).sum(0) >= FEWEST_ERRORS  # [steps, targets]
    errors = np.where(enough, errors, 0.0)
    ends = np.nanquantile(errors, [(1 - SHARE) / 2, (1 + SHARE) / 2], 0)
    return np.where(enough, ends, np.nan)


# --- labels ---------------------------------------------------------------------------------------------------------


def _labelled(model: SequenceModel, task: WholeSeries) -> tuple[dict[str, list[Any]], Any]:
    """The columns of the labels of each row, in the order of the file, and how to draw them."""
    labels = _labels(model, task)
    frame, n = task.table.frame, len(task.targets)
    values = np.empty((len(frame), n))
    steps = np.empty(len(frame), dtype=np.int64)
    for one, own in zip(task.series, labels, strict=True):
        is_row = one.rows >= 0
        values[one.rows[is_row]] = own[is_row]
        steps[one.rows[is_row]] = np.flatnonzero(is_row) + 1
    columns: dict[str, list[Any]] = {} if task.id is None else {task.id: frame[task.id].to_list()}
    columns[task.step_name] = steps.tolist() if task.time is None else task.as_written_rows()
    columns |= {name: values[:, c].tolist() for c, name in enumerate(task.targets)}

    def draw() -> "Figure":
        from seqtrain.inference.predictions.picture import draw_panels

        chosen = _chosen(task)
        panels = [panel for number in chosen for panel in _label_panels(task, number, labels[number])]
        title = f"labels: {task.table.path.name}"
        return draw_panels(title, panels[:MOST_PANELS], len(task.series) * n, task.step_name)

    return columns, draw


def _labels(model: SequenceModel, task: WholeSeries) -> list[Numbers]:
    """The labels `[T, targets]` of each series, which is read whole, as a model may read it from both sides."""
    inputs = [task.inputs_of(number) for number in range(len(task.series))]
    order = sorted(range(len(inputs)), key=lambda number: -len(inputs[number]))
    found = [np.empty((0, len(task.targets)))] * len(inputs)
    while order:
        size = len(inputs[order[0]])
        group, order = order[: max(1, MOST_READ // size)], order[max(1, MOST_READ // size) :]
        lengths = torch.tensor([len(inputs[number]) for number in group])
        x = torch.zeros(size, len(group), task.input_size)
        for b, number in enumerate(group):
            x[: lengths[b], b] = torch.from_numpy(inputs[number])
        outputs, _ = _run(model, x, lengths, None)
        for b, number in enumerate(group):
            values = outputs[: lengths[b], b].double().numpy()
            found[number] = task.restored(values, np.empty(0))[:, 0]
    return found


def _label_panels(task: WholeSeries, number: int, labels: Numbers) -> list["Panel"]:
    from seqtrain.inference.predictions.picture import Panel

    one = task.series[number]
    start = max(0, len(labels) - MOST_LABELS)
    times = task.times(number, np.arange(start, len(labels)))
    return [
        Panel(
            title=one.name if task.id else "",
            name=name,
            times=times,
            values=one.values[start:, n],
            later=times,
            predicted=labels[start:, n],
            band=None,
        )
        for n, name in enumerate(task.targets)
    ]
