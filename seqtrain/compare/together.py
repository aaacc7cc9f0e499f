"""Whether the runs that are trained at the same time fit into memory together."""

from collections.abc import Sequence

from seqtrain.compare.plan import PlannedRun
from seqtrain.config.build import build_model, build_task
from seqtrain.runs.memory_estimate import Estimate, check_together, estimate
from seqtrain.tasks import Task


def check_jobs(runs: Sequence[PlannedRun], jobs: int) -> None:
    """Refuse more runs at a time than there is memory for, should the largest of those to do come together.

    Raises
    ------
    ConfigError : they do not fit; it says how many do.
    """
    waiting = [run.config.model_copy(update={"seed": 0}) for run in runs if not run.is_done()]
    if min(jobs, len(waiting)) < 2:
        return  # a run alone is held against the memory there is when it starts
    tasks: dict[str, Task] = {}
    found: dict[str, Estimate] = {}
    for config in waiting:
        task, whole = config.task.model_dump_json(), config.model_dump_json()
        if task not in tasks:
            tasks[task] = build_task(config, quiet=True)
        if whole not in found:
            found[whole] = estimate(config, tasks[task], build_model(config, tasks[task].spec))
    check_together(waiting[0], [found[config.model_dump_json()] for config in waiting], jobs)
