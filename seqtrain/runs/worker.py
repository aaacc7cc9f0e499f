"""A process that trains one run after another: Python and PyTorch take longer to start than many a short run takes.

`python -m seqtrain.runs.worker PARENT [PERMIT]` stops when its parent is no longer the process of that number, or
when the file PERMIT is gone. A line of stdin is a run, `{"config": ..., "out": ...}`. A line of stdout is its end,
`ANSWER` and `[exit code, message]`, as of `seqtrain train`.

With `"patience": SECONDS` the run may be under way elsewhere, as after the death of a host: the directory is waited
for, and a run that is done by then is left as it is.

With PERMIT, a second signal does nothing while a run is saved: on a cluster, several parties ask a process to end.
"""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from seqtrain.system.errors import SeqtrainError
from seqtrain.system.signals import NAMES
from seqtrain.system.streams import left_by_user_code, raised_by

POLL_S = 0.5

BUSY = 75
"""Exit code if another process still runs in the directory: that of a failure that may pass, in `sysexits.h`."""

ANSWER = "seqtrain: "
"""Begins a line of stdout that is an answer."""


class _State:
    """Whether a run is under way, and whether a signal came meanwhile that the training did not see."""

    is_busy = False
    is_asked = False


_state = _State()


def main() -> None:
    """Train the runs that stdin names, until it ends or a signal interrupts a run."""
    parent, *permit = sys.argv[1:]
    if permit:
        _take_signals_calmly()
    watch = threading.Thread(target=_stop_when_asked, args=(int(parent), [*map(Path, permit)]), daemon=True)
    watch.start()
    with os.fdopen(os.dup(0), encoding="utf-8") as orders, os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        _close_to_users()
        _load()
        for line in orders:
            _state.is_busy = True
            order = json.loads(line)
            answer = json.dumps(_train(order["config"], Path(order["out"]), order.get("patience")))
            print(f"\n{ANSWER}{answer}", file=answers, flush=True)
            _state.is_busy = False


def _take_signals_calmly() -> None:
    """End on a signal only between two runs; the training itself follows the first one that it sees."""

    def note(number: int, frame: object) -> None:  # noqa: ARG001
        if not _state.is_busy:
            os._exit(128 + number)
        _state.is_asked = True

    for name in NAMES:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), note)
    if hasattr(signal, "SIGUSR2"):  # Slurm sends it to all processes of a job, and the parent passes it on
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)


def _close_to_users() -> None:
    """Give the code of users, and their processes, another stdin and stdout: what they print is no answer."""
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)


def _load() -> None:
    """Load what takes seconds while there may be no run yet, as soon as stdout has been taken from it."""

    import seqtrain.runs.trainer  # noqa: F401


def _stop_when_asked(parent: int, permits: list[Path]) -> None:
    """Once the parent or a permit is gone, save the run under way and stop it, as on SIGTERM.

    The signal is sent again if there are permits: then one that comes before the training watches is lost.
    """
    while os.getppid() == parent and all(map(_is_there, permits)):
        time.sleep(POLL_S)
    while permits:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(POLL_S)
    os.kill(os.getpid(), signal.SIGTERM)


def _is_there(file: Path) -> bool:
    try:
        return file.exists()
    except OSError:  # the disk does not answer, which may pass
        return True


def _train(config: dict[str, object], out: Path, patience: float | None) -> tuple[int, str]:
    """Train a run, or go on with it; returns the exit code and the message of `seqtrain train`.

    Parameters
    ----------
    patience : seconds to wait for another process in the directory; None for a run that is only ours.
    """
    from seqtrain.config import config_from
    from seqtrain.runs.directory import InUseError, RunDir
    from seqtrain.runs.trainer import train_run

    ends = time.monotonic() + (patience or 0.0)
    try:
        while True:
            if patience is not None and RunDir(out).is_done():
                return 0, ""
            try:
                outcome = train_run(config_from(config, str(out)), out, resume=True, quiet=True)
                break
            except InUseError as error:
                if patience is None:
                    raise
                if _state.is_asked:
                    return 128 + signal.SIGTERM, str(error)
                if time.monotonic() > ends:
                    return BUSY, str(error)
                time.sleep(POLL_S)
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
