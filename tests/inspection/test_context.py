"""Effective memory: of a delay line exactly its delay, whatever surrounds it."""

import pytest
import torch
from inspected import made
from torch import nn

from seqtrain.cells.base import Cell, HiddenState
from seqtrain.inspection import context as module
from seqtrain.inspection.context import Context, effective_context, growing, influence
from seqtrain.models import SequenceModel, Stack
from seqtrain.tasks.base import Batch

SYMBOLS = 4


class DelayLine(Cell):
    """Gives the input of `delay` steps before: a register that is shifted at each step."""

    def __init__(self, input_size, hidden_size, delay):
        super().__init__(input_size, hidden_size)
        self.delay = delay
        self.weight = nn.Parameter(torch.ones(()))

    def project(self, x):
        return x * self.weight

    def step(self, x_gates, state):
        register = torch.cat([x_gates, state.hidden[:, : -self.input_size]], 1)
        return HiddenState(register)

    def initial_state(self, batch_size):
        return HiddenState(torch.zeros(batch_size, self.hidden_size))


class Read(nn.Module):
    """Sure of the symbol that leaves the register."""

    def forward(self, features):
        return 20 * features[..., -SYMBOLS:]


def delay_line(delay, direction="forward"):
    from seqtrain.models.model import OneHot

    size = SYMBOLS * (delay + 1)
    stack = Stack(lambda i, h: DelayLine(i, h, delay), SYMBOLS, [size], direction=direction)
    return SequenceModel(OneHot(SYMBOLS), stack, Read(), every_step=True)


def delayed(delay, length=40, count=30):
    inputs = torch.randint(SYMBOLS, (length, count), generator=torch.Generator().manual_seed(1))
    targets = torch.cat([torch.zeros(delay, count, dtype=torch.long), inputs[: length - delay]])
    return Batch(inputs, targets)


@pytest.fixture(scope="module")
def task():
    return made({"name": "copy_memory", "length": 3}, cell="rnn")[1]


@pytest.mark.parametrize("delay", [0, 1, 2, 3, 7, 16, 17, 30])
def test_a_delay_line_has_the_memory_of_its_delay(task, delay):
    context = effective_context(delay_line(delay), task, delayed(delay))
    assert context.steps_back() == delay
    assert context.interval() == (delay, delay)


@pytest.mark.parametrize("delay", [0, 5, 12])
def test_only_the_input_of_that_distance_matters(task, delay):
    found = influence(delay_line(delay), task, delayed(delay), range(20), advance=lambda: None)
    mean = found.mean()
    assert mean[delay] > 1
    assert torch.cat([mean[:delay], mean[delay + 1 :]]).abs().max() == 0


def test_sequences_of_different_lengths(task):
    batch = delayed(4)
    lengths = torch.randint(10, 41, (30,), generator=torch.Generator().manual_seed(2))
    padded = Batch(batch.inputs, batch.targets, lengths, torch.arange(40)[:, None] < lengths)
    assert effective_context(delay_line(4), task, padded).steps_back() == 4
    distances = [*range(12)]
    changes = influence(delay_line(4), task, padded, distances, advance=lambda: None).changes
    missing = torch.tensor(distances)[:, None] > lengths - 1
    assert bool(changes[missing].isnan().all())


def test_a_prediction_after_the_last_step():
    model, task = made({"name": "adding", "length": 12}, cell="lstm")
    batch = next(task.eval_batches("valid", 8))
    context = effective_context(model, task, batch)
    assert context.sizes[-1] == 12
    outputs = model.predict(batch.inputs)[0].outputs.detach()
    torch.testing.assert_close(context.losses[-1].float(), (outputs - batch.targets).square().mean(1))
    outputs = model.predict(batch.inputs[-5:])[0].outputs.detach()
    row = context.sizes.tolist().index(5)
    torch.testing.assert_close(context.losses[row].float(), (outputs - batch.targets).square().mean(1))


def test_a_backward_delay_line(task):
    batch = delayed(3)
    ahead = Batch(batch.inputs, batch.inputs.roll(-3, 0), None, (torch.arange(40) < 30)[:, None].expand(40, 30))
    model = delay_line(3, "backward")
    with pytest.raises(ValueError, match="reads backward"):
        effective_context(model, task, ahead)
    mean = influence(model, task, ahead, range(-9, 5), advance=lambda: None).mean()
    assert mean.argmax() == 9 - 3
    assert (mean > 0).sum() == 1


def test_an_interval_covers_what_sampling_leaves_open():
    """One of six sequences needs 6 steps back, the others 2. A third of the samples leave that one out."""
    needs = torch.tensor([2, 2, 2, 2, 2, 6])
    sizes = torch.arange(1, 10)
    context = Context(sizes, (sizes[:, None] <= needs).double())
    assert context.steps_back() == 6
    assert context.interval() == (2, 6)


def test_sizes_grow_to_the_longest():
    assert growing(1) == [1]
    assert growing(10) == [1, 2, 3, 5, 8, 10]
    assert growing(100)[-2:] == [86, 100]


def test_the_interval_is_not_rounded_to_the_sampled_sizes(task, monkeypatch):
    """Sequences need 3, 14 or 25 steps back: both ends of the interval lie between sizes that are tried at first."""
    needs = torch.tensor([3, 14, 25])[torch.arange(30) % 3]

    def losses(model, task, batch, at):
        return (len(batch.inputs) <= needs).double()

    monkeypatch.setattr(module, "_losses", losses)
    context = effective_context(delay_line(3), task, delayed(3, length=60))
    assert context.steps_back() == 25
    assert context.interval() == (25, 25)
    needs = torch.where(torch.arange(30) == 0, 44, needs)
    context = effective_context(delay_line(3), task, delayed(3, length=60))
    assert (context.steps_back(), context.interval()) == (44, (25, 44))


def test_the_tolerance_is_one_percent_of_the_loss_or_of_what_the_context_brings():
    sizes = torch.arange(1, 6)
    for losses, wanted in [
        ([3.0, 2.0, 1.04, 1.025, 1.0], 4),  # 1 % of the gain of 2 is 0.02
        ([3.0, 2.0, 1.04, 1.019, 1.0], 3),
        ([1.02, 1.011, 1.009, 1.008, 1.0], 2),  # 1 % of the loss
        ([1.0, 0.5, 0.011, 0.009, 0.0], 3),
    ]:
        context = Context(sizes, torch.tensor(losses)[:, None])
        assert context.steps_back() == wanted
