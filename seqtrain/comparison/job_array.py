"""The runs of a comparison as a job array of Slurm: a file of commands, and the lines that submit it."""

import hashlib
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from seqtrain.comparison.defaults import MOST_TASKS
from seqtrain.comparison.records import COMMANDS
from seqtrain.comparison.runner import Commands
from seqtrain.system.errors import ConfigError
from seqtrain.system.files import write_whole


class JobArray(NamedTuple):
    """What to submit.

    commands : of the runs that are not done; each task of an array runs one.
    file : holds the commands, one a line; None if there is none.
    submit : lines for a shell, each of which submits an array and prints the number of its job.
    round, rounds : as of `Commands`.
    """

    commands: list[str]
    file: Path | None
    submit: list[str]
    round: int
    rounds: int

    def as_json(self) -> dict[str, Any]:
        """What `seqtrain compare --dry-run=array --json` prints."""
        return self._asdict() | {"file": None if self.file is None else str(self.file)}


def job_array(out: Path, commands: Commands, jobs: int = 1) -> JobArray:
    """Write a file of commands, and say how to submit it.

    The name of the file depends on its content. A task reads the file when it starts, so a file must not change while
    tasks wait, as it would if the next file, of the runs that are left, had the same name.

    Parameters
    ----------
    out : the folder of the comparison.
    jobs : tasks that run at a time; 1 for as many as Slurm allows.

    Raises
    ------
    ConfigError : a command does not fit in one line.
    """
    lines = [*commands.lines]
    if any("\n" in line for line in lines):
        raise ConfigError("--dry-run=array: a file or folder has a line break in its name; rename it")
    if not lines:
        return JobArray([], None, [], commands.round, commands.rounds)
    content = "".join(f"{line}\n" for line in lines).encode()
    file = out / COMMANDS / f"{hashlib.sha256(content).hexdigest()[:8]}.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, content)
    submit = [*_arrays(file, len(lines), jobs)]
    return JobArray(lines, file, submit, commands.round, commands.rounds)


def _arrays(file: Path, count: int, jobs: int) -> Iterator[str]:
    """The lines that submit the commands, at most `MOST_TASKS` by each.

    The shell of a task is replaced by its command, so that a signal from Slurm reaches the training.
    """
    at_a_time = f"%{jobs}" if jobs > 1 else ""
    for first in range(0, count, MOST_TASKS):
        number = f"$((SLURM_ARRAY_TASK_ID + {first}))" if first else "${SLURM_ARRAY_TASK_ID}"
        script = f'eval "exec $(sed -n "{number}p" {shlex.quote(str(file))})"'
        tasks = f"1-{min(MOST_TASKS, count - first)}{at_a_time}"
        yield shlex.join(["sbatch", f"--array={tasks}", "--parsable", "--wrap", script])
