"""What training will need is told before it is taken: the parts by other ways of counting, and what is refused."""

import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from seqtrain.config import load_config
from seqtrain.config.build import build_model, build_task
from seqtrain.models import count_parameters
from seqtrain.native import buffer_pool
from seqtrain.native.linear_cross_entropy import ROWS_TOGETHER
from seqtrain.runs.memory_estimate import (
    PROCESS,
    Estimate,
    _scores,
    check_memory,
    check_model_memory,
    check_together,
    estimate,
)
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
    packed = 0 if model.stack.loop.name == "reference" else 4 * 24 * 6
    assert found.weights == 4 * numbers * count_parameters(model) + packed
    assert found.saving == 4 * (numbers - 1) * count_parameters(model)


BUILT_IN = ["rnn", "lstm", "gru", "{name: gru, reset: before}", "coupled", "peephole"]
MORE = ["model.depth=1", "model.depth=3", "model.direction=bidirectional"]
STEP = ("model.hidden_size=128", "train.batch_size=64", "task.length=40")


@pytest.mark.parametrize("cell", BUILT_IN)
@pytest.mark.parametrize("more", MORE)
def test_activations_in_the_engine_are_half_to_all_of_what_it_takes(monkeypatch, cell, more):
    config, task, model = built(*STEP, f"model.cell={cell}", more)
    if model.stack.loop.name == "reference":
        pytest.skip("there is no engine here")
    pool = buffer_pool._Pool()
    monkeypatch.setattr(buffer_pool, "_pool", pool)
    for step in range(2):
        batch = task.train_batch(step, 64)
        F.mse_loss(model.train()(batch.inputs)[0], batch.targets).backward()
    assert pool.peak / 2 < estimate(config, task, model).activations < 1.02 * pool.peak


@pytest.mark.parametrize("cell", [*BUILT_IN, "odyssey", "mine:Mine"])
@pytest.mark.parametrize("more", MORE)
def test_activations_in_the_plain_loop_are_a_few_times_what_autograd_keeps(users_cell, cell, more):
    """Beside what is kept there are gradients and holes in the heap; an RNN keeps h alone, so that these are most."""
    config, task, model = built(*STEP, "engine=reference", f"model.cell={cell}", more)
    kept, held, own = {}, [], {part.untyped_storage().data_ptr() for part in model.parameters()}

    def pack(tensor):
        held.append(tensor)
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model.train()(task.train_batch(0, 64).inputs)
    saved = sum(size for place, size in kept.items() if place not in own)
    assert saved < estimate(config, task, model).activations < (5 if cell in ("rnn", "mine:Mine") else 3) * saved


def test_an_evaluation_holds_what_its_widest_layer_reads_projects_and_gives():
    config, task, model = built("train.eval_batch_size=6", "model.depth=2", "engine=auto")
    outputs = 2 if model.stack.loop.name == "reference" else 1  # step by step, and put together
    assert estimate(config, task, model).evaluation == 4 * 11 * 6 * (6 + 4 * 6 + outputs * 6)


