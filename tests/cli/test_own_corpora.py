"""A corpus of tagged words from the command line: training, resuming, another corpus, and verbs that are for texts."""

from pathlib import Path

import pytest

QUICK = ("task.fractions=null", "train.epochs=2", "model.hidden_size=6", "threads=1")
SENTENCES = ("Ada B-PER\nLovelace I-PER\nwrites O\n", "New B-LOC\nYork I-LOC\nsleeps O\n", "Zoe B-PER\nwrites O\n")


def write(name, sentences, repeat=30):
    Path(name).write_text("\n".join(sentences * repeat))
    return name


@pytest.fixture
def run(seqtrain):
    write("own.conll", SENTENCES)
    assert seqtrain("train", "agreement", "task.path=own.conll", *QUICK, "--out", "run", "-q").code == 0
    return Path("run")


def test_entities_decide_and_their_baseline_stands_beside_them(seqtrain, run):
    shown = seqtrain("eval", run).out
    assert "baseline f1 of most frequent tag" in shown
    assert " baseline f1 " in shown
    result = seqtrain("eval", run, "--json").json
    assert result["metric"]["name"] == "f1"
    assert result["baseline"]["f1"] == result["baseline"]["f1 of most frequent tag"] == 1.0
    if result["f1"] < 1:
        assert "is no better than that of most frequent tag, 1" in " ".join(shown.split())


def test_a_checkpoint_tags_as_before_when_its_corpus_is_gone(seqtrain, run):
    """Words and tags that training does not have are counted, and those of the checkpoint keep their numbers."""
    write("other.txt", [*SENTENCES, "-DOCSTART- O\n\nBob B-NEW\nwrites O\n"], repeat=2)
    options = ("task.path=other.txt", "task.fractions=[0,0,1]", "--json")
    before = seqtrain("eval", run, *options).json
    Path("own.conll").unlink()
    assert seqtrain("eval", run, *options).json == before
    data = before["data"]
    assert (data["sentences"], data["words"], data["words_not_in_training"]) == (8, 20, 2)
    assert (data["tags"], data["tags_not_in_training"], data["markers"]) == (5, 2, 2)
    assert before["baseline"]["recall"] == 6 / 8
    assert before["baseline"]["accuracy_unknown"] == 0
    refused = seqtrain("eval", run)
    assert (refused.code, refused.out) == (2, "")
    assert "own.conll" in refused.err
    empty = seqtrain("eval", run, *options[:2], "--split", "valid")
    assert "valid has no sentence; give a longer file, or other task.fractions" in empty.err
    weights = seqtrain("eval", run, *options[:2], "task.suffixes=1")
    assert "task.suffixes: belongs to the weights" in weights.err


def test_a_run_goes_on_and_refuses_another_content(seqtrain, run):
    options = (
        "agreement",
        "task.path=own.conll",
        *QUICK[:1],
        *QUICK[2:],
        "train.epochs=4",
        "--out",
        "run",
        "-q",
        "--resume",
    )
    assert seqtrain("train", *options, "--json").json["status"] == "finished"
    write("own.conll", SENTENCES[::-1])
    refused = seqtrain("train", *options[:-1], "train.epochs=5", "--resume")
    assert refused.code == 2
    assert "data are not those it was trained with; restore the file that task.path named" in refused.err


@pytest.mark.parametrize(
    "verb", [("generate",), ("score", "own.conll"), ("predict", "--prompt", "Ada")], ids=lambda v: v[0]
)
def test_verbs_of_texts_refuse_a_tagger(seqtrain, run, verb):
    refused = seqtrain(verb[0], run, *verb[1:])
    assert (refused.code, refused.out) == (2, "")
    assert "tagging" in refused.err


def test_all_faults_of_a_corpus_are_lines(seqtrain):
    Path("bad.conll").write_text("a DT\nb NN\nc\n\nd NN\ne\n")
    refused = seqtrain("train", "agreement", "task.path=bad.conll")
    assert (refused.code, refused.out) == (2, "")
    for line, place in zip(refused.err.splitlines(), ("bad.conll:3", "bad.conll:6"), strict=True):
        assert f"{place}: has 1 column, but line 1 has 2; write all columns" in line
