"""Which runs a comparison plans."""

import json
from pathlib import Path

from samples import QUICK


def test_compare_counts_seeds_from_the_configs_own(seqtrain):
    seqtrain("compare", "quickstart", *QUICK, "seed=5", "--cells", "rnn", "--seeds", 2)
    found = sorted(path.name for path in Path("runs/compare-quickstart").glob("*seed*"))
    assert found == ["quickstart-rnn-seed5", "quickstart-rnn-seed6"]


def test_compare_carries_the_options_that_other_cells_have(seqtrain):
    seqtrain("compare", "copy-memory", *QUICK, "task.length=5", "--cells", "lstm,gru,rnn", "--seeds", 1)
    found = {
        path.parent.name: json.dumps(path.read_text())
        for path in Path("runs/compare-copy-memory").glob("*/config.yaml")
    }
    assert "chrono: 150" in found["copy-memory-gru-seed0"]
    assert "chrono" not in found["copy-memory-rnn-seed0"]


def test_options_of_the_configs_cell_reach_cells_with_options_of_their_own(seqtrain):
    done = seqtrain(
        "compare", "copy-memory", *QUICK, "task.length=5", "--cells", "lstm,{name: gru, reset: before}",
        "--seeds", 1, "--json",
    ).json  # fmt: skip
    assert "chrono: 150" in (Path(done["runs"][1]["run"]) / "config.yaml").read_text()
    assert "reset: before" in (Path(done["runs"][1]["run"]) / "config.yaml").read_text()


def test_compare_tells_ablations_apart(seqtrain):
    cells = "{name: odyssey, ablation: none}, {name: odyssey, ablation: no_forget_gate}"
    found = seqtrain("compare", "quickstart", *QUICK, "--cells", cells, "--seeds", 1, "--json").json
    rows = {row["cell"]: row["parameters"] for row in found["cells"]}
    gate = 6 * (2 + 6 + 1) + 6  # of 6 units: from 2 inputs and 6 outputs, a bias and a peephole
    assert rows["odyssey ablation=none"] == rows["odyssey ablation=no_forget_gate"] + gate
    assert {run["engine"] for run in found["runs"]} == {"reference"}
    gathered = seqtrain("compare", "runs/compare-quickstart", "--json").json
    assert {row["cell"]: row["parameters"] for row in gathered["cells"]} == rows
