"""The ablations beside each other and beside the cells that three of them are; their equations: test_cells.py."""

from typing import get_args

import pytest
import torch

from seqtrain.cells import CELLS, GatesState, OdysseyCell
from seqtrain.cells.odyssey import Ablation
from seqtrain.models import Dropout, Stack, count_parameters, detach_state
from seqtrain.models.dropout import drop
from seqtrain.recurrence import choose_loop, unroll_reference
from seqtrain.system.rng import generator
from seqtrain.training.state import carried_state, named_tensors

I, H, B, T = 3, 5, 4, 7

ABLATIONS = get_args(Ablation)
TWINS = [("none", "peephole", {}), ("no_peepholes", "lstm", {}), ("coupled", "coupled", {"peepholes": True})]


@pytest.fixture(autouse=True)
def _double(float64):
    torch.manual_seed(0)


def make(ablation, **options):
    """A cell whose every parameter is random, so that nothing hides behind a zero."""
    cell = OdysseyCell(I, H, ablation=ablation, **options)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.normal_(std=0.7)
    return cell


def random_state(cell):
    return cell.state_type(*(torch.randn(B, H) for _ in cell.state_type._fields))


def test_a_misspelled_ablation_is_refused():
    with pytest.raises(ValueError, match="ablation is 'no_forget'; choose one of none, no_input_gate, no_forget_gate"):
        OdysseyCell(I, H, ablation="no_forget")


# --- identities -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ablation", "name", "options"), TWINS)
def test_three_ablations_are_cells_of_their_own(ablation, name, options):
    cell, twin = make(ablation), CELLS[name](I, H, **options)
    twin.load_state_dict(cell.state_dict())
    x, state = torch.randn(T, B, I), random_state(cell)
    for found, wanted in zip(unroll_reference(cell, x, state), unroll_reference(twin, x, state), strict=True):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(("ablation", "name", "options"), TWINS)
@pytest.mark.parametrize("init", [{}, {"forget_bias": 2.0, "recurrent_init": "uniform"}, {"chrono": 50}])
def test_the_same_seed_starts_them_alike(ablation, name, options, init):
    torch.manual_seed(3)
    cell = OdysseyCell(I, H, ablation=ablation, **init)
    torch.manual_seed(3)
    twin = CELLS[name](I, H, **options, **init)
    for (key, mine), (its_key, its) in zip(cell.named_parameters(), twin.named_parameters(), strict=True):
        assert key == its_key
        assert torch.equal(mine, its)


def test_coupled_is_the_papers_form_with_the_signs_of_that_gate_turned():
    """The paper lets the input gate be free, f = 1 - i: `none` with i and f of opposite signs is both forms at once."""
    coupled, both = make("coupled"), OdysseyCell(I, H)
    with torch.no_grad():
        for name in ("w_x", "w_h", "b"):
            f, g, o = getattr(coupled, name).chunk(3)
            getattr(both, name).copy_(torch.cat([-f, f, g, o]))
        p_f, p_o = coupled.p
        both.p.copy_(torch.stack([-p_f, p_f, p_o]))
    x, state = torch.randn(T, B, I), random_state(coupled)
    torch.testing.assert_close(unroll_reference(coupled, x, state), unroll_reference(both, x, state))


def test_full_gate_recurrence_without_its_matrices_is_the_peephole_lstm():
    full, plain = make("full_gate_recurrence"), OdysseyCell(I, H)
    with torch.no_grad():
        full.w_gates.zero_()
    plain.load_state_dict({key: value for key, value in full.state_dict().items() if key != "w_gates"})
    x, state = torch.randn(T, B, I), random_state(full)
    outputs, end = unroll_reference(full, x, state)
    wanted, wanted_end = unroll_reference(plain, x, plain.state_type(state.hidden, state.cell))
    torch.testing.assert_close(outputs, wanted)
    torch.testing.assert_close(end.cell, wanted_end.cell)


OPEN = {"no_input_gate": 0, "no_forget_gate": 1, "no_output_gate": 3}


