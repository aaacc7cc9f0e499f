"""What a person typed, as a request."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast, get_args

from seqtrain.compare.plan import LEVEL, SIZES, Budget, Match, Request, Setting
from seqtrain.compare.tuning import FIRST_SEED
from seqtrain.config import Config, read_list
from seqtrain.config.errors import choose
from seqtrain.config.schema import NAMED
from seqtrain.system.errors import ConfigError

SEEDS = 3
"""Unless something else is said."""

LEVELS = (0.001, 0.5)
"""Of significance: below, no number of seeds that anyone runs would do."""

UNITS = ("steps", "sequences", "tokens", "seconds")


NOT_VARIED = {
    "seed": "--seeds counts the seeds",
    "task": "name one of its settings",
    "task.name": "runs of different tasks do not compare",
    "model.cell": "--cells names the cells",
    "model.cell.name": "--cells names the cells",
    "model.cell.folder": "it changes nothing",
    "threads": "it changes nothing but the time",
    "device": "it changes nothing but the time",
    "engine": "it changes nothing but the time",
}
"""Settings that are neither tuned nor varied, and why."""


KNOWN = tuple(NAMED["model", "cell"])
"""Cells that come with seqtrain."""


class _Training(NamedTuple):
    """What to train: cells (None for all), tuned settings, a varied one, a budget, and what is equal over the cells."""

    cells: list[str | dict[str, Any]] | None
    grid: list[Setting]
    vary: Setting | None
    budget: Budget | None
    match: str


@dataclass(frozen=True)
class Asked:
    """The options of `seqtrain compare` that say what is compared, as they were typed; None where nothing was."""

    cells: str | None = None
    seeds: int | None = None
    reference: str | None = None
    match: str | None = None
    grid: Sequence[str] = ()
    tuning_seeds: int | None = None
    vary: str | None = None
    budget: str | None = None
    eval_lengths: str | None = None
    level: float | None = None

    def training(self) -> list[str]:
        """Those that say what to train."""
        names = ("cells", "seeds", "match", "grid", "tuning_seeds", "vary", "budget")
        return [f"--{name.replace('_', '-')}" for name in names if getattr(self, name)]

    def check(self) -> None:
        """Refuse what is wrong with the options by themselves.

        Raises
        ------
        ConfigError : with every fault.
        """
        faults: list[str] = []
        low, high = LEVELS
        if self.level is not None and not low <= self.level <= high:
            faults.append(f"--level is {self.level:g}; it must lie between {low:g} and {high:g}")
        try:
            self.lengths()
        except ConfigError as error:
            faults += error.faults
        self._training(faults)
        if faults:
            raise ConfigError(faults)

    def lengths(self) -> tuple[int, ...]:
        """The other lengths to evaluate at.

        Raises
        ------
        ConfigError : they are no whole numbers.
        """
        if self.eval_lengths is None:
            return ()
        found = read_list(self.eval_lengths, f"--eval-lengths {self.eval_lengths}")
        if not found or not all(type(length) is int and length > 0 for length in found):
            raise ConfigError(
                f"--eval-lengths {self.eval_lengths}: write whole numbers with commas between, e.g. 100,200"
            )
        return tuple(dict.fromkeys(found))

    def request(self, config: Config, name: str, every: Sequence[str], out: Path, beside: Path) -> Request:
        """The request; `every` are the cells to compare if none are named.

        Raises
        ------
        ConfigError : with every fault of the options.
        """
        faults: list[str] = []
        training = self._training(faults)
        self._check_seeds(config.seed, faults)
        if faults:
            raise ConfigError(faults)
        return Request(
            config=config,
            name=name,
            cells=list(every) if training.cells is None else training.cells,
            seeds=SEEDS if self.seeds is None else self.seeds,
            out=out,
            beside=beside,
            reference=self.reference,
            match=cast(Match, training.match),
            grid=tuple(training.grid),
            tuning_seeds=self.tuning_seeds or 2,
            vary=training.vary,
            budget=training.budget,
            eval_lengths=self.lengths(),
            level=self.level or LEVEL,
        )

    def _training(self, faults: list[str]) -> "_Training":
        """What the options say of the training, with everything that is wrong with them."""
        cells = None if self.cells is None else self._cells(faults)
        grid = [self._setting(text, "--grid", faults) for text in self.grid]
        vary = None if self.vary is None else self._setting(self.vary, "--vary", faults)
        budget, match = self._budget(faults), self.match or "hidden"
        if match not in get_args(Match):
            faults.append(f"--match {match}: {choose(match, get_args(Match))}")
        if self.tuning_seeds is not None and not grid:
            faults.append("--tuning-seeds: there is no --grid to tune; add one, or leave it out")
        keys = [setting.key for setting in [*grid, *([vary] if vary else [])]]
        faults += [
            f"{key} stands twice in --grid and --vary; once is enough"
            for key in dict.fromkeys(keys)
            if keys.count(key) > 1
        ]
        faults += [f"--grid {setting.key}: {why}" for setting in grid if (why := self._why_not_tuned(setting.key))]
        faults += [f"--vary {vary.key}: {why}" for vary in [vary] if vary and (why := self._why_not_varied(vary.key))]
        return _Training(cells, grid, vary, budget, match)

    def _cells(self, faults: list[str]) -> list[str | dict[str, Any]]:
        found = read_list(self.cells or "", f"--cells {self.cells}")
        wrong = [
            cell for cell in found if not isinstance(cell, str) and not (isinstance(cell, dict) and "name" in cell)
        ]
        names = [str(cell["name"] if isinstance(cell, dict) else cell) for cell in found if cell not in wrong]
        faults += [f"--cells {name}: {choose(name, KNOWN)}" for name in names if ":" not in name and name not in KNOWN]
        if wrong or not found:
            faults.append(
                f"--cells {self.cells}: write names with commas between, and options as in "
                "'lstm, {name: gru, reset: before}'"
            )
        return found

    def _setting(self, text: str, option: str, faults: list[str]) -> Setting:
        key, equals, values = text.partition("=")
        found = read_list(values, f"{option} {text}") if equals else []
        plain = all(value is None or isinstance(value, str | int) or _is_finite(value) for value in found)
        if not key or not plain or len(found) < 2 or any(found.count(value) > 1 for value in found):
            faults.append(
                f"{option} {text}: write a setting and two or more different plain values, e.g. "
                + ("optimizer.lr=1e-3,3e-3,1e-2" if option == "--grid" else "task.length=50,100,200")
            )
        return Setting(key.strip(), tuple(found))

    def _why_not_tuned(self, key: str) -> str | None:
        if key == "task" or key.startswith("task."):
            return "each cell would get a task of its own; use --vary"
        if self.budget and key == "train.batch_size" and not self.budget.startswith("steps="):
            return "the budget buys other steps with each batch size; give it as steps="
        if self.match is not None and key in SIZES:
            return f"--match {self.match} sets the sizes; leave one of them out"
        return self._why_not_varied(key)

    def _why_not_varied(self, key: str) -> str | None:
        if key in NOT_VARIED:
            return NOT_VARIED[key]
        if self.budget and key in ("train.steps", "train.epochs"):
            return "--budget sets it for every run; leave one of them out"
        if self.match not in (None, "hidden") and key in SIZES:
            return f"--match {self.match} sets the sizes; leave one of them out"
        return None

    def _check_seeds(self, first: int, faults: list[str]) -> None:
        """A seed is a number of 63 bits; those that tune lie above the others."""
        last = first + max(self.seeds or 0, FIRST_SEED + (self.tuning_seeds or 2) if self.grid else 0)
        if last >= 2**63:
            faults.append(f"seed is {first}, and the seeds counted from there go beyond {2**63 - 1}; make it smaller")

    def _budget(self, faults: list[str]) -> Budget | None:
        if self.budget is None:
            return None
        unit, _, amount = self.budget.partition("=")
        try:
            budget = Budget(unit, float(amount))
        except ValueError:
            budget = Budget(unit, 0.0)
        if unit not in UNITS or not 0 < budget.amount < float("inf"):
            faults.append(f"--budget {self.budget}: write one of {', '.join(UNITS)} and how many, e.g. steps=3000")
        elif unit != "seconds" and budget.amount != int(budget.amount):
            faults.append(f"--budget {self.budget}: {unit} are whole; write a whole number")
        return budget


def _is_finite(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value)
