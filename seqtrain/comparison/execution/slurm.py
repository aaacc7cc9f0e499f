"""Runs as jobs of Slurm, by submitit: one array of jobs, each of which trains one run or several in turn.

Jobs outlive the command that has submitted them. `jobs.json` beside their logs says which runs each job trains, so that
the same command finds those that still wait in the queue; those that train are found by their directories.
"""

import getpass
import hashlib
import json
import math
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, Self

from seqtrain.comparison.defaults import MOST_TASKS
from seqtrain.comparison.execution.child import Ended
from seqtrain.comparison.execution.job import Job, Order
from seqtrain.comparison.execution.shared import Permit
from seqtrain.comparison.place import Place
from seqtrain.comparison.plan import PlannedRun
from seqtrain.system.errors import SeqtrainError
from seqtrain.system.files import write_whole
from seqtrain.system.processes import cores

POLL_S = 1.0

QUEUE_S = 30.0
"""Seconds between two looks into the queue."""

MINUTES = 60
"""Time limit of a job unless `--slurm time=` gives another; a run that needs longer is saved, and goes on."""

DAYS = 60 * 24 * 30
"""Minutes for jobs on this machine, which need no limit."""

REQUEUES = 10_000
"""How often a job whose time is over goes back to the queue."""

LOG_TAIL = 500


