"""The memory that is available."""

import re
from collections.abc import Iterator
from pathlib import Path

import torch


def available(device: torch.device) -> int | None:
    """Bytes that this process can still allocate on a device; None if they are unknown."""
    if device.type == "cuda":
        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + reserved
    return min((*_of_machine(), *_of_limits(), *_of_groups()), default=None)


def _of_machine(meminfo: Path = Path("/proc/meminfo")) -> Iterator[int]:
    """Bytes that are free or can be freed, and free swap space."""
    if text := _read(meminfo):
        sizes = {name: int(size) * 1024 for name, size in re.findall(r"^(\w+): +(\d+) kB", text, re.MULTILINE)}
        if "MemAvailable" in sizes:
            yield sizes["MemAvailable"] + sizes.get("SwapFree", 0)


def _of_limits() -> Iterator[int]:
    """Bytes below the limits of `ulimit -v` and `ulimit -d`."""
    try:
        import resource
    except ImportError:  # the system has no such limits
        return
    pages = _read(Path("/proc/self/statm")).split()  # size, resident, shared, text, lib, data
    for limit, used in ((resource.RLIMIT_AS, pages[:1]), (resource.RLIMIT_DATA, pages[5:6])):
        most = resource.getrlimit(limit)[0]
        if most != resource.RLIM_INFINITY and used:
            yield max(0, most - int(used[0]) * resource.getpagesize())


def _of_groups(groups: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> Iterator[int]:
    """Bytes below the limits of the process's control groups, version 1 or 2; cached files do not count as used."""
    for line in _read(groups).splitlines():
        _, controllers, name = line.split(":", 2)
        first = "memory" in controllers.split(",")
        if not first and controllers:
            continue
        top = root / "memory" if first else root
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if first else ("memory.max", "memory.current")
        here = top / name.lstrip("/")
        for folder in (here, *here.parents):
            if not folder.is_relative_to(top):
                break
            most, used = (_read(folder / file).strip() for file in names)
            if most.isdecimal() and used.isdecimal():
                files = re.findall(r"^(?:total_)?(?:in)?active_file (\d+)", _read(folder / "memory.stat"), re.MULTILINE)
                yield max(0, int(most) - int(used) + sum(map(int, files)))


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
