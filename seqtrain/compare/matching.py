"""Fair sizes and fair budgets: hidden sizes that give every cell the same parameters or the same time a step."""

import hashlib
import json
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from seqtrain.compare.plan import Budget, Contender, Request, changed
from seqtrain.config import Config
from seqtrain.config.build import parameters_of
from seqtrain.runs.trainer import trial
from seqtrain.system import strict_json
from seqtrain.system.errors import ConfigError
from seqtrain.system.files import UnreadableError, write_whole
from seqtrain.tasks import Spec, Task

LARGEST = 100_000
"""Hidden size that is tried."""

TRIED = 6
"""Sizes whose training step is timed in search of the one that takes as long as the reference."""

ROUNDS = 7
"""Training steps of each of the two in such a timing, after two to warm up."""


MOST_ROUNDS = 1000
"""Training steps of each in any timing."""

TIMED_S = 1.0
"""Seconds for which each cell is timed where a budget in seconds buys its steps."""

MEASURED = "measured.json"
"""Sizes and steps that came from timings, kept so that a comparison that is repeated goes on with the same ones."""


class Fair(NamedTuple):
    """A contender with its size and its budget.

    off : by which part its parameters, or the time of its step, are more (or less) than those that they were to match;
        None if neither was to match.
    """

    contender: Contender
    off: float | None


def make_fair(request: Request, contenders: Sequence[Contender], tasks: Mapping[Any, Task]) -> list[Fair]:
    """Every contender with the hidden size and the steps that the request asks for.

    Parameters
    ----------
    tasks : by the value of what is varied.
    """
    timed = request.match == "step-time" or (request.budget is not None and request.budget.unit == "seconds")
    known = _read(request.out) if timed else {}
    keys = [_key(request, contender) for contender in contenders]
    new = [contender for contender, key in zip(contenders, keys, strict=True) if key not in known]
    found = [_match(request, contender, tasks[contender.at]) for contender in new]
    if request.budget is not None:
        found = with_budget(found, request.budget, tasks)
    if not timed:
        return found
    known |= {_key(request, one): _noted(fair, request) for one, fair in zip(new, found, strict=True)}
    if new:
        write_whole(request.out / MEASURED, (strict_json.dumps(known, indent=2) + "\n").encode())
    return [
        Fair(contender._replace(config=changed(contender.config, *known[key]["settings"])), known[key]["off"])
        for contender, key in zip(contenders, keys, strict=True)
    ]


def _own(request: Request, contender: Contender) -> Config:
    """The config's own cell, at the contender's value of what is varied."""
    return changed(request.config, *([request.vary.at(contender.at)] if request.vary else []))


def _key(request: Request, contender: Contender) -> str:
    """Names what is timed for a contender."""
    asked = [contender.config.model_dump(), _own(request, contender).model_dump(), request.match, request.budget]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _noted(fair: Fair, request: Request) -> dict[str, Any]:
    """What came of timings, to be kept."""
    model, train = fair.contender.config.model, fair.contender.config.train
    settings = [f"model.hidden_size={model.hidden_size}"]
    if request.budget is not None:
        settings += [f"train.steps={train.steps}", "train.epochs=null"]
    return {"cell": fair.contender.cell, "at": fair.contender.at, "settings": settings, "off": fair.off}


def _match(request: Request, contender: Contender, task: Task) -> Fair:
    """The contender with its hidden size."""
    own = _own(request, contender)
    if request.match == "step-time":
        contender, ratio = match_step_time(contender, own, task.spec, task)
        return Fair(contender, ratio - 1)
    if request.match == "hidden":
        return Fair(contender, None)
    contender = match_parameters(contender, own, task.spec)
    return Fair(contender, parameters_of(contender.config, task.spec) / parameters_of(own, task.spec) - 1)


def _read(out: Path) -> dict[str, Any]:
    """What was timed before; an entry of another form is timed anew."""
    try:
        known = strict_json.read(out / MEASURED)
    except UnreadableError:
        return {}
    return {key: entry for key, entry in known.items() if _is_whole(entry)}


def _is_whole(entry: Any) -> bool:
    settings, off = (entry.get("settings"), entry.get("off", "")) if isinstance(entry, dict) else (None, "")
    return (
        isinstance(settings, list)
        and all(isinstance(setting, str) for setting in settings)
        and (off is None or isinstance(off, int | float))
    )


def scaled(config: Config, width: int) -> Config:
    """The same config with the lowest layer so wide, and the others in proportion."""
    sizes = config.model.hidden_size
    if isinstance(sizes, int):
        return changed(config, f"model.hidden_size={width}")
    others = [max(1, round(size * width / sizes[0])) for size in sizes]
    return changed(config, f"model.hidden_size={others}")