def test_a_cluster_of_rare_words_counts_as_often_as_the_text_needs_it():
    config = load_config(
        "words", ["model.softmax={name: adaptive, cutoffs: [10, 30]}", "model.hidden_size=16"], quiet=True
    )
    task = build_task(config)
    model, batch = build_model(config, task.spec), task.specimen("train", 4)
    T, V = len(batch.inputs), task.spec.output_size
    task.counts = [80] * 10 + [0] * (V - 10)
    assert _scores(model, task, batch) == T * (10 + 2)
    task.counts[10:30] = [10] * 20  # a fifth of the text
    assert _scores(model, task, batch) == T * (10 + 2 + 20 // 5)


def test_the_engine_keeps_the_scores_of_some_rows_of_a_large_vocabulary(monkeypatch):
    sizes = ["model.hidden_size=8", "model.embedding_size=8", "train.batch_size=30"]
    config = load_config("words", sizes, quiet=True)
    task = build_task(config)
    model = build_model(config, task.spec)
    if model.stack.loop.name == "reference":
        pytest.skip("there is no engine here")
    spec = task.spec._replace(output_size=100_000)
    monkeypatch.setattr(type(task), "spec", spec)
    fused = estimate(config, task, model)
    model.fused_loss = False
    plain, rows = estimate(config, task, model), 30 * len(task.specimen("train", 30).inputs)
    assert plain.activations - fused.activations == 4 * spec.output_size * (3 * rows - ROWS_TOGETHER)


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
    assert found["peak"] == found["weights"] + found["sets"] + max(parts)
    assert found["available"] > found["peak"]
    assert "beside Python and PyTorch" in seqtrain("validate", "quickstart").out


def test_windows_of_a_text_that_vary_are_counted(monkeypatch):
    config = load_config("words", ["task.vary_window=true", "task.window=10", "model.hidden_size=2"], quiet=True)
    task = build_task(config, quiet=True)
    model = build_model(config, task.spec)
    assert estimate(config, task, model).windows == 24 * -(-task._trained(config.train.batch_size).length // 5)
    monkeypatch.setattr(type(task), "windows_bytes", lambda *_: 2 * GIB)
    monkeypatch.setattr("seqtrain.runs.memory_estimate.available", lambda _: GIB)
    with pytest.raises(ConfigError, match=r"task.vary_window: .*the windows of a pass.*switch it off, or make train"):
        check_memory(config, task, model)


def test_where_the_system_does_not_say_nothing_is_refused(seqtrain, monkeypatch):
    monkeypatch.setattr("seqtrain.runs.memory_estimate.available", lambda _: None)
    assert seqtrain("validate", "quickstart", "--json").json["memory"]["peak"] > 0


CELL_OF_A_USER = """
import torch
from seqtrain.cells import RNNCell

class Mine(RNNCell):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.scale = float(self.w_h.detach().norm())  # looks at its weights
        self.register_buffer("calls", torch.zeros(()))

    def project(self, x):
        self.calls += 1
        return super().project(x)

    def initial_state(self, batch_size):
        return self.state_type(torch.zeros(batch_size, self.hidden_size))

class Shy(Mine):
    def project(self, x):
        if x.shape[1] == 1 and x.shape[2] > 2:
            raise ValueError("one sequence alone tells nothing")
        return super().project(x)
"""


@pytest.fixture
def users_cell(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(CELL_OF_A_USER)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("mine", None)


def test_a_users_cell_is_estimated_and_left_as_it_was(users_cell, monkeypatch):
    config, task, model = built("model.cell=mine:Mine", "train.batch_size=9000")
    before = float(model.stack.cells()[0][0].calls)
    found = estimate(config, task, model)
    assert float(model.stack.cells()[0][0].calls) == before
    assert found == estimate(*built("model.cell=rnn", "engine=reference", "train.batch_size=9000"))
    monkeypatch.setattr("seqtrain.runs.memory_estimate.available", lambda _: found.peak - 1)
    with pytest.raises(ConfigError, match=r"train\.batch_size: training needs at least"):
        check_memory(config, task, model)


def test_a_users_cell_that_cannot_be_asked_counts_by_its_weights(users_cell):
    shy, mine = (estimate(*built(f"model.cell=mine:{name}", "model.depth=2")) for name in ("Shy", "Mine"))
    assert shy.weights == mine.weights > 0
    assert shy.activations < mine.activations


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


def test_the_scores_of_a_large_vocabulary_are_most_of_a_step():
    """B x T x V numbers three times: their logarithms, and two gradients."""
    config = load_config("words", ["model.hidden_size=4", "train.batch_size=7", "task.window=11"])
    task = build_task(config)
    found = estimate(config, task, build_model(config, task.spec))
    scores = 7 * 11 * task.spec.output_size * 4
    assert found.activations == pytest.approx(3 * scores, rel=0.2)
    assert found.evaluation == pytest.approx(
        2 * task.specimen("valid", 1).inputs.shape[0] * task.spec.output_size * 4, rel=0.1
    )
