"""The processes that train one run together, as `torchrun` starts them. Usually there is one.

Every process holds all weights and does the same updates; `gather` is where they exchange what they computed.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from seqtrain.system.errors import ConfigError, LostProcess, SeqtrainError
from seqtrain.system.processes import started_by_torchrun

PATIENCE = timedelta(hours=12)
"""How long a process waits for the others: one may evaluate a long text. A process that ends is noticed at once."""

_groups = count()
"""Numbers of the groups that this process joins; in the same order in all processes."""


@dataclass(frozen=True)
class ProcessGroup:
    """The processes of a run; each calls the same methods in the same order.

    rank : the number of this process, from 0; process 0 leads: it alone reads the config and writes.
    size : how many there are.
    """

    rank: int
    size: int

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def gather(self, part: Tensor) -> Tensor:
        """`[N, ...]` of each process, all of one shape, put together along the first axis in the order of the ranks."""
        if self.size == 1:
            return part
        own = part.contiguous()
        parts = [torch.empty_like(own) for _ in range(self.size)]
        with _noticing_ends():
            dist.all_gather(parts, own)
        return torch.cat(parts)

    def gather_objects(self, value: Any) -> list[Any]:
        """A plain value of each process, in the order of the ranks."""
        values = [value] * self.size
        if self.size > 1:
            with _noticing_ends():
                dist.all_gather_object(values, value)
        return values

    def share(self, value: Any = None) -> Any:
        """What process 0 gives, to all."""
        if self.size == 1:
            return value
        box = [value]
        with _noticing_ends():
            dist.broadcast_object_list(box, device=torch.device("cpu"))
        if isinstance(box[0], _Failed) and not self.leads:
            raise LostProcess("process 0 of this run has failed")
        return box[0]

    def highest(self, number: int) -> int:
        """The largest of a whole number of each process."""
        return number if self.size == 1 else int(self.gather(torch.tensor([number])).max())

    @contextmanager
    def leading(self) -> Iterator[None]:
        """What process 0 does while the others wait in `share`: an error in it ends these as well."""
        try:
            yield
        except SeqtrainError:
            if self.size > 1:
                self.share(_Failed())
            raise


class _Failed:
    """What process 0 shares after an error."""


ALONE = ProcessGroup(0, 1)
"""The group of a process that was not started by `torchrun`."""


@contextmanager
def process_group() -> Iterator[ProcessGroup]:
    """Join the processes that `torchrun` started. Each of them uses a GPU of its own, where there are GPUs.

    Raises
    ------
    ConfigError : it started more processes on this machine than there are GPUs.
    """
    if started_by_torchrun() == 1:
        yield ALONE
        return
    is_ours = not dist.is_initialized()
    if is_ours:
        _join()
    try:
        yield ProcessGroup(dist.get_rank(), dist.get_world_size())
    except LostProcess:
        if is_ours and not torch.cuda.is_available():  # with NCCL, the others would be needed to leave in order
            dist.destroy_process_group()
        raise
    except BaseException:
        if is_ours:
            dist.destroy_process_group()  # the others notice it
        raise
    if is_ours:
        dist.destroy_process_group()


def _join() -> None:
    """Meet the others in a place of this group alone: a program may train several runs, one after another."""
    store, rank, size = next(rendezvous("env://", timeout=PATIENCE))
    place = PrefixStore(f"seqtrain-{next(_groups)}", store)
    dist.init_process_group(_backend(), store=place, rank=rank, world_size=size, timeout=PATIENCE)


def _backend() -> str:
    """Which library carries what: NCCL between GPUs, Gloo between CPUs."""
    if not torch.cuda.is_available():
        return "gloo"
    torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    return "cpu:gloo,cuda:nccl"


def check_device(group: ProcessGroup, device: str) -> None:
    """Refuse a device that several processes cannot share.

    Raises
    ------
    ConfigError : each process needs a GPU of its own.
    """
    if group.size == 1 or device == "cpu":
        return
    here, present = int(os.environ.get("LOCAL_WORLD_SIZE", group.size)), torch.cuda.device_count()
    if not device.startswith("cuda"):
        raise ConfigError(f"device is {device!r}, which several processes cannot share; use cpu or cuda")
    if here > 1 and device != "cuda":
        raise ConfigError(f"device is {device!r}, one GPU for {here} processes; use cuda, which gives each its own")
    if not present:
        raise ConfigError(f"device is {device!r}, but this machine has no GPU that torch can use; use cpu")
    if here > present:
        raise ConfigError(f"torchrun started {here} processes on a machine with {present} GPUs; start {present}")


@contextmanager
def _noticing_ends() -> Iterator[None]:
    """Turn the errors of a lost connection into `LostProcess`."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        reason = str(error).splitlines()[0].partition(". ")[0]  # what follows are guesses of the library
        raise LostProcess(f"another process of this run has ended ({reason})") from None
