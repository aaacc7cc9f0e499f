"""`seqtrain check`: tests the promises of seqtrain on the config and the machine of the user.

`python -m seqtrain.inference.verification CONFIG OUT STEP` trains, and kills itself after that step, as if the machine
went down.
"""

import hashlib
import math
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from seqtrain.config import Config, config_from, load_config, to_yaml
from seqtrain.config.errors import place_of
from seqtrain.config.plugins import user_classes
from seqtrain.config.resolve import resolved
from seqtrain.inference.load import Restored, restore
from seqtrain.inference.task_verification import CLOSE, Finding, check_task
from seqtrain.models import SequenceModel
from seqtrain.models.layout import copied
from seqtrain.recurrence import choose_loop
from seqtrain.runs.directory import RunDir
from seqtrain.runs.records import MetricsRecord
from seqtrain.runs.trainer import train_run
from seqtrain.system import strict_json
from seqtrain.system.errors import SeqtrainError
from seqtrain.system.processes import python_command
from seqtrain.system.settings import UserClass
from seqtrain.tasks import Batch
from seqtrain.training.loop import evaluate

STEPS = 12
"""Of the short runs, with one evaluation in the middle and one at the end."""

TIMING = ("elapsed_s", "sequences_per_s", "tokens_per_s")
"""Fields of a record in which two equal runs may differ."""

SEQUENCES = 8
"""In the batch that the model is tested on."""

CLOSE_GRADIENT = 1e-3
"""The same for gradients, which sum over all steps and sequences."""


def check_promises(config: Config, say: Callable[[str], None] = lambda _: None) -> Iterator[Finding]:
    """Test each promise, one after the other.

    Parameters
    ----------
    say : called with a line on what is tested next.

    Raises
    ------
    SeqtrainError : the config cannot be trained, or diverges.
    """
    short = shortened(config)
    with tempfile.TemporaryDirectory(prefix="seqtrain-check-") as name:
        folder = Path(name)
        say(f"training {STEPS} steps")
        _train(short, folder / "whole")
        say("training them again")
        yield determinism(short, folder)
        say(f"training them once more, killed after step {STEPS // 2 + 1} and resumed")
        yield resume(short, folder)
        if config.train.shards > 1:
            say("training them on several processes")
            yield processes(short, folder)
        say("evaluating, and asking the model")
        yield same_test_set(short, folder)
        restored = _restored(config, RunDir(folder / "whole").last)
        device = next(restored.model.parameters()).device
        batch = restored.task.train_batch(0, min(SEQUENCES, config.train.batch_size)).to(device)
        yield causality(restored.model, batch, config.model.direction)
        several = restored.task.train_batch(0, SEQUENCES).to(device)  # also where training has batches of one
        yield (alone := independence(restored.model, several))
        mixed = Finding("padding", None, "see batch: the sequences change each other's outputs")
        yield padding(restored.model, several) if alone.holds else mixed
        yield gradients(restored, batch)
        if isinstance(config.task, UserClass):
            yield from check_task(restored.model, restored.task, config.train.batch_size, STEPS)


def shortened(config: Config) -> Config:
    """The resolved config with few steps, saved and evaluated on the way, and the same threads in every process."""
    half = STEPS // 2
    changes = [f"train.steps={STEPS}", "train.epochs=null", f"train.eval_every={half}", "train.log_every=1"]
    changes += ["train.save_every=2", "train.stop_when_solved=false", "train.patience=null"]
    changes += [f"threads={config.threads or torch.get_num_threads()}"]
    return resolved(config_from(config.model_dump(), "the config", changes))


def determinism(config: Config, folder: Path) -> Finding:
    """The same config and seed give the same bytes."""
    _train(config, folder / "again")
    return _compare("determinism", folder / "whole", folder / "again", "trained twice")


def resume(config: Config, folder: Path) -> Finding:
    """A run that is killed and resumed, in processes of their own, ends with the same bytes as one that was not."""
    file, out, last = str(folder / "config.yaml"), str(folder / "resumed"), STEPS // 2 + 1
    Path(file).write_text(to_yaml(config), "utf-8")
    code, error = _python("seqtrain.inference.verification", file, out, str(last))
    if code != -signal.SIGKILL:
        return Finding("resume", False, f"the run could not be killed, it ended with {code}: {error}")
    code, error = _python("seqtrain", "train", file, "--out", out, "--resume", "--quiet")
    if code:
        return Finding("resume", False, f"--resume failed: {error}")
    return _compare("resume", folder / "whole", Path(out), f"killed after step {last} and resumed")


