"""Passes that a GPU repeats as a whole: CUDA graphs.

The CPU needs longer to start most operations than the GPU needs to do them, and a pass over a sequence has hundreds. A
graph of CUDA starts all of them at once. It reads and writes the same addresses each time, so what comes in is copied
to arrays of its own, and what goes out is copied from there. The operations are the same, and so are the bits.

A pass is recorded when it is seen for the third time, as that takes about as long as two passes. A recording is in use
from a forward pass until no backward pass can follow it. A pass of the same kind that begins in between gets another
recording.
"""

import sys
import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, TypeVar

import torch

from seqtrain.recurrence.launches import Inputs, Pass, Results, run_backward, run_forward

FEWEST_STEPS = 8
"""Steps from which a graph gains more than its copies cost."""

RARE = 2
"""A pass that was seen so often at most is not recorded."""

NEVER = -sys.maxsize
"""The count of a kind of pass that is not tried again."""

MOST_KINDS = 64
"""How many kinds of passes, the last ones, are counted."""

MEMORY_SHARE = 1 / 8
"""The share of the GPU's memory that all recordings may take together."""


def acquire(pass_: Pass, inputs: Inputs, is_learning: bool) -> "InUse | None":
    """A recording of such a pass, with the backward pass if it is for learning; None if the caller has to launch it."""
    if not _can_record(inputs):
        return None
    return _recordings.acquire(pass_, inputs, is_learning)


def _can_record(inputs: Inputs) -> bool:
    if not inputs.w.is_cuda or len(inputs.x_gates) < FEWEST_STEPS or _saves_elsewhere():
        return False
    return not torch.cuda.is_current_stream_capturing()


def _saves_elsewhere() -> bool:
    """Whether hooks are to see the tensors that are saved, as in `torch.utils.checkpoint`: a recording saves none."""
    return torch._C._autograd._top_saved_tensors_default_hooks(False) is not None


@cache
def _stream_beside(stream: torch.cuda.Stream) -> torch.cuda.Stream:
    """Where passes of a stream are recorded; the stream that torch takes by default is on the first GPU in use."""
    return torch.cuda.Stream(stream.device)  # type: ignore[no-untyped-call]


def _record(run: Callable[[], Any], pool: Any) -> tuple[Callable[[], object], Any, Any]:
    """What repeats a function, what it returns each time, and where the arrays of the recording are."""
    run()  # loads the kernels, which is not possible while it is recorded
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
    with (
        torch.cuda.stream(stream),  # torch does not return to it if the recording fails
        torch.cuda.graph(graph, pool=pool, stream=_stream_beside(stream), capture_error_mode="thread_local"),
    ):
        result = run()
    return graph.replay, result, graph.pool()


Arrays = TypeVar("Arrays", Inputs, Results)


class Recording:
    """A pass over arrays of its own."""

    def __init__(self, pass_: Pass, inputs: Inputs, is_learning: bool) -> None:
        """Record the forward pass and, if it is for learning, the backward pass."""
        with torch.inference_mode(mode=False), torch.no_grad():  # so that it also serves outside of inference mode
            lengths = None if pass_.lengths is None else pass_.lengths.clone()
            own, given = pass_._replace(lengths=lengths), _copies(inputs)
            self.lengths, self.inputs = lengths, given
            self.results: Results
            self.repeat_forward, (kept, self.results), pool = _record(lambda: run_forward(own, given), None)
            if not is_learning:
                return
            self.d_results = d_results = _copies(self.results)
            self.d_inputs: Inputs
            backward = _record(lambda: run_backward(own, given.w, kept, d_results), pool)
            self.repeat_backward, self.d_inputs, _ = backward

    def forward(self, pass_: Pass, inputs: Inputs) -> Results:
        """What `run_forward` computes."""
        if self.lengths is not None and pass_.lengths is not None:
            self.lengths.copy_(pass_.lengths)
        _write(self.inputs, inputs)
        self.repeat_forward()
        return _copies(self.results)

    def backward(self, d_results: Results) -> Inputs:
        """What `run_backward` computes for the last forward pass."""
        _write(self.d_results, d_results)
        self.repeat_backward()
        return _copies(self.d_inputs)


