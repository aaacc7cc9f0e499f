"""What training will need is told before it is taken: the parts by other ways of counting, and what is refused."""

import weakref
from pathlib import Path

import pytest
import torch

from seqtrain.config import load_config
from seqtrain.config.build import build_model, build_task
from seqtrain.models import count_parameters
from seqtrain.runs.footprint import of_training
from seqtrain.runs.memory_estimate import PROCESS, Estimate, check_model_memory, check_together, estimate
from seqtrain.system import memory
from seqtrain.system.errors import ConfigError

GIB = 1 << 30
SMALL = ("model.hidden_size=6", "train.batch_size=3", "task.length=11", "task.valid_size=7", "task.test_size=5")


def built(*overrides):
    config = load_config("quickstart", [*SMALL, *overrides], quiet=True)
    task = build_task(config)
    return config, task, build_model(config, task.spec)


@pytest.mark.parametrize(
    ("overrides", "numbers"),
    [
        ([], 4),
        (["optimizer=sgd"], 2),
        (["optimizer={name: sgd, momentum: 0.5}"], 3),
        (["optimizer=rmsprop"], 3),
        (["train.average_after=1"], 5),
    ],
)
def test_weights_are_counted_with_all_that_training_keeps_of_each(overrides, numbers):
    config, task, model = built(*overrides)
    found = estimate(config, task, model)
    assert found.weights == 4 * numbers * count_parameters(model)
    assert found.saving == round(4 * (1 + 9 / 8) * (numbers - 1) * count_parameters(model))


@pytest.mark.parametrize("engine", ["auto", "reference"])
@pytest.mark.parametrize("more", ["model.depth=2", "model.weight_drop=0.5"])
def test_an_estimate_leaves_nothing_behind(monkeypatch, engine, more):
    """The copy of the model once stayed for ever: a kept output that was handed back held the graph that held it."""
    import copy

    copied, plain = [], copy.deepcopy

    def watched(model):
        found = plain(model)
        copied.extend(weakref.ref(parameter) for parameter in found.parameters())
        return found

    monkeypatch.setattr("seqtrain.runs.memory_estimate.copy.deepcopy", watched)
    estimate(*built(f"engine={engine}", more))
    assert copied
    assert all(parameter() is None for parameter in copied)


def test_what_the_engine_holds_is_there_while_a_checkpoint_is_saved():
    """And what the heap held is used again: arrays of the engine are the process's own, whatever else it needs."""
    sizes = ("model.hidden_size=300", "train.batch_size=200", "task.length=50")
    for engine in ("auto", "reference"):
        config, task, model = built(*sizes, f"engine={engine}")
        step = of_training(model, task, 200, on_heap=True, penalised=False)
        found = estimate(config, task, model)
        if model.stack.loop.name == "reference":
            assert found.peak - found.weights - found.sets == found.activations
        else:
            assert found.peak > found.weights + found.sets + step.engine + found.saving


def test_an_evaluation_with_larger_arrays_than_training_finds_no_room_in_the_holes_of_training():
    small = estimate(
        *built("engine=reference", "train.batch_size=40", "train.eval_batch_size=40", "task.valid_size=90")
    )
    large = estimate(
        *built("engine=reference", "train.batch_size=40", "train.eval_batch_size=50", "task.valid_size=90")
    )
    assert large.activations == small.activations > large.evaluation
    assert large.kept - small.kept == 4 * 10 * 11 * 4 * 6  # what an LSTM of 6 units projects for 10 sequences more


@pytest.mark.parametrize(
    "name", ["quickstart", "adding-hochreiter", "counting", "parity", "timing", "stories", "recall"]
)
def test_sets_are_what_they_turn_out_to_be(name):
    sizes = [] if name in ("counting", "timing") else ["task.valid_size=300", "task.test_size=200"]
    config = load_config(name, sizes)
    task = build_task(config)
    whole = sum(batch.bytes for split in ("valid", "test") for batch in task.eval_batches(split, 50))
    assert 0.6 * whole < task.fixed_bytes() < 1.6 * whole


ASKED = [
    (["train.batch_size=1000000"], "train.batch_size: training needs at least "),
    (
        ["task.length=1000000", "task.valid_size=1", "task.test_size=1", "engine=reference"],
        "train.batch_size: training",
    ),
    (["model.hidden_size=100000"], "model.hidden_size: training needs at least "),
    (["model.depth=1000", "model.hidden_size=10000"], "model.hidden_size: training needs at least "),
    (["task.valid_size=1000000", "task.length=400"], "task.valid_size and task.test_size: training needs at least "),
    (["train.eval_batch_size=1000000", "task.valid_size=100000"], "train.eval_batch_size: training needs at least "),
]


@pytest.mark.parametrize(("overrides", "wanted"), ASKED)
@pytest.mark.parametrize("verb", ["validate", "train"])
def test_what_cannot_fit_is_refused_with_the_setting_to_change(
    seqtrain, monkeypatch, verb, overrides, wanted, tmp_path
):
    monkeypatch.setattr("seqtrain.runs.memory_estimate.available", lambda _: 2 * GIB)
    result = seqtrain(verb, "quickstart", *overrides)
    assert (result.code, result.out) == (2, "")
    assert wanted in result.err
    assert "2.0 GiB are free here" in result.err
    assert not (tmp_path / "runs").exists()