@pytest.mark.parametrize("ablation", OPEN)
def test_a_missing_gate_is_one_that_is_held_open(ablation):
    cell, whole, place = make(ablation), OdysseyCell(I, H), OPEN[ablation]
    with torch.no_grad():
        for name in ("w_x", "w_h", "b"):
            parts = list(getattr(cell, name).chunk(3))
            open_ = torch.full_like(parts[0], 1e4) if name == "b" else torch.zeros_like(parts[0])
            getattr(whole, name).copy_(torch.cat([*parts[:place], open_, *parts[place:]]))
        rows, row = list(cell.p), min(place, 2)
        whole.p.copy_(torch.stack([*rows[:row], torch.zeros(H), *rows[row:]]))
    x, state = torch.randn(T, B, I), random_state(cell)
    torch.testing.assert_close(unroll_reference(cell, x, state), unroll_reference(whole, x, state))


def test_no_two_ablations_compute_the_same():
    """All with the parameters of one peephole LSTM, as far as they have them."""
    whole, x, found = make("none"), torch.randn(T, B, I), []
    for ablation in ABLATIONS:
        cell = make(ablation)
        with torch.no_grad():
            for name in ("w_x", "w_h", "b"):
                for gate in cell.gates:
                    cell.block(getattr(cell, name), gate).copy_(whole.block(getattr(whole, name), gate))
            for row, gate in enumerate(cell.peepholes):
                cell.p[row] = whole.p["ifo".index(gate)]
        found.append(unroll_reference(cell, x)[0])
    for place, one in enumerate(found):
        assert not any(torch.allclose(one, other) for other in found[:place])


# --- parameters and initialisation ------------------------------------------------------------------------------

COUNTS = {
    "none": 4 * H * (I + H + 1) + 3 * H,
    "no_input_gate": 3 * H * (I + H + 1) + 2 * H,
    "no_forget_gate": 3 * H * (I + H + 1) + 2 * H,
    "no_output_gate": 3 * H * (I + H + 1) + 2 * H,
    "no_input_activation": 4 * H * (I + H + 1) + 3 * H,
    "no_output_activation": 4 * H * (I + H + 1) + 3 * H,
    "no_peepholes": 4 * H * (I + H + 1),
    "coupled": 3 * H * (I + H + 1) + 2 * H,
    "full_gate_recurrence": 4 * H * (I + H + 1) + 3 * H + 9 * H * H,
}


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_no_parameter_without_a_use(ablation):
    cell = make(ablation, learn_initial_state=True)
    assert count_parameters(cell) == COUNTS[ablation] + H * (5 if ablation == "full_gate_recurrence" else 2)
    unroll_reference(cell, torch.randn(T, B, I))[0].sum().backward()
    assert not [name for name, parameter in cell.named_parameters() if not parameter.grad.abs().min() > 0]


FORGET = {"no_input_gate": 0, "no_output_gate": 1, "coupled": 0, "full_gate_recurrence": 1}
"""Which block of b is the forget gate's, where it is not plain from the cells that are the same; by hand."""


@pytest.mark.parametrize("ablation", FORGET)
def test_biases(ablation):
    for options, wanted in (({}, 1.0), ({"forget_bias": 2.5}, 2.5)):
        for place, part in enumerate(OdysseyCell(I, H, ablation=ablation, **options).b.detach().split(H)):
            assert torch.equal(part, torch.full((H,), wanted if place == FORGET[ablation] else 0.0))
    parts = OdysseyCell(I, 500, ablation=ablation, chrono=100).b.detach().split(500)
    drawn = parts[FORGET[ablation]].exp()
    assert 1 <= drawn.min() < 5
    assert 95 < drawn.max() <= 99
    if FORGET[ablation] == 1:
        assert torch.equal(parts[0], -parts[1])


@pytest.mark.parametrize("options", [{"forget_bias": 1.0}, {"chrono": 50}])
def test_without_a_forget_gate_there_is_no_forget_bias(options):
    assert not OdysseyCell(I, H, ablation="no_forget_gate").b.any()
    with pytest.raises(ValueError, match="no_forget_gate has no forget bias to set; leave out forget_bias and chrono"):
        OdysseyCell(I, H, ablation="no_forget_gate", **options)


