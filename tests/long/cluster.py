"""Comparisons on a cluster whose parts are killed, against the same comparison on one machine left alone.

    python tests/long/cluster.py dask
    python tests/long/cluster.py slurm-local
    python tests/long/cluster.py overhead

Some minutes on two cores each. `dask` starts a scheduler and two workers, kills workers 10 times and the comparison
twice at random moments, and repeats the command. `slurm-local` preempts jobs of submitit's local executor 10 times, by
the signal that Slurm sends, and kills the comparison twice. Then the files of all runs are compared with those of
`--on local`.

A hook in every Python process notes each write to the files of a run, with time and process. Two processes never train
a run at the same time if the writes of one all come before those of the other.

`overhead` compares the time of all runs on this machine with the sum of their own times.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import groupby
from pathlib import Path

HOOK = """
import os, sys, time
_log = os.open(os.environ["WRITES"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
_names = ("metrics.jsonl", "summary.json", "last.safetensors", "best.safetensors", "config.yaml")
def _note(event, given):
    if event == "open" and (given[2] or 0) & 3 or event == "os.rename":
        path = os.fspath(given[event == "os.rename"]) if not isinstance(given[0], int) else ""
        folder, _, name = str(path).rpartition("/")
        if name in _names and "/.lock" not in folder:
            line = f"{time.monotonic_ns()} {os.getpid()} {os.path.basename(folder)} {name}\\n"
            os.write(_log, line.encode())
sys.addaudithook(_note)
"""
"""A module `sitecustomize`, which every Python process loads."""

SETTINGS = (
    "task.length=10", "task.valid_size=50", "task.test_size=50", "model.hidden_size=4", "train.eval_every=300",
    "train.log_every=25", "train.save_every=100", "train.stop_when_solved=false", "threads=1",
)  # fmt: skip
TIMING = ("elapsed_s", "sequences_per_s")


def main() -> None:
    """Run one of the three, and exit with 1 if something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("dask", "slurm-local", "overhead"))
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=20, help="of each of two cells")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("hook").mkdir()
        Path("hook/sitecustomize.py").write_text(HOOK)
        if asked.what == "overhead":
            sys.exit(overhead(asked))
        sys.exit(disturbed(asked))


def command(asked: argparse.Namespace, out: str, *options: str) -> list[str]:
    """The command of a comparison."""
    steps = f"train.steps={asked.steps}"
    words = ("compare", "quickstart", *SETTINGS, steps, "--cells", "rnn,gru", "--seeds", str(asked.seeds))
    return [sys.executable, "-m", "seqtrain", *words, "--out", out, *options]


def environment() -> dict[str, str]:
    """The environment, with the hook."""
    paths = filter(None, [str(Path("hook").absolute()), os.environ.get("PYTHONPATH")])
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "WRITES": str(Path("writes").absolute())}


def disturbed(asked: argparse.Namespace) -> int:
    """A comparison whose workers and own process are killed; returns the exit code."""
    drawn = random.Random(asked.seed)
    began = time.monotonic()
    alone = subprocess.run(command(asked, "local", "--jobs", "2"), check=True, capture_output=True)
    print(f"left alone, local: {time.monotonic() - began:.0f} s", alone.stdout.decode().splitlines()[-1], sep="\n")
    with (dask_cluster if asked.what == "dask" else submitit_jobs)() as (options, victims, sent):
        killed = until_done(command(asked, "disturbed", *options), victims, sent, asked.kills, drawn)
    folders = [path for path in sorted(Path("local").iterdir()) if (path / "summary.json").exists()]
    differing = [f"{path.name}: {name}" for path in folders for name in differences(path)]
    twice, trainings = audit()
    print(
        f"{len(folders)} runs; {killed}; files that differ from local: {differing or 0}; runs that two processes wrote "
        f"at the same time: {twice or 0}; processes that wrote into a run: {trainings}"
    )
    return 1 if differing or twice or len(folders) != 2 * asked.seeds else 0


