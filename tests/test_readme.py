"""The README is true: every command in it runs, and so does its Python."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import SMALL, SMALL_SETS

from seqtrain.cells import CELLS
from seqtrain.config import load_config
from seqtrain.tasks import TASKS

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


COMMANDS = [line.split(" #")[0].strip() for block in blocks("sh") for line in block.splitlines() if line.strip()]
INSTALLS = ("pip install -e . && seqtrain train quickstart", "pip install -e '.[test]' && pytest")
"""The two commands at the top. CI runs the second one as it stands, and it installs what the first one does."""


def quick(command):
    """The same command with settings that make it short."""
    verb, _, rest = command.removeprefix("seqtrain ").partition(" ")
    if verb not in ("train", "compare") or rest.startswith("runs/"):
        return command
    sets = () if rest.startswith(("words", "characters")) else SMALL_SETS
    head, arrow, tail = command.replace("--seeds 8", "--seeds 1").partition(" >")
    return " ".join([head, *SMALL, *sets]) + arrow + tail


def test_the_first_two_commands_install_and_train_and_test():
    assert tuple(COMMANDS[:2]) == INSTALLS


def test_the_first_screen_shows_a_text_and_what_is_written_after_it():
    screen = README.split("```text")[0]
    commands = (
        "seqtrain train words task.path=my_text.txt --out runs/words",
        'seqtrain generate runs/words --prompt "',
    )
    assert all(f"\n{command}" in screen for command in commands)


def test_every_command_runs_in_order(tmp_path):
    for name in ("my_text.txt", "other_text.txt"):
        (tmp_path / name).write_text("the cat sat on the mat\n" * 200)
    (tmp_path / "my_cells.py").write_text(next(b for b in blocks("python") if b.startswith("# my_cells.py")))
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for command in ["seqtrain train quickstart", *COMMANDS[2:]]:
        assert command.startswith("seqtrain "), command
        ran = subprocess.run(
            quick(command), shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, f"{command}\n{ran.stderr}"
    example = next(b for b in blocks("python") if "load_model" in b)
    subprocess.run([sys.executable, "-c", example], cwd=tmp_path, check=True)


def test_the_config_in_the_readme_is_valid(tmp_path):
    (block,) = blocks("yaml")
    (tmp_path / "c.yaml").write_text(block)
    config = load_config(str(tmp_path / "c.yaml"))
    for key, value in yaml.safe_load(block)["train"].items():
        assert getattr(config.train, key) == value


@pytest.mark.parametrize("name", [*CELLS, *TASKS])
def test_the_readme_names_every_cell_and_task(name):
    assert f"`{name}`" in README


def test_links_lead_somewhere():
    prose = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)\)", prose):
        assert (Path(__file__).parents[1] / target).exists(), target


def test_the_comparisons_of_the_results_page_are_valid_and_on_it(seqtrain):
    docs = Path(__file__).parents[1] / "docs"
    (listed,) = re.findall(r"<<'LIST'\n(.*?)LIST", (docs / "results.sh").read_text("utf-8"), re.DOTALL)
    page = (docs / "RESULTS.md").read_text("utf-8")
    for name, *arguments in map(str.split, listed.splitlines()):
        checked = seqtrain("validate", *arguments, "--quiet")
        assert checked.code == 0, checked.err
        assert f"`seqtrain compare {' '.join(arguments)} threads=1 --match params --seeds 8 " in page, name
