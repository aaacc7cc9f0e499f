"""Groups of processes: a program may join several, one after another."""

import pytest
import torch
import torch.distributed as dist

from seqtrain.system import process_group as groups
from seqtrain.system.errors import ConfigError, LostProcess
from seqtrain.system.process_group import process_group


@pytest.fixture
def store(monkeypatch):
    """Where processes meet: this one alone, as if torchrun had started several."""
    store = dist.HashStore()
    monkeypatch.setattr(groups, "started_by_torchrun", lambda: 2)
    monkeypatch.setattr(groups, "rendezvous", lambda *_, **__: iter([(store, 0, 1)]))
    return store


def place(monkeypatch):
    """The store of the next group, with what an earlier one has left there."""
    joined = []
    monkeypatch.setattr(dist, "init_process_group", lambda *_, store, **__: joined.append(store))
    monkeypatch.setattr(dist, "destroy_process_group", lambda: None)
    monkeypatch.setattr(dist, "get_rank", lambda: 0)
    monkeypatch.setattr(dist, "get_world_size", lambda: 1)
    with process_group():
        return joined[0]


def test_every_group_has_a_place_of_its_own_to_meet(store, monkeypatch):
    """Else a second training finds the addresses of the first, at which nobody listens any more."""
    place(monkeypatch).set("address of process 1", "gone")
    assert not place(monkeypatch).check(["address of process 1"])


@pytest.mark.parametrize("error", [LostProcess("gone"), ConfigError("wrong"), KeyboardInterrupt()])
@pytest.mark.usefixtures("store")
def test_a_group_that_failed_is_left(error):
    with pytest.raises(type(error)), process_group() as group:
        assert dist.is_initialized()
        assert torch.equal(group.gather(torch.ones(2)), torch.ones(2))
        raise error
    assert not dist.is_initialized()


def test_a_lost_connection_is_told_without_the_guesses_of_the_library():
    with pytest.raises(LostProcess, match=r"has ended \(Connection reset by peer\)$"), groups._noticing_ends():
        raise RuntimeError("Connection reset by peer. This is typically caused by bugs in the application. GLHF!\nmore")