def processes(config: Config, folder: Path) -> Finding:
    """A run on several processes of `torchrun` ends with the same bytes as one on a single process."""
    number = next(n for n in range(2, config.train.shards + 1) if config.train.shards % n == 0)
    file, out = str(folder / "config.yaml"), str(folder / "shared")
    Path(file).write_text(to_yaml(config), "utf-8")
    command = python_command("seqtrain", "train", file, "--out", out, "--quiet")
    code, error = _python(
        "torch.distributed.run", "--standalone", f"--nproc-per-node={number}", "--no-python", *command
    )
    if code:
        return Finding("processes", False, f"{number} processes of torchrun failed: {error}")
    return _compare("processes", folder / "whole", Path(out), f"trained on {number} processes")


def same_test_set(config: Config, folder: Path) -> Finding:
    """A checkpoint alone rebuilds the test set, and gives the test figures of its run."""
    run = RunDir(folder / "whole")
    expected = run.load_summary().test
    if expected is None:
        return Finding("test set", None, "no evaluation gave a finite figure, so that there is no best checkpoint")
    try:
        restored = _restored(config, run.path)
    except SeqtrainError as error:
        return Finding("test set", False, str(error))
    batch_size = restored.task.evaluated_together(config.train.eval_batch_size)
    figures = strict_json.finite(evaluate(restored.model, restored.task, "test", batch_size))
    if figures != expected:
        return Finding("test set", False, f"the summary says {expected}, the checkpoint alone gives {figures}")
    digest = restored.task.fingerprints()["test"][:16]
    return Finding("test set", True, f"SHA-256 {digest} and all figures are the summary's")


