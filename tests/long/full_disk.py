"""Runs on a disk of every size that is too small, then with room enough; as root, on Linux.

    python tests/long/full_disk.py

Each attempt has a tmpfs of its own, a page larger than the one before. The run must end with exit code 2 and a
sentence, what it left must load, and with a larger disk `--resume` must end with the bytes of a run that never met the
limit.
"""

import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from interruptions import differences

from seqtrain.runs.checkpoint import load_checkpoint

PAGE = 4096
TRAIN = (
    "train", "quickstart", "threads=1", "train.steps=9", "train.eval_every=4", "train.log_every=1",
    "train.save_every=3", "train.stop_when_solved=false", "task.valid_size=20", "task.test_size=20",
    "model.hidden_size=8", "--quiet",
)  # fmt: skip


def main() -> None:
    """Every size from one page to the first that is enough."""
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        whole, disk = Path(folder, "whole"), Path(folder, "disk")
        assert seqtrain(whole).returncode == 0
        disk.mkdir()
        pages = 2
        while attempt(pages, disk, whole, found):
            pages += 1
    print(f"{pages - 2} sizes of disk, from {2 * PAGE} to {(pages - 1) * PAGE} bytes, were too small")
    for what, count in sorted(found.items()):
        print(f"{count:6}  {what}")
    sys.exit(1 if any("WRONG" in what for what in found) else 0)


def attempt(pages: int, disk: Path, whole: Path, found: Counter[str]) -> bool:
    """Train on a disk of so many pages, then with room; returns whether the disk was too small."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={pages * PAGE}", "none", disk], check=True)
    try:
        out = disk / "run"
        ended = seqtrain(out)
        if ended.returncode == 0:
            return False
        if ended.returncode != 2 or "Traceback" in ended.stderr or "No space left on device" not in ended.stderr:
            found[f"WRONG end, {ended.returncode}: {ended.stderr.strip()[-200:]}"] += 1
        for checkpoint in out.glob("*.safetensors"):
            load_checkpoint(checkpoint)
            found[f"{checkpoint.name} loads"] += 1
        subprocess.run(["mount", "-o", f"remount,size={1000 * PAGE}", disk], check=True)
        resumed = seqtrain(out, "--resume")
        differing = differences(whole, out) if resumed.returncode == 0 else [resumed.stderr.strip()]
        found["the same bytes with room" if not differing else f"WRONG, differs: {', '.join(differing)}"] += 1
        return True
    finally:
        subprocess.run(["umount", disk], check=True)


def seqtrain(out: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """The command, in a process of its own."""
    command = [sys.executable, "-m", "seqtrain", *TRAIN, "--out", str(out), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    main()
