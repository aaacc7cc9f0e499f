"""`seqtrain track`: event files, read back by a second reader, and by TensorBoard itself where it is installed."""

import json
import os
import shutil
import signal
import struct
from pathlib import Path
from types import SimpleNamespace

import pytest

from seqtrain.runs import tensorboard, tracking


def crc32c(content: bytes) -> int:
    """Bit by bit, as RFC 3720 defines it."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 * (crc & 1))
    return crc ^ 0xFFFFFFFF


def masked(content: bytes) -> int:
    crc = crc32c(content)
    return ((crc >> 15) | ((crc << 17) & 0xFFFFFFFF)) + 0xA282EAD8 & 0xFFFFFFFF


def varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (content[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if content[at - 1] < 0x80:
            return value, at


def fields(content: bytes):
    """The fields of a message: number and value."""
    at = 0
    while at < len(content):
        key, at = varint(content, at)
        size = {1: 8, 5: 4}.get(key & 7)
        if key & 7 == 0:
            value, at = varint(content, at)
            yield key >> 3, value
            continue
        if size is None:
            size, at = varint(content, at)
        yield key >> 3, content[at : at + size]
        at += size


def events(file: Path) -> list[SimpleNamespace]:
    """The events of a file, whose checksums are right."""
    content, found = file.read_bytes(), []
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        assert struct.unpack("<I", content[8:12]) == (masked(content[:8]),)
        data = content[12 : 12 + length]
        assert struct.unpack("<I", content[12 + length : 16 + length]) == (masked(data),)
        content = content[16 + length :]
        event = dict(fields(data))
        values = {}
        for _, part in fields(event.get(5, b"")):
            value = dict(fields(part))
            values[value[1].decode()] = struct.unpack("<f", value[2])[0]
        (time,) = struct.unpack("<d", event[1])
        found.append(SimpleNamespace(time=time, step=event[2], values=values, start=7 in event, version=event.get(3)))
    return found


def single(value: float) -> float:
    """As 32 bits hold it."""
    return struct.unpack("<f", struct.pack("<f", value))[0]


@pytest.fixture
def folder(trained_comparison, tmp_path, monkeypatch) -> Path:
    """A finished run, in the current folder."""
    shutil.copytree(trained_comparison / "runs/compare-quickstart/quickstart-rnn-seed0", tmp_path / "runs/a")
    monkeypatch.chdir(tmp_path)
    return Path("runs/a")


def written(name: str = "a") -> Path:
    *emptied, file = sorted(Path("runs/tensorboard", name).iterdir())
    assert all(former.stat().st_size == 0 for former in emptied)
    return file


def wanted(run: Path) -> list[tuple[int, dict[str, float]]]:
    """Steps and figures, as the files of the run have them."""
    found = []
    for line in (run / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        names = record.keys() - {"step", "split", "elapsed_s"}
        values = {f"{record['split']}/{name}": single(record[name]) for name in names if record[name] is not None}
        found.append((record["step"], values))
    summary = json.loads((run / "summary.json").read_text())
    return [*found, (summary["best"]["step"], {f"test/{name}": single(x) for name, x in summary["test"].items()})]


def test_the_checksum_is_the_published_one():
    assert crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32C
    assert struct.unpack("<I", tensorboard._checksum(b"123456789")) == (masked(b"123456789"),)


def test_the_figures_are_those_of_the_run(seqtrain, folder):
    done = seqtrain("track", folder, "--to", "tensorboard", "--json")
    assert done.json == {
        "folder": "runs/tensorboard", "runs": [{"run": "runs/a", "folder": "runs/tensorboard/a", "ended": True}],
    }  # fmt: skip
    first, start, *rest = events(written())
    assert (first.version, start.start) == (b"brain.Event:2", True)
    assert [(event.step, event.values) for event in rest] == wanted(folder)
    elapsed = [json.loads(line)["elapsed_s"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [event.time - first.time for event in rest[:-1]] == pytest.approx(elapsed, abs=1e-5)
    assert {path.name for path in folder.iterdir()} == {
        "config.yaml", "metrics.jsonl", "summary.json", "last.safetensors", "best.safetensors",
    } | {path.name for path in folder.glob("curve.png")}  # fmt: skip


def test_tensorboard_itself_reads_them(seqtrain, folder):
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="needs the package tensorboard"
    )
    assert seqtrain("track", folder).code == 0
    read = reader.EventAccumulator("runs/tensorboard/a").Reload()
    points = {(tag, point.step, point.value) for tag in read.Tags()["scalars"] for point in read.Scalars(tag)}
    assert points == {(tag, step, value) for step, values in wanted(folder) for tag, value in values.items()}
    metrics = folder / "metrics.jsonl"
    lines = metrics.read_text().splitlines(keepends=True)
    changed = [*lines[:2], lines[2].replace('"step": ', '"step": 1')]
    metrics.write_text("".join(changed))  # as if it was resumed from there
    assert seqtrain("track", folder).code == 0
    read.Reload()
    steps = {point.step for tag in read.Tags()["scalars"] for point in read.Scalars(tag)}
    assert steps == {json.loads(line)["step"] for line in changed}


def test_a_repeated_call_writes_nothing_twice(seqtrain, folder):
    """Line by line, with calls between, a cut file, or at once: the same bytes."""
    assert seqtrain("track", folder).code == 0
    whole, before = written().read_bytes(), written().stat()
    assert seqtrain("track", folder).code == 0
    assert (written().read_bytes(), written().stat().st_mtime_ns) == (whole, before.st_mtime_ns)
    for cut in (len(whole) - 1, len(whole) // 2, 40):
        written().write_bytes(whole[:cut])
        assert seqtrain("track", folder).code == 0
        assert written().read_bytes() == whole
    for path in (written(), folder / "summary.json"):
        path.rename("kept." + path.name)
    metrics, lines = folder / "metrics.jsonl", (folder / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    metrics.write_bytes(b"")
    assert seqtrain("track", folder).code == 0
    assert not list(Path("runs/tensorboard/a").iterdir())
    (Path("runs/tensorboard/a") / "events.out.tfevents.0000000000.seqtrain").write_bytes(whole[:40])  # the same start
    for count in range(1, len(lines) + 1):
        metrics.write_bytes(b"".join(lines[:count]) + b'{"step": 9, "el')
        assert seqtrain("track", folder).code == 0
    metrics.write_bytes(b"".join(lines))
    Path("kept.summary.json").rename(folder / "summary.json")
    os.utime(folder / "summary.json")
    assert seqtrain("track", folder).code == 0
    assert written().read_bytes() == whole


def test_a_resumed_run_takes_the_place_of_its_former_end(seqtrain, folder):
    assert seqtrain("track", folder).code == 0
    metrics = folder / "metrics.jsonl"
    lines = metrics.read_text().splitlines(keepends=True)
    metrics.write_text(lines[0] + lines[-1].replace('"step": ', '"step": 7'))  # it trains again: the summary is old
    assert seqtrain("track", folder, "--json").json["runs"][0]["ended"] is False
    names = [f"events.out.tfevents.000000000{number}.seqtrain" for number in (0, 1)]
    assert sorted(path.name for path in Path("runs/tensorboard/a").iterdir()) == names  # the former stays, empty
    assert written().name == names[1]
    kept = [json.loads(line)["step"] for line in metrics.read_text().splitlines()]
    assert [event.step for event in events(written())] == [0, 0, *kept]
    assert events(written())[1].start  # a TensorBoard that runs forgets the former end


def test_figures_that_the_format_cannot_hold(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(tensorboard.figures(2.5, 2**40, {"gut/größe": 1e300, "b": -1e-300, "c": 3.25}))
    (event,) = events(file)
    assert (event.time, event.step, event.values) == (2.5, 2**40, {"gut/größe": float("inf"), "b": -0.0, "c": 3.25})
    assert tensorboard.figures(0.0, 1, {}) == b""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["runs/b", "runs/c"], "seqtrain: runs/b: is neither a run nor a folder of runs\nseqtrain: runs/c: is neither"),
        (["runs/a", "--to", "wandb"], "--to wandb: choose one of tensorboard; Weights & Biases imports its files"),
        (["runs/a", "--out", "runs/a/summary.json"], "runs/a/summary.json"),
    ],
)
def test_refusals(seqtrain, folder, arguments, message):
    refused = seqtrain("track", *arguments)
    assert (refused.code, refused.out) == (2, "")
    assert message in refused.err


def test_a_damaged_line_is_named(seqtrain, folder):
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": "x"}\n')
    refused = seqtrain("track", folder)
    assert refused.code == 2
    assert "runs/a/metrics.jsonl: a line is not a record of a run" in refused.err


def test_following_ends_with_the_runs(seqtrain, folder, monkeypatch):
    """Each look finds one line more; the run begins after the command, and a second one is there already."""
    shutil.copytree(folder, "runs/b")
    seqtrain("track", "runs/a", "--out", "at-once")
    shutil.move(folder, "kept")
    lines, looks = Path("kept/metrics.jsonl").read_bytes().splitlines(keepends=True), []

    def wait(_):
        looks.append(None)
        folder.mkdir(exist_ok=True)
        (folder / "metrics.jsonl").write_bytes(b"".join(lines[: len(looks)]))
        if len(looks) > len(lines):
            shutil.copy("kept/summary.json", folder)

    monkeypatch.setattr(tracking, "sleep", wait)
    done = seqtrain("track", "runs/a", "runs/b", "--follow", "--json", "--quiet")
    assert (done.code, done.err, len(looks)) == (0, "", len(lines) + 1)
    assert [run["ended"] for run in done.json["runs"]] == [True, True]
    (once,) = Path("at-once/a").iterdir()
    assert [(event.step, event.values) for event in events(written())] == [
        (event.step, event.values) for event in events(once)
    ]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_following_ends_with_a_signal(seqtrain, folder, monkeypatch, number, code):
    (folder / "summary.json").unlink()
    monkeypatch.setattr(tracking, "sleep", lambda _: os.kill(os.getpid(), number))
    done = seqtrain("track", folder, "--follow", "--json")
    assert done.code == code
    assert done.json["runs"][0]["ended"] is False
    assert len(events(written())) == 2 + len((folder / "metrics.jsonl").read_text().splitlines())


def test_a_folder_of_runs_is_followed_until_nothing_begins(compared, monkeypatch):
    """Between two runs of a comparison all that there are have ended."""
    folder, clock = Path("runs/compare-quickstart"), [0.0]
    shutil.move(folder / "quickstart-gru-seed0", "later")

    def wait(_):
        clock[0] += 20.0
        if Path("later").exists():
            shutil.move("later", folder / "quickstart-gru-seed0")

    monkeypatch.setattr(tracking, "sleep", wait)
    monkeypatch.setattr(tracking, "monotonic", lambda: clock[0])
    done = compared("track", folder, "--follow", "--json")
    assert len(done.json["runs"]) == 4
    assert clock == [60.0]
    assert len([*Path("runs/tensorboard/compare-quickstart").iterdir()]) == 4
