"""Classes of sequences, or of steps: their order, metrics and baselines."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pydantic import JsonValue
from torch import Tensor

from seqtrain.system.errors import DataError
from seqtrain.tasks.base import Batch, Prediction
from seqtrain.tasks.metrics import ACCURACY, Tally, unigram_nats
from seqtrain.tasks.sequences.collection import Collection, refuse
from seqtrain.tasks.sequences.neighbours import NEIGHBOUR, nearest
from seqtrain.tasks.sequences.part import Part

MOST_NUMBERS = 20
"""Different numbers that are taken for classes in any case; more of them if they come again."""


class Classes:
    """Classes, in alphabetical order.

    Parameters
    ----------
    names : of the classes.
    by_step : each step has a class.
    """

    metric = ACCURACY

    def __init__(self, names: Sequence[str], *, by_step: bool) -> None:
        self.names, self._by_step = [*names], by_step
        self._numbers = {name: number for number, name in enumerate(names)}

    @classmethod
    def measured(cls, train: Collection, *, by_step: bool) -> "Classes":
        """Those of the training part.

        Raises
        ------
        DataError : there are fewer than two.
        """
        labels = [] if train.labels is None else train.labels.tolist()
        names = sorted({str(label) for label in labels if label is not None})
        if len(names) < 2:
            raise DataError(
                f"{train.place(0, None)}: the training part has {len(names)} classes ({', '.join(names)}); a model "
                "needs two or more; give other task.targets, or more sequences"
            )
        if len(names) > max(MOST_NUMBERS, len(labels) / 2) and all(map(_is_number, names)):
            raise DataError(
                f"{train.place(0, None)}: the {len(labels):,} labels of the training part are {len(names):,} different "
                "numbers; set task.predict=number (or step_number) to predict numbers"
            )
        return cls(names, by_step=by_step)

    @classmethod
    def read(cls, fitted: dict[str, Any], *, by_step: bool) -> "Classes":
        """From a checkpoint."""
        names = fitted.get("classes")
        if not isinstance(names, list) or len(names) < 2 or len({*map(str, names)}) < len(names):
            raise DataError("the checkpoint holds no classes; use another checkpoint")
        return cls([str(name) for name in names], by_step=by_step)

    def as_json(self) -> dict[str, JsonValue]:
        """For a checkpoint."""
        return {"classes": [*self.names]}

    @property
    def output_size(self) -> int:
        """One score for each class."""
        return len(self.names)

    def facts(self) -> dict[str, Any]:
        """How many there are."""
        return {"classes": len(self.names)}

    def targets(self, collection: Collection) -> Tensor:
        """The numbers of the classes, `[N]` or `[S]`; -1 if there is no label.

        Raises
        ------
        DataError : a label is no class of the training.
        """
        labels = [] if collection.labels is None else collection.labels.tolist()
        known = self._numbers
        faults = [
            f"{collection.place_of_step(n) if self._by_step else collection.place(n, None)}: label {label!r}"
            for n, label in enumerate(labels)
            if label is not None and label not in known
        ]
        some = ", ".join(self.names[:10]) + (", ..." if len(self.names) > 10 else "")
        refuse(
            [f"{fault}, which no sequence of the training part has" for fault in faults],
            f"classes of the training are {some}; give the training part a sequence of each class, or remove the rest",
        )
        return torch.tensor([-1 if label is None else known[label] for label in labels], dtype=torch.long)

    def loss(self, prediction: Prediction, batch: Batch) -> tuple[Tensor, int]:
        """Cross-entropy in nats."""
        return prediction.cross_entropy(batch.targets, batch.scored)

    def measure(self, prediction: Prediction, batch: Batch) -> Tally:
        """Right answers, and what recall and F1 of each class are computed from."""
        answers = slice(None) if batch.scored is None else batch.scored
        return tally_of(prediction.outputs[answers].argmax(-1), batch.targets[answers], len(self.names))

    def summarise(self, means: dict[str, float]) -> dict[str, float]:
        """The means over classes in place of the figures of each class."""
        return {name: mean for name, mean in means.items() if "/" not in name} | {
            "balanced_accuracy": _mean_over_classes(means, "recall/"),
            "f1": _mean_over_classes(means, "f1/"),
        }

    def baseline(self, train: Part, part: Part) -> dict[str, float]:
        """Always the most frequent class; and for small sets of sequences the class of the nearest one."""
        counts = train.targets[train.targets >= 0].bincount(minlength=len(self.names))
        known = part.targets >= 0
        truth = part.targets[known]
        rules = {"the most frequent class": torch.full_like(truth, int(counts.argmax()))}
        if not self._by_step and (found := nearest(train, part)) is not None:
            rules[NEIGHBOUR] = train.targets[torch.from_numpy(found)][known]
        figures = {}
        for name, answers in rules.items():
            figures[name] = self.summarise(tally_of(answers, truth, len(self.names)).means())
        best = max(figures, key=lambda name: figures[name]["accuracy"])
        loss = {"loss": unigram_nats(counts, truth) / max(1, len(truth))}
        return loss | figures[best] | {f"accuracy of {name}": own["accuracy"] for name, own in figures.items()}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def tally_of(answers: Tensor, truth: Tensor, classes: int) -> Tally:
    """The sums of all metrics for answers and true classes, `[M]`.

    `recall/k` is a sum of hits over the number of class k; `f1/k` of twice the hits over answers and true ones.
    """
    right = answers == truth
    hits, true, said = (x.cpu().bincount(minlength=classes).tolist() for x in (truth[right], truth, answers))
    tally = Tally().add("accuracy", right.sum(), right.numel())
    for k in range(classes):
        tally.add(f"recall/{k}", hits[k], true[k])
        tally.add(f"f1/{k}", 2 * hits[k], true[k] + said[k])
    return tally


def _mean_over_classes(means: dict[str, float], start: str) -> float:
    """Over those that occur."""
    values = np.array([mean for name, mean in means.items() if name.startswith(start)])
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
