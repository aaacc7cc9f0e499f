"""Train many runs: one after another in this process, or through an engine that trains several at a time.

On a cluster the directory of a run says whether it is done, never the answer of a job: a worker may die after the last
step, an answer may be lost, and a job may go on when nobody waits for it any more.
"""

import sys
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from contextlib import nullcontext
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from rich.console import Console
from rich.live import Live
from rich.text import Text

from seqtrain.comparison.execution.child import DIED, ENDED, GRACE_S, Ended
from seqtrain.comparison.plan import PlannedRun
from seqtrain.runs.directory import RunDir
from seqtrain.runs.trainer import train_run
from seqtrain.runs.worker import BUSY
from seqtrain.system.errors import SeqtrainError
from seqtrain.system.progress import counted, figure, say
from seqtrain.system.signals import stop_requests
from seqtrain.system.tables import Column, Grid
from seqtrain.system.words import wrap

POLL_S = 0.2

LOOK_S = 2.0
"""Seconds between two looks into the directories of runs on a cluster; 200 of them are looked into each second."""

SETTLE_S = 15.0
"""Seconds until what a job has written on another host is surely seen here."""

AWAY_S = 60.0
"""Seconds for which a cluster may take no jobs, as while its scheduler is started again."""

RESUBMISSIONS = 3
"""How often a run is submitted again without having got any further."""


class Engine(Protocol):
    """Trains runs somewhere.

    is_shared : other hosts train in the same directories, also when this process has ended.
    """

    is_shared: bool

    def room(self, submitted: int, *, alone: bool) -> int | None:
        """How many more runs may be submitted; None for all.

        Parameters
        ----------
        submitted : runs that have not ended.
        alone : as for `submit`.
        """

    def submit(self, runs: Sequence[PlannedRun], *, alone: bool = False) -> list[Future[Ended]]:
        """Train runs, or go on with them, when there is room.

        Parameters
        ----------
        alone : put no two of them into one job.
        """

    def stop(self, signal_number: int) -> None:
        """Start no more runs; those under way save and stop."""


class Failure(NamedTuple):
    """A run that could not be trained; the code is that of `Ended`."""

    run: PlannedRun
    code: int
    reason: str


class Trained(NamedTuple):
    """What came of all runs.

    code : 0, or the exit code of the signal that interrupted.
    """

    code: int
    failures: list[Failure]


def run_here(runs: Sequence[PlannedRun], *, quiet: bool) -> Trained:
    """Train every run that is not done, one after another in this process."""
    for name, run in _to_do(runs, quiet=quiet).items():
        outcome = train_run(run.config, run.out, resume=RunDir(run.out).holds_run(), quiet=quiet)
        if outcome.exit_code not in ENDED:
            say(f"{run.out}: {outcome.summary.status}; repeat the same command to go on with the comparison")
            return Trained(outcome.exit_code, [])
        say(f"{name}: {_ending(run)}", quiet=quiet)
    return Trained(0, [])


def run_on(engine: Engine, runs: Sequence[PlannedRun], *, quiet: bool) -> Trained:
    """Train every run that is not done, through an engine.

    Raises
    ------
    SeqtrainError : on this machine, a run could not be trained; or a cluster takes no jobs any more.
    """
    return Dispatcher(engine, _to_do(runs, quiet=quiet), quiet=quiet).run()


def _to_do(runs: Sequence[PlannedRun], *, quiet: bool) -> dict[str, PlannedRun]:
    """The runs that are not done, by name."""
    waiting = {}
    for number, run in enumerate(runs, 1):
        name = f"{number}/{len(runs)} {run.out.name}"
        if run.is_done():
            say(f"{name}: done already", quiet=quiet)
        else:
            waiting[name] = run
    return waiting


@dataclass(eq=False)
class Entry:
    """A run that has not ended.

    future : of the job that shall train it; None if there is no job.
    ended : how the last job has ended, and at which time.
    lost : jobs that ended since the run got any further.
    furthest : the last step that any job has reached.
    is_held : whether a process was running in the directory at the last look.
    look_at : the time of the next look.
    started_at : when it was first seen running.
    """

    name: str
    run: PlannedRun
    future: Future[Ended] | None = None
    ended: tuple[Ended, float] | None = None
    lost: int = 0
    furthest: int = -1
    is_held: bool = False
    look_at: float = 0.0
    started_at: float | None = None


