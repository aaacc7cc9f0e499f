"""Write stories as a corpus: `python -m seqtrain.tasks.stories.corpus FOLDER` gives the same bytes every time."""

import argparse
from pathlib import Path

from seqtrain.system.rng import generator
from seqtrain.tasks.stories.task import Stories

DISTANCE = 40
SIZES = {"train": 2000, "valid": 150, "test": 150}


def write_corpus(folder: Path) -> None:
    """Write `train.txt`, `valid.txt` and `test.txt` into a folder, one story a line."""
    task = Stories(seed=0, distance=DISTANCE)
    folder.mkdir(parents=True, exist_ok=True)
    for split, size in SIZES.items():
        lines = task.texts(size, generator("stories corpus", split))
        (folder / f"{split}.txt").write_text("".join(line + "\n" for line in lines), "utf-8", newline="\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the corpus of stories as text.")
    parser.add_argument("folder", type=Path, help="for train.txt, valid.txt and test.txt")
    write_corpus(parser.parse_args().folder)
