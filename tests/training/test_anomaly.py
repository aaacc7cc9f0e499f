"""Where a run stopped being finite: a fault is planted at a known place, and that place must be named."""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import SMALL, SMALL_SETS
from small import run, small

import seqtrain.runs.trainer
from seqtrain.cells import CELLS
from seqtrain.config.build import build_model, build_optimizer, build_recipe, build_task
from seqtrain.runs.checkpoint import load_checkpoint
from seqtrain.runs.directory import RunDir
from seqtrain.runs.trainer import train_run
from seqtrain.system.errors import ConfigError, Diverged
from seqtrain.training import anomaly as divergence
from seqtrain.training.state import TrainState
from seqtrain.training.step import train_step


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


class Trial:
    """A model and what is needed for a step, to plant a fault in."""

    def __init__(self, name, *overrides, **changes):
        self.config = small(name, *overrides)
        self.task = build_task(self.config)
        self.model = build_model(self.config, self.task.spec)
        self.state = TrainState(self.model, build_optimizer(self.config, self.model))
        train = self.config.train.model_copy(update=changes)
        self.recipe = build_recipe(self.config.model_copy(update={"train": train}), self.task)
        self.batch = self.task.train_batch(0, 4)

    def cell(self, layer, direction=0):
        return self.model.stack.layers[layer][direction]

    def step(self):
        train_step(self.state, self.recipe, self.batch)

    def report(self):
        """Of the step, which must diverge and change nothing."""
        before = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        with pytest.raises(Diverged) as caught:
            self.step()
        assert self.state.step == 0
        for name, p in self.model.named_parameters():
            torch.testing.assert_close(p.detach(), before[name], rtol=0, atol=0, equal_nan=True)
        self.message = str(caught.value)
        return caught.value.report

    def first(self):
        return {key: value for key, value in self.report()["first"].items() if value is not None}


def place(part, kind="nan", computing="forward", **where):
    return {"kind": kind, "computing": computing, "part": part} | where


RELU = "model.cell={name: rnn, nonlinearity: relu}"


def linear(cell, slope, bias):
    """Make a plain cell see slope * h + bias, unit by unit, whatever comes in."""
    with torch.no_grad():
        cell.w_x.zero_()
        cell.w_h.copy_(slope * torch.eye(cell.hidden_size))
        cell.b.fill_(bias)


VARIED = "task={name: adding, variant: hochreiter, length: 30, valid_size: 12, test_size: 12}"
DIRECTIONS = [("forward", 0), ("backward", 0), ("bidirectional", 0), ("bidirectional", 1)]


@pytest.mark.parametrize(("direction", "second"), DIRECTIONS)
@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize(
    ("cell", "gate"),
    [(name, gate) for name, cls in CELLS.items() if name != "odyssey" for gate in cls.gates]
    + [("{name: gru, reset: before}", "n"), ("{name: coupled, peepholes: true}", "o")]
    + [("{name: odyssey, ablation: full_gate_recurrence}", "f"), ("{name: odyssey, ablation: no_forget_gate}", "o")],
)  # fmt: skip
def test_a_gate_with_a_bad_weight_is_named(cell, gate, layer, direction, second):
    trial = Trial("quickstart", VARIED, f"model.cell={cell}", "model.depth=2", f"model.direction={direction}")
    guilty = trial.cell(layer, second)
    guilty.block(guilty.w_h, gate)[2, 3] = math.nan
    reverse = direction == "backward" or second == 1
    first = trial.batch.lengths.max().item() - 1 if reverse else 0  # of the walk; padding is not looked at
    report = trial.report()
    assert {key: value for key, value in report["first"].items() if value is not None} == place(
        "gate", name=gate, layer=layer + 1, direction="backward" if reverse else "forward", time=first
    )
    name = f"stack.layers.{layer}.{second}.w_h"
    assert report["weights"] == [name]
    assert f"not finite before the step: {name}; first nan: gate {gate}, layer {layer + 1}" in trial.message


