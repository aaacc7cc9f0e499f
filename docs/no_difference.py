"""How often a difference is claimed between cells that do not differ: `python docs/no_difference.py FOLDER`.

FOLDER holds runs of one cell with many seeds. They are dealt out, in the order of their seeds, into pairs of rows that
bear two names, and each pair is judged as `seqtrain compare` judges. No run is used twice in a line of the output.
"""

import sys
from pathlib import Path

from seqtrain.compare.aggregate import Question, summarise
from seqtrain.compare.load_runs import FinishedRun, Group, read_runs

SIZES = ((5, 0.1), (6, 0.05), (8, 0.05), (8, 0.1), (12, 0.05))
"""Seeds of each row, and the level."""


def main() -> None:
    """Deal, judge, count."""
    found = read_runs([path for path in Path(sys.argv[1]).iterdir() if (path / "summary.json").exists()])
    runs = sorted(found, key=lambda run: int(run.summary["seed"]))
    print("| seeds | level | differences claimed |\n|---|---|---|")
    for seeds, level in SIZES:
        pairs = range(0, len(runs) - 2 * seeds + 1, 2 * seeds)
        verdicts = [verdict(runs[at : at + seeds], runs[at + seeds : at + 2 * seeds], level) for at in pairs]
        claimed = sum(one in ("better", "worse") for one in verdicts)
        print(f"| {seeds} | {100 * level:g} % | {claimed} of {len(verdicts)} |")


def verdict(one: list[FinishedRun], other: list[FinishedRun], level: float) -> str:
    """Of one row against the other."""
    groups = [Group("one", None, numbered(one)), Group("other", None, numbered(other))]
    found: str = summarise(groups, Question("one", level=level))["cells"][1]["versus"]["verdict"]
    return found


def numbered(runs: list[FinishedRun]) -> list[FinishedRun]:
    """The same runs as if their seeds counted from 0, so that those of two rows are paired."""
    return [run._replace(summary=run.summary | {"seed": seed}) for seed, run in enumerate(runs)]


if __name__ == "__main__":
    main()
