"""Pictures of predictions beside the truth: a confusion matrix of classes, a scatter of numbers."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from seqtrain.system.words import visible

MOST_CLASSES = 40
"""Classes that a picture has room for: the most frequent ones."""

MOST_COUNTS = 20
"""Classes up to which the counts stand in the cells."""

MOST_PANELS = 6

Numbers = NDArray[np.float64]


def confusion(title: str, names: Sequence[str], truth: Tensor, answers: Tensor) -> Figure:
    """How often each true class (a row) was taken for each class (a column): counts, and shares of the row as colours.

    Parameters
    ----------
    names : of the classes.
    truth, answers : `[M]`, numbers of classes.
    """
    K = len(names)
    counts = (truth * K + answers).bincount(minlength=K * K).view(K, K).numpy()
    shown = np.arange(K) if K <= MOST_CLASSES else np.sort(np.argsort(-counts.sum(1), kind="stable")[:MOST_CLASSES])
    right = f"{int(np.trace(counts)):,} of {int(counts.sum()):,} right"
    if K > MOST_CLASSES:
        right += f"; the {MOST_CLASSES} most frequent of {K} classes"
    counts = counts[np.ix_(shown, shown)]
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = 2.2 + 0.45 * len(shown)
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        figure = Figure(figsize=(side + 1.2, side), layout="constrained")
        axes = figure.subplots()
        image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
        labels = [_short(names[k]) for k in shown]
        axes.set_xticks(range(len(shown)), labels, rotation=45 if max(map(len, labels)) > 2 else 0, ha="right")
        axes.set_yticks(range(len(shown)), labels)
        for text in (*axes.get_xticklabels(), *axes.get_yticklabels()):
            text.set_parse_math(False)
        axes.set_xlabel("the model says")
        axes.set_ylabel("the truth")
        for i, j in np.argwhere(counts > 0) if len(shown) <= MOST_COUNTS else ():
            color = "white" if shares[i, j] > 0.6 else "black"
            axes.text(j, i, f"{counts[i, j]:,}", ha="center", va="center", fontsize="small", color=color)
        figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
        axes.set_title(f"{_short(title, 50)}\n{right}", fontsize="medium", parse_math=False)
    return figure


def scatter(title: str, names: Sequence[str], truth: Numbers, answers: Numbers) -> Figure:
    """Each prediction over its true value, with a line where both are equal; a panel for each target.

    Parameters
    ----------
    names : of the targets.
    truth, answers : `[M, K]`, in the units of the data; a truth that is NaN is not known.
    """
    shown = names[:MOST_PANELS]
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        figure = Figure(figsize=(4.2 * len(shown), 4.4), layout="constrained")
        more = f" ({len(shown)} of {len(names)} targets)" if len(shown) < len(names) else ""
        figure.suptitle(_short(title, 50) + more, fontsize="medium", parse_math=False)
        for k, axes in enumerate(figure.subplots(1, len(shown), squeeze=False)[0]):
            known = ~np.isnan(truth[:, k])
            x, y = truth[known, k], answers[known, k]
            ends = [min(x.min(), y.min()), max(x.max(), y.max())] if known.any() else []
            axes.plot(ends, ends, color="0.6", linewidth=1)
            axes.plot(x, y, "o", markersize=3, alpha=0.6, color="C0")
            root = f"rmse {np.sqrt(np.mean((x - y) ** 2)):.4g}" if known.any() else "no labels"
            axes.set_title(f"{_short(names[k])}: {root}", fontsize="small", parse_math=False)
            axes.set_xlabel("the truth")
            axes.set_ylabel("the model says")
            axes.set_aspect("equal", adjustable="box")
            axes.grid(alpha=0.3)
    return figure


def _short(text: str, longest: int = 24) -> str:
    """A text in one line that fits."""
    text = visible(text)
    return text if len(text) <= longest else text[: longest - 3] + "..."
