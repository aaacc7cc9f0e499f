"""A process that trains one run after another: Python and PyTorch take longer to start than many a short run takes.

`python -m seqtrain.runs.worker PARENT` stops when its parent is no longer the process of that number. A line of stdin
is a run, `{"config": ..., "out": ...}`. A line of stdout is its end, `ANSWER` and `[exit code, message]`, as of
`seqtrain train`.
"""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from seqtrain.system.errors import SeqtrainError
from seqtrain.system.streams import left_by_user_code, raised_by

POLL_S = 0.5

ANSWER = "seqtrain: "
"""Begins a line of stdout that is an answer."""


def main() -> None:
    """Train the runs that stdin names, until it ends or a signal interrupts a run."""
    threading.Thread(target=_stop_without_parent, args=(int(sys.argv[1]),), daemon=True).start()
    with os.fdopen(os.dup(0), encoding="utf-8") as orders, os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        _close_to_users()
        for line in orders:
            order = json.loads(line)
            answer = json.dumps(_train(order["config"], Path(order["out"])))
            print(f"\n{ANSWER}{answer}", file=answers, flush=True)


def _close_to_users() -> None:
    """Give the code of users, and their processes, another stdin and stdout: what they print is no answer."""
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)


def _stop_without_parent(parent: int) -> None:
    """Once the parent is gone, save the run under way and stop it, as on SIGTERM."""
    while os.getppid() == parent:
        time.sleep(POLL_S)
    os.kill(os.getpid(), signal.SIGTERM)


def _train(config: dict[str, object], out: Path) -> tuple[int, str]:
    """Train a run, or go on with it; returns the exit code and the message of `seqtrain train`."""
    from seqtrain.config import config_from  # torch is loaded after stdout has been taken from it
    from seqtrain.runs.trainer import train_run

    try:
        outcome = train_run(config_from(config, str(out)), out, resume=True, quiet=True)
    except SeqtrainError as error:
        return error.exit_code, str(error)
    except SystemExit as left:
        return SeqtrainError.exit_code, f"{out}: {left_by_user_code(left)}"
    except OSError as error:
        if raised_by(error):
            raise
        return SeqtrainError.exit_code, f"{error.filename or out}: {error.strerror or error}"
    return outcome.exit_code, outcome.message or ""


if __name__ == "__main__":
    main()
    os._exit(0)  # a cell or a task may have started threads, which Python would wait for