@pytest.mark.parametrize("engine", ["reference", "auto"])
@pytest.mark.parametrize("time", [0, 7, 99])
def test_a_bad_input_is_named_with_its_time(engine, time):
    trial = Trial("quickstart", f"engine={engine}")
    trial.batch.inputs[time:, 2, 0] = math.inf
    assert trial.first() == place("input", "inf", layer=1, time=time)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_what_padding_holds_is_nothing_to_name(direction):
    """A gate is at fault from the first step on; the padding, which a walk backward meets before that, is worse."""
    trial = Trial("quickstart", VARIED, f"model.direction={direction}")
    lengths = trial.batch.lengths.tolist()
    assert min(lengths) < max(lengths)
    for column, length in enumerate(lengths):
        trial.batch.inputs[length:, column] = math.nan
    trial.step()
    trial.state.step = 0
    trial.cell(0).block(trial.cell(0).w_h, "g")[0, 0] = math.nan
    first = max(lengths) - 1 if direction == "backward" else 0
    assert trial.first() == place("gate", name="g", layer=1, direction=direction, time=first)


@pytest.mark.parametrize("time", [0, 3])
def test_a_bad_row_of_the_embedding_is_named_with_the_time_at_which_it_is_read(text_folder, time):
    trial = Trial("words", f"task.path={text_folder}", "task.window=5")
    trial.batch.inputs[:] = 1
    trial.batch.inputs[time:, 1] = 0
    with torch.no_grad():
        trial.model.encoder.weight[0] = math.nan
    assert trial.first() == place("embedding", layer=1, time=time)


def test_a_carried_state_is_named(text_folder):
    trial = Trial("words", f"task.path={text_folder}", "task.window=5", "model.depth=2")
    trial.step()
    trial.state.step, trial.batch = 0, trial.task.train_batch(1, 4)
    assert not trial.batch.fresh
    trial.state.carried[1][0].cell[2, 1] = math.nan
    assert trial.first() == place("carried state", name="cell", layer=2, direction="forward")


def test_the_output_is_named_with_its_time(text_folder):
    trial = Trial("words", f"task.path={text_folder}", "task.window=5")
    with torch.no_grad():
        trial.model.head.bias[3] = math.nan
    assert trial.first() == place("output", time=0)
    trial = Trial("quickstart")
    with torch.no_grad():
        trial.model.head.bias.fill_(-math.inf)
    assert trial.first() == place("output", "inf")


def test_a_loss_and_a_penalty_are_named():
    trial = Trial("quickstart")
    trial.batch.targets.fill_(1e30)
    assert trial.first() == place("loss", "inf")
    trial = Trial("quickstart", ar=1e39)
    assert trial.first() == place("penalty", "inf")


CELLS_OF_A_USER = """
from typing import NamedTuple

import torch
from seqtrain.cells import Cell
from seqtrain.cells.base import HiddenState

class Cumulative(Cell):
    'Overflows at time 7 and, where the square root is 0, has an infinite gradient.'
    def __init__(self, input_size, hidden_size, root=False):
        super().__init__(input_size, hidden_size)
        self.line = torch.nn.Linear(input_size, hidden_size)
        self.root = root

    def project(self, x):
        return self.line(x)

    def initial_state(self, batch_size):
        return HiddenState(torch.zeros(batch_size, self.hidden_size))

    def step(self, x_gates, state):
        if self.root:
            energy = self.observe(energy=(state.hidden - state.hidden).sqrt())
            return HiddenState(torch.tanh(x_gates + energy))
        count = self.observe(count=state.hidden.abs() * 1e5 + 1)
        surprise = self.observe(surprise=count * 1e4)
        return HiddenState(surprise / 1e4)


class Dividing(Cumulative):
    'Infinite wherever the input is 0, as it is made in padding: in `step`, or ahead of it.'
    def __init__(self, input_size, hidden_size, ahead=False):
        super().__init__(input_size, hidden_size)
        self.ahead = ahead

    def project(self, x):
        value = x[..., :1].expand(-1, -1, self.hidden_size)
        return self.line(x) + 1 / value if self.ahead else value

    def step(self, x_gates, state):
        return HiddenState(state.hidden + (x_gates if self.ahead else 1 / x_gates))


class Root(Cumulative):
    'Has an infinite slope at 0, which is what padding holds.'
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.scale = torch.nn.Parameter(torch.ones(hidden_size))

    def project(self, x):
        return self.scale * x[..., :1]

    def step(self, x_gates, state):
        square = self.observe(square=x_gates * x_gates)
        return HiddenState(square.sqrt())


class Counted(NamedTuple):
    hidden: torch.Tensor
    count: torch.Tensor


class Overflowing(Cumulative):
    'Its count passes 3.4e38 at the 4th step; that harms the output of the next.'
    def initial_state(self, batch_size):
        return Counted(torch.zeros(batch_size, self.hidden_size), torch.ones(batch_size, 1))

    def step(self, x_gates, state):
        return Counted(torch.tanh(x_gates + 0 * state.count), 1e10 * state.count)
"""


