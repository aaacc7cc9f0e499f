"""Damaged, foreign and hostile files in the place of checkpoints: each must get exit code 2 and a sentence.

    python tests/runs/hostile_checkpoints.py --files 2000 --seed 0

Makes runs of several kinds in a temporary folder, and from their checkpoints so many bad ones: half of them damaged at
random, half of them foreign, or lies with a right checksum, as someone might write who knows the format. Each is given
to the command line, in this process. Prints a line for each that was not refused as it should be, and the counts; exits
with 1 if there is any such line.

Not refused as it should be: a traceback (any exit code but 2, or no sentence), a wrong load (exit code 0), code run (a
folder appears that only code in a file would make), a large allocation (the process may take 1 GiB of addresses on top
of what healthy checkpoints took, and the peak of its memory is printed), or more than 20 seconds.
"""

import argparse
import contextlib
import copy
import io
import math
import os
import pickle
import random
import resource
import signal
import struct
import sys
import tempfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from seqtrain.__main__ import main
from seqtrain.runs.checkpoint import FORMAT
from seqtrain.runs.seal import seal

QUICK = (
    "model.hidden_size=6",
    "train.steps=4",
    "train.epochs=null",
    "train.batch_size=4",
    "train.eval_every=1",
    "train.log_every=2",
)
SETS = ("task.valid_size=12", "task.test_size=12")
OWN_CELL = """
from seqtrain.cells.lstm import LSTMCell

class Own(LSTMCell):
    pass
"""
KINDS: dict[str, tuple[str, ...]] = {
    "adding": ("quickstart", *QUICK, *SETS),
    "words": ("words", *QUICK, "model.depth=2", "optimizer={name: sgd, lr: 0.5, momentum: 0.9}"),
    "averaged": ("words", *QUICK, "train.steps=8", "train.average_after=0", "optimizer={name: sgd, lr: 300.0}"),
    "both ways": ("lookaround", *QUICK, *SETS, "model.direction=bidirectional", "optimizer=rmsprop"),
    "own cell": ("words", *QUICK, "model.cell=own_cells:Own"),
}
"""What is trained; between them they have all that a checkpoint can hold."""

CANARY = "code-ran"
NAN = math.nan


class Bad(NamedTuple):
    """A bad file: what it is, what its bytes are (or who makes it), and which verbs must refuse it."""

    name: str
    make: bytes | Callable[[Path], object]
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


PAYLOADS = (
    Payload(os.mkdir, CANARY),
    Payload(os.system, f"mkdir {CANARY}"),
    Payload(eval, f"__import__('os').mkdir({CANARY!r})"),
    Payload(exec, f"import os; os.mkdir({CANARY!r})"),
    Payload(torch.load, "elsewhere.pt"),
)


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
    yield "sealed zip", sealed(buffer)
    for number, payload in enumerate(PAYLOADS):
        yield f"payload {number} as a pickle", pickle.dumps(payload, protocol=2)
        for legacy in (False, True):
            buffer = io.BytesIO()
            torch.save({"format": FORMAT, "model": payload}, buffer, _use_new_zipfile_serialization=not legacy)
            yield f"payload {number} of torch.save, {legacy=}", buffer.getvalue()
        yield f"payload {number} sealed", sealed(archive_of(pickle.dumps({"format": payload}, protocol=2)))
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), buffer)
    yield "TorchScript", buffer.getvalue()
    yield "sealed TorchScript", sealed(buffer)
    yield "folder", Path.mkdir
    yield "pipe", os.mkfifo
    yield "symbolic link to itself", lambda path: path.symlink_to(path.name)
    yield "device", lambda path: path.symlink_to("/dev/zero")
    yield "nothing", lambda path: path.symlink_to("nowhere")


# --- lies about the archive, with a right checksum --------------------------------------------------------------


def sealed(archive: io.BytesIO) -> bytes:
    """With the checksum of what it now is."""
    buffer = io.BytesIO(archive.getvalue())
    seal(buffer, FORMAT)
    return buffer.getvalue()


def archive_of(program: bytes, **records: bytes) -> io.BytesIO:
    """An archive as torch writes one, around a pickle of ours."""
    buffer = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(buffer)
    for name, content in {"data.pkl": program, "byteorder": b"little", **records}.items():
        writer.write_record(name, content, len(content))
    writer.write_end_of_file()
    return buffer


def rewritten(whole: bytes, change: Callable[[str, bytes], bytes]) -> bytes:
    """A checkpoint whose records are changed one by one."""
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        records = {name.removeprefix("archive/"): archive.read(name) for name in archive.namelist()}
    kept = {name: change(name, content) for name, content in records.items() if name not in ("version", "byteorder")}
    kept.pop(".data/serialization_id")
    return sealed(archive_of(kept.pop("data.pkl"), **kept))


