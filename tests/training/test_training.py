"""The training loop: what it updates, when it stops, and that it can be stopped and go on."""

import json
import math
import sys
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from conftest import answer
from small import run, small

import seqtrain.runs.trainer
from seqtrain.config import load_config
from seqtrain.config.build import build_model, build_optimizer, build_recipe, build_task
from seqtrain.config.resolve import resolved
from seqtrain.inference.evaluate import evaluate as evaluate_checkpoint
from seqtrain.inference.load import load_model
from seqtrain.native import library as native
from seqtrain.recurrence import autograd as sequence
from seqtrain.runs.checkpoint import Checkpoint, Header, load_checkpoint, save_checkpoint
from seqtrain.runs.directory import RunDir
from seqtrain.runs.records import MetricsRecord
from seqtrain.runs.resume import check_same
from seqtrain.runs.trainer import train_run
from seqtrain.system.errors import CheckpointError, ConfigError, Diverged
from seqtrain.system.rng import generator
from seqtrain.tasks import Spec
from seqtrain.tasks.marked_numbers import Adding
from seqtrain.training.loop import evaluate
from seqtrain.training.optimizers import base
from seqtrain.training.state import TrainState
from seqtrain.training.step import FEW_WEIGHTS, current_lr, train_step


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def records(out="run", split=None):
    return [r for r in RunDir(Path(out)).read_metrics() if split in (None, r.split)]


def one_step(config, **changes):
    """The state after one step, and the gradients of that step."""
    task = build_task(config)
    model = build_model(config, task.spec)
    state = TrainState(model, build_optimizer(config, model))
    train = config.train.model_copy(update={"steps": 100, "batch_size": 8} | changes)
    recipe = build_recipe(config.model_copy(update={"train": train}), task)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    train_step(state, recipe, task.train_batch(0, 8))
    return state, recipe, before


# --- a step -----------------------------------------------------------------------------------------------------

MODELS = [
    ("quickstart", "model.cell={name: rnn, learn_initial_state: true}"),
    ("quickstart", "model.cell={name: peephole, learn_initial_state: true}"),
    ("quickstart", "model.cell={name: gru, reset: before}"),
    ("stories", "model.cell={name: coupled, peepholes: true}"),
    ("stories", "model.cell={name: odyssey, ablation: full_gate_recurrence, learn_initial_state: true}"),
    ("lookaround", "model.cell=gru"),
    ("copy-memory", "model.embedding_size=4"),
    ("words", "model.cell=lstm"),
    ("words", "model.tied=true", "model.embedding_size=4", "model.hidden_size=[5, 3]", "model.depth=null"),
    ("words", "model.softmax=adaptive", "model.hidden_size=20"),
]


@pytest.mark.parametrize("model", MODELS)
def test_every_parameter_moves(model):
    state, _, before = one_step(small(*model, "optimizer.lr=0.01"))
    still = [key for key, p in state.model.named_parameters() if torch.equal(p, before[key])]
    assert not still


