"""Python processes of our own, which a file of the user's such as `signal.py` or `copy.py` must not break; and those
of `torchrun`."""

import os
import sys
from pathlib import Path


def python_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of seqtrain in a new process, as `python -m` does.

    Python searches the current folder first with `python -m`. Here it is searched last, and only if this process
    searches it.
    """
    folders = [str(Path(__file__).parents[2])]  # of seqtrain
    if {"", str(Path.cwd())} & {*sys.path}:
        folders.append(str(Path.cwd()))
    run = f"import runpy; runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    return [sys.executable, "-P", "-c", f"import sys; sys.path += {folders!r}; {run}", *arguments]


def started_by_torchrun() -> int:
    """How many processes `torchrun` started to work together, with this one; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def torchrun_rank() -> int:
    """The number of this process among them, from 0."""
    return int(os.environ["RANK"]) if started_by_torchrun() > 1 else 0
