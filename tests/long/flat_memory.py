"""Resident memory of a long training on text; on Linux.

    python tests/long/flat_memory.py --steps 24000

The shipped config `words`, evaluated and saved on the way. Prints the memory after every 1,000 steps, and how far it
moved after the first 1,000; exit code 1 if by more than 2 %.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from seqtrain.runs.directory import RunDir


def main() -> None:
    """Train in a process of its own, and look at it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=24_000)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "run")
        sizes = f"train.steps={asked.steps}", "train.eval_every=2000", "train.save_every=500", "train.patience=null"
        command = [
            sys.executable,
            "-m",
            "seqtrain",
            "train",
            "words",
            *sizes,
            *asked.overrides,
            "--out",
            str(out),
            "-q",
        ]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            seen = watch(process, RunDir(out))
    after = [memory for step, memory in seen if step >= 1000]
    moved = max(after) / after[0] - 1, min(after) / after[0] - 1
    print(f"after step 1,000 {after[0]:.1f} MiB; since then {moved[1]:+.2%} to {moved[0]:+.2%}")
    sys.exit(process.returncode or max(abs(part) for part in moved) > 0.02)


def watch(process: "subprocess.Popen[bytes]", run: RunDir) -> list[tuple[int, float]]:
    """The step of the last record and the memory in MiB, several times a second until the process ends."""
    seen: list[tuple[int, float]] = []
    while process.poll() is None:
        time.sleep(0.2)
        record = run.last_record()
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
        if record is None or found is None:
            continue
        step, memory = record.step, int(found[1]) / 1024
        if not seen or step // 1000 > seen[-1][0] // 1000:
            print(f"step {step:6}: {memory:.1f} MiB", flush=True)
        seen.append((step, memory))
    return seen


if __name__ == "__main__":
    main()
