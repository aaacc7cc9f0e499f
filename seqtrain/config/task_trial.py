"""Try a user's own task before it is used: every method is called once, and what it gives is checked.

What a model needs of a task is refused here if it is missing, not in the middle of a training. Nothing here needs a
model: random numbers of the right shape take the place of its outputs.
"""

import hashlib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import zip_longest
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seqtrain.config.plugins import blamed, blamed_on
from seqtrain.config.schema import Config, UserTask
from seqtrain.models import Prediction
from seqtrain.system.errors import ConfigError
from seqtrain.system.rng import generator, seeded_global_generator
from seqtrain.tasks import Batch, Metric, Spec, Split, Tally, Task
from seqtrain.tasks.base import HELD_OUT

MOST_FAULTS = 5
"""How many faults of one batch a message names."""


def tried(build: Callable[[], Task], config: Config) -> Task:
    """A user's own task, after a trial of everything that training and evaluation ask of it.

    Parameters
    ----------
    build : makes the task; called twice, as two tasks of the same settings and seed must give the same data.

    Raises
    ------
    ConfigError : the task cannot be used; the message names the method and the cure.
    """
    section = config.task
    assert isinstance(section, UserTask)
    with seeded_global_generator("trial of a task"):
        with blamed_on(section, "be made"):
            task, other = build(), build()
        trial = _Trial(task, section, config.train.batch_size)
        trial.check_sizes()
        batch = trial.check_training(other)
        batches = trial.check_evaluation(other, config.train.eval_batch_size)
        for split, first in {"train": batch, **batches}.items():
            trial.check_figures(split, first)
        trial.check_the_rest(batch)
        if config.model.direction != "forward":
            trial.check_direction(batch)
    return task


