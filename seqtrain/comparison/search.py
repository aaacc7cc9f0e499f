"""The candidates that tuning tries: all points of a grid, random draws, or proposals of Optuna.

The runs are the only memory of a search: a repeated command asks for the same candidates and finds their runs done.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice, product
from typing import Any, NamedTuple, cast

import torch

from seqtrain.comparison.load_runs import read_runs
from seqtrain.comparison.plan import Contender, changed, plan_candidates
from seqtrain.comparison.records import Point
from seqtrain.comparison.request import Setting, TrainingRequest
from seqtrain.comparison.tuning import rank
from seqtrain.system.errors import ConfigError
from seqtrain.system.rng import derived_seed, generator
from seqtrain.system.words import counted

BATCH = 5
"""Candidates of a cell that Optuna proposes at a time. It is fixed, so that no result depends on `--jobs`."""

DIGITS = 3
"""Significant digits of a drawn number: it stands in names of directories, and people copy it."""

MOST_CORNERS = 1024
"""Combinations of values that are tried before a search begins: all of ten ranges, or of six of whole numbers."""

PURPOSE = "tuning"
"""In the keys of the generators of random numbers."""


class Tried(NamedTuple):
    """A candidate whose runs are done, and how well they did; the larger, the better."""

    point: Mapping[str, Point]
    rank: tuple[float, ...]


def batches(request: TrainingRequest, contenders: Sequence[Contender]) -> Iterator[list[Contender]]:
    """The candidates of all cells, batch by batch: the runs of one must be done before the next is asked for.

    There is none if nothing is tuned.

    Raises
    ------
    ConfigError : the config does not take a value.
    CheckpointError : a run of the batch before cannot be read.
    """
    if request.tune is not None and request.tune.method == "optuna":
        yield from _proposed_batches(request, contenders, request.tune.candidates)
    elif request.tuned:
        points = [*_grid(request.tuned)]
        if request.tune is not None:
            points = [drawn(request, number) for number in range(request.tune.candidates)]
        yield [candidate for contender in contenders for candidate in plan_candidates(request, contender, points)]


def rounds_of(request: TrainingRequest) -> int:
    """How often new runs become known: with every batch that tunes, and at last those that are reported."""
    if request.tune is not None and request.tune.method != "random":
        return -(-request.tune.candidates // BATCH) + 1
    return 2 if request.tuned else 1


def so_far(request: TrainingRequest, candidates: Sequence[Contender]) -> str:
    """Of a search in several batches, how many candidates of each cell are known; else nothing."""
    if request.tune is None or request.tune.method == "random":
        return ""
    cells = len({(each.cell, each.at) for each in candidates})
    return f", of the first {len(candidates) // cells} of {counted(request.tune.candidates, 'candidate')} of each cell"


def distinct(candidates: Sequence[Contender]) -> list[Contender]:
    """The candidates whose runs differ: one that is drawn twice is trained once, and counts twice."""
    return [*{(each.cell, each.at, *each.point.items()): each for each in candidates}.values()]


def check_ranges(request: TrainingRequest, contenders: Sequence[Contender]) -> None:
    """Refuse a search before it begins if a cell does not take the values of lists and the ends of ranges.

    They are tried in every combination: one setting may allow another, as `model.depth` allows `model.dropout`. Of
    whole numbers, the second is tried too: `train.shards` may divide both ends of a range, but not all between them.

    Raises
    ------
    ConfigError : with all faults.
    """
    if request.tune is None:
        return
    faults: dict[str, str] = {}
    corners = [*islice(_grid([_with_second(setting) for setting in request.tuned]), MOST_CORNERS)]
    for contender, point in product(contenders, corners):
        overrides = [setting.override(point[setting.key]) for setting in request.tuned]
        try:
            changed(contender.config, *overrides)
        except ConfigError as error:
            for fault in error.faults:  # what is wrong with both ends is said once
                faults.setdefault(fault.partition(": ")[2], f"--range {fault}")
    if faults:
        raise ConfigError([*faults.values()])


def _with_second(setting: Setting) -> Setting:
    """A range of whole numbers with the second of them."""
    if setting.drawn != "whole":
        return setting
    low, high = cast(tuple[int, int], setting.values)
    return setting._replace(values=(low, high, low + 1)[: high - low + 1])


def _grid(settings: Sequence[Setting]) -> Iterator[dict[str, Point]]:
    """All combinations of the values of the settings."""
    keys = [setting.key for setting in settings]
    return (dict(zip(keys, values, strict=True)) for values in product(*(setting.values for setting in settings)))


def drawn(request: TrainingRequest, number: int) -> dict[str, Point]:
    """The random candidate of a number, counted from 0.

    It is the same for every cell, and for any number of candidates. The draw of a setting does not depend on the other
    settings.
    """
    seed = request.config.seed
    return {setting.key: draw(setting, generator(seed, PURPOSE, setting.key, number)) for setting in request.tuned}


def draw(setting: Setting, source: torch.Generator) -> Point:
    """A value of a setting: of a list each with equal probability, of a range uniformly on a logarithmic scale."""
    share = float(torch.rand((), dtype=torch.float64, generator=source))
    if setting.drawn == "listed":
        return setting.values[int(share * len(setting.values))]
    low, high = cast(tuple[float, float], setting.values)
    if setting.drawn == "whole":
        low, high = low - 0.5, high + 0.5  # else the ends, to which half as many numbers are rounded, would be rare
    return rounded(setting, math.exp(math.log(low) + share * (math.log(high) - math.log(low))))


def rounded(setting: Setting, value: float) -> Point:
    """A number within a range, with few digits."""
    low, high = cast(tuple[float, float], setting.values)
    number = float(f"{value:.{DIGITS}g}")
    return min(max(round(number) if setting.drawn == "whole" else number, low), high)


def _proposed_batches(
    request: TrainingRequest, contenders: Sequence[Contender], candidates: int
) -> Iterator[list[Contender]]:
    """Batches of a fixed size; each has candidates of all cells, whose runs can be trained side by side."""
    tried: list[list[Tried]] = [[] for _ in contenders]
    for first in range(0, candidates, BATCH):
        count = min(BATCH, candidates - first)
        asked = []
        for contender, own in zip(contenders, tried, strict=True):
            points = propose(request, own, count) if own else [drawn(request, number) for number in range(count)]
            asked.append(plan_candidates(request, contender, points))
        yield [candidate for batch in asked for candidate in batch]
        for own, batch in zip(tried, asked, strict=True):
            own += [Tried(each.point, rank(read_runs([run.out for run in each.runs]))) for each in batch]


def propose(request: TrainingRequest, tried: Sequence[Tried], count: int) -> list[dict[str, Point]]:
    """What Optuna's TPE proposes after the candidates of earlier batches: a function of its arguments alone.

    TPE uses only the order of the values that it is told. So it is told the places of the candidates in the order in
    which `choose` puts them: what is solved, how soon, and how well, with what diverged behind.
    """
    import optuna

    space, seed = _space(request.tuned), derived_seed(request.config.seed, PURPOSE, len(tried)) % 2**32
    order = sorted({each.rank for each in tried}, reverse=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # older versions call two of these options experimental
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=BATCH, multivariate=True, constant_liar=True)
        study = optuna.create_study(sampler=sampler)
        for each in tried:
            params = {key: each.point[key] for key in space}
            place = float(order.index(each.rank))
            study.add_trial(optuna.trial.create_trial(params=params, distributions=space, value=place))
        asked = [study.ask(space).params for _ in range(count)]
    return [{setting.key: _tidied(setting, params[setting.key]) for setting in request.tuned} for params in asked]


def _space(settings: Sequence[Setting]) -> dict[str, Any]:
    """The settings as Optuna has them."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    kinds: dict[str, Callable[..., Any]] = {
        "listed": lambda *values: CategoricalDistribution(values),
        "real": lambda low, high: FloatDistribution(low, high, log=True),
        "whole": lambda low, high: IntDistribution(low, high, log=True),
    }
    return {each.key: kinds[each.drawn](*each.values) for each in settings}


def _tidied(setting: Setting, value: Any) -> Point:
    """A proposed value as a candidate has it."""
    return cast(Point, value) if setting.drawn == "listed" else rounded(setting, value)
