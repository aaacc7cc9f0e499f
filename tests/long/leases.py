"""Two processes, as if on two hosts, race for one folder, and one of them is frozen past its heartbeat.

    python tests/long/leases.py --races 100

Each process writes a file and appends a line as fast as it can while it holds the folder. Before each write it looks
whether what it wrote last is still there: nobody else may have written since. The lines tell the same afterwards: their
writer changes only when the folder changes hands. Needs SIGSTOP.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WRITER = """
import sys, time, json
from pathlib import Path
from seqtrain.runs.directory import RunDir
from seqtrain.runs.records import MetricsRecord
from seqtrain.system import lease
from seqtrain.system.errors import SeqtrainError
from seqtrain.system.files import write_whole
name = sys.argv[1]
lease.BEAT_S, lease.STALE_S = 0.05, 0.4
lease._machine = lambda: name
run, log, stop = RunDir(Path("run")), open(f"log-{name}", "w"), Path("stop")
while not stop.exists():
    try:
        with run.locked():
            has_written = False
            while not stop.exists():
                if has_written:
                    seen = run.summary.read_text(), run.last_record().step
                    run.check_still_own()  # else what it saw may be the work of the next holder
                    if seen != (name, ord(name)):
                        Path("two-writers").write_text(f"{name} saw {seen}")
                begin = time.monotonic()
                write_whole(run.summary, name.encode())
                run.append(MetricsRecord(step=ord(name), split="train", elapsed_s=begin))
                has_written = True
                print(begin, file=log, flush=True)
    except SeqtrainError:
        time.sleep(0.01)
"""

FROZEN_S = 0.9
"""More than the holder may be silent."""


def race(seed: int) -> tuple[int, int, bool]:
    """Writes of both processes, and whether the folder changed hands and nobody wrote into a folder of the other."""
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        processes = [subprocess.Popen([sys.executable, "-c", WRITER, name], cwd=folder) for name in "ab"]
        summary = Path(folder) / "run/summary.json"
        while not summary.exists():
            time.sleep(0.05)
        time.sleep(0.5 + 0.4 * draw.random())
        holder = summary.read_text()
        frozen = processes["ab".index(holder)]
        frozen.send_signal(signal.SIGSTOP)
        time.sleep(FROZEN_S)
        frozen.send_signal(signal.SIGCONT)
        time.sleep(0.5)
        (Path(folder) / "stop").touch()
        for process in processes:
            process.wait()
        logs = {name: [float(line) for line in (Path(folder) / f"log-{name}").read_text().split()] for name in "ab"}
        had_two_writers = (Path(folder) / "two-writers").exists()
        steps = [json.loads(line)["step"] for line in (Path(folder) / "run/metrics.jsonl").read_text().splitlines()]
    other = "ba"["ab".index(holder)]
    changes = sum(a != b for a, b in zip(steps, steps[1:], strict=False))
    is_right = bool(logs[other]) and not had_two_writers and changes <= 1 + _returns(logs, holder, other)
    return len(logs["a"]), len(logs["b"]), is_right


def _returns(logs: dict[str, list[float]], holder: str, other: str) -> int:
    """How often the first process had the folder again after the second."""
    events = sorted([(begin, name) for name in (holder, other) for begin in logs[name]])
    return max(0, sum(a[1] != b[1] for a, b in zip(events, events[1:], strict=False)) - 1)


def main() -> None:
    """Run the races, and exit with 1 if one went wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--races", type=int, default=100)
    wrong = 0
    for seed in range(parser.parse_args().races):
        first, second, is_right = race(seed)
        wrong += not is_right
        print(f"race {seed}: {first} and {second} writes, {'as it must be' if is_right else 'WRONG'}", flush=True)
    print(f"{wrong} wrong")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
