"""Running many: one after the other in this process, or several at a time in processes of their own."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from seqtrain.compare.plan import PlannedRun
from seqtrain.config import to_yaml
from seqtrain.errors import Diverged, SeqtrainError
from seqtrain.files import write_whole
from seqtrain.progress import figure, say
from seqtrain.run import train_run
from seqtrain.run_dir import RunDir
from seqtrain.signals import stop_requests

CONFIGS = "configs"
"""The folder with the config of every run that is started by a command."""

POLL_S = 0.2


def run_all(runs: Sequence[PlannedRun], out: Path, jobs: int, *, quiet: bool) -> int:
    """Train every run that is not done; returns the exit code: 0, or that of the signal that interrupted.

    Runs that are done are not repeated, one that was interrupted goes on, one that diverges is done.

    Parameters
    ----------
    out : the comparison's directory.
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
    return _side_by_side(waiting, out, jobs, quiet=quiet)


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


class _Job(NamedTuple):
    number: str
    run: PlannedRun
    process: "subprocess.Popen[bytes]"
    errors: Path
    started_at: float


def _side_by_side(runs: Sequence[tuple[str, PlannedRun]], out: Path, jobs: int, *, quiet: bool) -> int:
    """Up to `jobs` processes at a time; a signal is passed on to all, and waited for."""
    threads = max(1, cores() // jobs)
    waiting, running, done, passed_on = list(runs), list[_Job](), 0, False
    with stop_requests() as request, _Board(len(runs), quiet=quiet) as board:
        try:
            while waiting or running:
                stopping = request.signal_number is not None
                if stopping and not passed_on:
                    for job in running:
                        job.process.send_signal(request.signal_number or signal.SIGINT)
                    passed_on = True
                while waiting and len(running) < jobs and not stopping:
                    running.append(_start(*waiting.pop(0), out, threads))
                if stopping and not running:
                    break
                for job in [job for job in running if job.process.poll() is not None]:
                    running.remove(job)
                    done += 1
                    _check_ending(job, interrupted=stopping)
                    board.tell(f"{job.number} {job.run.out.name}: {_ending(RunDir(job.run.out).read_summary() or {})}")
                board.show(running, done)
                time.sleep(POLL_S)
        finally:
            for job in running:  # a run failed: the others save and stop
                job.process.terminate()
            for job in running:
                job.process.wait()
    if request.signal_number is not None and (waiting or passed_on):
        say("interrupted; repeat the same command to go on with the comparison")
        return 128 + request.signal_number
    return 0


def _start(number: str, run: PlannedRun, out: Path, threads: int) -> _Job:
    own = run if run.config.threads else PlannedRun(run.config.model_copy(update={"threads": threads}), run.out)
    arguments = [sys.executable, "-m", *command(own, out)]
    errors = out / CONFIGS / f"{run.out.name}.err"
    with errors.open("wb") as file:
        process = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=file, start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": str(own.config.threads)},
        )  # fmt: skip
    return _Job(number, run, process, errors, time.monotonic())


def _check_ending(job: _Job, *, interrupted: bool) -> None:
    """Raise what went wrong with a run, unless it was meant to end."""
    code = job.process.returncode
    told = job.errors.read_text("utf-8", "replace").strip()
    job.errors.unlink()
    if code in (0, Diverged.exit_code) or (interrupted and (code < 0 or code in (130, 143))):
        return
    error = SeqtrainError(f"{job.run.out}: its process ended with exit code {code}" + (f": {told}" if told else ""))
    error.exit_code = code if code == SeqtrainError.exit_code else 1
    raise error


def _ending(summary: dict[str, Any]) -> str:
    if not summary:
        return "not finished"
    if summary["status"] == "solved":
        return f"solved at step {summary['solved_at_step']}"
    return f"{summary['status']} after {summary['steps']} steps"


def _tell_interrupted(run: PlannedRun) -> None:
    status = (RunDir(run.out).read_summary() or {}).get("status", "interrupted")
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

    def show(self, running: Sequence[_Job], done: int) -> None:
        """The runs under way, each at its last record."""
        if self._live is not None:
            self._live.update(_board(running, done, self.total))


def _board(running: Sequence[_Job], done: int, total: int) -> Table:
    table = Table(title=f"{done} of {total} runs done, {len(running)} running", title_justify="left", box=None)
    for column in ("run", "step", "loss", "seconds"):
        table.add_column(column, justify="left" if column == "run" else "right")
    for job in running:
        last = RunDir(job.run.out).last_record() or {}
        table.add_row(
            job.run.out.name,
            figure(last.get("step")),
            figure(last.get("loss")),
            f"{time.monotonic() - job.started_at:.0f}",
        )
    return table
