"""A config as a YAML file that says why each value was chosen."""

from typing import Any

from seqtrain.config.yaml import inline
from seqtrain.data_profile.result import Trainable

COMMENT_AT = 40
"""The column at which comments begin."""


def to_yaml(config: Trainable) -> str:
    """The file."""
    settings = f"seqtrain settings task {config.settings['task']['name']}"
    heading = f"Written by seqtrain data; every value may be changed: {settings} lists what there is."
    return "".join(f"{line}\n" for line in [f"# {heading}", *_lines(config, config.settings, "")])


def _lines(config: Trainable, settings: dict[str, Any], prefix: str) -> list[str]:
    lines = []
    indent = "  " * (prefix.count(".") + bool(prefix))
    for key, value in settings.items():
        name = f"{prefix}.{key}" if prefix else key
        written = f"{indent}{key}:" if isinstance(value, dict) else f"{indent}{key}: {inline(value)}"
        reason = config.reasons.get(name)
        lines.append(f"{written:<{COMMENT_AT - 2}}  # {reason}" if reason else written)
        if isinstance(value, dict):
            lines += _lines(config, value, name)
        lines += [f"{indent}# {note}" for note in config.notes.get(name, [])]
    return lines
