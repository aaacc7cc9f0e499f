"""What the settings of a task on sequences mean together."""

from typing import Any, Literal

from seqtrain.system.settings import Faults
from seqtrain.tasks.sequences.collection import Wanted
from seqtrain.tasks.sequences.division import SPLITS

Predict = Literal["class", "number", "step_class", "step_number", "next_step"]


def default_fractions(task: Any) -> list[float]:
    """Shares of train, valid and test of the sequences in `path`; a part with a file of its own has none."""
    if task.valid_path is not None:
        return [1.0, 0.0, 0.0] if task.test_path is not None else [0.85, 0.0, 0.15]
    return [0.85, 0.15, 0.0] if task.test_path is not None else [0.7, 0.15, 0.15]


def is_drawn(task: Any) -> bool:
    """Whether the sequences in `path` are divided at random."""
    return task.part is None and task.valid_ids is None and task.test_ids is None


def wanted_of(task: Any, *, labelled: bool = True) -> Wanted:
    """What is read from a file.

    labelled : a sequence without a label is a fault.
    """
    kind: Literal["class", "number"] | None = None
    if task.predict != "next_step":
        kind = "class" if task.predict in ("class", "step_class") else "number"
    by_step = task.predict in ("step_class", "step_number")
    return Wanted(task.inputs, task.targets or [], kind, by_step, task.id, task.step, task.group, task.part, labelled)


def faults_of(settings: Any) -> Faults:
    """Settings that do not fit each other."""
    if settings.predict == "next_step":
        for name, off in (("targets", None), ("missing", "refuse")):
            if getattr(settings, name) not in (off, None):
                yield name, "is for labels, and next_step predicts the inputs, which are all 0 or 1; remove it"
    if settings.predict in ("class", "step_class") and len(settings.targets or []) > 1:
        yield "targets", f"names {len(settings.targets)} columns; a class has one, the column of the label"
    columns = settings.inputs or []
    if shown := [column for column in columns if column in (settings.targets or [])]:
        yield (
            "inputs",
            f"has {', '.join(map(repr, shown))}, a target, so that the model would read its answer; remove it",
        )
    for name in ("inputs", "targets"):
        columns = getattr(settings, name) or []
        if twice := [column for n, column in enumerate(columns) if column in columns[:n]]:
            yield name, f"has {', '.join(map(repr, twice))} more than once; name each column once"
    yield from _faults_of_division(settings)
    if settings.fractions is not None and abs(sum(settings.fractions) - 1) > 1e-6:
        yield "fractions", f"add up to {sum(settings.fractions):g}; they must add up to 1"


def _faults_of_division(settings: Any) -> Faults:
    """Two ways to divide the same sequences, or none for a part."""
    ways = {"part": settings.part, "valid_ids": settings.valid_ids, "test_ids": settings.test_ids}
    named = [name for name, value in ways.items() if value is not None]
    for name in ("fractions", "division", "group"):
        if named and getattr(settings, name) is not None:
            yield name, f"is for a division at random, and {' and '.join(named)} say it already; remove it"
    if settings.part is not None and (more := [name for name in named if name != "part"]):
        yield "part", f"says it already, and so do {' and '.join(more)}; remove one of the two"
    lacking = []
    for split in ("valid", "test"):
        own, ids = getattr(settings, f"{split}_path"), getattr(settings, f"{split}_ids")
        if own is not None and (settings.part is not None or ids is not None):
            yield f"{split}_path", "is a file of its own, but a column or a list names sequences, too; remove one"
        elif own is not None and settings.fractions and settings.fractions[SPLITS.index(split)]:
            yield "fractions", f"give {split} a share of path, but it has a file of its own; make it 0"
        lacking += [split] if own is ids is None else []
    if len(lacking) == 1 and (settings.valid_ids or settings.test_ids):
        yield f"{lacking[0]}_ids", f"is null, so that nothing is left for {lacking[0]}; name its sequences, too"
