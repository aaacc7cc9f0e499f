"""The recipes of docs/cluster.md run, with fakes in the place of the cluster and of seqtrain itself.

What seqtrain prints, and that its lines train, is tested in tests/comparison/test_job_array.py.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from seqtrain.comparison.defaults import COMPARED
from seqtrain.comparison.job_array import job_array
from seqtrain.comparison.runner import Commands

PAGE = (Path(__file__).parents[2] / "docs/cluster.md").read_text("utf-8")

COMMANDS = [f"seqtrain train 'a b.yaml' --out {run}" for run in ("r1", "r2", "r3", "r4", "r5")]

FAKES = {
    # Notes how it is called. A dry run prints the lines of the next round, which the file `round-*` holds.
    "seqtrain": """
        echo "$(basename "$PWD"): $*" >> "$LOG"
        case "$*" in *--dry-run*)
            for next in "$ROUNDS"/round-*; do [ -e "$next" ] && cat "$next" && rm "$next"; break; done
        esac""",
    "sbatch": """
        for word; do
            case $before in --wrap) wrap=$word;; esac
            case $word in --array=1-*) tasks=${word#--array=1-};; --dependency=*) echo "$word" >> "$LOG";; esac
            before=$word
        done
        for number in $(seq "${tasks:-1}"); do SLURM_ARRAY_TASK_ID=$number sh -c "$wrap" >&2; done
        echo 4711""",
    "ssh": """
        echo "ssh $1" >> "$LOG"; mkdir -p "$HOSTS/$1"; cd "$HOSTS/$1"; shift; exec sh -c "$*" """,
    "rsync": """
        case $* in
            *--relative*) cp -r --parents "$3" "$HOSTS/${4%%:*}/${4#*:}";;
            *) cp -r "$HOSTS/${4%%:*}/${4#*:}." "$5";;
        esac""",
    "parallel": """
        while read -r line; do sh -c "$line"; done""",
}


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """Run a script where the fakes are; returns what was called, in order."""
    for name, script in FAKES.items():
        file = tmp_path / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
    (tmp_path / "my work").mkdir()
    monkeypatch.chdir(tmp_path / "my work")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    for name in ("LOG", "HOSTS", "ROUNDS"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    (tmp_path / "rounds").mkdir()

    def shell(script, *rounds):
        for number, lines in enumerate(rounds):
            (tmp_path / "rounds" / f"round-{number}").write_text("".join(f"{line}\n" for line in lines))
        ran = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        return (tmp_path / "log").read_text().splitlines()

    return shell


def recipe(heading, language="bash"):
    """The code below a heading."""
    below = PAGE.partition(f" {heading}\n")[2].split("\n## ")[0]
    return re.search(rf"^```{language}\n(.*?)^```", below, re.DOTALL | re.MULTILINE)[1]


def trained(calls):
    return [call.split("--out ")[1] for call in calls if ": train " in call]


def array(commands, file):
    Path(file).write_text("".join(f"{line}\n" for line in commands))
    script = f'eval "exec $(sed -n "${{SLURM_ARRAY_TASK_ID}}p" {file})"'
    return [f"sbatch --array=1-{len(commands)} --parsable --wrap '{script}'"]


def test_slurm(shell):
    calls = shell(recipe("Slurm: a job array"), array(COMMANDS, "c.txt"))
    assert trained(calls) == ["r1", "r2", "r3", "r4", "r5"]
    assert "SBATCH_SIGNAL=B:USR1@" in recipe("Slurm: a job array")  # B: to the shell, which the run has replaced


def test_the_page_shows_the_line_that_is_printed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seeds = int(re.search(r"--seeds (\d+) --out runs/array", PAGE)[1])
    (line,) = job_array(Path("runs/array"), Commands(iter(COMMANDS[:1] * len(COMPARED) * seeds), 1, 1)).submit
    assert re.sub(r"\w{8}\.txt", "", recipe("Slurm: a job array", "text")) == re.sub(r"\w{8}\.txt", "", line) + "\n"


def test_two_rounds_of_slurm_and_the_end_that_gathers(shell):
    Path("rounds.sh").write_text(recipe("Tuning: two rounds"))
    rounds = array(COMMANDS[:2], "1.txt"), array(COMMANDS[2:3], "2.txt") + array(COMMANDS[3:], "3.txt")
    calls = shell("sh rounds.sh", *rounds)
    assert trained(calls) == ["r1", "r2", "r3", "r4", "r5"]
    assert [call for call in calls if "dep" in call] == [
        "--dependency=afterany:4711",
        "--dependency=afterany:4711:4711",
    ]
    assert calls[-1] == "my work: compare runs/tuned"
    assert all("compare quickstart --grid" in calls[place] for place in (0, 4, 9))


def test_rounds_that_never_end_are_given_up(shell):
    Path("rounds.sh").write_text(recipe("Tuning: two rounds"))
    calls = shell("sh rounds.sh 2 || true", *(array(COMMANDS[:1], "1.txt") for _ in range(9)))
    assert len(trained(calls)) == 2
    assert "compare runs/tuned" not in calls[-1]


def test_ssh_with_a_shared_folder(shell):
    calls = shell(recipe("ssh: a shared folder"), COMMANDS)
    assert sorted(trained(calls)) == ["r1", "r2", "r3", "r4", "r5"]
    assert {call for call in calls if call.startswith("ssh")} == {"ssh node1", "ssh node2"}
    assert {call.partition(":")[0] for call in calls if "train" in call} == {"my work"}
    assert calls[-1] == "my work: compare runs/shared"


def test_ssh_without_a_shared_folder(shell, tmp_path):
    Path("runs/apart/configs").mkdir(parents=True)
    Path("runs/apart/configs/c.yaml").write_text("config")
    there = [f"mkdir runs/apart/{run}; cp runs/apart/configs/c.yaml runs/apart/{run}" for run in ("r1", "r2", "r3")]
    calls = shell(recipe("ssh: no shared folder"), there)
    assert calls[-1] == "my work: compare runs/apart"
    assert [Path(f"runs/apart/{run}/c.yaml").read_text() for run in ("r1", "r2", "r3")] == ["config"] * 3
    trained_on = [len([*(tmp_path / f"hosts/{host}/work/runs/apart").glob("r*")]) for host in ("node1", "node2")]
    assert sorted(trained_on) == [1, 2]


def test_gnu_parallel(shell, tmp_path):
    if real := shutil.which("parallel", path=os.environ["PATH"].partition(os.pathsep)[2]):
        (tmp_path / "bin/parallel").write_text(f"#!/bin/sh\nexec {real} --will-cite --jobs 2\n")
    calls = shell(recipe("GNU parallel"), COMMANDS)
    assert sorted(trained(calls)) == ["r1", "r2", "r3", "r4", "r5"]
    assert calls[-1] == "my work: compare runs/parallel"


def test_kubernetes(shell):
    claim, job = yaml.safe_load_all(recipe("Kubernetes", "yml"))
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    (container,), (volume,) = pod["containers"], pod["volumes"]
    assert (spec["completionMode"], pod["restartPolicy"]) == ("Indexed", "Never")  # what podFailurePolicy needs
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert container["volumeMounts"] == [{"name": volume["name"], "mountPath": container["workingDir"]}]
    Path("commands-1.txt").write_text("".join(f"{line}\n" for line in COMMANDS))
    sh, option, script = container["command"]
    assert (sh, option) == ("sh", "-c")
    for index in range(len(COMMANDS)):
        calls = shell(f"export JOB_COMPLETION_INDEX={index}\n{script}")
    assert trained(calls) == ["r1", "r2", "r3", "r4", "r5"]
