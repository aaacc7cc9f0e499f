"""What is inspected: a model with its task, from a run, a checkpoint or a config, and the sequences that it reads."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from seqtrain.config import Config, read_config
from seqtrain.config.build import build_model, build_task, check_batch_size
from seqtrain.config.plugins import as_defined
from seqtrain.config.resolve import resolved
from seqtrain.inference.load import restore
from seqtrain.inference.text_model import TextModel
from seqtrain.inspection.watch import cells_of
from seqtrain.models import SequenceModel
from seqtrain.recurrence import gates_of
from seqtrain.runs.directory import RunDir
from seqtrain.system.errors import CheckpointError, ConfigError
from seqtrain.system.progress import say
from seqtrain.system.rng import generator
from seqtrain.system.runtime import keep_freed_memory, prepare
from seqtrain.system.words import counted
from seqtrain.tasks import Batch, LanguageModel, Split, Task
from seqtrain.tasks.facts import HiddenFact
from seqtrain.tasks.finite import FiniteTask
from seqtrain.tasks.text.facts import LINE_ENDS, after_token
from seqtrain.tasks.text.tokenizer import Unit
from seqtrain.tasks.text.vocabulary import UNK, Vocabulary

At = Literal["init", "best", "last"]
"""Which weights of a run: before the first step, of the best checkpoint, or of the last one."""

TEXT_STEPS = 256
"""Steps of a sequence that is cut from a text."""

FEWEST = 10
"""Sequences of a text that is too short for as many of 256 steps."""

MOST_PROBED, MOST_STEPS, MOST_NUMBERS = 1000, 1 << 18, 1 << 21
"""Of sequences that teach and judge probes: sequences, steps of all together, and activations at one step of each."""


class Subject(NamedTuple):
    """A model that is inspected.

    name : the run, checkpoint or config.
    at : which weights.
    step : training steps that they have had.
    """

    name: str
    at: At
    step: int
    config: Config
    task: Task
    model: SequenceModel

    def untrained(self) -> SequenceModel:
        """The model as it was before its first training step."""
        return build_model(self.config, self.task.spec).eval()


def subject(target: str | Path, overrides: Sequence[str] = (), *, at: At | None = None, quiet: bool = False) -> Subject:
    """The model that a run directory, a checkpoint or a config names, on the CPU; of a config, the untrained one.

    Parameters
    ----------
    at : which weights of a run; None for the best ones.
    overrides : `KEY=VALUE`; of a run, those that its weights allow.

    Raises
    ------
    SeqtrainError : it cannot be used.
    """
    if given := [override for override in overrides if override.partition("=")[0] == "device"]:
        raise ConfigError(f"{given[0]}: an inspection computes on the CPU; leave it out")
    overrides = [*overrides, "device=cpu"]
    path = Path(target)
    run = RunDir(path)
    is_file = path.suffix == ".safetensors"
    if at not in (None, "init") and (is_file or not run.holds_run()):
        what = "is a checkpoint, which has one state" if is_file else "is a config, which has no trained weights"
        raise ConfigError(f"--at is {at!r}, but {target} {what}; leave --at out, or name a run directory")
    if run.last.exists() or run.best.exists() or is_file:
        restored = restore(run.last if at == "last" and path.is_dir() else path, overrides, quiet=quiet)
        model = restored.model if at != "init" else build_model(restored.config, restored.task.spec).eval()
        _check_finite(model, str(restored.path))
        step = restored.step if at != "init" else 0
        named: At = at or ("last" if restored.path.name == run.last.name else "best")
        return Subject(str(target), named, step, restored.config, restored.task, model)
    if run.holds_run() and at != "init":
        raise CheckpointError(f"{path}: has no checkpoint; --at init shows it untrained")
    config, _ = read_config(target, overrides, quiet=quiet)
    prepare(config.threads)
    keep_freed_memory()
    config = resolved(as_defined(config))
    task = build_task(config, quiet=quiet)
    check_batch_size(config, task)
    return Subject(str(target), "init", 0, config, task, build_model(config, task.spec).eval())


def _check_finite(model: SequenceModel, source: str) -> None:
    """Raise a CheckpointError if a weight is not finite: every figure would be meaningless."""
    bad = [name for name, weight in model.named_parameters() if not bool(torch.isfinite(weight).all())]
    if bad:
        raise CheckpointError(f"{source}: holds weights that are not finite ({', '.join(bad)}); inspect another one")


def sequences_of(task: Task, split: Split, count: int) -> Batch:
    """The first sequences of a split, all from a fresh state; of a text, the beginnings of as many equal parts.

    A short text has room for fewer of 256 steps.

    Raises
    ------
    ConfigError : the split has no fixed sequences.
    """
    if split == "train" and not task.has_epochs:
        raise ConfigError(
            f"--split is 'train', but task {task.name} has no fixed training set; choose one of test, valid"
        )
    if isinstance(task, FiniteTask) and (sequences := task.sequences(split)) is not None:
        order = torch.randperm(len(sequences.sizes), generator=generator(0, "inspected"))
        return sequences.batch(order[:count].numpy())  # the batches of an evaluation begin with the shortest ones
    if isinstance(task, LanguageModel):
        task.eval_window = TEXT_STEPS
        count = min(count, max(FEWEST, len(task.tokens[split]) // TEXT_STEPS))  # rather fewer than shorter ones
    return next(iter(task.eval_batches(split, count)))


def sequences_for_probes(one: Subject, split: Split, least: int) -> Batch:
    """More sequences of a split, since half of them teach and half judge: as many as fit into memory, and not too many.

    Parameters
    ----------
    least : they are at least so many, if the split has them.
    """
    first = sequences_of(one.task, split, least)
    T = len(first.inputs)
    numbers = sum(cell.hidden_size * (len(gates_of(cell)) + 2) for cell in cells_of(one.model).values())
    room = min(MOST_PROBED, MOST_STEPS // T, MOST_NUMBERS // numbers)
    if isinstance(one.task, LanguageModel) and one.task.sentences == "running":
        room = min(room, len(one.task.tokens[split]) // TEXT_STEPS)
    return sequences_of(one.task, split, room) if room > least else first


def prompted(one: Subject, prompt: str, *, quiet: bool) -> Batch:
    """A prompt as a batch of one sequence, whose last token has no target that counts.

    Raises
    ------
    ConfigError : the model reads no text, or the prompt has fewer than two tokens.
    """
    if not one.task.words:
        raise ConfigError(f"--prompt is a text, but task {one.task.name} has none; leave it out")
    known = Vocabulary(one.task.vocabulary, one.task.counts or [0] * len(one.task.vocabulary))
    unit = unit_of(one.task) or "word"
    independent = isinstance(one.task, LanguageModel) and one.task.sentences == "independent"
    given = TextModel(one.model, known, unit, independent=independent).read(prompt)
    if given.unknown:
        say(f"not in the vocabulary, read as <unk>: {', '.join(map(repr, given.unknown))}", quiet=quiet)
    read = given.read
    if len(read) < 2:
        raise ConfigError(
            f"--prompt has {counted(len(read), 'token')}; give at least 2, as each but the first is judged"
        )
    tokens = known.encode(read)[:, None]
    scored = torch.arange(len(tokens))[:, None] < len(tokens) - 1
    return Batch(tokens, tokens.roll(-1, 0), None, scored)


def unit_of(task: Task) -> Unit | None:
    """What a token of a task's text is; None without a text."""
    if isinstance(task, LanguageModel):
        return task.unit
    return "word" if task.words else None


MOST_FACTS = 8
"""Facts of a task that are looked for, besides tokens that are given; each takes a few seconds and charts."""


def facts_of(task: Task, batch: Batch, after: Sequence[str] = ()) -> list[HiddenFact]:
    """The first hidden facts of a batch; of a text also where given tokens stand, by default the most frequent one.

    Raises
    ------
    ConfigError : a token is not in the vocabulary, or there is none.
    """
    if not task.words:
        if after:
            raise ConfigError(f"--after is a token of a text, but task {task.name} has none; leave it out")
        return task.hidden_facts(batch)[:MOST_FACTS]
    if unknown := [token for token in after if token not in task.vocabulary]:
        names, unit = ", ".join(map(repr, unknown)), unit_of(task)
        raise ConfigError(f"--after: not in the vocabulary: {names}; the model reads {unit}s, so name one of those")
    if not after and isinstance(task, LanguageModel) and task.counts is not None:
        counts = dict(zip(task.vocabulary, task.counts, strict=True))
        after = [max((token for token in counts if token not in (UNK, *LINE_ENDS)), key=lambda token: counts[token])]
    found = [after_token(batch.inputs, task.vocabulary, token) for token in dict.fromkeys(after)]
    return [*task.hidden_facts(batch), *found]
