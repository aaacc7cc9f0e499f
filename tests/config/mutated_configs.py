"""Shipped configs with something wrong, and what the command line makes of them.

    python tests/config/mutated_configs.py --configs 5000

prints what was found and exits 1 if anything was. `test_mutated_configs.py` does the same with a few hundred.
"""

import argparse
import contextlib
import io
import random
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml

from seqtrain.__main__ import main
from seqtrain.system import shipped

FILE = "mutant.yaml"
SECONDS, MEGABYTES = 2.0, 300
"""That a refusal may take."""


class Mutant(NamedTuple):
    """A config with something wrong.

    what : the mutation, for people.
    content : of the file.
    overrides : behind it on the command line.
    named : any of these in the message tells the place.
    """

    what: str
    content: bytes
    overrides: list[str]
    named: tuple[str, ...]


SMALL = {"model": {"hidden_size": 4}, "train": {"batch_size": 4}, "task": {"valid_size": 8, "test_size": 8}}


def base(name: str) -> dict[str, Any]:
    """The shipped config of that name, made small."""
    data = yaml.safe_load(shipped.config_paths()[name].read_text("utf-8"))
    sizes = data["model"].get("hidden_size")
    for section, settings in SMALL.items():
        for key, value in settings.items():
            if key not in ("valid_size", "test_size") or data["task"].get("name") not in UNSIZED:
                data[section][key] = value
    if isinstance(sizes, list):  # one a layer: the number of layers stays
        data["model"]["hidden_size"] = [4] * len(sizes)
    if data["task"].get("path", "").startswith("data/"):
        data["task"]["path"] = "shipped:stories"
    return data


UNSIZED = ("language_model", "counting", "timing", "series", "sequences", "tagging")

LITERALS = """
-1 0 1 2 3.5 1e-3 '1e-3' 1e400 -1e400 .nan .inf -.inf 1e-400 99999999999999999999999999
-99999999999999999999999999 1e9 1000000 1000000000 1_000 0x7fffffffffffffff 0o17 017 1:30 2026-11-21
2026-13-45 12:30 true false on off yes No null ~ '' [] {} [1] [a,b] [1,2,3] [[1]] [null] [.nan] {a:1}
{name:lstm} {name:gru,reset:before} {name:[1]} {1:2} {null:1} lstm LSTM gru transformer adam sgd 'a b' "\\0"
"\\x07" "\\u2028" 'ключ' '😀' 'a.b:C' ':' 'cuda:99999999999' cuda:0 cpu shipped:stories shipped:nothing
/dev/null /dev/zero / . .. '~' '~nobody/x' ./-x '-' !!python/object:os.system !!python/tuple !!binary aGk=
!!set !!int '3' !custom !!float '1' '1,5' 1,000 50% 1e-3f 128px auto none None False @a `a` %a &a *a |- >- ? =
<< [ ] { } "unclosed 'unclosed ,
""".split()  # noqa: SIM905  # as one writes them
"""Values, as they may stand in a file."""


def literals() -> list[str]:
    huge = ["9" * 400, "9" * 5000, "0x" + "f" * 5000, "x" * 100_000, "[" + "1," * 20_000 + "]", "é" * 70_000]
    deep = ["[" * n + "]" * n for n in (50, 1000, 100_000)] + ["{a: " * n + "}" * n for n in (50, 1000)]
    return [*LITERALS, *huge, *deep]


BOMB = "bomb: [&a0 [x, x], " + ", ".join(f"&a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40)) + "]\n"
MERGES = "bomb:\n  - &a0 {x: 1}\n" + "".join(
    f"  - &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 10)
)


