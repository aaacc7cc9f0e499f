"""Who may import whom: imports only run downward."""

import ast
from pathlib import Path

import seqtrain

ROOT = Path(seqtrain.__file__).parent

ALLOWED = {
    "errors": set(),
    "files": {"errors"},
    "rng": set(),
    "metrics": set(),
    "strict_json": {"files"},
    "strict_yaml": {"errors"},
    "progress": set(),
    "shipped": set(),
    "runtime": set(),
    "signals": set(),
    "schedule": set(),
    "average": set(),
    "dynamic": {"errors"},
    "cells": set(),
    "recurrence": {"cells"},
    "models": {"cells", "recurrence"},
    "text": {"errors", "files", "progress", "rng"},
    "tasks": {"errors", "metrics", "rng", "text"},
    "summary": {"config", "tasks"},
    "config": {"errors", "files", "progress", "shipped", "strict_yaml"},
    "seal": {"errors"},
    "guard": {"errors"},
    "contents": {"errors"},
    "checkpoint": {"contents", "errors", "files", "guard", "seal"},
    "fits": {"errors", "models"},
    "vouch": {"config", "errors"},
    "run_dir": {"errors", "files", "strict_json", "strict_yaml"},
    "build": {"cells", "config", "errors", "models", "recurrence", "rng", "schedule", "shipped", "tasks", "text"},
    "memory": set(),
    "estimate": {"build", "config", "errors", "footprint", "memory", "models", "progress", "tasks"},
    "footprint": {"cells", "models", "recurrence", "tasks"},
    "train_state": {"average", "models"},
    "divergence": {"models", "recurrence", "tasks"},
    "clock": set(),
    "penalty": {"models"},
    "train": {
        "average",
        "clock",
        "divergence",
        "errors",
        "metrics",
        "models",
        "penalty",
        "progress",
        "rng",
        "schedule",
        "tasks",
        "train_state",
    },
    "resume": {"build", "checkpoint", "config", "errors", "fits", "models", "run_dir", "tasks", "train_state"},
    "run": {
        "build",
        "checkpoint",
        "clock",
        "config",
        "errors",
        "models",
        "run_dir",
        "runtime",
        "signals",
        "summary",
        "tasks",
        "train",
    }
    | {"estimate", "progress", "resume", "train_state"},
    "generate": {"errors", "models", "rng", "text"},
    "restore": {"build", "checkpoint", "config", "errors", "models", "run_dir", "runtime", "tasks", "train"}
    | {"dynamic", "files", "fits", "generate", "progress", "resume", "shipped", "text", "vouch"},
    "bench": {"cells", "progress", "recurrence", "runtime"},
    "compare": {"build", "config", "errors", "files", "progress", "restore", "run", "run_dir", "runtime", "signals"}
    | {"estimate", "resume", "strict_json", "summary", "tasks"},
    "check": {"strict_json", "config", "errors", "models", "recurrence", "restore", "run", "run_dir", "tasks", "train"},
    "catalogue": {"cells", "config", "errors", "shipped", "tasks"},
    "tables": {"progress", "strict_json"},
    "verbs": {
        "bench",
        "build",
        "catalogue",
        "check",
        "config",
        "errors",
        "estimate",
        "generate",
        "memory",
        "models",
        "progress",
        "restore",
        "run",
        "run_dir",
        "runtime",
        "tasks",
    },
    "cli": {"catalogue", "compare", "generate", "strict_json", "tables", "verbs"},
    "__main__": {"cli", "config", "errors"},
    "__init__": {"restore"},
}


def part_of(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path):
    """Every module that a file imports anywhere, as dotted names."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            if node.module == "seqtrain":
                yield from (f"seqtrain.{alias.name}" for alias in node.names)


def test_imports_run_downward():
    wrong = []
    for path in sorted(ROOT.rglob("*.py")):
        part = part_of(path)
        for name in imports(path):
            package, _, inner = name.partition(".")
            if package == "seqtrain" and inner:
                target = inner.split(".")[0]
                if target != part and target not in ALLOWED[part]:
                    wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong


def test_the_table_has_no_dead_entries():
    used = {part: set() for part in ALLOWED}
    for path in ROOT.rglob("*.py"):
        for name in imports(path):
            if name.startswith("seqtrain."):
                used[part_of(path)].add(name.split(".")[1])
    dead = {part: allowed - used[part] for part, allowed in ALLOWED.items() if allowed - used[part]}
    assert not dead


def test_only_cli_knows_typer_and_config_knows_no_torch():
    for path in ROOT.rglob("*.py"):
        names = {name.split(".")[0] for name in imports(path)}
        assert "typer" not in names or part_of(path) == "cli", path
        assert "torch" not in names or part_of(path) not in ("config", "cli", "shipped", "tables", "verbs"), path


def test_packages_hand_names_on_and_compute_nothing():
    for path in ROOT.rglob("*/__init__.py"):
        for node in ast.parse(path.read_text("utf-8")).body:
            assert isinstance(node, ast.Expr | ast.ImportFrom | ast.Assign | ast.AnnAssign), path
