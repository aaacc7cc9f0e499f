"""Runs on a cluster whose jobs raise, are lost, die, or never answer: a run is done if its directory says so."""

import os
import signal
import threading
from collections import Counter
from concurrent.futures import Future
from pathlib import Path

import pytest
from samples import run as made_up

from seqtrain.comparison.execution import dispatch
from seqtrain.comparison.execution.child import DIED
from seqtrain.comparison.execution.dispatch import run_on
from seqtrain.comparison.plan import PlannedRun
from seqtrain.runs.directory import RunDir
from seqtrain.runs.records import MetricsRecord
from seqtrain.runs.worker import BUSY
from seqtrain.system.errors import SeqtrainError
from seqtrain.system.lease import Lease


@pytest.fixture(autouse=True)
def _quick(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name, seconds in {"POLL_S": 0.005, "LOOK_S": 0.005, "SETTLE_S": 0.1, "GRACE_S": 0.3, "AWAY_S": 0.1}.items():
        monkeypatch.setattr(dispatch, name, seconds)


def runs(count=1):
    return [PlannedRun(None, Path(f"run{number}")) for number in range(count)]


def finish(run, status="finished"):
    run.out.mkdir(exist_ok=True)
    RunDir(run.out).write_summary(made_up(0, status=status).summary)


def answer(code=0, message=""):
    future = Future()
    future.set_result((code, message))
    return future


def broken(error):
    future = Future()
    future.set_exception(error)
    return future


class Cluster:
    """Does with each job what a function says: `job(run, number of the attempt)` returns its future."""

    is_shared = True

    def __init__(self, job, room=None):
        self.job, self.most = job, room
        self.attempts, self.alone, self.stopped_by = Counter(), [], None

    def room(self, submitted, *, alone):  # noqa: ARG002
        return None if self.most is None else self.most - submitted

    def submit(self, runs, *, alone=False):
        futures = []
        for run in runs:
            self.attempts[run.out.name] += 1
            self.alone += [run.out.name] if alone else []
            futures.append(self.job(run, self.attempts[run.out.name]))
        return futures

    def stop(self, signal_number):
        self.stopped_by = signal_number


def trained(run, _):
    finish(run)
    return answer()


@pytest.mark.parametrize(
    ("lost", "reason"),
    [
        (lambda: broken(RuntimeError("KilledWorker: tcp://b")), "RuntimeError: KilledWorker: tcp://b"),
        (lambda: answer(DIED, "its process ended with exit code -9 on b"), "its process ended with exit code -9 on b"),
        (lambda: answer(143, "interrupted and saved"), "interrupted and saved"),
        (lambda: answer(0), "ended with exit code 0 before its run was done"),
    ],
    ids=["raises", "died", "interrupted", "says it is done"],
)
def test_a_lost_job_is_submitted_again_three_times_and_the_others_go_on(lost, reason, capsys):
    cluster = Cluster(lambda run, number: lost() if run.out.name == "run0" else trained(run, number))
    code, failures = run_on(cluster, runs(3), quiet=False)
    assert (code, dict(cluster.attempts)) == (0, {"run0": 4, "run1": 1, "run2": 1})
    assert [(failure.run.out.name, failure.code) for failure in failures] == [("run0", DIED)]
    assert failures[0].reason == f"given up after 3 further attempts: {reason}"
    assert cluster.alone == ["run0"] * 3  # other runs must not suffer from what this one does to its job
    said = capsys.readouterr().err
    assert said.count("it is submitted again") == 3
    assert "1/3 run0: failed: given up after 3 further attempts" in said


def test_a_cancelled_job_is_lost():
    def job(run, number):
        if number == 2:
            return trained(run, number)
        future = Future()
        future.cancel()
        return future

    assert run_on(Cluster(job), runs(), quiet=True) == (0, [])


def test_only_attempts_without_progress_count():
    """A long run on machines that are taken away every hour is not given up."""

    def job(run, number):
        run.out.mkdir(exist_ok=True)
        if number == 9:
            return trained(run, number)
        RunDir(run.out).append(MetricsRecord(step=number // 2, split="train", elapsed_s=1.0))
        return answer(143)

    cluster = Cluster(job)
    assert run_on(cluster, runs(), quiet=True) == (0, [])
    assert cluster.attempts["run0"] == 9


def test_wrong_input_is_not_tried_again():
    cluster = Cluster(lambda *_: answer(SeqtrainError.exit_code, "task.path: no such file"))
    code, [failure] = run_on(cluster, runs(), quiet=True)
    assert (code, cluster.attempts["run0"]) == (0, 1)
    assert (failure.code, failure.reason) == (SeqtrainError.exit_code, "task.path: no such file")


@pytest.mark.parametrize("future", [broken(OSError("lost")), Future(), answer(SeqtrainError.exit_code), answer(143)])
@pytest.mark.parametrize("status", ["finished", "diverged"])
def test_a_run_that_is_done_needs_no_answer(future, status):
    def job(run, _):
        finish(run, status)
        return future

    cluster = Cluster(job)
    assert run_on(cluster, runs(), quiet=True) == (0, [])
    assert cluster.attempts["run0"] == 1


def test_what_was_written_elsewhere_may_arrive_late():
    def job(run, _):
        threading.Timer(0.05, finish, [run]).start()
        return answer()

    cluster = Cluster(job)
    assert run_on(cluster, runs(), quiet=True) == (0, [])
    assert cluster.attempts["run0"] == 1


@pytest.mark.parametrize("gets_done", [True, False])
def test_what_another_process_trains_is_waited_for(gets_done):
    """The command was killed, and its jobs go on."""
    run = runs()[0]
    run.out.mkdir()
    lease, was_held = Lease(run.out), []
    lease.take()

    def end():
        if gets_done:
            finish(run)
        lease.give_back()

    def job(run, number):
        was_held.append(RunDir(run.out).is_held())
        return trained(run, number)

    threading.Timer(0.1, end).start()
    assert run_on(Cluster(job), [run], quiet=True) == (0, [])
    assert was_held == ([] if gets_done else [False])


def test_a_run_whose_job_is_lost_while_its_process_goes_on_is_not_started_twice():
    leases = []

    def job(run, number):
        assert number == 1
        run.out.mkdir()
        leases.append(Lease(run.out))
        leases[0].take()
        threading.Timer(0.1, lambda: (finish(run), leases[0].give_back())).start()
        return answer(SeqtrainError.exit_code, "another process goes on with this run")

    assert run_on(Cluster(job), runs(), quiet=True) == (0, [])


def test_a_run_that_ends_between_two_looks_has_not_failed(monkeypatch):
    def just_done(directory):
        if directory.path.exists():
            RunDir(directory.path).write_summary(made_up(0).summary)
        return False

    def job(run, _):
        run.out.mkdir()
        return answer(SeqtrainError.exit_code, "another process goes on with this run")

    monkeypatch.setattr(RunDir, "is_held", just_done)
    assert run_on(Cluster(job), runs(), quiet=True) == (0, [])


def test_a_busy_directory_is_no_failure():
    cluster = Cluster(lambda run, number: trained(run, number) if number == 7 else answer(BUSY, "another process"))
    assert run_on(cluster, runs(), quiet=True) == (0, [])
    assert cluster.attempts["run0"] == 7


def test_no_more_runs_are_submitted_than_there_is_room_for():
    open_jobs, most = set(), []

    def job(run, _):
        open_jobs.add(run.out.name)
        most.append(len(open_jobs))
        threading.Timer(0.02, lambda: (open_jobs.remove(run.out.name), finish(run))).start()
        return Future()

    assert run_on(Cluster(job, room=2), runs(5), quiet=True) == (0, [])
    assert max(most) == 2


def test_a_signal_cancels_what_waits_and_lets_the_others_save(capsys):
    """One run trains and saves, one waits, one does not stop."""
    futures, lease = {}, []

    def job(run, _):
        run.out.mkdir()
        if run.out.name != "run1":
            lease.append(Lease(run.out))
            lease[-1].take()
        if run.out.name == "run2":
            threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGTERM]).start()
        return futures.setdefault(run.out.name, Future())

    class Saving(Cluster):
        def stop(self, signal_number):
            super().stop(signal_number)
            lease[0].give_back()  # and its worker does not answer any more

    cluster = Saving(job)
    assert run_on(cluster, runs(3), quiet=False) == (143, [])
    assert cluster.stopped_by == signal.SIGTERM
    assert (futures["run1"].cancelled(), futures["run2"].cancelled()) == (True, False)
    said = capsys.readouterr().err
    assert "1 run did not stop within" in said
    assert "interrupted; repeat the same command to go on" in said
    lease[1].give_back()


def test_a_cluster_that_refuses_the_first_job_is_an_error():
    def refuse(*_):
        raise SeqtrainError("sbatch: invalid partition")

    with pytest.raises(SeqtrainError, match="invalid partition"):
        run_on(Cluster(refuse), runs(), quiet=True)


@pytest.mark.parametrize("is_back", [True, False])
def test_a_scheduler_may_be_away_for_a_while(is_back):
    attempts = []

    def job(run, number):
        attempts.append(number)
        if number == 1:
            return broken(ConnectionError("lost"))
        if is_back and number > 3:
            return trained(run, number)
        raise SeqtrainError("no scheduler answers")

    if is_back:
        assert run_on(Cluster(job), runs(), quiet=True) == (0, [])
    else:
        with pytest.raises(SeqtrainError, match="no scheduler answers"):
            run_on(Cluster(job), runs(), quiet=True)
    assert len(attempts) > 3


def test_a_cluster_that_takes_no_jobs_is_waited_for_while_a_run_goes_on():
    first, away = runs(2)[0], threading.Event()
    first.out.mkdir()
    lease = Lease(first.out)
    lease.take()

    def job(run, number):
        if number == 1:
            threading.Timer(0.4, lambda: (away.set(), finish(first), lease.give_back())).start()
            return broken(ConnectionError("lost"))
        if not away.is_set():
            raise SeqtrainError("no scheduler answers")
        return trained(run, number)

    assert run_on(Cluster(job), runs(2), quiet=True) == (0, [])
