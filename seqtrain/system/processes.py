"""Python processes of our own, which a file of the user's such as `signal.py` or `copy.py` must not break."""

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
