"""From pydantic's errors to sentences: where, what was wrong, what is allowed, the cure."""

import difflib
import re
from collections.abc import Iterable
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from seqtrain.config.describe import find_setting, setting_at
from seqtrain.config.document import Path_
from seqtrain.config.schema import NAMED, USER_CLASSES, Config
from seqtrain.system.errors import plain, short
from seqtrain.system.settings import OTHERS, Null, Section, UserClass, described, marker_of, name_of


class Fault(NamedTuple):
    """Something wrong with one setting; the message begins after the setting's name."""

    path: Path_
    message: str


def choose(value: Any, options: Iterable[str]) -> str:
    """`choose one of ...`, with a guess at what was meant."""
    names = sorted(options)
    meant = guess(value, names)
    hint = "" if meant is None else f" (did you mean {meant!r}?)"
    return f"choose one of {', '.join(names)}{hint}"


def guess(value: Any, options: Iterable[str]) -> str | None:
    """What of the options a value may have been meant to be; None if it is like none."""
    lowered = {name.lower(): name for name in sorted(options)}
    written = (value if isinstance(value, str) else short(value)).lower()
    begun = sorted((name for name in lowered if written and name.startswith(written)), key=len)
    alike = [name for name in lowered if name[:1] == written[:1]]  # few slips change the first letter
    close = (
        begun
        or difflib.get_close_matches(written, lowered, n=1, cutoff=0.7)
        or difflib.get_close_matches(written, alike, n=1, cutoff=0.6)
    )
    return lowered[close[0]] if close else None


def to_fault(error: ErrorDetails, data: dict[str, Any], own: type[UserClass] | None = None) -> Fault:
    """One of pydantic's errors as a fault.

    Parameters
    ----------
    data : the config that was validated.
    own : the section of a user's own class, if its settings were validated rather than a config.
    """
    section: type[Section] | None = own
    path = _without_tags(error["loc"]) if own is None else (*place_of(own), *map(str, error["loc"]))
    got, limits = short(error["input"]), error.get("ctx", {})
    match error["type"]:
        case "missing":
            return Fault(path, f"is missing; {_cure_for_missing(path, data) if section is None else 'add it'}")
        case "extra_forbidden" | "invalid_key":
            fields, owner = section_class(path[:-1], data).model_fields, _owner(path[:-1], data)
            return Fault(path, f"is not a setting of {owner}; {_cure_for_extra(path, fields)}")
        case "union_tag_invalid":
            names = [*NAMED[path], *(["module:Class"] if path in USER_CLASSES else [])]
            name = error["input"]["name"]
            return Fault(path, f"is {short(name)}; {choose(name, names)}")
        case "union_tag_not_found":
            return Fault(path, f"is {got}, without a name; {choose('', NAMED[path])}, e.g. {{name: ...}}")
        case "literal_error":
            options = _literals(path, section or section_class(_without_places(path)[:-1], data))
            return Fault(path, f"is {got}; {choose(error['input'], map(str, options))}")
        case "greater_than_equal" | "greater_than" | "less_than_equal" | "less_than" as bound:
            limit = _number(*limits.values())
            return Fault(path, f"is {got}; it must be {_BOUNDS[bound]} {limit}{_or_null(path, data, section)}")
        case "string_pattern_mismatch":
            example = "my_task:MyTask" if path[0] == "task" else "my_cells:MyCell"
            form = "cpu, cuda or cuda:1" if path == ("device",) else f"module:Class, such as {example}"
            return Fault(path, f"is {got}; write it as {form}")
        case "too_short" | "too_long":
            least, most = limits.get("min_length"), limits.get("max_length")
            size = most if least is None else least
            at = "" if not _takes(path, "list, each") else "at most " if least is None else "at least "
            return Fault(path, f"is {got}; it must be a list of {at}{size} value{'s' if size != 1 else ''}")
        case "model_type" | "model_attributes_type" | "dict_type":
            return Fault(path, f"is {got}; it must be a section with settings of its own")
    kind = _KINDS.get(error["type"], error["msg"].lower())
    if kind.endswith("number") and re.match(r"[-+]?\d", str(error["input"])) and isinstance(error["input"], str):
        kind += " in decimal digits"  # 0x1F, 1_000 and 1:40 are text
    a_list = ", or a list of them" if _takes(path, " | list, each") else ""
    return Fault(path, f"is {got}; it must be {kind}{a_list}{_or_null(path, data, section)}")


_BOUNDS = {
    "greater_than_equal": "at least",
    "greater_than": "more than",
    "less_than_equal": "at most",
    "less_than": "less than",
}

