"""Fair sizes and fair budgets: hidden sizes that give every cell the same parameters or the same time of a step."""

import hashlib
import json
import math
import statistics
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from seqtrain.comparison.plan import Contender, changed
from seqtrain.comparison.records import MEASURED, Point, label
from seqtrain.comparison.request import Budget, Match, TrainingRequest
from seqtrain.config import Config
from seqtrain.config.build import parameters_of
from seqtrain.config.describe import settings_that_affect
from seqtrain.config.diff import flatten
from seqtrain.models.settings import MOST_UNITS
from seqtrain.runs.records import Record
from seqtrain.runs.trainer import trial
from seqtrain.system import strict_json
from seqtrain.system.errors import ConfigError
from seqtrain.system.files import UnreadableError
from seqtrain.system.settings import Affects
from seqtrain.tasks import Spec, Task

TRIED = 6
"""The largest number of sizes whose training step is timed to find the one that takes as long as the reference."""

MOST_REFUSED = 64
"""The largest number of sizes in a row that a cell may refuse."""

ROUNDS = 7
"""Training steps of each of the two in such a timing, after two to warm up."""

FEW_ROUNDS = 3
"""Training steps of each where the timing is only told."""

UNUSUAL = 4
"""Factor from which a hidden size that parameters decide is unusual."""

MOST_ROUNDS = 1000
"""The largest number of training steps of each in any timing."""

TIMED_S = 1.0
"""Seconds for which each cell is timed where a budget in seconds decides the steps."""

Tasks = Mapping[Point, Task]
"""The task at each value of the varied setting."""


class Measured(Record):
    """What timings gave for a contender: settings of its config, and its `off`. Kept in `measured.json`, so that a
    comparison that is repeated goes on with the same sizes and steps.
    """

    cell: str | None = None
    at: Point = None
    settings: list[str]
    off: float | None


def make_fair(request: TrainingRequest, contenders: Sequence[Contender], tasks: Tasks) -> list[Contender]:
    """Every contender with the hidden size and the steps that the request asks for."""
    timed = request.match == "step-time" or request.is_timed
    measured = _read(request.out) if timed else {}
    overrides = {at: [request.vary.override(at)] if request.vary else [] for at in request.points}
    references = {at: changed(request.config, *override) for at, override in overrides.items()}
    keys = [_key(request, contender, references[contender.at]) for contender in contenders]
    new = [contender for contender, key in zip(contenders, keys, strict=True) if key not in measured]
    fair = [_match(request.match, each, references[each.at], tasks[each.at]) for each in new]
    if request.budget is not None:
        fair = with_budget(fair, request.budget, tasks)
    if not timed:
        return fair
    for old, each in zip(new, fair, strict=True):
        budget = [f"train.steps={each.config.train.steps}", "train.epochs=null"] if request.budget is not None else []
        settings = [f"model.hidden_size={each.config.model.hidden_size}", *budget]
        key = _key(request, old, references[old.at])
        measured[key] = Measured(cell=each.cell, at=each.at, settings=settings, off=each.off)
    if new:
        strict_json.write(request.out / MEASURED, {key: entry.as_json() for key, entry in measured.items()})
    return [
        contender._replace(config=changed(contender.config, *measured[key].settings), off=measured[key].off)
        for contender, key in zip(contenders, keys, strict=True)
    ]


def _key(request: TrainingRequest, contender: Contender, reference: Config) -> str:
    """A name for what is timed for a contender; where its text and its code are does not matter."""
    places = {key: None for key in settings_that_affect(Affects.CONTENT, Affects.MACHINE) if key != "threads"}
    configs = [flatten(config.model_dump()) for config in (contender.config, reference)]
    if "task.folder" not in configs[0]:  # not the user's own task: the name is that of earlier versions
        del places["task.folder"]
    configs = [config | places for config in configs]
    timed = [*configs, request.match, request.budget]
    return hashlib.sha256(json.dumps(timed, sort_keys=True).encode()).hexdigest()


def _read(out: Path) -> dict[str, Measured]:
    """What was timed before; an entry that cannot be read is timed again."""
    measured = {}
    with suppress(UnreadableError):
        for key, entry in strict_json.read(out / MEASURED).items():
            with suppress(ValidationError):
                measured[key] = Measured.model_validate(entry)
    return measured


def _match(match: Match, contender: Contender, reference: Config, task: Task) -> Contender:
    """The contender with its hidden size, and what is left over."""
    if match == "step-time":
        return match_step_time(contender, reference, task)
    return match_parameters(contender, reference, task.spec) if match == "params" else contender


def scaled(config: Config, width: int) -> Config:
    """The same config with this width of the lowest layer, and the other layers in proportion."""
    sizes = config.model.hidden_size
    if isinstance(sizes, int):
        return changed(config, f"model.hidden_size={width}")
    others = [max(1, round(size * width / sizes[0])) for size in sizes]
    return changed(config, f"model.hidden_size={others}")


def match_parameters(contender: Contender, reference: Config, spec: Spec) -> Contender:
    """The contender with the hidden size that brings its parameters nearest to those of `reference`."""
    own, target = contender.config, parameters_of(reference, spec)
    width = nearest(lambda width: parameters_of(scaled(own, _buildable(own, width, spec)), spec), target)
    config = scaled(own, _buildable(own, width, spec))
    return contender._replace(config=config, off=parameters_of(config, spec) / target - 1)


def _buildable(config: Config, width: int, spec: Spec) -> int:
    """The first width from this one on that the cell takes: a user's own may need an even one."""
    for candidate in range(width, width + MOST_REFUSED):
        with suppress(ConfigError):
            parameters_of(scaled(config, candidate), spec)
            return candidate
    return width


