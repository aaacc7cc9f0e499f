"""`seqtrain compare` of runs."""

from conftest import SMALL


def test_runs_on_different_texts_are_not_compared(seqtrain, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "t.txt").write_text(f"the {name} saw\n" * 90)
        seqtrain("train", "words", *SMALL, f"task.path={name}/t.txt", "--out", f"run-{name}")
    assert "are not of one task" in seqtrain("compare", "run-a", "run-b").err
