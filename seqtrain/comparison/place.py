"""Where the runs of a comparison are trained: `--on` and the options that go with it."""

import math
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Literal, cast

from seqtrain.comparison.defaults import PLACES, SLURM_KEYS
from seqtrain.config.errors import choose
from seqtrain.system.processes import cores

Engine = Literal["local", "dask", "slurm", "slurm-local"]

SCHEDULER_PORT = 8786
"""Where a Dask scheduler listens by default."""

PACKAGES = {"dask": ("distributed", "Dask"), "slurm": ("submitit", "submitit"), "slurm-local": ("submitit", "submitit")}
"""The package that an engine needs, and its name for people."""

HOST = re.compile(r"[^\s:/\[\]]+|\[[0-9A-Fa-f:.]+(%\w+)?\]")
"""A name, or an IPv6 address in brackets."""

MINUTES = re.compile(r"(?:(?P<days>\d+)-)?(?P<parts>\d+(?::\d+){0,2})")


@dataclass(frozen=True)
class Place:
    """Where runs are trained.

    address : of a Dask scheduler; None for a cluster on this machine.
    jobs : runs at a time; None for as many as the cluster takes.
    runs_per_job : runs that one job of Slurm trains, one after another.
    slurm : what every job asks for.
    """

    engine: Engine = "local"
    address: str | None = None
    jobs: int | None = 1
    runs_per_job: int = 1
    slurm: Mapping[str, Any] = field(default_factory=dict)

    @property
    def jobs_here(self) -> int:
        """Runs at a time that share the memory of this machine."""
        return 1 if self.engine == "slurm" or self.address is not None else self.jobs or 1

    @property
    def is_apart(self) -> bool:
        """Whether runs are trained in other processes than this one."""
        return self.engine != "local" or self.jobs != 1


def parse_place(
    on: str | None, jobs: int | None, runs_per_job: int | None, slurm: Sequence[str], faults: list[str]
) -> Place:
    """The place that the options name; what is wrong is added to `faults`."""
    scheme, _, rest = (on or "local").partition("://")
    is_address = bool(rest) and scheme in ("dask", "tcp", "tls")
    engine = "dask" if is_address else "local" if on is None else on
    if engine not in ("local", *PACKAGES):
        faults.append(f"--on {on}: {choose(engine, PLACES)}")
        return Place()
    module, name = PACKAGES.get(engine, ("seqtrain", ""))
    if find_spec(module) is None:
        faults.append(f"--on {on} needs {name}: pip install 'seqtrain[{engine.partition('-')[0]}]'")
    if engine == "slurm" and shutil.which("sbatch") is None:
        faults.append(
            "--on slurm: this machine has no sbatch; run it on a login node of the cluster, or try it here with "
            "--on slurm-local"
        )
    if not engine.startswith("slurm"):
        given = {"--runs-per-job": runs_per_job is not None, "--slurm": bool(slurm)}
        faults += [f"{option}: goes with --on slurm; leave it out" for option, is_given in given.items() if is_given]
    elif runs_per_job is not None and runs_per_job < 1:
        faults.append(f"--runs-per-job is {runs_per_job}; it must be at least 1")
    if jobs is None:
        jobs = {"local": 1, "slurm": None}.get(engine, None if is_address else cores())
    address = _address(str(on), scheme, rest, faults) if is_address else None
    return Place(cast(Engine, engine), address, jobs, runs_per_job or 1, _slurm(slurm, faults))


def _address(on: str, scheme: str, rest: str, faults: list[str]) -> str:
    """The address of a scheduler as Dask writes it."""
    host, colon, port = rest.rstrip("/").rpartition(":")
    if not colon:
        host, port = port, str(SCHEDULER_PORT)
    if not HOST.fullmatch(host) or not port.isdecimal() or not 0 < int(port) < 2**16:
        faults.append(f"--on {on}: write the host and the port of the scheduler, as in dask://node1:{SCHEDULER_PORT}")
    return f"{'tcp' if scheme == 'dask' else scheme}://{host}:{port}"


def _slurm(options: Sequence[str], faults: list[str]) -> dict[str, Any]:
    """What every job asks for, under the names of submitit."""
    asked = {}
    for option in options:
        key, equals, text = option.partition("=")
        if key not in SLURM_KEYS:
            faults.append(f"--slurm {option}: {choose(key, SLURM_KEYS)}")
            continue
        name, parse = SLURM.get(key, (f"slurm_{key}", str))
        if (value := parse(text) if equals and text else None) is None:
            faults.append(f"--slurm {option}: write a value, e.g. {key}={EXAMPLES.get(key, 'NAME')}")
        elif name in asked:
            faults.append(f"--slurm {option}: {key} is given twice; leave one out")
        asked[name] = value
    return asked


def _minutes(text: str) -> int | None:
    """Minutes, written as Slurm has them: MINUTES, MINUTES:SECONDS, HOURS:MINUTES:SECONDS, or with DAYS- before."""
    found = MINUTES.fullmatch(text)
    if found is None:
        return None
    parts = [*map(int, found["parts"].split(":"))]
    units = [60.0, 1.0, 1 / 60] if found["days"] or len(parts) == 3 else [1.0, 1 / 60]
    total = 1440 * int(found["days"] or 0) + sum(a * b for a, b in zip(parts, units, strict=False))
    return math.ceil(total) or None


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


EXAMPLES = {"time": "2:00:00", "gpus": "1", "cpus": "4", "mem": "8GB"}

SLURM: dict[str, tuple[str, Callable[[str], Any]]] = {
    "time": ("timeout_min", _minutes),
    "gpus": ("gpus_per_node", _number),
    "cpus": ("cpus_per_task", _number),
}
"""Keys of which submitit has another name, and how their values are read; others are texts."""
