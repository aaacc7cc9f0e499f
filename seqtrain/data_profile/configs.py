"""Configs for the user's data: one function for each task of a table or a text that a config can be written for."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from seqtrain.config.yaml import inline
from seqtrain.data_profile.ahead import Ahead
from seqtrain.data_profile.columns import ColumnProfile
from seqtrain.data_profile.layout import Layout, Steps, step_in_words
from seqtrain.data_profile.result import Trainable
from seqtrain.system.shipped import text_path

if TYPE_CHECKING:
    from seqtrain.tasks.tables.series import Series

TARGET_NAMES = ("y", "target", "value")
"""Names of a column that is the one to forecast, beside others."""

MOST_CLASSES = 20
"""Different whole numbers that are taken for classes; more are taken for amounts."""

MOST_COLUMNS = 1000
"""Columns of a task."""

WINDOW = 64
"""Steps of a window, as the task has it by default."""

UPDATES, LARGEST_BATCH, MOST_EPOCHS, MOST_ROWS = 2000, 64, 300, 20_000_000
"""Training steps that take a minute or two, and bounds of what they lead to; rows that are read in all."""

PERIODS = {"1 month": 12, "3 months": 4, "1 day": 7, "7 days": 52, "1 hour": 24, "30 minutes": 48, "15 minutes": 96}
"""Steps of the usual period of data with such steps: a year, a week or a day."""

SLOW = 0.75
"""Values change slowly if the standard deviation of their changes is less than this share of their own."""

LONG_ENOUGH = 3
"""Periods that a series must have, for the seasonal baseline."""


def series_config(
    path: str,
    rows: int,
    columns: list[ColumnProfile],
    roles: dict[str, str],
    layout: Layout,
    steps: Steps | None,
    ahead: Ahead | None,
) -> list[Trainable]:
    """Configs of the task `series`, the best one first; the others do without what may be at fault in the first."""
    numbers = [column for column in columns if roles[column.name] == "number"][:MOST_COLUMNS]
    if not numbers:
        return []
    task: dict[str, Any] = {"name": "series", "path": path}
    reasons = {"task.horizon": "steps ahead, all at once"}
    is_regular = steps is not None and steps.step is not None
    if is_regular:
        task["time"] = layout.time
    if layout.id is not None:
        task["id"] = layout.id
        reasons["task.id"] = f"tells {len(layout.lengths):,} series apart"
    calendar = [column.name for column in columns if roles[column.name] == "calendar"]
    uses, notes = _uses(numbers, [] if ahead is None else ahead.known, calendar)
    task |= uses | {"horizon": 1}
    reasons["task.targets"] = "to forecast; the others are read as inputs" if "inputs" in uses else "to forecast"
    reasons["task.inputs"] = "name those that are known ahead, such as holidays, in known"
    reasons["task.known"] = "known ahead: they have values in rows after the last target"
    if (steps is not None and steps.missing and is_regular) or any(column.missing for column in numbers):
        task["missing"] = "mask"
        reasons["task.missing"] = "repeat the last value, and tell the model; or forward, which does not tell"
    cuts: dict[str, Any] = {}
    if is_regular and steps is not None and steps.middle is not None:
        cuts = dict(zip(("valid_from", "test_from"), map(_instant, steps.middle), strict=True))
        reasons |= {"task.valid_from": "70 % of the rows lie before", "task.test_from": "85 %"}
    seasonal = _season(steps, int(layout.lengths.max()))
    reasons["task.season"] = "steps of a period, for the seasonal baseline"
    rest = _training(rows, len(layout.lengths))
    dated = [cuts, {}] if cuts else [{}] if is_regular else []
    tries = [Trainable({"task": task | own | seasonal} | rest, reasons, notes) for own in dated]
    return [*tries, _without_time(Trainable({"task": task} | rest, reasons, notes), layout)]


def _without_time(config: Trainable, layout: Layout) -> Trainable:
    """The config in which each row is a step, with a comment on the times that are left out."""
    task = {key: value for key, value in config.settings["task"].items() if key != "time"}
    unused = ", ".join(map(repr, layout.unused_times or ([layout.time] if layout.time else [])))
    notes = {"task.path": [f"no time, as {unused} cannot be used until mended: each row is a step"]} if unused else {}
    return replace(config, settings=config.settings | {"task": task}, notes=config.notes | notes)


def _uses(
    numbers: list[ColumnProfile], known: list[str], calendar: list[str]
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """The targets, inputs and known columns; and comments on those that only the user can decide on, as 0 and 1."""
    names = [column.name for column in numbers if column.name not in known]
    obvious = [name for name in names if name.lower() in TARGET_NAMES][:1]
    is_switch = {column.name: (column.distinct, column.least, column.most) == (2, "0", "1") for column in numbers}
    targets = obvious or [name for name in names if not is_switch[name]] or names
    others = [name for name in names if name not in targets]
    inputs, switches = (others, []) if obvious else ([], others)
    uses = {"targets": targets} | ({"inputs": inputs} if inputs else {}) | ({"known": known} if known else {})
    return uses, {"task.targets": _notes(targets, inputs, known, [*calendar, *switches])}


def _notes(targets: list[str], inputs: list[str], known: list[str], may_be_known: list[str]) -> list[str]:
    """Comments on columns that the config could name, and on the error of several targets."""
    notes = []
    if len(targets) > 1:
        notes.append("rmse_NAME is in the unit of each target, and the largest rules rmse: leave one target, or scale")
    if not inputs:
        notes.append("inputs: []  # to read beside the targets: columns that are known up to the present step")
    if may_be_known:
        notes.append(f"known: {inline([*known, *may_be_known])}  # if these are known ahead; else name them in inputs")
    elif not known:
        notes.append("known: []  # to read for the steps that are predicted: columns known ahead, such as holidays")
    return notes


def with_differences(config: Trainable, task: "Series") -> Trainable:
    """The config with `differences` if the targets change slowly: their changes are small beside their values."""
    slow = []
    for n in range(len(task.targets)):
        parts = [one.values[: one.starts[0], n] for one in task.series]
        changes = np.concatenate([np.diff(part) for part in parts])
        values = np.concatenate(parts)
        if np.isfinite(changes).any():
            slow.append(float(np.nanstd(changes)) < SLOW * float(np.nanstd(values)))
    if not slow or sum(slow) * 2 <= len(slow):
        return config
    settings = config.settings | {"task": config.settings["task"] | {"differences": True}}
    reasons = config.reasons | {"task.differences": "predict changes: the values change slowly"}
    return replace(config, settings=settings, reasons=reasons)


def _instant(text: str) -> int | str:
    """A time as a setting: whole numbers as such."""
    return int(text) if text.lstrip("-").isdecimal() else text


def _season(steps: Steps | None, longest: int) -> dict[str, int]:
    if steps is None or steps.step is None:
        return {}
    season = PERIODS.get(step_in_words(steps.kind, steps.step))
    return {"season": season} if season is not None and longest >= LONG_ENOUGH * season else {}


def _training(rows: int, series: int) -> dict[str, Any]:
    """The model and the training: a size and a number of passes that finish in a minute or two on a laptop."""
    batch_size = int(np.clip(max(rows // (8 * WINDOW), min(series, 16)), 1, LARGEST_BATCH))
    steps = max(rows / (WINDOW * batch_size), series / batch_size, 1.0)
    epochs = int(np.clip(min(UPDATES / steps, MOST_ROWS / rows), 1, MOST_EPOCHS))
    train: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size}
    return {
        "model": {"cell": "lstm", "hidden_size": 32},
        "optimizer": {"name": "adam", "lr": 5e-3, "clip_norm": 1.0},
        "train": train | ({"patience": 30} if epochs > 60 else {}),
    }


def labelled_config(path: str, columns: list[ColumnProfile], roles: dict[str, str], layout: Layout) -> Trainable:
    """The task `sequences` on a table with an id and a label that is the same in all rows of an id."""
    label = next(column for column in columns if column.name == layout.label)
    inputs = [column.name for column in columns if roles[column.name] in ("number", "calendar")]
    order = {} if layout.time is None else {"step": layout.time}
    task: dict[str, Any] = {"name": "sequences", "path": path, "id": layout.id} | order
    task |= {"targets": [layout.label], "inputs": inputs}
    reasons = {"task.targets": "the label of each sequence", "task.inputs": "what is read at each step"}
    is_number = label.kind == "number" or (label.kind == "whole number" and label.distinct > MOST_CLASSES)
    task |= {"predict": "number"} if is_number else {}
    if any(column.missing for column in columns if column.name in inputs):
        task["missing"] = "mask"
        reasons["task.missing"] = "repeat the last value, and tell the model; or forward, which does not tell"
    if groups := [column.name for column in columns if roles[column.name] == "group"]:
        task["group"] = groups[0]
        reasons["task.group"] = "its sequences stay in one part, so that none of them is known in the test"
    if layout.part is not None:
        task["part"] = layout.part
        reasons["task.part"] = "says which sequences are for training"
    return Trainable({"task": task} | _training_on_sequences(len(layout.lengths)), reasons)


def _training_on_sequences(count: int) -> dict[str, Any]:
    batch_size = int(np.clip(count // 20, 4, 32))
    epochs = int(np.clip(UPDATES * batch_size / max(count, 1), 2, 60))
    train: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size}
    return {
        "model": {"cell": "lstm", "hidden_size": 32, "direction": "bidirectional"},
        "optimizer": {"name": "adam", "lr": 3e-3, "clip_norm": 1.0},
        "train": train,
    }


def tagged_config(path: str, words: int) -> Trainable:
    """A tagger of a corpus, with as many passes as take some minutes."""
    passes = int(np.clip(1_000_000 / max(words, 1), 1, 30))
    settings = {
        "task": {"name": "tagging", "path": path},
        "model": {"cell": "lstm", "hidden_size": 100, "direction": "bidirectional"},
        "optimizer": {"name": "adam", "lr": 3e-3, "clip_norm": 1.0},
        "train": {"epochs": passes, "batch_size": 32} | ({"patience": 4} if passes > 8 else {}),
    }
    reasons = {
        "task.path": "one file, of which the last fifth of the sentences is for validation and test",
        "model.direction": "a tag may follow from later words",
    }
    return Trainable(settings, reasons)


def text_config(path: str, unit: str, tokens: int, *, has_sentences: bool) -> Trainable:
    """A language model of a text, in words or characters, with as many passes as take some minutes."""
    note = "sentences: independent  # if each line is a sentence that has nothing to do with the one before"
    notes = {"task.unit": [note]} if has_sentences else {}
    passes = int(np.clip(2_000_000 / max(tokens, 1), 1, 40))
    task = {"name": "language_model", "path": path, "unit": unit}
    common = {"optimizer": {"name": "adam", "lr": 2e-3, "clip_norm": 1.0}}
    size = int(np.clip(tokens // (20 * WINDOW), 1, 20))
    train: dict[str, Any] = {"epochs": passes, "batch_size": size} | ({"patience": 4} if passes > 8 else {})
    reasons = {"task.path": "one file, of which the last tenth is for validation and test"}
    if unit == "word":
        model: dict[str, Any] = {"cell": "lstm", "hidden_size": 200, "depth": 2, "dropout": 0.2}
        return Trainable({"task": task, "model": model} | common | {"train": train}, reasons, notes)
    model = {"cell": "lstm", "hidden_size": 128, "embedding_size": 32}
    reasons["task.unit"] = "the lines hold no spaces between words"
    return Trainable({"task": task, "model": model} | common | {"train": train}, reasons, notes)


def arrays_config(path: str, arrays: list[dict[str, Any]]) -> tuple[list[Trainable], str | None]:
    """Configs of the task `sequences` on an `.npz` file, or why there is none; without labels, of the next step."""
    sizes = {array["name"]: array["shape"] for array in arrays}
    kinds = {array["name"]: np.dtype(array["type"]).kind for array in arrays}
    needed = ["inputs"] if len(sizes.get("inputs", ())) == 3 else ["inputs", "lengths"]
    needed += [] if kinds.get("inputs") in ("b", "u", "i") else ["labels"]
    if lacking := [name for name in needed if name not in sizes]:
        why_not = f"the task sequences reads arrays inputs, lengths and labels; there is no {', '.join(lacking)}"
        return [], why_not
    count = (sizes.get("lengths") or sizes["inputs"] or [1])[0]
    task: dict[str, Any] = {"name": "sequences", "path": path}
    if "labels" not in sizes:
        return [_next_step_config(task, count)], None
    steps = sizes["inputs"][:-1]
    by_step = sizes["labels"][: len(steps)] == steps and steps != sizes.get("lengths")
    task["predict"] = ("step_" if by_step else "") + ("number" if kinds["labels"] == "f" else "class")
    return _with_mask(Trainable({"task": task} | _training_on_sequences(count))), None


def _next_step_config(task: dict[str, Any], count: int) -> Trainable:
    training = _training_on_sequences(count)
    del training["model"]["direction"]
    reasons = {"task.predict": "there are no labels; the next step of vectors of 0 and 1"}
    return Trainable({"task": task | {"predict": "next_step"}} | training, reasons)


def _with_mask(config: Trainable) -> list[Trainable]:
    """A config, and the same for missing values."""
    task = config.settings["task"] | {"missing": "mask"}
    reason = "repeat the last value, and tell the model; or forward, which does not tell"
    return [config, Trainable(config.settings | {"task": task}, config.reasons | {"task.missing": reason})]


def ts_config(path: str, facts: dict[str, Any]) -> list[Trainable]:
    """Configs of the task `sequences` on a `.ts` file; a file that ends in _TRAIN has the test set beside it."""
    task: dict[str, Any] = {"name": "sequences", "path": path}
    reasons = {}
    other = path.replace("_TRAIN.ts", "_TEST.ts")
    if other != path and text_path(other).is_file():
        task["test_path"] = other
        reasons["task.test_path"] = "found beside it"
    if "classes" not in facts and "distinct targets" not in facts:
        return [_next_step_config(task, facts["sequences"])]
    task |= {} if "classes" in facts else {"predict": "number"}
    return _with_mask(Trainable({"task": task} | _training_on_sequences(facts["sequences"]), reasons))


def folder_config(path: str, files: list[str], roles: dict[str, str], *, is_number: bool) -> list[Trainable]:
    """Configs of the task `sequences` on a folder of tables with `labels.csv`.

    Parameters
    ----------
    roles : the settings that name a column of `labels.csv`: `targets`, and maybe `id`, `group` and `part`;
        and `step`, a column of the tables.
    """
    task: dict[str, Any] = {"name": "sequences", "path": path} | roles | {"targets": [roles["targets"]]}
    task |= {"predict": "number"} if is_number else {}
    reasons = {"task.targets": "a column of labels.csv"}
    return _with_mask(Trainable({"task": task} | _training_on_sequences(len(files)), reasons))
