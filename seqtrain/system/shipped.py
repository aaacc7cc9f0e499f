"""The folders of the configs and the text that come with seqtrain.

In a checkout they are `configs/` and `data/` at the top; an installation has both inside the package.
"""

from pathlib import Path

PREFIX = "shipped:"
"""Prefix of a text path in `data/`, such as `shipped:stories`."""


def folder(name: str) -> Path:
    """The folder `configs` or `data`."""
    package = Path(__file__).parents[1]
    installed = package / f"shipped_{name}"
    return installed if installed.is_dir() else package.parent / name


SCHEMA = "seqtrain.schema.json"
"""The file beside the configs that their first lines name, so that editors complete and check them. It is what
`seqtrain settings --json-schema` prints."""

MODELINE = "# yaml-language-server:"


def summary_of(config: Path) -> str:
    """The first comment of a shipped config that is for people."""
    lines = config.read_text("utf-8").splitlines()
    return next(line for line in lines if not line.startswith(MODELINE)).lstrip("# ")


def schema_path() -> Path:
    """The JSON Schema of a config."""
    return folder("configs") / SCHEMA


def config_paths() -> dict[str, Path]:
    """The shipped configs by name."""
    return {path.stem: path for path in sorted(folder("configs").glob("*.yaml"))}


def shipped_data() -> str:
    """The names of the texts and tables in `data/`, as a config has them."""
    names = sorted(path.name for path in folder("data").iterdir() if path.is_dir() or path.suffix in (".txt", ".csv"))
    return ", ".join(PREFIX + name for name in names if name[0] not in "._")


def text_path(path: str) -> Path:
    """The file or folder that a config's text path means."""
    if path.startswith(PREFIX):
        return folder("data") / path.removeprefix(PREFIX)
    try:
        return Path(path).expanduser()
    except RuntimeError:  # `~name` where there is no user of that name
        return Path(path)