_KINDS = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "invalid-json-value": "text, a number, true, false, null, or a list or mapping of these",
    "bool_type": "true or false",
    "string_type": "text",
    "string_unicode": "UTF-8",
    "string_too_short": "text that is not empty",
    "list_type": "a list",
}


def place_of(own: type[UserClass]) -> Path_:
    """Where a section of a user's own class is in a config."""
    return next(path for path, section in USER_CLASSES.items() if issubclass(own, section))


def unknown_setting(own: type[UserClass], name: str) -> Fault:
    """The fault of a setting that the constructor of a user's own class does not take."""
    place, names = place_of(own), own.model_fields.keys() - {"folder", "code"}
    cure = choose(name, names)
    if own.owner is not None and name in vars(own.owner) and not callable(vars(own.owner)[name]):
        cure = f"the class sets it without an annotation; write `{name}: TYPE = VALUE` there to make it one"
    return Fault((*place, name), f"is not a setting of the {place[-1]}; {cure}")


def _without_tags(loc: tuple[int | str, ...]) -> Path_:
    """The path of a setting, without the tags that pydantic puts behind the keys of unions.

    An option of a user's own class may be any JSON value, whose parts are no settings.
    """
    if OTHERS in loc:
        loc = loc[: loc.index(OTHERS) + 2]
    path: Path_ = ()
    skip = False
    for part in loc:
        if skip:
            skip = False
            continue
        path = (*path, str(part))
        skip = path in NAMED or _takes(path, " | list, each")
    return path


def _or_null(path: Path_, data: dict[str, Any], own: type[Section] | None) -> str:
    """`, or null for no limit` if null switches a setting off; else nothing."""
    section = own or section_class(_without_places(path)[:-1], data)
    field = section.model_fields.get(name := "".join(path[-1:]))
    if field is None or marker_of(field, Null) is not None:  # null stands for a default
        return ""
    meaning = re.search(r"null for [^,;.]+", described(section, name))
    return f", or {meaning[0]}" if meaning else ""


def _takes(path: Path_, kind: str) -> bool:
    """Whether what a setting may be, in words, has a part such as `list, each`, a list of any length."""
    setting = setting_at(".".join(path))
    return setting is not None and kind in setting.kind


def section_class(path: Path_, data: dict[str, Any]) -> type[Section]:
    """The class of the section at a path, as its raw data choose it."""
    found: type[Section] = Config
    here: Any = data
    walked: Path_ = ()
    for part in path:
        here = here.get(part, {}) if isinstance(here, dict) else {}
        walked = (*walked, part)
        if walked in NAMED:
            found = NAMED[walked].get(name_of(here) or "", USER_CLASSES.get(walked, UserClass))
            continue
        annotation = found.model_fields[part].annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            found = annotation  # type: ignore[assignment]  # every nested model is a Section
    return found


def _owner(path: Path_, data: dict[str, Any]) -> str:
    here: Any = data
    for part in path:
        here = here[part]
    if not path:
        return "a config"
    return f"{path[-1]} {short(name_of(here))}" if path in NAMED else plain(path[-1])


def _without_places(path: Path_) -> Path_:
    """The path of a setting, without places in a list."""
    while path and path[-1].isdigit():
        path = path[:-1]
    return path


def _literals(path: Path_, section: type[Section]) -> list[Any]:
    """The allowed values of a setting that is a choice."""
    annotation = section.model_fields[_without_places(path)[-1]].annotation
    options = get_args(annotation)
    nested = [value for option in options for value in get_args(option)]
    return [value for value in (nested or options) if value is not type(None)]


def _cure_for_extra(path: Path_, fields: Iterable[str]) -> str:
    """What may have been meant: a setting of another section, an option of the command line, or a near name."""
    if len(path) == 1:
        if path[0] in COMMAND_LINE_OPTIONS:
            return f"write --{path[0]} for the option of the command line"
        if found := find_setting(path[0]):
            return f"did you mean {' or '.join(found)}?"
    elsewhere = [name for name, cls in NAMED.get(path[:-1], {}).items() if path[-1] in cls.model_fields]
    return choose(path[-1], fields) + (f" (it is one of {', '.join(elsewhere)})" if elsewhere else "")


COMMAND_LINE_OPTIONS = ("out", "resume", "overwrite", "json", "quiet", "cells", "seeds", "split")


def _cure_for_missing(path: Path_, data: dict[str, Any]) -> str:
    if path in NAMED:
        return choose("", NAMED[path])
    if path == ("model",):
        return "add a section model with a cell, e.g. model: {cell: lstm}"
    description = described(section_class(path[:-1], data), path[-1])
    return "add it: " + description.rstrip(".")


def _number(limit: float) -> str:
    return f"{limit:g}" if abs(limit) < 1e6 else f"{limit:.0f}"
