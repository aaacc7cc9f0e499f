"""Train the runs of a comparison at the place that `--on` names."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from seqtrain.comparison.execution.dispatch import Engine, Trained, run_here, run_on
from seqtrain.comparison.execution.local import LocalExecutor
from seqtrain.comparison.execution.shared import withdraw
from seqtrain.comparison.place import Place
from seqtrain.comparison.plan import PlannedRun
from seqtrain.comparison.records import CLUSTER, RESULTS


class Workplace:
    """What trains the runs of a comparison, also in several rounds.

    Processes of this machine load PyTorch while the comparison is still being prepared. A cluster is only used once
    there is a run to train.

    Parameters
    ----------
    out : the folder of the comparison.
    early : processes to start now, if all runs are to be trained; other processes start when they are needed.
    """

    def __init__(self, place: Place, out: Path, early: int) -> None:
        self._place, self._out = place, out
        self._open = ExitStack()
        self._engine: Engine | None = None
        if place.engine == "local" and place.is_apart and not (out / RESULTS).exists():
            self._start(early)

    def train(self, runs: Sequence[PlannedRun], *, quiet: bool) -> Trained:
        """Train every run that is not done.

        A run that was interrupted before goes on; a run that diverges is done.

        Raises
        ------
        SeqtrainError : on this machine, a run could not be trained; or a cluster takes no jobs.
        """
        if not self._place.is_apart or all(run.is_done() for run in runs):
            return run_here(runs, quiet=quiet)
        return run_on(self._engine or self._start(), runs, quiet=quiet)

    def _start(self, early: int = 0) -> Engine:
        """Dask and submitit are loaded only if they train."""
        place, folder = self._place, self._out / CLUSTER
        if place.engine == "local":
            self._engine = self._open.enter_context(LocalExecutor(place.jobs or 1, early))
        elif place.engine == "dask":
            from seqtrain.comparison.execution.dask import DaskExecutor

            self._engine = self._open.enter_context(DaskExecutor(place, folder))
        else:
            from seqtrain.comparison.execution.slurm import SlurmExecutor

            self._engine = self._open.enter_context(SlurmExecutor(place, folder))
        return self._engine

    def close(self) -> None:
        """End what was started; runs under way on this machine save and stop."""
        self._open.close()
        withdraw(self._out / CLUSTER)  # also if there was nothing to train, as after a command that was killed

    def __enter__(self) -> Self:
        self._open.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._open.__exit__(*error)  # type: ignore[arg-type]
