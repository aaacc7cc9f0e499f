"""The runs of a comparison as a job array of Slurm: a file of commands, and the lines that submit it."""

import hashlib
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from seqtrain.comparison.records import COMMANDS, TUNING
from seqtrain.comparison.request import TrainingRequest
from seqtrain.system.errors import ConfigError
from seqtrain.system.files import write_whole

MOST_TASKS = 1000
"""Tasks of one array in a Slurm with its usual MaxArraySize of 1001, which counts from 0."""


class JobArray(NamedTuple):
    """What to submit.

    commands : of the runs that are not done; each task of an array runs one.
    file : holds the commands, one a line; None if there is none.
    submit : lines for a shell, each of which submits an array and prints the number of its job.
    round, rounds : with a grid, the first round tunes, and the second one trains with what it has chosen.
    """

    commands: list[str]
    file: Path | None
    submit: list[str]
    round: int
    rounds: int

    def as_json(self) -> dict[str, Any]:
        """What `seqtrain compare --dry-run=array --json` prints."""
        return self._asdict() | {"file": None if self.file is None else str(self.file)}


def job_array(request: TrainingRequest, commands: Sequence[str]) -> JobArray:
    """Write a file of commands, and say how to submit it.

    The name of the file depends on its content. A task reads the file when it starts, so a file must not change while
    tasks wait, as it would if the next file, of the runs that are left, had the same name.

    Raises
    ------
    ConfigError : a command does not fit in one line.
    """
    if any("\n" in command for command in commands):
        raise ConfigError("--dry-run=array: a file or folder has a line break in its name; rename it")
    folder = request.out / TUNING
    tunes = any(Path(word).parent == folder for command in commands for word in shlex.split(command))
    rounds = 2 if request.grid else 1
    at = 1 if tunes else rounds
    if not commands:
        return JobArray([], None, [], at, rounds)
    content = "".join(f"{command}\n" for command in commands).encode()
    file = request.out / COMMANDS / f"{hashlib.sha256(content).hexdigest()[:8]}.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, content)
    return JobArray([*commands], file, [*_arrays(file, len(commands), request.jobs)], at, rounds)


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
