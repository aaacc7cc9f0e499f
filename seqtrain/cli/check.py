"""`seqtrain check`."""

from typing import Any

import typer
from rich.table import Table
from rich.text import Text

from seqtrain.cli.arguments import ConfigName, Json, Overrides, Quiet
from seqtrain.cli.render import grid, print_result

PROMISE_BROKEN = 4
"""Exit code."""


def check(config: ConfigName, overrides: Overrides = None, json: Json = False, quiet: Quiet = False) -> None:
    """Prove on a config what is promised: exact resume, determinism, causality, padding, gradients, the test set."""
    from seqtrain.config import read_config
    from seqtrain.inference.verification import check_promises
    from seqtrain.system.progress import say

    loaded, path = read_config(config, overrides or (), quiet=quiet)
    findings = []
    for finding in check_promises(loaded, lambda step: say(step, quiet=quiet)):
        findings.append(finding)
        if finding.holds is False:
            say(f"{finding.promise} does not hold: {finding.found}", quiet=quiet)
    holds = all(finding.holds is not False for finding in findings)
    promises = [finding._asdict() for finding in findings]
    print_result({"config": str(path), "holds": holds, "promises": promises}, json, check_table)
    raise typer.Exit(0 if holds else PROMISE_BROKEN)


def check_table(result: dict[str, Any]) -> Table:
    """Each promise, whether it holds, and what was found."""
    table = grid(result["config"])
    table.add_column("promise", no_wrap=True)
    table.add_column("holds", no_wrap=True)
    table.add_column("found", overflow="fold")
    for row in result["promises"]:
        holds = {True: "yes", False: "NO", None: "-"}[row["holds"]]
        table.add_row(row["promise"], holds, Text(row["found"]))
    return table
