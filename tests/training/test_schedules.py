"""Schedules against values worked out by hand."""

import pytest

from seqtrain.training.schedules import Constant, Cosine, Plateau, StepDecay


def factors(schedule, steps, *, of=9):
    return [schedule.lr_factor(step, steps=of) for step in range(steps)]


def test_constant():
    assert factors(Constant(), 3) == [1, 1, 1]


def test_warmup_rises_to_the_full_rate_and_shifts_the_rest():
    assert factors(Constant(warmup=3), 5) == pytest.approx([0.25, 0.5, 0.75, 1, 1])
    assert factors(StepDecay(warmup=1, every=2, factor=0.1), 6) == pytest.approx([0.5, 1, 1, 0.1, 0.1, 0.01])


def test_step():
    assert factors(StepDecay(every=2, factor=0.5), 6) == pytest.approx([1, 1, 0.5, 0.5, 0.25, 0.25])


def test_steps_that_are_held_back_and_counted_in_epochs():
    assert factors(StepDecay(every=1, factor=0.5, hold=3), 6) == pytest.approx([1, 1, 1, 0.5, 0.25, 0.125])
    by_epoch = StepDecay(factor=0.5, hold=4)  # Zaremba et al. 2014, small: 4 epochs, then halved each
    assert [by_epoch.lr_factor(1000, steps=9, epoch=epoch) for epoch in range(7)] == [1, 1, 1, 1, 0.5, 0.25, 0.125]


def test_cosine_ends_at_its_final_part_at_the_last_step():
    assert factors(Cosine(final=0.2), 6, of=5) == pytest.approx([1, 0.8828427, 0.6, 0.3171573, 0.2, 0.2])


def test_plateau_counts_cuts():
    schedule = Plateau(factor=0.5, patience=2)
    assert [schedule.lr_factor(0, steps=9, cuts=cuts) for cuts in range(3)] == [1, 0.5, 0.25]
    assert [schedule.is_due(stalled) for stalled in range(4)] == [False, False, False, True]
    assert not Constant().is_due(99)