def test_each_matrix_between_gates_starts_like_a_recurrent_one():
    blocks = OdysseyCell(I, H, ablation="full_gate_recurrence").w_gates.detach()
    for block in (part for rows in blocks.split(H) for part in rows.split(H, 1)):
        torch.testing.assert_close(block @ block.T, torch.eye(H))
    uniform = OdysseyCell(I, 100, ablation="full_gate_recurrence", recurrent_init="uniform").w_gates.detach()
    assert 0.099 < uniform.abs().max() <= 0.1


# --- the state that carries the gates ---------------------------------------------------------------------------


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_two_halves_with_the_state_between_give_the_same_as_the_whole(ablation):
    """By the way that a checkpoint takes."""
    stack, x = (
        Stack(lambda *_: make(ablation, learn_initial_state=True), I, [H], direction="forward"),
        torch.randn(T, B, I),
    )
    whole, _, ((end,),) = stack(x)
    first, _, middle = stack(x[:3])
    tensors = named_tensors({}, detach_state(middle), {})
    second, _, ((last,),) = stack(x[3:], state=carried_state(tensors, stack))
    torch.testing.assert_close(torch.cat([first, second]), whole)
    assert type(last) is type(end)
    torch.testing.assert_close(last, end)


def test_the_gates_of_the_step_before_reach_the_next():
    cell = make("full_gate_recurrence")
    x, state = torch.randn(1, B, I), random_state(cell)
    outputs, _ = unroll_reference(cell, x, state)
    for gate in "ifo":
        assert not torch.allclose(unroll_reference(cell, x, state._replace(**{gate: torch.zeros(B, H)}))[0], outputs)


@pytest.mark.parametrize("ablation", ["no_forget_gate", "full_gate_recurrence"])
def test_sequences_of_different_lengths(ablation):
    """A sequence that has ended keeps its state, the gates too, and reverses at its own length."""
    cell, x = make(ablation), torch.randn(T, 2, I)
    x[4:, 1] = float("nan")
    for reverse in (False, True):
        outputs, end = unroll_reference(cell, x, lengths=torch.tensor([T, 4]), reverse=reverse)
        alone, alone_end = unroll_reference(cell, x[:4, 1:], reverse=reverse)
        torch.testing.assert_close(outputs[:4, 1:], alone)
        torch.testing.assert_close(tuple(part[1:] for part in end), tuple(alone_end))


@pytest.mark.parametrize("training", [True, False])
def test_zoneout_keeps_the_memory_and_makes_the_gates_anew(training):
    """Against a restatement: the gates are those that the step computed."""
    cell, x, draw = make("full_gate_recurrence"), torch.randn(T, B, I), generator("m")
    stack = Stack(
        lambda *_: cell, I, [H], direction="forward", dropout=Dropout(zoneout_hidden=0.3, zoneout_memory=0.6)
    ).train(training)
    state, outputs = cell.initial_state(B), []
    for x_gates in cell.project(x):
        new, stay_h, stay_c = cell.step(x_gates, state), 0.3, 0.6
        if training:
            stay_h, stay_c = (torch.empty(B, H).bernoulli_(p, generator=draw) for p in (0.3, 0.6))
        h = stay_h * state.hidden + (1 - stay_h) * new.hidden
        state = GatesState(h, stay_c * state.cell + (1 - stay_c) * new.cell, new.i, new.f, new.o)
        outputs.append(h)
    found, _, ((end,),) = stack(x, generator=generator("m"))
    torch.testing.assert_close(found, torch.stack(outputs))
    torch.testing.assert_close(end, state)


def test_dropped_weights_are_those_of_w_h_alone():
    cell, x = make("full_gate_recurrence"), torch.randn(T, B, I)
    outputs, _, _ = Stack(lambda *_: cell, I, [H], direction="forward", dropout=Dropout(weight_drop=0.5))(
        x, generator=generator("m")
    )
    with torch.no_grad():
        cell.w_h *= drop(torch.ones_like(cell.w_h), 0.5, generator("m"))
    torch.testing.assert_close(outputs, unroll_reference(cell, x)[0])


# --- the engine -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_the_plain_loop_runs_them_all(ablation):
    cell = OdysseyCell(I, H, ablation=ablation).float()
    assert choose_loop("auto", cell) == ("reference", unroll_reference, None)
    with pytest.raises(ValueError, match="the engine has no kernel for OdysseyCell"):
        choose_loop("fused", cell)
