"""The command line as a process: signals, exit codes, help."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import SMALL, SMALL_SETS

from seqtrain import evaluate
from seqtrain.system.errors import SeqtrainError


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGUSR1, 138)]
)
def test_a_signal_saves_the_run_and_sets_the_exit_code(start, tmp_path, number, code):
    run = tmp_path / "run"
    command = ("train", "quickstart", *SMALL_SETS, "train.steps=1000000", "train.log_every=1", "--out", run)
    child = start(*command, "--json")
    for _ in range(600):
        if (run / "metrics.jsonl").exists() and (run / "metrics.jsonl").stat().st_size > 500:
            break
        time.sleep(0.1)
    child.send_signal(number)
    ended, out, err = child.communicate()
    assert ended == code, err
    assert json.loads(out)["status"] == "interrupted"
    assert f"interrupted and saved; go on with seqtrain train {run} --resume" in err
    assert json.loads((run / "summary.json").read_text())["steps"] > 0
    assert (run / "last.safetensors").exists()


SLOW_STEP = """
import sys, time
import seqtrain.runs.trainer
from seqtrain.system.streams import stdout
from seqtrain.__main__ import main

def fit(*arguments, stop_requested, **hooks):
    print("ready", file=stdout(), flush=True)
    while not stop_requested():
        time.sleep(0.01)
    print("noted", file=stdout(), flush=True)
    time.sleep(60)

seqtrain.runs.trainer.fit = fit
main()
"""


def test_a_second_signal_stops_at_once_without_a_traceback(start, tmp_path):
    command = ("train", "quickstart", *SMALL_SETS, "--out", "run", "--quiet")
    child = start(*command, code=SLOW_STEP, folder=tmp_path)
    for word in ("ready", "noted"):
        assert child.stdout.readline() == f"{word}\n"
        child.send_signal(signal.SIGINT)
    assert child.communicate(50) == (130, "", "seqtrain: interrupted; what was saved before is whole\n")


def test_help_and_usage(seqtrain):
    assert "compare" in seqtrain("--help").out
    assert seqtrain("--version").out.startswith("seqtrain ")
    hint = "--steps is a setting, not an option; write train.steps=VALUE"
    assert hint in seqtrain("train", "quickstart", "--steps", 100).err
    assert hint in seqtrain("compare", "quickstart", "--steps=100").err
    for arguments in (("trian",), ("train",), ("train", "quickstart", "--no-such"), ("eval", "x", "--split", "dev")):
        result = seqtrain(*arguments)
        assert (result.code, result.out) == (2, "")


def test_a_bug_is_exit_1_with_a_traceback(tmp_path):
    breaking = "import seqtrain.cells; del seqtrain.cells.CELLS; from seqtrain.__main__ import main; main()"
    child = subprocess.run(
        [sys.executable, "-c", breaking, "cells"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert child.returncode == 1
    assert "ImportError" in child.stderr


def test_help_does_not_import_torch():
    code = (
        "import sys, atexit; sys.argv = ['seqtrain', '--help']\n"
        "atexit.register(lambda: print({'torch', 'pydantic'} & set(sys.modules), file=sys.stderr))\n"
        "from seqtrain.__main__ import main; main()"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stderr == b"set()\n"


def test_every_thread_flushes_subnormals_to_zero():
    code = (
        "from seqtrain.system.runtime import prepare; prepare(4); import torch; assert torch.get_num_threads() == 4;"
        "x = torch.full((4_000_000,), 1e-30); assert int((x * 1e-10 != 0).sum()) == 0"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


@pytest.mark.parametrize(
    "command",
    [
        ("train", "quickstart", *SMALL_SETS, "--out", "r\udce9n"),
        ("train", "words", "task.path=t\udce9xt.txt"),
        ("validate", "n\udce9.yaml"),
        ("compare", "quickstart", *SMALL_SETS, "--out", "c\udce9"),
        ("predict", "run", "--prompt", "the c\udce9"),
    ],
    ids=lambda command: command[0],
)
def test_a_name_that_is_not_utf8_is_refused_before_any_work(seqtrain, tmp_path, command):
    called = seqtrain(*command, "--json")
    assert (called.code, called.out) == (2, "")
    (line,) = called.err.splitlines()
    assert "\\xe9" in line
    assert "is not UTF-8; rename the file or folder, e.g. with convmv" in line
    assert list(tmp_path.iterdir()) == []


def test_a_folder_whose_name_is_not_utf8(seqtrain, tmp_path, monkeypatch):
    folder = tmp_path / "caf\udce9"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "text.txt").write_text("the cat sat\n" * 100)
    assert seqtrain("train", "quickstart", *SMALL, *SMALL_SETS, "--out", "run", "--json").code == 0
    assert seqtrain("eval", "run", "--json").code == 0
    refused = seqtrain("train", "words", "task.path=text.txt", "--out", "words")
    assert (refused.code, (folder / "words").exists()) == (2, False)
    assert f"{tmp_path}/caf\\xe9/text.txt: is not UTF-8" in refused.err
    with pytest.raises(SeqtrainError, match=r"caf\\xe9/run/best.safetensors: is not UTF-8"):
        evaluate(folder / "run")
