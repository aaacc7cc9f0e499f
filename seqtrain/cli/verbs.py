"""What the verbs of the command line do, with plain arguments and results."""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast, get_args

from seqtrain.cli.catalog import config_text
from seqtrain.config import find_config, load_config
from seqtrain.config.build import build_device, build_model, build_task, cell_class, check_batch_size, total_steps
from seqtrain.config.errors import choose
from seqtrain.inference.load import Dynamic, evaluate_checkpoint, load_text_model
from seqtrain.inference.sampling import Prompt, Sampling, TextModel, continue_text, predict_next
from seqtrain.models import count_parameters
from seqtrain.runs.directory import checkpoint_path
from seqtrain.runs.memory_estimate import check_memory, check_model_memory
from seqtrain.runs.trainer import RUNS, Outcome, run_name, train_run
from seqtrain.system.errors import ConfigError, DataError, SeqtrainError
from seqtrain.system.memory import available
from seqtrain.system.progress import say
from seqtrain.system.runtime import prepare
from seqtrain.tasks import Split, Task

PROMISE_BROKEN = 4
"""Exit code of `check`."""

TOLD = 10
"""Unknown words of a prompt that are named, before it is only said how many more there are."""


def train(
    name: str, overrides: Sequence[str], out: Path | None, *, resume: bool, overwrite: bool, quiet: bool
) -> tuple[Outcome, dict[str, Any]]:
    """Train the config of that name; returns also what `--json` prints.

    out : by default `runs/<config>-<cell>-seed<seed>`, or the run that `name` is.
    """
    if resume and overwrite:
        raise ConfigError("--resume and --overwrite: one keeps what the other removes; give one of them")
    config, path = load_config(name, overrides, quiet=quiet), find_config(name)
    directory = out or (Path(name) if Path(name).is_dir() else RUNS / run_name(path.stem, config))
    outcome = train_run(config, directory, resume=resume, overwrite=overwrite, quiet=quiet)
    return outcome, outcome.summary.as_json() | {"run": str(directory)}


def evaluate(
    run: Path,
    split: str,
    overrides: Sequence[str],
    dynamic: float | None = None,
    decay: float | None = None,
    *,
    quiet: bool = False,
) -> dict[str, Any]:
    """Evaluate a checkpoint; `dynamic` and `decay` are those of dynamic evaluation."""
    if dynamic is None and decay is not None:
        raise ConfigError(f"--dynamic-decay is {decay:g}, but there is no --dynamic to decay; add --dynamic LR")
    if split not in get_args(Split):
        raise ConfigError(f"--split is {split!r}; choose one of test, valid, or train (of a text)")
    if dynamic is not None and not math.isfinite(dynamic):
        raise ConfigError(f"--dynamic is {dynamic:g}; it must be a finite learning rate")
    learning = None if dynamic is None else Dynamic(dynamic, decay or 0.0)
    return evaluate_checkpoint(run, cast(Split, split), overrides, learning, quiet=quiet)


def time_cells(
    cells: str | None,
    shapes: Sequence[str] | None,
    rounds: int,
    threads: int | None,
    *,
    memory: bool,
    keep_memory: bool,
    quiet: bool,
) -> dict[str, Any]:
    """Time cells on shapes, all or those named."""
    from seqtrain.recurrence.benchmark import SHAPES, VARIANTS, bench

    variants = list(VARIANTS) if cells is None else [cell.strip() for cell in cells.split(",")]
    faults = [f"--cells {name or repr(name)}: {choose(name, VARIANTS)}" for name in variants if name not in VARIANTS]
    sizes = list(SHAPES) if not shapes else [size for text in shapes for size in _shapes(text, faults)]
    if faults:
        raise ConfigError(faults)
    prepare(threads)
    return bench(
        list(dict.fromkeys(variants)),
        list(dict.fromkeys(sizes)),
        rounds,
        keep_memory=keep_memory,
        memory=memory,
        quiet=quiet,
    )


LARGEST_SIZE = 1_000_000
"""Of a dimension of a benchmark."""


def _shapes(text: str, faults: list[str]) -> Iterator[Any]:
    """Shapes such as `100,32,128,128`, with spaces between if there are several."""
    from seqtrain.recurrence.benchmark import Shape

    for part in text.split() or [repr(text)]:
        numbers = [int(number) if number.isdecimal() else 0 for number in part.split(",")]
        if len(numbers) == len(Shape._fields) and min(numbers) > 0 and max(numbers) <= LARGEST_SIZE:
            yield Shape(*numbers)
        else:
            faults.append(
                f"--shapes {part}: is no shape; write T,B,I,H as whole numbers from 1 to {LARGEST_SIZE:,}, "
                "e.g. 100,32,128,128"
            )


def generate(
    run: Path,
    prompt: str,
    tokens: int,
    sampling: Sampling,
    seed: int,
    *,
    allow_unk: bool,
    write: Callable[[str], None] | None,
) -> dict[str, Any]:
    """Continue a prompt; the text is handed to `write` as it comes, remarks on the prompt are said on stderr.

    Without `write` nothing is printed. Returns what `seqtrain generate --json` prints.
    """
    faults = sampling.faults()
    if tokens < 1:
        faults.append(f"tokens is {tokens}; it must be 1 or more")
    trained, given = _read_prompt(run, prompt, faults, quiet=write is None)
    made = continue_text(trained, given, tokens, sampling, seed=seed, allow_unk=allow_unk, write=write)
    return {
        **_as_read(run, trained, given),
        "generated": made.generated,
        "nats": made.nats,
        "text": made.text,
        "settings": {"tokens": tokens, **sampling._asdict(), "allow_unk": allow_unk},
        "seed": seed,
    }