class _Trial(NamedTuple):
    """A task that is tried.

    section : of the config, to be named in messages.
    size : sequences in a training batch, as the config says.
    """

    task: Task
    section: UserTask
    size: int

    def refuse(self, what: str, fault: str) -> ConfigError:
        """The error about what a method gives."""
        return ConfigError(f"{blamed(self.section)}: {what} {fault}")

    @contextmanager
    def asked(self, what: str) -> Iterator[None]:
        """Blame the task for an error in the method that is called, `what`."""
        with blamed_on(self.section, f"give {what}"):
            yield

    def check_sizes(self) -> None:
        """Refuse a task that does not say what a model takes and gives."""
        names = ("metric", "every_step", "input_size", "output_size")
        if missing := [name for name in names if not hasattr(self.task, name)]:
            raise self.refuse("the class", f"does not define {', '.join(missing)}; set them in it or in __post_init__")
        metric: Any = self.task.metric
        if not isinstance(metric, Metric):
            raise self.refuse("metric", f"is {metric!r}; make it a seqtrain.tasks.Metric, such as ACCURACY")
        for name in ("input_size", "output_size"):
            value = getattr(self.task, name)
            if type(value) is not int or value < 1:
                raise self.refuse(name, f"is {value!r}; make it a whole number from 1")
        if not isinstance(self.task.every_step, bool):
            raise self.refuse("every_step", f"is {self.task.every_step!r}; make it True or False")
        for name in ("definition", "fixed_bytes"):
            with self.asked(name):
                getattr(self.task, name)
        if self.task.words:
            self._check_words()

    def _check_words(self) -> None:
        words = getattr(self.task, "vocabulary", None)
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise self.refuse("vocabulary", "is no list of texts; the task has words, so name the word of each symbol")
        if not len(set(words)) == len(words) == self.task.input_size == self.task.output_size:
            raise self.refuse(
                "vocabulary",
                f"has {len(set(words))} different words, input_size is {self.task.input_size} and output_size "
                f"{self.task.output_size}; make all three equal, and name no word twice",
            )

    def check_training(self, other: Task) -> Batch:
        """Refuse training batches that are wrong, or that differ for the same step and seed; returns the first one."""
        with self.asked("trained_together(...)"):
            columns = self.task.trained_together(self.size)
        batch = self._trained(self.task, 0, columns)
        second = self._trained(self.task, 1, columns)
        others = {1: self._trained(other, 1, columns), 0: self._trained(other, 0, columns)}  # in another order
        for step, one in ((0, batch), (1, second), (0, self._trained(self.task, 0, columns))):
            if _digest(one) != _digest(others[step]):
                raise self.refuse(
                    f"train_batch({step}, {self.size})",
                    "gives other values when it is called again; draw all of them from self.generator(...) or the "
                    "generator that is given, and keep nothing from call to call",
                )
        if self.task.has_epochs:
            with self.asked("steps_in(1, ...) and epoch_at(0, ...), as it has epochs"):
                self.task.steps_in(1, self.size)
                self.task.epoch_at(0, self.size)
        return batch

    def _trained(self, task: Task, step: int, columns: int) -> Batch:
        what = f"train_batch({step}, {self.size})"
        with self.asked(what):
            batch = task.train_batch(step, self.size)
        self._check_batch(what, batch, columns)
        return batch

    def check_evaluation(self, other: Task, asked_for: int | None) -> dict[Split, Batch]:
        """Refuse sets that are wrong, or that differ from one reading to the next; returns the first batch of each."""
        with self.asked("evaluated_together(...)"):
            size = self.task.evaluated_together(asked_for)
        splits: tuple[Split, ...] = ("train", *HELD_OUT) if self.task.has_epochs else HELD_OUT
        return {split: self._check_set(other, split, size) for split in splits}

    def _check_set(self, other: Task, split: Split, size: int) -> Batch:
        what = f"eval_batches({split!r}, {size})"
        first, count = None, 0
        with self.asked(what):
            readings = [task.eval_batches(split, size) for task in (self.task, other)]
            for count, (batch, again) in enumerate(zip_longest(*readings), 1):
                if batch is not None:
                    self._check_batch(f"batch {count} of {what}", batch, None)
                    first = first or batch
                if batch is None or again is None or _digest(batch) != _digest(again):
                    raise self.refuse(what, "gives other batches the second time; draw them from self.generator(split)")
            repeated = sum(1 for _ in self.task.eval_batches(split, size))
        if first is None:
            raise self.refuse(what, "gives no batch; every split needs one sequence or more")
        if repeated != count:
            raise self.refuse(what, f"gives {count} batches and then {repeated}; make a new iterator for every call")
        with self.asked(f"count_eval_batches({split!r}, {size})"):
            counted = self.task.count_eval_batches(split, size)
        if counted != count:
            raise self.refuse(
                f"count_eval_batches({split!r}, {size})", f"is {counted!r}, but eval_batches gives {count}; return that"
            )
        return first

    def check_figures(self, split: str, batch: Batch) -> None:
        """Refuse a loss or metrics that a model cannot be trained or judged by."""
        T, B = batch.inputs.shape[:2]
        shape = (T, B, self.task.output_size) if self.task.every_step else (B, self.task.output_size)
        outputs = torch.randn(shape, generator=generator("outputs")).requires_grad_()
        prediction, means = Prediction(nn.Identity(), outputs, outputs), {}
        on = f"on a batch of {split}"
        with self.asked(f"loss(...) {on}, with outputs {list(shape)}"):
            total, count = self.task.loss(prediction, batch)
            self._check_loss(outputs, batch, total, count)
        with self.asked(f"measure(...) {on}, with outputs {list(shape)}"), torch.no_grad():
            tally = self.task.measure(prediction, batch)
            if not isinstance(tally, Tally):
                raise self.refuse("measure", f"gives {_kind(tally)}; return a seqtrain.tasks.Tally")
            means = Tally().add("loss", total, count).merge(tally).means()
        with self.asked(f"summarise(...) of {', '.join(means)}"):
            means = self.task.summarise(means)
        if self.task.metric.name not in means:
            raise self.refuse(
                "measure", f"gives {', '.join(means)}, but the metric is {self.task.metric.name}; add it to the Tally"
            )
        with self.asked(f"solved(...) of {', '.join(means)}; define it, or set solvable = False. It raises"):
            self.task.solved(means)
        if split in HELD_OUT:
            self._check_baseline(split)

    def _check_loss(self, outputs: Tensor, batch: Batch, total: Any, count: Any) -> None:
        if not isinstance(total, Tensor) or total.dim() or not total.requires_grad:
            raise self.refuse(
                "loss", f"gives {_kind(total)}; return the sum as a tensor without dimensions, made of the outputs"
            )
        if not (isinstance(count, int) and count > 0 and bool(torch.isfinite(total))):
            raise self.refuse(
                "loss",
                f"gives {float(total.detach()):g} over {count!r} predictions; return a finite sum and their number, "
                "an int",
            )
        (slope,) = torch.autograd.grad(total, outputs)
        if not bool(torch.isfinite(slope).all()):
            raise self.refuse("loss", "has a gradient that is not finite; e.g. sqrt(0) and log(0) give such ones")
        if self.task.every_step and batch.lengths is not None:
            behind = torch.arange(len(outputs))[:, None] >= batch.lengths
            if bool(slope[behind].any()):
                raise self.refuse(
                    "loss",
                    "counts the padding behind sequences; give the batch scored, [T, B] bool, which is False there",
                )

    def _check_baseline(self, split: Split) -> None:
        with self.asked(f"baseline({split!r})"):
            baseline = self.task.baseline(split)
            name = self.task.metric.name
            if not isinstance(baseline, dict) or name not in baseline:
                given = ", ".join(baseline) if isinstance(baseline, dict) else _kind(baseline)
                raise self.refuse(f"baseline({split!r})", f"gives {given or 'nothing'}; it must have {name}")
            for key, value in baseline.items():
                if not isinstance(value, float | int) or not math.isfinite(value):
                    raise self.refuse(f"baseline({split!r})", f"has {key} {value!r}; make it a finite number")

    def check_the_rest(self, batch: Batch) -> None:
        """Refuse wrong specimens and hidden facts, and errors of the methods that only inform."""
        for split in ("train", "valid"):
            with self.asked(what := f"specimen({split!r}, {self.size})"):
                specimen = self.task.specimen(split, self.size)
            self._check_batch(what, specimen, 1)
        calls: dict[str, Callable[[], object]] = {
            "work(...)": lambda: self.task.work(batch),
            "fixed_bytes()": self.task.fixed_bytes,
            "windows_bytes(...)": lambda: self.task.windows_bytes(self.size),
            "remarks(...)": lambda: list(self.task.remarks(self.size)),
            "remarks_on_evaluation('test')": lambda: list(self.task.remarks_on_evaluation("test")),
            "conversions('test', 1.0)": lambda: dict(self.task.conversions("test", 1.0)),
            "facts('test')": lambda: dict(self.task.facts("test")),
            "memory_predictions(...)": lambda: self.task.memory_predictions(batch),
            "hidden_facts(...)": lambda: self._check_hidden_facts(batch),
        }
        for name, call in calls.items():
            with self.asked(name):
                call()

    def _check_hidden_facts(self, batch: Batch) -> None:
        wanted = batch.inputs.shape[:2]
        for fact in self.task.hidden_facts(batch):
            if not fact.values.shape == fact.known.shape == wanted or fact.known.dtype != torch.bool:
                raise self.refuse(
                    f"hidden_facts: {fact.name!r}",
                    f"has values {_kind(fact.values)} and known {_kind(fact.known)}; both must be {list(wanted)}, and "
                    "known bool",
                )

    def check_direction(self, batch: Batch) -> None:
        """Refuse a model that reads backward if the targets are the next inputs, which it would see."""
        several = self.task.symbolic and batch.inputs.dim() == 3
        columns = batch.inputs.unbind(-1) if several else [batch.inputs]
        if any(_are_next(column, batch) for column in columns):
            raise self.refuse(
                "the targets",
                "are the next inputs, which a model that reads backward sees; set next_token = True in the class, and "
                "use model.direction=forward",
            )

    def _check_batch(self, what: str, batch: Any, columns: int | None) -> None:
        """Refuse a batch with wrong types, shapes or values.

        Parameters
        ----------
        columns : how many sequences it must have; None for any number.
        """
        if not isinstance(batch, Batch):
            raise self.refuse(what, f"is {_kind(batch)}; return a seqtrain.tasks.Batch")
        with self.asked(what):
            faults = [*_faults_of_inputs(batch, self.task.spec, columns)]
            faults = faults or [*_faults_of_targets(batch, self.task.spec), *_faults_of_masks(batch, self.task.spec)]
        if faults:
            raise ConfigError([f"{blamed(self.section)}: {what}: {fault}" for fault in faults[:MOST_FAULTS]])


