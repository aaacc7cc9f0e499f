"""A process that trains one run after another: Python and PyTorch take longer to start than many a short run takes.

`python -m seqtrain.runs.worker PARENT` stops when its parent is no longer the process of that number. A line of stdin
is a run, `{"config": ..., "out": ...}`. A line of stdout is its end, `[exit code, message]`, as of
`seqtrain train`.
"""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from seqtrain.config import config_from
from seqtrain.runs.trainer import train_run
from seqtrain.system.errors import SeqtrainError
from seqtrain.system.streams import left_by_user_code

POLL_S = 0.5


def main() -> None:
    """Train the runs that stdin names, until it ends or a signal interrupts a run."""
    threading.Thread(target=_stop_without_parent, args=(int(sys.argv[1]),), daemon=True).start()
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)  # a user's cell may print; that is not an answer
        for line in sys.stdin:
            order = json.loads(line)
            print(json.dumps(_train(order["config"], Path(order["out"]))), file=answers, flush=True)


def _stop_without_parent(parent: int) -> None:
    """Once the parent is gone, save the run under way and stop it, as on SIGTERM."""
    while os.getppid() == parent:
        time.sleep(POLL_S)
    os.kill(os.getpid(), signal.SIGTERM)


def _train(config: dict[str, object], out: Path) -> tuple[int, str]:
    """Train a run, or go on with it; returns the exit code and the message of `seqtrain train`."""
    try:
        outcome = train_run(config_from(config, str(out)), out, resume=True, quiet=True)
    except SeqtrainError as error:
        return error.exit_code, str(error)
    except SystemExit as left:
        return SeqtrainError.exit_code, f"{out}: {left_by_user_code(left)}"
    except OSError as error:
        return SeqtrainError.exit_code, f"{error.filename or out}: {error.strerror}"
    return outcome.exit_code, outcome.message or ""


if __name__ == "__main__":
    main()