def test_the_penalties_are_those_of_the_papers():
    """AR on what the head sees, TAR on what the cells gave; neither is in the loss that is reported."""
    config = small(
        "words", "model.output_dropout=0.5", "optimizer=sgd", "optimizer.clip_norm=null", "train.batch_size=4"
    )
    task = build_task(config)
    model, batch = build_model(config, task.spec), task.train_batch(0, 8)
    prediction, _ = model.predict(batch.inputs, generator=generator(config.seed, "dropout", 0))
    total, count = task.loss(prediction, batch)
    h, dropped = prediction.activations, prediction.features
    assert not torch.equal(h, dropped)
    (total / count + 2 * (dropped**2).mean() + 3 * ((h[1:] - h[:-1]) ** 2).mean()).backward()
    state, _, _ = one_step(config, ar=2.0, tar=3.0)
    assert float(state.window_loss) == pytest.approx(total.item() / count)
    for (name, found), wanted in zip(state.model.named_parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(found.grad, wanted.grad, msg=name)


def test_a_step_holds_nothing_that_it_has_no_use_for(monkeypatch):
    """No gradients of the step before in the forward pass, and no changes from step to step that nobody asked for."""
    state, recipe, _ = one_step(small("words"))
    assert any(parameter.grad is not None for parameter in state.model.parameters())
    predict, seen = state.model.predict, []

    def watched(*arguments):
        seen.extend(parameter.grad for parameter in state.model.parameters())
        return predict(*arguments)

    monkeypatch.setattr(state.model, "predict", watched)
    monkeypatch.setattr(torch.Tensor, "diff", lambda *_, **__: pytest.fail("the changes were computed"))
    train_step(state, recipe, recipe.task.train_batch(1, 8))
    assert seen
    assert all(gradient is None for gradient in seen)


def test_one_thread_updates_few_weights(monkeypatch):
    state, recipe, _ = one_step(small("words"))
    threads = torch.get_num_threads()
    update, used = state.optimizer.step, []

    def watched():
        used.append(torch.get_num_threads())
        update()

    monkeypatch.setattr(state.optimizer, "step", watched)
    torch.set_num_threads(3)
    try:
        for limit in (FEW_WEIGHTS, 10):
            monkeypatch.setattr("seqtrain.training.step.FEW_WEIGHTS", limit)
            train_step(state, recipe, recipe.task.train_batch(1, 8))
            used.append(torch.get_num_threads())
        monkeypatch.setattr("seqtrain.training.step.FEW_WEIGHTS", FEW_WEIGHTS)
        monkeypatch.setattr(state.optimizer, "step", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train_step(state, recipe, recipe.task.train_batch(1, 8))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)
    assert used == [1, 3, 3, 3]


def test_an_evaluation_holds_one_prediction_at_a_time(monkeypatch):
    config = small()
    task = build_task(config)
    model = build_model(config, task.spec)
    predict, alive = model.predict, []

    def watched(*arguments):
        assert all(prediction() is None for prediction in alive)
        prediction, state = predict(*arguments)
        alive.append(weakref.ref(prediction))
        return prediction, state

    monkeypatch.setattr(model, "predict", watched)
    evaluate(model, task, "valid", 3)
    assert len(alive) > 1


def test_penalties_do_not_see_padding():
    config = small("stories", "optimizer.clip_norm=null")
    task = build_task(config)
    batch = task.train_batch(0, 3)
    short, longer = task_batches = (
        batch,
        replace(
            batch,
            inputs=pad(batch.inputs),
            targets=pad(batch.targets),
            scored=pad(batch.scored),
            marks=pad(batch.marks),
        ),
    )
    found = []
    for one in task_batches:
        model = build_model(config, task.spec)
        state = TrainState(model, build_optimizer(config, model))
        _, recipe, _ = one_step(config, ar=2.0, tar=3.0)
        train_step(state, recipe, one)
        found.append([parameter.grad.clone() for parameter in model.parameters()])
    assert longer.inputs.shape[0] == short.inputs.shape[0] + 7
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


def pad(x):
    return torch.cat([x, x.new_zeros(7, *x.shape[1:])])


def test_a_window_of_one_step_has_no_changes():
    state, _, _ = one_step(small("words", "task.window=1"), tar=3.0)
    assert math.isfinite(float(state.window_norm))


def test_a_penalty_on_a_single_answer_looks_at_all_steps():
    free, _, _ = one_step(small("quickstart", "optimizer.clip_norm=null"))
    state, _, _ = one_step(small("quickstart", "optimizer.clip_norm=null"), ar=5.0)
    assert not torch.equal(free.model.stack.layers[0][0].b.grad, state.model.stack.layers[0][0].b.grad)
    assert torch.equal(free.model.head.weight.grad, state.model.head.weight.grad)


def test_zoneout_takes_the_plain_loop_and_says_so():
    assert run(small("words", "model.zoneout_hidden=0.2")).summary.engine == "reference"
    with pytest.raises(ConfigError, match="engine is 'fused', but the engine has no kernel for Zoneout"):
        run(small("words", "model.zoneout_hidden=0.2", "engine=fused"), "other")


def test_cutoffs_are_a_sixteenth_and_a_quarter_unless_given(text_folder):
    (text_folder / "train.txt").write_text(" ".join(f"w{n}" for n in range(78)) + "\n")
    common = (f"task.path={text_folder}", "model.softmax=adaptive", "model.hidden_size=20")
    task = build_task(config := small("words", *common))
    assert len(task.vocabulary) == 80
    assert build_model(config, task.spec).head.clusters.cutoffs == [5, 20, 80]
    given = small("words", *common, "model.softmax.cutoffs=[7]")
    assert build_model(given, task.spec).head.clusters.cutoffs == [7, 80]


def test_zoneout_and_the_state_of_a_users_cell(monkeypatch):
    Path("uc.py").write_text(USERS_CELLS)
    monkeypatch.syspath_prepend(str(Path.cwd()))
    run(small("quickstart", "model.cell=uc:Counting", "model.zoneout_memory=0.5"))
    with pytest.raises(ConfigError, match="cell uc:Plain remembers in its output alone; use zoneout_hidden"):
        run(small("quickstart", "model.cell=uc:Plain", "model.zoneout_memory=0.5"), "other")
    with pytest.raises(ConfigError, match="cell uc:Passing remembers in its output alone; use zoneout_hidden"):
        run(small("quickstart", "model.cell=uc:Passing", "model.zoneout_memory=0.5"), "other")


USERS_CELLS = """
from typing import NamedTuple
import torch
from seqtrain.cells import Cell

class One(NamedTuple):
    hidden: torch.Tensor

class Three(NamedTuple):
    hidden: torch.Tensor
    memory: torch.Tensor
    count: torch.Tensor

class Plain(Cell):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.line = torch.nn.Linear(input_size, hidden_size)
    def project(self, x):
        return self.line(x)
    def step(self, x, state):
        return One(torch.tanh(x + state.hidden))
    def initial_state(self, batch_size):
        return One(torch.zeros(batch_size, self.hidden_size))

class Counting(Plain):
    def step(self, x, state):
        return Three(torch.tanh(x + state.memory), state.memory + x, state.count + 1)
    def initial_state(self, batch_size):
        zeros = torch.zeros(batch_size, self.hidden_size)
        return Three(zeros, zeros, torch.zeros(batch_size, 1, dtype=torch.long))

class Passing(Counting):
    transient = ("memory",)
"""


def test_ranges_of_the_first_weights():
    task = build_task(config := small("words", "model.init_range=0.03", "model.embedding_range=0.2"))
    model = build_model(config, task.spec)
    for name, parameter in model.named_parameters():
        edge = {"encoder.weight": 0.2, "head.weight": 0.2, "head.bias": 0.0}.get(name, 0.03)
        assert 0.8 * edge <= parameter.detach().abs().max().item() <= edge, name
    alone = build_model(small("words", "model.init_range=0.03"), task.spec)
    assert all(0.02 < p.detach().abs().max().item() < 0.03 for p in (alone.head.bias, alone.encoder.weight))


@pytest.mark.parametrize("norm", [1e-4, 10.0, None])
def test_clipping_limits_the_gradient_and_the_logged_norm_is_the_one_before(norm):
    config = small("quickstart", f"optimizer.clip_norm={'null' if norm is None else norm}")
    state, _, _ = one_step(config)
    free, _, _ = one_step(small("quickstart", "optimizer.clip_norm=null"))
    true_norm = math.sqrt(sum(float(p.grad.square().sum()) for p in free.model.parameters()))
    kept = math.sqrt(sum(float(p.grad.square().sum()) for p in state.model.parameters()))
    assert float(state.window_norm) == pytest.approx(true_norm)
    assert true_norm > 1e-3
    assert kept == pytest.approx(min(true_norm, norm or math.inf), rel=1e-2)


def test_a_norm_just_over_the_limit_is_clipped():
    free, _, _ = one_step(small("quickstart", "optimizer.clip_norm=null"))
    limit = 0.95 * float(free.window_norm)
    state, _, _ = one_step(small("quickstart", f"optimizer.clip_norm={limit}"))
    kept = math.sqrt(sum(float(p.grad.square().sum()) for p in state.model.parameters()))
    assert kept == pytest.approx(limit, rel=1e-4)


OPTIMIZERS = {
    "adam": (torch.optim.Adam, ["betas=[0.8, 0.99]", "eps=0.1", "weight_decay=0.5"]),
    "adamw": (torch.optim.AdamW, ["betas=[0.8, 0.99]", "eps=0.1", "weight_decay=0.5"]),
    "sgd": (torch.optim.SGD, ["momentum=0.5", "weight_decay=0.5"]),
    "rmsprop": (torch.optim.RMSprop, ["alpha=0.5", "eps=0.1", "momentum=0.5", "weight_decay=0.5"]),
}


def weights_after(*overrides, steps=3):
    config = small("quickstart", f"train.steps={steps}", "train.eval_every=100", *overrides)
    run(config, overwrite=True)
    return load_checkpoint(Path("run/last.safetensors")).weights


def same(a, b):
    return all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_every_optimizer_option_acts(name):
    cls, options = OPTIMIZERS[name]
    config = small("quickstart", f"optimizer={name}")
    assert type(build_optimizer(config, torch.nn.Linear(1, 1))).__base__ is cls
    plain = weights_after(f"optimizer={name}", "optimizer.lr=0.01")
    for option in ["lr=0.02", *options]:
        assert not same(weights_after(f"optimizer={name}", "optimizer.lr=0.01", f"optimizer.{option}"), plain), option


def test_nesterov_acts():
    common = ("optimizer=sgd", "optimizer.lr=0.01", "optimizer.momentum=0.5")
    assert not same(weights_after(*common), weights_after(*common, "optimizer.nesterov=true"))


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "task.variant=anywhere",
        "task.length=20",
        "model.cell=gru",
        "model.cell.forget_bias=2",
        "model.cell.chrono=50",
        "model.cell.recurrent_init=uniform",
        "train.batch_size=5",
        "optimizer.clip_norm=1e-5",
        "schedule.warmup=10",
        "schedule=cosine",
    ],
)
def test_accepted_options_change_the_weights(override):
    assert not same_shape_and_values(weights_after("optimizer=sgd"), weights_after("optimizer=sgd", override))