@pytest.fixture
def users_cell(monkeypatch):
    Path("cumulative.py").write_text(CELLS_OF_A_USER)
    monkeypatch.syspath_prepend(str(Path.cwd()))
    yield "cumulative:Cumulative"
    sys.modules.pop("cumulative", None)


@pytest.mark.parametrize(("direction", "reverse"), [("forward", False), ("backward", True)])
def test_a_users_cell_is_told_of_by_its_own_names(users_cell, direction, reverse):
    """h after k steps is about 1e5 ** (k - 1); times 1e4 that passes 3.4e38 at the 8th step."""
    trial = Trial("quickstart", f"model.cell={users_cell}", f"model.direction={direction}")
    time = 99 - 7 if reverse else 7
    assert trial.first() == place("variable", "inf", name="surprise", layer=1, direction=direction, time=time)


@pytest.mark.parametrize(("ahead", "named"), [(False, ("state", "hidden")), (True, ("variable", "x_gates"))])
def test_padding_is_not_looked_at_within_a_step_either(users_cell, ahead, named):
    """The padding divides by 0 from the end of the shortest sequence on; one sequence does so at step 20 of its own."""
    cell = f"{{name: 'cumulative:Dividing', ahead: {str(ahead).lower()}}}"
    trial = Trial("quickstart", VARIED, f"model.cell={cell}", "model.direction=backward")
    shortest, longest = trial.batch.lengths.min().item(), trial.batch.lengths.max().item()
    assert shortest < longest
    trial.batch.inputs[..., 0] = 1.0
    trial.batch.inputs[20, 1, 0] = 0.0
    part, name = named
    assert trial.first() == place(part, "inf", name=name, layer=1, direction="backward", time=20)


def test_a_state_that_overflows_behind_the_last_output_is_named_in_its_own_window(users_cell, text_folder):
    """The loss of the first window is finite; in the second the infinite count would only have been carried along."""
    trial = Trial("words", f"task.path={text_folder}", "model.cell=cumulative:Overflowing")
    trial.task.eval_window = 4
    report = divergence.examine_evaluation(trial.model.eval(), trial.task.eval_batches("valid", 1), trial.task)
    report = report.as_json()
    assert report["batch"] == 0
    assert {k: v for k, v in report["first"].items() if v is not None} == place(
        "state", "inf", name="count", layer=1, direction="forward", time=3
    )


@pytest.mark.parametrize(("direction", "time"), [("forward", 98), ("backward", 1)])
def test_a_gradient_is_named_with_the_step_back_in_time(users_cell, direction, time):
    """Everything forward is finite; the gradient of the last root is not."""
    trial = Trial("quickstart", f"model.cell={{name: {users_cell}, root: true}}", f"model.direction={direction}")
    report = trial.report()
    assert {k: v for k, v in report["first"].items() if v is not None} == place(
        "state", computing="backward", name="hidden", layer=1, direction=direction, time=time
    )
    assert report["gradients"] == ["stack.layers.0.0.line.weight", "stack.layers.0.0.line.bias"]
    assert math.isfinite(report["loss"])


