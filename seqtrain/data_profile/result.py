"""What is known about a file."""

from dataclasses import dataclass, field
from typing import Any

Settings = dict[str, Any]

BROKEN = "mend the faults first"
"""Why there is no config."""


@dataclass(frozen=True)
class Trainable:
    """A config, with the reasons of its values.

    settings : the config as data.
    reasons : what the comment behind a setting says, by its dotted name.
    notes : lines of comments below a setting, by its dotted name.
    """

    settings: Settings
    reasons: dict[str, str] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Profile:
    """What a file is.

    path : as it was given.
    kind : `series`, `sequences`, `tagging`, `text`, `pairs`, `arrays`, `folder` or `unknown`.
    what : in one line.
    facts : names and values: numbers, texts, or lists of them.
    columns : of a table, a dict with the same keys for each.
    faults : what a task would refuse, with its place and the cure.
    remarks : what a person should know beside.
    config : a config that trains on it; None if there is none.
    why_not : why there is none.
    """

    path: str
    kind: str
    what: str
    facts: dict[str, Any]
    columns: list[dict[str, Any]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    config: Trainable | None = None
    why_not: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The result as `seqtrain data --json` prints it."""
        return vars(self) | {"config": None if self.config is None else self.config.settings}
