"""What a training step computes in its own way, beside PyTorch's way; and the batches that are made ahead."""

import time

import pytest
import torch
from torch import nn

from seqtrain.config import load_config
from seqtrain.config.build import build_recipe, build_task
from seqtrain.config.resolve import resolved
from seqtrain.training import loop
from seqtrain.training.optimizers import base
from seqtrain.training.step import norm_of


def weights(*dtypes):
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(3 + n, 5, dtype=dtype)) for n, dtype in enumerate(dtypes)]


def give_gradients(built, step):
    """Gradients of a step; one weight takes part in every second step only."""
    for number, weight in enumerate(built.param_groups[0]["params"]):
        random = torch.Generator().manual_seed(10 * step + number)
        takes_part = number != 1 or step % 2
        weight.grad = torch.randn(weight.shape, dtype=weight.dtype, generator=random) if takes_part else None


@pytest.mark.parametrize("dtypes", [(torch.float32,) * 3, (torch.float32, torch.float32, torch.float64)])
@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_a_quick_step_gives_the_bytes_of_pytorch(name, dtypes):
    settings = [f"optimizer={name}", "optimizer.weight_decay=0.1", "optimizer.betas=[0.8, 0.95]"]
    section = load_config("quickstart", settings).optimizer
    own = section.build(weights(*dtypes))
    of_pytorch = base.eager(section.torch_class)  # its own step, without its compiler
    pytorch = of_pytorch(weights(*dtypes), lr=section.lr, betas=(0.8, 0.95), weight_decay=0.1, fused=True)
    for step in range(6):
        for built in (own, pytorch):
            built.param_groups[0]["lr"] = 0.01 * (step + 1)
            give_gradients(built, step)
            built.step()
    for a, b in zip(own.param_groups[0]["params"], pytorch.param_groups[0]["params"], strict=True):
        assert torch.equal(a, b)
        assert own.state[a].keys() == pytorch.state[b].keys()
        assert all(torch.equal(own.state[a][key], pytorch.state[b][key]) for key in own.state[a])
    own.load_state_dict(pytorch.state_dict())


def test_the_norm_of_all_gradients_is_that_of_pytorch():
    gradients = [weight.detach() for weight in weights(*[torch.float32] * 4)]
    assert torch.equal(norm_of(gradients), nn.utils.get_total_norm(gradients))
    assert norm_of([]) == 0


@pytest.fixture
def recipe():
    config = resolved(load_config("quickstart", ["task.length=4", "train.steps=50", "train.batch_size=3"]))
    return build_recipe(config, build_task(config))


def test_batches_made_ahead_are_those_of_their_steps_up_to_the_last(recipe):
    made = list(loop._batches(recipe, 7))
    assert len(made) == 43
    for step, batch in enumerate(made, 7):
        assert torch.equal(batch.inputs, recipe.task.train_batch(step, 3).inputs)


@pytest.mark.parametrize("slow", [True, False])
def test_batches_that_are_slow_or_large_are_made_one_at_a_time(recipe, monkeypatch, slow):
    task, asked = recipe.task, []
    train_batch = task.train_batch

    def noted(step, size):
        asked.append(step)
        if slow:
            time.sleep(loop.AHEAD_S)
        return train_batch(step, size)

    monkeypatch.setattr(task, "train_batch", noted, raising=False)
    if not slow:
        monkeypatch.setattr(loop, "AHEAD_BYTES", task.train_batch(0, 3).bytes)
        asked.clear()
    batches = loop._batches(recipe, 0)
    for step in range(3):
        next(batches)
        assert asked == list(range(step + 1))
