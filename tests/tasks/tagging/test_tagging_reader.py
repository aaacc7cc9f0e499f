"""Files of tagged words, against a slow reader that keeps no numbers; every fault with its line and cure."""

import random

import pytest

from seqtrain.system.errors import DataError
from seqtrain.tasks.tagging.corpus import read_parts, split_file
from seqtrain.tasks.tagging.reader import Layout, read_file
from seqtrain.tasks.text.tagged import form_of

WORDS = ("The", "and/or", "1/2", "#", "10\u00a0000", "naïve", "-", "\\", "a")
TAGS = ("DT", "NN", "B-X", "O", "_")


def corpus(seed, sentences=30):
    draw = random.Random(seed)
    return [[(draw.choice(WORDS), draw.choice(TAGS)) for _ in range(draw.randint(1, 6))] for _ in range(sentences)]


def as_conll(sentences, draw, between=" "):
    """With markers of documents and empty lines; and what is left out."""
    lines, left_out = [], []
    for n, sentence in enumerate(sentences):
        if draw.random() < 0.2:
            lines += [between.join(["-DOCSTART-", "-X-", "O"]), ""]
            left_out += [("markers", n), ("empty_lines", n)]
        if draw.random() < 0.2:
            lines.append("# a comment of another width")
            left_out.append(("comments", n))
        lines += [between.join([word, "-X-", tag]) for word, tag in sentence]
        lines += [""] * (1 + (more := draw.random() < 0.2))
        left_out += [("empty_lines", n + 1)] * more
    return "".join(line + "\n" for line in lines), left_out


def as_slash(sentences, draw):
    lines, left_out = [], []
    for n, sentence in enumerate(sentences):
        if draw.random() < 0.2:
            lines.append("  ")
            left_out.append(("empty_lines", n))
        escape = draw.random() < 0.5  # the last slash divides, so that both are the same
        lines.append(
            "  ".join(f"{word.replace('/', chr(92) + '/') if escape else word}/{tag}" for word, tag in sentence)
        )
    return "\n".join(lines) + "\n", left_out


def pairs(found):
    """The sentences again."""
    words, sentences = iter(zip(found.words, found.tags, strict=True)), []
    for size in found.sizes:
        sentences.append([next(words) for _ in range(size)])
    return sentences


@pytest.mark.parametrize("seed", range(4))
def test_both_forms_give_the_sentences_and_what_is_left_out(tmp_path, seed):
    draw, sentences = random.Random(seed), corpus(seed)
    for text, left_out in (as_conll(sentences, draw), as_conll(sentences, draw, "\t"), as_slash(sentences, draw)):
        (tmp_path / "a.txt").write_text(text)
        found = read_file(tmp_path / "a.txt", Layout())
        assert pairs(found) == sentences
        assert found.left_out == left_out


CONLL_U = """\
# sent_id = 1
# text = vámonos al mar
1-2	vámonos	_	_	_	_	_	_	_	_
1	vamos	ir	VERB	_	_	0	root	_	_
2	nos	nosotros	PRON	_	_	1	obj	_	_
3-4	al	_	_	_	_	_	_	_	_
3	a	a	ADP	_	_	5	case	_	_
4	el	el	DET	_	_	5	det	_	_
5	mar	mar	NOUN	_	_	1	obl	_	_
5.1	van	ir	VERB	_	_	_	_	_	_

# sent_id = 2
1	#	#	SYM	_	_	0	root	_	_
2	10 000	10 000	NUM	_	_	0	root	_	_
"""


def test_universal_dependencies(tmp_path):
    (tmp_path / "a.conllu").write_text(CONLL_U)
    found = read_file(tmp_path / "a.conllu", Layout())
    first = [("vamos", "VERB"), ("nos", "PRON"), ("a", "ADP"), ("el", "DET"), ("mar", "NOUN")]
    assert pairs(found) == [first, [("#", "SYM"), ("10 000", "NUM")]]
    kinds = ["comments", "comments", "multiword_tokens", "multiword_tokens", "empty_nodes", "comments"]
    assert [kind for kind, _ in found.left_out] == kinds
    lemmas = read_file(tmp_path / "a.conllu", Layout(token_column=2, tag_column=-3))
    assert (lemmas.words[0], lemmas.tags[0]) == ("ir", "root")


def test_columns_are_counted_from_both_ends(tmp_path):
    (tmp_path / "a.txt").write_text("NN x dog\nVB y runs\n")
    found = read_file(tmp_path / "a.txt", Layout(token_column=-1, tag_column=0))
    assert pairs(found) == [[("dog", "NN"), ("runs", "VB")]]


