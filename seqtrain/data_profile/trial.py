"""Try a config on its file."""

import copy
from collections.abc import Iterable
from pathlib import Path

from seqtrain.config import config_from
from seqtrain.config.build import build_task, check_batch_size
from seqtrain.data_profile.result import Trainable
from seqtrain.system.errors import SeqtrainError
from seqtrain.tasks import Task

LARGEST = 200 << 20
"""Bytes of the largest file on which a config is tried."""


def first_that_builds(tries: Iterable[Trainable], file: Path) -> tuple[Trainable | None, Task | None, list[str]]:
    """The first config whose task can be built, its task, and the faults of those before it.

    The first one untried, and no task, for a file that is too large to be read for this.
    """
    faults: list[str] = []
    for config in tries:
        if file.is_file() and file.stat().st_size > LARGEST:
            return config, None, []
        try:
            checked = config_from(copy.deepcopy(config.settings), "the config")
            task = build_task(checked, quiet=True)
            check_batch_size(checked, task)
        except SeqtrainError as error:
            faults += [line for line in str(error).splitlines() if line not in faults]
        else:
            return config, task, faults
    return None, None, faults
