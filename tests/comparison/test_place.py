"""`--on` and the options that go with it."""

import shutil

import pytest
from samples import QUICK

from seqtrain.comparison import place
from seqtrain.comparison.options import parse_request
from seqtrain.comparison.place import Place, parse_place
from seqtrain.system.errors import ConfigError


@pytest.fixture(autouse=True)
def _installed(monkeypatch):
    monkeypatch.setattr(place, "find_spec", lambda _: True)
    monkeypatch.setattr(place, "cores", lambda: 6)
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/sbatch")


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, Place()),
        ({"on": "local", "jobs": 3}, Place(jobs=3)),
        ({"on": "dask"}, Place("dask", jobs=6)),
        ({"on": "dask", "jobs": 2}, Place("dask", jobs=2)),
        ({"on": "dask://node1:8000"}, Place("dask", "tcp://node1:8000", jobs=None)),
        ({"on": "dask://node1"}, Place("dask", "tcp://node1:8786", jobs=None)),
        ({"on": "tls://node1:8786/", "jobs": 5}, Place("dask", "tls://node1:8786", jobs=5)),
        ({"on": "dask://[fe80::1%eth0]:1"}, Place("dask", "tcp://[fe80::1%eth0]:1", jobs=None)),
        ({"on": "slurm", "runs_per_job": 4}, Place("slurm", jobs=None, runs_per_job=4)),
        ({"on": "slurm-local", "jobs": 2}, Place("slurm-local", jobs=2)),
        (
            {"on": "slurm", "slurm": ["partition=gpu", "time=1-2:30", "gpus=1", "cpus=4", "mem=8GB"]},
            Place("slurm", jobs=None, slurm={
                "slurm_partition": "gpu", "timeout_min": 26 * 60 + 30, "gpus_per_node": 1, "cpus_per_task": 4,
                "slurm_mem": "8GB",
            }),
        ),
    ],
)  # fmt: skip
def test_places(options, wanted):
    faults = []
    found = parse_place(
        *(options.get(name) for name in ("on", "jobs", "runs_per_job")), options.get("slurm", ()), faults
    )
    assert (found, faults) == (wanted, [])


def test_only_runs_on_this_machine_share_its_memory():
    assert [Place("slurm", jobs=9).jobs_here, Place("dask", "tcp://a:1", 9).jobs_here, Place("dask", None, 9).jobs_here,
            Place(jobs=9).jobs_here, Place("slurm-local", jobs=9).jobs_here] == [1, 1, 9, 9, 9]  # fmt: skip
    assert [Place().is_apart, Place(jobs=2).is_apart, Place("dask", jobs=1).is_apart] == [False, True, True]


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("90", 90),
        ("2:00:00", 120),
        ("90:01", 91),
        ("1-0", 1440),
        ("1-1:30", 1530),
        ("0:0:1", 1),
        ("0", None),
        ("x", None),
    ],
)
def test_times_are_those_of_slurm(text, minutes):
    assert place._minutes(text) == minutes


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"on": "dsak"}, "--on dsak: choose one of dask, dask://HOST:PORT, local, slurm, slurm-local (did you mean"),
        ({"on": "http://a:1"}, "--on http://a:1: choose one of"),
        ({"on": "dask://:8786"}, "write the host and the port of the scheduler, as in dask://node1:8786"),
        ({"on": ""}, "--on : choose one of"),
        ({"on": "dask://a:0"}, "write the host and the port"),
        ({"on": "dask://a:99999"}, "write the host and the port"),
        ({"on": "dask://[::1"}, "write the host and the port"),
        ({"on": "dask://::1"}, "write the host and the port"),
        ({"on": "dask://no such:1"}, "write the host and the port"),
        ({"on": "slurm", "slurm": ["time=5", "time=9"]}, "--slurm time=9: time is given twice; leave one out"),
        ({"on": "dask://a:b"}, "write the host and the port"),
        ({"runs_per_job": 2}, "--runs-per-job: goes with --on slurm; leave it out"),
        ({"on": "dask", "slurm": ["time=5"]}, "--slurm: goes with --on slurm; leave it out"),
        ({"on": "slurm", "runs_per_job": 0}, "--runs-per-job is 0; it must be at least 1"),
        ({"on": "slurm", "slurm": ["partion=a"]}, "(did you mean 'partition'?)"),
        ({"on": "slurm", "slurm": ["time=soon"]}, "--slurm time=soon: write a value, e.g. time=2:00:00"),
        ({"on": "slurm", "slurm": ["partition"]}, "--slurm partition: write a value, e.g. partition=NAME"),
        ({"on": "slurm", "jobs": 0}, "--jobs is 0"),
    ],
)  # fmt: skip
def test_places_that_cannot_be(options, wanted):
    with pytest.raises(ConfigError) as refused:
        parse_request(["quickstart", *QUICK], **options)
    assert wanted in str(refused.value)


def test_what_is_missing_is_said(seqtrain, monkeypatch):
    monkeypatch.setattr(place, "find_spec", lambda _: None)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    refused = seqtrain("compare", "quickstart", *QUICK, "--on", "dask")
    assert (refused.code, refused.err) == (2, "seqtrain: --on dask needs Dask: pip install 'seqtrain[dask]'\n")
    refused = seqtrain("compare", "quickstart", *QUICK, "--on", "slurm")
    assert refused.code == 2
    assert "--on slurm needs submitit: pip install 'seqtrain[slurm]'" in refused.err
    assert "this machine has no sbatch; run it on a login node of the cluster, or try it here" in refused.err


def test_a_place_goes_with_training_alone(trained_comparison, seqtrain):
    runs = str(trained_comparison / "runs/compare-quickstart")
    for option in (("--on", "dask"), ("--slurm", "time=5"), ("--runs-per-job", 2)):
        refused = seqtrain("compare", runs, *option)
        assert refused.code == 2
        assert f"{option[0]}: says what to train; leave it out" in refused.err
    refused = seqtrain("compare", "quickstart", *QUICK, "--on", "dask", "--dry-run")
    assert (refused.code, "--on: --dry-run prints commands to run anywhere" in refused.err) == (2, True)