def _are_next(inputs: Tensor, batch: Batch) -> bool:
    """Whether the targets are the next inputs."""
    if inputs.shape != batch.targets.shape or len(inputs) < 2:
        return False
    same = inputs[1:] == batch.targets[:-1]
    return bool((same if batch.scored is None else same | ~batch.scored[:-1]).all())


def _faults_of_inputs(batch: Batch, spec: Spec, columns: int | None) -> Iterator[str]:
    """What is wrong with the inputs; with right ones, the sizes T and B are known."""
    given = {"inputs": batch.inputs, "targets": batch.targets, **batch.tensors()}
    for name, value in given.items():
        if not isinstance(value, Tensor):
            yield f"{name} are {_kind(value)}; they must be a tensor"
        elif value.device.type != "cpu":
            yield f"{name} are on the device {value.device}; make them on the CPU, seqtrain moves them"
    inputs = batch.inputs
    if not isinstance(inputs, Tensor) or inputs.device.type != "cpu":
        return
    if spec.symbols:
        wanted, kind, what = "[T, B] int64, or [T, B, F] with 2 or more symbols a step", torch.int64, "symbols"
        fits = inputs.dim() == 2 or (inputs.dim() == 3 and inputs.shape[2] > 1)
    else:
        wanted, kind, what = f"[T, B, {spec.input_size}] float32", torch.float32, "real numbers"
        fits = inputs.shape[2:] == (spec.input_size,)
    cure = f"they must be {wanted}, as symbolic is {spec.symbols} and input_size {spec.input_size}"
    if not fits or inputs.dtype != kind:
        yield f"inputs are {_kind(inputs)}; {cure}"
    elif not inputs.numel():
        yield f"inputs are {list(inputs.shape)}; there must be one step and one sequence or more"
    elif columns is not None and inputs.shape[1] != columns:
        yield f"inputs are {list(inputs.shape)}; with T {len(inputs)} they must have {columns} sequences, [T, B, ...]"
    elif spec.symbols and (beyond := _outside(inputs, spec.input_size)):
        yield f"inputs have the symbol {beyond}; {what} must be from 0 to input_size - 1, {spec.input_size - 1}"
    elif not spec.symbols and not bool(torch.isfinite(inputs).all()):
        yield "inputs have a number that is not finite; remove it or replace it"


