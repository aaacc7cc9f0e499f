"""Where the configs and the text that come with seqtrain lie.

In a checkout they are the top-level folders `configs/` and `data/`; an installation puts both inside the package.
"""

from pathlib import Path

PREFIX = "shipped:"
"""A text path that starts so names a folder of `data/`, e.g. `shipped:stories`."""


def folder(name: str) -> Path:
    """The folder `configs` or `data`."""
    package = Path(__file__).parents[1]
    installed = package / f"shipped_{name}"
    return installed if installed.is_dir() else package.parent / name


def config_paths() -> dict[str, Path]:
    """The shipped configs by name."""
    return {path.stem: path for path in sorted(folder("configs").glob("*.yaml"))}


def text_path(path: str) -> Path:
    """The file or folder that a config's text path means."""
    if path.startswith(PREFIX):
        return folder("data") / path.removeprefix(PREFIX)
    try:
        return Path(path).expanduser()
    except RuntimeError:  # `~name` of nobody here
        return Path(path)