def test_a_gradient_that_padding_spoils_is_named(users_cell):
    """Zero times an infinite slope: the walk back meets the padding of the shorter sequences first."""
    trial = Trial("quickstart", VARIED, "model.cell=cumulative:Root")
    trial.batch.inputs[..., 0] = 1.0
    last = trial.batch.lengths.max().item() - 1
    assert trial.first() == place("variable", "nan", "backward", name="square", layer=1, direction="forward", time=last)


@pytest.mark.parametrize("engine", ["reference", "auto"])
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_a_state_that_grows_is_named_when_it_overflows(engine, direction):
    """h = 10 h + 1 from 0 is 10 ** k / 9 after k steps; that passes 3.4e38 at the 40th."""
    trial = Trial("quickstart", RELU, f"model.direction={direction}", f"engine={engine}")
    linear(trial.cell(0), 10.0, 1.0)
    assert trial.first() == place(
        "gate", "inf", name="h", layer=1, direction=direction, time=39 if direction == "forward" else 99 - 39
    )


@pytest.mark.parametrize(("direction", "start"), [("forward", 99), ("backward", 0)])
def test_how_the_gradient_of_h_grew_is_told(direction, start):
    """h = tanh(4 h) = 0, with slope 4: k steps back a gradient of 1e20 is 1e20 * 4 ** k, over 3.4e38 at k = 31."""
    trial = Trial("quickstart", "model.cell=rnn", f"model.direction={direction}")
    linear(trial.cell(0), 4.0, 0.0)
    with torch.no_grad():
        trial.model.head.weight.fill_(1e20)
    trial.recipe.task.loss = lambda prediction, _: (prediction.outputs.sum(), 1)
    report = trial.report()
    (growth,) = report["growth"]
    assert growth["factor_per_step"] == pytest.approx(4.0)
    assert (growth["from_time"], growth["from_norm"]) == (start, pytest.approx(1e20 * math.sqrt(4 * 6)))
    assert abs(growth["to_time"] - start) == 30
    assert (report["first"]["computing"], report["first"]["kind"]) == ("backward", "inf")
    assert abs(report["first"]["time"] - start) == 31
    assert "the gradient of h changed by a factor of 4 a step" in trial.message


def test_growth_begins_where_there_is_a_gradient():
    """The longest sequence has no part in the loss, so that on the way back a gradient comes only with the others."""
    trial = Trial("quickstart", VARIED, "model.cell=rnn")
    linear(trial.cell(0), 4.0, 0.0)
    lengths = trial.batch.lengths
    begin = int(lengths[counted := lengths < lengths.max()].max())
    trial.recipe.task.loss = lambda prediction, _: (prediction.outputs[counted].sum() * 1e30, 1)
    (growth,) = trial.report()["growth"]
    assert growth["from_time"] == begin - 1
    assert growth["from_norm"] > 0
    assert growth["factor_per_step"] > 1


def test_a_norm_that_overflows_over_finite_gradients_says_so():
    """It belongs to no layer: the largest growth of all is told, h = tanh(2 h) = 0 with slope 2, not 1 / 2."""
    trial = Trial("quickstart", "task.length=9", "model.cell=rnn", "model.direction=bidirectional")
    linear(trial.cell(0, 0), 0.5, 0.0)
    linear(trial.cell(0, 1), 2.0, 0.0)
    trial.recipe.task.loss = lambda prediction, _: (prediction.outputs.sum() * 1e25, 1)
    assert trial.first() == place("norm", "inf", "backward")
    assert "first inf: norm of all gradients" in trial.message
    assert "the gradient of h changed by a factor of 2 a step" in trial.message


def test_an_engine_at_fault_is_not_covered_up():
    trial = Trial("quickstart", "engine=fused")
    healthy = trial.model.stack.loop

    def broken(*arguments, **options):
        outputs, state = healthy.unroll(*arguments, **options)
        return outputs, type(state)(*(part * math.nan for part in state))

    trial.model.stack.loop = healthy._replace(unroll=broken)
    report = trial.report()
    assert (report["first"], report["engine"]) == (None, healthy.name)
    assert f"the plain loop stays finite on the same batch: the numbers are at the edge of their range, or engine " \
        f"{healthy.name} is at fault" in trial.message  # fmt: skip
    assert trial.model.stack.loop.unroll is broken


