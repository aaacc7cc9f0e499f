"""How long a run has trained, and how fast."""

import time
from dataclasses import dataclass, field


@dataclass
class Clock:
    """Time spent: since the start of the run, since it was saved, and on training alone, in all and since the last
    record.
    """

    started_at: float
    saved_at: float = field(default_factory=time.monotonic)
    trained_s: float = 0.0
    work: int = 0
    recorded_s: float = 0.0
    recorded_work: int = 0

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run started, interruptions left out."""
        return time.monotonic() - self.started_at

    def count(self, seconds: float, work: int) -> None:
        """A training step took so long and held so many sequences or tokens."""
        self.trained_s += seconds
        self.work += work

    def throughput(self) -> float | None:
        """Sequences or tokens a second of training, since this process began; None before the first step."""
        return self.work / self.trained_s if self.trained_s else None

    def throughput_since_record(self) -> float | None:
        """Likewise since the last call."""
        if self.trained_s == self.recorded_s:
            return None
        rate = (self.work - self.recorded_work) / (self.trained_s - self.recorded_s)
        self.recorded_s, self.recorded_work = self.trained_s, self.work
        return rate
