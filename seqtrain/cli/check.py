"""`seqtrain check`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from seqtrain.cli.arguments import ConfigName, Json, Overrides, Quiet
from seqtrain.cli.guide import command, suggest
from seqtrain.cli.render import print_result
from seqtrain.system.tables import WIDE, Column, Grid

if TYPE_CHECKING:
    from seqtrain.inference.task_verification import Finding

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
    print_result(result, json, lambda _: [check_table(config, findings)])
    cure = "mend the cell that breaks a promise; if it is not a cell of yours, report a fault of seqtrain"
    suggest(command("train", config, overrides) if holds else cure, quiet=quiet or json)
    raise typer.Exit(0 if holds else PROMISE_BROKEN)


def check_table(config: str, findings: Sequence["Finding"]) -> Grid:
    """Each promise, whether it holds, and what was found."""
    table = Grid(config, (Column("promise"), Column("holds", align="left"), Column("found", is_text=True)), look=WIDE)
    for finding in findings:
        holds = {True: "yes", False: "NO", None: "-"}[finding.holds]
        table.add(finding.promise, holds, finding.found)
    return table