def same_shape_and_values(a, b):
    return a.keys() == b.keys() and all(a[k].shape == b[k].shape and torch.equal(a[k], b[k]) for k in a)


def test_dropout_acts_and_follows_the_seed():
    deep = ("model.depth=2", "optimizer=sgd", "optimizer.lr=0.1")
    assert not same(weights_after(*deep), weights_after(*deep, "model.dropout=0.5"))
    assert same(weights_after(*deep, "model.dropout=0.5"), weights_after(*deep, "model.dropout=0.5"))


def still(config, **changes):
    """State and recipe for steps that move nothing, so that only what is computed matters."""
    _, recipe, _ = one_step(config)
    model = build_model(config, recipe.task.spec)
    return TrainState(model, torch.optim.SGD(model.parameters(), lr=0.0)), replace(
        recipe, lr=0.0, clip_norm=None, **changes
    )


def test_dropout_masks_follow_seed_and_step():
    config = small("quickstart", "model.depth=2", "model.dropout=0.5")

    def loss(step, seed):
        state, recipe = still(config, seed=seed)
        state.step = step
        train_step(state, recipe, recipe.task.train_batch(0, 8))
        return float(state.window_loss)

    assert loss(0, 0) == loss(0, 0)
    assert len({loss(0, 0), loss(1, 0), loss(0, 1)}) == 3


# --- the carried state ------------------------------------------------------------------------------------------


def language(text_folder, *overrides):
    return small("words", f"task.path={text_folder}", "task.window=5", "model.dropout=0", *overrides)


def windows(task, batch_size=4):
    """The training windows of one pass through the text."""
    batches = [task.train_batch(0, batch_size)]
    while not (batch := task.train_batch(len(batches), batch_size)).fresh:
        batches.append(batch)
    return batches


def test_a_window_starts_from_the_state_after_the_one_before_and_a_pass_from_none(text_folder):
    """Losses of single windows are those of one long unroll; after the last window everything begins again."""
    state, recipe = still(language(text_folder))
    batches = windows(recipe.task)
    losses = []
    for step in range(len(batches) + 1):
        state.window_loss = 0.0
        train_step(state, recipe, recipe.task.train_batch(step, 4))
        losses.append(float(state.window_loss))
    whole = torch.cat([batch.inputs for batch in batches])
    with torch.no_grad():
        outputs, _ = state.model(whole)
    start = 0
    for batch, loss in zip(batches, losses, strict=False):
        total, count = recipe.task.loss(answer(outputs[start : start + len(batch.inputs)]), batch)
        assert loss == pytest.approx(total.item() / count, rel=1e-5)
        start += len(batch.inputs)
    assert losses[-1] == losses[0]
    carried = state.carried
    train_step(state, recipe, batches[1])
    alone = float(state.window_loss) - losses[-1]
    state.carried = None
    state.window_loss = 0.0
    train_step(state, recipe, batches[1])
    assert carried is not None
    assert alone != pytest.approx(float(state.window_loss), rel=1e-7)


def test_the_gradient_is_cut_between_windows(text_folder):
    state, recipe = still(language(text_folder))
    first, second = windows(recipe.task)[:2]
    train_step(state, recipe, first)
    start = state.carried
    assert all(not part.requires_grad for layer in start for cell in layer for part in cell)
    train_step(state, recipe, second)
    found = {name: p.grad.clone() for name, p in state.model.named_parameters()}
    state.model.zero_grad()
    total, count = recipe.task.loss(state.model.predict(second.inputs, second.lengths, start)[0], second)
    (total / count).backward()
    for name, p in state.model.named_parameters():
        torch.testing.assert_close(found[name], p.grad)


def test_tasks_of_separate_sequences_carry_nothing():
    state, _, _ = one_step(small("stories"))
    assert state.carried is None


