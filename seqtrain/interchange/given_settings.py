"""The settings that a user gives on the command line, which what is imported must not contradict."""

from collections.abc import Collection, Mapping, Sequence

from seqtrain.config import texts
from seqtrain.config.diff import Change, flatten
from seqtrain.config.yaml import parse
from seqtrain.system.errors import ConfigError


def settings_in(overrides: Sequence[str]) -> set[str]:
    """The dotted keys that overrides set: `model.cell={name: gru, reset: after}` sets `model.cell.reset` too."""
    keys: set[str] = set()
    for override in texts(overrides):
        key, _, text = override.partition("=")
        try:
            _, value = parse(text, key)
        except ConfigError:  # a text, such as the name of a file
            value = None
        keys |= flatten({key.strip(): value}).keys()
    return keys


def check_changes(changes: Mapping[str, Change], given: Collection[str], why: str) -> None:
    """Refuse to change what the user gives.

    Parameters
    ----------
    changes : the settings that something else decides, by dotted key.
    given : the keys that the user gives.
    why : what decides: `the weights say`.

    Raises
    ------
    ConfigError : the user gives one of these settings.
    """
    faults = [
        f"{key}={old}: {why} {'null' if new is None else new}; leave it out"
        for key, (old, new) in changes.items()
        if key in given
    ]
    if faults:
        raise ConfigError(faults)
