"""A process that trains one run after another: starting Python and PyTorch takes longer than many a short run.

Each line on stdin is a run, {"config": ..., "out": ...}; each on stdout how it ended, {"code": ..., "told": ...}.
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path
from queue import Queue

from seqtrain.config import config_from
from seqtrain.runs.trainer import train_run
from seqtrain.system.errors import SeqtrainError


def main() -> None:
    """Train what stdin names, until it ends or a signal interrupts a run."""
    orders: Queue[str | None] = Queue()
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)  # what a user's cell prints is no answer
        threading.Thread(target=_listen, args=(orders,), daemon=True).start()
        while (line := orders.get()) is not None:
            order = json.loads(line)
            code, told = train(order["config"], Path(order["out"]))
            print(json.dumps({"code": code, "told": told}), file=answers, flush=True)


def _listen(orders: "Queue[str | None]") -> None:
    """Pass on what stdin says; when it ends, whoever asked is gone, and a run under way saves and stops."""
    for line in sys.stdin:
        orders.put(line)
    orders.put(None)
    os.kill(os.getpid(), signal.SIGTERM)


def train(config: dict[str, object], out: Path) -> tuple[int, str]:
    """Train a run, or go on with it; returns the exit code that `seqtrain train` would have, and what went wrong."""
    try:
        outcome = train_run(config_from(config, str(out)), out, resume=True, quiet=True)
    except SeqtrainError as error:
        return error.exit_code, str(error)
    except OSError as error:
        return SeqtrainError.exit_code, f"{error.filename or out}: {error.strerror}"
    return outcome.exit_code, outcome.message or ""


if __name__ == "__main__":
    main()
