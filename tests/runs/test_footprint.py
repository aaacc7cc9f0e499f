"""What arrays a step needs: by hand, by autograd's own word, and by what the engine really takes."""

import pytest
import torch
from torch.nn import functional as F

from seqtrain.config import load_config
from seqtrain.config.build import build_model, build_task
from seqtrain.recurrence import buffer_pool as memory
from seqtrain.runs.footprint import _extrapolated, _forward, _reused, _scores, of_evaluation, of_training
from seqtrain.runs.memory_estimate import estimate

T, B, H, I = 40, 64, 128, 2
SIZES = ("model.hidden_size=128", "train.batch_size=64", "task.length=40", "task.valid_size=7", "task.test_size=5")
CELLS = ["rnn", "lstm", "gru", "{name: gru, reset: before}", "coupled", "peephole", "odyssey"]


def built(*overrides, name="quickstart"):
    config = load_config(name, [*SIZES, *overrides] if name == "quickstart" else overrides, quiet=True)
    task = build_task(config)
    return task, build_model(config, task.spec)


def needed(task, model):
    return of_training(model, task, B, on_heap=True, penalised=False)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("engine", ["auto", "reference"])
@pytest.mark.parametrize("more", ["model.depth=2", "model.direction=bidirectional", "model.weight_drop=0.5"])
def test_what_two_steps_tell_is_what_all_of_them_keep(cell, engine, more):
    task, model = built(f"model.cell={cell}", f"engine={engine}", more, "model.hidden_size=6")
    kept, held = set(), []
    own = {part.untyped_storage().data_ptr() for part in model.parameters()}

    def pack(tensor):
        held.append(tensor)
        kept.add((tensor.untyped_storage().data_ptr(), tensor.untyped_storage().nbytes()))
        return tensor

    batch = task.train_batch(0, 3)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model.train().predict(batch.inputs, generator=torch.Generator())
    whole = sum(size for place, size in kept if place not in own)
    passes = {(steps, rows): _forward(model, batch, steps, rows) for steps in (2, 3) for rows in (1, 2)}
    for place, found in enumerate(_forward(model, batch, T, 3)):
        assert _extrapolated({key: each[place] for key, each in passes.items()}, T, 3) == found
    assert _forward(model, batch, T, 3)[2] == whole


# Blocks of H numbers: of an LSTM's step `addmm` makes 4, the gates 4, the two products and c' 3, tanh(c') and h' 2. The
# first 4 and the products are freed; in the hole of the 4 there is room for 4 of the others.
REUSED = {"rnn": 0, "lstm": 4, "gru": 2, "{name: gru, reset: before}": 2, "coupled": 3, "peephole": 4}
MADE = {"rnn": 2, "lstm": 13}


@pytest.mark.parametrize("cell", REUSED)
def test_smaller_arrays_lie_in_the_holes_of_larger_ones(cell):
    _, model = built(f"model.cell={cell}", "engine=reference")
    assert _reused(model, model.stack.cells()[0][0]) == 4 * H * REUSED[cell]


@pytest.mark.parametrize("cell", MADE)
def test_the_heap_of_the_plain_loop_by_hand(cell):
    """Gates, steps and outputs; the gradients of gates, input and outputs; and two copies of the cell's weights."""
    task, model = built(f"model.cell={cell}", "engine=reference")
    gates = len(model.stack.cells()[0][0].gates)
    forward = (gates + MADE[cell] - REUSED[cell] + 1) * H
    backward = gates * H + I + H
    weights = 2 * 4 * gates * H * (H + I + 1)
    found = needed(task, model)
    assert found.engine == 0
    assert found.heap == pytest.approx(4 * T * B * (forward + backward + I) + weights, rel=0.02)
    assert of_evaluation(model, task, B).heap == 4 * T * B * (I + gates * H + 2 * H)


# Of each step and sequence: gates, cells, outputs and what else is kept, in blocks of H; then the gradients of gates.
HELD = {
    "rnn": 1 + 1,
    "lstm": 6 + 4,
    "gru": 5 + 4,
    "{name: gru, reset: before}": 5 + 3,
    "coupled": 5 + 3,
    "peephole": 10,
}


@pytest.mark.parametrize("cell", HELD)
def test_what_the_engine_holds_by_hand(cell):
    task, model = built(f"model.cell={cell}")
    if model.stack.loop.name == "reference":
        pytest.skip("there is no engine here")
    assert needed(task, model).engine == pytest.approx(4 * T * B * (HELD[cell] * H + I), rel=0.03)


