"""Write the run of an imported model: whole, or not at all."""

import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from seqtrain.runs.directory import RunDir
from seqtrain.runs.records import Summary
from seqtrain.runs.run import Run, begin
from seqtrain.runs.trainer import summary_of
from seqtrain.system.errors import CheckpointError
from seqtrain.system.files import UnwritableError
from seqtrain.system.progress import Progress
from seqtrain.training.loop import evaluate, judge

ASIDE = ".importing"
"""The folder in the run directory where the files of the run are until all of them are there."""


@contextmanager
def written_aside(directory: RunDir) -> Iterator[RunDir]:
    """A new folder for the files of a run, which replace those in the directory in the end.

    After any error the directory is as it was.

    Raises
    ------
    SeqtrainError : the files cannot be written there.
    """
    aside = RunDir(directory.path / ASIDE)
    shutil.rmtree(aside.path, ignore_errors=True)  # of a process that was killed
    try:
        aside.path.mkdir()
    except OSError as error:
        raise UnwritableError(directory.path, error) from None
    try:
        yield aside
        directory.check_still_own()
        directory.clear()
        for file in filter(lambda file: file.exists(), aside.files):
            file.replace(directory.path / file.name)
    finally:
        shutil.rmtree(aside.path, ignore_errors=True)


def write_run(run: Run, label: str, source: str) -> Summary:
    """Evaluate a model that has its weights, and write the files of its run.

    Parameters
    ----------
    label : of the progress bar.
    source : the file of the weights, for messages.

    Raises
    ------
    SeqtrainError : a figure is not finite, or a file cannot be written.
    """
    task, recipe = run.recipe.task, run.recipe
    batches = task.count_eval_batches("valid", recipe.eval_batch_size)
    with Progress(batches, label=label, unit="batch", quiet=run.quiet) as progress:
        means = evaluate(run.state.model, task, "valid", recipe.eval_batch_size, on_batch=progress.advance)
    name = task.metric.name
    if not (math.isfinite(means["loss"]) and math.isfinite(means[name])):
        raise CheckpointError(
            f"{source}: with these weights the validation loss is {means['loss']:g} and {name} is {means[name]:g}; "
            "check that they are those of a trained model for this task"
        )
    begin(run, None, resume=False)
    run.record("valid", **means)
    run.save(judge(run.state, recipe, means))
    summary = summary_of(run, "finished" if run.state.solved_at_step is None else "solved")
    run.directory.write_summary(summary)
    return summary
