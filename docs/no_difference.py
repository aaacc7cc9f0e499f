"""How often a difference is claimed between cells that do not differ: `python docs/no_difference.py FOLDER`.

FOLDER holds runs of one cell with many seeds. They are divided, in the order of their seeds, into pairs of rows with
two names, and each pair is judged as by `seqtrain compare`. No run is used twice in a line of the output.
"""

import dataclasses
import sys
from pathlib import Path

from seqtrain.comparison.load_runs import FinishedRun, Group, read_runs
from seqtrain.comparison.records import Question
from seqtrain.comparison.significance import judge

SIZES = ((5, 0.1), (6, 0.05), (8, 0.05), (8, 0.1), (12, 0.05))
"""Seeds of each row, and the level."""


def main() -> None:
    """Divide the runs into rows, judge each pair, count the claims."""
    paths = [path for path in Path(sys.argv[1]).iterdir() if (path / "summary.json").exists()]
    runs = sorted(read_runs(paths), key=lambda run: run.summary.seed)
    print("| seeds | level | differences claimed |\n|---|---|---|")
    for seeds, level in SIZES:
        pairs = range(0, len(runs) - 2 * seeds + 1, 2 * seeds)
        verdicts = [verdict(runs[at : at + seeds], runs[at + seeds : at + 2 * seeds], level) for at in pairs]
        claimed = sum(name in ("better", "worse") for name in verdicts)
        print(f"| {seeds} | {100 * level:g} % | {claimed} of {len(verdicts)} |")


def verdict(first: list[FinishedRun], second: list[FinishedRun], level: float) -> str:
    """The verdict of one row against the other."""
    groups = [Group("first", None, numbered(first)), Group("second", None, numbered(second))]
    _, verdict_of_second = judge(groups, Question(reference="first", level=level))
    return verdict_of_second.verdict if verdict_of_second else ""


def numbered(runs: list[FinishedRun]) -> list[FinishedRun]:
    """The same runs as if their seeds counted from 0, so that those of two rows are paired."""
    return [
        dataclasses.replace(run, summary=run.summary.model_copy(update={"seed": seed})) for seed, run in enumerate(runs)
    ]


if __name__ == "__main__":
    main()
