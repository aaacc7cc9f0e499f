"""A text is its content: where it lies does not matter, and another content does."""

import shutil
from pathlib import Path

import pytest
from conftest import SMALL

from seqtrain.comparison.records import MEASURED

TEXT = "the old man saw the sea and the sea saw him\n" * 40
OTHER = TEXT[:-4] + "her\n"
"""Another end: only the part that is the test set."""
QUICK = (*SMALL, "train.steps=4", "model.embedding_size=6", "--quiet")


@pytest.fixture
def moved(seqtrain):
    """A run and a comparison on a text that was moved, with the folder of the runs, since then."""
    Path("before").mkdir()
    Path("before/text.txt").write_text(TEXT)
    text = "task.path=before/text.txt"
    assert seqtrain("train", "words", *QUICK, text, "--out", "before/run").code == 0
    compare = ("compare", "words", *QUICK, "--cells", "lstm,gru", "--seeds", 1)
    assert seqtrain(*compare, text, "--out", "before/both").code == 0
    Path("before").rename("after")
    Path("after/text.txt").rename("after/renamed.txt")
    return compare


def test_the_same_content_elsewhere_is_the_same_text(seqtrain, moved):
    text = "task.path=after/renamed.txt"
    went_on = seqtrain("train", "words", *QUICK, text, "--out", "after/run", "--resume", "train.steps=6", "--json")
    assert (went_on.code, went_on.json["steps"]) == (0, 6)
    assert seqtrain("train", "after/run", text, "--resume", "train.steps=8", "--quiet").code == 0
    shutil.rmtree("after/both/words-gru-seed0")
    done = seqtrain(*moved, text, "--out", "after/both", "--json")
    assert done.code == 0
    assert [row["cell"] for row in done.json["cells"]] == ["lstm", "gru"]
    assert not [note for note in done.json["notes"] if "task.path" in note]


def test_another_content_is_refused_by_name(seqtrain, moved):
    Path("after/renamed.txt").write_text(OTHER)
    text = "task.path=after/renamed.txt"
    refused = seqtrain("train", "words", *QUICK, text, "--out", "after/run", "--resume", "train.steps=6")
    assert (refused.code, "the test data are not those it was trained with" in refused.err) == (2, True)
    refused = seqtrain(*moved, text, "--out", "after/both")
    assert refused.code == 2
    for cell in ("lstm", "gru"):
        assert f"after/both/words-{cell}-seed0: was trained on another content of" in refused.err


def test_runs_on_copies_of_a_text_are_runs_of_one_row(seqtrain):
    for seed, (name, content) in enumerate((("a", TEXT), ("b", TEXT), ("c", OTHER))):
        Path(name).mkdir()
        Path(name, "text.txt").write_text(content)
        trained = seqtrain(
            "train", "words", *QUICK, f"seed={seed}", f"task.path={name}/text.txt", "--out", f"run-{name}"
        )
        assert trained.code == 0
    together = seqtrain("compare", "run-a", "run-b", "--json").json
    assert [(row["cell"], len(row["metric"]["values"])) for row in together["cells"]] == [("lstm", 2)]
    apart = seqtrain("compare", "run-a", "run-c")
    assert (apart.code, "these runs are not of one task and cannot be compared" in apart.err) == (2, True)
    Path("a/text.txt").write_text(OTHER)
    seqtrain("train", "words", *QUICK, "seed=3", "task.path=a/text.txt", "--out", "run-d")
    apart = seqtrain("compare", "run-a", "run-d")
    assert (apart.code, "these runs are not of one task and cannot be compared" in apart.err) == (2, True)
    Path("run-b/config.yaml").write_text(Path("run-b/config.yaml").read_text().replace("seed: 1", "seed: 0"))
    Path("run-b/summary.json").write_text(Path("run-b/summary.json").read_text().replace('"seed": 1', '"seed": 0'))
    twice = seqtrain("compare", "run-a", "run-b")
    assert (twice.code, "run-b: is the same run as run-a" in twice.err) == (2, True)


def test_a_folder_of_text_may_move(seqtrain):
    Path("text").mkdir()
    for split in ("train", "valid", "test"):
        Path("text", f"{split}.txt").write_text(TEXT)
    assert seqtrain("train", "words", *QUICK, "task.path=text", "--out", "run").code == 0
    compare = ("compare", "words", *QUICK[:-1], "--cells", "lstm,gru", "--seeds", 1, "--budget", "seconds=0.1")
    assert seqtrain(*compare, "task.path=text", "--out", "both").code == 0
    timed = Path("both", MEASURED).read_text()
    Path("text").rename("moved")
    went_on = seqtrain("train", "words", *QUICK, "task.path=moved", "--out", "run", "--resume", "train.steps=6")
    assert went_on.code == 0
    again = seqtrain(*compare, "task.path=moved", "--out", "both")
    assert (again.code, again.err.count("done already") > 0) == (0, True)
    assert Path("both", MEASURED).read_text() == timed
    assert seqtrain("train", "words", *QUICK, "seed=1", "task.path=moved", "--out", "other", "train.steps=6").code == 0
    together = seqtrain("compare", "run", "other", "--json").json
    assert [(row["cell"], len(row["metric"]["values"])) for row in together["cells"]] == [("lstm", 2)]
