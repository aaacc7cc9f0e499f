"""`seqtrain check`: what seqtrain promises, proved on the user's own config and machine.

`python -m seqtrain.inference.verification CONFIG OUT STEP` trains and kills itself after that step, as a machine that
goes down would.
"""

import copy
import hashlib
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqtrain.config import Config, config_from, load_config, to_yaml
from seqtrain.inference.load import Restored, restore
from seqtrain.models import SequenceModel
from seqtrain.recurrence import choose_unroll
from seqtrain.runs.directory import RunDir
from seqtrain.runs.trainer import Outcome, train_run
from seqtrain.system import strict_json
from seqtrain.system.errors import SeqtrainError
from seqtrain.tasks import Batch
from seqtrain.training.loop import evaluate

STEPS = 12
"""Of the short runs that the proofs need, with one evaluation in the middle and one at the end."""

TIMING = ("elapsed_s", "sequences_per_s", "tokens_per_s")
"""What two runs that are the same in everything else may differ in."""

SEQUENCES = 8
"""That the model is asked about."""

CLOSE = 1e-4
"""Largest difference, as a part of the largest value, between two ways to compute one thing in single precision."""

CLOSE_GRADIENT = 1e-3
"""Likewise for gradients, which sum over all steps and sequences."""


class Finding(NamedTuple):
    """Whether one promise holds, None if it does not apply here, and what was found."""

    promise: str
    holds: bool | None
    found: str


def check_promises(config: Config, tell: Callable[[str], None] = lambda _: None) -> Iterator[Finding]:
    """Each promise with what was found, one after the other.

    Parameters
    ----------
    tell : called with what is tried next.

    Raises
    ------
    SeqtrainError : the config cannot be trained at all, or diverges.
    """
    short = shortened(config)
    with tempfile.TemporaryDirectory(prefix="seqtrain-check-") as name:
        folder = Path(name)
        tell(f"training {STEPS} steps")
        _trained(train_run(short, folder / "whole", quiet=True))
        tell("training them again")
        yield determinism(short, folder)
        tell(f"training them once more, killed after step {STEPS // 2 + 1} and resumed")
        yield resume(short, folder)
        tell("evaluating, and asking the model")
        yield same_test_set(config, folder)
        restored = restored_from(config, RunDir(folder / "whole").last)
        batch = restored.task.train_batch(0, min(SEQUENCES, config.train.batch_size))
        yield causality(restored.model, batch, config.model.direction)
        yield padding(restored.model, restored.task.train_batch(0, SEQUENCES))  # beside others, if it trains on one
        yield gradients(restored, batch)


def shortened(config: Config) -> Config:
    """The config with a few steps, saved and evaluated on the way, and as many threads in every process."""
    half = STEPS // 2
    changes = [f"train.steps={STEPS}", "train.epochs=null", f"train.eval_every={half}", "train.log_every=1"]
    changes += ["train.save_every=2", "train.stop_when_solved=false", "train.patience=null"]
    changes += [f"threads={config.threads or torch.get_num_threads()}"]
    return config_from(config.model_dump(), "the config", changes)


def determinism(config: Config, folder: Path) -> Finding:
    """The same config and seed give the same bytes."""
    _trained(train_run(config, folder / "again", quiet=True))
    return Finding("determinism", *_compared(folder / "whole", folder / "again", "trained twice"))


def resume(config: Config, folder: Path) -> Finding:
    """A run that is killed and resumed ends with the bytes of one that was not; in processes of their own."""
    file, out, last = folder / "config.yaml", folder / "resumed", STEPS // 2 + 1
    file.write_text(to_yaml(config), "utf-8")
    killed = subprocess.run(
        [sys.executable, "-m", "seqtrain.inference.verification", str(file), str(out), str(last)],
        capture_output=True,
        check=False,
    )
    if killed.returncode != -signal.SIGKILL:
        told = killed.stderr.decode("utf-8", "replace").strip()
        return Finding("resume", False, f"the run could not be killed, it ended with {killed.returncode}: {told}")
    again = subprocess.run(
        [sys.executable, "-m", "seqtrain", "train", str(file), "--out", str(out), "--resume", "--quiet"],
        capture_output=True, check=False,
    )  # fmt: skip
    if again.returncode:
        return Finding("resume", False, f"--resume failed: {again.stderr.decode('utf-8', 'replace').strip()}")
    return Finding("resume", *_compared(folder / "whole", out, f"killed after step {last} and resumed"))


