"""Many runs at a time, in processes of their own."""

import io
import json
import operator
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import SMALL_SETS
from rich.console import Console
from samples import QUICK

from seqtrain.comparison.execution import child, dispatch, local
from seqtrain.comparison.plan import PlannedRun
from seqtrain.config import load_config


def test_jobs_do_what_one_after_the_other_does(seqtrain):
    """The same numbers from processes of their own, the cores divided."""
    command = ("compare", "quickstart", *QUICK, "threads=1", "--cells", "rnn,gru", "--seeds", 1, "--json")
    alone = seqtrain(*command, "--out", "alone").json
    both = seqtrain(*command, "--jobs", 2, "--out", "both")
    assert both.err.count("finished after 4 steps") == 2
    assert [row["metric"] for row in both.json["cells"]] == [row["metric"] for row in alone["cells"]]
    assert sorted(path.name for path in Path("both").iterdir()) == sorted(path.name for path in Path("alone").iterdir())


def test_a_job_that_fails_is_said_and_ends_the_comparison(seqtrain, tmp_path):
    blocked = tmp_path / "out/quickstart-gru-seed0"
    blocked.parent.mkdir()
    blocked.write_text("in the way")
    failed = seqtrain("compare", "quickstart", *QUICK, "--cells", "gru", "--seeds", 1, "--jobs", 2, "--out", "out")
    assert failed.code == 2
    assert "quickstart-gru-seed0" in failed.err
    assert "Traceback" not in failed.err


def users_cell(folder, name, *lines):
    """A module with a cell whose constructor begins with these lines; `folder` is the current one."""
    body = ["super().__init__(input_size, hidden_size)", *lines]
    (folder / f"{name}.py").write_text(
        "import os, sys\nfrom seqtrain.cells.rnn import RNNCell\n\n\n"
        "class Own(RNNCell):\n    def __init__(self, input_size, hidden_size):\n"
        + "".join(f"        {line}\n" for line in body)
    )
    return f"{name}:Own"


def test_few_processes_train_many_runs(seqtrain, tmp_path):
    """A process trains the next run when it has ended one; each run is as it would be alone, whatever came before."""
    own = users_cell(tmp_path, "noted", "with open('processes', 'a') as file: print(os.getpid(), file=file)")
    short = (*QUICK, "task.length=9", "threads=1")
    command = ("compare", "quickstart", *short, "--cells", f"{own},lstm", "--seeds", 4, "--json")
    many = seqtrain(*command, "--jobs", 2, "--out", "many").json
    processes = set(Path("processes").read_text().split()) - {str(os.getpid())}
    assert (len(processes), many["cells"][0]["runs"]) == (2, 4)
    alone = seqtrain(*command, "--out", "alone").json
    assert [row["metric"] for row in many["cells"]] == [row["metric"] for row in alone["cells"]]


@pytest.mark.parametrize("code", [77, 0, 3])
def test_a_worker_that_dies_is_said_with_its_last_words(seqtrain, tmp_path, code):
    """It is not a fault of the input, so exit code 1: a cell may crash, or the system may kill for memory.

    Whatever its exit code is, its run is not done.
    """
    died = f"if 'worker' in sys.argv[0]: os.write(2, b'last words'); os._exit({code})"
    own = users_cell(tmp_path, "fatal", died)
    refused = seqtrain("compare", "quickstart", *QUICK, "--cells", own, "--seeds", 1, "--jobs", 2, "--out", "o")
    assert refused.code == 1
    assert f"o/quickstart-fatal.Own-seed0: its process ended with exit code {code}: last words" in refused.err
    assert "Traceback" not in refused.err


