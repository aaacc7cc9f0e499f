"""Large texts: the same tokens from a cached and mapped file, in constant memory."""

import hashlib
import io
import math
import os
import subprocess
import sys
import tracemalloc
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALL
from whole_text import laid_out, whole

from seqtrain.system.errors import DataError
from seqtrain.tasks import TASKS
from seqtrain.tasks.text import token_cache, token_ids, tokenizer
from seqtrain.tasks.text.token_cache import read_text
from seqtrain.tasks.text.token_ids import Ids


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Every text is large, and read in many blocks."""
    monkeypatch.setattr(token_cache, "LARGE", 1)
    monkeypatch.setattr(tokenizer, "BLOCK", 50)
    monkeypatch.setattr(token_ids, "BLOCK", 7)
    folder = tmp_path / "cache" / "inner"
    monkeypatch.setenv("SEQTRAIN_CACHE", str(folder))
    return folder


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("".join(f"der Fluß {n % 11}\r\n{n % 4}  Bären\n" for n in range(60)).encode())
    return path


def tokens_of(text):
    return [text.types[number] for block in text.ids.blocks() for number in block.tolist()]


def entries(folder):
    return sorted(folder.iterdir())


def read_times(monkeypatch):
    """A list that gets an entry whenever a text is tokenised."""
    calls = []
    monkeypatch.setattr(token_cache, "tokenise", lambda *arguments: calls.append(1) or tokenizer.tokenise(*arguments))
    return calls


@pytest.mark.parametrize("unit", ["word", "character"])
def test_a_text_is_tokenised_once_and_then_mapped(cache, text, unit, monkeypatch):
    calls = read_times(monkeypatch)
    expected = whole(text.read_bytes(), unit)
    for _ in range(3):
        assert tokens_of(read_text(text, unit)) == expected
    assert len(calls) == 1
    assert [entry.name for entry in entries(cache)] == [
        f"{hashlib.sha256(text.read_bytes()).hexdigest()}-{unit}-v2.ids"
    ]


def test_the_cache_depends_on_content_and_unit_but_not_on_the_name(cache, text, monkeypatch):
    calls = read_times(monkeypatch)
    read_text(text, "word")
    read_text(text, "character")
    assert len(calls) == len(entries(cache)) == 2
    moved = text.rename(text.with_name("b.txt"))
    read_text(moved, "word")
    assert len(calls) == 2
    moved.write_bytes(moved.read_bytes().replace(b"der", b"das"))
    assert "das" in tokens_of(read_text(moved, "word"))
    assert len(calls) == len(entries(cache)) == 3


def shorter(content):
    return content[:-1]


def flipped(content):
    return content[:9] + bytes([content[9] ^ 1]) + content[10:]


def flipped_type(content):
    return content.replace("Fluß".encode(), "Flüß".encode())


@pytest.mark.parametrize("damage", [shorter, flipped, flipped_type, lambda _: b"", lambda _: bytes(500)])
def test_a_damaged_cache_file_is_replaced(cache, text, damage, monkeypatch):
    read_text(text, "word")
    (entry,) = entries(cache)
    good = entry.read_bytes()
    entry.write_bytes(damage(good))
    assert entry.read_bytes() != good
    calls = read_times(monkeypatch)
    assert tokens_of(read_text(text, "word")) == whole(text.read_bytes(), "word")
    assert len(calls) == 1
    assert entry.read_bytes() == good


def test_a_mapped_text_can_be_read_after_its_file_is_deleted(cache, text):
    first = read_text(text, "word")
    (entry,) = entries(cache)
    entry.unlink()
    assert tokens_of(first) == whole(text.read_bytes(), "word")


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_reading_leaves_no_file(cache, text, error, monkeypatch):
    def stop(texts, unit, write, source):
        write(np.arange(5, dtype=np.int32))
        raise error

    monkeypatch.setattr(token_cache, "tokenise", stop)
    with pytest.raises(error):
        read_text(text, "word")
    assert entries(cache) == []


def test_a_fault_in_a_large_text_leaves_no_file(cache, text):
    content = text.read_bytes()
    text.write_bytes(content + b"\xe9\n" + content)
    with pytest.raises(DataError, match=rf"a\.txt:121: is not UTF-8 \(byte 0xe9 at byte offset {len(content)}\)"):
        read_text(text, "word")
    assert entries(cache) == []
    with pytest.raises(DataError, match="no such file"):
        read_text(text.with_name("b.txt"), "word")


def test_without_a_cache_the_tokens_are_in_a_temporary_file(cache, text, tmp_path, monkeypatch, capsys):
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    monkeypatch.setenv("SEQTRAIN_CACHE", str(blocked / "cache"))
    monkeypatch.setattr(token_cache.tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    assert tokens_of(read_text(text, "word", quiet=True)) == whole(text.read_bytes(), "word")
    assert capsys.readouterr().err == ""
    read_text(text, "word")
    assert capsys.readouterr().err == (
        f"the tokens of a.txt cannot be kept for the next time ({blocked}/cache: Not a directory); "
        "set SEQTRAIN_CACHE to a folder with room for them\n"
    )
    assert entries(tmp_path / "temporary") == []
    monkeypatch.setattr(token_cache.tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(DataError, match=r"its tokens cannot be written to .*missing either .*set SEQTRAIN_CACHE"):
        read_text(text, "word", quiet=True)


def test_a_full_disk_does_not_stop_the_reading(cache, text, monkeypatch, capsys):
    real = token_cache.tempfile.NamedTemporaryFile

    def full(**options):
        file = real(**options)
        monkeypatch.setattr(file, "write", lambda part: os.write(os.open("/dev/full", os.O_WRONLY), part))
        return file

    monkeypatch.setattr(token_cache.tempfile, "NamedTemporaryFile", full)
    assert tokens_of(read_text(text, "word")) == whole(text.read_bytes(), "word")
    assert "(No space left on device)" in capsys.readouterr().err
    assert entries(cache) == []


def test_the_folder_of_the_cache(monkeypatch):
    for name in ("SEQTRAIN_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    assert token_cache.cache_folder() == Path("/home/me/.cache/seqtrain")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert token_cache.cache_folder() == Path("/caches/seqtrain")
    monkeypatch.setenv("SEQTRAIN_CACHE", "/mine")
    assert token_cache.cache_folder() == Path("/mine")


def test_small_texts_are_not_cached(cache, text, monkeypatch):
    monkeypatch.setattr(token_cache, "LARGE", text.stat().st_size + 1)
    assert tokens_of(read_text(text, "word")) == whole(text.read_bytes(), "word")
    assert not cache.exists()


def test_a_pipe_can_be_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen([sys.executable, "-c", f"open({str(tmp_path / 'pipe')!r}, 'w').write('a b' * 9)"]):
        assert tokens_of(read_text(tmp_path / "pipe", "word")) == whole(b"a b" * 9, "word")


def falsified(entry, ids, types):
    """Write an entry with other content, and the checksum that belongs to it."""
    ids, types = np.array(ids, "<i4").tobytes(), types
    footer = token_cache.FOOTER.pack(len(ids) // 4, len(types), zlib.crc32(types, zlib.crc32(ids)))
    entry.write_bytes(ids + types + footer)


@pytest.mark.parametrize(
    ("ids", "types"),
    [([0, 5], b"a\0b"), ([0, -1], b"a\0b"), ([0, 1], b"a"), ([0, 1] * 99, b"a\0b")],
    ids=["beyond", "negative", "few types", "other text"],
)
def test_an_entry_with_a_right_checksum_and_other_tokens_is_made_anew(cache, text, ids, types):
    read_text(text, "word")
    (entry,) = entries(cache)
    falsified(entry, ids, types)
    assert tokens_of(read_text(text, "word")) == whole(text.read_bytes(), "word")


@pytest.mark.parametrize("spoil", [
    lambda entry: entry.chmod(0o666),
    lambda entry: entry.parent.chmod(0o777),
    pytest.param(lambda entry: os.chown(entry, 65534, 65534),
                 marks=pytest.mark.skipif(os.geteuid() != 0, reason="needs root")),
], ids=["file", "folder", "owner"])  # fmt: skip
def test_an_entry_that_others_can_write_is_not_believed(cache, text, spoil, capsys):
    read_text(text, "word")
    (entry,) = entries(cache)
    falsified(entry, [0, 1] * 9, b"a\0b")
    spoil(entry)
    assert tokens_of(read_text(text, "word")) == whole(text.read_bytes(), "word")
    assert ("can be changed by other users" in capsys.readouterr().err) == (cache.stat().st_mode & 0o777 == 0o777)


@pytest.mark.parametrize("verb", ["train", "validate", "check", "compare"])
def test_a_text_that_can_be_read_only_once_is_refused(seqtrain, tmp_path, verb):
    """Resuming and evaluating read it again. Nothing waits for the writer of a pipe."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "folder/train.txt")
    for split in ("valid", "test"):
        (tmp_path / f"folder/{split}.txt").write_text("a b c\n" * 9)
    for path, named in (("pipe", "pipe"), ("folder", "folder/train.txt"), ("/dev/null", "/dev/null")):
        refused = seqtrain(verb, "words", *SMALL, f"task.path={path}")
        assert refused.code == 2
        assert f"{named} is not a regular file, and a text is read more than once" in refused.err