class SlurmExecutor:
    """Trains runs as jobs of Slurm, or of submitit's stand-in on this machine.

    Parameters
    ----------
    folder : for jobs and their logs, on a disk that all hosts share.

    Raises
    ------
    SeqtrainError : this is no machine of a cluster.
    """

    is_shared: bool = True

    def __init__(self, place: Place, folder: Path) -> None:
        import submitit

        self._is_here, self._size = place.engine == "slurm-local", place.runs_per_job
        self._most = (place.jobs or 1) if self._is_here else None
        self._threads = max(1, cores() // (place.jobs or 1)) if self._is_here else None
        self._permit, self._closed = Permit(folder), threading.Event()
        self._jobs: dict[str, tuple[Any, list[Future[Ended]]]] = {}
        self._missing: set[str] = set()
        try:
            self._executor = submitit.AutoExecutor(
                self._permit.folder / "jobs",
                cluster="local" if self._is_here else "slurm",
                slurm_max_num_timeout=REQUEUES,
                local_max_num_timeout=REQUEUES,
            )
        except RuntimeError as error:  # it has sbatch, but not srun
            raise SeqtrainError(f"--on {place.engine}: {error}") from None
        limit = {} if self._is_here else {"slurm_array_parallelism": place.jobs or MOST_TASKS}
        asked = {"name": "seqtrain", "timeout_min": DAYS if self._is_here else MINUTES, **limit, **place.slurm}
        self._executor.update_parameters(**asked)
        self._record = self._permit.folder / "jobs.json"
        self._runs: dict[str, dict[str, str]] = {}
        self._waiting: dict[str, tuple[str, Future[Ended]]] = {}  # by directory, with a digest of the settings
        if not self._is_here:
            self._find()
        threading.Thread(target=self._watch, daemon=True).start()

    def room(self, submitted: int, *, alone: bool) -> int | None:
        """How many more runs may be submitted; None for all. On this machine, as many as the jobs that may start take.

        A job with several runs lasts until the last of them has ended.
        """
        if self._most is None:
            return None
        busy = max(len(self._jobs), math.ceil(submitted / self._size))
        return max(0, self._most - busy) * (1 if alone else self._size)

    def submit(self, runs: Sequence[PlannedRun], *, alone: bool = False) -> list[Future[Ended]]:
        """Train runs, or go on with them, when Slurm has room; a run that is in the queue already is not put there.

        Raises
        ------
        SeqtrainError : Slurm does not take them, or has jobs for the same directories with other settings.
        """
        orders = self._permit.orders(runs, self._threads)
        self._check_settings(orders)
        new, size = [order for order in orders if order.out not in self._waiting], 1 if alone else self._size
        packs = [new[first : first + size] for first in range(0, len(new), size)]
        for first in range(0, len(packs), MOST_TASKS):
            self._submit_array(packs[first : first + MOST_TASKS])
        return [self._waiting.pop(order.out)[1] for order in orders]

    def _submit_array(self, packs: Sequence[Sequence[Order]]) -> None:
        """Submit a job for each pack, and note that they wait."""
        try:
            with _without_interrupts() if self._is_here else nullcontext(), self._executor.batch():
                jobs = [self._executor.submit(Job(pack)) for pack in packs]
        except Exception as error:
            raise SeqtrainError(f"--on slurm: the jobs were not taken: {error}") from error
        for job, pack in zip(jobs, packs, strict=True):
            self._note(job, {order.out: _settings(order) for order in pack})
        write_whole(self._record, json.dumps(self._runs).encode())

    def _note(self, job: Any, runs: Mapping[str, str]) -> None:
        """Watch a job that waits or runs."""
        futures = [Future[Ended]() for _ in runs]
        self._waiting |= {out: (runs[out], future) for out, future in zip(runs, futures, strict=True)}
        self._runs[job.job_id] = {**runs}
        self._jobs[job.job_id] = (job, futures)

    def _check_settings(self, orders: Sequence[Order]) -> None:
        """
        Raises
        ------
        SeqtrainError : jobs of an earlier command would train other settings in the directories of these runs.
        """
        other = {order.out for order in orders if self._waiting.get(order.out, ("",))[0] not in ("", _settings(order))}
        if jobs := [name for name, runs in self._runs.items() if other & runs.keys()]:
            raise SeqtrainError(
                f"--on slurm: jobs of an earlier command with other settings are in the queue for {min(other)}; "
                f"cancel them (scancel {' '.join(jobs)}), or choose another folder with --out"
            )

    def stop(self, signal_number: int) -> None:  # noqa: ARG002
        """Start no more runs; those under way save and stop."""
        self._permit.withdraw()
        if not self._is_here and self._jobs:
            with suppress(OSError, subprocess.SubprocessError):
                subprocess.run(
                    ["scancel", "--state=PENDING", *self._jobs], check=False, capture_output=True, timeout=60
                )

    def _find(self) -> None:
        """Note the jobs that an earlier command has submitted, and that are still in the queue."""
        import submitit

        try:
            recorded = json.loads(self._record.read_bytes())
            jobs = {
                name: {str(out): str(settings) for out, settings in runs.items()} for name, runs in recorded.items()
            }
        except (OSError, ValueError, AttributeError):  # there is none, or it is damaged
            return
        queue = self._queue() if jobs else None
        for name, runs in jobs.items():
            if queue is None or name in queue:
                self._note(submitit.SlurmJob(self._executor.folder, name), runs)

    def _queue(self) -> set[str] | None:
        """The user's jobs that wait or run; None if Slurm does not answer."""
        try:
            command = ["squeue", "--noheader", "--array", "--format=%i", f"--user={getpass.getuser()}"]
            listed = subprocess.run(command, check=True, capture_output=True, timeout=60).stdout
        except (OSError, KeyError, subprocess.SubprocessError):  # KeyError: the user has no name, as in a container
            return None
        return set(listed.decode("utf-8", "replace").split())

    def _watch(self) -> None:
        """Complete the futures of jobs that have ended."""
        looks = 0
        while not self._closed.wait(POLL_S):
            looks += 1
            gone = self._gone() if looks % (QUEUE_S // POLL_S) == 0 and not self._is_here else set()
            for name, (job, futures) in [*self._jobs.items()]:
                try:
                    has_result = job.paths.result_pickle.exists()
                    has_ended = has_result or name in gone or (self._is_here and job.done())
                except OSError:  # the disk does not answer, which may pass
                    continue
                if has_ended:
                    del self._jobs[name]
                    _complete(job, futures, has_result=has_result)

    def _gone(self) -> set[str]:
        """Jobs that were not in the queue twice in a row: their results may take a while to arrive."""
        queue = self._queue()
        if queue is None:
            return set()
        missing = self._jobs.keys() - queue
        gone, self._missing = missing & self._missing, missing
        return gone

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *unused: object) -> None:
        self._closed.set()
        if kind is None:
            self._permit.withdraw()


def _settings(order: Order) -> str:
    """A digest of the settings of a run."""
    return hashlib.sha256(json.dumps(order.config, sort_keys=True).encode()).hexdigest()[:16]


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Processes that are started meanwhile do not get Ctrl-C: it reaches jobs of this machine by their permit only."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _complete(job: Any, futures: Sequence[Future[Ended]], *, has_result: bool) -> None:
    """Hand the answers of a job that has ended to those who wait for its runs."""
    answers: Sequence[Any] = ()
    error: Exception | None = None
    try:
        answers = job.result() if has_result else ()
    except Exception as raised:
        error = raised
    if not has_result:
        error = RuntimeError(f"job {job.job_id} ended without an answer{_end_of_log(job.paths.stderr)}")
    for number, future in enumerate(futures):
        with suppress(InvalidStateError):  # it was cancelled
            if error is not None or number >= len(answers):
                future.set_exception(error or RuntimeError(f"job {job.job_id} gave no answer for this run"))
            else:
                future.set_result(Ended(*answers[number]))


def _end_of_log(log: Path) -> str:
    """The end of the log of a job."""
    with suppress(OSError):
        if words := log.read_text("utf-8", "replace").strip():
            return f": {words[-LOG_TAIL:]} ({log})"
    return f" ({log})"