def restored_from(config: Config, checkpoint: Path) -> Restored:
    """What a checkpoint alone gives, and the file of a cell of the user's own."""
    place = getattr(config.model.cell, "folder", None)
    return restore(checkpoint, [] if place is None else [f"model.cell.folder={json.dumps(place)}"], quiet=True)


def same_test_set(config: Config, folder: Path) -> Finding:
    """A checkpoint alone rebuilds the test set that it was trained beside, and with it the same figures."""
    said = RunDir(folder / "whole").read_summary() or {}
    if said["test"] is None:
        return Finding("test set", None, "no evaluation gave a finite figure, so that there is no best checkpoint")
    try:
        restored = restored_from(config, folder / "whole")
    except SeqtrainError as error:
        return Finding("test set", False, str(error))
    task = restored.task
    found = evaluate(restored.model, task, "test", config.train.eval_batch_size or task.eval_batch_size)
    if json.loads(strict_json.dumps(found)) != said["test"]:
        return Finding("test set", False, f"the summary says {said['test']}, the checkpoint alone gives {found}")
    return Finding("test set", True, f"SHA-256 {task.fingerprints()['test'][:16]} and all figures are the summary's")


def causality(model: SequenceModel, batch: Batch, direction: str) -> Finding:
    """What comes later in a sequence does not change what the model makes of its beginning."""
    T = len(batch.inputs)
    if direction != "forward" or T < 2:
        why = f"model.direction is {direction}" if T > 1 else "the sequences have one step"
        return Finding("causality", None, f"{why}: there is no later that must not be seen")
    cut = T // 2
    changed = batch.inputs.clone()
    changed[cut:] = changed[cut:].roll(1, 1)
    if torch.equal(changed, batch.inputs):
        changed[cut:] = changed[cut:].flip(0)
    if torch.equal(changed, batch.inputs) and changed.is_floating_point():
        changed[cut:] += 1
    if torch.equal(changed, batch.inputs):
        return Finding("causality", None, "all sequences and steps are alike, so that there is no other future")
    with torch.no_grad():
        before, after = (model.predict(x, batch.lengths)[0].activations[:cut] for x in (batch.inputs, changed))
    return Finding(
        "causality",
        torch.equal(before, after),
        f"outputs of steps 1 to {cut} with other inputs from step {cut + 1} on: {_difference(before, after)}",
    )