def test_an_evaluation_does_not_wait_for_a_pipe(seqtrain, tmp_path):
    (tmp_path / "a.txt").write_text("a cat saw a dog\n" * 100)
    assert seqtrain("train", "words", *SMALL, "task.path=a.txt", "--out", "run").code == 0
    (tmp_path / "a.txt").unlink()
    os.mkfifo(tmp_path / "a.txt")
    refused = seqtrain("eval", "run")
    assert (refused.code, "a.txt is not a regular file" in refused.err) == (2, True)


def test_progress_is_shown_unless_quiet(cache, text, monkeypatch, capsys):
    monkeypatch.setattr("seqtrain.system.progress.LINE_EVERY_S", 0.0)
    read_text(text, "word", quiet=True)
    assert capsys.readouterr().err == ""
    read_text(text, "character")
    lines = capsys.readouterr().err.splitlines()
    blocks = -(-text.stat().st_size // 50)
    assert lines[0].startswith(f"looking up a.txt: MiB 1/{blocks}, about")
    assert lines[-1].startswith(f"reading a.txt: MiB {blocks}/{blocks}, about 0 s left")


def test_a_run_on_a_large_text(cache, seqtrain, monkeypatch):
    """Training tokenises it, evaluation uses the cache; the weights are those of a small text; quiet prints nothing."""
    monkeypatch.setattr("seqtrain.system.progress.LINE_EVERY_S", 0.0)
    Path("a.txt").write_text("a cat saw a dog\n" * 100)
    small = ("train", "words", *SMALL, "task.path=a.txt")
    trained = seqtrain(*small, "--out", "run", "--json")
    assert "reading a.txt: MiB 32/32" in trained.err
    calls = read_times(monkeypatch)
    assert seqtrain("eval", "run", "--json").json["loss"] == trained.json["test"]["loss"]
    assert calls == []
    monkeypatch.setattr(token_cache, "LARGE", 1 << 30)
    seqtrain(*small, "--out", "small")
    assert Path("small/best.safetensors").read_bytes() == Path("run/best.safetensors").read_bytes()
    monkeypatch.setattr(token_cache, "LARGE", 1)
    for entry in entries(cache):
        entry.unlink()
    assert seqtrain(*small, "--quiet", "--out", "quiet").err == ""


def expected_task(content, unit, fractions, max_size):
    """Vocabulary, numbers of the splits, and fingerprints, from the text as a whole."""
    tokens = whole(content, unit)
    first, second = round(fractions[0] * len(tokens)), round((fractions[0] + fractions[1]) * len(tokens))
    parts = {"train": tokens[:first], "valid": tokens[first:second], "test": tokens[second:]}
    counts = Counter(parts["train"])
    vocabulary = ["<unk>", *sorted(counts, key=lambda token: (-counts[token], token))[: max_size - 1]]
    places = {token: place for place, token in enumerate(vocabulary)}
    numbers = {split: torch.tensor([places.get(token, 0) for token in part]) for split, part in parts.items()}
    prints = {
        split: hashlib.sha256(repr(vocabulary).encode() + part.numpy().tobytes()).hexdigest()
        for split, part in numbers.items()
    }
    return vocabulary, counts, numbers, prints


@pytest.mark.parametrize("large", [True, False])
@pytest.mark.parametrize("unit", ["word", "character"])
def test_the_task_is_the_same_from_memory_and_from_a_file(cache, text, unit, large, monkeypatch):
    """Batches, fingerprints, facts and baseline, compared with those from the text as a whole."""
    monkeypatch.setattr(token_cache, "LARGE", 1 if large else 1 << 30)
    fractions = (0.6, 0.2, 0.2)
    task = TASKS["language_model"](path=text, unit=unit, window=4, max_size=8, fractions=fractions)
    vocabulary, counts, numbers, prints = expected_task(text.read_bytes(), unit, fractions, 8)
    assert cache.exists() == large
    assert task.vocabulary == vocabulary
    assert task.counts == [
        counts.total() - sum(counts[token] for token in vocabulary[1:]),
        *(counts[token] for token in vocabulary[1:]),
    ]
    assert task.fingerprints() == prints
    inputs, targets, _ = laid_out(numbers["train"], 7)
    for step in range(30):
        start = 4 * (step % -(-len(inputs) // 4))
        batch = task.train_batch(step, 7)
        assert torch.equal(batch.inputs, inputs[start : start + 4])
        assert torch.equal(batch.targets, targets[start : start + 4])
    for split in ("valid", "test"):
        inputs, targets, lengths = laid_out(numbers[split], 5)
        batches = list(task.eval_batches(split, 5))
        assert torch.equal(torch.cat([batch.inputs for batch in batches]), inputs)
        assert torch.equal(torch.cat([batch.targets for batch in batches]), targets)
        wanted = numbers[split][1:]
        assert task.facts(split)["tokens"] == len(wanted) == int(lengths.sum())
        assert task.facts(split)["unk_share"] == float((wanted == 0).double().mean())
        smoothed = torch.tensor(task.counts).double() + 1
        nats = -(smoothed / smoothed.sum()).log()[wanted].mean()
        assert task.baseline(split)["loss"] == pytest.approx(float(nats), rel=1e-12)
        assert task.baseline(split)["perplexity"] == pytest.approx(math.exp(nats))


def write_text(path, size):
    words = [f"{n:x}" for n in np.random.default_rng(0).integers(0, 5000, 20_000)]
    lines = io.StringIO()
    for start in range(0, len(words), 17):
        print(*words[start : start + 17], file=lines)
    block = lines.getvalue()
    with path.open("w") as file:
        for _ in range(size // len(block)):
            file.write(block)


def peak_memory(path):
    """Bytes of Python and NumPy while a task is built and used."""
    tracemalloc.start()
    task = TASKS["language_model"](path=path, quiet=True)
    for step in range(200):
        task.train_batch(step, 20)
    task.facts("test"), task.baseline("test"), task.fingerprints()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_peak_memory_does_not_grow_with_the_text(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(tokenizer, "BLOCK", 1 << 16)
    monkeypatch.setattr(token_ids, "BLOCK", 1 << 14)
    for size in (1, 4):
        write_text(tmp_path / f"{size}.txt", size << 19)
    first, again, fourfold = (peak_memory(tmp_path / f"{size}.txt") for size in (1, 1, 4))
    assert again < first
    assert fourfold < 1.1 * first
    monkeypatch.setattr(token_cache, "LARGE", 1 << 30)
    assert peak_memory(tmp_path / "4.txt") > 1.1 * first  # the measurement can see a text in memory


def resident_file_pages():
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssFile")]
    return int(line.split()[1]) << 10


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_pages_of_a_mapped_file_are_released(tmp_path, monkeypatch):
    monkeypatch.setattr(token_ids, "BLOCK", 1 << 16)
    file = tmp_path / "ids"
    np.arange(8 << 20, dtype=np.int32).tofile(file)
    with file.open("rb") as opened:
        mapping = token_cache.mmap.mmap(opened.fileno(), 0, access=token_cache.mmap.ACCESS_READ)
    mapped = Ids(np.frombuffer(mapping, np.int32), mapping)
    before = resident_file_pages()
    peak = total = 0
    for block in mapped.blocks():
        total += int(block.sum(dtype=np.int64))
        peak = max(peak, resident_file_pages() - before)
    assert total == sum(range(8 << 20))
    assert 0 < peak < 8 << 20  # of 32 MiB


@pytest.mark.parametrize("verb", ["train", "eval", "validate"])
def test_quiet_prints_nothing_while_a_large_text_is_read(seqtrain, text_folder, monkeypatch, verb):
    from conftest import SMALL

    monkeypatch.setattr(token_cache, "LARGE", 0)
    monkeypatch.setattr("seqtrain.system.progress.LINE_EVERY_S", 0)
    monkeypatch.setenv("SEQTRAIN_CACHE", str(text_folder / "cache"))
    settings = ("words", f"task.path={text_folder}", *SMALL)
    seqtrain("train", *settings, "--out", "run")
    arguments = {"train": (*settings, "--out", "other"), "eval": ("run",), "validate": settings}[verb]
    assert "train.txt" in seqtrain(verb, *arguments).err
    assert seqtrain(verb, *arguments, "--quiet", *(["--overwrite"] if verb == "train" else [])).err == ""
