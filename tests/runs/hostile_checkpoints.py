"""Damaged, foreign and hostile files in the place of checkpoints: each must get exit code 2 and a clear message.

    python tests/runs/hostile_checkpoints.py --files 2000 --seed 0

Trains runs of several kinds in a temporary folder, and makes so many bad files from their checkpoints: half of them
damaged at random, half of them foreign, or with false contents and a right checksum, as someone might write who knows
the format. Each is given to the command line, in this process. Prints a line for each that was not refused as it should
be, and the counts; exits with 1 if there is any such line.

Not refused as it should be: a traceback (any exit code but 2, or no message), a wrong load (exit code 0), code run (a
folder appears that only code in a file would make), a large allocation (the process may take 1 GiB of addresses on top
of what healthy checkpoints took, and the peak of its memory is printed), or more than 20 seconds.
"""

import argparse
import contextlib
import copy
import functools
import hashlib
import io
import json
import math
import os
import pickle
import random
import resource
import signal
import struct
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import load, save
from torch import Tensor

from seqtrain.__main__ import main

QUICK = (
    "model.hidden_size=6",
    "train.steps=4",
    "train.epochs=null",
    "train.batch_size=4",
    "train.eval_every=1",
    "train.log_every=2",
)
SETS = ("task.valid_size=12", "task.test_size=12")
TEXT = "task.path=shipped:stories/valid.txt"
OWN_CELL = """
from seqtrain.cells.lstm import LSTMCell

class Own(LSTMCell):
    pass
"""
KINDS: dict[str, tuple[str, ...]] = {
    "adding": ("quickstart", *QUICK, *SETS),
    "words": ("words", *QUICK, TEXT, "model.depth=2", "optimizer={name: sgd, lr: 0.5, momentum: 0.9}"),
    "averaged": (
        "words",
        *QUICK,
        TEXT,
        "train.steps=8",
        "train.average_after=0",
        "optimizer={name: sgd, lr: 300.0}",
    ),
    "both ways": ("lookaround", *QUICK, *SETS, "model.direction=bidirectional", "optimizer=rmsprop"),
    "own cell": ("words", *QUICK, TEXT, "model.cell=own_cells:Own"),
}
"""What is trained; between them they have all that a checkpoint can hold."""

CANARY = "code-ran"
NAN = math.nan


Later = functools.partial[bytes]
"""Bytes of a file, of up to 60 MB, that are made when they are used."""


class Bad(NamedTuple):
    """A bad file: what it is, what its bytes are (or what gives them, or who makes it), which verbs must refuse it."""

    name: str
    make: bytes | Later | Callable[[Path], object]
    verbs: tuple[str, ...]


# --- damage -----------------------------------------------------------------------------------------------------