def test_a_repetition_that_runs_out_of_memory_hides_nothing(monkeypatch):
    def step(*_):
        raise MemoryError("1 TiB")

    trial = Trial("quickstart")
    trial.batch.inputs.fill_(math.nan)
    monkeypatch.setattr(type(trial.cell(0)), "step", step)
    report = trial.report()
    assert (report["first"], report["failure"]) == (None, "1 TiB")
    assert "loss nan" in trial.message
    assert "the plain loop could not repeat it (1 TiB)" in trial.message


DROPPED = (
    "model.depth=2", "model.dropout=0.3", "model.weight_drop=0.3", "model.zoneout_hidden=0.2",
    "model.zoneout_memory=0.1", "model.input_dropout=0.2", "model.output_dropout=0.2", "model.embedding_dropout=0.2",
)  # fmt: skip


def test_the_repetition_is_the_very_step(text_folder):
    """With every kind of mask and a carried state: the same loss, to the bit."""
    trial = Trial("words", f"task.path={text_folder}", "task.window=5", *DROPPED, ar=1.0, tar=1.0)
    trial.step()
    trial.state.step, trial.batch = 0, trial.task.train_batch(1, 4)
    original, losses = trial.task.loss, []

    def spoiled(prediction, batch):
        total, count = original(prediction, batch)
        losses.append(total.item())
        return total * math.nan, count

    trial.recipe.task.loss = spoiled
    assert trial.first() == place("loss")
    assert losses[0] == losses[1]
    trial.state.carried = None
    trial.report()
    assert losses[2] == losses[3] != losses[0]


@pytest.mark.parametrize(("cell", "gate"), [("lstm", "f"), ("peephole", "i"), ("odyssey", "o")])
@pytest.mark.parametrize("layer", [0, 1])
def test_a_gate_is_named_through_every_kind_of_dropout(text_folder, cell, gate, layer):
    trial = Trial("words", f"task.path={text_folder}", "task.window=5", f"model.cell={cell}", *DROPPED)
    trial.cell(layer).block(trial.cell(layer).b, gate).fill_(math.nan)
    assert trial.first() == place("gate", name=gate, layer=layer + 1, direction="forward", time=0)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_watching_changes_no_gradient(cell):
    """Held to the engine; the watch only looks."""
    still = ("optimizer=sgd", "optimizer.lr=1e-30", "optimizer.clip_norm=null")
    trial = Trial("quickstart", VARIED, f"model.cell={cell}", "model.depth=2", "model.direction=bidirectional", *still)
    trial.step()
    wanted = {name: p.grad.clone() for name, p in trial.model.named_parameters()}
    report = divergence.examine(
        trial.model,
        lambda: seqtrain.training.step.forward(trial.state, trial.recipe, trial.batch),
        trial.batch.lengths,
        backward=True,
    )
    assert report.first is None
    for name, p in trial.model.named_parameters():
        torch.testing.assert_close(p.grad, wanted[name], rtol=1e-4, atol=1e-6)
    assert [(run.layer, run.direction) for run in report.growth] == [
        (layer, direction) for layer in (1, 2) for direction in ("backward", "forward")
    ]


def test_an_observer_stays_where_it_was():
    trial = Trial("quickstart")
    trial.batch.inputs.fill_(math.nan)
    observer = trial.cell(0).observer = lambda _: None
    trial.report()
    assert trial.cell(0).observer is observer


# --- the run ----------------------------------------------------------------------------------------------------

WILD = ("optimizer=sgd", "optimizer.lr=1e6", "optimizer.clip_norm=null", RELU)


