"""What a worker of a cluster does with an order."""

import os
import signal
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from samples import QUICK

from seqtrain.comparison.execution import job
from seqtrain.comparison.execution.child import DIED, Child
from seqtrain.comparison.execution.job import INTERRUPTED, Job
from seqtrain.comparison.execution.shared import Permit
from seqtrain.comparison.plan import PlannedRun
from seqtrain.config import load_config
from seqtrain.runs import worker
from seqtrain.runs.directory import RunDir
from seqtrain.system.lease import Lease
from seqtrain.system.signals import NAMES, stop_requests


class FakeChild:
    """Answers what it is told to."""

    started: list["FakeChild"] = []  # noqa: RUF012
    answers: list[tuple[int, str, bool]] = []  # noqa: RUF012

    def __init__(self, threads, **options):
        self.threads, self.options, self.orders, self.code = threads, options, [], None
        self.process = SimpleNamespace(poll=lambda: self.code)
        self.started.append(self)

    def train(self, order):
        self.orders.append(order)
        return self.answers.pop(0)

    def close(self):
        self.code = 0

    def ask_to_end(self, number):
        self.asked_by = number


@pytest.fixture
def children(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(job, "Child", FakeChild)
    monkeypatch.setattr(job, "_idle", [])
    monkeypatch.setattr(FakeChild, "started", [])
    monkeypatch.setattr(FakeChild, "answers", [])
    return FakeChild


def orders(count=1, threads=None):
    config = load_config("quickstart", QUICK)
    return Permit(Path("o/cluster")).orders([PlannedRun(config, Path(f"o/{n}")) for n in range(count)], threads)


def test_an_order_names_absolute_paths_and_is_plain(children, tmp_path):
    children.answers += [(0, "", True)]
    (order,) = orders(threads=3)
    assert job.train(order._asdict()) == (0, "")
    (child,) = children.started
    assert (child.threads, child.options["folder"]) == (3, str(tmp_path))
    assert child.orders[0]["out"] == str(tmp_path / "o/0")
    assert child.orders[0]["config"]["threads"] == 3
    assert child.orders[0]["patience"] > 60


def test_one_child_trains_all_runs_of_a_comparison(children):
    children.answers += [(0, "", True)] * 3 + [(3, "", True)] * 2
    first, second = orders(3), orders(1)
    assert Job(first)() == [(0, "")] * 3
    assert len(children.started) == 1
    job.train(second[0]._asdict())  # another comparison may be stopped alone
    assert len(children.started) == 2
    children.started[0].code = 0
    job.train(first[0]._asdict())
    assert len(children.started) == 3
    assert [child for _, child in job._idle] == children.started[1:]


def test_a_child_that_died_is_replaced(children):
    children.answers += [(-9, "last words", False), (0, "", True)]
    (code, message), done = Job(orders(2))()
    assert code == DIED
    assert message.startswith("its process ended with exit code -9 on ")
    assert message.endswith(": last words")
    assert (done, len(children.started)) == ((0, ""), 2)


def test_nothing_starts_without_a_permit(children):
    (order,) = orders()
    Path(order.permit).unlink()
    assert job.train(order._asdict()) == (INTERRUPTED, "stopped before it started")
    assert children.started == []


def test_a_worker_without_the_disk_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (order,) = orders()
    code, message = job.train(order._replace(folder="/nowhere/at/all")._asdict())
    assert code == DIED
    assert "/nowhere/at/all on " in message
    assert "every worker needs the disk of the comparison at the same path" in message


def test_before_a_requeue_the_child_saves(children, monkeypatch):
    """submitit calls `checkpoint` from a signal handler while the run is trained."""
    helpers = ModuleType("submitit.helpers")
    helpers.DelayedSubmission = lambda function: ("again", function)
    monkeypatch.setitem(sys.modules, "submitit", ModuleType("submitit"))
    monkeypatch.setitem(sys.modules, "submitit.helpers", helpers)
    first = Job(orders(2))
    first.child = children(1)
    what, again = first.checkpoint()
    assert (what, again.orders, again.child) == ("again", first.orders, None)
    assert first.child.asked_by == signal.SIGTERM


def test_after_sigterm_the_job_waits_for_the_signal_that_requeues(children, monkeypatch):
    waits = []
    monkeypatch.setattr(job.time, "sleep", lambda _: (waits.append(1), Path(order.permit).unlink()))
    children.answers += [(143, "", True), (143, "", True)]
    (order,) = orders()
    assert job.train(order._asdict())[0] == 143
    assert waits == []
    monkeypatch.setenv("SUBMITIT_FOLDER", "f")
    assert job.train(order._asdict())[0] == 143
    assert waits == [1]


def test_withdrawing_stops_the_jobs_of_earlier_commands_too(tmp_path):
    first, second = Permit(tmp_path / "cluster"), Permit(tmp_path / "cluster")
    assert first.path != second.path
    second.withdraw()
    assert not (tmp_path / "cluster").exists()


def test_a_worker_stops_when_its_permit_is_gone(tmp_path, monkeypatch):
    """The signal is repeated: the training may not watch for it yet."""
    permit, sent, looks = tmp_path / "permit", [], []
    permit.touch()

    def kill(*given):
        sent.append(given)
        if len(sent) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(worker.os, "kill", kill)
    monkeypatch.setattr(worker.time, "sleep", lambda _: (looks.append(1), len(looks) == 3 and permit.unlink()))
    with pytest.raises(KeyboardInterrupt):
        worker._stop_when_asked(os.getppid(), [permit])
    assert (len(looks), sent) == (4, [(os.getpid(), signal.SIGTERM)] * 2)


def test_a_second_signal_does_not_kill_a_run_that_is_being_saved(monkeypatch):
    """Slurm and the parent both ask a process to end."""
    before, ended = {name: signal.getsignal(getattr(signal, name)) for name in (*NAMES, "SIGUSR2")}, []
    monkeypatch.setattr(worker, "_state", worker._State())
    monkeypatch.setattr(worker.os, "_exit", ended.append)
    try:
        worker._take_signals_calmly()
        worker._state.is_busy = True
        with stop_requests() as request:
            for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
                signal.raise_signal(number)
        assert (request.signal_number, ended, worker._state.is_asked) == (signal.SIGTERM, [], True)
        worker._state.is_busy = False
        signal.raise_signal(signal.SIGTERM)
        assert ended == [143]
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


def test_a_worker_waits_for_another_process_in_its_directory(tmp_path, monkeypatch):
    config, run = load_config("quickstart", QUICK).model_dump(), RunDir(tmp_path / "run")
    run.create()
    lease = Lease(run.path)
    lease.take()
    code, message = worker._train(config, run.path, 0.0)
    assert code == worker.BUSY
    assert "another process is running in it" in message
    assert worker._train(config, run.path, None)[0] == 2  # a run that is only ours
    monkeypatch.setattr(worker.time, "sleep", lambda _: lease.give_back())
    assert worker._train(config, run.path, 60.0) == (0, "")
    assert run.is_done()
    before = run.summary.stat().st_mtime_ns
    assert worker._train(config, run.path, 60.0) == (0, "")
    assert run.summary.stat().st_mtime_ns == before  # it is left as it is


def test_a_child_that_is_asked_to_end_ends(tmp_path):
    permit = tmp_path / "permit"
    permit.touch()
    child = Child(1, permit=str(permit), folder=str(tmp_path), folders=[])
    child.ask_to_end(signal.SIGTERM)
    assert child.process.returncode in (-signal.SIGTERM, 128 + signal.SIGTERM)  # of Python, or of the worker
    child.close()
