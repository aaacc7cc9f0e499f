"""Running many: one after the other in this process, or several at a time in processes of their own."""

import json
import os
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from seqtrain.compare.plan import PlannedRun
from seqtrain.config import to_yaml
from seqtrain.runs.directory import RunDir
from seqtrain.runs.records import Summary
from seqtrain.runs.trainer import train_run
from seqtrain.system.errors import Diverged, SeqtrainError
from seqtrain.system.files import write_whole
from seqtrain.system.progress import figure, say
from seqtrain.system.signals import stop_requests

CONFIGS = "configs"
"""The folder with the config of every run that is started by a command."""

POLL_S = 0.2


def run_all(runs: Sequence[PlannedRun], jobs: int, *, quiet: bool) -> int:
    """Train every run that is not done; returns the exit code: 0, or that of the signal that interrupted.

    Runs that are done are not repeated, one that was interrupted goes on, one that diverges is done.

    Parameters
    ----------
    jobs : how many at a time; the processor's cores are divided among them.

    Raises
    ------
    SeqtrainError : a run could not be trained.
    """
    waiting = []
    for number, run in enumerate(runs, 1):
        if run.is_done():
            say(f"{number}/{len(runs)} {run.out.name}: done already", quiet=quiet)
        else:
            waiting.append((f"{number}/{len(runs)}", run))
    if jobs == 1:
        return _one_by_one(waiting, quiet=quiet)
    return _side_by_side(waiting, jobs, quiet=quiet)


def _one_by_one(runs: Sequence[tuple[str, PlannedRun]], *, quiet: bool) -> int:
    for number, run in runs:
        outcome = train_run(run.config, run.out, resume=RunDir(run.out).holds_run(), quiet=quiet)
        if outcome.exit_code not in (0, Diverged.exit_code):
            _tell_interrupted(run)
            return outcome.exit_code
        say(f"{number} {run.out.name}: {_ending(outcome.summary)}", quiet=quiet)
    return 0


def command(run: PlannedRun, out: Path) -> list[str]:
    """The command that trains a run, or goes on with it; its config is written beside the runs."""
    file = out / CONFIGS / f"{run.out.name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, to_yaml(run.config).encode())
    return ["seqtrain", "train", str(file), "--out", str(run.out), "--resume", "--quiet"]


def as_shell(run: PlannedRun, out: Path) -> str:
    """Likewise, as a line for a shell."""
    return shlex.join(command(run, out))


class _Worker:
    """A process that trains one run after another, and a thread that waits for what it says.

    number, run, started_at : of the run that it is at.
    """

    def __init__(self, threads: int, answers: "Queue[tuple[_Worker, dict[str, Any] | None]]") -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "seqtrain.compare.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._errors, text=True, start_new_session=True,
            env={"GOMP_SPINCOUNT": "1000"} | os.environ | {"OMP_NUM_THREADS": str(threads)},  # the first as in __main__
        )  # fmt: skip
        self._threads = threads
        self._listener = threading.Thread(target=self._listen, args=(answers,), daemon=True)
        self._listener.start()

    def _listen(self, answers: "Queue[tuple[_Worker, dict[str, Any] | None]]") -> None:
        """Pass on every answer, and None when there are no more."""
        for line in self._process.stdout or ():
            answers.put((self, json.loads(line)))
        answers.put((self, None))

    def give(self, number: str, run: PlannedRun) -> None:
        """The next run."""
        self.number, self.run, self.started_at = number, run, time.monotonic()
        own = run.config if run.config.threads else run.config.model_copy(update={"threads": self._threads})
        with suppress(BrokenPipeError):  # it has died; its thread tells
            print(json.dumps({"config": own.model_dump(), "out": str(run.out)}), file=self._process.stdin, flush=True)

    def send_signal(self, number: int) -> None:
        """Pass a signal on."""
        self._process.send_signal(number)

    def end(self) -> None:
        """No more runs: one that is at a run saves and stops."""
        self._process.terminate()
        self._listener.join()
        with self._process, self._errors:  # waited for, and its pipes closed
            pass

    def died_of(self) -> tuple[int, str]:
        """Exit code and last words, once there are no more answers."""
        code = self._process.wait()
        self._errors.seek(0)
        return code, self._errors.read().decode("utf-8", "replace").strip()


