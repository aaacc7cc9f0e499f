"""What the tests of training share: a small config, and its run in the current folder."""

from pathlib import Path

from conftest import SMALL, SMALL_SETS

from seqtrain.config import load_config
from seqtrain.runs.trainer import train_run


def small(name="quickstart", *overrides):
    sets = () if name in ("words", "characters", "sunspots", "gestures", "agreement") else SMALL_SETS
    return load_config(name, [*SMALL, *sets, *overrides])


def run(config, out="run", **options):
    return train_run(config, Path(out), quiet=True, **options)
