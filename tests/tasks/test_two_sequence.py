"""The two-sequence problem: its noise, and the rules of its two variants."""

import math

import pytest
import torch
from batches import make
from conftest import answer

VARIANTS = ("noisy_signal", "noisy_targets")


def batch_of(variant, size=4000, **options):
    return make("two_sequence", {"variant": variant} | options).train_batch(0, size)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_first_numbers_show_the_class_and_the_later_ones_are_noise(variant):
    batch = batch_of(variant, length=30, signal=4)
    x, lengths = batch.inputs[..., 0], batch.lengths
    first = batch.targets == 0 if variant == "noisy_signal" else batch.targets[:, 1] < 0.5
    sign = torch.where(first, 1.0, -1.0)
    inside = torch.arange(len(x))[:, None] < lengths
    around = x[:4] - sign
    later = x[4:][inside[4:]]
    assert set(lengths.tolist()) == {30, 31, 32, 33}
    assert float(first.float().mean()) == pytest.approx(0.5, abs=0.05)
    assert float(later.var()) == pytest.approx(0.2, abs=0.005)
    assert float(later.mean()) == pytest.approx(0, abs=0.01)
    assert abs(float((x[4:] * sign)[inside[4:]].mean())) < 0.01
    assert float(around.var()) == pytest.approx(0.2 if variant == "noisy_signal" else 0, abs=0.01)
    assert float(around.mean()) == pytest.approx(0, abs=0.02)


def test_noise_on_the_targets():
    noisy, mean = batch_of("noisy_targets").targets.unbind(1)
    assert sorted(set(mean.tolist())) == pytest.approx([0.2, 0.8])
    for value in (0.2, 0.8):
        noise = (noisy - mean)[(mean - value).abs() < 0.1]
        assert float(noise.mean()) == pytest.approx(0, abs=0.03)
        assert float(noise.var()) == pytest.approx(0.1, abs=0.01)


def test_the_loss_uses_noisy_targets_and_the_metrics_use_their_means():
    task = make("two_sequence", {"variant": "noisy_targets"})
    batch = task.train_batch(0, 500)
    noisy, mean = batch.targets.split(1, 1)
    total, count = task.loss(answer(noisy), batch)
    assert (float(total), count) == (0, 500)
    means = task.measure(answer(mean + 0.05), batch).means()
    assert means["mean_difference"] == pytest.approx(0.05)
    assert means["accuracy"] == 1
    assert task.measure(answer(mean - 0.11), batch).means()["accuracy"] == 0


@pytest.mark.parametrize(("difference", "solved"), [(0.0149, True), (0.0151, False)])
def test_noisy_targets_are_solved_by_the_mean_difference(difference, solved):
    task = make("two_sequence", {"variant": "noisy_targets"})
    assert task.solved({"accuracy": 1.0, "mean_difference": difference}) is solved


@pytest.mark.parametrize(("signal", "accuracy", "solved"), [(3, 0.991, True), (3, 0.989, False), (1, 0.978, True)])
def test_noisy_signals_are_solved_by_the_accuracy(signal, accuracy, solved):
    assert make("two_sequence", {"signal": signal}).solved({"accuracy": accuracy}) is solved


def test_a_single_noisy_number_hides_more_than_one_percent():
    """The sign of that number is the best guess; the rule requires its accuracy less 1 %."""
    task = make("two_sequence", {"signal": 1})
    x, classes = (
        torch.cat([b.inputs[0] for b in [task.train_batch(s, 20_000) for s in range(10)]]),
        torch.cat([task.train_batch(s, 20_000).targets for s in range(10)]),
    )
    best = float(((x[:, 0] < 0) == (classes == 1)).float().mean())
    assert best < 0.99
    assert best == pytest.approx(1 - math.erfc(math.sqrt(5 / 2)) / 2, abs=0.001)
    assert task.solved({"accuracy": best - 0.009})
    assert not task.solved({"accuracy": best - 0.011})