FAULTS = {
    "a\tNN\nb\n": "a.txt:2: has 1 column, but line 1 has 2; write all columns in each line, with tabs between them",
    "a\tNN\nb\t\n": "a.txt:2: the tag is empty; write a word and its tag in each line",
    "a\tNN\n\tNN\n": "a.txt:2: the word is empty",
    "a NN\nb NN\nc NN\nd NN\ne NN\nf NN\ng NN\nh NN\ni NN\nj\n": "a.txt:10: has 1 column, but line 1 has 2; write all",
    "a/NN b/VB c/X d/Y e/Z f/A g/B h/C i/D j\n": "a.txt:1: 'j' has no tag; write word/TAG",
    "a/NN b/VB c/X d/Y e/Z f/A g/B h/C i/D 1\\/2\n": r"a.txt:1: '1\\/2' has no tag",
    "a/NN b/VB c/X d/Y e/Z f/A g/B h/C i/D\nj/\n": "a.txt:2: 'j/' has an empty tag",
    "a/NN b/VB c/X d/Y e/Z f/A g/B h/C i/D\n/NN\n": "a.txt:2: '/NN' has an empty word",
    "the cat sat on\nthe mat\na dog\nit\nwe saw it\nyes\n": "a.txt: holds no words with tags: they are neither columns",
    "-DOCSTART- O\n\n-DOCSTART- O\n": "a.txt: has no sentence; give a file with words and their tags",
    "\n \n": "a.txt: is empty; give a file with text in it",
    b"a\tNN\n\xe4\tNN\n": "a.txt:2: is not UTF-8 (byte 0xe4 at byte offset 5); convert it",
}


@pytest.mark.parametrize("content", FAULTS, ids=lambda text: str(text)[:20])
def test_faults_name_the_line_and_the_cure(tmp_path, content):
    (tmp_path / "a.txt").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as refused:
        read_file(tmp_path / "a.txt", Layout())
    assert FAULTS[content] in str(refused.value)
    assert ";" in str(refused.value)  # a cure


def test_columns_that_do_not_exist(tmp_path):
    (tmp_path / "a.txt").write_text("# 1 2 3\na NN\n")
    for layout, wanted in (
        (Layout("conll", 2), "a.txt:2: has 2 columns, but task.token_column is 2; make it 0 to 1, or -1 for the last"),
        (Layout("conll", 0, -3), "a.txt:2: has 2 columns, but task.tag_column is -3; make it 0 to 1"),
        (Layout("conll", 1), "a.txt:2: has 2 columns, and the word and the tag are the same one; write each"),
    ):
        with pytest.raises(DataError) as refused:
            read_file(tmp_path / "a.txt", layout)
        assert wanted in str(refused.value)


def test_the_other_form_is_named(tmp_path):
    (tmp_path / "a.txt").write_text("a NN\nb NN\n")
    with pytest.raises(DataError, match=r"a\.txt: seems to be of the other form; remove task.form, or set .*=conll$"):
        read_file(tmp_path / "a.txt", Layout("slash"))


def test_all_faults_are_told_up_to_a_limit(tmp_path):
    (tmp_path / "a.txt").write_text("a\tNN\n" * 300 + "b\n" * 13)
    with pytest.raises(DataError) as refused:
        read_file(tmp_path / "a.txt", Layout())
    lines = str(refused.value).splitlines()
    assert [line.split(":")[1] for line in lines[:-1]] == [str(301 + n) for n in range(10)]
    assert lines[-1].endswith("a.txt: 3 more")


def test_a_file_is_cut_between_sentences_and_loses_nothing(tmp_path):
    sentences, draw = corpus(1), random.Random(1)
    text, left_out = as_conll(sentences, draw)
    (tmp_path / "a.txt").write_text(text)
    for fractions, sizes in (([0.5, 0.3, 0.2], [15, 9, 6]), ([0, 0, 1], [0, 0, 30]), ([1, 0, 0], [30, 0, 0])):
        parts = read_parts(tmp_path / "a.txt", Layout(), fractions)
        assert [len(part.sizes) for part in parts.values()] == sizes
        assert [sentence for part in parts.values() for sentence in pairs(part)] == sentences
        starts = [0, sizes[0], sizes[0] + sizes[1]]
        again = [
            (kind, at + start) for start, part in zip(starts, parts.values(), strict=True) for kind, at in part.left_out
        ]
        assert again == left_out


def test_files_of_a_folder_by_their_names(tmp_path):
    for name in ("train.conll", "dev.conll", "test.tsv", "xx-ud-test.conllu"):
        (tmp_path / name).write_text("a\tNN\n")
    assert [split_file(tmp_path, split).name for split in ("train", "valid", "test")] == [
        "train.conll",
        "dev.conll",
        "test.tsv",
    ]
    (tmp_path / "test.tsv").unlink()
    assert split_file(tmp_path, "test").name == "xx-ud-test.conllu"
    (tmp_path / "dev.conll").unlink()
    assert split_file(tmp_path, "valid").name == "valid.conll"  # which is missing
    (tmp_path / "train.conll").write_text("a\tNN\nb\n")
    (tmp_path / "valid.conll").write_text("\n")
    with pytest.raises(DataError) as refused:
        read_parts(tmp_path, Layout(), [])
    assert [line.split(": ")[0].split("/")[-1] for line in str(refused.value).splitlines()] == [
        "train.conll:2",
        "valid.conll",
    ]


@pytest.mark.parametrize(
    ("text", "form"),
    [("a/NN b/VB\n", "slash"), ("# c\na/b NN\n", "conll"), ("one two\nthree\nfour\n", None), ("word\nword\n", None)],
)
def test_forms(text, form):
    assert form_of(text) == form