@pytest.mark.parametrize(
    ("started", "code"),
    [
        ("if os.fork() == 0: time.sleep(600)\n        else: os._exit(7)", 1),
        ("threading.Thread(target=time.sleep, args=[600]).start()", 0),
    ],
    ids=["process", "thread"],
)
def test_what_a_cell_has_started_keeps_nobody_waiting(seqtrain, tmp_path, started, code):
    """A process holds the pipes of the worker open; Python waits for a thread."""
    only_there = "if 'worker' not in sys.argv[0]: return"
    own = users_cell(tmp_path, "leaving", "import threading, time", only_there, started)
    began = time.monotonic()
    ended = seqtrain("compare", "quickstart", *QUICK, "--cells", own, "--seeds", 1, "--jobs", 2, "--out", "o")
    assert ended.code == code, ended.err
    assert code == 0 or "its process ended with exit code 7" in ended.err
    assert time.monotonic() - began < 30


def suspend(process):
    """Suspend a process, and wait until it is: of two signals that wait, SIGTERM would come first."""
    os.kill(process, signal.SIGSTOP)
    os.waitid(os.P_PID, process, os.WSTOPPED | os.WNOWAIT)


def test_a_process_that_does_not_stop_is_killed(monkeypatch):
    monkeypatch.setattr(child, "GRACE_S", 1.0)
    worker = child.Child(1)
    suspend(worker.process.pid)
    monkeypatch.delattr(signal, "SIGCONT")
    began = time.monotonic()
    worker.stop(signal.SIGTERM)
    worker.close()
    assert worker.process.returncode == -signal.SIGKILL
    assert time.monotonic() - began < 20


@pytest.mark.skipif(not hasattr(signal, "SIGCONT"), reason="needs SIGCONT")
def test_a_suspended_process_can_still_stop():
    worker = child.Child(1)
    suspend(worker.process.pid)
    worker.stop(signal.SIGTERM)
    worker.close()
    assert worker.process.returncode == -signal.SIGTERM


def test_an_error_of_a_cell_is_said_with_its_traceback(seqtrain, tmp_path):
    """Of a file too: it is not a fault of the output of seqtrain."""
    own = users_cell(tmp_path, "failing", "self.calls = 0")
    with (tmp_path / "failing.py").open("a") as file:
        file.write("    def initial_state(self, rows):\n        self.calls += 1\n")
        file.write("        if self.calls > 6: open('/nowhere/at/all')\n        return super().initial_state(rows)\n")
    said = seqtrain("compare", "quickstart", *QUICK, "--cells", own, "--seeds", 1, "--jobs", 2, "--out", "o")
    assert said.code == 1
    assert "failing.py" in said.err
    assert "FileNotFoundError" in said.err


