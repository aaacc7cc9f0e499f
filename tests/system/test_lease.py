"""A folder belongs to one process at a time, also across hosts; a frozen holder writes nothing once it lost it."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from seqtrain.runs.directory import RunDir
from seqtrain.runs.records import MetricsRecord
from seqtrain.system import lease
from seqtrain.system.errors import CheckpointError
from seqtrain.system.files import UnwritableError, write_whole
from seqtrain.system.lease import HELD, STALE_S, BusyError, Lease


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    return Path("run")


def move_to_another_machine(one, seconds_ago):
    """Let the holder of a lease be a process of another host, last seen so long ago."""
    file = one.lock / one.token / "holder"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"machine": "another boot", "host": "far"}))
    at = time.time() - seconds_ago
    os.utime(file, (at, at))


def taken(folder):
    one = Lease(folder)
    return one, one.take()


def test_one_at_a_time(run):
    one, was_left = taken(run)
    assert (was_left, one.is_own(), HELD[run.absolute()]) == (False, True, one)
    with pytest.raises(BusyError, match=f"process {os.getpid()} on "):
        Lease(run).take()
    assert one.give_back()
    assert list(run.iterdir()) == []
    other, was_left = taken(run)
    assert not was_left
    other.give_back()
    assert not HELD


def test_a_killed_process_leaves_the_folder_at_once(run):
    code = "from seqtrain.system.lease import *; Lease(Path('run')).take(); print(1, flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        with pytest.raises(BusyError, match=f"process {process.pid} on "):
            Lease(run).take()
        process.send_signal(signal.SIGSTOP)  # frozen, and still there
        with pytest.raises(BusyError):
            Lease(run).take()
        process.kill()
        process.wait()
        one, was_left = taken(run)
        assert was_left
        one.give_back()


@pytest.mark.parametrize(("seconds_ago", "is_free"), [(STALE_S - 5, False), (STALE_S + 5, True)])
def test_a_process_of_another_machine_is_gone_when_it_gives_no_sign_of_life(run, seconds_ago, is_free):
    one, _ = taken(run)
    move_to_another_machine(one, seconds_ago)
    if is_free:
        other, was_left = taken(run)
        assert was_left
        assert (one.is_own(), other.is_own()) == (False, True)
        assert not one.give_back()  # of what is another's, nothing is touched
        assert other.is_own()
        other.give_back()
    else:
        with pytest.raises(BusyError, match=r"on far, seen 55 s ago; if it was killed, the folder is free in 5 s"):
            Lease(run).take()
        one.give_back()


def test_signs_of_life(run, monkeypatch):
    monkeypatch.setattr(lease, "BEAT_S", 0.01)
    one, _ = taken(run)
    os.utime(one.lock / one.token / "holder", (0, 0))
    deadline = time.monotonic() + 5
    while (one.lock / one.token / "holder").stat().st_mtime == 0:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    one.give_back()


def test_a_copy_of_a_held_folder_is_free(run):
    one, _ = taken(run)
    shutil.copytree(run, "copy")
    other, was_left = taken(Path("copy"))
    assert was_left
    other.give_back()
    assert one.give_back()


def test_a_lock_that_was_taken_meanwhile_is_put_back(run):
    """Two see the same dead holder; the slower one finds the lock of the faster one."""
    slow = Lease(run)
    fast, _ = taken(run)
    assert slow._move_away("the dead one") is False
    assert fast.is_own()
    fast.give_back()


@pytest.mark.parametrize("content", [b"", b"{}", b"no json", b'{"host": 1}'])
def test_a_damaged_lock_is_judged_by_its_age(run, content):
    (run / ".lock/token").mkdir(parents=True)
    (run / ".lock/token/holder").write_bytes(content)
    with pytest.raises(BusyError, match="unknown"):
        Lease(run).take()
    os.utime(run / ".lock/token/holder", (0, 0))
    one, was_left = taken(run)
    assert was_left
    one.give_back()


def test_an_empty_lock_is_no_lock(run):
    (run / ".lock").mkdir()
    one, _ = taken(run)
    one.give_back()
    assert list(run.iterdir()) == []


RECORD = MetricsRecord(step=1, split="train", elapsed_s=1.0)


def test_a_frozen_run_writes_nothing_once_another_goes_on(run):
    frozen = RunDir(run)
    with frozen.locked():
        frozen.append(RECORD)
        mine = frozen._lease
        open_before = frozen.metrics.open("a")  # it was frozen here
        move_to_another_machine(mine, STALE_S + 1)
        other = RunDir(run)
        with other.locked():
            other.append(RECORD.model_copy(update={"step": 2}))
            open_before.write("late\n")
            open_before.close()
            HELD[run.absolute()] = mine  # both are in one process here
            with pytest.raises(CheckpointError, match="another process goes on with this run"):
                frozen.append(RECORD)
            with pytest.raises(UnwritableError, match=r"summary\.json: .*no longer held by this process"):
                write_whole(frozen.summary, b"late")
            frozen.remove(frozen.metrics)
            HELD[run.absolute()] = other._lease
            assert [record.step for record in other.read_metrics()] == [1, 2]
            write_whole(other.summary, b"mine")
        assert sorted(path.name for path in run.iterdir()) == ["metrics.jsonl", "summary.json"]
        assert frozen.summary.read_bytes() == b"mine"


def test_records_are_not_cut_off_once_another_goes_on(run):
    frozen = RunDir(run)
    with frozen.locked():
        for step in (1, 2):
            frozen.append(RECORD.model_copy(update={"step": step}))
        move_to_another_machine(frozen._lease, STALE_S + 1)
        other = RunDir(run)
        with other.locked():
            with pytest.raises(CheckpointError, match="another process goes on with this run"):
                frozen.rewind_metrics(1)
            assert [record.step for record in other.read_metrics()] == [1, 2]


def test_a_full_disk_leaves_no_folder_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(lease.Path, "write_text", full)
    with (
        pytest.raises(UnwritableError, match=r"^a/run: cannot be written .No space left"),
        RunDir(Path("a/run")).locked(),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
    Path("kept").mkdir()
    with pytest.raises(UnwritableError), RunDir(Path("kept")).locked():
        pass
    assert list(Path("kept").iterdir()) == []


def test_a_run_that_is_frozen_between_the_check_and_the_opening_of_its_metrics_appends_nothing(run, monkeypatch):
    mine = RunDir(run)
    with mine.locked():
        mine.append(RECORD)
        answers = iter([True, False])
        with monkeypatch.context() as patched:
            patched.setattr(Lease, "is_own", lambda _: next(answers, False))
            with pytest.raises(CheckpointError, match="another process goes on with this run"):
                mine.append(RECORD)
        assert len([*mine.read_metrics()]) == 1