class Dispatcher:
    """Submits runs to an engine, and waits for them; a signal is passed on to the engine."""

    def __init__(self, engine: Engine, runs: dict[str, PlannedRun], *, quiet: bool) -> None:
        self.engine = engine
        self.entries = [Entry(name, run) for name, run in runs.items()]
        self.total, self.done, self.quiet = len(runs), 0, quiet
        self.failures: list[Failure] = []
        self.stopped_at: float | None = None
        self.accepted_at: float | None = None  # the cluster has last taken a job
        self.submit_at = 0.0
        on_terminal = not quiet and sys.stderr.isatty()
        self.live = Live(console=Console(stderr=True), refresh_per_second=4, transient=True) if on_terminal else None

    def run(self) -> Trained:
        """Wait until every run has ended, or all have stopped.

        Raises
        ------
        SeqtrainError : as `run_on`.
        """
        with stop_requests() as request, self.live or nullcontext():
            while self.entries:
                if request.signal_number is not None and self.stopped_at is None:
                    self._stop(request.signal_number)
                self.entries = [entry for entry in self.entries if not self._has_ended(entry)]
                if self.stopped_at is None:
                    self._submit()
                elif self.engine.is_shared and time.monotonic() > self.stopped_at + GRACE_S:
                    break
                self._show()
                self._wait()
        if self.stopped_at is None:
            return Trained(0, self.failures)
        self._say_stopped()
        return Trained(128 + (request.signal_number or 0), self.failures)

    def _stop(self, signal_number: int) -> None:
        """Start no more runs; those under way save and stop."""
        self.stopped_at = time.monotonic()
        self.engine.stop(signal_number)
        for entry in self.entries if self.engine.is_shared else ():
            entry.look_at = 0.0
            if entry.future is not None and not entry.is_held:
                entry.future.cancel()

    def _wait(self) -> None:
        """Until a job ends, but not for long."""
        futures = {entry.future for entry in self.entries if entry.future is not None}
        pending = {future for future in futures if not future.cancelled()}  # `wait` never counts these as done
        if pending:
            wait(pending, POLL_S, FIRST_COMPLETED)
        elif self.entries:
            time.sleep(POLL_S)

    def _submit(self) -> None:
        """Submit the runs for which there is room, and in whose directories nothing runs.

        Raises
        ------
        SeqtrainError : the cluster has taken no job yet, or none for `AWAY_S` while nothing runs.
        """
        if time.monotonic() < self.submit_at:
            return
        ready = [entry for entry in self.entries if entry.future is None and entry.ended is None and not entry.is_held]
        for alone in (False, True):
            submitted = sum(entry.future is not None or entry.is_held for entry in self.entries)
            entries = [entry for entry in ready if (entry.lost > 0) is alone]
            entries = entries[: self.engine.room(submitted, alone=alone)]
            if not entries:
                continue
            try:
                futures = self.engine.submit([entry.run for entry in entries], alone=alone)
            except SeqtrainError:
                now = time.monotonic()
                is_away = self.accepted_at is not None and now < self.accepted_at + AWAY_S
                if not is_away and not any(entry.is_held for entry in self.entries):
                    raise
                self.submit_at = now + LOOK_S
                return
            self.accepted_at = time.monotonic()
            for entry, future in zip(entries, futures, strict=True):
                entry.future = future

    def _has_ended(self, entry: Entry) -> bool:
        """Whether nothing more is to be done for a run."""
        future = entry.future
        if not self.engine.is_shared:
            return future is not None and future.done() and self._has_ended_here(entry, future)
        now = time.monotonic()
        if future is not None and future.done():
            entry.future, entry.ended, entry.look_at = None, (_said(future), now), now
        if now < entry.look_at:
            return False
        entry.look_at = now + max(LOOK_S, len(self.entries) / 100)
        entry.is_held = RunDir(entry.run.out).is_held()  # first, as a run may end between the two looks
        if entry.run.is_done():
            self._count(entry)
            return True
        if entry.is_held and entry.started_at is None:
            entry.started_at = now
        if self.stopped_at is not None:
            return not entry.is_held
        if entry.is_held or entry.future is not None or entry.ended is None:
            return False
        return self._is_given_up(entry, *entry.ended)

    def _has_ended_here(self, entry: Entry, future: Future[Ended]) -> bool:
        """Whether a run on this machine is done, or was interrupted.

        Raises
        ------
        SeqtrainError : it could not be trained.
        """
        ended = None if future.cancelled() else future.result()
        if ended is not None and ended.code in ENDED:
            self._count(entry)
        elif ended is not None and ended.code < 128:
            error = SeqtrainError(ended.message)
            error.exit_code = ended.code
            raise error
        return True

    def _is_given_up(self, entry: Entry, ended: Ended, ended_at: float) -> bool:
        """Whether a run whose job has ended without training it to the end has failed for good."""
        if ended.code in ENDED and time.monotonic() < ended_at + SETTLE_S:
            return False
        last = RunDir(entry.run.out).last_record()
        if last is not None and last.step > entry.furthest:
            entry.furthest, entry.lost = last.step, 0
        entry.lost += ended.code != BUSY
        is_wrong = ended.code == SeqtrainError.exit_code
        reason = ended.message or f"ended with exit code {ended.code} before its run was done"
        if is_wrong or entry.lost > RESUBMISSIONS:
            times = "" if is_wrong else f"given up after {RESUBMISSIONS} further attempts: "
            self.failures.append(Failure(entry.run, ended.code if is_wrong else DIED, f"{times}{reason}"))
            self._print(f"{entry.name}: failed: {times}{reason}")
            return True
        self._print(f"{entry.name}: {reason.splitlines()[-1]}; it is submitted again")
        entry.ended = None
        return False

    def _count(self, entry: Entry) -> None:
        self.done += 1
        self._print(f"{entry.name}: {_ending(entry.run)}")

    def _print(self, line: str) -> None:
        """A line on stderr, above the table if there is one."""
        if self.live:
            self.live.console.print(Text(wrap(line, self.live.console.width)), soft_wrap=True)
        else:
            say(line, quiet=self.quiet)

    def _show(self) -> None:
        if self.live:
            self.live.update(progress_table([*self._running()], self.done, self.total))

    def _running(self) -> Iterator[tuple[PlannedRun, float]]:
        """The runs under way, each with the seconds since it was first seen running."""
        for entry in self.entries:
            if entry.is_held or (not self.engine.is_shared and entry.future is not None and entry.future.running()):
                entry.started_at = entry.started_at or time.monotonic()
                yield entry.run, time.monotonic() - entry.started_at

    def _say_stopped(self) -> None:
        if self.engine.is_shared and (running := sum(entry.is_held for entry in self.entries)):
            say(f"{counted(running, 'run')} did not stop within {GRACE_S:.0f} s and may still be under way")
        say("interrupted; repeat the same command to go on with the comparison")


def _said(future: Future[Ended]) -> Ended:
    """How a job has ended. An error is one of the cluster, as the training itself answers with a code."""
    try:
        return Ended(*future.result())
    except CancelledError:
        return Ended(DIED, "its job was cancelled")
    except Exception as error:
        return Ended(DIED, f"{type(error).__name__}: {error}")


def progress_table(running: Collection[tuple[PlannedRun, float]], done: int, total: int) -> Grid:
    """The runs under way at their last records, each with the seconds since it was started."""
    columns = (Column("run"), Column("step"), Column("loss", 1), Column("seconds", 2))
    table = Grid(f"{done} of {total} runs done, {len(running)} running", columns)
    for run, seconds in running:
        last = RunDir(run.out).last_record()
        step, loss = (None, None) if last is None else (last.step, last.loss)
        table.add(run.out.name, figure(step), figure(loss), f"{seconds:.0f}")
    return table


def _ending(run: PlannedRun) -> str:
    summary = RunDir(run.out).read_summary()
    if summary is not None and summary.status == "solved":
        return f"solved at step {summary.solved_at_step}"
    return f"{summary.status} after {summary.steps} steps" if summary else "not finished"