def padding(model: SequenceModel, batch: Batch) -> Finding:
    """A sequence gives the same outputs alone and beside longer ones, with padding behind it."""
    T, B = batch.inputs.shape[:2]
    length = max(1, T // 2)
    padded = torch.cat([batch.inputs, batch.inputs[-1:].expand(3, *batch.inputs.shape[1:])])
    lengths = torch.tensor([length] + [T] * (B - 1))
    with torch.no_grad():
        alone, _ = model.predict(batch.inputs[:length, :1])
        beside, _ = model.predict(padded, lengths)
    pairs = [(alone.activations[:, 0], beside.activations[:length, 0])]
    if not model.every_step:
        pairs.append((alone.features[0], beside.features[0]))
    worst = max(_relative(one, other) for one, other in pairs)
    told = f"a sequence of {length} steps alone, and padded to {T + 3} beside {B - 1} others: differs by {worst:.1g}"
    return Finding("padding", worst <= CLOSE, told)


def gradients(restored: Restored, batch: Batch) -> Finding:
    """The engine's gradients are those of the plain loop in double precision, and those are slopes of the loss."""
    single = _gradients(restored, restored.model, batch)
    exact_model = copy.deepcopy(restored.model).double()
    exact_model.stack.loop = choose_unroll("reference", exact_model.stack.cells()[0][0])
    batch = _double(batch)
    try:
        exact = _gradients(restored, exact_model, batch)
        slope, expected = _slope(restored, exact_model, batch, exact)
    except RuntimeError as error:
        return Finding("gradients", None, f"the cell does not run in double precision ({error})")
    if not expected > 0:
        return Finding("gradients", None, f"the norm of all gradients is {expected:g}")
    errors = {name: _gradient_error(exact[name], single.get(name), expected) for name in exact}
    worst = max(errors, key=errors.__getitem__)
    off = abs(slope - expected) / expected
    told = f"{restored.model.stack.loop.name} beside the plain loop in double precision: {worst} differs most, by "
    told += f"{errors[worst]:.1g}; the slope of the loss along the gradient differs by {off:.1g}"
    return Finding("gradients", errors[worst] <= CLOSE_GRADIENT and off <= CLOSE_GRADIENT, told)


def _gradient_error(exact: Tensor, found: Tensor | None, norm: float) -> float:
    """The largest difference, as a part of the largest value, or of what little a gradient is beside all others."""
    if found is None or not torch.isfinite(found).all():
        return math.inf
    return float((exact - found.double()).abs().max() / exact.abs().max().clamp(min=1e-5 * norm))


def _gradients(restored: Restored, model: SequenceModel, batch: Batch) -> dict[str, Tensor]:
    model.zero_grad()
    _loss(restored, model, batch).backward()  # type: ignore[no-untyped-call]
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def _loss(restored: Restored, model: SequenceModel, batch: Batch) -> Tensor:
    prediction, _ = model.predict(batch.inputs, batch.lengths)
    total, count = restored.task.loss(prediction, batch)
    return total / count


def _slope(restored: Restored, model: SequenceModel, batch: Batch, gradient: dict[str, Tensor]) -> tuple[float, float]:
    """The loss's rise along the gradient, by central differences, and the norm of the gradient, which it should be."""
    norm = float(torch.stack([g.square().sum() for g in gradient.values()]).sum().sqrt())
    losses, step = [], 1e-5
    for sign in (1, -1):
        moved = copy.deepcopy(model)
        with torch.no_grad():
            for name, parameter in moved.named_parameters():
                if name in gradient:
                    parameter.add_(gradient[name], alpha=sign * step / max(norm, 1e-300))
            losses.append(float(_loss(restored, moved, batch)))
    return (losses[0] - losses[1]) / (2 * step), norm


def _double(batch: Batch) -> Batch:
    """The batch with its reals in double precision."""
    reals = {
        name: part.double()
        for name in ("inputs", "targets")
        if isinstance(part := getattr(batch, name), Tensor) and part.is_floating_point()
    }
    return Batch(**(vars(batch) | reals))


def _compared(one: Path, other: Path, what: str) -> tuple[bool, str]:
    """Whether two runs ended with the same bytes, but for what a clock says."""
    first, second = RunDir(one), RunDir(other)
    differing = [
        path.name for path, beside in ((first.last, second.last), (first.best, second.best))
        if path.exists() != beside.exists() or (path.exists() and path.read_bytes() != beside.read_bytes())
    ]  # fmt: skip
    if _untimed(first) != _untimed(second):
        differing.append(first.metrics.name)
    if differing:
        return False, f"{what}: {', '.join(differing)} differ"
    digest = hashlib.sha256(first.last.read_bytes()).hexdigest()[:16]
    return True, f"{what}: the same bytes, SHA-256 of {first.last.name} {digest}"


def _untimed(run: RunDir) -> list[dict[str, Any]]:
    return [{key: value for key, value in record.items() if key not in TIMING} for record in run.read_metrics()]


def _relative(one: Tensor, other: Tensor) -> float:
    """The largest difference, as a part of the largest value."""
    return float((one - other).abs().max() / one.abs().max().clamp(min=1e-12))


def _difference(one: Tensor, other: Tensor) -> str:
    return "the same to the last bit" if torch.equal(one, other) else f"they differ by {_relative(one, other):.1g}"


def _trained(outcome: Outcome) -> None:
    """Raise unless a run went to its end."""
    if outcome.exit_code:
        error = SeqtrainError(outcome.message or "interrupted")
        error.exit_code = outcome.exit_code
        raise error


def main() -> None:
    """Train the config of a file until after a step, and then be gone."""
    file, out, last = sys.argv[1:]

    def die(record: dict[str, Any]) -> None:
        if record["step"] >= int(last):
            os.kill(os.getpid(), signal.SIGKILL)

    train_run(load_config(file, []), Path(out), quiet=True, told=die)


if __name__ == "__main__":
    main()
