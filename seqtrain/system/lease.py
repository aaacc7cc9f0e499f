"""Leave a folder to one process at a time, also where several hosts share a disk.

    run/.lock/3f9a.../holder     who holds the folder, below a random token that nobody else has

- Taken by one rename of a prepared folder to `.lock`, which fails if it exists: also on NFS, and on Windows.
- The holder touches its file every `BEAT_S` seconds.
- A holder on this machine is gone if its process is. A holder on another machine is gone if its file was not touched
  for `STALE_S` seconds, by the clock of the disk. Then another process moves `.lock` away, and takes the folder.
- A holder that was only frozen finds no folder of its token. All that it writes passes through that folder (see
  `write_whole`), so that nothing of it arrives once the run is another's.
"""

import json
import os
import secrets
import shutil
import socket
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

NAME, HOLDER = ".lock", "holder"

BEAT_S = 10.0
"""Seconds between two heartbeats."""

STALE_S = 60.0
"""Seconds without a heartbeat after which a holder on another machine counts as gone."""

TRIES = 100
"""Attempts to take a folder while others come and go."""

HELD: dict[Path, "Lease"] = {}
"""The folders that this process holds, by their absolute paths."""


class BusyError(Exception):
    """Another process holds the folder; the message says who."""


@dataclass(frozen=True)
class Holder:
    """Who holds a folder.

    machine : this boot of this host, and the space of its process numbers; other containers of a host have their own.
    started : when the process was started, in ticks since the boot; None where the system does not tell.
    folder : the number of the folder on its disk, which a copy of the folder does not have.
    """

    host: str
    machine: str
    pid: int
    started: int | None
    folder: int

    def is_gone(self, age: float) -> bool:
        """Whether it no longer runs, given the seconds since its last heartbeat."""
        if self.machine != _machine():
            return age > STALE_S
        return not _runs(self.pid, self.started)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


class Lease:
    """A folder that this process holds.

    Parameters
    ----------
    folder : exists.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.lock = self.folder / NAME
        self.token = secrets.token_hex(8)
        self._released = threading.Event()

    def take(self) -> bool:
        """Take the folder; returns whether it was left behind by another process.

        Raises
        ------
        BusyError : another process holds it.
        OSError : the folder cannot be written.
        """
        own, was_left = self.folder / f"{NAME}-{self.token}", False
        try:
            self._prepare(own)
            for _ in range(TRIES):
                if self._moved(own, self.lock):
                    HELD[self.folder] = self
                    threading.Thread(target=self._beat, daemon=True).start()
                    return was_left
                was_left = self._clear(own) or was_left
        finally:
            shutil.rmtree(own, ignore_errors=True)
        raise BusyError("processes that come and go")

    def _prepare(self, own: Path) -> None:
        """Make the folder that will be the lock."""
        (own / self.token).mkdir(parents=True)
        holder = Holder(socket.gethostname(), _machine(), os.getpid(), _started(os.getpid()), self.folder.stat().st_ino)
        (own / self.token / HOLDER).write_text(json.dumps(asdict(holder)), "utf-8")

    def _moved(self, own: Path, lock: Path) -> bool:
        with suppress(OSError):  # the lock exists; or an answer of NFS was lost, and the rename was done
            own.rename(lock)
        return (lock / self.token).exists()

    def _clear(self, own: Path) -> bool:
        """Move the lock away if its holder is gone; returns whether it was moved."""
        token = next((path.name for path in _listed(self.lock)), None)
        if token is None:
            time.sleep(0.01)  # it is being taken or given back
            with suppress(OSError):
                self.lock.rmdir()
            return False
        try:
            holder, age = _holder(self.lock / token, own / self.token / HOLDER)
        except OSError:
            return False
        if _holds(holder, age, self.folder):
            raise BusyError(_described(holder, max(0.0, age)))
        return self._move_away(token)

    def _move_away(self, token: str) -> bool:
        """Move the lock of a holder that is gone; a lock that was taken meanwhile is put back."""
        aside = self.folder / f"{NAME}-{token}-{self.token}"
        try:
            self.lock.rename(aside)
        except OSError:
            return False
        if not (aside / token).exists():
            with suppress(OSError):
                aside.rename(self.lock)
            return False
        shutil.rmtree(aside, ignore_errors=True)
        return True

    def is_own(self) -> bool:
        """Whether the folder is still held."""
        return (self.lock / self.token).exists()

    def through(self, name: str) -> Path:
        """Where to write a file before it is moved to its place, which fails once the folder is another's."""
        return self.lock / self.token / name

    def give_back(self) -> bool:
        """Let others take the folder; returns whether it was still held."""
        self._released.set()
        HELD.pop(self.folder, None)
        is_own = self.is_own()
        if is_own:
            aside = self.folder / f"{NAME}-{self.token}"
            with suppress(OSError):
                self.lock.rename(aside)
                shutil.rmtree(aside)
        return is_own

    def _beat(self) -> None:
        while not self._released.wait(BEAT_S):
            with suppress(OSError):
                os.utime(self.lock / self.token / HOLDER)


def is_held(folder: Path) -> bool:
    """Whether a process holds a folder, by the same rule as for one that would take it."""
    token = next((path.name for path in _listed(folder / NAME)), None)
    if token is None:
        return False
    clock = folder / f"{NAME}-{secrets.token_hex(8)}"
    try:
        holder, age = _holder(folder / NAME / token, clock)
        return _holds(holder, age, folder)
    except OSError:  # it is being given back
        return False
    finally:
        clock.unlink(missing_ok=True)


def _holder(place: Path, clock: Path) -> tuple["Holder | None", float]:
    """The holder of a lock, None if its file is damaged, and the seconds since its last heartbeat.

    Parameters
    ----------
    place : the folder of its token.
    clock : a file to touch: its time is that of the disk, as that of the holder's file is.

    Raises
    ------
    OSError : it is gone.
    """
    clock.touch()
    with (place / HOLDER).open("rb") as file:  # opened, so that NFS asks the server for its time
        beat, text = os.fstat(file.fileno()).st_mtime, file.read()
    return _parsed(text), clock.stat().st_mtime - beat


def _holds(holder: "Holder | None", age: float, folder: Path) -> bool:
    """Whether a holder is alive, and the folder no copy of the one that it took."""
    if holder is None:
        return age <= STALE_S
    return holder.folder == folder.stat().st_ino and not holder.is_gone(age)


def _listed(lock: Path) -> list[Path]:
    """The folders of holders in a lock: one, or none."""
    try:
        return [*lock.iterdir()]
    except OSError:
        return []


def _parsed(text: bytes) -> Holder | None:
    """The holder that a file names; None if it is damaged."""
    try:
        return Holder(**json.loads(text))
    except (ValueError, TypeError):
        return None


def _described(holder: Holder | None, age: float) -> str:
    """Who holds a folder, and when it is free if that process was killed on another machine."""
    if holder is not None and holder.machine == _machine():
        return str(holder)
    return f"{holder or 'unknown'}, seen {age:.0f} s ago; if it was killed, the folder is free in {STALE_S - age:.0f} s"


def _machine() -> str:
    """This boot of this host, and the space of its process numbers."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return f"{socket.gethostname()} {sys.platform}"


def _started(pid: int) -> int | None:
    """When a process was started; None if it does not run, or the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def _runs(pid: int, started: int | None) -> bool:
    """Whether a process of this machine still runs, also if it is suspended."""
    if Path("/proc/self/stat").exists():
        return _started(pid) == started is not None
    if sys.platform == "win32":
        return True  # Windows ends a process that is asked
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
