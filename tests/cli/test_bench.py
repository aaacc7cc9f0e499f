"""`seqtrain bench`."""

import pytest

from seqtrain.system.runtime import keep_freed_memory


def test_bench_times_each_cell_on_each_shape(seqtrain):
    arguments = ("--cells", "lstm,gru-before", "--shapes", "3,2,4,5 2,2,1,3", "--rounds", 3)
    result = seqtrain("bench", *arguments, "--json").json
    shapes = [{"T": 3, "B": 2, "I": 4, "H": 5}, {"T": 2, "B": 2, "I": 1, "H": 3}]
    assert [(row["cell"], row["shape"]) for row in result["rows"]] == [
        (cell, shape) for cell in ("lstm", "gru-before") for shape in shapes
    ]
    for row in result["rows"]:
        for mode in ("forward", "train"):
            ms, ratio = row[mode]["ms"], row[mode]["ratio"]
            assert all(low <= ms[name] <= high for name, (low, high) in row[mode]["middle_half_ms"].items())
            assert ratio == {name: pytest.approx(ms[name] / ms["ours"]) for name in ("torch_nn", "plain", "floor")}
    for cell, mean in zip(("lstm", "gru-before"), result["means"], strict=True):
        ratios = [row["train"]["ratio"]["torch_nn"] for row in result["rows"] if row["cell"] == cell]
        assert mean["train"]["torch_nn"] == {
            "geometric_mean": pytest.approx((ratios[0] * ratios[1]) ** 0.5), "least": min(ratios)
        }  # fmt: skip
    assert result["memory"] == "system"
    assert "peak_bytes" not in result["rows"][0]
    small = ("--cells", "rnn", "--shapes", "3,2,4,5", "--rounds", 3, "--threads", 1, "--memory", "--keep-memory")
    kept = seqtrain("bench", *small, "--json").json
    assert kept["memory"] == ("kept" if keep_freed_memory() else "system")
    assert kept["threads"] == 1
    assert set(kept["rows"][0]["peak_bytes"]) == {"ours", "torch_nn"}
    table = seqtrain("bench", *arguments, "--keep-memory", "--threads", 1).out
    assert "gru-before" in table
    assert "1 thread" in table


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("--shapes", ""), "--shapes '': is no shape"),
        (("--shapes", "99999999999999999999,1,1,1"), "whole numbers from 1 to 1,000,000"),
        (("--cells", ""), "--cells '': choose one of"),
        (("--threads", 100000), "4096"),
        (("--device", "gpu"), "--device is 'gpu'; write it as cpu, cuda or cuda:1"),
        (("--device", "cuda:7"), "--device is 'cuda:7', but PyTorch finds"),
        (("--device", "cuda:999"), "--device is 'cuda:999', but PyTorch finds"),
        (("--device", "cuda:01"), "--device is 'cuda:01', but PyTorch finds"),
        (
            ("--precision", "bfloat61"),
            "--precision is 'bfloat61'; choose one of bfloat16, float32 (did you mean 'bfloat16'",
        ),
        (("--device", "cuda:7", "--keep-memory"), "--keep-memory is about the memory of the CPU"),
        (("--cells", "odyssey"), "--cells odyssey: choose one of"),
    ],
)
def test_bench_refuses_options_out_of_range(seqtrain, arguments, wanted):
    refused = seqtrain("bench", *arguments)
    assert (refused.code, refused.out) == (2, "")
    assert wanted in refused.err


def test_bench_reports_that_the_engine_is_missing(seqtrain, monkeypatch):
    monkeypatch.setenv("SEQTRAIN_NATIVE", "abacus")
    called = seqtrain("bench", "--cells", "lstm", "--shapes", "2,2,2,2", "--rounds", 3)
    assert "engine: there is no engine 'abacus'" in called.err
    assert "what is timed as ours is the plain loop" in called.err
    assert "engine: reference" in called.out


def test_bench_reports_every_unknown_cell_and_shape_at_once(seqtrain):
    refused = seqtrain("bench", "--cells", "lstm,gruu", "--shapes", "1,2,3", "--shapes", "1,2,3,0 1,x,1,1")
    assert (refused.code, refused.out) == (2, "")
    assert [line.split(":")[1].strip() for line in refused.err.splitlines()] == [
        "--cells gruu", "--shapes 1,2,3", "--shapes 1,2,3,0", "--shapes 1,x,1,1",
    ]  # fmt: skip