def match_parameters(contender: Contender, reference: Config, spec: Spec) -> Contender:
    """The contender with the hidden size that brings its parameters nearest to those of `reference`."""
    own = contender.config
    width = nearest(lambda width: parameters_of(scaled(own, width), spec), parameters_of(reference, spec))
    return contender._replace(config=scaled(own, width))


def nearest(count: Callable[[int], int], target: int) -> int:
    """The size whose count is nearest to the target, if counts grow with the size."""
    high = 1
    while count(high) < target and high < LARGEST:
        high = min(2 * high, LARGEST)
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) < target else (low, middle)
    nearer_below = low > 0 and target - count(low) <= count(high) - target
    return low if nearer_below else high


def match_step_time(contender: Contender, reference: Config, spec: Spec, task: Task) -> tuple[Contender, float]:
    """The contender with the hidden size whose training step takes as long as that of `reference`.

    Returns
    -------
    The contender, and how many times as long its step takes. The size comes from a few timings on this machine, from
    that of equal parameters on: step times grow with a power of the size that is read off the last two.
    """
    if contender.config == reference:
        return contender, 1.0
    own, width = contender.config, match_parameters(contender, reference, spec).config.model.hidden_sizes()[0]
    tried: dict[int, float] = {}
    while width not in tried and len(tried) < TRIED:
        tried[width] = relative_step_time(scaled(own, width), reference, task)
        width = _guess(tried)
    best = min(tried, key=lambda width: abs(math.log(tried[width])))
    return contender._replace(config=scaled(own, best)), tried[best]


def _guess(tried: dict[int, float]) -> int:
    """The width at which the ratio should be 1, by the power law through the two nearest points."""
    near = sorted(tried, key=lambda width: abs(math.log(tried[width])))[:2]
    power = 1.0
    if len(near) == 2:
        (a, b) = near
        power = math.log(tried[a] / tried[b]) / math.log(a / b)
    step = float(tried[near[0]] ** (-1 / min(3.0, max(0.5, power))))
    return min(LARGEST, max(1, round(near[0] * min(2.0, max(0.5, step)))))


def relative_step_time(config: Config, reference: Config, task: Task) -> float:
    """How many times as long a training step of one takes as one of the other."""
    own, other = step_seconds([(config, task), (reference, task)], ROUNDS)
    return own / other


def step_seconds(contestants: Sequence[tuple[Config, Task]], rounds: int, seconds: float = 0.0) -> list[float]:
    """The median time of a training step of each on this machine, measured in turns after two rounds to warm up.

    In turns, so that what slows the machine for a while slows all of them.

    Parameters
    ----------
    rounds, seconds : of each at least, up to `MOST_ROUNDS`.
    """
    steps = [trial(config, task) for config, task in contestants]
    taken: list[list[float]] = [[] for _ in steps]
    for number in range(2 + MOST_ROUNDS):
        if number >= 2 + rounds and all(sum(times[2:]) >= seconds for times in taken):
            break
        for step, times in zip(steps, taken, strict=True):
            started_at = time.perf_counter()
            step(number)
            times.append(time.perf_counter() - started_at)
    return [statistics.median(times[2:]) for times in taken]


def with_budget(found: Sequence[Fair], budget: Budget, tasks: Mapping[Any, Task]) -> list[Fair]:
    """The same contenders with as many training steps as the budget buys.

    Raises
    ------
    ConfigError : the budget counts what the task does not have, or buys no step.
    """
    contenders = [one.contender for one in found]
    configs = [(contender.config, tasks[contender.at]) for contender in contenders]
    if budget.unit == "steps":
        bought = [int(budget.amount)] * len(found)
    elif budget.unit == "seconds":
        bought = [int(budget.amount / seconds) for seconds in step_seconds(configs, 3 * ROUNDS, TIMED_S)]
    else:
        bought = [math.ceil(budget.amount / _work(config, task, budget)) for config, task in configs]
    if faults := [
        f"--budget {budget.unit}={budget.amount:g} is less than one step of {contender.cell}; raise it"
        for contender, steps in zip(contenders, bought, strict=True)
        if steps < 1
    ]:
        raise ConfigError(faults)
    return [
        one._replace(
            contender=one.contender._replace(
                config=changed(one.contender.config, f"train.steps={steps}", "train.epochs=null")
            )
        )
        for one, steps in zip(found, bought, strict=True)
    ]


def _work(config: Config, task: Task, budget: Budget) -> int:
    """What a training step takes of a budget in the task's own unit."""
    if budget.unit != task.work_unit:
        raise ConfigError(
            f"--budget counts {budget.unit}, but task {task.name} has {task.work_unit}; choose one of steps, seconds, "
            f"{task.work_unit}"
        )
    return task.work(task.train_batch(0, config.train.batch_size))
