"""Runs on a Dask cluster: one of this machine, or one that a scheduler leads, on Slurm, PBS, Kubernetes or by ssh."""

import logging
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from seqtrain.comparison.execution import job
from seqtrain.comparison.execution.child import Ended
from seqtrain.comparison.execution.shared import Permit
from seqtrain.comparison.place import Place
from seqtrain.comparison.plan import PlannedRun
from seqtrain.system.errors import SeqtrainError
from seqtrain.system.processes import cores
from seqtrain.system.progress import say

CONNECT_S = 10
"""Seconds for a scheduler to answer."""


class DaskExecutor:
    """Trains runs on the workers of a Dask cluster: each thread of a worker trains one run in a process of its own.

    Parameters
    ----------
    folder : for what has to do with the cluster.

    Raises
    ------
    SeqtrainError : no scheduler answers.
    """

    is_shared: bool = True

    def __init__(self, place: Place, folder: Path) -> None:
        self._most = None if place.address is None else place.jobs  # a cluster of ours has as many workers
        self._cluster, self._address = None, place.address
        self._threads = 1
        if place.address is None:
            from distributed import LocalCluster

            jobs = place.jobs or 1
            self._threads = max(1, cores() // jobs)
            self._cluster = LocalCluster(
                n_workers=jobs,
                threads_per_worker=1,
                processes=False,  # each run has a process of its own; other ones would run a user's script again
                dashboard_address=None,
                silence_logs=logging.ERROR,
            )
        self._client = self._connected()
        self._permit = Permit(folder)
        if not self._client.scheduler_info()["workers"]:
            say(f"{self._address}: the scheduler has no worker yet; runs start when one joins")

    def room(self, submitted: int, *, alone: bool) -> int | None:  # noqa: ARG002
        """How many more runs may be submitted; None for all."""
        return None if self._most is None else max(0, self._most - submitted)

    def submit(self, runs: Sequence[PlannedRun], *, alone: bool = False) -> list[Future[Ended]]:  # noqa: ARG002
        """Train runs, or go on with them, when a worker is free.

        Raises
        ------
        SeqtrainError : the scheduler does not answer any more.
        """
        if self._client.status != "running":
            with suppress(OSError):  # a TimeoutError: nobody answers
                self._client.close(timeout=0)
            self._client = self._connected()
        executor = self._client.get_executor(pure=False, retries=0)
        return [executor.submit(job.train, order._asdict()) for order in self._permit.orders(runs, self._threads)]

    def stop(self, signal_number: int) -> None:  # noqa: ARG002
        """Start no more runs; those under way save and stop."""
        self._permit.withdraw()

    def _connected(self) -> Any:
        from distributed import Client

        try:
            return Client(self._cluster or self._address, timeout=CONNECT_S, set_as_default=False)
        except (OSError, ValueError) as error:
            raise SeqtrainError(
                f"--on: no Dask scheduler answers at {self._address} ({error}); start one with `dask scheduler`, and "
                "workers with `dask worker`, or correct the address; runs that are done stay done"
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *unused: object) -> None:
        if kind is None:
            self._permit.withdraw()
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()
