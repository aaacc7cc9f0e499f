"""A run directory. The only file that knows the names inside one."""

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from seqtrain.config import yaml
from seqtrain.system import strict_json
from seqtrain.system.errors import CheckpointError, ConfigError, SeqtrainError
from seqtrain.system.files import UnreadableError, append_line, flush_to_disk, open_regular, read_whole, write_whole

LONGEST = 1 << 20
"""Bytes of a record: those that are written have some hundreds."""


class RunDir:
    """The files of one run.

    config.yaml        the resolved config: training from it repeats the run
    metrics.jsonl      one record a line, appended
    summary.json       how it ended
    last.safetensors   where it stands
    best.safetensors   where its validation metric was best
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.metrics = path / "metrics.jsonl"
        self.summary = path / "summary.json"
        self.last = path / "last.safetensors"
        self.best = path / "best.safetensors"
        self._locked: os.stat_result | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that a run writes."""
        return (self.config, self.metrics, self.summary, self.last, self.best)

    @property
    def older_checkpoint(self) -> Path | None:
        """A checkpoint of a seqtrain that did not write safetensors yet, if there is no newer one."""
        older = (self.path / "best.pt", self.path / "last.pt")
        return None if self.last.exists() or self.best.exists() else next(filter(Path.exists, older), None)

    def holds_run(self) -> bool:
        """Whether any file of a run is there."""
        return any(file.exists() for file in self.files)

    def check_files(self) -> None:
        """Refuse to write or remove files that no run has written, before any other is touched.

        Raises
        ------
        CheckpointError : something of a run's name is no file, or cannot be looked at.
        """
        for file in self.files:
            try:
                regular = stat.S_ISREG(file.stat().st_mode)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise CheckpointError(f"{file}: cannot be read ({error.strerror}); mend or remove it") from None
            if not regular:
                raise CheckpointError(f"{file}: is not a regular file; remove it, or choose another directory")

    def stamp(self) -> tuple[int, ...]:
        """Another one whenever another process has begun a run here, or saved."""
        found = [file.stat() for file in (self.config, self.last) if file.exists()]
        return tuple(number for stat in found for number in (stat.st_ino, stat.st_mtime_ns, stat.st_size))

    def create(self) -> None:
        """Make the directory.

        Raises
        ------
        CheckpointError : it cannot be made or written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CheckpointError(
                f"{self.path}: cannot be made a run directory ({error.strerror}); choose another with --out"
            ) from None
        if not os.access(self.path, os.W_OK):
            raise CheckpointError(f"{self.path}: is not writable; choose another directory with --out")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from running in this directory; the lock goes with the process, however it ends.

        Raises
        ------
        CheckpointError : another process is running here.
        """
        if sys.platform == "win32":  # no flock there
            yield
            return
        import fcntl

        directory = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._locked = os.fstat(directory)
            yield
        except BlockingIOError:
            raise CheckpointError(
                f"{self.path}: another process is running in it; wait for it, or choose another directory with --out"
            ) from None
        finally:
            self._locked = None
            os.close(directory)

    def check_still_own(self) -> None:
        """Refuse to write into a directory that has taken the place of the locked one.

        Raises
        ------
        CheckpointError : the locked one was removed or renamed, and there is another of its name.
        """
        if self._locked is not None and self.path.exists() and not os.path.samestat(self._locked, self.path.stat()):
            raise CheckpointError(
                f"{self.path}: was removed or renamed while this run was training, and another directory took its "
                "place; nothing was written there. Give each run a directory of its own with --out"
            )

    def clear(self) -> None:
        """Remove the files of a run, those of an older seqtrain included, and nothing else."""
        for file in (*self.files, self.path / "best.pt", self.path / "last.pt"):
            file.unlink(missing_ok=True)

    def write_config(self, text: str) -> None:
        """Write the resolved config."""
        write_whole(self.config, text.encode())

    def config_data(self) -> dict[str, Any]:
        """The resolved config as data.

        Raises
        ------
        SeqtrainError : there is none, or it cannot be read as one.
        """
        text = read_whole(self.config, yaml.LARGEST)
        try:
            _, data = yaml.parse(text.decode(), str(self.config))
        except UnicodeDecodeError:
            raise ConfigError(f"{self.config}: is not UTF-8") from None
        if not isinstance(data, dict):
            raise ConfigError(f"{self.config}: is no mapping, as every config is")
        return data

    def read_config(self) -> dict[str, Any] | None:
        """The resolved config as data; None if there is none that can be read."""
        try:
            return self.config_data()
        except SeqtrainError:
            return None

    def append(self, record: dict[str, Any]) -> None:
        """Add one line to the metrics."""
        self.check_still_own()
        append_line(self.metrics, strict_json.dumps(record))

    def flush_metrics(self) -> None:
        """Before a checkpoint is saved: it must not know of records that a power cut could still take."""
        self.check_still_own()
        flush_to_disk(self.metrics)

    def read_metrics(self) -> list[dict[str, Any]]:
        """All whole records.

        Raises
        ------
        SeqtrainError : as for `_records`.
        """
        return [record for record, _ in self._records()]

    def last_record(self) -> dict[str, Any] | None:
        """The last whole record, read from the end of the file; None if there is none yet."""
        try:
            with open_regular(self.metrics) as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
                lines = file.read(4096).splitlines(keepends=True)
        except (OSError, UnreadableError):
            return None
        return next((record for line in reversed(lines) if (record := _record(line)) is not None), None)

    def rewind_metrics(self, step: int) -> float:
        """Cut off records past a step, which a resumed run will write again; returns the seconds elapsed there.

        Raises
        ------
        SeqtrainError : as for `_records`, or an earlier step comes after a later one; nothing is cut off.
        """
        elapsed, end, past = 0.0, 0, None
        for record, stop in self._records():
            if record["step"] > step:
                past = record["step"]
            elif past is not None:
                raise CheckpointError(
                    f"{self.metrics}: step {record['step']} comes after step {past}; put the records in order"
                )
            else:
                elapsed, end = record["elapsed_s"], stop
        if self.metrics.exists():
            os.truncate(self.metrics, end)
        return elapsed

    def _records(self) -> Iterator[tuple[dict[str, Any], int]]:
        """Each record with the position after it, read one by one; a torn last line is left out.

        Raises
        ------
        SeqtrainError : the file cannot be read, or a whole line of it is no record.
        """
        if not self.metrics.exists():
            return
        with open_regular(self.metrics) as file:
            for number in count(1):
                line = file.readline(LONGEST)
                if not line:
                    return
                record = _record(line)
                if record is not None:
                    yield record, file.tell()
                elif line.strip() and (line.endswith(b"\n") or file.read(1)):
                    raise CheckpointError(f"{self.metrics}:{number}: is not a record of a run; mend or remove the line")

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write how the run ended."""
        self.check_still_own()
        write_whole(self.summary, (strict_json.dumps(summary, indent=2) + "\n").encode())

    def summary_data(self) -> dict[str, Any]:
        """How the run ended.

        Raises
        ------
        UnreadableError : it has not, or its summary cannot be read.
        """
        return strict_json.read(self.summary)

    def read_summary(self) -> dict[str, Any] | None:
        """How the run ended; None if it has not, or its summary cannot be read."""
        try:
            return self.summary_data()
        except UnreadableError:
            return None


def _record(line: bytes) -> dict[str, Any] | None:
    """A whole line as a record, or None."""
    try:
        record = strict_json.loads(line)
    except ValueError:
        return None
    if not (line.endswith(b"\n") and isinstance(record, dict) and isinstance(record.get("split"), str)):
        return None
    figures = [value for key, value in record.items() if key != "split" and value is not None]
    known = type(record.get("step")) is int and record.get("elapsed_s") is not None
    return record if known and all(type(value) in (int, float) for value in figures) else None


def checkpoint_path(run_or_checkpoint: Path) -> Path:
    """The checkpoint that an argument names: a file itself, a run directory its `best.safetensors`.

    Raises
    ------
    CheckpointError : the directory holds no best checkpoint.
    """
    if not run_or_checkpoint.is_dir():
        return run_or_checkpoint
    run = RunDir(run_or_checkpoint)
    best = run.best.name
    if run.best.exists():
        return run.best
    if run.last.exists():
        raise CheckpointError(f"{run.path}: has no {best}, the run was never evaluated; give {run.last}")
    if run.older_checkpoint is not None:
        raise CheckpointError(
            f"{run.older_checkpoint}: was written by an older seqtrain, whose checkpoints this one cannot read; use "
            "that version, or train anew"
        )
    if run.holds_run():
        raise CheckpointError(
            f"{run.path}: has no checkpoint, the run ended before its first evaluation; train it anew"
        )
    raise CheckpointError(f"{run.path}: is not a run directory, it has no {best}; seqtrain train makes one")