def _copies(arrays: Arrays) -> Arrays:
    return type(arrays)(*(part if part is None else part.clone() for part in arrays))  # type: ignore[arg-type]


def _write(own: Arrays, given: Arrays) -> None:
    """In one launch."""
    pairs = [(to, source) for to, source in zip(own, given, strict=True) if to is not None and source is not None]
    torch._foreach_copy_([to for to, _ in pairs], [source for _, source in pairs])


class InUse:
    """A recording in use by one forward pass and its backward passes; it is free again when this object is deleted."""

    def __init__(self, recording: Recording) -> None:
        """Use a recording that nobody else uses."""
        self.forward, self.backward = recording.forward, recording.backward


class Key(NamedTuple):
    """What passes have in common that can share a recording."""

    constants: tuple[Any, ...]
    arrays: tuple[Any, ...]
    device: torch.device
    stream: Any
    is_learning: bool


def _key(pass_: Pass, inputs: Inputs, is_learning: bool) -> Key:
    flags = tuple((pass_.kind.flags or {}).items())
    matmul = torch.backends.cuda.matmul
    rounding = getattr(matmul, "fp32_precision", None) or matmul.allow_tf32  # the first is new in torch 2.9
    given = (pass_.kind.hidden, pass_.kind.width, flags, pass_.low, pass_.lengths is not None, pass_.reverse)
    arrays = tuple(None if array is None else (array.shape, array.dtype) for array in inputs)
    at = inputs.w.device
    return Key((*given, rounding), arrays, at, torch.cuda.current_stream(at) if inputs.w.is_cuda else None, is_learning)


class _Recordings:
    """All of this process; one that is in use is not among the free ones."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.seen: OrderedDict[Key, int] = OrderedDict()
        self.free: OrderedDict[Key, list[Recording]] = OrderedDict()
        self.sizes: weakref.WeakKeyDictionary[Recording, int] = weakref.WeakKeyDictionary()
        self.released: deque[tuple[Key, Recording]] = deque()

    def acquire(self, pass_: Pass, inputs: Inputs, is_learning: bool) -> InUse | None:
        key = _key(pass_, inputs, is_learning)
        with self.lock:
            self._collect_released()
            recording = self.free[key].pop() if self.free.get(key) else None
            if recording is None:
                # The sums of the gates, the activations, their gradients, and all states; the weights and their
                # gradient, and the roundings of the weights for both passes.
                size = 4 * inputs.x_gates.nbytes + 3 * inputs.w.nbytes
                if self._count(key) <= RARE or not self._make_room(size, _memory(inputs.w.device)):
                    return None
                try:
                    recording = Recording(pass_, inputs, is_learning)
                except torch.OutOfMemoryError:  # a pass that is launched needs less
                    self.seen[key] = NEVER
                    return None
                self.sizes[recording] = size
        used = InUse(recording)
        # Its end may come at any point of the program, so it takes no lock.
        weakref.finalize(used, self.released.append, (key, recording)).atexit = False
        return used

    def _collect_released(self) -> None:
        while self.released:
            key, recording = self.released.popleft()
            self.free.setdefault(key, []).append(recording)
            self.free.move_to_end(key)

    def _count(self, key: Key) -> int:
        self.seen[key] = self.seen.pop(key, 0) + 1
        if len(self.seen) > MOST_KINDS:
            self.seen.popitem(last=False)
        return self.seen[key]

    def _make_room(self, size: int, memory: int) -> bool:
        """Forget the recordings that were not used for the longest time, until a new one has room; whether it has."""
        limit = memory * MEMORY_SHARE - size
        free = sum(self.sizes[recording] for recordings in self.free.values() for recording in recordings)
        if sum(self.sizes.values()) - free > limit:
            return False
        while sum(self.sizes.values()) > limit:
            key = next(iter(self.free))
            del self.free[key]
            self.seen.pop(key, None)  # or kinds in turns, of which one has no room, would be recorded each time
        return True


def _memory(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).total_memory


_recordings = _Recordings()
