"""The benchmark measures what it says."""

import subprocess
import sys

import pytest
import torch

from seqtrain.recurrence import benchmark as bench


def test_contestants_take_turns_and_the_first_rounds_do_not_count(monkeypatch):
    turns, clock = [], [0.0]
    slow = {"ours": 0.02, "other": 0.04}

    def contestant(name):
        def run():
            turns.append(name)
            clock[0] += 9 if len(turns) <= 2 * bench.WARMUP else slow[name]

        return run

    monkeypatch.setattr(bench.time, "perf_counter", lambda: clock[0])
    timing = bench.time_in_turns({name: contestant(name) for name in slow}, rounds=5)
    rounds = [tuple(turns[n : n + 2]) for n in range(0, len(turns), 2)]
    assert len(rounds) == bench.WARMUP + 5
    assert set(rounds) == {("ours", "other"), ("other", "ours")}
    assert timing.ms == pytest.approx({"ours": 20, "other": 40})
    assert timing.ratio == {"other": pytest.approx(2)}
    assert timing.middle_half_ms["ours"] == pytest.approx([20, 20])


def test_the_clock_waits_for_a_gpu_before_and_after_each_contestant(monkeypatch):
    clock, pending = [0.0], [0.0]

    def start():
        pending[0] = 0.03  # the program goes on while the GPU works

    def wait():
        clock[0] += pending[0]
        pending[0] = 0.0

    monkeypatch.setattr(bench.time, "perf_counter", lambda: clock[0])
    timing = bench.time_in_turns({"ours": start, "other": lambda: None}, 5, wait)
    assert timing.ms == pytest.approx({"ours": 30, "other": 0})


def test_bfloat16_is_autocast_for_all_contestants():
    place = bench.Place("cpu", "bfloat16")
    _, runs = bench._contestants(place, "gru-before", bench.Shape(3, 2, 4, 5))
    _, exact = bench._contestants(bench.CPU, "gru-before", bench.Shape(3, 2, 4, 5))
    for name in ("torch_nn", "plain"):
        assert 0 < (runs[name]() - exact[name]()).abs().max() < 0.02
    assert bench._gemm(place, "gru", bench.Shape(3, 2, 4, 5))().dtype == torch.bfloat16
    (row,) = bench.bench(["gru"], [bench.Shape(3, 2, 4, 5)], 3, place=place, quiet=True).rows
    assert row.train.ms["ours"] > 0


@pytest.mark.parametrize("variant", ["rnn", "lstm", "gru"])
def test_the_peer_with_our_weights_gives_our_outputs(variant):
    """So the same work is timed. The other cells do not exist in torch.nn; their peer is the nearest module."""
    from seqtrain.recurrence import unroll

    make_cell, make_peer = bench.VARIANTS[variant]
    x, cell, module = torch.randn(4, 3, 5), make_cell(5, 6), make_peer(5, 6)
    with torch.no_grad():
        module.weight_ih_l0.copy_(cell.w_x)
        module.weight_hh_l0.copy_(cell.w_h)
        module.bias_ih_l0.copy_(cell.b)
        module.bias_hh_l0.zero_()
    torch.testing.assert_close(module(x)[0], unroll(cell, x)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(bench.peak_bytes(lambda: None) is None, reason="the system does not report it")
def test_peak_memory_of_a_step_holds_what_backward_needs():
    shape = bench.Shape(50, 40, 3, 200)
    peak = bench.peak_elsewhere("lstm", shape, "ours")
    activations = 4 * 50 * 40 * 200 * (4 + 1 + 1)  # gates, cell, hidden, in bytes
    assert activations < peak < 4 * activations


@pytest.mark.skipif(bench.peak_bytes(lambda: None) is None, reason="the system does not report it")
def test_peak_memory_sees_what_is_freed_again():
    """In a process of its own: one that has trained keeps what is freed, and takes it again."""
    size = 256 << 20
    measured = subprocess.run(
        [sys.executable, "-c", f"import torch; from seqtrain.recurrence import benchmark; "
                               f"print(benchmark.peak_bytes(lambda: torch.ones({size // 4})))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(measured.stdout) == pytest.approx(size, rel=0.1)
