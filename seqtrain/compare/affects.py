"""Which settings the runs of a comparison may differ in, and which can be tuned or varied."""

from seqtrain.config.describe import affects_of
from seqtrain.system.settings import Affects

IDENTITIES = {
    "seed": "--seeds counts the seeds",
    "task": "name one of its settings",
    "task.name": "runs of different tasks do not compare",
    "model.cell": "--cells names the cells",
    "model.cell.name": "--cells names the cells",
    "model.cell.folder": "it changes nothing",
}
"""Settings that say which run it is, and so are neither tuned nor varied; and why."""


BUDGET = ("train.steps", "train.epochs")
"""Settings that say how long a run trains."""


def why_fixed(key: str) -> str | None:
    """Why a setting can be neither tuned nor varied; None if it can."""
    if key in IDENTITIES:
        return IDENTITIES[key]
    return "it changes nothing but the time" if affects_of(key) in (Affects.SPEED, Affects.MACHINE) else None


def sets_size(key: str) -> bool:
    """Whether a setting decides the number of parameters."""
    return affects_of(key) is Affects.SIZE


def may_differ_in_a_row(key: str) -> bool:
    """Whether runs of one row may have different values of the setting."""
    return key in ("seed", "threads")


def may_differ_from_plan(key: str) -> bool:
    """Whether a run with another value of the setting is still the planned run."""
    return affects_of(key) in (Affects.MACHINE, Affects.NOTHING)


def differs_by_design(key: str) -> bool:
    """Whether rows of one comparison are expected to have different values of the setting."""
    return key in ("seed", "threads") or key.startswith(("model.cell.", "model.hidden_size"))


def may_be_tuned_for_a_cell(key: str) -> bool:
    """Whether different values for different cells leave the data, and the times of evaluation, the same."""
    return key.startswith(("optimizer.", "schedule.", "model."))
