"""`seqtrain check`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer
from rich.table import Column, Table
from rich.text import Text

from seqtrain.cli.arguments import ConfigName, Json, Overrides, Quiet
from seqtrain.cli.render import grid, print_result

if TYPE_CHECKING:
    from seqtrain.inference.verification import Finding

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
    result = {"config": str(path), "holds": holds, "promises": [finding._asdict() for finding in findings]}
    print_result(result, json, lambda _: check_table(config, findings))
    raise typer.Exit(0 if holds else PROMISE_BROKEN)


def check_table(config: str, findings: Sequence["Finding"]) -> Table:
    """Each promise, whether it holds, and what was found."""
    found = Column("found", overflow="fold")
    table = grid(config, Column("promise", no_wrap=True), Column("holds", no_wrap=True), found)
    for finding in findings:
        holds = {True: "yes", False: "NO", None: "-"}[finding.holds]
        table.add_row(finding.promise, holds, Text(finding.found))
    return table
