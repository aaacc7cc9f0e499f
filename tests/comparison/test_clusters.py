"""The adapters to Dask and Slurm, against stand-ins for `distributed` and `submitit`; with these, if they are there."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from samples import QUICK

from seqtrain.comparison.execution import slurm
from seqtrain.comparison.execution.run import Workplace
from seqtrain.comparison.place import Place
from seqtrain.comparison.plan import PlannedRun
from seqtrain.config import load_config
from seqtrain.system.errors import SeqtrainError
from seqtrain.system.files import write_whole


def runs(count):
    config = load_config("quickstart", QUICK)
    return [PlannedRun(config, Path(f"o/run{number}")) for number in range(count)]


class Client:
    """Of `distributed`; the address says whether a scheduler answers."""

    made: list["Client"] = []  # noqa: RUF012

    def __init__(self, address, **_):
        if "nobody" in str(address):
            raise OSError("timed out")
        self.address, self.status, self.sent = address, "running", []
        self.made.append(self)

    def scheduler_info(self):
        return {"workers": {}}

    def get_executor(self, **options):
        assert options == {"pure": False, "retries": 0}
        return SimpleNamespace(submit=lambda *given: (self.sent.append(given), Future())[1])

    def close(self, **_):
        if self.status == "connecting":
            raise TimeoutError("timed out after 0 s.")
        self.status = "closed"


@pytest.fixture
def dask(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Client, "made", [])
    distributed, clusters = ModuleType("distributed"), []

    class LocalCluster(SimpleNamespace):
        def __init__(self, **options):
            super().__init__(**options)
            clusters.append(self)

        def close(self):
            self.is_closed = True

    distributed.Client, distributed.LocalCluster, distributed.clusters = Client, LocalCluster, clusters
    monkeypatch.setitem(sys.modules, "distributed", distributed)
    from seqtrain.comparison.execution.dask import DaskExecutor

    return lambda place: DaskExecutor(place, Path("o/cluster"))


def answer(path: Path, text: str) -> None:
    """Write the result of a job as submitit does: no thread that polls sees half of it."""
    write_whole(path, text.encode())


def test_dask_gets_plain_data_and_functions_by_name(dask, capsys):
    with dask(Place("dask", "tcp://node1:8786", jobs=3)) as engine:
        engine.submit(runs(2))
        assert [engine.room(submitted, alone=False) for submitted in (0, 2, 9)] == [3, 1, 0]
        sent = Client.made[0].sent
        assert {call[0].__module__ + "." + call[0].__qualname__ for call in sent} == {
            "seqtrain.comparison.execution.job.train"
        }
        assert json.loads(json.dumps(sent[1][1]))["out"] == str(Path("o/run1").absolute())
        assert Path(sent[0][1]["permit"]).exists()
    assert "tcp://node1:8786: the scheduler has no worker yet" in capsys.readouterr().err
    assert (Client.made[0].status, Path("o/cluster").exists()) == ("closed", False)


def test_a_cluster_of_this_machine_has_a_worker_for_each_run(dask, monkeypatch):
    with dask(Place("dask", None, jobs=4)) as engine:
        (cluster,) = sys.modules["distributed"].clusters
        assert (cluster.n_workers, cluster.threads_per_worker, engine.room(9, alone=False)) == (4, 1, None)
    assert cluster.is_closed


def test_workers_of_this_machine_share_its_cores_and_its_process(dask, monkeypatch):
    """In processes of their own they would run the script of a user again."""
    monkeypatch.setattr("seqtrain.comparison.execution.dask.cores", lambda: 9)
    with dask(Place("dask", None, jobs=4)) as engine:
        engine.submit(runs(1))
        assert Client.made[0].sent[0][1]["threads"] == 2
        assert sys.modules["distributed"].clusters[0].processes is False


def test_runs_on_dask_go_on_after_an_error_and_stop_when_asked(dask):
    with pytest.raises(SeqtrainError), dask(Place("dask", "tcp://node1:1")) as engine:
        raise SeqtrainError("the scheduler is away")
    assert engine._permit.path.exists()
    engine.stop(signal.SIGINT)
    assert not engine._permit.path.exists()


def test_runs_on_slurm_go_on_after_an_error(slurm_engine):
    with pytest.raises(SeqtrainError), slurm_engine() as engine:
        raise SeqtrainError("Slurm is away")
    assert engine._permit.path.exists()


def test_a_job_of_this_machine_that_has_ended_without_an_answer_is_lost(slurm_engine):
    with slurm_engine(Place("slurm-local")) as engine:
        (future,) = engine.submit(runs(1))
        engine._executor.jobs[0].done = lambda: True
        assert "ended without an answer" in str(future.exception(5))


def test_a_job_is_lost_only_if_the_queue_lacks_it_twice(slurm_engine, monkeypatch):
    monkeypatch.setattr(slurm, "QUEUE_S", 1000.0)
    with slurm_engine() as engine:
        engine.submit(runs(4))
        assert [engine._gone(), engine._gone()] == [set(), {"7_0", "7_1"}]


def test_a_scheduler_that_was_lost_is_looked_for_again(dask):
    with pytest.raises(SeqtrainError, match=r"no Dask scheduler answers at tcp://nobody:1 .*start one with"):
        dask(Place("dask", "tcp://nobody:1"))
    assert not Path("o/cluster").exists()
    with dask(Place("dask", "tcp://node1:8786")) as engine:
        Client.made[0].status = "connecting"
        engine.submit(runs(1))
        assert [len(client.sent) for client in Client.made] == [0, 1]


def test_what_a_killed_command_has_left_ends_with_the_next_one(tmp_path):
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster/permit-old").touch()
    with pytest.raises(SeqtrainError), Workplace(Place("dask", "tcp://node1:1"), tmp_path, 0):
        raise SeqtrainError("a disk is full")
    assert (tmp_path / "cluster/permit-old").exists()  # the command is repeated, and goes on with these runs
    with Workplace(Place("dask", "tcp://node1:1"), tmp_path, 0) as workplace:
        assert workplace.train([], quiet=True) == (0, [])
        workplace.close()
    assert not (tmp_path / "cluster").exists()


class FakeJob:
    """Of submitit."""

    def __init__(self, folder, job_id, function=None):
        self.job_id, self.function = job_id, function
        result, log = Path(folder, f"{job_id}_result"), Path(folder, f"{job_id}.err")
        self.paths = SimpleNamespace(result_pickle=result, stderr=log)

    def result(self):
        text = self.paths.result_pickle.read_text()
        if text == "error":
            raise RuntimeError("FailedJobError")
        return json.loads(text)

    def done(self):
        return False


class AutoExecutor:
    """Of submitit."""

    def __init__(self, folder, cluster, **_):
        self.folder, self.cluster, self.jobs = folder, cluster, []
        folder.mkdir(parents=True, exist_ok=True)

    def update_parameters(self, **asked):
        self.asked = asked

    @contextmanager
    def batch(self):
        yield

    def submit(self, function):
        if self.asked.get("slurm_partition") == "none":
            raise RuntimeError("sbatch: error: invalid partition specified: none")
        number = len([*self.folder.iterdir()])
        Path(self.folder, f"7_{number}").touch()
        self.jobs.append(FakeJob(self.folder, f"7_{number}", function))
        return self.jobs[-1]


@pytest.fixture
def slurm_engine(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    submitit = ModuleType("submitit")
    submitit.AutoExecutor, submitit.SlurmJob = AutoExecutor, FakeJob
    monkeypatch.setitem(sys.modules, "submitit", submitit)
    monkeypatch.setattr(slurm, "POLL_S", 0.005)
    monkeypatch.setattr(slurm, "QUEUE_S", 0.01)
    called, queue = [], {"listed": ""}

    def run(command, **_):
        called.append(command)
        if command[0] == "squeue" and queue["listed"] is None:
            raise subprocess.CalledProcessError(1, command)
        listed = queue["listed"]
        return SimpleNamespace(stdout=listed if isinstance(listed, bytes) else listed.encode())

    monkeypatch.setattr(slurm.subprocess, "run", run)

    def engine(place=None, listed=""):
        queue["listed"] = listed
        made = slurm.SlurmExecutor(place or Place("slurm", jobs=None, runs_per_job=2), Path("o/cluster"))
        made.called, made.queue = called, queue
        return made

    return engine


def test_slurm_is_asked_for_what_the_options_say(slurm_engine):
    with slurm_engine(Place("slurm", jobs=5, slurm={"slurm_partition": "gpu", "timeout_min": 90})) as engine:
        wanted = {"name": "seqtrain", "timeout_min": 90, "slurm_array_parallelism": 5, "slurm_partition": "gpu"}
        assert (engine._executor.cluster, engine._executor.asked, engine.room(9, alone=False)) == (
            "slurm",
            wanted,
            None,
        )
    with slurm_engine(Place("slurm-local", jobs=2, runs_per_job=3)) as engine:
        assert engine._executor.cluster == "local"
        assert "slurm_array_parallelism" not in engine._executor.asked
    with slurm_engine(Place("slurm", jobs=None)) as engine:
        assert engine._executor.asked["slurm_array_parallelism"] == 1000  # not the 256 of submitit


@pytest.mark.parametrize(("where", "threads"), [("slurm-local", 4), ("slurm", None)])
def test_jobs_on_this_machine_share_its_cores(slurm_engine, monkeypatch, where, threads):
    monkeypatch.setattr("seqtrain.comparison.execution.slurm.cores", lambda: 9)
    with slurm_engine(Place(where, jobs=2)) as engine:
        engine.submit(runs(1))
        assert engine._executor.jobs[0].function.orders[0].threads == threads


def test_a_job_on_this_machine_takes_room_until_all_its_runs_have_ended(slurm_engine):
    with slurm_engine(Place("slurm-local", jobs=2, runs_per_job=3)) as engine:
        assert (engine.room(0, alone=False), engine.room(0, alone=True)) == (6, 2)
        engine.submit(runs(4))
        assert engine.room(1, alone=False) == 0  # three runs are done, and both jobs go on
        answer(Path("o/cluster/jobs/7_0_result"), "[]")
        ends = time.monotonic() + 5
        while engine.room(1, alone=False) != 3 and time.monotonic() < ends:
            time.sleep(0.01)
        assert engine.room(1, alone=False) == 3
        assert engine.room(4, alone=False) == 0  # those of a command that was killed are known by their directories


def test_several_runs_share_a_job_but_not_those_that_lost_one(slurm_engine):
    with slurm_engine(listed="7_0 7_1 7_2 7_3 7_4") as engine:
        first = engine.submit(runs(5))
        engine.submit(runs(2), alone=True)
        jobs = engine._executor.jobs
        assert [len(job.function.orders) for job in jobs] == [2, 2, 1, 1, 1]
        answer(jobs[0].paths.result_pickle, '[[0, ""], [2, "wrong"]]')
        answer(jobs[1].paths.result_pickle, "error")
        answer(jobs[2].paths.result_pickle, "[]")
        assert [future.result(5) for future in first[:2]] == [(0, ""), (2, "wrong")]
        for future, message in (
            (first[2], "FailedJobError"),
            (first[3], "FailedJobError"),
            (first[4], "gave no answer"),
        ):
            assert message in str(future.exception(5))


def test_a_job_that_has_left_the_queue_is_lost(slurm_engine):
    with slurm_engine() as engine:
        engine.queue["listed"] = None  # Slurm does not answer, which says nothing
        futures = engine.submit(runs(4))
        Path("o/cluster/jobs/7_1.err").write_text("CANCELLED DUE TO PREEMPTION")
        time.sleep(0.1)
        assert not any(future.done() for future in futures)
        engine.queue["listed"] = "7_0\n"
        assert "job 7_1 ended without an answer: CANCELLED DUE TO PREEMPTION" in str(futures[3].exception(5))
        assert not futures[0].done()
        futures[0].cancel()
        engine.queue["listed"] = ""
        assert "ended without an answer" in str(futures[1].exception(5))
        with pytest.raises(CancelledError):
            futures[0].result()


def test_jobs_of_a_killed_command_are_found_in_the_queue(slurm_engine):
    killed = slurm_engine()
    killed.submit(runs(6))
    killed._closed.set()
    with slurm_engine(listed="7_0 7_2 99") as engine:
        futures = engine.submit(runs(6))
        assert [len(job.function.orders) for job in engine._executor.jobs] == [2]  # those of the job that is gone
        answer(Path("o/cluster/jobs/7_2_result"), '[[0, ""], [3, ""]]')
        assert [future.result(5) for future in futures[4:]] == [(0, ""), (3, "")]
        engine.submit(runs(1))
        assert len(engine._executor.jobs) == 2  # a job is found once
    with slurm_engine(listed=None) as engine:  # nobody knows, so nothing is submitted twice
        engine.submit(runs(2))
        assert engine._executor.jobs == []


def test_jobs_of_a_killed_command_must_have_the_same_settings(slurm_engine):
    killed = slurm_engine()
    killed.submit(runs(3))
    killed._closed.set()
    longer = load_config("quickstart", [*QUICK, "train.steps=7777"])
    with slurm_engine(listed="7_0 7_1") as engine:
        with pytest.raises(SeqtrainError, match=r"other settings are in the queue for .*/run2; .*\(scancel 7_1\)"):
            engine.submit([PlannedRun(longer, Path("o/run2"))])
        assert len(engine.submit(runs(2))) == 2
        assert engine._executor.jobs == []


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"7_0": ["o/run0"]}', '{"7_0": 3}', b"\xff"])
def test_a_damaged_list_of_jobs_is_no_list(slurm_engine, text):
    Path("o/cluster").mkdir(parents=True)
    Path("o/cluster/jobs.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with slurm_engine(listed="7_0") as engine:
        engine.submit(runs(1))
        assert len(engine._executor.jobs) == 1


def test_a_queue_that_cannot_be_read_says_nothing(slurm_engine, monkeypatch):
    with slurm_engine(listed=b"\xff\xfe 7_0") as engine:
        assert "7_0" in engine._queue()
        monkeypatch.setattr(slurm.getpass, "getuser", lambda: {}["no such user"])
        assert engine._queue() is None


def test_a_disk_that_does_not_answer_does_not_end_the_watch(slurm_engine):
    with slurm_engine(listed="7_0 7_1") as engine:
        (future,) = engine.submit(runs(1))
        path, answers = engine._executor.jobs[0].paths.result_pickle, [OSError("Stale file handle")] * 3

        def exists():
            if answers:
                raise answers.pop()
            return path.exists()

        engine._executor.jobs[0].paths.result_pickle = SimpleNamespace(exists=exists, read_text=path.read_text)
        answer(path, '[[0, ""]]')
        assert future.result(5) == (0, "")


def test_more_jobs_than_slurm_takes_become_several_arrays(slurm_engine, monkeypatch):
    monkeypatch.setattr(slurm, "MOST_TASKS", 2)
    batches = []
    monkeypatch.setattr(AutoExecutor, "batch", lambda _: nullcontext(batches.append(1)))
    with slurm_engine(Place("slurm", jobs=None)) as engine:
        assert len(engine.submit(runs(5))) == len(engine._executor.jobs) == 5
        assert len(batches) == 3


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="no signal masks")
@pytest.mark.parametrize(("where", "is_blocked"), [("slurm-local", True), ("slurm", False)])
def test_ctrl_c_does_not_reach_jobs_of_this_machine(slurm_engine, monkeypatch, where, is_blocked):
    masks = []

    @contextmanager
    def batch(_):
        yield
        masks.append(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))  # jobs start at the end

    monkeypatch.setattr(AutoExecutor, "batch", batch)
    with slurm_engine(Place(where)) as engine:
        engine.submit(runs(1))
    assert masks == [is_blocked]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_stop_takes_waiting_jobs_out_of_the_queue(slurm_engine):
    with slurm_engine(listed="7_0 7_1") as engine:
        engine.submit(runs(3))
        engine.stop(15)
        assert ["scancel", "--state=PENDING", "7_0", "7_1"] in engine.called
        assert not engine._permit.path.exists()


def test_a_machine_that_is_no_part_of_a_cluster_is_an_error(slurm_engine, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError('Could not detect "srun"')

    monkeypatch.setattr(sys.modules["submitit"], "AutoExecutor", refuse)
    with pytest.raises(SeqtrainError, match='--on slurm: Could not detect "srun"'):
        slurm_engine()


def test_what_sbatch_says_is_an_error(slurm_engine):
    with (
        slurm_engine(Place("slurm", slurm={"slurm_partition": "none"})) as engine,
        pytest.raises(SeqtrainError, match="--on slurm: the jobs were not taken: sbatch: error: invalid partition"),
    ):
        engine.submit(runs(1))


@pytest.mark.parametrize(("where", "package"), [("dask", "distributed"), ("slurm-local", "submitit")])
def test_a_real_cluster_trains_the_same(where, package, tmp_path):
    pytest.importorskip(package)
    command = [
        sys.executable,
        "-m",
        "seqtrain",
        "compare",
        "quickstart",
        *QUICK,
        "threads=1",
        "--cells",
        "rnn",
        "--seeds",
        "2",
    ]
    for place in ("local", where):
        words = [*command, "--on", place, "--jobs", "2", "--out", place]
        subprocess.run(words, cwd=tmp_path, env=os.environ, check=True, capture_output=True)
    for seed in range(2):
        one, other = (tmp_path / place / f"quickstart-rnn-seed{seed}/last.safetensors" for place in ("local", where))
        assert one.read_bytes() == other.read_bytes()