def test_the_value_that_could_fit_does(seqtrain, monkeypatch):
    asked = ["quickstart", "model.hidden_size=100", "train.batch_size=5000", "task.length=200"]
    monkeypatch.setattr("seqtrain.runs.memory_estimate.available", lambda _: GIB)
    err = seqtrain("validate", *asked).err
    fitting = int(err.split("; ")[-1].split(" could fit")[0].replace(",", ""))
    assert 100 < fitting < 5000
    assert seqtrain("validate", *asked, f"train.batch_size={fitting}").code == 0
    assert seqtrain("validate", *asked, f"train.batch_size={fitting + 2}").code == 2


def test_validate_tells(seqtrain):
    found = seqtrain("validate", "quickstart", "--json").json["memory"]
    parts = [found[part] for part in ("activations", "evaluation", "saving")]
    assert found["peak"] == found["weights"] + found["sets"] + max(parts) + found["kept"]
    assert found["available"] > found["peak"]
    assert "beside Python and PyTorch" in seqtrain("validate", "quickstart").out


def test_where_the_system_does_not_say_nothing_is_refused(seqtrain, monkeypatch):
    monkeypatch.setattr("seqtrain.runs.memory_estimate.available", lambda _: None)
    assert seqtrain("validate", "quickstart", "--json").json["memory"]["peak"] > 0


def test_a_users_cell_is_estimated_even_if_it_looks_at_its_weights(seqtrain, tmp_path, monkeypatch):
    monkeypatch.setattr("seqtrain.runs.memory_estimate.available", lambda _: 64 << 20)
    (tmp_path / "mine.py").write_text(
        "import torch\nfrom seqtrain.cells import RNNCell\n"
        "class Mine(RNNCell):\n"
        "    def __init__(self, input_size, hidden_size):\n"
        "        super().__init__(input_size, hidden_size)\n"
        "        self.scale = float(self.w_h.detach().norm())\n"
        "    def initial_state(self, batch_size):\n"
        "        return self.state_type(torch.zeros(batch_size, self.hidden_size))\n"
    )
    assert seqtrain("validate", "quickstart", "model.cell=mine:Mine", "train.eval_batch_size=8").code == 0
    assert "train.batch_size: training needs" in seqtrain("validate", "quickstart", "model.cell=mine:Mine",
                                                          "train.batch_size=9000").err  # fmt: skip


def test_weights_are_looked_at_before_they_are_made(monkeypatch):
    config, task, _ = built("model.depth=3")
    monkeypatch.setattr("seqtrain.runs.memory_estimate.available", lambda _: 3000)
    with pytest.raises(Exception, match="are the weights with their gradients"):
        check_model_memory(config, task.spec)


# --- several at a time ------------------------------------------------------------------------------------------


MIB = 1 << 20
THREE = [Estimate(weights=size * MIB) for size in (100, 700, 400)]


@pytest.mark.parametrize(("jobs", "needed"), [(2, 2 * PROCESS + 1100 * MIB), (3, 3 * PROCESS + 1200 * MIB)])
def test_the_largest_runs_may_come_together(monkeypatch, jobs, needed):
    config, _, _ = built()
    monkeypatch.setattr("seqtrain.runs.memory_estimate.available", lambda _: needed)
    check_together(config, THREE, jobs)
    monkeypatch.setattr("seqtrain.runs.memory_estimate.available", lambda _: needed - 1)
    with pytest.raises(ConfigError) as caught:
        check_together(config, THREE, jobs)
    words = str(caught.value)
    assert words.startswith(f"--jobs {jobs}: the largest {jobs} runs need at least ")
    assert f"use --jobs {jobs - 1}, which fits, or make model.hidden_size smaller" in words


def test_more_jobs_than_runs_are_no_more_than_the_runs(monkeypatch):
    config, _, _ = built()
    monkeypatch.setattr("seqtrain.runs.memory_estimate.available", lambda _: 3 * PROCESS + 1200 * MIB)
    check_together(config, THREE, 1000)
    monkeypatch.setattr("seqtrain.runs.memory_estimate.available", lambda _: 0)
    with pytest.raises(ConfigError, match=r"--jobs 1000: the largest 3 runs .* use --jobs 1, which fits"):
        check_together(config, THREE, 1000)
    monkeypatch.setattr("seqtrain.runs.memory_estimate.available", lambda _: None)
    check_together(config, THREE, 1000)