def predict(run: Path, prompt: str, top: int, *, quiet: bool) -> dict[str, Any]:
    """The most likely next tokens after a prompt; remarks on it are said on stderr unless `quiet`."""
    faults = [f"top is {top}; it must be 1 or more"] if top < 1 else []
    trained, given = _read_prompt(run, prompt, faults, quiet=quiet)
    return {
        **_as_read(run, trained, given),
        "next": [
            {"token": token, "probability": probability} for token, probability in predict_next(trained, given, top)
        ],
    }


def _as_read(run: Path, trained: TextModel, given: Prompt) -> dict[str, Any]:
    """What both verbs say of the model and the prompt."""
    return {
        "checkpoint": str(checkpoint_path(run)),
        "unit": trained.unit,
        "prompt": given.tokens,
        "read": given.read,
        "unknown": given.unknown,
    }


def _read_prompt(run: Path, prompt: str, faults: list[str], *, quiet: bool) -> tuple[TextModel, Prompt]:
    """The model and the prompt as it reads it; unless quiet, it is said if there is none, or words are unknown."""
    if faults:
        raise ConfigError([f"--{fault}" for fault in faults])
    prepare(None)
    trained = load_text_model(run)
    given = trained.read(_standard_input() if prompt == "-" else prompt)
    if not given.tokens:
        say(f"no prompt, so the text starts after {given.read[0]!r}; give one with --prompt TEXT", quiet=quiet)
    if given.unknown:
        named = ", ".join(map(repr, given.unknown[:TOLD]))
        more = f" and {len(given.unknown) - TOLD} more" if len(given.unknown) > TOLD else ""
        say(f"not in the vocabulary, read as <unk>: {named}{more}", quiet=quiet)
    return trained, given


def _standard_input() -> str:
    """What stands on stdin, without the line end that `echo` puts last."""
    raw = sys.stdin.buffer.read() if sys.stdin is not None else b""
    try:
        return raw.decode("utf-8-sig").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise DataError(
            f"stdin: is not UTF-8 (byte {raw[error.start]:#04x} at position {error.start}); "
            "convert it, e.g. iconv -f latin1 -t utf-8"
        ) from None


def validate(name: str, overrides: Sequence[str], *, quiet: bool = False) -> dict[str, Any]:
    """Build the task and the model of a config; returns what they are."""
    config, path = load_config(name, overrides, quiet=quiet), find_config(name)
    prepare(config.threads)
    faults, task = [], None
    for build in (build_device, partial(build_task, quiet=quiet), cell_class):
        try:
            built = build(config)
        except SeqtrainError as error:
            faults.append(str(error))
        else:
            task = built if isinstance(built, Task) else task
    if faults:
        raise ConfigError(list(dict.fromkeys(faults)))
    assert task is not None
    check_batch_size(config, task)
    check_model_memory(config, task.spec)
    model = build_model(config, task.spec)
    needed = check_memory(config, task, model)
    return {
        "config": str(path),
        "task": task.name,
        "variant": task.definition,
        "metric": task.metric._asdict(),
        "baseline": task.baseline("test"),
        "cell": config.model.cell.name,
        "direction": config.model.direction,
        "depth": len(config.model.hidden_sizes()),
        "hidden_size": config.model.hidden_size,
        "parameters": count_parameters(model),
        "engine": model.stack.loop.name,
        "optimizer": {
            "name": config.optimizer.name,
            "lr": config.optimizer.lr,
            "clip_norm": config.optimizer.clip_norm,
        },
        "steps": total_steps(config, task),
        "memory": {"peak": needed.peak, **needed._asdict(), "available": available(build_device(config))},
        "settings": config.model_dump(),
    }


def check(name: str, overrides: Sequence[str], *, quiet: bool = False) -> dict[str, Any]:
    """Prove the promises on a config; returns what `seqtrain check --json` prints."""
    from seqtrain.inference.verification import check_promises

    config, path = load_config(name, overrides, quiet=quiet), find_config(name)
    findings = []
    for finding in check_promises(config, partial(say, quiet=quiet)):
        findings.append(finding)
        if finding.holds is False:
            say(f"{finding.promise} does not hold: {finding.found}", quiet=quiet)
    return {
        "config": str(path),
        "holds": all(finding.holds is not False for finding in findings),
        "promises": [finding._asdict() for finding in findings],
    }


def copy_config(name: str, file: Path) -> str:
    """Copy a shipped config to a new file; returns what to say about it."""
    text = config_text(name)
    try:
        with file.open("x", encoding="utf-8") as copy:
            copy.write(text)
    except FileExistsError:
        raise ConfigError(f"{file}: exists already and is not overwritten; choose another name") from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be written ({error.strerror})") from None
    return f"{file} written; train it with: seqtrain train {file}"
