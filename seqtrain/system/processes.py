"""Python processes of our own, which a file of the user's such as `signal.py` or `copy.py` must not break; and those
of `torchrun`."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def own_folders() -> list[str]:
    """The current folder if this process searches it for modules; else nothing."""
    return [str(Path.cwd())] if {"", str(Path.cwd())} & {*sys.path} else []


def python_command(module: str, *arguments: str, folders: Sequence[str] | None = None) -> list[str]:
    """The command that runs a module of seqtrain in a new process, as `python -m` does.

    Python searches the current folder first with `python -m`. Here it is searched last, and only if this process
    searches it.

    Parameters
    ----------
    folders : that are searched last instead.
    """
    searched = [str(Path(__file__).parents[2]), *(own_folders() if folders is None else folders)]  # of seqtrain first
    run = f"import runpy; runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    return [sys.executable, "-P", "-c", f"import sys; sys.path += {searched!r}; {run}", *arguments]


def started_by_torchrun() -> int:
    """How many processes `torchrun` started to work together, with this one; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def torchrun_rank() -> int:
    """The number of this process among them, from 0."""
    return int(os.environ["RANK"]) if started_by_torchrun() > 1 else 0
