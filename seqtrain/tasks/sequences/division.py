"""Divide sequences into training, validation and test."""

from collections.abc import Sequence
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray

from seqtrain.system.errors import DataError
from seqtrain.system.rng import generator
from seqtrain.tasks.base import Split
from seqtrain.tasks.sequences.collection import Collection, Whole, refuse

SPLITS: tuple[Split, ...] = get_args(Split)


def by_part(collection: Collection) -> dict[Split, Whole]:
    """As a column says, which has `train`, `valid` or `test` for each sequence.

    Raises
    ------
    DataError : it has another text.
    """
    parts = collection.parts or []
    faults = [f"{collection.place(n, None)}: belongs to {part!r}" for n, part in enumerate(parts) if part not in SPLITS]
    refuse(faults, "write train, valid or test for each sequence")
    return {split: np.flatnonzero(np.array(parts) == split) for split in SPLITS}


def by_name(collection: Collection, valid: Sequence[str], test: Sequence[str]) -> dict[Split, Whole]:
    """Those with these names for validation and test, all others for training.

    Raises
    ------
    DataError : a name does not exist, or is in both.
    """
    names = {name: n for n, name in enumerate(collection.names)}
    faults = [
        f"task.{setting} has {name!r}, and there is no such sequence"
        for setting, given in (("valid_ids", valid), ("test_ids", test))
        for name in given
        if name not in names
    ]
    faults += [f"task.test_ids has {name!r}, which is in task.valid_ids, too" for name in test if name in valid]
    some = ", ".join(map(repr, collection.names[:5]))
    refuse(faults, f"name each sequence once; the first ones are {some}")
    held = {"valid": {names[name] for name in valid}, "test": {names[name] for name in test}}
    rest = [n for n in range(len(collection)) if n not in held["valid"] | held["test"]]
    return {"train": np.array(rest, np.int64), **{s: np.array(sorted(held[s]), np.int64) for s in ("valid", "test")}}


def by_shares(classes: Sequence[str | None], shares: Sequence[float], seed: int) -> dict[Split, Whole]:
    """At random, so that each part has its share of every class.

    Parameters
    ----------
    classes : `[N]`; all equal for a division without classes.
    shares : of training, validation and test.
    """
    order = np.array(_shuffled(len(classes), seed))
    order = order[np.argsort([str(classes[n]) for n in order], kind="stable")]
    is_test = _every(shares[2], len(order))
    rest = order[~is_test]
    is_valid = _every(shares[1] / (shares[0] + shares[1]) if shares[1] else 0.0, len(rest))
    return {"train": np.sort(rest[~is_valid]), "valid": np.sort(rest[is_valid]), "test": np.sort(order[is_test])}


def by_group(groups: Sequence[str], shares: Sequence[float], seed: int) -> dict[Split, Whole]:
    """At random, so that all sequences of a group are in the same part.

    The groups come in a random order, and each joins the part that lacks most of its share. Those that are larger than
    the smallest part should be come first: the last one to come would make a small part large.
    """
    members: dict[str, list[int]] = {}
    for n, group in enumerate(groups):
        members.setdefault(group, []).append(n)
    names = sorted(members)
    found: dict[Split, list[int]] = {split: [] for split in SPLITS}
    wished = {split: share * len(groups) for split, share in zip(SPLITS, shares, strict=True) if share}
    smallest = min(wished.values())
    for at in sorted(_shuffled(len(names), seed), key=lambda at: len(members[names[at]]) <= smallest):
        least = min(wished, key=lambda split: len(found[split]) / wished[split])
        found[least] += members[names[at]]
    return {split: np.array(sorted(own), np.int64) for split, own in found.items()}


def check_parts(parts: dict[Split, Whole], path: object) -> None:
    """Raise a DataError if a part has no sequence."""
    if empty := [split for split in SPLITS if not len(parts[split])]:
        raise DataError(
            f"{path}: no sequence is left for {' and '.join(empty)}; give more sequences or groups, other "
            "task.fractions, or a file of its own (task.valid_path, task.test_path)"
        )


def _shuffled(count: int, seed: int) -> list[int]:
    return torch.randperm(count, generator=generator(seed, "division")).tolist()


def _every(share: float, count: int) -> NDArray[np.bool_]:
    """`[count]`, so many that any run of neighbours has the share, up to one."""
    marks: NDArray[np.float64] = np.floor(np.arange(count + 1) * share + 0.5)
    return np.diff(marks) > 0