def until_done(
    words: list[str], victims: Callable[[], list[int]], sent: signal.Signals, kills: int, drawn: random.Random
) -> str:
    """Repeat a command until it ends by itself; returns what was killed."""
    began, log = time.monotonic(), Path("log").open("w")  # noqa: SIM115
    start = lambda: subprocess.Popen(words, env=environment(), stdout=log, stderr=log)  # noqa: E731
    process, workers, own, own_at, found = start(), 0, 0, {kills // 3, 2 * kills // 3}, Counter[str]()
    while process.poll() is None:
        with suppress(subprocess.TimeoutExpired):
            process.wait(drawn.uniform(4, 10))
        if workers < kills and victims() and Path("disturbed").exists():
            training, ends = {parent(pid): pid for pid in writing()}, time.monotonic() + 8 * (drawn.random() < 0.8)
            while not training.keys() & (alive := {*victims()}) and time.monotonic() < ends:
                time.sleep(0.05)
                training = {parent(pid): pid for pid in writing()}
            victim = drawn.choice(sorted(training.keys() & alive or alive) or [0])
            if victim == 0:
                continue
            with suppress(ProcessLookupError):
                os.kill(victim, sent)
                if victim in training and drawn.random() < 0.3:
                    os.kill(training[victim], signal.SIGKILL)
                    found["of them with the training process"] += 1
            workers += 1
            found["of them while a run was trained"] += victim in training
        if workers in own_at and process.poll() is None:
            own_at.remove(workers)
            time.sleep(drawn.uniform(0, 3))
            process.kill()
            process.wait()
            own += 1
            process = start()
    print(f"disturbed: {time.monotonic() - began:.0f} s, exit code {process.returncode}")
    for line in Path("log").read_text().splitlines():
        if "again" in line or "failed" in line:
            print(f"  {line}")
    assert process.returncode == 0, Path("log").read_text()
    return f"{sent.name} to workers {workers}, SIGKILL to the comparison {own}; {dict(found)}"


@contextmanager
def dask_cluster() -> Iterator[tuple[tuple[str, ...], Callable[[], list[int]], signal.Signals]]:
    """A scheduler and two workers, each with a nanny that starts it again."""
    dask, log = [sys.executable, "-m", "dask"], Path("cluster-log").open("w")  # noqa: SIM115
    file = Path("scheduler.json")
    scheduler = [*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", file]
    worker = [*dask, "worker", "--scheduler-file", str(file), "--nworkers", "2", "--nthreads", "1", "--no-dashboard"]
    lasting = [subprocess.Popen(scheduler, stdout=log, stderr=log)]
    while not file.exists():
        time.sleep(0.1)
    lasting.append(subprocess.Popen(worker, env=environment(), stdout=log, stderr=log))
    address = json.loads(file.read_text())["address"]

    def victims() -> list[int]:
        return [pid for pid in children(lasting[1].pid) if b"spawn_main" in words_of(pid)]

    try:
        yield ("--on", address.replace("tcp://", "dask://")), victims, signal.SIGKILL
    finally:
        for process in reversed(lasting):
            process.terminate()
            process.wait()


@contextmanager
def submitit_jobs() -> Iterator[tuple[tuple[str, ...], Callable[[], list[int]], signal.Signals]]:
    """Jobs of submitit on this machine, two at a time, each of two runs."""
    folder = str(Path("disturbed").absolute()).encode()

    def victims() -> list[int]:
        every = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal())
        return [pid for pid in every if b"submitit.core._submit" in (words := words_of(pid)) and folder in words]

    yield ("--on", "slurm-local", "--jobs", "2", "--runs-per-job", "2"), victims, signal.SIGUSR2


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    with suppress(OSError):
        return [int(word) for file in Path(f"/proc/{pid}/task").glob("*/children") for word in file.read_text().split()]
    return []


def parent(pid: int) -> int:
    """The process that has started a process."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def writing() -> set[int]:
    """The processes that wrote into runs within the last second."""
    with suppress(OSError):
        lines = [line.split() for line in Path("writes").read_text().splitlines()[-100:]]
        return {int(line[1]) for line in lines if int(line[0]) > time.monotonic_ns() - 10**9}
    return set()


def words_of(pid: int) -> bytes:
    """The command line of a process."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def differences(one: Path) -> list[str]:
    """The files of a run that differ from those of the disturbed one, but for what a clock says."""
    other = Path("disturbed", one.name)
    names = ("config.yaml", "last.safetensors", "best.safetensors")
    found = [name for name in names if (one / name).read_bytes() != (other / name).read_bytes()]
    return found + [name for name in ("metrics.jsonl", "summary.json") if untimed(one / name) != untimed(other / name)]


def untimed(path: Path) -> list[dict[str, object]]:
    """The records of a file without what a clock says."""
    text = path.read_text("utf-8")
    records = [json.loads(text)] if path.suffix == ".json" else [json.loads(line) for line in text.splitlines()]
    return [{key: value for key, value in record.items() if key not in TIMING} for record in records]


def audit() -> tuple[list[str], dict[int, int]]:
    """Runs into which two processes wrote at the same time; and how many runs were written by how many processes."""
    written: dict[str, list[tuple[int, str]]] = {}
    for line in Path("writes").read_text().splitlines():
        at, pid, run, _ = line.split()
        written.setdefault(run, []).append((int(at), pid))
    runs = {run: [pid for pid, _ in groupby(pid for _, pid in sorted(events))] for run, events in written.items()}
    runs = {run: pids for run, pids in runs.items() if "seed" in run}
    counts = sorted(len(pids) for pids in runs.values())
    return [run for run, pids in runs.items() if len(set(pids)) < len(pids)], {
        number: counts.count(number) for number in sorted(set(counts))
    }


def overhead(asked: argparse.Namespace) -> int:
    """The time of all runs beside the sum of their own times, for one and for two at a time."""
    from seqtrain.comparison.api import answer
    from seqtrain.comparison.execution.run import Workplace
    from seqtrain.comparison.options import parse_request

    original, times = Workplace.train, dict[str, float]()

    def timed(*arguments: object, **options: object) -> object:
        began = time.monotonic()
        result = original(*arguments, **options)
        times["runs"] = time.monotonic() - began
        return result

    Workplace.train = timed  # type: ignore[method-assign]
    targets = ["quickstart", *SETTINGS, f"train.steps={asked.steps}"]
    for jobs in (1, 2):
        request = parse_request(targets, cells="rnn,gru", seeds=asked.seeds, jobs=jobs, out=f"j{jobs}")
        began = time.monotonic()
        answer(request, quiet=True)
        whole = time.monotonic() - began
        own = [json.loads(path.read_text())["elapsed_s"] for path in Path(f"j{jobs}").glob("*/summary.json")]
        share = times["runs"] / (sum(own) / jobs) - 1
        print(
            f"--jobs {jobs}: {len(own)} runs of {sum(own) / len(own):.2f} s: {times['runs']:.1f} s for all, sum / jobs "
            f"{sum(own) / jobs:.1f} s: {share:+.1%}; the whole comparison {whole:.1f} s"
        )
    return 0


if __name__ == "__main__":
    main()
