"""What a user asks of `seqtrain export`, looked at before PyTorch is loaded and any work is done."""

from pathlib import Path
from typing import get_args

from seqtrain.interchange.content import Form, Options
from seqtrain.interchange.formats import FORMATS
from seqtrain.system.errors import ConfigError
from seqtrain.system.outputs import check_output

CARD = "README.md"
"""The model card in a folder for the Hugging Face hub."""

LIBRARY = "seqtrain"
"""The library of a model on the hub, by which a model card of seqtrain is known."""


def check_request(to: str, options: Options) -> None:
    """Refuse an unknown format, and options of another one.

    Raises
    ------
    ConfigError : one or more are wrong.
    """
    if to not in FORMATS:
        raise ConfigError(f"--to is {to!r}; choose one of {', '.join(FORMATS)}")
    taking = {name: [to for to, one in FORMATS.items() if name in one.options] for name in Options._fields}
    faults = [
        f"--{name} is for --to {' or '.join(others)}; leave it out"
        for name, others in taking.items()
        if others and to not in others and getattr(options, name) != Options._field_defaults[name]
    ]
    if options.form is not None and options.form not in get_args(Form):
        faults.append(f"--form is {options.form!r}; choose one of {', '.join(get_args(Form))}")
    if faults:
        raise ConfigError(faults)


def check_target(to: str, target: Path, *, overwrite: bool) -> None:
    """Refuse a file, or a folder of several files, that could not be written.

    Raises
    ------
    ConfigError : so it is.
    """
    if endings := FORMATS[to].endings:
        check_output("--out", target, endings, overwrite=overwrite)
    elif target.suffix.lower() in (".safetensors", ".md"):
        raise ConfigError(
            f"--out is {str(target)!r}, but --to {to} writes a folder of several files; leave the ending out"
        )
    elif target.exists() and not target.is_dir():
        raise ConfigError(f"{target}: is no folder, and --to {to} writes several files; choose another name with --out")
    elif (card := target / CARD).is_file() and not _is_model_card(card):
        raise ConfigError(
            f"{card}: is no model card of seqtrain, and would be replaced; choose another folder with --out"
        )


def _is_model_card(path: Path) -> bool:
    with path.open("rb") as file:
        return f"\nlibrary_name: {LIBRARY}\n".encode() in file.read(10_000)