def paths(data: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Of every setting, and of every section but the whole."""
    for key, value in data.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from paths(value, (*path, key))


def parent(data: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    for part in path[:-1]:
        data = data[part]
    return data


def dumped(data: Any) -> bytes:
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True).encode()


def names_of(path: tuple[str, ...]) -> tuple[str, ...]:
    """What may stand for a setting in a message: itself, or a section that it is in."""
    return tuple(".".join(path[:end]) for end in range(1, len(path) + 1))


HOLE = "HOLE_FOR_A_VALUE"


def value(pick: random.Random) -> Mutant:
    """Another value, as text."""
    data, literal = base(pick.choice(CONFIGS)), pick.choice(literals())
    path = pick.choice(SETTINGS if pick.random() < 0.5 else list(paths(data)))
    here = data
    for part in path[:-1]:
        if not isinstance(here.setdefault(part, {}), dict):
            here[part] = {"name": here[part]}
        here = here[part]
    here[path[-1]] = HOLE
    content = dumped(data).replace(HOLE.encode(), literal.encode("utf-8", "surrogatepass"))
    return Mutant(f"{'.'.join(path)}: {literal[:30]}", content, [], names_of(path))


def override(pick: random.Random) -> Mutant:
    """Another value on the command line."""
    path, literal = pick.choice(SETTINGS), pick.choice(literals())[:120_000]
    text = f"{'.'.join(path)}={literal}".replace("\0", "")
    return Mutant(text[:50], dumped(base(pick.choice(CONFIGS))), [text], names_of(path))


def odd_override(pick: random.Random) -> Mutant:
    """Something that is hardly KEY=VALUE."""
    text = pick.choice(ODD_OVERRIDES)
    return Mutant(
        f"override {text[:40]}",
        dumped(base(pick.choice(CONFIGS))),
        [text],
        (text.split("=")[0].strip()[:20] or "override",),
    )


ODD_OVERRIDES = [
    "=", "==", "=1", "train", "train.", ".train=1", "train..steps=1", "train.steps", "train.steps:5", "steps=5", "lr=1",
    "TRAIN.STEPS=5", "train.steps==5", "train.steps=5=6", "train.steps =5", "train.steps.more=5", "a.b.c.d.e=1",
    "model.cell.name.x=1", "model.hidden_size.0=1", "task.name=", "task=", "model=", "model.cell=", "train=", "=[[[",
    "task.[=1", "task.é=1", "task.😀=1", "1=1", "true=1", "null=1", "~=1", "optimizer.betas.0=0.5", "epochs=3",
    "model.cell=[lstm]", "model.cell={}", "model.cell={name: }", "train={steps: {}}", "a." * 2000 + "b=1", "x" * 90_000,
    "model.cell.folder=\x01", "seed=\n", "\n=1", "train.steps=\t5\n", "task.name=adding\ntrain: 3", "model.cell=*a",
    "model.cell=&a [*a]", "task.path=&a [*a]", "seed=--- 1", "seed=1\n---\n2", "train.steps=!!python/name:os.system",
    "cell=gru", "hidden_size=3", "model.cells=gru", "learning_rate=1e-3",
    "optimizer.learning_rate=1e-3", "batch_size=3",
]  # fmt: skip


def misspelt(pick: random.Random) -> Mutant:
    """A key with a slip of the finger, or of another kind."""
    data = base(pick.choice(CONFIGS))
    path = pick.choice(list(paths(data)))
    key, at = path[-1], pick.randrange(len(path[-1]))
    wrong: Any = pick.choice(
        [key[:at] + key[at + 1 :], key[:at] + key[at] + key[at:], key.upper(), key.replace("_", "-"), key + " ",
         key.replace("_", ""), key + "s", "é" + key, "", 1, 1.5, None, True, key + ".x", "." + key, "name", "x" * 5000]
    )  # fmt: skip
    here = parent(data, path)
    renamed = {wrong if k == key else k: v for k, v in here.items()}
    here.clear()
    here.update(renamed)
    return Mutant(f"{'.'.join(path)} as {str(wrong)[:30]!r}", dumped(data), [], (*names_of(path), *names_of(path[:-1])))


def moved(pick: random.Random) -> Mutant:
    """A setting in another section."""
    data = base(pick.choice(CONFIGS))
    path = pick.choice(list(paths(data)))
    taken = parent(data, path).pop(path[-1])
    sections = [data, *(part for part in data.values() if isinstance(part, dict))]
    pick.choice(sections)[path[-1]] = taken
    return Mutant(f"{'.'.join(path)} elsewhere", dumped(data), [], (path[-1], *names_of(path)))


def removed(pick: random.Random) -> Mutant:
    """A setting or a section less."""
    data = base(pick.choice(CONFIGS))
    path = pick.choice(list(paths(data)))
    del parent(data, path)[path[-1]]
    return Mutant(f"without {'.'.join(path)}", dumped(data), [], names_of(path))


def garbled(pick: random.Random) -> Mutant:
    """Bytes changed, put in, taken out, or doubled somewhere."""
    content = dumped(base(pick.choice(CONFIGS)))
    at = pick.randrange(len(content))
    put = pick.choice(GARBAGE)
    cut = pick.choice([0, 0, 1, 5])
    return Mutant(f"{put[:20]!r} at {at}", content[:at] + put + content[at + cut :], [], (FILE,))


GARBAGE = [
    b"\t", b"\0", b"\xff", b"\xe9", b"\r", b"\r\n", b"\xef\xbb\xbf", b"\n---\n", b"\n...\n", b"#", b":", b": ", b"- ",
    b"\n\t", b"\n ", b"\n", b"{", b"}", b"[", b"]", b'"', b"'", b"&a ", b"*a", b"<<: ", b"<<: *a\n",
    b"!!python/object ",
    b"\xf0\x9f\x98\x80", b"\xed\xa0\x80", b"\xe2\x80\xa8", b"\x85", b"\x1b[31m", b"%YAML 1.1\n", b"| ", b"> ", b"? ",
    b"",
]  # fmt: skip


def whole(pick: random.Random) -> Mutant:
    """A file that is wrong as a whole, or only looks so."""
    text = dumped(base(pick.choice(CONFIGS)))
    made = {
        "crlf": text.replace(b"\n", b"\r\n"),
        "cr": text.replace(b"\n", b"\r"),
        "mark": b"\xef\xbb\xbf" + text,
        "utf-16": text.decode().encode("utf-16"),
        "utf-32": text.decode().encode("utf-32"),
        "tabs": text.replace(b"  ", b"\t"),
        "twice": text + text,
        "documents": text + b"---\n" + text,
        "half": text[: len(text) // 2],
        "json": yaml.safe_dump(yaml.safe_load(text), default_flow_style=True).encode(),
        "list": b"- " + text.replace(b"\n", b"\n  "),
        "string": b"'" + text.replace(b"'", b"''") + b"'",
        "indented": b"  " + text.replace(b"\n", b"\n    "),
        "no spaces": text.replace(b": ", b":"),
        "equals": text.replace(b": ", b" = "),
        "bomb": BOMB.encode() + text,
        "bomb as value": BOMB.encode() + text + b"seed: *a39\n",
        "bomb as cell": BOMB.encode() + b"task: adding\nmodel: {cell: {name: 'a:B', x: *a39}}\n",
        "merges": MERGES.encode() + text + b"train2: {<<: *a9}\n",
        "itself": b"&a\n" + text + b"extra: *a\n",
        "cell itself": b"task: adding\nmodel: &m {cell: {name: 'a:B', x: *m}}\n",
        "merge": b"x: &x {lr: 1}\n" + text + b"optimizer2: {<<: *x}\n",
        "merge of itself": b"task: adding\nmodel: &m {cell: lstm, <<: *m}\n",
        "merge of a number": text + b"<<: 3\n",
        "list as key": text + b"? [1, 2]\n: 3\n",
        "mapping as key": text + b"? {a: 1}\n: 3\n",
        "deep keys": text + b"".join(b" " * n + b"a:\n" for n in range(1000)),
        "deep list": text + b"x: " + b"[" * 100_000,
        "dashes": text + b"x:\n" + b"- " * 3000 + b"1\n",
        "tag": b"!!python/object/apply:os.system ['true']\n",
        "empty": b"",
        "spaces": b" \n\n",
        "comment": b"# nothing\n",
        "null": b"null\n",
        "number": b"42\n",
        "prose": b"It was a dark and stormy night.\n" * 100,
        "binary": bytes(pick.randrange(256) for _ in range(1000)),
        "long": text + b"#" * 20_000_000,
        "many keys": text + b"".join(b"k%d: 1\n" % n for n in range(20_000)),
        "many lines": text + b"\n" * 5_000_000,
    }
    kind = pick.choice(list(made))
    return Mutant(kind, made[kind], [], (FILE,))


def together(pick: random.Random) -> Mutant:
    """Two things wrong at once."""
    one, other = override(pick), pick.choice([value, misspelt, moved, removed])(pick)
    return Mutant(f"{one.what} and {other.what}", other.content, one.overrides, one.named + other.named + (FILE,))


MISTAKES = {
    "task:adding\nmodel:\n  cell:lstm\n": FILE,
    "task: adding\nmodel: {cell: lstm}\nlr: 1e-3\n": "optimizer.lr",
    "task: adding\nmodel: {cell: lstm}\noptimizer: {lr: '1e-3'}\n": "optimizer.lr",
    "task: adding\nmodel: {cell: lstm}\noptimizer: {lr: 1,5}\n": "optimizer.5",
    "task: adding\nmodel: {cell: lstm}\noptimizer: {lr: 0}\n": "optimizer.lr",
    "task: adding\nmodel: {cell: lstm}\noptimizer: Adam\n": "did you mean 'adam'",
    "task: adding\nmodel: {cell: lstm}\noptimizer: [adam, {lr: 1}]\n": "optimizer",
    "task: adding\nmodel: {cell: lstm, hidden: 128}\n": "did you mean 'hidden_size'",
    "task: adding\nmodel: {cell: lstm, hidden_size: '128'}\n": "model.hidden_size",
    "task: adding\nmodel: {cell: lstm, hidden_size: 128.0}\n": "model.hidden_size",
    "task: adding\nmodel: {cell: lstm, hidden_size: [128, '64']}\n": "model.hidden_size",
    "task: adding\nmodel: {cell: lstm, layers: 2}\n": "model.layers",
    "task: adding\nmodel: {cell: lstm, bidirectional: true}\n": "model.bidirectional",
    "task: adding\nmodel: {cell: LSTM}\n": "did you mean 'lstm'",
    "task: adding\nmodel: {cell: nn.LSTM}\n": "model.cell",
    "task: adding\nmodel: {cell: [lstm, gru]}\n": "model.cell",
    "task: adding\nmodel: lstm\n": "model",
    "task: adding\nmodel:\n": "model",
    "task: adding\n": "model",
    "model: {cell: lstm}\n": "task",
    "task: addition\nmodel: {cell: lstm}\n": "did you mean 'adding'",
    "task: {name: adding, T: 100}\nmodel: {cell: lstm}\n": "task.T",
    "task: {name: adding, length: 1e3}\nmodel: {cell: lstm}\n": "task.length",
    "task: {name: adding, length: 100 }}\nmodel: {cell: lstm}\n": f"{FILE}:1",
    "task: {name: language_model}\nmodel: {cell: lstm}\n": "task.path",
    "task: {name: language_model, path: [a.txt, b.txt]}\nmodel: {cell: lstm}\n": "task.path",
    "task: {name: language_model, path: C:\\texts\\a.txt}\nmodel: {cell: lstm}\n": "task.path",
    "task: adding\nmodel: {cell: lstm}\nepochs: 3\n": "train.epochs",
    "task: adding\nmodel: {cell: lstm}\ntrain: {epochs: 3}\n": "train.steps",
    "task: adding\nmodel: {cell: lstm}\ntrain: {steps: 3k}\n": "train.steps",
    "task: adding\nmodel: {cell: lstm}\ntrain: {steps: 10_000, batch_size: 64,}\nseed: one\n": "seed",
    "task: adding\nmodel: {cell: lstm}\ntrain:\n  steps: 5\n steps: 6\n": f"{FILE}:5",
    "task: adding\nmodel: {cell: lstm}\ntrain: {steps: 5, steps: 6}\n": "is given twice",
    "task: adding\nmodel: {cell: lstm}\ntrain: {stop_when_solved: 'yes'}\n": "train.stop_when_solved",
    "task: adding\nmodel: {cell: lstm}\ndevice: gpu\n": "device",
    "task: adding\nmodel: {cell: lstm}\ndevice: cuda:7\n": "device",
    "task: adding\nmodel: {cell: lstm}\ndevice: cuda:128\n": "device",
    "task: adding\nmodel: {cell: lstm}\nthreads: 0\n": "threads",
    "task: adding\nmodel: {cell: lstm}\nseed: 1e3\n": "seed",
    "task: adding\nmodel: {cell: lstm}\nschedule: {name: cosine, steps: 100}\n": "schedule.steps",
    "task: adding\nmodel: {cell: lstm, dropout: 50%}\n": "model.dropout",
    "task: adding\nmodel: {cell: lstm, dropout: 50}\n": "model.dropout",
    "task: adding\n\tmodel: {cell: lstm}\n": f"{FILE}:2",
    "- task: adding\n- model: {cell: lstm}\n": FILE,
    '{"task": "adding", "model": {"cell": "lstm"}\n': f"{FILE}:",
    "task = adding\nmodel.cell = lstm\n": FILE,
    "[task]\nname = adding\n": FILE,
    "import torch\nprint('hello')\n": FILE,
}
"""Configs as people write them at first, and what the answer must hold."""

CONFIGS = list(shipped.config_paths())
SETTINGS: list[tuple[str, ...]] = [
    *sorted({path for name in CONFIGS for path in paths(base(name))}),
    ("threads",), ("engine",), ("device",), ("model", "depth"), ("model", "merge"), ("model", "tied"),
    ("model", "cell", "reset"), ("model", "cell", "chrono"), ("model", "cell", "folder"), ("model", "embedding_size"),
    ("model", "weight_drop"), ("model", "zoneout_hidden"), ("model", "softmax"), ("model", "softmax", "cutoffs"),
    ("train", "eval_every"), ("train", "eval_batch_size"), ("train", "ar"), ("train", "patience"), ("optimizer", "eps"),
    ("optimizer", "betas"), ("schedule", "every"), ("task", "fractions"), ("task", "max_size"), ("task", "interval"),
]  # fmt: skip
MUTATIONS: list[Callable[[random.Random], Mutant]] = [
    value, value, value, override, override, odd_override, misspelt, moved, removed, garbled, whole, together,
]  # fmt: skip


def mistakes() -> Iterator[Mutant]:
    """The corpus, of which every one must be refused by name."""
    for text, named in MISTAKES.items():
        yield Mutant(text, text.encode(), [], (named,))


class Ended(NamedTuple):
    """How a call of the command line ended."""

    code: int | None  # None: with a traceback
    err: str
    seconds: float  # of the processor: the machine may have other work
    megabytes: float


def call(*arguments: str) -> Ended:
    """The command line, in this process; ended after ten times what it may take."""
    out, err, argv, before = io.StringIO(), io.StringIO(), sys.argv, _peak()
    sys.argv = ["seqtrain", *arguments]
    earlier = signal.signal(signal.SIGALRM, _out_of_time)
    signal.alarm(int(10 * SECONDS))
    started, code = time.process_time(), None
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
            code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0
    except BaseException:
        err.write(traceback.format_exc())
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, earlier)
        sys.argv = argv
    return Ended(code, err.getvalue(), time.process_time() - started, _peak() - before)


def _out_of_time(*_: object) -> None:
    raise KeyboardInterrupt  # which nothing takes for something else, but `main`: as 130


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def faults_of(mutant: Mutant, verb: str) -> tuple[list[str], Ended]:
    """What is wrong with the answer to a mutant."""
    Path(FILE).write_bytes(mutant.content)
    quick = ["train.steps=1", "train.epochs=null", "--overwrite", "--out", "run"] if verb == "train" else []
    ended = call(verb, FILE, *quick, *mutant.overrides)
    allowed = (0, 2, 3) if verb == "train" else (0, 2)
    told = bool(re.search(re.escape(FILE) + r":\d+: ", ended.err)) or any(name in ended.err for name in mutant.named)
    found = {
        "traceback": ended.code is None or "Traceback" in ended.err,
        f"exit {ended.code}": ended.code not in (None, *allowed),
        "place not named": ended.code == 2 and not told,
        "too general": ended.code == 2 and "not enough memory" in ended.err,
        "long message": ended.code == 2 and max(map(len, ended.err.splitlines()), default=0) > 2000,
        "slow": ended.code == 2 and ended.seconds > SECONDS,
        "large": ended.code == 2 and ended.megabytes > MEGABYTES,
    }
    return [fault for fault, is_so in found.items() if is_so], ended


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--configs", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train-every", type=int, default=20, help="every so many are trained too")
    asked = parser.parse_args()
    endings: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        call("validate", "quickstart")  # torch is loaded
        torch.set_num_threads = lambda _: None  # all share one process
        room = int(_peak() * 2**20) + (8 << 30)
        resource.setrlimit(resource.RLIMIT_AS, (room, room))
        corpus = list(mistakes())
        slowest = 0.0
        for number in range(asked.configs):
            pick = random.Random(f"{asked.seed}-{number}")
            mutant = corpus[number] if number < len(corpus) else pick.choice(MUTATIONS)(pick)
            for verb in ("validate", "train") if number % asked.train_every == 0 else ("validate",):
                found, ended = faults_of(mutant, verb)
                slowest = max(slowest, ended.seconds)
                endings[f"{verb}: exit {ended.code}"] += 1
                for fault in found:
                    endings[fault] += 1
                if found:
                    print(f"{number} {verb} {mutant.what!r}: {', '.join(found)} ({ended.seconds:.1f} s, "
                          f"{ended.megabytes:.0f} MB)\n    {ended.err[-400:].strip()}", flush=True)  # fmt: skip
    for ending, count in sorted(endings.items()):
        print(f"{count:6d}  {ending}")
    print(f"slowest {slowest:.1f} s, peak {_peak():.0f} MB")
    sys.exit(any(":" not in ending for ending in endings))


if __name__ == "__main__":
    run()
