"""Show runs in TensorBoard: event files from what a run has written of itself, while it trains or later.

The run neither knows nor waits. What a file holds follows from the metrics alone, so writing it again changes nothing,
and a file that was cut off is completed. If a run was resumed from an earlier step, its metrics are others: then a new
file takes the place of the old one.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import monotonic, sleep

from seqtrain.runs.directory import LONGEST, RunDir
from seqtrain.runs.records import MetricsRecord, Summary
from seqtrain.runs.tensorboard import beginning, figures, time_of
from seqtrain.system.errors import CheckpointError, ConfigError
from seqtrain.system.files import UnwritableError, read_whole, write_whole

LARGEST = 1 << 32
"""Bytes of the largest file that is read."""

POLL_S, IDLE_S = 1.0, 30.0
"""Seconds between two looks at the runs; and how long nothing new begins in a folder before all of it has ended."""

NO_FIGURES = ("step", "split", "elapsed_s")


class Tracked:
    """A run, and the folder for its event file.

    ended : whether it had ended when it was last looked at.
    """

    def __init__(self, run: Path, folder: Path) -> None:
        self.run, self.folder, self.ended = RunDir(run), folder, False
        self._seen: tuple[object, object] = None, None
        self._metrics, self._events, self._start = b"", b"", 0.0
        self._held: bytes | None = None  # by the event file, once it has been read

    def update(self) -> None:
        """Write what is new.

        Raises
        ------
        SeqtrainError : a file of the run is damaged, or the event file cannot be written.
        """
        seen = _changed(self.run.metrics), _changed(self.run.summary)
        if seen == self._seen:
            return
        summary, metrics = self._summary(), read_whole(self.run.metrics, LARGEST) if seen[0] else b""
        if metrics := metrics[: metrics.rfind(b"\n") + 1]:
            old = self._file()
            if self._held is None or old is None:
                self._held = b"" if old is None else read_whole(old, LARGEST)
            if not self._metrics or not metrics.startswith(self._metrics):  # the first look, or a run that was resumed
                self._start = self._started(self._held)
                self._metrics, self._events = b"", beginning(self._start)
            self._events += b"".join(self._encoded(metrics[len(self._metrics) :]))
            self._metrics = metrics
            self._write(old, self._held, self._events + self._tested(summary))
        self._seen, self.ended = seen, summary is not None

    def _summary(self) -> Summary | None:
        """How the run ended; None if it has not, or trains again since then."""
        written, trained = _changed(self.run.summary), _changed(self.run.metrics)
        return self.run.load_summary() if written and (not trained or written[0] >= trained[0]) else None

    def _started(self, held: bytes) -> float:
        """When the run began, as the file says that there is; else as far as its last record says."""
        if (time := time_of(held)) is not None:
            return time
        last = self.run.last_record()
        return self.run.metrics.stat().st_mtime - (0.0 if last is None else last.elapsed_s)

    def _encoded(self, lines: bytes) -> Iterator[bytes]:
        for line in lines.splitlines():
            if not line.strip():
                continue
            try:
                record = MetricsRecord.from_text(line[:LONGEST])
            except ValueError as error:
                raise CheckpointError(f"{self.run.metrics}: a line is not a record of a run: {error}") from None
            named = {f"{record.split}/{name}": value for name, value in record.as_json().items()}
            known = {
                name: float(value)
                for name, value in named.items()
                if value is not None and name.partition("/")[2] not in NO_FIGURES
            }
            yield figures(self._start + record.elapsed_s, record.step, known)

    def _tested(self, summary: Summary | None) -> bytes:
        """The figures on the test set, at the step of the best checkpoint."""
        if summary is None or summary.test is None:
            return b""
        known = {f"test/{name}": value for name, value in summary.test.items() if value is not None}
        step = summary.steps if summary.best.step is None else summary.best.step
        return figures(self._start + summary.elapsed_s, step, known)

    def _file(self) -> Path | None:
        """The event file that there is."""
        return max(self.folder.glob(f"events.out.tfevents.{'[0-9]' * 10}.seqtrain"), default=None)

    def _write(self, old: Path | None, held: bytes, content: bytes) -> None:
        """Bring the file to its content: append if it has the beginning of it, else let another take its place."""
        if old is not None and content.startswith(held):
            if content != held:
                _append(old, content[len(held) :])
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            number = 1 + int(old.name.split(".")[3]) if old is not None else 0
            write_whole(self.folder / f"events.out.tfevents.{number:010}.seqtrain", content)
            if old is not None:
                os.truncate(old, 0)  # it stays: a TensorBoard that runs goes no further than a file that is gone
        self._held = content


def _append(file: Path, content: bytes) -> None:
    try:
        with file.open("ab") as opened:
            opened.write(content)
    except OSError as error:
        raise UnwritableError(file, error) from None


def _changed(path: Path) -> tuple[int, int] | None:
    """When a file was last written, and its size; None if there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size


def runs_in(target: Path) -> list[Path]:
    """The target if it is a run directory, else the runs in the folder."""
    if RunDir(target).holds_run():
        return [target]
    return [path for path in sorted(target.iterdir()) if RunDir(path).holds_run()] if target.is_dir() else []


def name_of(run: Path) -> str:
    """What a run is called in TensorBoard: its path below the current folder, without `runs/`."""
    path = run.resolve()
    path = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path.relative_to(path.anchor)
    return re.sub(r"^runs/", "", path.as_posix())


def track(
    targets: Sequence[Path], out: Path, *, follow: bool = False, stop_requested: Callable[[], bool] = lambda: False
) -> list[Tracked]:
    """Write the event files of runs.

    Parameters
    ----------
    targets : run directories, or folders of them, such as that of a comparison.
    out : the folder for TensorBoard; each run has a folder of its own in it.
    follow : go on until all runs have ended; runs that are not there yet are waited for.

    Raises
    ------
    SeqtrainError : there is no run, or a file is damaged or cannot be written.
    """
    tracked, idle_since = dict[Path, Tracked](), monotonic()
    while True:
        found = [run for target in targets for run in runs_in(target)]
        missing = [target for target in targets if not runs_in(target)]
        if missing and not follow:
            raise ConfigError([f"{target}: is neither a run nor a folder of runs" for target in missing])
        for run in found:
            each = tracked.setdefault(run.resolve(), Tracked(run, out / name_of(run)))
            was_ended = each.ended
            each.update()
            if not (was_ended and each.ended):
                idle_since = monotonic()
        are_single = all(RunDir(target).holds_run() for target in targets)
        are_done = not missing and all(each.ended for each in tracked.values())
        if not follow or stop_requested() or (are_done and (are_single or monotonic() - idle_since >= IDLE_S)):
            return [*tracked.values()]
        sleep(POLL_S)
