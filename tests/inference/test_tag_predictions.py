"""Tags of a text: against sentences that are read alone, in all forms of a text, without the corpus."""

from pathlib import Path

import pytest
import torch

from seqtrain.config import config_from
from seqtrain.inference.evaluate import evaluate
from seqtrain.inference.load import load_trained
from seqtrain.inference.predictions import judged, predict
from seqtrain.runs.trainer import train_run
from seqtrain.system.errors import ConfigError, DataError
from seqtrain.tasks.tagging.features import symbols_of

SENTENCES = [["the", "sheep", "are", "old"], ["Fish", "swim"], ["the", "unheard-of", "barn"]]


@pytest.fixture(autouse=True)
def run(tmp_path, monkeypatch):
    """A small tagger whose corpus is gone."""
    monkeypatch.chdir(tmp_path)
    corpus = Path("corpus.txt")
    corpus.write_text("the/DT sheep/NN is/VB old/JJ\nFish/NN swim/VB\nthe/DT barn/NN is/VB old/JJ\n" * 20)
    task = {"name": "tagging", "path": str(corpus)}
    model = {"cell": "gru", "hidden_size": 6, "direction": "bidirectional"}
    train_run(
        config_from({"task": task, "model": model, "train": {"epochs": 3, "batch_size": 4}}, "test"),
        Path("run"), quiet=True,
    )  # fmt: skip
    corpus.rename("moved.txt")
    return Path("run")


def alone(run):
    """The tag and its probability for each word, a sentence at a time."""
    loaded = load_trained(run)
    alphabets, tags = loaded.header.fitted["alphabets"], loaded.header.fitted["tags"]
    found = []
    for sentence in SENTENCES:
        x = torch.stack([symbols_of([word], alphabets, 3, shape=True)[0] for word in sentence])[:, None]
        with torch.no_grad():
            outputs, _ = loaded.model(x)
        shares = outputs[:, 0].double().softmax(-1)[:, :-1]
        found += [(tags[int(own.argmax())], float(own.max())) for own in shares]
    return found


FORMS = {
    "lines": "\n".join(map(" ".join, SENTENCES)) + "\n",
    "crlf": "\r\n".join(map(" ".join, [*SENTENCES, []])),
    "column": "\n\n".join(map("\n".join, SENTENCES)) + "\n",
    "slash": "\n".join(" ".join(f"{word}/X" for word in own) for own in SENTENCES) + "\n",
    "conll": "\n\n".join("\n".join(f"{word}\tX" for word in own) for own in SENTENCES) + "\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_text_is_tagged_alike(run, form):
    Path("new.txt").write_bytes(FORMS[form].encode())
    table = predict(run, "new.txt")
    assert table.columns["word"] == [word for own in SENTENCES for word in own]
    assert table.columns["sentence"] == [n for n, own in enumerate(SENTENCES, 1) for _ in own]
    assert table.columns["place"] == [place for own in SENTENCES for place in range(1, len(own) + 1)]
    wanted = alone(run)
    assert table.columns["tag"] == [tag for tag, _ in wanted]
    assert table.columns["probability"] == pytest.approx([share for _, share in wanted], abs=1e-5)
    assert (table.draw is not None) == (form in ("slash", "conll"))


def test_what_cannot_be_tagged(run):
    Path("empty.txt").write_text("\n\n")
    with pytest.raises(DataError, match=r"empty\.txt"):
        predict(run, "empty.txt")
    with pytest.raises(DataError, match="none"):
        predict(run, "none.txt")
    with pytest.raises(ConfigError, match="--horizon"):
        predict(run, "moved.txt", horizon=2)


def test_a_picture_counts_the_words_of_the_split(run, monkeypatch):
    Path("moved.txt").rename("corpus.txt")
    seen = {}
    names = ("title", "names", "truth", "answers")
    monkeypatch.setattr(judged, "confusion", lambda *given: seen.update(zip(names, given, strict=True)))
    result = evaluate(run, picture=True)
    result.draw()
    assert len(seen["truth"]) == result.data["words"]
    assert (seen["truth"] == seen["answers"]).double().mean() == pytest.approx(result.figures["accuracy"])
    assert sorted(seen["names"]) == ["DT", "JJ", "NN", "VB"]


def test_tags_that_training_does_not_have_are_a_row_of_the_picture(run, monkeypatch):
    Path("other.txt").write_text("the/DT sheep/ODD is/VB\n" * 9)
    figure = predict(run, "other.txt").draw()
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()][-1] == "(not in training)"
