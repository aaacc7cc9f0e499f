"""A run directory. The only file that knows the names inside one."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from pydantic import JsonValue

from seqtrain.config import yaml
from seqtrain.runs.records import DONE, MetricsRecord, Summary
from seqtrain.system import strict_json
from seqtrain.system.errors import CheckpointError, ConfigError
from seqtrain.system.files import (
    UnreadableError,
    UnwritableError,
    append_line,
    flush_to_disk,
    open_regular,
    read_whole,
    write_whole,
)
from seqtrain.system.lease import HELD, BusyError, Lease, is_held

LONGEST = 1 << 20
"""Bytes of the longest line of metrics.jsonl that is read: seqtrain writes some hundreds."""


class InUseError(CheckpointError):
    """Another process is running in a directory."""


class RunDir:
    """The files of one run.

    config.yaml        the resolved config: training from it repeats the run
    metrics.jsonl      one record a line, appended
    summary.json       how the run ended
    last.safetensors   the last checkpoint
    best.safetensors   the checkpoint with the best validation metric
    curve.png          the learning curve
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.metrics = path / "metrics.jsonl"
        self.summary = path / "summary.json"
        self.last = path / "last.safetensors"
        self.best = path / "best.safetensors"
        self.curve = path / "curve.png"
        self._lease: Lease | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that a run writes."""
        return (self.config, self.metrics, self.summary, self.last, self.best, self.curve)

    @property
    def older_checkpoint(self) -> Path | None:
        """A checkpoint of a seqtrain that did not write safetensors yet, if there is no newer one."""
        older = (self.path / "best.pt", self.path / "last.pt")
        return None if self.last.exists() or self.best.exists() else next(filter(Path.exists, older), None)

    def holds_run(self) -> bool:
        """Whether any file of a run is there."""
        return any(file.exists() for file in self.files)

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
        """Make the directory, and keep other processes from running in it, on this host and on others.

        A directory that was made for the lock and is still empty in the end is removed again. A directory whose process
        was killed is free at once on its host, and on another host after `STALE_S` seconds.

        Raises
        ------
        InUseError : another process is running in it.
        CheckpointError : the directory cannot be made or written.
        """
        made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        self.create()
        lease = Lease(self.path)
        try:
            was_left = lease.take()
        except BusyError as error:
            itself = ", this process itself" if self.path.absolute() in HELD else ""
            raise InUseError(
                f"{self.path}: another process is running in it; wait for it, or choose another directory with --out "
                f"({error}{itself})"
            ) from None
        except OSError as error:
            _remove_empty(made)
            raise UnwritableError(self.path, error) from None
        self._lease = lease
        try:
            if was_left:
                self._renew_metrics()
            yield
        finally:
            self._lease = None
            if lease.give_back():
                _remove_empty(made)

    def is_held(self) -> bool:
        """Whether a process is running in the directory, on this host or on another."""
        return is_held(self.path)

    def _renew_metrics(self) -> None:
        """Give the metrics a new file of the same content: a frozen process may still append to the old one."""
        with suppress(FileNotFoundError):
            write_whole(self.metrics, self.metrics.read_bytes())

    def check_still_own(self) -> None:
        """Refuse to write into a directory that is another's by now.

        Raises
        ------
        CheckpointError : another process took it; or it was removed or renamed, and there is another one of its name.
        """
        if self._lease is None or self._lease.is_own() or not self.path.exists():
            return
        if self._lease.lock.exists():
            raise CheckpointError(
                f"{self.path}: another process goes on with this run, as this one wrote no heartbeat for a while; "
                "nothing more is written"
            )
        raise CheckpointError(
            f"{self.path}: was removed or renamed while this run was training, and another directory took its "
            "place; nothing was written there. Give each run a directory of its own with --out"
        )

    def clear(self) -> None:
        """Remove the files of a run, those of an older seqtrain included, and nothing else."""
        for file in (*self.files, self.path / "best.pt", self.path / "last.pt"):
            self.remove(file)

    def remove(self, file: Path) -> None:
        """Remove a file if it exists; in a locked directory only while that is held."""
        if self._lease is None:
            file.unlink(missing_ok=True)
            return
        with suppress(FileNotFoundError):
            aside = self._lease.through(file.name)
            file.rename(aside)
            aside.unlink()

    def config_data(self) -> dict[str, JsonValue]:
        """The resolved config as data.

        Raises
        ------
        SeqtrainError : there is none, or it cannot be read.
        """
        text = read_whole(self.config, yaml.LARGEST)
        try:
            _, data = yaml.parse(text.decode(), str(self.config))
        except UnicodeDecodeError:
            raise ConfigError(f"{self.config}: is not UTF-8") from None
        if not isinstance(data, dict):
            raise ConfigError(f"{self.config}: is no mapping, as every config is")
        return data

    def append(self, record: MetricsRecord) -> None:
        """Add one line to the metrics."""
        self.check_still_own()
        append_line(self.metrics, record.line(), self.check_still_own)

    def flush_metrics(self) -> None:
        """Wait until the metrics are on the disk: a checkpoint must not know of records that a power cut can take."""
        self.check_still_own()
        flush_to_disk(self.metrics)

    def read_metrics(self) -> Iterator[MetricsRecord]:
        """All whole records, one after another: there may be millions.

        Raises
        ------
        SeqtrainError : the file cannot be read, or a whole line of it is no record.
        """
        return (record for record, _ in self._records())

    def last_record(self) -> MetricsRecord | None:
        """The last whole record, read from the end of the file; None if there is none yet."""
        try:
            with open_regular(self.metrics) as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
                lines = file.read(4096).splitlines(keepends=True)
        except (OSError, UnreadableError):
            return None
        return next((record for line in reversed(lines) if (record := _record(line)) is not None), None)

    def rewind_metrics(self, step: int, *, evaluated: bool = True) -> float:
        """Cut off records past a step, which a resumed run will write again; returns the seconds elapsed there.

        Parameters
        ----------
        evaluated : whether the evaluation that follows the step belongs to it; its record is cut off otherwise.

        Raises
        ------
        SeqtrainError : as `read_metrics`; or an earlier step comes after a later one, and nothing is cut off.
        """
        elapsed, end, past = 0.0, 0, None
        for record, stop in self._records():
            if record.step > step or (record.step == step and record.split == "valid" and not evaluated):
                past = record.step
            elif past is not None:
                raise CheckpointError(
                    f"{self.metrics}: step {record.step} comes after step {past}; put the records in order"
                )
            else:
                elapsed, end = record.elapsed_s, stop
        if self.metrics.exists():
            with self.metrics.open("r+b") as file:
                self.check_still_own()
                file.truncate(end)
        return elapsed

    def _records(self) -> Iterator[tuple[MetricsRecord, int]]:
        """Each record with the position after it; a last line that is not whole is left out."""
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
                    raise CheckpointError(
                        f"{self.metrics}:{number}: is not a record of a run; correct or remove the line"
                    )

    def write_summary(self, summary: Summary) -> None:
        """Write how the run ended."""
        self.check_still_own()
        strict_json.write(self.summary, summary.as_json())

    def load_summary(self) -> Summary:
        """How the run ended.

        Raises
        ------
        UnreadableError : the run has not ended, or its summary is damaged; the message names every fault.
        """
        try:
            return Summary.from_text(read_whole(self.summary, strict_json.LARGEST))
        except ValueError as error:
            raise UnreadableError(self.summary, str(error)) from None

    def read_summary(self) -> Summary | None:
        """How the run ended; None if it has not, or its summary is damaged."""
        try:
            return self.load_summary()
        except UnreadableError:
            return None

    def is_done(self) -> bool:
        """Whether the run has been trained to its end."""
        summary = self.read_summary()
        return summary is not None and summary.status in DONE


def _remove_empty(folders: Iterable[Path]) -> None:
    """Remove folders, each in the next one, up to the first that is not empty."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _record(line: bytes) -> MetricsRecord | None:
    """A whole line as a record, or None."""
    try:
        return MetricsRecord.from_text(line) if line.endswith(b"\n") else None
    except ValueError:
        return None


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
        raise CheckpointError(
            f"{run.path}: has no {best}: the run was never evaluated, or it was removed; give {run.last}"
        )
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
