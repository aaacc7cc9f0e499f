"""Tuning on a grid."""

from pathlib import Path

import yaml
from samples import QUICK, run

from seqtrain.comparison.request import Setting
from seqtrain.comparison.tuning import at_the_edge, rank


def test_a_grid_is_tuned_on_validation_with_other_seeds(seqtrain):
    """With a learning rate of 1e-9 nothing is learnt, so it is never chosen; the test set has no say."""
    rates = ("--grid", "optimizer.lr=1e-9,1e-2,1.1e-2", "--grid", "train.batch_size=4,8")
    command = (
        "compare", "quickstart", *QUICK, "train.steps=40", "train.eval_every=40", "--cells", "rnn,gru", "--seeds", 2,
        *rates, "--json",
    )  # fmt: skip
    done = seqtrain(*command).json
    tuning = sorted(path.name for path in Path("runs/compare-quickstart/tuning").iterdir())
    assert len(tuning) == 2 * 3 * 2 * 2
    assert all(name.endswith(("-seed1000000", "-seed1000001")) for name in tuning)
    for entry, row in zip(done["tuning"], done["cells"], strict=True):
        best = min(entry["points"], key=lambda point: point["valid"])
        assert entry["chosen"] == {key: best[key] for key in ("optimizer.lr", "train.batch_size")}
        assert entry["chosen"]["optimizer.lr"] != 1e-9
        assert ("optimizer.lr" in entry["at_the_edge"]) == (entry["chosen"]["optimizer.lr"] == 1.1e-2)
        runs = [one for one in done["runs"] if one["row"] == row["cell"]]
        for one in runs:
            config = (Path(one["run"]) / "config.yaml").read_text()
            assert f"lr: {entry['chosen']['optimizer.lr']}" in config
        assert sorted(one["seed"] for one in runs) == [0, 1]
    assert seqtrain(*command).json["tuning"] == done["tuning"]
    gathered = seqtrain("compare", "runs/compare-quickstart", "--json").json
    assert (gathered["tuning"], gathered["match"]) == (done["tuning"], "hidden")


def test_a_grid_may_choose_the_optimizer(seqtrain):
    """The settings of one optimizer are no settings of the other, but what nobody set is no setting."""
    grid = ("--grid", "optimizer.name=adam,sgd", "--tuning-seeds", 1)
    done = seqtrain("compare", "quickstart", *QUICK, "--cells", "rnn", "--seeds", 1, *grid, "--json")
    assert done.code == 0, done.err
    found = sorted(path.name for path in Path("runs/compare-quickstart/tuning").iterdir())
    assert [yaml.safe_load(Path("runs/compare-quickstart/tuning", name, "config.yaml").read_text())["optimizer"]["name"]
            for name in found] == ["adam", "sgd"]  # fmt: skip


def test_a_grid_over_sizes_leaves_nothing_matched(seqtrain):
    grid = ("--grid", "model.hidden_size=3,6", "--tuning-seeds", 1)
    command = ("compare", "quickstart", *QUICK, "--cells", "rnn,gru", "--seeds", 1, *grid)
    done = seqtrain(*command, "--json").json
    assert (done["match"], [row["off"] for row in done["cells"]]) == (None, [None, None])
    assert "--match hidden sets the sizes; leave one of them out" in seqtrain(*command, "--match", "hidden").err


def test_the_edge_of_a_grid_is_said():
    grid = [
        Setting("a", (1, 2, 3)),
        Setting("b", (1, 2)),
        Setting("c", ("x", "y", "z")),
        Setting("d", (True, False, 2)),
    ]
    assert at_the_edge({"a": 1, "b": 1, "c": "x", "d": True}, grid) == ["a", "b"]
    assert at_the_edge({"a": 3, "b": 2, "c": "z", "d": True}, grid) == ["a", "b"]
    assert at_the_edge({"a": 2, "b": 1, "c": "x", "d": True}, grid) == ["b"]


def test_tuning_ignores_the_test_set():
    def ranked(valid, test):
        return rank([run(0, valid, test={"m": test})])

    assert ranked(0.1, 9.0) > ranked(0.2, 0.0)
    assert ranked(0.1, 9.0) == ranked(0.1, 0.0)


def test_tuning_prefers_what_is_solved_and_then_what_is_solved_sooner():
    def ranked(*runs, higher=False):
        return rank([run(0, value, step, budget=100, higher=higher) for value, step in runs])

    assert ranked((0.5, 50), (0.5, 50)) > ranked((0.1, 10), (0.1, None))
    assert ranked((0.5, 50), (0.5, 50)) > ranked((0.1, 50), (0.1, 60))
    assert ranked((0.1, None)) > ranked((0.2, None))
    assert ranked((0.1, None), higher=True) < ranked((0.2, None), higher=True)
    assert ranked((9.0, None), (9.0, None)) > ranked((0.1, None), (None, None))
