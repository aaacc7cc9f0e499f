"""A comparison as files: results.json for scripts, results.csv for tables, results.md and report.html for people."""

import base64
import csv
import io
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from seqtrain.compare.load_runs import Group, flat
from seqtrain.system import strict_json
from seqtrain.system.errors import short
from seqtrain.system.files import write_whole
from seqtrain.system.progress import figure

COLUMNS = (
    "cell", "at", "seed", "status", "solved_at_step", "steps", "hidden_size", "parameters", "elapsed_s", "run",
)  # fmt: skip


def write_results(result: dict[str, Any], groups: Sequence[Group], out: Path) -> dict[str, str]:
    """Write all of them into `out`; returns their paths by name."""
    contents = {
        "results.csv": csv_of(result),
        "results.md": rendered("results.md.jinja", result, groups),
        "report.html": rendered("report.html.jinja", result, groups),
    }
    paths = {name: str(out / name) for name in ("results.json", *contents)}
    for name, content in contents.items():
        write_whole(out / name, content.encode())
    write_whole(out / "results.json", (strict_json.dumps(result | {"files": paths}, indent=2) + "\n").encode())
    return paths


def csv_of(result: dict[str, Any]) -> str:
    """One line a run, with its figures on the test set."""
    names = list(dict.fromkeys(name for run in result["runs"] for name in run["test"] or {}))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, "best_valid", *(f"test_{name}" for name in names)])
    for run in result["runs"]:
        test = run["test"] or {}
        writer.writerow(
            [
                *(run["row"] if name == "cell" else run.get(name) for name in COLUMNS),
                run.get("best", {}).get("value"),
                *(test.get(name) for name in names),
            ]
        )
    return text.getvalue()


def rendered(template: str, result: dict[str, Any], groups: Sequence[Group]) -> str:
    """One of the templates, filled in; HTML is escaped."""
    environment = Environment(
        loader=PackageLoader("seqtrain.compare", "templates"),
        autoescape=template.endswith(".html.jinja"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"figure": figure, "embedded": _embedded, "cut": short, "yaml": strict_json.dumps}
    return environment.get_template(template).render(
        result=result,
        name=result["metric"]["name"],
        better="higher" if result["metric"]["higher_is_better"] else "lower",
        shared=shared_settings(groups),
        own=own_settings(groups),
        machine=platform.platform(),
    )


def _embedded(path: str) -> str:
    """A picture as a data address."""
    return "data:image/png;base64," + base64.b64encode(Path(path).read_bytes()).decode()


def shared_settings(groups: Sequence[Group]) -> dict[str, Any]:
    """Settings that all runs have in common."""
    configs = [flat(run.config) for group in groups for run in group.runs]
    return {key: value for key, value in configs[0].items() if all(other.get(key) == value for other in configs)}


def own_settings(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """For each group the settings that not all have in common, but for the seed."""
    shared = shared_settings(groups)
    return [
        {key: value for key, value in flat(group.runs[0].config).items() if key not in shared and key != "seed"}
        for group in groups
    ]