def unusual_sizes(request: TrainingRequest, contenders: Sequence[Contender], tasks: Tasks) -> Iterator[str]:
    """Of the cells that equal parameters make much wider or narrower, how long a training step takes."""
    for contender in contenders if request.match == "params" else ():
        reference = changed(request.config, *([request.vary.override(contender.at)] if request.vary else []))
        own, usual = (config.model.hidden_sizes()[0] for config in (contender.config, reference))
        if usual < UNUSUAL * own < UNUSUAL**2 * usual:
            continue
        ratio = relative_step_time(contender.config, reference, tasks[contender.at], FEW_ROUNDS)
        slow = f"{ratio:.2g} times as long as" if ratio >= 1 else f"{ratio:.2g} of the time of"
        yield (
            f"{label(contender.cell, contender.at)} has hidden size {own} by --match params, "
            f"{own / usual:.2g} times that of the config; its training step takes {slow} that of "
            f"{reference.model.cell.name}; --match step-time or --match hidden sizes it in another way"
        )


def nearest(count: Callable[[int], int], target: int) -> int:
    """The size whose count is nearest to the target, if counts grow with the size."""
    high = 1
    while count(high) < target and high < MOST_UNITS:
        high = min(2 * high, MOST_UNITS)
    high = 1 + bisect_left(range(1, high), target, lo=high // 2, key=count)
    return min((size for size in (high - 1, high) if size), key=lambda size: abs(count(size) - target))


def match_step_time(contender: Contender, reference: Config, task: Task) -> Contender:
    """The contender with the hidden size whose training step takes as long as that of `reference`.

    The size comes from a few timings on this machine, starting at that of equal parameters: step times grow with a
    power of the size, which the nearest two timings give. `off` says by which part the step is longer.
    """
    if contender.config == reference:
        return contender._replace(off=0.0)
    own = contender.config
    width = match_parameters(contender, reference, task.spec).config.model.hidden_sizes()[0]
    ratios: dict[int, float] = {}
    while width not in ratios and len(ratios) < TRIED:
        ratios[width] = relative_step_time(scaled(own, width), reference, task)
        width = _buildable(own, _next_width(ratios), task.spec)
    best = min(ratios, key=lambda width: abs(math.log(ratios[width])))
    return contender._replace(config=scaled(own, best), off=ratios[best] - 1)


def _next_width(ratios: Mapping[int, float]) -> int:
    """The width at which the ratio should be 1, by the power law through the two nearest points."""
    a, *others = sorted(ratios, key=lambda width: abs(math.log(ratios[width])))
    power = math.log(ratios[a] / ratios[others[0]]) / math.log(a / others[0]) if others else 1.0
    factor = float(ratios[a] ** (-1 / min(3.0, max(0.5, power))))
    return min(MOST_UNITS, max(1, round(a * min(2.0, max(0.5, factor)))))


def relative_step_time(config: Config, reference: Config, task: Task, rounds: int = ROUNDS) -> float:
    """The time of a training step of one config over that of the other."""
    own, other = step_seconds([(config, task), (reference, task)], rounds)
    return own / other


def step_seconds(contestants: Sequence[tuple[Config, Task]], rounds: int, seconds: float = 0.0) -> list[float]:
    """The median time of a training step of each on this machine, measured in turns after two rounds to warm up.

    In turns, so that what slows the machine for a while slows all of them.

    Parameters
    ----------
    rounds, seconds : least number of steps and time of each, up to `MOST_ROUNDS` steps.
    """
    steps = [trial(config, task) for config, task in contestants]
    times: list[list[float]] = [[] for _ in steps]
    for number in range(2 + MOST_ROUNDS):
        if number >= 2 + rounds and all(sum(own[2:]) >= seconds for own in times):
            break
        for step, own in zip(steps, times, strict=True):
            started_at = time.perf_counter()
            step(number)
            own.append(time.perf_counter() - started_at)
    return [statistics.median(own[2:]) for own in times]


def with_budget(contenders: Sequence[Contender], budget: Budget, tasks: Tasks) -> list[Contender]:
    """The same contenders with as many training steps as the budget allows.

    Raises
    ------
    ConfigError : the budget counts what the task does not have, or is less than one step.
    """
    configs = [(contender.config, tasks[contender.at]) for contender in contenders]
    if budget.unit == "steps":
        steps = [int(budget.amount)] * len(contenders)
    elif budget.unit == "seconds":
        steps = [int(budget.amount / seconds) for seconds in step_seconds(configs, 3 * ROUNDS, TIMED_S)]
    else:
        steps = [math.ceil(budget.amount / _work(config, task, budget)) for config, task in configs]
    if faults := [
        f"--budget {budget.unit}={budget.amount:g} is less than one step of {contender.cell}; raise it"
        for contender, number in zip(contenders, steps, strict=True)
        if number < 1
    ]:
        raise ConfigError(faults)
    return [
        contender._replace(config=changed(contender.config, f"train.steps={number}", "train.epochs=null"))
        for contender, number in zip(contenders, steps, strict=True)
    ]


def _work(config: Config, task: Task, budget: Budget) -> int:
    """What a training step uses of a budget in the task's own unit."""
    if budget.unit != task.work_unit:
        raise ConfigError(
            f"--budget counts {budget.unit}, but task {task.name} has {task.work_unit}; choose one of steps, seconds, "
            f"{task.work_unit}"
        )
    return task.work(task.train_batch(0, config.train.batch_size))
