"""Writing files so that a reader never meets half of one."""

import os
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Write beside the file, flush to the disk, then rename: `path` holds the old content or the new."""
    beside = path.with_name(path.name + ".tmp")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def split_file(folder: Path, split: str) -> Path:
    """Where a folder of text holds its `train`, `valid` or `test` part: in `train.txt`, or as it was published.

    The Penn Treebank has `ptb.train.txt`, WikiText `wiki.train.tokens` and `wiki.train.raw`.
    """
    names = (f"{split}.txt", f"ptb.{split}.txt", f"wiki.{split}.tokens", f"wiki.{split}.raw")
    return next((folder / name for name in names if (folder / name).exists()), folder / names[0])
