"""Probes: a planted unit is found, noise is not, and the accuracy is that of what was not seen."""

import math

import pytest
import torch

from seqtrain.inspection.probes import LEVEL, Probe, linear_probe, one_unit_probe


def draw(seed):
    return torch.Generator().manual_seed(seed)


def noise(seed, N=400, H=50, classes=2):
    generator = draw(seed)
    return torch.randn(N, H, generator=generator), torch.randint(classes, (N,), generator=generator)


@pytest.mark.parametrize("classes", [2, 5])
def test_a_planted_unit_is_found(classes):
    values, labels = noise(1, classes=classes)
    values[:, 17] = 10.0 * labels + 0.1 * values[:, 17]
    probe = one_unit_probe(values, labels)
    assert (probe.unit, probe.accuracy) == (17, 1)
    assert probe.is_found()
    if classes == 2:  # a line through five ordered classes has the middle ones never on top
        assert linear_probe(values, labels).accuracy > 0.9


def test_a_fact_that_is_spread_over_units_needs_the_linear_probe():
    values, labels = noise(2, N=2000, H=40)
    values += 0.5 * (2 * labels[:, None] - 1)
    one, all_units = one_unit_probe(values, labels), linear_probe(values, labels)
    assert all_units.accuracy > 0.98
    assert one.accuracy < 0.8
    # The best of one unit: the two normal distributions are cut in the middle.
    assert math.isclose(one.accuracy, 0.5 * (1 + math.erf(0.5 / math.sqrt(2))), abs_tol=0.04)


@pytest.mark.parametrize("probe", [one_unit_probe, linear_probe])
def test_nothing_is_found_in_noise(probe):
    found = [probe(*noise(seed, N=200, H=20)).is_found() for seed in range(200)]
    assert sum(found) / len(found) <= LEVEL + 3 * math.sqrt(LEVEL * (1 - LEVEL) / len(found))
    assert sum(found) > 0  # a rate of exactly 0 would mean a test that never finds anything


def test_what_was_seen_does_not_count():
    """With more units than samples, a linear probe is always right on what it learnt from."""
    values, labels = noise(3, N=100, H=500)
    assert linear_probe(values, labels).accuracy < 0.75


def test_chance_is_the_most_frequent_label():
    values, _ = noise(4, N=1000)
    labels = (torch.arange(1000) % 10 == 0).long()
    probe = one_unit_probe(values, labels)
    assert probe.chance == 0.9
    values[:, 3] = labels
    assert one_unit_probe(values, labels)[:2] == (1, 0.9)


def test_what_is_worse_than_the_most_frequent_label_is_not_found():
    assert not Probe(0.85, 0.9, 0.001).is_found()
    assert Probe(0.95, 0.9, 0.001).is_found()