def compressed(whole: bytes, bomb: int) -> bytes:
    """A checkpoint with its records deflated, and so many zeros behind the pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name) + bytes(bomb if name.endswith("data.pkl") else 0))
    return sealed(buffer)


def lying_sizes(archive: bytes) -> bytes:
    """Every record in the directory claims 2 GiB."""
    lying, at = bytearray(archive), 0
    while (at := lying.find(b"PK\x01\x02", at)) >= 0:
        struct.pack_into("<II", lying, at + 20, 1 << 31, 1 << 31)
        at += 4
    return sealed(io.BytesIO(lying))


STORAGE = b"((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuJ%s"
STRUCTURES = {
    "nested lists": b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".",
    "nested dicts": b"\x80\x02" + b"}K\x01" * 900 + b"}" + b"s" * 900 + b".",
    "a list in itself": b"\x80\x02]q\x00h\x00a.",
    "a list unfolding": b"\x80\x02]q\x00" + b"".join(b"](h%ch%ceq%c" % (n, n, n + 1) for n in range(60)) + b".",
    "a far place": b"\x80\x02Nr\xff\xff\xff\xff.",
    "a long string": b"\x80\x02X\xff\xff\xff\x7fabc.",
    "a longer string": b"\x80\x04\x8d" + b"\xff" * 7 + b"\x7fabc.",
    "a long number": b"\x80\x02\x8b\xff\xff\xff\x7f1.",
    "a bytearray": b"\x80\x02cbuiltins\nbytearray\n\x8a\x05\x00\x00\x00\x00\x10\x85R.",
    "a storage made": b"\x80\x02ctorch\nUntypedStorage\n\x8a\x05\x00\x00\x00\x00\x10\x85R.",
    "many lists": b"\x80\x02](" + b"]" * 500_000 + b"e.",
    "cut off": b"\x80\x02}(X\x06",
    "no opcode": b"\x80\x02\xff.",
    "an empty stack": b"\x80\x02s.",
    "protocol 5": pickle.dumps({"format": FORMAT}, protocol=5),
    "a set": pickle.dumps({1, 2}, protocol=2),
    "a tensor larger than its record": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n"
    + STORAGE % b"\x00\x00\x00\x40"
    + b"tQK\x00J\x00\x00\x00\x40\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtR.",
    "a storage of another place": b"\x80\x02" + STORAGE.replace(b"cpu", b"xpu") % b"\x01\x00\x00\x00" + b"tQ.",
    "a storage without a record": b"\x80\x02" + STORAGE.replace(b"0X\x03", b"7X\x03") % b"\x01\x00\x00\x00" + b"tQ.",
    "a storage of one word": b"\x80\x02U\x07storageQ.",
}


def lying_archives(whole: bytes) -> Iterator[tuple[str, bytes]]:
    """Files that torch would read, or try to."""
    archive = bytearray(whole[: whole.rindex(b"seqtrain checkpoint")])
    archive[-2:] = b"\0\0"
    yield "compressed", compressed(whole, 0)
    yield "compressed bomb", compressed(whole, 200_000_000)
    yield "records that claim 2 GiB", lying_sizes(archive)
    yield "two archives", sealed(io.BytesIO(archive + archive))
    yield "an archive behind a text", sealed(io.BytesIO(b"text" + archive))
    yield "no directory", sealed(io.BytesIO(archive[:-98] + bytes(76) + archive[-22:]))
    yield "another record", sealed(archive_of(b"\x80\x02}.", **{"DATA.PKL": b"\x80\x02}."}))
    yield "no pickle", rewritten(whole, lambda name, record: b"" if name == "data.pkl" else record)
    yield "short records", rewritten(whole, lambda name, record: record[:1] if name[:5] == "data/" else record)
    yield "long records", rewritten(whole, lambda name, record: record * 2 if name[:5] == "data/" else record)
    for name, program in STRUCTURES.items():
        yield name, sealed(archive_of(program, **{"data/0": bytes(4)}))


# --- lies about the contents, with a right checksum -------------------------------------------------------------

ANY, RESUME, EVAL = ("eval", "text", "model", "resume"), ("resume",), ("eval",)
NOT_WHOLE = (-1, 2**70, "3", 1.5, NAN, True, [], {}, torch.ones(()), (1,))
WHOLE = ("step", "evaluated_at", "stalled", "cuts", "stalled_since_cut", "window_steps")
DEEP: list[Any] = []
for _ in range(200):
    DEEP = [DEEP]


def lies(content: dict[str, Any]) -> Iterator[tuple[str, Any, tuple[str, ...]]]:
    """What could stand where, and which verbs must refuse it; `...` for nothing at all."""
    for key in content:
        for value in (..., None, 3, "x", NAN, [1], {1: 2}, torch.ones(2), DEEP):
            if str(value) not in (str(content[key]), *(["x"] if key == "variant" else [])):
                yield key, value, ANY
    yield "more", 1, ANY
    yield from ((f"training.{key}", value, ANY) for key in WHOLE for value in (..., None, *NOT_WHOLE))
    for key in ("best_step", "best_value", "solved_at_step", "window_loss", "window_norm", "losses", "carried"):
        yield from ((f"training.{key}", value, ANY) for value in (..., "x", NAN, {}, torch.ones(1), [[(1,)]], ["x"]))
    yield "training.step", 0, ANY  # before the last evaluation
    yield "training.step", 10**6, RESUME
    yield "training.best_value", None, ANY
    yield "training.losses", [1.0, NAN], ANY
    yield "training.more", 1, ANY
    yield from _lies_about_the_config(content)
    yield from _lies_about_tensors(content)
    yield from _lies_about_the_optimizer(content)
    if content["vocabulary"] is not None:
        tokens, counts = content["vocabulary"], content["counts"]
        for value in (
            [],
            tokens[:-1],
            [*tokens, "x"],
            tokens[:-1] + tokens[:1],
            [1] * len(tokens),
            [None, *tokens[1:]],
        ):
            yield "vocabulary", value, ANY
        for value in ([], counts[:-1], [-1, *counts[1:]], [2**63, *counts[1:]], ["1", *counts[1:]], [NAN, *counts[1:]]):
            yield "counts", value, ANY
        yield "vocabulary", ["x", *tokens[1:]], ("eval", "text", "resume")  # no <unk>
        for path in ("/dev/zero", "pipe", "nowhere", "/", "\0", "~nobody-here/x", "shipped:../..", 3, ""):
            yield "config.task.path", path, EVAL
    for spec in (
        (),
        (1,),
        (2**31, True, 2**31, True, True),
        (2**62, True, 2**62, True, True),
        (-1, True, 1, True, True),
    ):
        yield "spec", spec, ANY
    for spec in ((0, False, 1, True, False), ("1", False, 1, True, False), (NAN,) * 5, (1, 0, 1, 0, 0), [1] * 5):
        yield "spec", spec, ANY


def _lies_about_the_config(content: dict[str, Any]) -> Iterator[tuple[str, Any, tuple[str, ...]]]:
    for key in content["config"]:
        for value in ("x", NAN, [], DEEP, torch.ones(1), -1):
            yield f"config.{key}", value, EVAL if key == "device" else ANY  # the others run on the CPU here
        if key in ("task", "model"):
            yield f"config.{key}", ..., ANY
    for value in (10**9, 10**5, 7, 0, -1, "6", NAN, [6] * 1001, [100_000] * 1000, None, torch.ones(1)):
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


def _lies_about_tensors(content: dict[str, Any]) -> Iterator[tuple[str, Any, tuple[str, ...]]]:
    places = [(f"model/{name}", ANY) for name in list(content["model"])[:3]]
    training = content["training"]
    for number, state in list(training["optimizer"]["state"].items())[:2]:
        places += [(f"training/optimizer/state/{number}/{name}", RESUME) for name in state]
    if training["carried"] is not None:
        places += [("training/carried/0/0/0", RESUME)]
    if training["average"] is not None:
        places += [(f"training/average/weights/{name}", RESUME) for name in list(training["average"]["weights"])[:2]]
        yield "training.average.count", -1, ANY
        yield "training.average.weights", {}, RESUME
    for place, verbs in places:
        tensor = found(content, place.split("/"))
        for value in (
            ..., None, "x", 1.0, tensor.tolist(), tensor.double(), tensor.to(torch.complex64), tensor.half(),
            tensor.long(), torch.zeros(*tensor.shape, 2), torch.zeros(0), torch.zeros(()).expand(10**6, 10**6),
            tensor.to_sparse(), torch.empty(tensor.shape, device="meta"), torch.nn.Parameter(tensor.clone()),
            torch.zeros(9)[::2], torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), torch.ones(3, 4).T,
            torch.ones(5)[2:], torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), np_scalar(),
        ):  # fmt: skip
            yield place.replace("/", ".") if "weight" not in place and "model" not in place else place, value, verbs
    yield "model", {}, ANY
    yield "model/more", torch.ones(1), ANY
    yield "training/carried", [], RESUME
    yield "training/carried", [[(torch.ones(2, 2),)]], RESUME
    yield "training/average", {"count": 3, "weights": {}}, RESUME


def _lies_about_the_optimizer(content: dict[str, Any]) -> Iterator[tuple[str, Any, tuple[str, ...]]]:
    state = content["training"]["optimizer"]["state"]
    first = next(iter(state.values()), {})
    for value in ({-1: first}, {10**9: first}, {"0": first}, {0: {"x": torch.ones(1)}}, [first], {0: None}):
        yield "training.optimizer.state", value, RESUME
    if first:
        yield "training.optimizer.state", {0: {}}, RESUME
    yield "training.optimizer", {}, ANY
    group = content["training"]["optimizer"]["param_groups"][0]
    for groups in ([], [group, group], {}, None, [1]):
        yield "training.optimizer.param_groups", groups, ANY
    for key, value in (
        ("params", [0, 0]),
        ("params", "x"),
        ("lr", NAN),
        ("lr", "x"),
        ("lr", torch.ones(1)),
        ("lr", -1.0),
    ):
        yield f"training.optimizer.param_groups.0.{key}", value, RESUME
    for key in ("betas", "momentum", "weight_decay", "fused", "foreach"):
        if key in group:
            yield from (
                (f"training.optimizer.param_groups.0.{key}", value, RESUME) for value in ("x", (5.0, 5.0), 77.0, [])
            )


def np_scalar() -> Any:
    import numpy as np

    return np.float64(1.0)


def found(value: Any, path: list[str]) -> Any:
    """What stands at a place; numbers lead into lists, and into the dict of the optimizer's state."""
    for part in path:
        value = value[part if isinstance(value, dict) and part in value else int(part)]
    return value


