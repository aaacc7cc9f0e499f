"""What a folder says of how its runs were made, which the runs themselves do not say."""

from collections.abc import Sequence
from pathlib import Path

from seqtrain.comparison.load_runs import FinishedRun, Group
from seqtrain.comparison.records import QUESTION, RESULTS, Question
from seqtrain.system import strict_json
from seqtrain.system.errors import CheckpointError
from seqtrain.system.files import UnreadableError, read_whole
from seqtrain.system.progress import say


def earlier_question(out: Path, runs: Sequence[FinishedRun], *, is_folder: bool) -> Question | None:
    """The question or the results in a folder if they are about the same runs; else None.

    Parameters
    ----------
    is_folder : whether the runs are all that the folder holds, rather than named: then there may be more of them, and
        fewer than a question names that has no results yet.

    Raises
    ------
    CheckpointError : there is a file that no comparison has written, and it would be overwritten.
    """
    path = next((path for name in (QUESTION, RESULTS) if (path := out / name).exists()), None)
    if path is None:
        return None
    try:
        question = Question.from_text(read_whole(path, strict_json.LARGEST))
        if fault := question.fault():
            raise UnreadableError(path, fault)
        named = {Path(run.run).resolve() for run in question.runs}
    except (
        UnreadableError,
        ValueError,
        RuntimeError,
    ) as error:  # also a name that no file can have, or links in a circle
        why = error if isinstance(error, UnreadableError) else f"{path}: was not written by seqtrain compare ({error})"
        cure = "it would be overwritten: move it away, or choose another folder with --out"
        raise CheckpointError(f"{why}; {cure}") from None
    there = {run.path.resolve() for run in runs}
    same = named == there or (is_folder and (named < there or (path.name == QUESTION and bool(named & there))))
    return question if same else None


def group_as_before(runs: Sequence[FinishedRun], question: Question, *, quiet: bool) -> list[Group]:
    """The groups of an earlier question about the same runs, as far as these exist."""
    by_path = {run.path.resolve(): run for run in runs}
    members: dict[tuple[str, object], list[FinishedRun]] = {}
    for key in question.runs:
        if (run := by_path.pop(Path(key.run).resolve(), None)) is not None:
            members.setdefault((key.row, key.at), []).append(run)
    if by_path:
        others = ", ".join(str(run.path) for run in by_path.values())
        say(f"left out, as this comparison did not ask for them: {others}; name runs to compare them", quiet=quiet)
    return [Group(row.cell, row.at, own) for row in question.cells if (own := members.get((row.cell, row.at)))]
