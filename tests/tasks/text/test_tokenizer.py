"""Reading a file in blocks gives the same as reading it as a whole, for all ends of blocks."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from whole_text import whole

from seqtrain.system.errors import DataError
from seqtrain.tasks.text import tokenizer
from seqtrain.tasks.text.tokenizer import blocks_of, decode, tokenise


def cut(content, size):
    return [content[start : start + size] for start in range(0, len(content), size)]


def by_blocks(path, content, size, unit):
    """The tokens of a file, read in blocks."""
    ids = []
    types = tokenise(decode(path, cut(content, size)), unit, lambda block: ids.extend(block.tolist()))
    assert len(set(types)) == len(types)
    return [types[number] for number in ids]


PIECES = ["a", "bc", "<eos>", "<unk>", " ", "  ", "\t", "\n", "\r", "\r\n", "\x0b", "\x1c", "\x85", "\u2028", "\u3000"]
PIECES += ["é", "\ufeff", "你好", "🙂", "\U0010ffff"]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=25).map("".join)


@given(text=TEXTS, mark=st.booleans(), size=st.integers(1, 9), unit=st.sampled_from(["word", "character"]))
@settings(max_examples=400, deadline=None)
def test_blocks_give_the_tokens_of_the_whole_file(tmp_path_factory, text, mark, size, unit):
    content = ("\ufeff" * mark + text).encode()
    assume(content.decode().replace("\ufeff", "").strip())
    path = tmp_path_factory.getbasetemp() / "a.txt"
    assert by_blocks(path, content, size, unit) == whole(content, unit)


def fault(path, blocks):
    with pytest.raises(DataError) as caught:
        for _ in decode(path, blocks):
            pass
    return str(caught.value)


def expected_fault(path, content):
    """The message about a file, from its whole content."""
    if b"\0" in content:
        return f"{path}: is binary (a zero byte at byte offset {content.index(0)}); give a UTF-8 text file"
    try:
        content.decode()
    except UnicodeDecodeError as error:
        cure = "convert it, e.g. iconv -f latin1 -t utf-8"
        if max(content[: error.start], default=0) > 127:
            joined = "so texts in two encodings were joined; convert those that are not, e.g. iconv -f latin1 -t utf-8"
            cut_off = "and the last character is cut off; remove the bytes from there on"
            is_end = content[error.start :] in (b"\xef", b"\xe9", b"\xf0\x9f\x99", b"\xef\xbb")
            cure = f"the text before it is UTF-8, {cut_off if is_end else f'{joined}, before you join them'}"
        return (
            f"{path}:{content.count(10, 0, error.start) + 1}: is not UTF-8 (byte {content[error.start]:#04x} at "
            f"byte offset {error.start}); {cure}"
        )
    assert not content.decode().replace("\ufeff", "").strip()
    return f"{path}: is empty; give a file with text in it"


BYTES = [
    b"\xef\xbb\xbf",
    b"\xef",
    b"\xbb",
    b"a",
    b"\n",
    b"\r\n",
    b" ",
    b"\xe9",
    b"\xc3\xa9",
    b"\xf0\x9f\x99",
    b"\xed\xa0",
]


@given(
    pieces=st.lists(st.sampled_from([*BYTES, b"\0"]), max_size=20),
    wrong=st.sampled_from([b"\xff", b"\xe9", b"\0", b"\xf0\x9f\x99"]),
    size=st.integers(1, 9),
)
@settings(max_examples=400, deadline=None)
def test_faults_are_reported_with_their_place(tmp_path_factory, pieces, wrong, size):
    content = b"".join(pieces) + wrong
    path = tmp_path_factory.getbasetemp() / "a.txt"
    assert fault(path, cut(content, size)) == expected_fault(path, content)


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b" \n\r\n\t", b"\xef\xbb\xbf\n"])
@pytest.mark.parametrize("size", [1, 100])
def test_a_file_of_white_space_is_empty(tmp_path, content, size):
    path = tmp_path / "a.txt"
    assert fault(path, cut(content, size)) == expected_fault(path, content)


def test_a_fault_after_many_blocks(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"fine\n" * 700_000 + b"caf\xe9\n" + b"fine\n" * 700_000)
    blocks = list(blocks_of(path, "reading", quiet=True))
    assert [len(block) for block in blocks[:-1]] == [tokenizer.BLOCK] * 6
    assert fault(path, blocks) == (
        f"{path}:700001: is not UTF-8 (byte 0xe9 at byte offset 3500003); convert it, e.g. iconv -f latin1 -t utf-8"
    )


@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_file_that_was_joined_or_cut(tmp_path, size):
    joined = fault(tmp_path / "a.txt", cut("né\n".encode() + "né\n".encode("latin-1"), size))
    assert "a.txt:2: is not UTF-8 (byte 0xe9 at byte offset 5); the text before it is UTF-8, so texts in two" in joined
    cut_off = fault(tmp_path / "a.txt", cut("你好".encode()[:-1], size))
    assert cut_off.endswith("the last character is cut off; remove the bytes from there on")


def test_words_and_line_ends_are_tokens():
    def words(text):
        return by_blocks(None, text.encode(), 100, "word")

    assert words("a  b\n\nc") == ["a", "b", "<eos>", "<eos>", "c", "<eos>"]
    assert words("a b\n") == ["a", "b", "<eos>"]
    assert words("a b ") == ["a", "b", "<eos>"]
    assert by_blocks(None, b"a b\n", 100, "character") == ["a", " ", "b", "\n"]