def _faults_of_targets(batch: Batch, spec: Spec) -> Iterator[str]:
    """What is wrong with the targets, given right inputs."""
    targets, whole = batch.targets, list(batch.inputs.shape[:2] if spec.every_step else batch.inputs.shape[1:2])
    letters = "[T, B]" if spec.every_step else "[B]"
    classes, others = list(targets.shape) == whole, list(targets.shape) == [*whole, spec.output_size]
    is_whole = not targets.is_floating_point()
    if not others and not (classes and is_whole):
        yield (
            f"targets are {_kind(targets)}; as every_step is {spec.every_step}, they must be {letters} {whole} classes "
            f"of int64, or {[*whole, spec.output_size]} numbers"
        )
    elif classes and targets.dtype != torch.int64:
        yield f"targets are {_kind(targets)}; classes must be int64"
    elif classes:
        counted = targets[batch.scored] if _is_mask(batch.scored, whole) else targets
        if beyond := _outside(counted, spec.output_size):
            yield f"targets have the class {beyond}; they must be from 0 to output_size - 1, {spec.output_size - 1}"
    elif not is_whole and not bool(torch.isfinite(targets).all()):
        yield "targets have a number that is not finite; remove it or replace it"


def _faults_of_masks(batch: Batch, spec: Spec) -> Iterator[str]:
    """What is wrong with the rest of a batch, given right inputs."""
    T, B = batch.inputs.shape[:2]
    lengths, factor = batch.lengths, batch.lr_factor
    if lengths is not None and (lengths.shape != (B,) or lengths.dtype != torch.int64):
        yield f"lengths are {_kind(lengths)}; they must be [{B}] int64"
    elif lengths is not None and bool(((lengths < 1) | (lengths > T)).any()):
        yield f"lengths are from {int(lengths.min())} to {int(lengths.max())}; they must be from 1 to T, {T}"
    if batch.scored is not None and not _is_mask(batch.scored, [T, B]):
        yield f"scored are {_kind(batch.scored)}; they must be [{T}, {B}] bool"
    elif batch.scored is not None and not (spec.every_step and bool(batch.scored.any())):
        yield "scored selects nothing" if spec.every_step else "scored is for a prediction at every step; leave it out"
    if batch.marks is not None and batch.marks.shape != (T, B):
        yield f"marks are {_kind(batch.marks)}; they must be [{T}, {B}] whole numbers"
    if not isinstance(factor, float | int) or not 0 < factor < math.inf:
        yield f"lr_factor is {factor!r}; it must be a finite number above 0"


def _is_mask(mask: Tensor | None, shape: list[int]) -> bool:
    return mask is not None and list(mask.shape) == shape and mask.dtype == torch.bool


def _outside(values: Tensor, size: int) -> str:
    """The first value that is not from 0 to size - 1; empty if there is none."""
    beyond = values[(values < 0) | (values >= size)]
    return str(int(beyond[0])) if beyond.numel() else ""


def _digest(batch: Batch) -> str:
    """Identifies the contents of a batch."""
    digest = hashlib.sha256(f"{batch.fresh} {batch.lr_factor}".encode())
    for name, tensor in batch.tensors().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _kind(value: Any) -> str:
    """A value in a few words: the shape and the type of a tensor, the type of anything else."""
    if isinstance(value, Tensor):
        return f"{list(value.shape)} {_name(value.dtype)}"
    return f"a {type(value).__name__}"


def _name(kind: torch.dtype) -> str:
    return str(kind).removeprefix("torch.")