def test_nothing_but_the_protocol_reaches_its_channel(seqtrain, tmp_path, monkeypatch):
    """Neither what a cell prints or reads, nor what Python itself prints, nor files with the names of modules."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text("print('no line', end='')")
    others = filter(None, [os.environ.get("PYTHONPATH")])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), *others]))
    for name in ("signal", "queue", "copy", "statistics", "random", "torch", "numpy", "yaml", "types"):
        (tmp_path / f"{name}.py").write_text("print('mine')\nraise RuntimeError('of the user')\n")
    prints = ("print(5)", "os.write(1, b'[0, 6]')", "ctypes.CDLL(None).puts(b'7')", "os.system('echo 8')")
    reads = "assert 'worker' not in sys.argv[0] or not sys.stdin.read()"
    own = users_cell(tmp_path, "loud", "import ctypes", *prints, reads)
    done = seqtrain("compare", "quickstart", *QUICK, "--cells", own, "--seeds", 1, "--jobs", 2, "--out", "o")
    assert done.code == 0
    assert done.err.count("finished after 4 steps") == 1


LONG = (
    "compare", "quickstart", "train.steps=100000", "train.eval_every=20",
    "train.stop_when_solved=false", "model.hidden_size=6", *SMALL_SETS, "--cells", "rnn,gru", "--seeds", "2",
    "--jobs", "2", "--out", "out", "--json",
)  # fmt: skip


@pytest.fixture
def start_long(start, tmp_path):
    """Start a comparison, and wait until its first two runs are beyond these steps."""

    def start_long(before=(0, 0)):
        command = start(*LONG, folder=tmp_path)
        until(lambda: len(steps := last_steps(tmp_path)) == 2 and all(map(operator.gt, steps, before)))
        return command

    return start_long


def until(holds, seconds=60):
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.1)


def last_steps(folder):
    """The step of the last record of each run, in the order of their names."""
    lines = [path.read_text().splitlines() for path in sorted(folder.glob("out/*/metrics.jsonl"))]
    return [json.loads(records[-1])["step"] for records in lines if records]


def statuses(folder):
    return [json.loads(path.read_text())["status"] for path in folder.glob("out/*/summary.json")]


def workers(command):
    """The processes that a comparison has started."""
    children = Path(f"/proc/{command.pid}/task").glob("*/children")
    return [int(pid) for file in children for pid in file.read_text().split()]


def is_alive(pid):
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")


def test_a_signal_stops_the_jobs_and_the_same_command_goes_on(start_long, tmp_path):
    """The processes save and stop, and no other run is begun."""
    steps = (0, 0)
    for number in (signal.SIGTERM, signal.SIGINT):
        command = start_long(steps)
        command.send_signal(number)
        code, out, err = command.communicate()
        assert (code, json.loads(out)) == (128 + number, {"status": "interrupted"})
        assert "repeat the same command to go on" in err
        assert statuses(tmp_path) == ["interrupted"] * 2
        steps = last_steps(tmp_path)


def test_a_worker_does_not_begin_without_its_parent(tmp_path):
    """The parent was killed while the worker was starting."""
    order = json.dumps({"config": load_config("quickstart", QUICK).model_dump(), "out": "run"})
    worker = [sys.executable, "-m", "seqtrain.runs.worker", str(os.getppid())]
    ended = subprocess.run(worker, cwd=tmp_path, input=order + "\n", text=True, capture_output=True, check=False)
    assert (ended.returncode, ended.stdout) == (-signal.SIGTERM, "")
    assert not (tmp_path / "run").exists()


@needs_proc
def test_a_worker_that_is_killed_ends_the_comparison_and_the_other_run_is_saved(start_long, tmp_path):
    command = start_long()
    os.kill(workers(command)[0], signal.SIGKILL)
    code, out, err = command.communicate()
    assert (code, out) == (1, "")
    assert "its process ended with exit code -9" in err
    assert "Traceback" not in err
    assert statuses(tmp_path) == ["interrupted"]


@needs_proc
def test_workers_save_and_stop_when_the_parent_is_killed(start_long, tmp_path):
    """The directories of the runs are free for the next comparison."""
    command = start_long()
    children = workers(command)
    command.send_signal(signal.SIGKILL)
    assert command.wait() == -signal.SIGKILL
    until(lambda: not any(map(is_alive, children)))
    assert (len(children), statuses(tmp_path)) == (2, ["interrupted"] * 2)


def test_a_script_that_compares_needs_no_guard(tmp_path):
    """The processes do not run the script again."""
    (tmp_path / "script.py").write_text(
        "print('started', flush=True)\nfrom seqtrain.comparison import answer, parse_request\n"
        f"request = parse_request({['quickstart', *QUICK]}, cells='rnn,gru', seeds=1, jobs=2)\n"
        "print(answer(request, quiet=True)[1])\n"
    )
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "started\n0\n"


def test_the_cores_are_divided_among_the_jobs(seqtrain, monkeypatch):
    monkeypatch.setattr(local, "cores", lambda: 7)
    seqtrain("compare", "quickstart", *QUICK, "--cells", "rnn", "--seeds", 1, "--jobs", 3, "--out", "o")
    assert json.loads(Path("o/quickstart-rnn-seed0/summary.json").read_text())["threads"] == 2


def test_the_table_shows_what_is_running(seqtrain):
    seqtrain("train", "quickstart", *QUICK, "--out", "r/a")
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(dispatch.progress_table([(PlannedRun(None, Path("r/a")), 75.0)], 3, 9))
    shown = console.export_text()
    assert "3 of 9 runs done, 1 running" in shown
    row = next(line.split() for line in shown.splitlines() if line.strip().startswith("a "))
    assert (row[1], row[3]) == ("4", "75")
