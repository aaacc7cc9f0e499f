"""Train many runs: one after another in this process, or several at a time in processes of their own.

Each thread of a `ThreadPoolExecutor` has a process of its own. The process pool of the standard library would run the
user's script again in each process, and could not say which run a process died of.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import nullcontext, suppress
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from seqtrain.comparison.plan import PlannedRun
from seqtrain.runs.directory import RunDir
from seqtrain.runs.trainer import train_run
from seqtrain.runs.worker import ANSWER
from seqtrain.system.errors import Diverged, SeqtrainError
from seqtrain.system.processes import python_command
from seqtrain.system.progress import figure, say
from seqtrain.system.signals import stop_requests
from seqtrain.system.tables import Column, Grid
from seqtrain.system.words import wrap

POLL_S = 0.2

GRACE_S = 60.0
"""Seconds that a process has to save and to end once it is asked to."""

ENDED = (0, Diverged.exit_code)
"""Exit codes of runs that are not trained further."""

INTERRUPTED = 128 + signal.SIGTERM


def run_all(runs: Sequence[PlannedRun], jobs: int, *, quiet: bool) -> int:
    """Train every run that is not done, `jobs` at a time; returns 0, or the exit code of the signal that interrupted.

    A run that was interrupted before goes on; a run that diverges is done.

    Raises
    ------
    SeqtrainError : a run could not be trained.
    """
    waiting = {}
    for number, run in enumerate(runs, 1):
        name = f"{number}/{len(runs)} {run.out.name}"
        if run.is_done():
            say(f"{name}: done already", quiet=quiet)
        else:
            waiting[name] = run
    if jobs > 1:
        with LocalExecutor(jobs) as executor:
            return _side_by_side(waiting, executor, quiet=quiet)
    for name, run in waiting.items():
        outcome = train_run(run.config, run.out, resume=RunDir(run.out).holds_run(), quiet=quiet)
        if outcome.exit_code not in ENDED:
            say(f"{run.out}: {outcome.summary.status}; repeat the same command to go on with the comparison")
            return outcome.exit_code
        say(f"{name}: {_ending(run)}", quiet=quiet)
    return 0


def _side_by_side(runs: dict[str, PlannedRun], executor: "LocalExecutor", *, quiet: bool) -> int:
    """Submit all runs and wait for them; a signal is passed on to the executor."""
    on_terminal = not quiet and sys.stderr.isatty()
    live = Live(console=Console(stderr=True), refresh_per_second=4, transient=True) if on_terminal else None
    started_at: dict[Future[int], float] = {}
    with stop_requests() as request, live or nullcontext():
        futures = {executor.submit(run): (name, run) for name, run in runs.items()}
        pending, done, stopped = set(futures), 0, False
        while pending:
            if request.signal_number is not None and not stopped:
                executor.stop(request.signal_number)
                stopped = True
            finished, pending = wait(pending, POLL_S, FIRST_COMPLETED)
            pending = {future for future in pending if not future.cancelled()}  # `wait` never counts these as done
            for future in finished:
                if future.result() in ENDED:
                    done += 1
                    line = f"{futures[future][0]}: {_ending(futures[future][1])}"
                    if live:
                        live.console.print(Text(wrap(line, live.console.width)), soft_wrap=True)
                    else:
                        say(line, quiet=quiet)
            running = {future: futures[future][1] for future in pending if future.running()}
            started_at |= {future: time.monotonic() for future in running if future not in started_at}
            if live:
                rows = [(run, time.monotonic() - started_at[future]) for future, run in running.items()]
                live.update(progress_table(rows, done, len(runs)))
    if stopped:
        say("interrupted; repeat the same command to go on with the comparison")
        return 128 + (request.signal_number or 0)
    return 0


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


class LocalExecutor:
    """Trains runs in processes on this machine. On exit, runs under way save and stop."""

    def __init__(self, jobs: int) -> None:
        self._threads_each = max(1, cores() // jobs)
        self._pool = ThreadPoolExecutor(jobs)
        self._own = threading.local()
        self._workers: list[_Worker] = []
        self._stopping = False

    def submit(self, run: PlannedRun) -> Future[int]:
        """Train a run, or go on with it, when there is room.

        The result is the exit code of `seqtrain train`: 0, 3 if it diverged, 128 and the signal if it was interrupted.
        The future raises a SeqtrainError if the run cannot be trained.
        """
        config = run.config if run.config.threads else run.config.model_copy(update={"threads": self._threads_each})
        return self._pool.submit(self._train, run._replace(config=config))

    def stop(self, signal_number: int) -> None:
        """Start no more runs; those under way save and stop."""
        self._stopping = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:
            worker.stop(signal_number)

    def _train(self, run: PlannedRun) -> int:
        """Train a run in the process of this thread."""
        if not hasattr(self._own, "worker"):
            self._own.worker = _Worker(self._threads_each)
            self._workers.append(self._own.worker)
        if self._stopping:
            return INTERRUPTED
        worker: _Worker = self._own.worker
        code, message, has_answered = worker.train(run)
        if has_answered and code in ENDED:
            return code
        if self._stopping and (code < 0 or code > 128):
            return INTERRUPTED
        if has_answered and code == SeqtrainError.exit_code:
            raise SeqtrainError(message)
        error = SeqtrainError(f"{run.out}: its process ended with exit code {code}{message and f': {message}'}")
        error.exit_code = 1
        raise error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *unused: object) -> None:
        self.stop(signal.SIGTERM)
        self._pool.shutdown()
        for worker in self._workers:
            worker.close()


class _Worker:
    """A process that runs `seqtrain.runs.worker`, in its own session: Ctrl-C reaches it through the parent only."""

    def __init__(self, threads: int) -> None:
        self.stderr = tempfile.TemporaryFile()  # noqa: SIM115
        command = python_command("seqtrain.runs.worker", str(os.getpid()))
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.stderr, encoding="utf-8",
            errors="replace", start_new_session=True,
            env={"GOMP_SPINCOUNT": "1000"} | os.environ | {"OMP_NUM_THREADS": str(threads)},  # the first as in __main__
        )  # fmt: skip
        self._deadline = threading.Timer(GRACE_S, self._kill)
        self._deadline.daemon = True
        threading.Thread(target=self._end_session, daemon=True).start()

    def stop(self, signal_number: int) -> None:
        """Let it save the run under way and stop, also if it was suspended; after a while it is killed."""
        self.process.send_signal(signal_number)
        if hasattr(signal, "SIGCONT"):
            self.process.send_signal(signal.SIGCONT)
        with suppress(RuntimeError):  # it was asked before
            self._deadline.start()

    def close(self) -> None:
        """Wait for its end, and close its pipes."""
        with suppress(BrokenPipeError), self.stderr, self.process:
            pass
        self._deadline.cancel()

    def _kill(self) -> None:
        """Kill its whole session: a process that a cell has started may hold its pipes open."""
        with suppress(ProcessLookupError):
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                self.process.kill()

    def _end_session(self) -> None:
        self.process.wait()
        self._kill()

    def train(self, run: PlannedRun) -> tuple[int, str, bool]:
        """Exit code and message of the run, and True; if the process died, its own exit code and last words, and False.

        A process that leaves with 0, as a cell may make it do, has not trained its run.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        order = json.dumps({"config": run.config.model_dump(), "out": str(run.out)})
        with suppress(BrokenPipeError):  # the process has died; then there is no answer either
            print(order, file=self.process.stdin, flush=True)
        for line in self.process.stdout:
            if line.startswith(ANSWER):  # Python itself may write others, as a `sitecustomize` does
                code, message = json.loads(line.removeprefix(ANSWER))
                return code, message, True
        code = self.process.wait()
        self.stderr.seek(0)
        return code, self.stderr.read().decode("utf-8", "replace").strip(), False


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
