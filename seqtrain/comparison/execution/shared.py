"""What all clusters share: orders for their workers, and a file that lets these go on."""

import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from seqtrain.comparison.execution.job import Order
from seqtrain.comparison.plan import PlannedRun
from seqtrain.system.processes import own_folders


class Permit:
    """A file for each command that trains in a folder. Once it is gone, the runs of that command save and stop.

    It stays if the command is killed, and so its runs go on. The next command in the folder can stop them too.

    Parameters
    ----------
    folder : of the comparison, for what has to do with clusters.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.path = self.folder / f"permit-{secrets.token_hex(4)}"
        self.path.touch()

    def withdraw(self) -> None:
        """Let the runs of all these commands save and stop, and what waits for runs end."""
        withdraw(self.folder)

    def orders(self, runs: Sequence[PlannedRun], threads: int | None) -> list[Order]:
        """What a worker needs to know of runs."""
        where = str(Path.cwd()), own_folders(), str(self.path)
        return [Order(run.config.model_dump(), str(run.out.absolute()), *where, threads) for run in runs]


def withdraw(folder: Path) -> None:
    """Let the runs of all commands that have trained in a folder save and stop, and what waits for runs end."""
    for permit in folder.glob("permit-*"):
        permit.unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()
