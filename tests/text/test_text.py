"""Reading text, counting vocabularies, laying out columns."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seqtrain.errors import DataError
from seqtrain.text import Vocabulary, make_columns, read_corpus
from seqtrain.text.corpus import tokenise

HALVES = (0.5, 0.25, 0.25)


def test_words_and_line_ends():
    assert tokenise("a  b\n\nc", "word") == ["a", "b", "<eos>", "<eos>", "c", "<eos>"]
    assert tokenise("a b\n", "word") == ["a", "b", "<eos>"]
    assert tokenise("a b\n", "character") == ["a", " ", "b", "\n"]


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_byte_order_mark_do_not_matter(tmp_path, ends, mark):
    path = tmp_path / "a.txt"
    path.write_bytes((mark + ends.join(["你好 世界", "🙂 b"] * 4)).encode())
    corpus = read_corpus(path, "word", HALVES)
    assert [*corpus.train, *corpus.valid, *corpus.test] == ["你好", "世界", "<eos>", "🙂", "b", "<eos>"] * 4
    assert [len(part) for part in corpus] == [12, 6, 6]


def message(path, unit="word"):
    with pytest.raises(DataError) as caught:
        read_corpus(path, unit, HALVES)
    return str(caught.value)


def test_every_fault_of_a_folder_at_once(tmp_path):
    (tmp_path / "train.txt").write_text("  \n\n")
    (tmp_path / "valid.txt").write_bytes(b"ab\0c")
    assert message(tmp_path).splitlines() == [
        f"{tmp_path}/train.txt: is empty; give a file with text in it",
        f"{tmp_path}/valid.txt: is binary (a zero byte at position 2); give a UTF-8 text file",
        f"{tmp_path}/test.txt: no such file; set task.path to a text file, or to a folder with train.txt, "
        "valid.txt and test.txt",
    ]


def test_not_utf8(tmp_path):
    (tmp_path / "a.txt").write_bytes("fine\ncafé".encode("latin-1"))
    assert message(tmp_path / "a.txt").startswith(f"{tmp_path}/a.txt:2: is not UTF-8 (byte 0xe9 at position 8)")


def test_vocabulary_by_count_and_size():
    tokens = ["b", "b", "b", "a", "a", "c", "c", "d", "<unk>"]
    assert Vocabulary.count(tokens).tokens == ["<unk>", "b", "a", "c", "d"]
    assert Vocabulary.count(tokens, min_count=2).tokens == ["<unk>", "b", "a", "c"]
    assert Vocabulary.count(tokens, max_size=3).tokens == ["<unk>", "b", "a"]
    vocabulary = Vocabulary.count(tokens, max_size=3)
    assert vocabulary.counts == [9 - 3 - 2, 3, 2]
    assert vocabulary.encode(["a", "d", "<unk>", "b"]).tolist() == [2, 0, 0, 1]


@given(size=st.integers(2, 60), count=st.integers(1, 70), window=st.integers(1, 9))
def test_columns_hold_every_pair_once_in_order(size, count, window):
    tokens = torch.arange(size)
    columns = make_columns(tokens, count)
    pairs = [[] for _ in range(columns.inputs.shape[1])]
    for start in columns.starts(window):
        inputs, targets, lengths = columns.window(start, window)
        for column, length in enumerate(lengths.tolist()):
            pairs[column] += zip(inputs[:length, column].tolist(), targets[:length, column].tolist(), strict=True)
    assert [pair for column in pairs for pair in column] == [(n, n + 1) for n in range(size - 1)]
    assert len(pairs) <= count
    assert len({len(column) for column in pairs[:-1]}) <= 1