def with_lie(content: dict[str, Any], place: str, value: Any, folder: Path) -> bytes:
    """A sealed checkpoint with another value at a place."""
    if isinstance(value, dict) and "{here}" in str(value.get("folder")):
        value = value | {"folder": value["folder"].format(here=folder)}
    content = {"format": FORMAT} | copy.deepcopy(content)
    path = place.split("/" if "/" in place else ".")
    owner = found(content, path[:-1])
    if isinstance(owner, tuple):  # of a carried state
        outer = found(content, path[:-2])
        outer[int(path[-2])] = owner = list(owner)
    key: Any = (
        path[-1] if isinstance(owner, dict) and not (path[-1].isdecimal() and path[-1] not in owner) else int(path[-1])
    )
    if value is ...:
        del owner[key]
    else:
        owner[key] = value
    if isinstance(owner, list) and "carried" in place:
        outer[int(path[-2])] = tuple(owner)
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return sealed(buffer)


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
            assert verb == "model" or call(*command_of(verb, kind, f"{kind}/last.pt"))[0] == 0, (kind, verb)


def verbs_of(kind: str) -> tuple[str, ...]:
    """What can be done with a checkpoint of a kind."""
    text = ("text", "predict") if kind in ("words", "averaged", "own cell") else ()
    return ("eval", "model", "resume", *text, *(("compare",) if kind == "adding" else ()))