@pytest.mark.parametrize("columns", [1, 4])
def test_evaluation_carries_the_state_through_the_split(text_folder, columns):
    """The loss does not depend on the window: it is that of one unroll over the whole split."""
    losses = []
    for window in (3, 1000):
        config = language(text_folder, f"task.window={window}")
        task = build_task(config)
        losses.append(evaluate(build_model(config, task.spec), task, "valid", columns)["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


@pytest.mark.parametrize("name", ["quickstart", "stories"])
def test_evaluation_divides_once(name):
    """Batches of unequal size do not change an average."""
    config = small(name)
    task = build_task(config)
    model = build_model(config, task.spec)
    whole, pieces = (evaluate(model, task, "valid", size) for size in (12, 5))
    assert pieces == pytest.approx(whole, rel=1e-6)


def test_eval_batch_size_acts(monkeypatch):
    asked = []
    config = small("quickstart", "train.eval_batch_size=7")
    task_class = type(build_task(config))
    original = task_class.eval_batches
    monkeypatch.setattr(
        task_class, "eval_batches", lambda self, split, size: asked.append((split, size)) or original(self, split, size)
    )
    run(config)
    assert ("valid", 7) in asked
    assert ("test", 7) in asked


# --- divergence -------------------------------------------------------------------------------------------------


def test_a_non_finite_loss_is_stopped_before_the_optimizer_step():
    config = small()
    task = build_task(config)
    model = build_model(config, task.spec)
    state = TrainState(model, build_optimizer(config, model))
    with torch.no_grad():
        model.head.bias.fill_(float("inf"))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    _, recipe, _ = one_step(config)
    with pytest.raises(Diverged, match="step 1 diverged: loss inf"):
        train_step(state, recipe, task.train_batch(0, 8))
    assert state.step == 0
    assert same(dict(model.named_parameters()), before)
    assert not state.optimizer.state


def test_a_finite_loss_with_a_gradient_that_is_not_is_stopped_too(monkeypatch):
    state, recipe, _ = one_step(small())
    monkeypatch.setattr(
        type(recipe.task), "loss", lambda _task, prediction, _batch: ((0 * prediction.outputs).abs().sqrt().sum(), 1)
    )
    before = {name: p.detach().clone() for name, p in state.model.named_parameters()}
    with pytest.raises(Diverged, match="loss 0, gradient norm nan"):
        train_step(state, recipe, recipe.task.train_batch(1, 8))
    assert same(dict(state.model.named_parameters()), before)


def test_a_diverged_run_keeps_its_best_and_says_so():
    config = small("quickstart", "optimizer=sgd", "optimizer.lr=1e30", "train.steps=50", "optimizer.clip_norm=null")
    outcome = run(config)
    assert outcome.exit_code == 3
    assert outcome.summary.status == "diverged"
    assert outcome.message.endswith(
        "there is no best checkpoint yet; try a lower optimizer.lr, a schedule.warmup, or optimizer.clip_norm=1; "
        "train.on_divergence=skip goes past such steps"
    )
    text = Path("run/summary.json").read_text() + Path("run/metrics.jsonl").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text


# --- stopping ---------------------------------------------------------------------------------------------------


def test_stops_when_solved(monkeypatch):
    monkeypatch.setattr(Adding, "solved", lambda *_: True)
    stopped = run(small("quickstart", "train.stop_when_solved=true"), "a").summary
    went_on = run(small("quickstart", "train.stop_when_solved=false"), "b").summary
    assert (stopped.status, stopped.steps, stopped.solved_at_step) == ("solved", 2, 2)
    assert (went_on.status, went_on.steps, went_on.solved_at_step) == ("solved", 4, 2)


def test_a_solved_run_that_runs_out_of_patience_is_solved(monkeypatch):
    monkeypatch.setattr(Adding, "solved", lambda *_: True)
    settings = ("train.steps=40", "train.patience=1", "train.stop_when_solved=false")
    summary = run(small("quickstart", *settings, "optimizer=sgd", "optimizer.lr=1e-30")).summary
    assert (summary.status, summary.steps, summary.planned_steps) == ("solved", 4, 40)


def test_a_run_without_a_finite_metric_says_that_it_has_no_best(monkeypatch):
    monkeypatch.setattr("seqtrain.training.loop.evaluate", lambda *_: {"loss": 1.0, "mse": math.inf, "accuracy": 0.0})
    outcome = run(small("quickstart"))
    assert (outcome.exit_code, outcome.summary.best.step, outcome.summary.test) == (0, None, None)
    assert outcome.message == "run: no evaluation gave a finite mse, so there is no best.safetensors"


def test_an_evaluation_that_solves_the_task_is_better_than_one_that_does_not(monkeypatch):
    figures = iter([(0.5, False), (0.9, True), (0.1, False), (0.8, True), (0.2, False), (0.7, False)])
    solves = {}

    def evaluated(*_):
        mse, solved = next(figures)
        solves[mse] = solved
        return {"loss": mse, "mse": mse, "accuracy": 0.0}

    monkeypatch.setattr("seqtrain.training.loop.evaluate", evaluated)
    monkeypatch.setattr("seqtrain.runs.trainer.evaluate", lambda *_: {"loss": 0.0, "mse": 0.0})
    monkeypatch.setattr(Adding, "solved", lambda _, means: solves[means["mse"]])
    summary = run(small("quickstart", "train.steps=12", "train.stop_when_solved=false")).summary
    assert (summary.solved_at_step, summary.best.step, summary.best.value) == (4, 8, 0.8)


def test_patience_counts_evaluations_without_improvement():
    config = small("quickstart", "train.steps=40", "train.patience=3", "optimizer=sgd", "optimizer.lr=1e-30")
    summary = run(config).summary
    assert summary.status == "finished"
    assert summary.best.step == 2
    assert summary.steps == 8


def test_evaluates_at_the_end_whatever_eval_every_says():
    run(small("quickstart", "train.steps=5", "train.eval_every=3"))
    assert [r.step for r in records(split="valid")] == [3, 5]


def test_plateau_cuts_the_learning_rate():
    config = small(
        "quickstart", "train.steps=12", "optimizer=sgd", "optimizer.lr=1e-30", "schedule=plateau",
        "schedule.patience=1", "schedule.factor=0.5",
    )  # fmt: skip
    run(config)
    rates = {r.step: r.lr / 1e-30 for r in records(split="valid")}
    assert rates == pytest.approx({2: 1, 4: 1, 6: 1, 8: 0.5, 10: 0.5, 12: 0.25})


def test_a_plateau_counts_from_the_end_of_the_warmup():
    config = small(
        "quickstart", "train.steps=14", "optimizer=sgd", "optimizer.lr=1e-30", "schedule=plateau", "schedule.warmup=6",
        "schedule.patience=1", "schedule.factor=0.5", "train.log_every=1",
    )  # fmt: skip
    run(config)
    rates = {r.step: r.lr / 1e-30 for r in records(split="train")}
    assert [rates[step] for step in (3, 5, 6, 7, 10, 11)] == pytest.approx([3 / 6, 5 / 6, 1, 1, 1, 0.5], rel=0.2)
    assert rates[10] == pytest.approx(1)
    assert rates[11] == pytest.approx(0.5)


# --- resuming ---------------------------------------------------------------------------------------------------

RESUMED = [
    ("quickstart", ()),
    ("words", ("model.dropout=0.3", "task.window=7")),
    ("lookaround", ("model.dropout=0.2",)),
    ("stories", ("schedule=cosine", "schedule.warmup=3")),
    ("words", ("model.cell=gru", "schedule.name=plateau", "optimizer=sgd", "optimizer.momentum=0.9")),
    ("words", ("model.cell={name: odyssey, ablation: full_gate_recurrence}", "task.path=short.txt", "task.window=7")),
    ("words", ("task.path=short.txt", "train.batch_size=70", "task.window=3")),  # of which it makes 68 columns
    ("words", ("task.sentences=independent", "model.dropout=0.3", "train.batch_size=7")),  # the last batch has fewer
    ("gestures", ("train.batch_size=7", "model.input_dropout=0.1", "train.epochs=null")),
    ("sunspots", ("train.batch_size=3", "task.window=20", "train.epochs=null", "train.patience=null")),
]


def stop_after(steps, monkeypatch):
    """Have runs interrupted after so many steps, as a signal would."""
    original = seqtrain.runs.trainer.fit

    def stopping(*arguments, **hooks):
        asked = iter([False] * steps)
        return original(*arguments, **hooks | {"stop_requested": lambda: next(asked, True)})

    monkeypatch.setattr(seqtrain.runs.trainer, "fit", stopping)


@pytest.mark.parametrize(("name", "overrides"), RESUMED)
@pytest.mark.parametrize("stop_at", [3, 4])
def test_n_steps_are_k_steps_a_resume_and_the_rest(name, overrides, stop_at, monkeypatch):
    """Interrupted between two evaluations or at one: the same checkpoints, byte for byte, and the same records."""
    Path("short.txt").write_text("a b c\n" * 300)
    config = small(name, "train.steps=9", "train.log_every=2", *overrides)
    run(config, "whole")
    with monkeypatch.context() as patched:
        stop_after(stop_at, patched)
        assert run(config, "parts").summary.status == "interrupted"
    RunDir(Path("parts")).append(MetricsRecord(step=99, split="train", elapsed_s=1.0))  # past the checkpoint
    run(config, "parts", resume=True)
    for name in ("last.safetensors", "best.safetensors"):
        assert Path("whole", name).read_bytes() == Path("parts", name).read_bytes()
    timing = ("elapsed_s", "sequences_per_s", "tokens_per_s")
    whole, parts = ([r.as_json() for r in records(out)] for out in ("whole", "parts"))
    for one, other in zip(whole, parts, strict=True):
        assert {k: v for k, v in one.items() if k not in timing} == {k: v for k, v in other.items() if k not in timing}


def test_an_interrupted_run_has_no_test_figures(monkeypatch):
    """Those of the test set are for a run that has ended."""
    stop_after(3, monkeypatch)
    summary = run(small()).summary
    assert (summary.status, summary.best.step, summary.test) == ("interrupted", 2, None)


def test_the_engine_that_ran_is_named_and_trains_as_the_plain_loop_does(monkeypatch):
    fused = run(small("quickstart"), "fused").summary
    plain = run(small("quickstart", "engine=reference"), "plain").summary
    assert (fused.engine, plain.engine) == (f"fused-{native.variant()}", "reference")
    assert fused.test["loss"] == pytest.approx(plain.test["loss"], rel=1e-4)
    assert evaluate_checkpoint(Path("fused"), ["engine=reference"]).figures["loss"] == pytest.approx(
        fused.test["loss"], rel=1e-5
    )


@pytest.mark.parametrize(("engine", "served"), [("auto", True), ("fused", True), ("reference", False)])
def test_the_engine_that_is_named_is_the_one_that_computes(engine, served, monkeypatch):
    calls = []
    original = sequence._walk
    monkeypatch.setattr(sequence, "_walk", lambda *a, **k: calls.append(1) or original(*a, **k))
    run(small("quickstart", f"engine={engine}"))
    assert bool(calls) == served


def test_a_run_that_diverges_at_once_tells_its_own_story_not_that_of_the_one_it_replaced(monkeypatch):
    def diverge(*_):
        raise Diverged("at the first step")

    monkeypatch.setattr("seqtrain.training.loop.train_step", diverge)
    run(small("quickstart"))
    summary = run(small("quickstart", "model.hidden_size=7"), overwrite=True).summary
    assert (summary.status, summary.hidden_size) == ("diverged", 7)


def test_without_the_compiled_engine_auto_goes_on_and_says_so_once(monkeypatch, capsys):
    monkeypatch.setenv("SEQTRAIN_NATIVE", "abacus")
    outcome = train_run(small("quickstart", "model.depth=2"), Path("run"))
    assert outcome.summary.engine == "reference"
    assert capsys.readouterr().err.count("there is no engine 'abacus'") == 1
    with pytest.raises(ConfigError, match="engine is 'fused', but there is no engine 'abacus'"):
        run(small("quickstart", "engine=fused"), "other")
    assert not Path("other").exists()


def test_same_seed_same_bytes_another_seed_others():
    for out, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(small("words", f"seed={seed}", "model.dropout=0.5"), out)
    a, b, c = (Path(out, "last.safetensors").read_bytes() for out in "abc")
    assert a == b
    assert a != c


def test_resume_extends_a_finished_run_and_refuses_another_config():
    run(small("quickstart"))
    longer = small("quickstart", "train.steps=6", "train.stop_when_solved=true")
    assert run(longer, resume=True).summary.steps == 6
    with pytest.raises(CheckpointError) as caught:
        run(small("quickstart", "model.hidden_size=7", "task.length=90"), resume=True)
    assert str(caught.value).startswith(
        "run/last.safetensors was saved with task.length 100, the config says 90; model.hidden_size 6, the config says "
        "7; drop --resume or restore the config beside it"
    )


@pytest.mark.parametrize(
    "override",
    [
        "seed=1", "optimizer.lr=0.1", "schedule=cosine", "train.batch_size=5", "train.eval_every=3",
        "train.eval_batch_size=5",
    ],
)  # fmt: skip
def test_resume_refuses_what_would_make_other_weights_or_records(override):
    """A run that is resumed must end as one that was not stopped."""
    saved = checkpoint_of(small("quickstart", "train.stop_when_solved=false"))
    with pytest.raises(CheckpointError, match=f"was saved with {override.partition('=')[0]}[ .].*; drop --resume"):
        check_same(small("quickstart", "train.stop_when_solved=false", override), saved, RunDir(Path("run")))


@pytest.mark.parametrize(
    ("first", "then", "words"),
    [
        ("train.patience=1", "train.patience=3", "its patience of 1 is used up"),
        ("train.patience=1", "train.patience=null", "its patience of 1 is used up"),
        ("train.stop_when_solved=true", "train.stop_when_solved=false", "train.stop_when_solved=false lets it go on"),
    ],
)
def test_a_run_that_stopped_early_goes_on_and_ends_as_if_it_had_been_so_from_the_start(
    monkeypatch, capfd, first, then, words
):
    """With more steps alone it says why not, and has them as its budget."""
    settings = ("train.steps=8", "optimizer.lr=1e-9", "train.stop_when_solved=false")
    if "solved" in first:
        monkeypatch.setattr(Adding, "solved", lambda *_: True)
    early = run(small("quickstart", *settings, first), "run").summary
    assert early.steps < 8
    more = train_run(small("quickstart", *settings, first, "train.steps=12"), Path("run"), resume=True).summary
    assert words in capfd.readouterr().err
    assert (more.steps, more.planned_steps) == (early.steps, 12)
    assert "steps: 12" in Path("run/config.yaml").read_text()
    went_on = run(small("quickstart", *settings, then, "train.steps=12"), "run", resume=True).summary
    whole = run(small("quickstart", *settings, then, "train.steps=12"), "whole").summary
    assert went_on.steps == whole.steps > early.steps
    assert (went_on.best, went_on.test, went_on.planned_steps) == (whole.best, whole.test, whole.planned_steps)
    assert Path("whole/last.safetensors").read_bytes() == Path("run/last.safetensors").read_bytes()


def test_how_often_records_are_written_may_change():
    run(small("quickstart"))
    assert run(small("quickstart", "train.log_every=1", "train.steps=6"), resume=True).summary.steps == 6
    assert [record.step for record in records(split="train")][-2:] == [5, 6]


def checkpoint_of(config):
    values = {
        "variant": "",
        "fingerprints": {},
        "spec": Spec(1, False, 1, False, False),
        "vocabulary": None,
        "counts": None,
    }
    return Checkpoint(Header.model_construct(config=config.model_dump(mode="json"), **values), {}, {})


def test_resume_takes_more_epochs_but_not_steps_instead_of_epochs(text_folder):
    """Other defaults follow the unit: when to evaluate, for one."""
    epochs, more, steps = (
        small("words", f"task.path={text_folder}", "train.steps=null", "train.epochs=2", *more)
        for more in ((), ("train.epochs=3",), ("train.epochs=null", "train.steps=4"))
    )
    check_same(more, checkpoint_of(epochs), RunDir(Path("run")))
    for saved, config, unit, other in ((epochs, steps, "epochs", "steps"), (steps, epochs, "steps", "epochs")):
        wanted = f"counts its training in {unit}, and the config counts in {other}; set train.{unit} instead"
        with pytest.raises(CheckpointError, match=wanted):
            check_same(config, checkpoint_of(saved), RunDir(Path("run")))


def test_resume_of_a_finished_run_leaves_it_as_it_is():
    run(small("quickstart"))
    before = {path.name: path.read_bytes() for path in Path("run").iterdir()}
    again = run(small("quickstart"), resume=True)
    assert {path.name: path.read_bytes() for path in Path("run").iterdir()} == before
    assert again.summary.sequences_per_s > 0


def test_resume_refuses_another_text(text_folder):
    config = small("words", f"task.path={text_folder}")
    run(config)
    (text_folder / "valid.txt").write_text("quite another text now\n" * 3)
    with pytest.raises(CheckpointError, match="the valid data are not those it was trained with"):
        run(config, resume=True)
    (text_folder / "train.txt").write_text((text_folder / "train.txt").read_text().replace("cat", "dog"))
    with pytest.raises(CheckpointError, match="the train, valid data are not"):
        run(config, resume=True)


def test_nothing_is_overwritten_unasked():
    run(small())
    before = {file.name: file.read_bytes() for file in Path("run").iterdir()}
    Path("run/notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match=r"--resume.*--overwrite"):
        run(small())
    assert all(Path("run", name).read_bytes() == content for name, content in before.items())
    run(small("quickstart", "seed=3"), overwrite=True)
    assert Path("run/notes.txt").read_text() == "mine"
    assert Path("run/last.safetensors").read_bytes() != before["last.safetensors"]


# --- what is written --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "unit"), [("quickstart", "sequences"), ("words", "tokens")])
def test_files_of_a_run(name, unit):
    config = small(name)
    outcome = run(config)
    assert sorted(file.name for file in Path("run").iterdir()) == [
        "best.safetensors", "config.yaml", "last.safetensors", "metrics.jsonl", "summary.json",
    ]  # fmt: skip
    summary = json.loads(Path("run/summary.json").read_text())
    assert summary == outcome.summary.as_json()
    assert set(summary) - {"data"} == {
        "status", "task", "variant", "fingerprints", "cell", "direction", "depth", "hidden_size", "parameters", "seed",
        "steps",
        "planned_steps", "metric", "best", "lost_best_step",
        "test", "baseline", "solved_at_step", "elapsed_s", f"{unit}_per_s", "engine", "precision",
        "device", "threads", "versions", "divergence", "skipped_steps",
    }  # fmt: skip
    assert ("data" in summary) == (name == "words")
    metric = summary["metric"]["name"]
    for record in records():
        keys = ["step", "split", "loss", metric, "lr", "grad_norm", "elapsed_s", f"{unit}_per_s"]
        assert list(record.as_json())[: len(keys)] == keys
    assert [(r.step, r.split) for r in records()] == [(2, "train"), (2, "valid"), (4, "train"), (4, "valid")]
    assert all(r.grad_norm > 0 and getattr(r, f"{unit}_per_s") > 0 for r in records(split="train"))
    best = {r.step: r.metrics[metric] for r in records(split="valid")}
    assert best[summary["best"]["step"]] == summary["best"]["value"] == min(best.values())
    again = yaml.safe_load(Path("run/config.yaml").read_text())
    assert load_config("run/config.yaml") == resolved(config)
    assert again == resolved(config).model_dump()


def test_the_summary_describes_the_model_that_was_trained():
    settings = ("model.direction=bidirectional", "model.hidden_size=[4,3]", "model.depth=null", "seed=5")
    summary = run(small("lookaround", "model.cell=gru", *settings)).summary
    assert (summary.task, summary.cell, summary.direction) == ("lookaround", "gru", "bidirectional")
    assert (summary.depth, summary.hidden_size, summary.seed) == (2, [4, 3], 5)
    assert summary.parameters == sum(parameter.numel() for parameter in load_model("run").parameters())


def test_the_baseline_of_the_summary_is_that_of_the_test_set(text_folder):
    (text_folder / "test.txt").write_text("the the the the the the\n" * 4)
    config = small("words", f"task.path={text_folder}")
    task = build_task(config)
    assert task.baseline("test") != task.baseline("valid")
    assert run(config).summary.baseline == task.baseline("test")


def test_threads_are_those_of_the_config(monkeypatch):
    before, seen = torch.get_num_threads(), []
    try:
        config = small("quickstart", f"threads={before + 1}")
        summary = run(config, on_record=lambda _: seen.append(torch.get_num_threads())).summary
        assert summary.threads == before + 1
        assert set(seen) == {before + 1}
        torch.set_num_threads(before)
        measure = Adding.measure
        monkeypatch.setattr(Adding, "measure", lambda *pair: seen.append(torch.get_num_threads()) or measure(*pair))
        evaluate_checkpoint(Path("run"), [f"threads={before + 2}"])
        assert seen[-1] == before + 2
        assert torch.get_num_threads() == before  # as the caller has it
    finally:
        torch.set_num_threads(before)


def test_a_model_loads_on_the_cpu_though_its_run_had_another_device_and_engine(monkeypatch):
    run(small("quickstart"))
    saved = load_checkpoint(Path("run/best.safetensors"))
    elsewhere = saved.header.config | {"device": "cuda:7", "engine": "fused"}
    header = saved.header.model_copy(update={"config": elsewhere})
    save_checkpoint(Path("other.safetensors"), Checkpoint(header, saved.weights, {}))
    monkeypatch.setenv("SEQTRAIN_NATIVE", "abacus")  # as where the engine is not compiled
    assert same(load_model("other.safetensors").state_dict(), saved.weights)


def test_training_from_the_resolved_config_repeats_the_run():
    run(small("words"), "a")
    run(load_config("a/config.yaml"), "b")
    assert Path("a/last.safetensors").read_bytes() == Path("b/last.safetensors").read_bytes()


def test_the_test_figures_are_those_of_the_best_checkpoint():
    config = small("quickstart", "train.steps=30", "optimizer=sgd", "optimizer.lr=0.9", "optimizer.clip_norm=100")
    summary = run(config).summary
    assert summary.best.step < 30
    figures = {
        name: evaluate_checkpoint(Path("run", name)).figures for name in ("best.safetensors", "last.safetensors")
    }
    assert summary.test["mse"] == figures["best.safetensors"]["mse"] != figures["last.safetensors"]["mse"]


def test_load_model_predicts_as_trained():
    config = small("quickstart")
    run(config)
    model = load_model("run/last.safetensors")
    assert not model.training
    task = build_task(config)
    batch = next(task.eval_batches("valid", 12))
    total, count = task.loss(answer(model(batch.inputs)[0]), batch)
    assert total.item() / count == pytest.approx(records(split="valid")[-1].loss)


def test_time_before_an_interruption_counts_though_no_record_was_due(monkeypatch):
    config = small("quickstart", "train.steps=9", "train.log_every=1000", "train.eval_every=1000")
    with monkeypatch.context() as patched:
        stop_after(7, patched)
        summary = run(config).summary
    assert (summary.status, records()) == ("interrupted", [])
    RunDir(Path("run")).write_summary(summary.model_copy(update={"elapsed_s": 500.0}))
    assert run(config, resume=True).summary.elapsed_s > 500


def test_learning_rate_of_a_step_is_the_schedules():
    state, recipe, _ = one_step(small("quickstart", "schedule.warmup=4", "optimizer.lr=0.1"))
    assert state.optimizer.param_groups[0]["lr"] == pytest.approx(0.1 / 5)
    assert current_lr(state, recipe) == pytest.approx(0.2 / 5)


def test_the_seed_reaches_the_parameters():
    weights = [
        build_model(c := small("quickstart", f"seed={seed}"), build_task(c).spec).head.weight for seed in (0, 0, 1)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_model_loads_without_its_text(text_folder):
    run(small("words", f"task.path={text_folder}"))
    for file in text_folder.iterdir():
        file.unlink()
    assert load_model("run").head.out_features == len(load_checkpoint(Path("run/best.safetensors")).header.vocabulary)


def test_the_logged_learning_rate_is_the_one_used():
    overrides = ("train.steps=6", "train.log_every=1", "optimizer=sgd", "optimizer.lr=1.0")
    run(small("quickstart", *overrides, "schedule={name: step, every: 3, factor: 0.1}"))
    rates = [r.lr for r in records(split="train")]
    assert rates == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1])


def test_training_records_reach_the_last_step_however_the_run_ends():
    config = small(
        "quickstart", "train.steps=40", "train.patience=1", "train.log_every=30", "optimizer=sgd", "optimizer.lr=1e-30"
    )
    summary = run(config).summary
    assert records(split="train")[-1].step == summary.steps == 4
    assert summary.sequences_per_s > 0


def test_a_validation_loss_that_is_not_finite_is_a_divergence():
    config = small("quickstart", "train.steps=1", "optimizer=sgd", "optimizer.lr=1e38", "optimizer.clip_norm=null")
    outcome = run(config)
    assert (outcome.exit_code, outcome.summary.status) == (3, "diverged")
    assert "the validation loss after step 1" in outcome.message


def test_best_is_saved_before_last(monkeypatch):
    """A kill between the two must leave a last.safetensors that finds this best again."""
    import seqtrain.runs.run as module

    saved = []
    original = module.save_checkpoint
    monkeypatch.setattr(
        module, "save_checkpoint", lambda path, content: saved.append(path.name) or original(path, content)
    )
    run(small("quickstart", "train.steps=2"))
    assert saved == ["best.safetensors", "last.safetensors"]


def test_resume_without_a_checkpoint_touches_nothing_of_another_run():
    run(small("quickstart"))
    Path("run/last.safetensors").unlink()
    before = {file.name: file.read_bytes() for file in Path("run").iterdir()}
    with pytest.raises(CheckpointError, match=r"has no last\.safetensors to resume from"):
        run(small("quickstart", "seed=4"), resume=True)
    assert {file.name: file.read_bytes() for file in Path("run").iterdir()} == before
    assert run(small("quickstart"), resume=True).exit_code == 0


def test_a_torn_checkpoint_cannot_be_resumed_and_the_cures_work():
    run(small("quickstart"))
    whole = Path("run/last.safetensors").read_bytes()
    Path("run/last.safetensors").write_bytes(torn := whole[: len(whole) // 2])
    with pytest.raises(CheckpointError) as caught:
        run(small("quickstart"), resume=True)
    assert str(caught.value) == (
        "run/last.safetensors: is damaged (its checksum does not fit its contents); the run cannot go on from it: "
        "start anew with --overwrite (in a comparison, remove the folder), or in another directory with --out; "
        "run/best.safetensors can still be evaluated"
    )
    assert Path("run/last.safetensors").read_bytes() == torn
    assert evaluate_checkpoint(Path("run/best.safetensors")).step > 0
    Path("run/best.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"in another directory with --out$"):
        run(small("quickstart"), resume=True)
    run(small("quickstart"), overwrite=True)
    assert Path("run/last.safetensors").read_bytes() == whole


def test_resume_refuses_fewer_steps_than_are_done():
    run(small("quickstart"))
    with pytest.raises(CheckpointError, match="has 4 steps done, the config asks for 3"):
        run(small("quickstart", "train.steps=3"), resume=True)


def test_two_processes_never_share_a_directory():
    directory = RunDir(Path("run"))
    directory.create()
    with directory.locked(), pytest.raises(CheckpointError, match="another process is running in it"):
        run(small("quickstart"))
    assert run(small("quickstart")).exit_code == 0


# --- learning ---------------------------------------------------------------------------------------------------


def test_a_short_adding_problem_is_learnt():
    """The whole machine at work: far below the baseline in seconds."""
    config = load_config(
        "quickstart",
        ["task.length=10", "model.hidden_size=16", "train.steps=400", "train.eval_every=400", "optimizer.lr=0.01"],
    )
    summary = run(config).summary
    assert summary.test["mse"] < summary.baseline["mse"] / 20


def test_a_resume_with_nothing_to_train_leaves_the_config_of_the_run(capfd):
    run(small("quickstart"))
    before = Path("run/config.yaml").read_bytes()
    again = train_run(small("quickstart", "engine=reference"), Path("run"), resume=True)
    assert again.summary.steps == 4
    assert "engine changed: the last digits may differ" in capfd.readouterr().err
    assert Path("run/config.yaml").read_bytes() == before
    run(small("quickstart", "engine=reference", "train.steps=6"), resume=True)
    assert "engine: reference" in Path("run/config.yaml").read_text()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_no_optimizer_loads_the_compiler_of_pytorch(name, monkeypatch):
    """It takes a second, at the start of every command that trains."""
    section = load_config("quickstart", [f"optimizer={name}"]).optimizer
    for method in vars(torch.optim.Optimizer).values():
        if inner := getattr(method, "__wrapped__", None):
            monkeypatch.delattr(inner, "__dynamo_disable", raising=False)
    monkeypatch.setitem(sys.modules, "torch._dynamo", None)  # importing it fails
    base.eager.cache_clear()
    weight = torch.nn.Parameter(torch.ones(2))
    built = section.build([weight])
    assert isinstance(built, section.torch_class)
    for _ in range(2):
        weight.grad = torch.ones(2)
        built.step()
    assert (weight < 1).all()
    built.load_state_dict(built.state_dict())
    built.zero_grad()