def test_an_exploding_run_is_exit_3_with_a_sentence_and_a_report(seqtrain):
    found = seqtrain("train", "quickstart", *SMALL, *SMALL_SETS, *WILD, "train.steps=50", "--json", "--quiet")
    assert found.code == 3
    report = found.json["divergence"]
    assert report == json.loads(next(Path("runs").rglob("summary.json")).read_text())["divergence"]
    assert (report["split"], report["step"], report["lr"], report["loss"]) == ("train", 2, 1e6, None)
    first = report["first"]
    assert (first["part"], first["name"], first["layer"]) == ("gate", "h", 1)
    largest = report["largest_weight"]
    for told in (f"layer 1, forward, t = {first['time']};", f"{largest['value']:.3g} in {largest['parameter']}"):
        assert told in found.err
    assert found.err.count("\n") == 1


def test_the_table_counts_skipped_steps(seqtrain):
    skip = ("train.on_divergence=skip", "train.max_skips=3", "train.steps=50", "train.eval_every=100")
    shown = seqtrain("train", "quickstart", *SMALL[:1], *SMALL_SETS, *WILD, *skip, "--quiet")
    assert shown.code == 3
    assert "diverged, not solved, 3 steps skipped" in " ".join(shown.out.split())


def test_the_largest_weight_is_the_one_that_it_is():
    trial = Trial("quickstart")
    with torch.no_grad():
        trial.cell(0).w_x[1, 1] = -77.5
        trial.cell(0).b[0] = math.nan
        trial.cell(0).b[1] = math.inf
    report = trial.report()
    assert report["largest_weight"] == {"parameter": "stack.layers.0.0.w_x", "value": 77.5}
    assert report["weights"] == ["stack.layers.0.0.b"]


