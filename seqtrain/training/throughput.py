"""How long a run has trained, and how fast."""

import time
from dataclasses import dataclass, field


@dataclass
class Clock:
    """Measures a run in seconds, and its work in sequences or tokens.

    started_at : `time.monotonic()` of the start of the run, moved by the interruptions.
    trained_s, work : in training steps of this process.
    saved_at : `time.monotonic()` of the last checkpoint.
    """

    started_at: float
    trained_s: float = 0.0
    work: int = 0
    saved_at: float = field(default_factory=time.monotonic)
    _recorded_s: float = 0.0
    _recorded_work: int = 0

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start of the run, interruptions left out."""
        return time.monotonic() - self.started_at

    def count(self, seconds: float, work: int) -> None:
        """Add a training step."""
        self.trained_s += seconds
        self.work += work

    def throughput(self) -> float | None:
        """Sequences or tokens per second of training in this process; None before the first step."""
        return self.work / self.trained_s if self.trained_s else None

    def throughput_since_record(self) -> float | None:
        """The same since the last call."""
        seconds, work = self.trained_s - self._recorded_s, self.work - self._recorded_work
        self._recorded_s, self._recorded_work = self.trained_s, self.work
        return work / seconds if seconds else None
