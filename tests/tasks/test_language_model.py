"""Language model: every token counts once, the state is carried, the baseline follows from counts."""

import math
import unicodedata
from collections import Counter

import pytest
import torch
from conftest import answer

from seqtrain.system.errors import DataError
from seqtrain.tasks import TASKS
from seqtrain.tasks.text.advice import lacks_spaces
from seqtrain.tasks.text.vocabulary import Vocabulary


def make(path, **options):
    return TASKS["language_model"](path=path, **options)


def read_back(task, batches):
    """The pairs (token, next token) of all columns, put together from windows."""
    columns = {}
    for batch in batches:
        for column in range(batch.size):
            length = len(batch.inputs) if batch.lengths is None else int(batch.lengths[column])
            pairs = zip(batch.inputs[:length, column].tolist(), batch.targets[:length, column].tolist(), strict=True)
            columns.setdefault(column, []).extend((task.vocabulary[a], task.vocabulary[b]) for a, b in pairs)
    return [pair for column in sorted(columns) for pair in columns[column]]


def numbers_of(task, split):
    return torch.cat(list(task.tokens[split].blocks())).tolist()


def words_of(path):
    return [word for line in path.read_text().splitlines() for word in (*line.split(), "<eos>")]


@pytest.mark.parametrize("columns", [1, 3, 7, 50])
@pytest.mark.parametrize("split", ["valid", "test"])
def test_evaluation_counts_every_token_once(text_folder, columns, split):
    task = make(text_folder, window=4)
    words = words_of(text_folder / f"{split}.txt")
    batches = list(task.eval_batches(split, columns))
    assert read_back(task, batches) == list(zip(words[:-1], words[1:], strict=True))
    assert task.count_eval_batches(split, columns) == len(batches)


def test_the_size_of_windows_changes_nothing_in_evaluation(text_folder, monkeypatch):
    task = make(text_folder, window=4)
    whole = read_back(task, task.eval_batches("test", 1))
    assert len(list(task.eval_batches("test", 1))) == 1
    monkeypatch.setattr("seqtrain.tasks.text.running.MOST_SCORES", 3 * len(task.vocabulary))
    assert [len(batch.inputs) for batch in task.eval_batches("test", 1)][:2] == [3, 3]
    assert read_back(task, task.eval_batches("test", 1)) == whole
    task.eval_window = 5
    assert [len(batch.inputs) for batch in task.eval_batches("test", 1)][:2] == [5, 5]
    assert read_back(task, task.eval_batches("test", 1)) == whole


def test_the_loss_in_other_units(tmp_path):
    """A loss of 2 nats per token, converted by counting by hand; the first token is not a target."""
    (tmp_path / "a.txt").write_text("the cat\n\nsat on x\n")
    everything = {"fractions": (0.0, 0.0, 1.0), "known": Vocabulary(["<unk>", "cat"], [1, 1])}
    words = make(tmp_path / "a.txt", **everything)
    nats = 2 * 7  # cat <eos> <eos> sat on x <eos>
    characters = len("cat\n\nsat on x\n")
    assert words.conversions("test", 2.0) == {"bits_per_character": pytest.approx(nats / math.log(2) / characters)}
    letters = make(tmp_path / "a.txt", unit="character", **everything)
    nats = 2 * 17  # "he cat\n\nsat on x\n"
    assert letters.conversions("test", 2.0) == {"word_perplexity": pytest.approx(math.exp(nats / (5 + 3)))}


@pytest.mark.parametrize("text", ["春天来了花开了\n大地一片新绿\n" * 9, "鸟儿飞过山岗看见了一片新绿的大地。" * 9])
def test_no_perplexity_of_words_without_spaces(tmp_path, text):
    (tmp_path / "a.txt").write_text(text)
    task = make(tmp_path / "a.txt", unit="character", fractions=(0.3, 0.3, 0.4))
    assert task.conversions("test", 9.0) == {}


def test_words_are_counted_across_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("seqtrain.tasks.text.token_ids.BLOCK", 3)
    (tmp_path / "a.txt").write_text("one  two three\nfour ")
    task = make(
        tmp_path / "a.txt", unit="character", fractions=(0.0, 0.0, 1.0), known=Vocabulary(["<unk>", "e"], [1, 1])
    )
    assert task.conversions("test", 1.0) == {"word_perplexity": pytest.approx(math.exp(19 / 5))}


