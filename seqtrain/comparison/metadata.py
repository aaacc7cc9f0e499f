"""What a folder says of how its runs were made, which the runs themselves do not say."""

from collections.abc import Collection, Sequence
from pathlib import Path

from seqtrain.comparison.load_runs import FinishedRun, Group
from seqtrain.comparison.records import QUESTION, RESULTS, Question
from seqtrain.system import strict_json
from seqtrain.system.errors import CheckpointError
from seqtrain.system.files import UnreadableError, read_whole
from seqtrain.system.progress import say


def earlier_question(runs: Sequence[FinishedRun], folder: Path | None, out: Path) -> Question | None:
    """The question or the results in a folder if they are about the same runs; else None.

    Parameters
    ----------
    folder : that holds the runs, if a folder was named rather than runs; its question comes before that of `out`. There
        may be more or fewer runs in it than the question names.

    Raises
    ------
    CheckpointError : there is a file in `out` that no comparison has written, and it would be overwritten.
    """
    own = _read_question(out)
    there = {run.path.resolve() for run in runs}
    found = None if folder is None else own if folder == out else _read_question(folder)
    if found is not None and folder is not None and there & set(_places(found, folder).values()):
        return found
    return own if own is not None and set(_places(own, out).values()) == there else None


def asked_for(runs: Sequence[Path], folder: Path | None, *, quiet: bool) -> list[Path]:
    """The runs of a folder that the question in it asks for; all of them if there is no question, or it has none here.

    A folder may hold the runs of several questions, of which it keeps the last one.
    """
    question = None if folder is None else _read_question(folder)
    places = set() if question is None or folder is None else set(_places(question, folder).values())
    asked = [run for run in runs if run.resolve() in places] or [*runs]
    if others := ", ".join(str(run) for run in runs if run not in asked):
        say(f"left out, as this comparison did not ask for them: {others}; name runs to compare them", quiet=quiet)
    return asked


def check_overwriting(out: Path, runs: Collection[Path] | None) -> list[Path]:
    """Refuse to overwrite the results of other runs; returns those whose results a training in their folder replaces.

    Parameters
    ----------
    runs : whose results come; None for runs that are trained in `out`.

    Raises
    ------
    CheckpointError : the results in `out` are of other runs, or no comparison has written them.
    """
    earlier = _read_question(out)
    places = set() if earlier is None else set(_places(earlier, out).values())
    others = sorted(places - {run.resolve() for run in runs or ()})
    is_own = runs is None and any(place.parent == out.resolve() for place in places)
    if others and not is_own:
        raise CheckpointError(
            f"{out}: holds the results of a comparison of other runs, such as {others[0]}, which would be overwritten; "
            "choose another folder with --out, or remove this one"
        )
    return others


def _read_question(folder: Path) -> Question | None:
    """The question or the results in a folder; None if there is neither."""
    path = next((path for name in (QUESTION, RESULTS) if (path := folder / name).exists()), None)
    if path is None:
        return None
    try:
        question = Question.from_text(read_whole(path, strict_json.LARGEST))
        if fault := question.fault():
            raise UnreadableError(path, fault)
        _places(question, folder)
    except (
        UnreadableError,
        ValueError,
        RuntimeError,
    ) as error:  # also a name that no file can have, or links in a circle
        why = error if isinstance(error, UnreadableError) else f"{path}: was not written by seqtrain compare ({error})"
        cure = "it would be overwritten: move it away, or choose another folder with --out"
        raise CheckpointError(f"{why}; {cure}") from None
    return question


def _places(question: Question, folder: Path) -> dict[str, Path]:
    """Where the runs of a question are, by their recorded paths.

    Runs of one folder are those of the folder of the question, which may have moved since. Runs that were named one by
    one, from several folders, are where they were.
    """
    names = [run.run for run in question.runs]
    is_own = len({Path(name).parent for name in names}) == 1
    inside = {name: folder / Path(name).name for name in names}
    return {name: (inside[name] if is_own and inside[name].exists() else Path(name)).resolve() for name in names}


def group_as_before(runs: Sequence[FinishedRun], question: Question, folder: Path, *, quiet: bool) -> list[Group]:
    """The groups of an earlier question about the same runs, as far as these exist."""
    by_path = {run.path.resolve(): run for run in runs}
    places, members = _places(question, folder), dict[tuple[str, object], list[FinishedRun]]()
    for key in question.runs:
        if (run := by_path.pop(places[key.run], None)) is not None:
            members.setdefault((key.row, key.at), []).append(run)
    if by_path:
        others = ", ".join(str(run.path) for run in by_path.values())
        say(f"left out, as this comparison did not ask for them: {others}; name runs to compare them", quiet=quiet)
    return [Group(row.cell, row.at, own) for row in question.cells if (own := members.get((row.cell, row.at)))]