@pytest.mark.parametrize("columns", [2, 5])
def test_a_validation_loss_that_is_not_finite_names_the_batch(monkeypatch, columns):
    config = small("quickstart", f"train.eval_batch_size={columns}")
    original = type(build_task(config)).sample_fixed

    def spoiled(self, split, size):
        batch = original(self, split, size)
        if batch.size > 7:  # also asked for the shapes alone
            batch.inputs[31, 7] = math.nan
        return batch

    monkeypatch.setattr(type(build_task(config)), "sample_fixed", spoiled)
    outcome = run(config)
    assert outcome.exit_code == 3
    report = outcome.summary.divergence
    assert (report["split"], report["step"], report["batch"]) == ("valid", 2, 7 // columns)
    assert {k: v for k, v in report["first"].items() if v is not None} == place("input", layer=1, time=31)
    assert f"t = 31, batch {7 // columns};" in outcome.message


def test_a_text_is_followed_through_its_windows_with_the_state_carried(text_folder):
    """h = 10 h + 1 passes 3.4e38 at the 40th step of the text, which the tenth window of 4 holds."""
    trial = Trial("words", f"task.path={text_folder}", RELU)
    linear(trial.cell(0), 10.0, 1.0)
    trial.task.eval_window = 4
    report = divergence.examine_evaluation(trial.model.eval(), trial.task.eval_batches("valid", 1), trial.task)
    report = report.as_json()
    assert report["batch"] == 9
    assert {k: v for k, v in report["first"].items() if v is not None} == place(
        "gate", "inf", name="h", layer=1, direction="forward", time=3
    )


def test_sequences_that_are_apart_are_followed_apart():
    """h = 10 h + 1 is finite after 20 steps of one batch; carried on into the next it would overflow at the 40th."""
    trial = Trial("quickstart", RELU, "task.length=20")
    linear(trial.cell(0), 10.0, 1.0)
    with torch.no_grad():
        trial.model.head.weight.zero_()
    report = divergence.examine_evaluation(trial.model.eval(), trial.task.eval_batches("valid", 4), trial.task)
    assert report.batch is None


def test_a_finite_step_is_never_examined(monkeypatch):
    monkeypatch.setattr(divergence, "examine", None)
    monkeypatch.setattr(divergence, "is_finite", None)
    assert run(small("words", "train.on_divergence=skip")).summary.divergence is None


# --- skipping ---------------------------------------------------------------------------------------------------


def spoil(monkeypatch, config, *steps, loss_too=True):
    """Make the gradient of these steps not finite, and their loss too unless that is to stay what it is."""
    task = type(build_task(config))
    batch_of, loss = task.train_batch, task.loss

    def train_batch(self, step, batch_size):
        batch = batch_of(self, step, batch_size)
        return replace(batch, marks=torch.tensor(1 if loss_too else 2)) if step in steps else batch

    def spoiled(self, prediction, batch):
        total, count = loss(self, prediction, batch)
        if batch.marks is None or batch.marks.dim():
            return total, count
        return total * math.nan if batch.marks == 1 else total + (0 * total).sqrt(), count

    monkeypatch.setattr(task, "train_batch", train_batch)
    monkeypatch.setattr(task, "loss", spoiled)


SKIP = ("train.steps=9", "train.on_divergence=skip", "train.log_every=1", "model.dropout=0", "task.window=7")


@pytest.mark.parametrize("loss_too", [True, False])
def test_skipped_steps_change_nothing_but_the_count(monkeypatch, loss_too):
    config = small("words", *SKIP, "train.max_skips=2")
    spoil(monkeypatch, config, 3, 6, loss_too=loss_too)
    summary = run(config).summary
    assert (summary.status, summary.steps, summary.skipped_steps) == ("finished", 9, 2)
    records = [r for r in RunDir(Path("run")).read_metrics() if r.split == "train"]
    assert [r.skipped_steps for r in records] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert [r.step for r in records if r.loss is None or r.grad_norm is None] == [4, 7]
    assert load_checkpoint(Path("run/last.safetensors")).training["optimizer/0/step"].item() == 7


def test_means_leave_skipped_steps_out(monkeypatch):
    still = ("optimizer=sgd", "optimizer.lr=1e-30", "train.log_every=4")
    alone = []
    for step in (0, 1, 3):
        trial = Trial("quickstart", *still)
        trial.batch = trial.task.train_batch(step, 4)
        trial.step()
        alone.append((float(trial.state.window_loss), float(trial.state.window_norm)))
    config = small("quickstart", *still, "train.on_divergence=skip", "train.eval_every=8")
    spoil(monkeypatch, config, 2)
    run(config)
    (record,) = [r for r in RunDir(Path("run")).read_metrics() if r.split == "train"]
    assert record.skipped_steps == 1
    for key, values in zip(("loss", "grad_norm"), zip(*alone, strict=True), strict=True):
        assert getattr(record, key) == pytest.approx(sum(values) / 3, rel=1e-5)


@pytest.mark.parametrize("finite", [True, False])
def test_a_text_goes_on_from_its_state_if_that_is_finite(text_folder, finite):
    trial = Trial("words", f"task.path={text_folder}", "task.window=5", on_divergence="skip", max_skips=1)
    if finite:
        trial.recipe.task.loss = lambda prediction, _: (prediction.outputs.sum() * math.nan, 1)
    else:
        trial.batch.inputs[2, 1] = 0
        with torch.no_grad():
            trial.model.encoder.weight[0] = math.nan
    trial.step()
    assert (trial.state.step, trial.state.skipped_steps, trial.state.window_steps) == (1, 1, 0)
    assert (trial.state.carried is not None) == finite


def test_one_skip_too_many_ends_the_run_with_the_report_of_the_last(monkeypatch):
    config = small("quickstart", "train.steps=9", "train.on_divergence=skip", "train.max_skips=2")
    spoil(monkeypatch, config, 1, 4, 6, 8)
    outcome = run(config)
    assert (outcome.exit_code, outcome.summary.skipped_steps) == (3, 2)
    assert (outcome.summary.steps, outcome.summary.divergence["step"]) == (6, 7)
    assert "step 7 diverged" in outcome.message
    assert "the step was withheld after 2 others; the best checkpoint is kept" in outcome.message
    assert load_checkpoint(Path("run/last.safetensors")).header.step == 6


def test_without_a_number_ten_are_skipped(monkeypatch):
    config = small("quickstart", "train.steps=40", "train.on_divergence=skip")
    spoil(monkeypatch, config, *range(3, 40))
    summary = run(config).summary
    assert (summary.skipped_steps, summary.divergence["step"]) == (10, 14)


def stop_after(steps, monkeypatch):
    original = seqtrain.runs.trainer.fit

    def stopping(*arguments, **hooks):
        asked = iter([False] * steps)
        return original(*arguments, **hooks | {"stop_requested": lambda: next(asked, True)})

    monkeypatch.setattr(seqtrain.runs.trainer, "fit", stopping)


@pytest.mark.parametrize("stop_at", [3, 4, 5])
def test_skipping_survives_a_resume_byte_for_byte(monkeypatch, stop_at):
    config = small("words", *SKIP, "train.max_skips=2", "train.log_every=3")
    spoil(monkeypatch, config, 3, 4)
    run(config, "whole")
    with monkeypatch.context() as patched:
        stop_after(stop_at, patched)
        assert run(config, "parts").summary.status == "interrupted"
    assert run(config, "parts", resume=True).summary.skipped_steps == 2
    for name in ("last.safetensors", "best.safetensors"):
        assert Path("whole", name).read_bytes() == Path("parts", name).read_bytes()


def test_the_count_goes_on_after_a_resume(monkeypatch):
    config = small("words", *SKIP, "train.max_skips=1")
    spoil(monkeypatch, config, 1, 6)
    with monkeypatch.context() as patched:
        stop_after(4, patched)
        run(config)
    ended = run(config, resume=True)
    assert ended.summary.divergence["step"] == 7
    assert ended.message.endswith("a smaller optimizer.clip_norm, or a larger train.max_skips than 1")


def test_a_diverged_run_goes_on_from_its_last_evaluation_if_told_to_skip(monkeypatch, capsys):
    config = small("quickstart", "train.steps=9")
    spoil(monkeypatch, config, 5)
    assert run(config).exit_code == 3
    saved = load_checkpoint(Path("run/last.safetensors"))
    assert (saved.header.step, Path("run/best.safetensors").exists()) == (4, True)
    assert train_run(config, Path("run"), resume=True).summary.divergence["step"] == 6
    assert "run: it diverged and will do so again; train.on_divergence=skip withholds" in capsys.readouterr().err
    skipping = small("quickstart", "train.steps=9", "train.on_divergence=skip")
    resumed = train_run(skipping, Path("run"), resume=True)
    assert (resumed.exit_code, resumed.summary.steps, resumed.summary.skipped_steps) == (0, 9, 1)
    assert "diverged" not in capsys.readouterr().err
    run(skipping, "at-once")
    assert Path("run/last.safetensors").read_bytes() == Path("at-once/last.safetensors").read_bytes()


def test_a_run_that_diverges_again_at_once_is_told_anew(monkeypatch, capsys):
    """It trained nothing, but its summary is of this attempt."""
    config = small("quickstart", "train.steps=9")
    spoil(monkeypatch, config, 4)
    run(config)
    again = train_run(small("quickstart", "train.steps=9", "engine=reference"), Path("run"), resume=True)
    assert (again.exit_code, again.summary.steps, again.summary.engine) == (3, 4, "reference")
    assert "nothing to train" not in capsys.readouterr().err


def test_time_of_steps_that_a_resume_repeats_counts_once(monkeypatch):
    """The summary knows of step 5, the checkpoint does not."""
    config = small("quickstart", "train.steps=9", "train.log_every=1")
    spoil(monkeypatch, config, 5)
    summary = run(config).summary
    assert (summary.steps, load_checkpoint(Path("run/last.safetensors")).header.step) == (5, 4)
    RunDir(Path("run")).write_summary(summary.model_copy(update={"elapsed_s": 500.0}))
    assert run(config, resume=True).summary.elapsed_s < 500


def test_max_skips_without_skipping_is_refused():
    with pytest.raises(ConfigError, match="max_skips is 3, but on_divergence is 'stop', so no step is skipped"):
        small("quickstart", "train.max_skips=3")
