"""Several threads of a program may use seqtrain at once, and what the program has set for itself stays."""

import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from conftest import SMALL, SMALL_SETS

from seqtrain import CheckpointError, evaluate, train
from seqtrain.config.user_code import import_from
from seqtrain.runs.directory import RunDir
from seqtrain.system import settings
from seqtrain.system.ignoring import warnings_ignored
from seqtrain.system.pictures import own_style
from seqtrain.system.rng import seeded_global_generator
from seqtrain.system.runtime import prepare, settings_restored
from seqtrain.system.signals import stop_requests

PAUSE_S = 0.1
"""How long a thread waits for another one that must not come."""


def entered_meanwhile(context):
    """Whether another thread can enter a context while this one is inside it."""
    entered = threading.Event()

    def other():
        with context():
            entered.set()

    thread = threading.Thread(target=other)
    with context():
        thread.start()
        came = entered.wait(PAUSE_S)
    thread.join()
    assert entered.is_set()
    return came


@pytest.mark.parametrize(
    "context",
    [lambda: seeded_global_generator(0), warnings_ignored, own_style],
    ids=["generator", "warnings", "matplotlib"],
)
def test_one_thread_at_a_time_has_what_all_threads_share(context):
    assert not entered_meanwhile(context)


def test_runs_at_the_same_time_end_with_the_same_bytes(tmp_path):
    def run(name, seed):
        sets = [*SMALL, *SMALL_SETS, f"seed={seed}", f"threads={1 + seed % 2}" if seed else "threads=null"]
        ran = train("quickstart", sets, out=tmp_path / name / str(seed))
        assert ran.summary.threads == (1 + seed % 2 if seed else 1)  # as conftest.py says
        return (ran.path / "last.safetensors").read_bytes()

    before = torch.get_num_threads()
    with ThreadPoolExecutor(4) as executor:
        together = [*executor.map(run, ["together"] * 4, range(4))]
    assert together == [run("alone", seed) for seed in range(4)]
    assert torch.get_num_threads() == before


def test_a_thread_keeps_its_number_of_threads_and_begins_with_that_of_the_program():
    def with_number(given, wanted):
        with settings_restored():
            prepare(given)
            assert torch.get_num_threads() == wanted
            begun.wait()  # both have set theirs
            assert torch.get_num_threads() == wanted

    begun = threading.Barrier(2, timeout=5)
    with settings_restored(), ThreadPoolExecutor(2) as executor:
        torch.set_num_threads(3)  # as another run has
        list(executor.map(with_number, (2, None), (2, 1)))
    assert torch.get_num_threads() == 1


def test_the_mode_and_the_number_of_threads_are_those_of_the_program_again(tmp_path):
    torch.set_flush_denormal(False)
    try:
        ran = train("quickstart", [*SMALL, *SMALL_SETS, "threads=2"], out=tmp_path)
        assert ran.summary.threads == 2
        evaluate(ran.path)
        tiny = 5e-324
        assert (tiny * 1.0 != 0, torch.get_num_threads()) == (True, 1)
    finally:
        torch.set_flush_denormal(True)


def test_two_threads_that_make_a_section_get_one(monkeypatch):
    from seqtrain.cells import CELLS

    class Own(CELLS["gru"]):
        pass

    both, made = threading.Barrier(2, timeout=5), settings._made_section
    monkeypatch.setattr(settings, "_made_section", lambda *key: (made(*key), both.wait())[0])
    with ThreadPoolExecutor(2) as executor:
        one, other = executor.map(lambda _: settings.section_of(Own, "own", settings.Declared), range(2))
    assert one is other


def test_imports_wait_for_each_other(tmp_path, monkeypatch):
    """Two folders with a module of one name: each thread gets its own."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "helper_of_threads.py").write_text(f"import time; time.sleep({PAUSE_S}); NAME = {name!r}")
        code = f"import helper_of_threads\nNAME = helper_of_threads.NAME + {name!r}"
        (tmp_path / name / "cells_of_threads.py").write_text(code)
    before = [*sys.path]
    with ThreadPoolExecutor(2) as executor:
        modules = [*executor.map(lambda name: import_from(tmp_path / name, "cells_of_threads"), "ab")]
    assert [module.NAME for module in modules] == ["aa", "bb"]
    assert sys.path == before


def test_a_directory_belongs_to_one_thread(tmp_path):
    with RunDir(tmp_path).locked(), ThreadPoolExecutor(1) as executor:
        second = executor.submit(train, "quickstart", [*SMALL, *SMALL_SETS], out=tmp_path)
        with pytest.raises(CheckpointError, match=r"another process is running in it; .*, this process itself\)$"):
            second.result()


def test_a_signal_asks_a_run_on_the_main_thread_to_stop_and_the_handlers_of_the_program_come_back(tmp_path):
    """As Ctrl-C in a notebook: the program goes on, with the run saved."""
    handled, before = [], signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGUSR1, own := lambda number, _: handled.append(number))

    def interrupt():
        while RunDir(tmp_path).last_record() is None:
            time.sleep(0.01)
        signal.raise_signal(signal.SIGINT)

    try:
        threading.Thread(target=interrupt).start()
        stopped = train("quickstart", [*SMALL, *SMALL_SETS, "train.steps=1000000"], out=tmp_path)
        assert (stopped.summary.status, stopped.exit_code) == ("interrupted", 130)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert signal.getsignal(signal.SIGUSR1) is own
        again = train(tmp_path, [f"train.steps={stopped.summary.steps + 1}"], resume=True)
        assert (again.summary.status, again.exit_code, handled) == ("finished", 0, [])
    finally:
        signal.signal(signal.SIGINT, before)
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)


def test_no_handler_is_set_off_the_main_thread():
    def inside():
        with stop_requests():
            return signal.getsignal(signal.SIGTERM)

    with ThreadPoolExecutor(1) as executor:
        assert executor.submit(inside).result() is signal.getsignal(signal.SIGTERM)


def test_a_handler_that_is_not_of_python_stays(monkeypatch):
    """`signal.getsignal` gives None for it, which `signal.signal` does not take."""
    set_to = []
    monkeypatch.setattr(signal, "getsignal", lambda number: None if number == signal.SIGUSR1 else signal.SIG_DFL)
    monkeypatch.setattr(signal, "signal", lambda number, handler: set_to.append((number, handler)))
    with stop_requests():
        pass
    assert signal.SIGTERM in dict(set_to)
    assert signal.SIGUSR1 not in dict(set_to)
