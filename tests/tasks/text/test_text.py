"""Split a text, count a vocabulary, arrange columns."""

import codecs
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from whole_text import laid_out

from seqtrain.system.errors import DataError
from seqtrain.tasks.text.batchify import Columns
from seqtrain.tasks.text.corpus import Tokens, read_corpus
from seqtrain.tasks.text.token_ids import Ids, Text
from seqtrain.tasks.text.vocabulary import Vocabulary

HALVES = (0.5, 0.25, 0.25)


def words_of(part):
    return [part.types[number] for number in part.ids[:].tolist()]


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_byte_order_mark_do_not_matter(tmp_path, ends, mark):
    path = tmp_path / "a.txt"
    path.write_bytes((mark + ends.join(["你好 世界", "🙂 b"] * 4)).encode())
    corpus = read_corpus(path, "word", HALVES)
    assert [word for part in corpus for word in words_of(part)] == ["你好", "世界", "<eos>", "🙂", "b", "<eos>"] * 4
    assert [len(part.ids) for part in corpus] == [12, 6, 6]


def message(path, unit="word"):
    with pytest.raises(DataError) as caught:
        read_corpus(path, unit, HALVES)
    return str(caught.value)


def test_all_faults_of_a_folder_are_reported_at_once(tmp_path):
    (tmp_path / "train.txt").write_text("  \n\n")
    (tmp_path / "valid.txt").write_bytes(b"ab\0c")
    assert message(tmp_path).splitlines() == [
        f"{tmp_path}/train.txt: is empty; give a file with text in it",
        f"{tmp_path}/valid.txt: is binary (a zero byte at byte offset 2); give a UTF-8 text file",
        f"{tmp_path}/test.txt: no such file; set task.path to a text file, or to a folder with train.txt, "
        "valid.txt and test.txt",
    ]


@pytest.mark.parametrize("fractions", [(0.9, 0.05, 0.05), (0.0, 0.0, 1.0), (0.5, 0.5, 0.0), (1.0, 9e-7, 0.0)])
def test_fractions_cut_the_tokens(tmp_path, fractions):
    words = [f"{n % 7}" for n in range(1_000_003)]
    (tmp_path / "a.txt").write_text(" ".join(words))
    words.append("<eos>")
    first, second = round(fractions[0] * len(words)), round((fractions[0] + fractions[1]) * len(words))
    corpus = read_corpus(tmp_path / "a.txt", "word", fractions)
    assert [len(part.ids) for part in corpus] == [len(words[:first]), len(words[first:second]), len(words[second:])]
    assert corpus.train.counts() == Counter(words[:first])
    assert corpus.valid.counts() == Counter(words[first:second])
    assert words_of(corpus.test) == words[second:]


def test_a_vocabulary_is_limited_by_count_and_size():
    tokens = ["b", "b", "b", "a", "a", "c", "c", "d", "<unk>"]
    assert Vocabulary.count(tokens, min_count=1, max_size=None).tokens == ["<unk>", "b", "a", "c", "d"]
    assert Vocabulary.count(tokens, min_count=2, max_size=None).tokens == ["<unk>", "b", "a", "c"]
    assert Vocabulary.count(tokens, min_count=1, max_size=3).tokens == ["<unk>", "b", "a"]
    assert Vocabulary.count(Counter(tokens), min_count=1, max_size=3).tokens == ["<unk>", "b", "a"]
    vocabulary = Vocabulary.count(tokens, min_count=1, max_size=3)
    assert vocabulary.counts == [9 - 3 - 2, 3, 2]
    assert vocabulary.encode(["a", "d", "<unk>", "b"]).tolist() == [2, 0, 0, 1]


def numbered(size):
    """A part of a longer text; its tokens have the numbers 0, 1, 2 ... and other ids."""
    ids = np.arange(size + 9, dtype=np.int32)[::-1]
    return Tokens(Text(Ids(ids), []).part(5, size + 5), np.arange(size + 9)[::-1] - 5)


SIZES = {"size": st.integers(2, 60), "count": st.integers(1, 70), "window": st.integers(1, 9)}


