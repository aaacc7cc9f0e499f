"""`compare --dry-run=array`: a file of commands and the lines that submit it to Slurm; a fake Slurm runs it."""

import os
import shlex
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import SMALL, SMALL_SETS

from seqtrain.comparison import parse_request
from seqtrain.comparison.job_array import job_array
from seqtrain.comparison.runner import Commands
from seqtrain.comparison.search import rounds_of
from seqtrain.system.errors import ConfigError

SBATCH = """#!/bin/sh
# Runs every task of an array, one after another.
for word; do
    case $before in --wrap) wrap=$word;; esac
    case $word in --array=*) array=${word#--array=};; esac
    before=$word
done
echo "$array" >> "$LOG.arrays"
first=${array%%-*} last=${array#*-}
for number in $(seq "$first" "${last%%%*}"); do SLURM_ARRAY_TASK_ID=$number sh -c "$wrap" < /dev/null; done
"""

NOTE = """#!/bin/sh
printf "%s\\n" "$@" "" >> "$LOG"
"""

COMMAND = ("compare", "quickstart", *SMALL, *SMALL_SETS, "train.steps=1", "--cells", "rnn", "--seeds", 2)


@pytest.fixture
def submit(tmp_path, monkeypatch):
    """Run lines with the fake sbatch, and a seqtrain that only notes how it is called; returns the calls and arrays."""
    (tmp_path / "bin").mkdir()
    for name, script in (("sbatch", SBATCH), ("seqtrain", NOTE)):
        (tmp_path / "bin" / name).write_text(script)
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("LOG", str(tmp_path / "log"))

    def submit(lines):
        subprocess.run(["sh", "-e"], input=lines, text=True, check=True, capture_output=True)
        calls = [call.split("\n") for call in (tmp_path / "log").read_text().split("\n\n")[:-1]]
        return calls, (tmp_path / "log.arrays").read_text().split()

    return submit


def words(line):
    """What a line for a shell passes to seqtrain."""
    return shlex.split(line)[1:]


def test_each_task_runs_a_command_of_the_file(seqtrain, submit):
    out = "my runs/it's 100%"
    planned = seqtrain(*COMMAND, "--out", out, "--jobs", 3, "--dry-run=array")
    assert planned.code == 0, planned.err
    assert planned.out.startswith("sbatch --array=1-2%3 --parsable --wrap ")
    assert planned.out.count("\n") == 1
    assert "2 of 2 runs to do" in planned.err
    assert planned.err.endswith(f"when that has ended, seqtrain compare {shlex.quote(out)}\n")
    (file,) = Path(out, "commands").iterdir()
    calls, arrays = submit(planned.out)
    assert arrays == ["1-2%3"]
    assert calls == [words(line) for line in file.read_text().splitlines()]
    assert calls == [words(line) for line in seqtrain(*COMMAND, "--out", out, "--dry-run").out.splitlines()]
    assert [call[:1] + call[2:] for call in calls] == [
        ["train", "--out", f"{out}/quickstart-rnn-seed{seed}", "--resume", "--quiet"] for seed in (0, 1)
    ]


def test_a_file_that_tasks_wait_for_is_never_changed(seqtrain):
    seqtrain(*COMMAND, "--out", "o", "--dry-run=array")
    (first,) = Path("o/commands").iterdir()
    before = first.read_text()
    seqtrain(*words(before.splitlines()[0]))
    left = seqtrain(*COMMAND, "--out", "o", "--dry-run=array", "--json").json
    assert (left["commands"], first.read_text()) == (before.splitlines()[1:], before)
    assert Path(left["file"]).read_text() == before.splitlines()[1] + "\n"
    assert left["submit"][0].startswith("sbatch --array=1-1 ")
    seqtrain(*words(left["commands"][0]))
    done = seqtrain(*COMMAND, "--out", "o", "--dry-run=array")
    assert (done.out, done.err.splitlines()[-1]) == (
        "",
        "next: run what is printed; when that has ended, seqtrain compare o",
    )
    assert len(parse_request([*map(str, Path("o").iterdir())]).runs) == 2  # o/* names o/commands too


def test_a_grid_takes_two_rounds(seqtrain):
    command = (*COMMAND, "--grid", "optimizer.lr=1e-3,1e-2", "--tuning-seeds", 1, "--out", "o", "--dry-run=array")
    for number in (1, 2):
        planned = seqtrain(*command)
        assert f"round {number} of 2: 2 of 2 runs " in planned.err
        assert ("repeat this command for round 2" in planned.err) == (number == 1)
        facts = seqtrain(*command, "--json").json
        assert (facts["round"], facts["rounds"], len(facts["commands"])) == (number, 2, 2)
        assert facts["submit"] == planned.out.splitlines()
        for line in facts["commands"]:
            assert seqtrain(*words(line)).code == 0
    assert seqtrain(*command, "--json").json == {"commands": [], "file": None, "submit": [], "round": 2, "rounds": 2}


def test_a_search_that_learns_takes_a_round_for_each_batch():
    def rounds(method, candidates):
        return rounds_of(SimpleNamespace(tune=SimpleNamespace(method=method, candidates=candidates), tuned=(1,)))

    assert [rounds("random", 20), rounds("optuna", 5), rounds("optuna", 6), rounds("optuna", 20)] == [2, 2, 3, 5]


def test_more_tasks_than_slurm_allows_in_an_array(tmp_path):
    commands = [f"echo {number}" for number in range(1, 2501)]
    array = job_array(tmp_path, Commands(iter(commands), 1, 1))
    lines = [shlex.split(line) for line in array.submit]
    assert [line[1] for line in lines] == ["--array=1-1000", "--array=1-1000", "--array=1-500"]
    for line, task, number in ((lines[0], 1, 1), (lines[0], 1000, 1000), (lines[1], 1, 1001), (lines[2], 500, 2500)):
        environment = os.environ | {"SLURM_ARRAY_TASK_ID": str(task)}
        shown = subprocess.run(["sh", "-c", line[-1]], env=environment, capture_output=True, text=True, check=True)
        assert shown.stdout == f"{number}\n"


def test_a_name_with_a_line_break_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="line break in its name"):
        job_array(tmp_path, Commands(iter(["seqtrain train 'a\nb'"]), 1, 1))


def test_other_forms_are_refused_and_the_plain_one_takes_no_word(seqtrain):
    for form in ("slurm", "", "Array"):
        refused = seqtrain(*COMMAND, f"--dry-run={form}")
        shown = " ".join(refused.err.replace("│", "").split())
        assert (refused.code, f"{form!r} is not array; write --dry-run or --dry-run=array" in shown) == (2, True), shown
    refused = seqtrain(*COMMAND, "--dry-run", "array")
    assert (refused.code, refused.out, "got quickstart, array" in refused.err) == (2, "", True)
    assert "--dry-run=array writes" in " ".join(seqtrain("compare", "--help").out.replace("│", "").split())