@pytest.mark.parametrize("cell", HELD)
@pytest.mark.parametrize("more", ["model.depth=1", "model.depth=3", "model.direction=bidirectional"])
def test_what_the_engine_holds_is_what_it_takes(monkeypatch, cell, more):
    """Neither less than its pool has after two steps, nor much more."""
    task, model = built(f"model.cell={cell}", more)
    if model.stack.loop.name == "reference":
        pytest.skip("there is no engine here")
    pool = memory._Pool()
    monkeypatch.setattr(memory, "_pool", pool)
    for step in range(2):
        batch = task.train_batch(step, B)
        F.mse_loss(model.train()(batch.inputs)[0], batch.targets).backward()
    assert pool.peak <= 1.02 * needed(task, model).engine < 1.3 * pool.peak


def test_a_cluster_of_rare_words_counts_as_often_as_it_is_looked_into():
    _, model = built("model.softmax={name: adaptive, cutoffs: [10, 30]}", name="words")
    V = model.head.clusters.n_classes
    counts = [80] * 10 + [0] * 20 + [0] * (V - 30)
    assert _scores(model, counts) == 4 * (10 + 2)
    counts[10:30] = [10] * 20  # a fifth of the text
    assert _scores(model, counts) == 4 * (10 + 2 + 20 // 5)
    counts[30] = 1000  # half of it
    assert _scores(model, counts) == 4 * (10 + 2 + (20 * 200 + (V - 30) * 1000) // 2000)


def test_a_batch_is_as_long_as_the_longest_of_many():
    """A sequence drawn alone tells too little: batches are padded."""
    task, _ = built("train.batch_size=512", name="embedded-reber")
    alone = task.specimen("train", 512).inputs.shape[0]
    batches = [task.train_batch(step, 512).inputs.shape[0] for step in range(30)]
    assert sorted(batches)[20] <= alone <= 1.5 * max(batches)


def test_a_users_cell_may_have_no_weights_and_do_otherwise_each_time(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd.py").write_text(
        "from seqtrain.cells.base import Cell, HiddenState\n"
        "class Odd(Cell):\n"
        "    steps = 0\n"
        "    def project(self, x):\n"
        "        return x[..., :1].expand(-1, -1, self.hidden_size)\n"
        "    def initial_state(self, batch_size):\n"
        "        import torch\n"
        "        return HiddenState(torch.zeros(batch_size, self.hidden_size))\n"
        "    def step(self, x_gates, state):\n"
        "        self.steps += 1\n"
        "        for _ in range(self.steps % 5):\n"
        "            x_gates = x_gates + 1\n"
        "        return HiddenState(x_gates + state.hidden)\n"
    )
    task, model = built("model.cell=odd:Odd")
    assert needed(task, model).heap > 4 * T * B * H


def test_many_units_and_few_sequences_by_hand():
    """While it is saved: everything twice, the holes of the estimate's copy and of a step's, packed weights."""
    sizes = ("model.hidden_size=300", "train.batch_size=1", "task.length=3", "optimizer=sgd", "task.valid_size=1")
    for engine, temporaries in (("auto", 1), ("reference", 2)):
        config = load_config("quickstart", [*SIZES, *sizes, f"engine={engine}"], quiet=True)
        task = build_task(config)
        model = build_model(config, task.spec)
        if engine == "auto" and model.stack.loop.name == "reference":
            continue
        own, cell = 4 * (1200 * (2 + 300 + 1) + 301), 4 * 1200 * (2 + 300 + 1)
        found, packed = estimate(config, task, model), 4 * 1200 * 304 if engine == "auto" else 0
        wanted = 2 * own + own * (1 + 9 / 8) + own + temporaries * cell + packed
        assert found.peak == pytest.approx(wanted, rel=0.03)


def test_a_set_is_drawn_in_parts_that_are_as_large():
    config = load_config(
        "quickstart", ["task.valid_size=9000", "task.test_size=3000", "model.hidden_size=2"], quiet=True
    )
    task = build_task(config)
    found, whole = (
        estimate(config, task, build_model(config, task.spec)),
        sum(b.bytes for b in task.eval_batches("valid", 9000)),
    )
    assert found.peak > found.sets + whole
    assert found.sets == pytest.approx(whole * 4 / 3, rel=0.01)
