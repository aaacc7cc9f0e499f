"""Probes: a planted unit is found, noise is not, and the score is that of what was not seen."""

import math

import numpy as np
import pytest
import torch

from seqtrain.inspection.probes import FEWEST, LEVEL, Labels, linear, one_unit, probe, score


def draw(seed):
    return torch.Generator().manual_seed(seed)


def noise(seed, K=1, N=400, H=50, classes=2):
    """Activations `[K, N, H]` and labels that have nothing to do with them; numbers if there are no classes."""
    generator = draw(seed)
    values = torch.randn(K, N, H, generator=generator)
    labels = torch.randint(classes, (K, N), generator=generator) if classes else torch.randn(K, N, generator=generator)
    return values, Labels(labels, torch.ones(K, N, dtype=torch.bool), classes)


@pytest.mark.parametrize("classes", [0, 2, 5])
def test_a_planted_unit_is_found(classes):
    values, labels = noise(1, classes=classes)
    values[..., 17] = 10.0 * labels.values + 0.1 * values[..., 17]
    found = probe(one_unit, values, labels)
    assert found.unit == 17
    assert found.score > 0.999
    assert found.is_found()
    if classes != 5:  # a line through five ordered classes has the middle ones never on top
        assert probe(linear, values, labels).score > 0.9


def test_a_fact_that_is_spread_over_units_needs_the_linear_probe():
    values, labels = noise(2, N=2000, H=40)
    values += 0.5 * (2 * labels.values[..., None] - 1)
    one, every = probe(one_unit, values, labels), probe(linear, values, labels)
    assert every.score > 0.98
    assert one.score < 0.8
    # The best of one unit: the two normal distributions are cut in the middle.
    assert math.isclose(one.score, 0.5 * (1 + math.erf(0.5 / math.sqrt(2))), abs_tol=0.04)


@pytest.mark.parametrize("learn", [one_unit, linear])
@pytest.mark.parametrize("classes", [0, 2])
def test_nothing_is_found_in_noise(learn, classes):
    found = [probe(learn, *noise(seed, N=100, H=10, classes=classes)).is_found() for seed in range(60)]
    assert sum(found) / len(found) <= LEVEL + 3 * math.sqrt(LEVEL * (1 - LEVEL) / len(found))


def test_steps_of_a_sequence_are_no_new_samples():
    """A unit and a label that are constant in each sequence agree at all of its steps or at none."""

    def constant(seed):
        values, labels = noise(seed, N=40, H=10)
        shape = (20, 40)
        return values.expand(*shape, 10), Labels(labels.values.expand(shape), labels.known.expand(shape), 2)

    found = [probe(one_unit, *constant(seed)).is_found() for seed in range(100)]
    assert 0 < sum(found) <= 100 * (LEVEL + 3 * math.sqrt(LEVEL * (1 - LEVEL) / 100))


def test_what_was_seen_does_not_count():
    """With more units than samples, a linear probe is always right on what it learnt from."""
    found = probe(linear, *noise(3, N=100, H=500))
    assert (found.learnt, found.score < 0.75) == (1, True)


def test_each_class_counts_alike():
    answers, labels = torch.tensor([0] * 95 + [1] * 5), torch.tensor([0] * 90 + [1] * 10)
    assert math.isclose(score(answers, labels, 2, 0), (1 + 5 / 10) / 2)
    values, labels = noise(4, N=1000)
    rare = Labels((torch.arange(1000) % 10 == 0).long()[None], labels.known, 2)
    found = probe(linear, values, rare)
    assert (found.chance, found.is_found()) == (0.5, False)
    values[..., 3] = rare.values
    assert probe(one_unit, values, rare).score == 1
    assert probe(linear, values, rare).score == 1


def test_numbers_have_the_r2_of_a_regression():
    values, labels = noise(5, N=300, H=4, classes=0)
    labels = labels._replace(values=labels.values + 0.8 * values[..., 2] - 1.5 * values[..., 3] + 7)
    x, y = values[0].double().numpy(), labels.values[0].double().numpy()
    slope, offset = np.polyfit(x[:150, 3], y[:150], 1)
    expected = 1 - ((slope * x[150:, 3] + offset - y[150:]) ** 2).mean() / ((y[150:] - y[:150].mean()) ** 2).mean()
    found = probe(one_unit, values, labels)
    assert (found.unit, math.isclose(found.score, expected, rel_tol=1e-4)) == (3, True)
    X = np.concatenate([x, np.ones((300, 1))], 1)
    answers = X[150:] @ np.linalg.lstsq(X[:150], y[:150], rcond=None)[0]
    expected = 1 - ((answers - y[150:]) ** 2).mean() / ((y[150:] - y[:150].mean()) ** 2).mean()
    assert math.isclose(probe(linear, values, labels).score, expected, abs_tol=0.01)


def test_what_is_not_known_does_not_count():
    values, labels = noise(6, K=3, H=5)
    values[..., 2] = labels.values
    known = torch.rand(labels.known.shape, generator=draw(7)) < 0.5
    wrong = labels._replace(values=labels.values.where(known, 1 - labels.values), known=known)
    assert probe(one_unit, values, wrong).score == 1
    assert probe(one_unit, values, wrong._replace(known=torch.ones_like(known))).score < 1
    assert probe(one_unit, values, wrong).by_step == [1, 1, 1]


def test_too_little_to_say_anything():
    values, labels = noise(8, N=2 * FEWEST - 2)
    assert probe(one_unit, values, labels) is None
    values, labels = noise(8)
    assert probe(one_unit, values, labels._replace(values=torch.zeros_like(labels.values))) is None


def drifting(N, rho, generator):
    """`[N]` numbers of which neighbours are alike."""
    values = torch.randn(N, generator=generator)
    for n in range(1, N):
        values[n] = rho * values[n - 1] + math.sqrt(1 - rho**2) * values[n]
    return values


def test_parts_of_a_text_that_drift_together_by_chance():
    """Both the activations and the labels change slowly from part to part, and have nothing to do with each other."""
    alarms = dict.fromkeys((False, True), 0)
    for seed in range(40):
        generator = draw(seed)
        values = torch.stack([drifting(200, 0.98, generator) for _ in range(6)], 1)[None]
        labels = Labels(drifting(200, 0.98, generator)[None], torch.ones(1, 200, dtype=torch.bool), 0)
        for in_order in alarms:
            alarms[in_order] += probe(one_unit, values, labels._replace(in_order=in_order)).is_found()
    assert alarms[True] <= 5
    assert alarms[True] < alarms[False]