def bad_files(kind: str, folder: Path) -> Iterator[Bad]:
    """All lies and foreign files for a kind."""
    whole = Path(kind, "last.pt").read_bytes()
    content = torch.load(Path(kind, "last.pt"), weights_only=True)
    if kind in ("adding", "words"):  # no other verb reads the other kinds
        for name, make in (*foreign(), *lying_archives(whole)):
            verbs = verbs_of(kind)
            if name == "nothing":  # a run without a checkpoint is started
                verbs = tuple(verb for verb in verbs if verb != "resume")
            yield Bad(name, make, verbs)
    for place, value, verbs in lies(content):
        told = f"{place} = {'nothing' if value is ... else repr(value)[:60] if value is not DEEP else 'depth'}"
        usable = tuple(verb for verb in verbs if verb in verbs_of(kind))
        if usable:
            yield Bad(
                told,
                lambda path, place=place, value=value: path.write_bytes(with_lie(content, place, value, folder)),
                usable,
            )


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
            name, content = damaged(Path(kind, "last.pt").read_bytes(), random_)
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
    best = verb == "compare" or (verb == "resume" and number % 7 == 0 and not callable(bad.make))
    target = Path(kind, "best.pt" if best else "last.pt") if verb in ("resume", "compare") else Path("bad.pt")
    kept = target.read_bytes() if target.exists() else None
    if kept is not None:
        target.unlink()
    try:
        if callable(bad.make):
            bad.make(target)
        else:
            target.write_bytes(bad.make)
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
    warnings.simplefilter("ignore")  # of torch, about the odd tensors that are saved here
    with tempfile.TemporaryDirectory() as made:
        os.chdir(made)
        make_runs(tuple(KINDS))
        found_counts, found_failures = attack(asked.files, asked.seed, Path(made).resolve(), limit=True)
        os.chdir("/")
    print(*found_failures, sep="\n")
    for what, count in found_counts.items():
        print(f"{count:>9,} {what}")
    sys.exit(1 if found_failures else 0)