def test_training_reads_the_text_in_columns_and_starts_again(text_folder):
    task = make(text_folder, window=10)
    words = words_of(text_folder / "train.txt")
    steps = -(-(-(-(len(words) - 1) // 5)) // 10)
    batches = [task.train_batch(step, 5) for step in range(steps)]
    assert read_back(task, batches) == list(zip(words[:-1], words[1:], strict=True))
    assert [batch.fresh for batch in batches] == [True, *[False] * (steps - 1)]
    again = task.train_batch(steps, 5)
    assert again.fresh
    assert torch.equal(again.inputs, batches[0].inputs)


def test_the_vocabulary_of_characters(tmp_path):
    (tmp_path / "a.txt").write_text("ab\r\nba\n" * 50)
    task = make(tmp_path / "a.txt", unit="character", fractions=(0.6, 0.2, 0.2))
    assert sorted(task.vocabulary) == ["\n", "<unk>", "a", "b"]
    assert len(task.tokens["train"]) == 180
    assert len(task.tokens["valid"]) == len(task.tokens["test"]) == 60


def test_unknown_words_become_unk_in_a_counted_and_in_a_given_vocabulary(text_folder):
    (text_folder / "test.txt").write_text("the zebra saw 1 trees\n")
    task = make(text_folder)
    words = [task.vocabulary[token] for token in numbers_of(task, "test")]
    assert words == ["the", "<unk>", "saw", "1", "trees", "<eos>"]
    task = make(text_folder, known=Vocabulary(["<unk>", "zebra"], [5, 1]))
    assert [task.vocabulary[t] for t in numbers_of(task, "test")] == ["<unk>", "zebra", *["<unk>"] * 4]
    assert task.spec.output_size == 2


def test_baseline_is_the_training_frequencies(text_folder):
    task = make(text_folder)
    counts = Counter(words_of(text_folder / "train.txt"))
    total = counts.total() + len(task.vocabulary)
    targets = words_of(text_folder / "test.txt")[1:]
    nats = -sum(math.log((counts[word] + 1) / total) for word in targets) / len(targets)
    assert task.baseline("test")["perplexity"] == pytest.approx(math.exp(nats))
    assert task.baseline("test")["bits_per_token"] == pytest.approx(nats / math.log(2))
    (text_folder / "train.txt").write_text("quite another text\n")
    trained = Vocabulary(task.vocabulary, task.counts)
    assert make(text_folder, known=trained).baseline("test") == task.baseline("test")


def test_a_trained_vocabulary_needs_no_training_text(tmp_path):
    (tmp_path / "a.txt").write_text("the cat sat\n")
    known = Vocabulary(["<unk>", "cat"], [1, 1])
    task = make(tmp_path / "a.txt", fractions=(0.0, 0.0, 1.0), known=known)
    assert task.facts("test")["tokens"] == 3
    with pytest.raises(DataError, match="valid has 0 tokens"):
        next(task.eval_batches("valid", 2))


def test_a_huge_loss_is_an_infinite_perplexity(text_folder):
    assert make(text_folder).summarise({"loss": 1e4})["perplexity"] == math.inf


def test_padding_is_not_scored(text_folder):
    task = make(text_folder, window=1000)
    (batch,) = task.eval_batches("valid", 7)
    outputs = torch.randn(*batch.targets.shape, task.spec.output_size)
    before = task.loss(answer(outputs), batch)
    outputs[~batch.scored] = 1e6
    assert task.loss(answer(outputs), batch) == before
    assert before[1] == task.work(batch) == len(task.tokens["valid"]) - 1


def test_a_text_that_is_too_short(tmp_path):
    (tmp_path / "a.txt").write_text("only four words here\n")
    with pytest.raises(DataError, match=r"a\.txt, the middle 5 %: too short, valid has 1 token; at least 2 are needed"):
        make(tmp_path / "a.txt")


def test_a_text_that_is_too_short_as_it_has_no_spaces(tmp_path):
    (tmp_path / "a.txt").write_text("春天来了花开了。大地一片新绿。" * 500)
    for settings in ({}, {"fractions": [0.8, 0.1, 0.1]}):
        with pytest.raises(DataError, match=r"valid has 0 tokens; at least 2 .*hardly any white .*task.unit=character"):
            make(tmp_path / "a.txt", **settings)


def test_a_text_with_small_splits(tmp_path):
    (tmp_path / "a.txt").write_text("the cat sat\n" * 100)
    task = make(tmp_path / "a.txt", fractions=[0.5, 0.25, 0.25])
    few = "with fewer than 100, the figures say little; give a longer text"
    assert task.remarks(1) == [f"valid has 99 predictions, test has 99 predictions: {few}"]
    assert task.remarks_on_evaluation("test") == [f"test has 99 predictions: {few}"]
    assert task.remarks_on_evaluation("train") == []
    assert make(tmp_path / "a.txt", fractions=[0.4, 0.3, 0.3]).remarks(1) == []


def test_an_evaluation_on_a_text_of_other_words(tmp_path):
    (tmp_path / "a.txt").write_text("the cat sat\n" * 100)
    known = Vocabulary(["<unk>", "<eos>", "the"], [0, 1, 1])
    (remark,) = make(tmp_path / "a.txt", known=known, fractions=(0, 0, 1)).remarks_on_evaluation("test")
    assert remark.startswith("50 % of the test text is <unk>, so that its perplexity says little; give a text with the")


@pytest.mark.parametrize("name", ["ptb.{}.txt", "wiki.{}.tokens", "wiki.{}.raw"])
def test_published_names_of_the_files(text_folder, name):
    wanted = make(text_folder).fingerprints()
    for split in ("train", "valid", "test"):
        (text_folder / f"{split}.txt").rename(text_folder / name.format(split))
    task = make(text_folder)
    assert task.fingerprints() == wanted
    assert task.facts("test")["text"].endswith(name.format("test"))


def test_a_remark_if_the_training_text_has_no_unk(tmp_path):
    (tmp_path / "a.txt").write_text("a b\n" * 320 + "a c\n" * 40 + "a b\n" * 40)
    cut = {"fractions": (0.8, 0.1, 0.1)}
    (remark,) = make(tmp_path / "a.txt", **cut).remarks(1)
    assert remark.startswith("34 % of the validation text is <unk>, which the training text never has")
    (tmp_path / "b.txt").write_text("a b\n" * 319 + "a rare\n" + "a c\n" * 40 + "a b\n" * 40)
    assert make(tmp_path / "b.txt", min_count=2, **cut).remarks(1) == []
    (tmp_path / "c.txt").write_text("a b\n" * 400)
    assert make(tmp_path / "c.txt", **cut).remarks(1) == []


LINES = ["春天来了花开了", "大地一片新绿", "鸟儿飞过山岗"]


@pytest.mark.parametrize(
    "text",
    ["\n".join(LINES * 120), "\u3000\u3000" + "\u3000\u3000".join(line + "。\n" for line in LINES * 120)],
    ids=["lines", "indented"],
)
def test_words_of_a_text_without_spaces(tmp_path, text):
    (tmp_path / "a.txt").write_text(text)
    (remark,) = [remark for remark in make(tmp_path / "a.txt").remarks(1) if "white space" in remark]
    assert "use task.unit=character" in remark
    assert make(tmp_path / "a.txt", unit="character").remarks(1) == []


def test_no_min_count_is_advised_where_words_are_lines(tmp_path):
    (tmp_path / "a.txt").write_text(
        "\n".join(f"{a}的{b}" for a in LINES for b in "一二三四五六七八九十山水花鸟") + "\n新"
    )
    remarks = "\n".join(make(tmp_path / "a.txt", fractions=[0.8, 0.1, 0.1]).remarks(1))
    assert "of the validation text is <unk>" in remarks
    assert "min_count" not in remarks


def test_a_training_text_that_is_mostly_unk(tmp_path):
    (tmp_path / "a.txt").write_text("".join(f"one{n} two{n} of\n" for n in range(600)))
    (remark,) = make(tmp_path / "a.txt", min_count=2).remarks(1)
    assert remark == (
        "50 % of the training text is <unk>, so that a low perplexity says little; lower task.min_count, or raise "
        "task.max_size"
    )


def test_columns_that_are_shorter_than_the_window(tmp_path):
    (tmp_path / "a.txt").write_text("ab " * 1000)
    task = make(tmp_path / "a.txt", unit="character", window=64)
    predictions = len(task.tokens["train"]) - 1
    (remark,) = task.remarks(64)
    assert remark.startswith(
        f"train.batch_size 64 cuts the {predictions:,} characters of training into columns of {-(-predictions // 64)}, "
        "shorter than task.window 64"
    )
    most = int(remark.partition("use train.batch_size=")[2].split()[0])
    assert task.remarks(most) == []
    assert task.remarks(most + 1) != []


def test_an_eos_of_the_text_itself(tmp_path):
    (tmp_path / "a.txt").write_text("a b <eos>\n" * 600)
    (remark,) = make(tmp_path / "a.txt").remarks(1)
    assert remark.startswith("the text has <eos> of its own (600 in its first MiB)")


@pytest.mark.parametrize("text", ["caf\u00e9 cafe\u0301 bar\n", "cafe\u0301 caf\u00e9 bar\n"])
def test_letters_with_accents_in_two_forms(tmp_path, text):
    (tmp_path / "a.txt").write_text(text * 600)
    (remark,) = make(tmp_path / "a.txt").remarks(1)
    assert "composed and decomposed" in remark
    for form in ("NFC", "NFD"):
        (tmp_path / "b.txt").write_text(unicodedata.normalize(form, text) * 600)
        assert make(tmp_path / "b.txt").remarks(1) == []


def test_byte_order_marks_inside_are_no_part_of_a_word(tmp_path):
    (tmp_path / "a.txt").write_text("\ufeffthe cat\n" * 50)
    assert sorted(make(tmp_path / "a.txt").vocabulary) == ["<eos>", "<unk>", "cat", "the"]


@pytest.mark.parametrize(
    ("line", "lacks"),
    [
        ("床前明月光 疑是地上霜", True),
        ("私は昨日 、東京で Python と Linux の本を買いました", True),
        ("床 前 明月 光 疑 是 地上 霜 。", False),
        ("Rechtsschutzversicherungen sind in der Stadt sehr teuer geworden", False),
    ],
)
def test_scripts_without_spaces_are_measured_by_themselves(line, lacks):
    assert lacks_spaces(f"{line}\n" * 20) == lacks


def test_a_sign_with_a_composed_form_of_its_own_is_no_letter_in_two_ways(tmp_path):
    (tmp_path / "a.txt").write_text("5 \u212b and 3 \u2126 caf\u00e9\n" * 500)
    assert make(tmp_path / "a.txt").remarks(1) == []


TAGGED = {
    "the/DT sheep/NNS are/VBP old/JJ ./.\n"
    * 60: "the text holds word/TAG, so that the model learns each word together",
    "the DT\nsheep NNS\nare VBP\n\n" * 60: "the text holds columns of words and tags, so that the model learns columns",
    "1\tthe\tDT\n2\tsheep\tNN\n\n" * 60: "the text holds columns of words and tags",
    "the cat sat on the mat\n" * 60: "",
    "\n\n".join(f"the {n}\nis {-n}" for n in range(60)): "",
    "he and/or she saw 1/2 of it\n" * 60: "",
}
"""Texts, and how the remark begins. In stanzas of lines with two words, the last words are many."""


@pytest.mark.parametrize("text", TAGGED, ids=lambda text: text[:12])
@pytest.mark.parametrize("unit", ["word", "character"])
def test_a_corpus_with_tags_is_named(tmp_path, text, unit):
    (tmp_path / "a.txt").write_text(text)
    found = make(tmp_path / "a.txt", unit=unit, fractions=[0.5, 0.25, 0.25]).remarks(1)
    named = [remark for remark in found if "the config agreement with task.path" in remark]
    assert len(named) == bool(TAGGED[text])
    assert not named or named[0].startswith(TAGGED[text])