def causality(model: SequenceModel, batch: Batch, direction: str) -> Finding:
    """The outputs at the first steps do not depend on the inputs of later steps."""
    T = len(batch.inputs)
    if direction != "forward" or T < 2:
        why = f"model.direction is {direction}" if T > 1 else "the sequences have one step"
        return Finding("causality", None, f"{why}: there is no later that must not be seen")
    begin, end = batch.inputs[: T // 2], batch.inputs[T // 2 :]
    others = [end.roll(1, 1), end.flip(0), *([end + 1] if end.is_floating_point() else [])]
    other = next((other for other in others if not torch.equal(other, end)), None)
    if other is None:
        return Finding("causality", None, "all sequences and steps are alike, so that there is no other future")
    with torch.no_grad():
        before, after = (
            model.predict(torch.cat([begin, part]), batch.lengths)[0].activations[: len(begin)] for part in (end, other)
        )
    same = torch.equal(before, after)
    result = "the same to the last bit" if same else f"they differ by {_relative(before, after):.1g}"
    steps = f"outputs of steps 1 to {len(begin)} with other inputs from step {len(begin) + 1} on"
    return Finding("causality", same, f"{steps}: {result}")


def independence(model: SequenceModel, batch: Batch) -> Finding:
    """A sequence gives the same outputs alone as beside others of its length."""
    B = batch.inputs.shape[1]
    with torch.no_grad():
        alone, beside = (model.predict(inputs)[0].activations[:, 0] for inputs in (batch.inputs[:, :1], batch.inputs))
    worst = _relative(alone, beside)
    return Finding("batch", worst <= CLOSE, f"a sequence alone, and beside {B - 1} others: differs by {worst:.1g}")


def padding(model: SequenceModel, batch: Batch) -> Finding:
    """A sequence gives the same outputs alone as beside longer ones, where padding follows it."""
    T, B = batch.inputs.shape[:2]
    length = max(1, T // 2)
    padded = torch.cat([batch.inputs, batch.inputs[-1:].expand(3, *batch.inputs.shape[1:])])
    with torch.no_grad():
        alone, _ = model.predict(batch.inputs[:length, :1])
        beside, _ = model.predict(padded, torch.tensor([length] + [T] * (B - 1), device=padded.device))
    worst = _relative(alone.activations[:, 0], beside.activations[:length, 0])
    if not model.every_step:
        worst = max(worst, _relative(alone.features[0], beside.features[0]))
    what = f"a sequence of {length} steps alone, and padded to {T + 3} beside {B - 1} others"
    return Finding("padding", worst <= CLOSE, f"{what}: differs by {worst:.1g}")


def gradients(restored: Restored, batch: Batch) -> Finding:
    """The engine's gradients equal those of the plain loop in double precision, which equal slopes of the loss."""
    model, rounded = restored.model, None
    if model.precision != "float32":
        rounded = _gradients(restored, model, batch)
        model = copied(model)
        model.precision = "float32"
    single = _gradients(restored, model, batch)
    exact_model = copied(model).double()
    exact_model.stack.loop = choose_loop("reference", exact_model.stack.cells()[0][0])
    inputs, targets = (part.double() if part.is_floating_point() else part for part in (batch.inputs, batch.targets))
    batch = replace(batch, inputs=inputs, targets=targets)
    try:
        exact = _gradients(restored, exact_model, batch)
        slope, norm = _slope(restored, exact_model, batch, exact)
    except RuntimeError as error:
        return Finding(
            "gradients",
            None,
            f"the cell does not run in double precision ({error}); make new tensors with weight.new_zeros(...)",
        )
    if not norm > 0:
        return Finding("gradients", None, f"the norm of all gradients is {norm:g}")
    errors = {name: _gradient_error(exact[name], single.get(name), norm) for name in exact}
    worst = max(errors, key=errors.__getitem__)
    off = abs(slope - norm) / norm
    in_bfloat16 = ""
    if rounded is not None:
        apart = max(_gradient_error(exact[name], rounded.get(name), norm) for name in exact)
        in_bfloat16 = f"; in bfloat16, in which the model was trained, the gradients differ by {apart:.1g}"
    return Finding(
        "gradients",
        errors[worst] <= CLOSE_GRADIENT and off <= CLOSE_GRADIENT,
        f"{model.stack.loop.name} beside the plain loop in double precision: {worst} differs most, by "
        f"{errors[worst]:.1g}; the slope of the loss along the gradient differs by {off:.1g}{in_bfloat16}",
    )


def _gradient_error(exact: Tensor, single: Tensor | None, norm: float) -> float:
    """The largest difference, relative to the largest value, or to a small part of all gradients if that is larger."""
    if single is None or not torch.isfinite(single).all():
        return math.inf
    return float((exact - single.double()).abs().max() / exact.abs().max().clamp(min=1e-5 * norm))


def _gradients(restored: Restored, model: SequenceModel, batch: Batch) -> dict[str, Tensor]:
    model.zero_grad()
    _loss(restored, model, batch).backward()  # type: ignore[no-untyped-call]
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def _loss(restored: Restored, model: SequenceModel, batch: Batch) -> Tensor:
    prediction, _ = model.predict(batch.inputs, batch.lengths)
    total, count = restored.task.loss(prediction, batch)
    return total / count


def _slope(restored: Restored, model: SequenceModel, batch: Batch, gradient: dict[str, Tensor]) -> tuple[float, float]:
    """The slope of the loss along the gradient by central differences, and the norm of the gradient: they are equal."""
    norm, step = float(nn.utils.get_total_norm(gradient.values())), 1e-5

    @torch.no_grad()
    def moved_loss(distance: float) -> float:
        moved = copied(model)
        for name, direction in gradient.items():
            moved.get_parameter(name).add_(direction, alpha=distance / max(norm, 1e-300))
        return float(_loss(restored, moved, batch))

    return (moved_loss(step) - moved_loss(-step)) / (2 * step), norm


def _relative(one: Tensor, other: Tensor) -> float:
    """The largest difference, relative to the largest value."""
    largest = torch.maximum(one.abs().max(), other.abs().max())
    return float((one - other).abs().max() / largest.clamp(min=1e-12))


def _compare(promise: str, one: Path, other: Path, what: str) -> Finding:
    """Whether two runs ended with the same bytes, except for times."""
    first, second = _content(RunDir(one)), _content(RunDir(other))
    if differing := [name for name in first if first[name] != second[name]]:
        return Finding(promise, False, f"{what}: {', '.join(differing)} differ")
    last = RunDir(one).last
    digest = hashlib.sha256(last.read_bytes()).hexdigest()[:16]
    return Finding(promise, True, f"{what}: the same bytes, SHA-256 of {last.name} {digest}")


def _content(run: RunDir) -> dict[str, object]:
    """What equal runs have in common, by the name of the file."""
    checkpoints = {path.name: path.read_bytes() if path.exists() else None for path in (run.last, run.best)}
    records = [record.model_copy(update=dict.fromkeys(TIMING)) for record in run.read_metrics()]
    return checkpoints | {run.metrics.name: records}


def _restored(config: Config, checkpoint: Path) -> Restored:
    """A checkpoint without its config, apart from the files of the user's own classes."""
    folders = [f"{'.'.join(place_of(type(own)))}.folder={own.folder}" for own in user_classes(config) if own.folder]
    return restore(checkpoint, folders, quiet=True)


def _train(config: Config, out: Path) -> None:
    """Train a run to its end; otherwise raise an error with its exit code."""
    outcome = train_run(config, out, quiet=True)
    if outcome.exit_code:
        error = SeqtrainError(outcome.message or "interrupted")
        error.exit_code = outcome.exit_code
        raise error


def _python(module: str, *arguments: str) -> tuple[int, str]:
    """Run a module in a process of its own; returns its exit code and what it wrote on stderr."""
    command = python_command(module, *arguments)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return done.returncode, done.stderr.decode("utf-8", "replace").strip()


def main() -> None:
    """Train the config of a file, and kill this process after a step."""
    file, out, last = sys.argv[1:]

    def kill(record: MetricsRecord) -> None:
        if record.step >= int(last):
            os.kill(os.getpid(), signal.SIGKILL)

    train_run(load_config(file, []), Path(out), quiet=True, on_record=kill)


if __name__ == "__main__":
    main()