@given(**SIZES)
def test_windows_are_rows_of_the_columns_of_the_whole_text(size, count, window):
    inputs, targets, lengths = laid_out(torch.arange(size), count)
    columns = Columns(numbered(size), count)
    assert columns.starts(window) == range(0, len(inputs), window)
    for start in columns.starts(window):
        expected = (inputs[start : start + window], targets[start : start + window])
        *actual, valid = columns.window(start, window)
        for one, other in zip(actual, expected, strict=True):
            assert one.dtype == other.dtype
            assert torch.equal(one, other)
        assert torch.equal(valid, (lengths - start).clamp(0, len(expected[0])))


@given(**SIZES)
def test_columns_hold_every_pair_once_in_order(size, count, window):
    columns = Columns(numbered(size), count)
    pairs = [[] for _ in columns.begins]
    for start in columns.starts(window):
        inputs, targets, lengths = columns.window(start, window)
        for column, length in enumerate(lengths.tolist()):
            pairs[column] += zip(inputs[:length, column].tolist(), targets[:length, column].tolist(), strict=True)
    assert [pair for column in pairs for pair in column] == [(n, n + 1) for n in range(size - 1)]
    assert len(pairs) <= count
    assert len({len(column) for column in pairs[:-1]}) <= 1


REFUSED = [
    ("word", b"x" * 3_000_000, "text.txt: a word is longer than 65,536 characters; use task.unit: character"),
    ("word", "the cat sat\n".encode("utf-16-le") * 9, "text.txt: is binary (a zero byte at byte offset 1)"),
    (
        "word",
        "你好\n".encode("utf-16") * 9,
        "text.txt: is UTF-16, as its byte order mark says; convert",
    ),
    ("word", codecs.BOM_UTF16_BE + "你好".encode("utf-16-be"), "iconv -f utf-16 -t utf-8"),
    ("word", "the cat sat\n".encode("utf-32"), "text.txt: is UTF-32, as its byte order mark says"),
    ("character", b"\n" * 5000, "text.txt: is empty"),
]


@pytest.mark.parametrize(
    ("unit", "content", "wanted"), REFUSED, ids=["endless word", "no mark", "utf-16", "one line", "utf-32", "newlines"]
)
def test_texts_that_are_refused(tmp_path, unit, content, wanted):
    (tmp_path / "text.txt").write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_corpus(tmp_path / "text.txt", unit, (0.8, 0.1, 0.1))
    assert wanted in str(caught.value)


def test_a_large_binary_file_is_refused_at_its_first_zero_byte(tmp_path, monkeypatch):
    with (tmp_path / "sparse").open("wb") as file:
        file.write(b"a" * (1 << 20))
        file.truncate(1 << 40)
    with pytest.raises(DataError, match="a zero byte at byte offset 1048576"):
        read_corpus(tmp_path / "sparse", "word", (0.8, 0.1, 0.1), quiet=True)


def test_a_folder_with_a_training_text_alone(seqtrain, tmp_path):
    (tmp_path / "my text").mkdir()
    (tmp_path / "my text" / "train.txt").write_text("the cat sat\n" * 1000)
    refused = seqtrain("validate", "words", "task.path=my text")
    cure = "add what is missing, or set task.path='my text/train.txt', which is then cut into three"
    assert f"lacks valid.txt, test.txt; {cure}" in refused.err
    (tmp_path / "my text" / "valid.txt").write_text("the cat sat\n")
    assert "lacks test.txt; add what is missing" in (err := seqtrain("validate", "words", "task.path=my text").err)
    assert "cut into three" not in err


@pytest.mark.parametrize("path", ["x" * 5000, "x/" * 3000])
def test_paths_that_the_system_refuses(seqtrain, path):
    result = seqtrain("validate", "words", f"task.path={path}")
    assert result.code == 2
    assert "task.path is '" in result.err
    assert "which cannot be looked for (" in result.err


@pytest.mark.parametrize("name", ["😀", "a b", "-x"])
def test_texts_with_unusual_names_are_read(seqtrain, tmp_path, name):
    (tmp_path / name).write_text("the cat sat\n" * 100)
    assert seqtrain("validate", "words", f"task.path={name}", "model.hidden_size=2", "--json").code == 0
