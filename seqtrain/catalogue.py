"""What there is to choose from: cells with their equations, tasks with their definitions, shipped configs."""

import inspect
from typing import Any

from pydantic.fields import FieldInfo

from seqtrain.config import schema
from seqtrain.shipped import config_paths


def cells() -> list[dict[str, Any]]:
    """Every built-in cell: name, definition, options."""
    from seqtrain.cells import CELLS

    return [_entry(name, cls, schema.NAMED["model", "cell"][name]) for name, cls in CELLS.items()]


def tasks() -> list[dict[str, Any]]:
    """Every task: name, definition, metric, settings."""
    from seqtrain.tasks import TASKS

    return [
        _entry(name, cls, schema.NAMED[("task",)][name]) | {"metric": cls.metric._asdict()}
        for name, cls in TASKS.items()
    ]


def configs() -> list[dict[str, str]]:
    """Every shipped config: name, what it is (its first line), path."""
    return [
        {"name": name, "summary": path.read_text("utf-8").split("\n")[0].lstrip("# "), "path": str(path)}
        for name, path in config_paths().items()
    ]


def _entry(name: str, cls: type, section: type[schema.Section]) -> dict[str, Any]:
    options = {field: _option(info) for field, info in section.model_fields.items() if field != "name"}
    return {"name": name, "definition": inspect.getdoc(cls) or "", "options": options}


def _option(info: FieldInfo) -> dict[str, Any]:
    default = {} if info.is_required() else {"default": info.default}
    return {"description": info.description, "required": info.is_required()} | default