def _side_by_side(runs: Sequence[tuple[str, PlannedRun]], jobs: int, *, quiet: bool) -> int:
    """Up to `jobs` processes at a time; a signal is passed on to all, and waited for."""
    threads = max(1, cores() // jobs)
    waiting, busy, done, passed_on = list(runs), list[_Worker](), 0, False
    answers: Queue[tuple[_Worker, dict[str, Any] | None]] = Queue()
    with stop_requests() as request, _Board(len(runs), quiet=quiet) as board:
        workers = [_Worker(threads, answers) for _ in range(min(jobs, len(runs)))]
        try:
            for worker in workers:
                worker.give(*waiting.pop(0))
                busy.append(worker)
            while busy:
                if request.signal_number is not None and not passed_on:
                    for worker in busy:
                        worker.send_signal(request.signal_number)
                    passed_on = True
                board.show(busy, done)
                try:
                    worker, answer = answers.get(timeout=POLL_S)
                except Empty:
                    continue
                if worker not in busy:  # it had answered when the signal reached it
                    continue
                _check_ending(worker, answer, interrupted=passed_on)
                done += 1
                ending = _ending(RunDir(worker.run.out).read_summary())
                board.tell(f"{worker.number} {worker.run.out.name}: {ending}")
                if waiting and not passed_on:
                    worker.give(*waiting.pop(0))
                else:
                    busy.remove(worker)
        finally:
            for worker in workers:  # if a run failed, the others save and stop
                worker.end()
    if request.signal_number is not None and (waiting or passed_on):
        say("interrupted; repeat the same command to go on with the comparison")
        return 128 + request.signal_number
    return 0


def _check_ending(worker: _Worker, answer: dict[str, Any] | None, *, interrupted: bool) -> None:
    """Raise what went wrong with a run, unless it was meant to end."""
    code, told = worker.died_of() if answer is None else (answer["code"], answer["told"])
    if code in (0, Diverged.exit_code) or (interrupted and (code < 0 or code in (130, 143))):
        return
    if answer is not None and code == SeqtrainError.exit_code:
        raise SeqtrainError(told)
    error = SeqtrainError(f"{worker.run.out}: its process ended with exit code {code}" + (f": {told}" if told else ""))
    error.exit_code = 1
    raise error


def _ending(summary: Summary | None) -> str:
    if summary is None:
        return "not finished"
    if summary.status == "solved":
        return f"solved at step {summary.solved_at_step}"
    return f"{summary.status} after {summary.steps} steps"


def _tell_interrupted(run: PlannedRun) -> None:
    summary = RunDir(run.out).read_summary()
    status = "interrupted" if summary is None else summary.status
    say(f"{run.out}: {status}; repeat the same command to go on with the comparison")


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Board:
    """A live table of what is running, on a terminal; elsewhere a line a run."""

    def __init__(self, total: int, *, quiet: bool) -> None:
        self.total, self.quiet = total, quiet
        self._live: Live | None = None
        if not quiet and sys.stderr.isatty():
            self._live = Live(console=Console(stderr=True), refresh_per_second=4, transient=True)

    def __enter__(self) -> "_Board":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *unused: object) -> None:
        if self._live is not None:
            self._live.stop()

    def tell(self, line: str) -> None:
        """A line that stays."""
        if self._live is not None:
            self._live.console.print(Text(line))
        else:
            say(line, quiet=self.quiet)

    def show(self, running: Sequence[_Worker], done: int) -> None:
        """The runs under way, each at its last record."""
        if self._live is not None:
            self._live.update(_board(running, done, self.total))


def _board(running: Sequence[_Worker], done: int, total: int) -> Table:
    table = Table(title=f"{done} of {total} runs done, {len(running)} running", title_justify="left", box=None)
    for column in ("run", "step", "loss", "seconds"):
        table.add_column(column, justify="left" if column == "run" else "right")
    for job in running:
        last = RunDir(job.run.out).last_record()
        table.add_row(
            job.run.out.name,
            figure(None if last is None else last.step),
            figure(None if last is None else last.loss),
            f"{time.monotonic() - job.started_at:.0f}",
        )
    return table