def damaged(whole: bytes, random_: random.Random) -> tuple[str, bytes]:
    """A file with something done to it that leaves it another."""
    at, other = sorted(random_.sample(range(len(whole)), 2))
    length = random_.randint(1, 4000)
    block = whole[other : other + length]
    bits = random_.sample(range(8 * len(whole)), random_.choice((1, 1, 1, 2, 50)))
    flipped = bytearray(whole)
    for bit in bits:
        flipped[bit // 8] ^= 1 << bit % 8
    ways = {
        "bits flipped": bytes(flipped),
        "truncated": whole[:at],
        "beginning lost": whole[at:],
        "appended": whole + random_.randbytes(length),
        "put before": random_.randbytes(length) + whole,
        "twice": whole + whole,
        "overwritten": whole[:at] + block + whole[at + len(block) :],
        "zeroed": whole[:at] + bytes(other - at) + whole[other:],
        "cut out": whole[:at] + whole[other:],
        "noise": random_.randbytes(len(whole)),
        "length of the header": random_.getrandbits(random_.choice((8, 16, 27, 64))).to_bytes(8, "little") + whole[8:],
    }
    name = random_.choice([*ways, "bits flipped", "bits flipped"])
    return (name, ways[name]) if ways[name] != whole else ("bits flipped", bytes(flipped))


# --- foreign files ----------------------------------------------------------------------------------------------


class Payload:
    """Calls a function when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


PAYLOADS = (Payload(os.mkdir, CANARY), Payload(eval, f"__import__('os').mkdir({CANARY!r})"))


def foreign() -> Iterator[tuple[str, bytes | Callable[[Path], object]]]:
    """Files of other programs, and what is no file."""
    yield "empty", b""
    yield "text", b"It was the best of times, it was the worst of times.\n" * 9
    yield "yaml", b"seed: 0\ntask: adding\n"
    yield "png", b"\x89PNG\r\n\x1a\n" + bytes(2000)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("letter.txt", "Dear reader")
    yield "zip", buffer.getvalue()
    for number, payload in enumerate(PAYLOADS):
        yield f"payload {number} as a pickle", pickle.dumps(payload, protocol=2)
        for legacy in (False, True):
            buffer = io.BytesIO()
            torch.save({"format": 3, "model": payload}, buffer, _use_new_zipfile_serialization=not legacy)
            yield f"payload {number} of torch.save, {legacy=}", buffer.getvalue()
    weights = {"head.weight": torch.ones(2, 2)}
    for told in (None, {"format": "pt"}, {"seqtrain": "x"}, {"seqtrain": "{}"}, {"seqtrain": '{"format":4}'}):
        yield f"safetensors with {told}", save(weights, told)
    yield "folder", Path.mkdir
    yield "pipe", os.mkfifo
    yield "symbolic link to itself", lambda path: path.symlink_to(path.name)
    yield "device", lambda path: path.symlink_to("/dev/zero")
    yield "nothing", lambda path: path.symlink_to("nowhere")


# --- false files with a right checksum --------------------------------------------------------------------------

DIGEST = b'\\"sha256\\":\\"'


class Contents(NamedTuple):
    """A checkpoint as other programs see it: plain values, and tensors by name."""

    values: dict[str, Any]
    tensors: dict[str, Tensor]


def contents_of(path: Path) -> Contents:
    """Read a checkpoint without seqtrain."""
    with safe_open(path, "pt") as file:
        values = json.loads(file.metadata()["seqtrain"])
    return Contents(values, load(path.read_bytes()))


def signed(content: bytes) -> bytes:
    """The same file with the checksum of what it now is."""
    at = content.find(DIGEST) + len(DIGEST)
    zeroed = content[:at] + b"0" * 64 + content[at + 64 :]
    return content[:at] + hashlib.sha256(zeroed).hexdigest().encode() + content[at + 64 :]


def text_of(values: Any) -> str:
    """As seqtrain writes them."""
    return json.dumps(values, separators=(",", ":"))


def file_of(values: str, tensors: str, data: bytes, length: int | None = None) -> bytes:
    """A signed file from the text of its plain values and of its list of tensors."""
    header = ('{"__metadata__":{"seqtrain":' + json.dumps(values) + "}" + tensors + "}").encode()
    header += b" " * (-len(header) % 8)
    return signed(struct.pack("<Q", len(header) if length is None else length) + header + data)


def entry(name: str, kind: Any, shape: Any, *offsets: Any) -> str:
    """A tensor in the header."""
    return "," + text_of(name) + ":" + text_of({"dtype": kind, "shape": shape, "data_offsets": offsets})


def false_files(contents: Contents) -> Iterator[tuple[str, Later]]:
    """Files whose header is false about the file, or whose plain values are none."""
    text, four = text_of(contents.values), bytes(16)
    one = entry("w", "F32", [4], 0, 16)
    empty = entry("w", "F32", [0], 0, 0).partition(":")[2]
    for length in (0, 1, 2**20, 100_000_001, 2**31, 2**63, 2**64 - 1, len(json.dumps(text)) + 1):
        yield f"header of {length} bytes", Later(file_of, text, one, four, length)
    for name, tensors, data in (
        ("data too short", one, four[:-1]),
        ("data too long", one, four + four),
        ("no data", one, b""),
        ("overlapping", one + entry("v", "F32", [4], 0, 16), four),
        ("partly overlapping", one + entry("v", "F32", [4], 8, 24), four + four),
        ("a hole", one + entry("v", "F32", [4], 32, 48), four * 3),
        ("beyond the file", entry("w", "F32", [2**40], 0, 2**42), four),
        ("negative", entry("w", "F32", [4], -16, 0), four),
        ("reversed", entry("w", "F32", [4], 16, 0), four),
        ("shape too large", entry("w", "F32", [5], 0, 16), four),
        ("shape overflows", entry("w", "F32", [2**63, 2**63], 0, 16), four),
        ("negative shape", entry("w", "F32", [-4], 0, 16), four),
        ("shape of text", entry("w", "F32", ["4"], 0, 16), four),
        ("one offset", entry("w", "F32", [4], 0), four),
        ("offsets of reals", entry("w", "F32", [4], 0.0, 16.0), four),
        ("unknown type", entry("w", "F33", [4], 0, 16), four),
        ("type of a number", entry("w", 3, [4], 0, 16), four),
        ("type that PyTorch lacks", entry("w", "F6_E2M3", [16], 0, 12), four[:12]),
        ("no entry", ',"w":3', four),
        ("deep entry", ',"w":' + "[" * 100_000 + "]" * 100_000, four),
        ("one name twice", one + one, four + four),
        ("metadata twice", ',"__metadata__":{"seqtrain":"{}"}' + one, four),
        ("more in the metadata", ',"__metadata__":3' + one, four),
        ("no JSON", ",", four),
        ("many tensors", "".join(f',"w{n}":{empty}' for n in range(150_000)), b""),
    ):
        yield name, Later(file_of, text, tensors, data)
    yield from _false_texts(text, one, four)


def _false_texts(text: str, one: str, data: bytes) -> Iterator[tuple[str, Later]]:
    start = text[: text.index(',"config"')]
    for name, values in (
        ("cut off", text[:-1]),
        ("more behind it", text + "{}"),
        ("nothing but the start", start + "}"),
        ("nested lists", start + ',"config":' + "[" * 100_000 + "]" * 100_000 + "}"),
        ("nested objects", start + ',"config":' + '{"a":' * 5_000 + "1" + "}" * 5_001),
        ("a value twice, the last false", text[:-1] + ',"step":-1}'),
        ("half of a pair of surrogates", text.replace('"variant":"', '"variant":"\\ud800')),
        ("many values", start + ',"config":{},"counts":[' + "0," * 5_000_000 + "0]}"),
        ("many strings", start + ',"config":{},"vocabulary":[' + '"",' * 5_000_000 + '""]}'),
        ("many lists", start + ',"config":{"a":[' + "[]," * 2_500_000 + "[]]}}"),
        ("a long string", start + ',"config":{},"variant":"' + "x" * 2**26 + '"}'),
    ):
        yield f"plain values: {name}", Later(file_of, values, one, data)


# --- false contents with a right checksum -----------------------------------------------------------------------

ANY, RESUME, EVAL = ("eval", "text", "model", "resume"), ("resume",), ("eval",)
NOT_WHOLE = (-1, 2**70, "3", 1.5, NAN, math.inf, True, [], {})
WHOLE = ("evaluated_at", "stalled", "cuts", "stalled_since_cut", "window_steps", "skipped_steps")
DEEP: list[Any] = []
for _ in range(200):
    DEEP = [DEEP]

Lie = tuple[str, Any, tuple[str, ...]]


def lies(contents: Contents) -> Iterator[Lie]:
    """What could be where, and which verbs must refuse it; `...` for nothing at all."""
    values = contents.values
    for key in values.keys() - {"sha256"}:
        for value in (..., None, -3, "x", NAN, [1], {"1": 2}, DEEP):
            optional = key in ("vocabulary", "counts") and values[key] is None
            nothing_lost = key == "lost_best_step" and value in (..., None)
            if (key == "variant" and value == "x") or (optional and value is None) or nothing_lost:
                continue
            yield key, value, RESUME if key == "training" and value in (..., None) else ANY
    yield "more", 1, ANY
    yield "step", 0, ANY  # before the last evaluation
    yield "step", 10**6, RESUME
    yield "fingerprints", {"valid": "0" * 64}, ("eval", "resume")
    yield from _lies_about_the_training(contents)
    yield from _lies_about_the_config(values)
    yield from _lies_about_tensors(contents)
    if values["vocabulary"] is not None:
        yield from _lies_about_the_vocabulary(values)
    for size in (2**31, 2**62, -1, 0, "1", NAN, 1.0, None):
        yield "spec", [size, True, size, True, True], ANY
    for spec in ([], [1], [1, 0, 1, 0, 0], [1] * 5, [*values["spec"], 1], [9**5, *values["spec"][1:]]):
        yield "spec", spec, ANY


def _lies_about_the_training(contents: Contents) -> Iterator[Lie]:
    training = contents.values["training"]
    yield from ((f"training.{key}", value, ANY) for key in WHOLE for value in (None, *NOT_WHOLE))
    for key in ("best_step", "best_value", "solved_at_step", "window_loss", "window_norm", "losses", "lr", "averaged"):
        yield from ((f"training.{key}", value, ANY) for value in ("x", NAN, math.inf, {}, [[1]], ["x"], True))
    yield "training.lr", -1.0, ANY
    yield "training.lr", ..., ANY
    yield "training.averaged", ..., ANY
    yield "training.averaged", -1, ANY
    yield "training.averaged", None if training["averaged"] else 3, RESUME
    yield "training.best_value", None, ANY
    yield "training.best_step", 10**6, ANY
    yield "training.losses", [1.0, NAN], ANY
    yield "training.more", 1, ANY


def _lies_about_the_vocabulary(values: dict[str, Any]) -> Iterator[Lie]:
    tokens, counts = values["vocabulary"], values["counts"]
    for value in ([], tokens[:-1], [*tokens, "x"], tokens[:-1] + tokens[:1], [1] * len(tokens), [None, *tokens[1:]]):
        yield "vocabulary", value, ANY
    yield "vocabulary", ["\ud800", *tokens[1:]], ANY
    for value in ([], counts[:-1], [-1, *counts[1:]], [2**63, *counts[1:]], ["1", *counts[1:]], [NAN, *counts[1:]]):
        yield "counts", value, ANY
    yield "vocabulary", ["x", *tokens[1:]], ("eval", "text", "resume")  # no <unk>
    for path in ("/dev/zero", "pipe", "nowhere", "/", "\0", "~nobody-here/x", "shipped:../..", 3, ""):
        yield "config.task.path", path, EVAL


def _lies_about_the_config(values: dict[str, Any]) -> Iterator[Lie]:
    for key in values["config"]:
        for value in ("x", NAN, [], DEEP, -1):
            yield f"config.{key}", value, EVAL if key == "device" else ANY  # the others run on the CPU here
        if key in ("task", "model"):
            yield f"config.{key}", ..., ANY
    for value in (10**9, 10**5, 7, 0, -1, "6", NAN, [6] * 1001, [100_000] * 1000, None):
        yield "config.model.hidden_size", value, ANY
    for key, value in (
        ("model.depth", 1000), ("model.depth", 10**12), ("model.cell", "nonsense"), ("model.cell.name", 3),
        ("model.cell.more", 1), ("model.embedding_size", 99_999), ("model.tied", "yes"), ("model.direction", "up"),
        ("model.softmax", {"name": "adaptive", "cutoffs": [10**6]}), ("model.softmax", {"name": "adaptive"}),
        ("optimizer.lr", NAN), ("optimizer.lr", -1.0), ("train.batch_size", 10**12), ("threads", 10**6),
        ("task.name", "nonsense"), ("more", 1), ("model.merge", "sum_"), ("engine", "warp"),
        ("model.cell", {"name": "evil:Own", "folder": "{here}/evil"}), ("model.cell", {"name": "evil:Own"}),
        ("model.cell", {"name": "script:Own", "folder": "{here}"}), ("model.cell", {"name": "this:Zen"}),
        ("model.cell", {"name": "os:system"}), ("model.cell", {"name": "antigravity:Own"}),
        ("model.cell", {"name": "evil.evil:Own", "folder": "{here}"}), ("model.cell", {"name": "os;x:y"}),
        ("model.cell", {"name": "own_cells:Own", "deep": DEEP}), ("model.cell", {"name": "../evil/evil:Own"}),
    ):  # fmt: skip
        yield f"config.{key}", value, ANY
    yield "config.device", "tpu", EVAL
    yield "config.device", "cuda:77", EVAL


def _lies_about_tensors(contents: Contents) -> Iterator[Lie]:
    """Places begin with `/`, and are the names of tensors."""
    for name, tensor in contents.tensors.items():
        verbs = RESUME if name.startswith("training/") else ANY
        for value in (tensor.double(), tensor.half(), tensor.long(), tensor.bool(), tensor.to(torch.complex64),
                      torch.zeros(*tensor.shape, 2), torch.zeros(0), torch.zeros(7, 3)):  # fmt: skip
            yield f"/{name}", value, verbs
        if name.count("/") != 3 or len([one for one in contents.tensors if one.startswith(name[:20])]) > 1:
            yield f"/{name}", ..., verbs  # a parameter whose gradient was never computed has no state
    for name in ("w", "", "__metadata", "head.weight.more", "/", "optimizer/0/step"):
        yield f"/{name}", torch.ones(1), ANY
    for name in ("", "/", "x", "optimizer", "optimizer/0", "optimizer/0/x", "optimizer/-1/step", "optimizer/99/step",
                 "optimizer/0/step/x", "optimizer/0x/step", "carried", "carried/9/0/hidden", "carried/0/0/x",
                 "own/x", "own/head.more"):  # fmt: skip
        yield f"/training/{name}", torch.ones(()), RESUME


def with_lie(contents: Contents, place: str, value: Any, folder: Path) -> bytes:
    """A signed checkpoint with another value at a place."""
    values, tensors = copy.deepcopy(contents.values), dict(contents.tensors)
    if isinstance(value, dict) and "{here}" in str(value.get("folder")):
        value = value | {"folder": value["folder"].format(here=folder)}
    owner: Any = values
    *path, key = place.split(".")
    if place.startswith("/"):
        owner, path, key = tensors, [], place[1:]
    for part in path:
        owner = owner[part]
    if value is ...:
        del owner[key]
    else:
        owner[key] = value
    return signed(save(tensors, {"seqtrain": text_of(values)}))


# --- giving them to the command line ----------------------------------------------------------------------------


class Result(NamedTuple):
    """What became of a file: `refused` is as it should be."""

    verdict: str
    told: str


def call(*arguments: str) -> tuple[int, str, str]:
    """The command line in this process: exit code, stdout, stderr."""
    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["seqtrain", *arguments]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
            code: Any = 0
        except SystemExit as ended:
            code = ended.code or 0
    return code, out.getvalue(), err.getvalue()


def command_of(verb: str, kind: str, target: str) -> tuple[str, ...]:
    """How a verb is called on a checkpoint, or on the run directory that holds it."""
    return {
        "eval": ("eval", target, "--quiet"),
        "text": ("generate", target, "--tokens", "3"),
        "predict": ("predict", target),
        "compare": ("compare", str(Path(target).parent), "--eval-lengths", "12", "--out", "compared", "--quiet"),
        "resume": ("train", *KINDS[kind], "--out", str(Path(target).parent), "--resume", "--quiet"),
    }[verb]


class TookTooLongError(BaseException):
    """So that no `except Exception` takes it for its own."""


def tried(verb: str, kind: str, target: Path) -> Result:
    """Have a verb read a bad checkpoint."""

    def interrupt(*_: object) -> None:
        raise TookTooLongError

    signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(20)
    try:
        if verb == "model":
            from seqtrain import load_model
            from seqtrain.system.errors import SeqtrainError

            try:
                load_model(target)
                code, out, err = 0, "", ""
            except SeqtrainError as error:
                code, out, err = error.exit_code, "", f"seqtrain: {error}\n"
        else:
            code, out, err = call(*command_of(verb, kind, str(target)))
    except TookTooLongError:
        return Result("took too long", "")
    except BaseException as error:
        return Result("traceback", f"{type(error).__name__}: {error}"[:300])
    finally:
        signal.alarm(0)
    if Path(CANARY).exists():
        Path(CANARY).rmdir()
        return Result("code run", err)
    if code == 0:
        return Result("wrong load", out[-200:])
    if "not enough memory" in err:
        return Result("large allocation", err)
    sentence = err.startswith("seqtrain: ") and "Traceback" not in err and len(err) < 3000
    return Result("refused" if code == 2 and not out and sentence else "traceback", f"{code} {err[-600:]}")


def make_runs(kinds: Sequence[str]) -> None:
    """Train each kind, and lay out what a hostile checkpoint might lead to, in the current folder."""
    Path("own_cells.py").write_text(OWN_CELL)
    Path("evil").mkdir()
    for script in ("evil/evil.py", "evil/__init__.py", "script.py"):
        own = OWN_CELL if script == "evil/evil.py" else ""
        Path(script).write_text(f"import os\nos.mkdir({CANARY!r})\n{own}")
    os.mkfifo("pipe")
    for kind in kinds:
        code, _, err = call("train", *KINDS[kind], "--out", kind, "--quiet")
        assert code == 0, err
        for verb in verbs_of(kind):
            assert verb == "model" or call(*command_of(verb, kind, f"{kind}/last.safetensors"))[0] == 0, (kind, verb)


def verbs_of(kind: str) -> tuple[str, ...]:
    """What can be done with a checkpoint of a kind."""
    text = ("text", "predict") if kind in ("words", "averaged", "own cell") else ()
    return ("eval", "model", "resume", *text, *(("compare",) if kind == "adding" else ()))


def bad_files(kind: str, folder: Path) -> Iterator[Bad]:
    """All false and foreign files for a kind."""
    contents = contents_of(Path(kind, "last.safetensors"))
    if kind in ("adding", "words"):  # no other verb reads the other kinds
        for name, make in (*foreign(), *false_files(contents)):
            verbs = verbs_of(kind)
            if name == "nothing":  # a run without a checkpoint is started
                verbs = tuple(verb for verb in verbs if verb != "resume")
            yield Bad(name, make, verbs)
    for place, value, verbs in lies(contents):
        usable = tuple(verb for verb in verbs if verb in verbs_of(kind))
        if usable:
            yield Bad(
                described(place, value),
                lambda path, place=place, value=value: path.write_bytes(with_lie(contents, place, value, folder)),
                usable,
            )


def described(place: str, value: Any) -> str:
    """A lie in a few words."""
    if isinstance(value, Tensor):
        return f"{place} = {list(value.shape)} {value.dtype}"
    return f"{place} = {'nothing' if value is ... else 'depth' if value is DEEP else repr(value)[:60]}"


def attack(
    files: int, seed: int, folder: Path, kinds: Sequence[str] = tuple(KINDS), *, limit: bool = False
) -> tuple[Counter[str], list[str]]:
    """Try so many bad files, half damaged at random, half drawn from all lies; the counts and the failures.

    The current folder must be `folder`, with the runs of these kinds.

    Parameters
    ----------
    limit : let the process have no more than 1 GiB of addresses on top of what it has.
    """
    random_ = random.Random(seed)
    everything = [(kind, bad) for kind in kinds for bad in bad_files(kind, folder)]
    random_.shuffle(everything)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if limit:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (1 << 30), resource.RLIM_INFINITY))
    counts: Counter[str] = Counter()
    failures = []
    for number in range(files):
        if number % 2:
            kind, bad = everything[number // 2 % len(everything)]
        else:
            kind = random_.choice(kinds)
            name, content = damaged(Path(kind, "last.safetensors").read_bytes(), random_)
            bad = Bad(name, content, verbs_of(kind))
        verb = random_.choice(bad.verbs)
        result = _try_in_place(kind, bad, verb, number)
        counts[result.verdict] += 1
        if result.verdict != "refused":
            failures.append(f"{number}: {result.verdict}: {verb} {kind}: {bad.name}: {result.told}")
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counts["KiB of peak memory more than for healthy checkpoints"] = after - before
    counts["different lies and foreign files"] = len(everything)
    return counts, failures


def _try_in_place(kind: str, bad: Bad, verb: str, number: int) -> Result:
    """Put a bad file where the verb looks for a checkpoint, and the good one back afterwards."""
    make = bad.make() if isinstance(bad.make, functools.partial) else bad.make
    best = verb == "compare" or (verb == "resume" and number % 7 == 0 and not callable(make))
    target = (
        Path(kind, "best.safetensors" if best else "last.safetensors")
        if verb in ("resume", "compare")
        else Path("bad.safetensors")
    )
    kept = target.read_bytes() if target.exists() else None
    if kept is not None:
        target.unlink()
    try:
        if callable(make):
            make(target)
        else:
            target.write_bytes(make)
        return tried(verb, kind, target)
    finally:
        if target.is_dir():
            target.rmdir()
        target.unlink(missing_ok=True)
        if kept is not None:
            target.write_bytes(kept)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as made:
        os.chdir(made)
        make_runs(tuple(KINDS))
        found_counts, found_failures = attack(asked.files, asked.seed, Path(made).resolve(), limit=True)
        os.chdir("/")
    print(*found_failures, sep="\n")
    for what, count in found_counts.items():
        print(f"{count:>9,} {what}")
    sys.exit(1 if found_failures else 0)