def test_a_comparison_is_held_against_the_memory_for_all_its_jobs(seqtrain, monkeypatch, tmp_path):
    (tmp_path / "runs").mkdir()
    asked = ("compare", "quickstart", *SMALL, "train.steps=2", "train.eval_every=2", "--cells", "rnn,gru", "--seeds", 2)
    monkeypatch.setattr(
        "seqtrain.runs.memory_estimate.available", lambda _: 3 * PROCESS
    )  # of which the runs need very little
    refused = seqtrain(*asked, "--jobs", 3, "--out", "runs/three")
    assert (refused.code, refused.out) == (2, "")
    assert "--jobs 3: the largest 3 runs need at least 0.6 GiB of memory together" in refused.err
    assert "use --jobs 2, which fits" in refused.err
    assert not list((tmp_path / "runs/three").glob("*/metrics.jsonl"))
    assert seqtrain(*asked, "--out", "runs/three").code == 0
    monkeypatch.setattr("seqtrain.runs.memory_estimate.available", lambda _: PROCESS)
    assert seqtrain(*asked, "--jobs", 3, "--out", "runs/three").code == 0  # all are done


def test_runs_that_tune_are_held_against_it_too(seqtrain, monkeypatch):
    monkeypatch.setattr("seqtrain.runs.memory_estimate.available", lambda _: 2 * PROCESS)
    asked = ("compare", "quickstart", *SMALL, "--cells", "rnn", "--seeds", 1, "--grid", "optimizer.lr=1e-3,1e-2")
    refused = seqtrain(*asked, "--jobs", 2, "--out", "o")
    assert refused.code == 2
    assert "--jobs 2: the largest 2 runs" in refused.err


def test_runs_to_be_reported_are_held_against_it_before_any_tunes(seqtrain, monkeypatch, tmp_path):
    monkeypatch.setattr("seqtrain.runs.memory_estimate.available", lambda _: 3 * PROCESS)
    asked = ("compare", "quickstart", *SMALL, "--cells", "rnn", "--seeds", 4, "--grid", "optimizer.lr=1e-3,1e-2")
    refused = seqtrain(*asked, "--tuning-seeds", 1, "--jobs", 4, "--out", "o")
    assert refused.code == 2
    assert "--jobs 4: the largest 4 runs" in refused.err
    assert not list((tmp_path / "o").rglob("metrics.jsonl"))


# --- what there is ----------------------------------------------------------------------------------------------


def test_free_memory_of_the_machine(tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal: 100 kB\nMemFree: 1 kB\nMemAvailable:   40 kB\nSwapFree: 2 kB\n")
    assert list(memory._of_machine(tmp_path / "meminfo")) == [42 * 1024]
    assert list(memory._of_machine(tmp_path / "nothing")) == []


@pytest.mark.parametrize(
    ("groups", "folder", "names"),
    [
        ("0::/a/b\n", "a", ("memory.max", "memory.current", "inactive_file")),
        (
            "3:cpu:/x\n4:memory:/a/b\n",
            "memory/a",
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ),
    ],
)
def test_control_groups_and_those_around_them(tmp_path, groups, folder, names):
    (tmp_path / "groups").write_text(groups)
    (tmp_path / folder / "b").mkdir(parents=True)
    (tmp_path / folder / names[0]).write_text("1000\n")
    (tmp_path / folder / names[1]).write_text("900\n")
    (tmp_path / folder / "memory.stat").write_text(f"anon 3\n{names[2]} 50\n")
    (tmp_path / folder / "b" / names[0]).write_text("max\n")
    (tmp_path / folder / "b" / names[1]).write_text("7\n")
    assert list(memory._of_groups(tmp_path / "groups", tmp_path)) == [150]


def test_a_limit_on_the_process_counts(monkeypatch):
    import resource

    before = memory.available(torch.device("cpu"))
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20), hard))
    try:
        assert 200 << 20 < memory.available(torch.device("cpu")) <= 256 << 20 < before
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_an_estimate_leaves_a_users_cell_as_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "counts.py").write_text(
        "import torch\n"
        "from seqtrain.cells.rnn import RNNCell\n"
        "class Counts(RNNCell):\n"
        "    def __init__(self, input_size, hidden_size):\n"
        "        super().__init__(input_size, hidden_size)\n"
        "        self.register_buffer('steps', torch.zeros(()))\n"
        "    def step(self, x_gates, state):\n"
        "        self.steps += 1\n"
        "        return super().step(x_gates, state)\n"
    )
    config = load_config("quickstart", ["model.cell=counts:Counts", "model.hidden_size=4"])
    task = build_task(config)
    model = build_model(config, task.spec)
    estimate(config, task, model)
    assert float(model.stack.cells()[0][0].steps) == 0


def test_the_scores_of_a_large_vocabulary_are_most_of_a_step():
    """B x T x V numbers four times: the scores, their logarithms, and the gradient of each."""
    config = load_config("words", ["model.hidden_size=4", "train.batch_size=7", "task.window=11"])
    task = build_task(config)
    found = estimate(config, task, build_model(config, task.spec))
    scores = 7 * 11 * task.spec.output_size * 4
    assert found.activations == pytest.approx(4 * scores, rel=0.2)
    assert found.evaluation == pytest.approx(
        2 * task.specimen("valid", 1).inputs.shape[0] * task.spec.output_size * 4, rel=0.1
    )
