"""The README and the pages in docs/ are true: their commands and examples run, their configs and links are valid."""

import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from conftest import SMALL, SMALL_SETS
from torch.distributed.run import get_args_parser

import seqtrain as package
from seqtrain.cells import CELLS
from seqtrain.config import load_config
from seqtrain.config.describe import sections, settings_of
from seqtrain.tasks import TASKS

CHECKOUT = Path(__file__).parents[2]
DOCS = CHECKOUT / "docs"
PAGES = {path.name: path.read_text("utf-8") for path in [CHECKOUT / "README.md", *sorted(DOCS.glob("*.md"))]}
INSTALLS = (
    "git clone REPOSITORY seqtrain && cd seqtrain",
    "pip install -e . && seqtrain train quickstart",
    "pip install -e '.[test]' && pytest",
)
"""Not run here. CI runs the last one as it stands in README.md, and it installs what the second one does."""


def blocks(page: str, *languages: str) -> list[tuple[str, str]]:
    """The code blocks of a page in these languages, in order: language and content."""
    return re.findall(rf"^```({'|'.join(languages)})\n(.*?)^```", PAGES[page], re.DOTALL | re.MULTILINE)


def commands(block: str) -> Iterator[str]:
    """The commands of a shell block, without comments; a backslash continues a line."""
    for line in block.replace("\\\n", " ").splitlines():
        command = re.sub(r"\s+#.*", "", line).strip()
        if command:
            yield command


def shortened(command: str) -> str:
    """The same command with settings that make it quick, without a reader that ends early (see test_sampling)."""
    command = re.sub(r" \| head -\d+$", "", command)
    verb, _, rest = command.partition("seqtrain ")[2].partition(" ")
    if verb not in ("train", "compare", "check") or rest.startswith("runs/"):
        return command
    sets = (
        () if rest.startswith(("words", "characters", "sunspots", "gestures", "agreement", "my.yaml")) else SMALL_SETS
    )
    head, arrow, tail = re.sub(r"--seeds \d+( --jobs \d+)?", "--seeds 1", command).partition(" >")
    return " ".join([head, *SMALL, *sets]) + arrow + tail


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "sh", "python")])
def test_commands_and_examples_run_in_order(page, seqtrain, quick_check, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr("seqtrain.inspection.pictures.write_pictures", lambda *_: [])  # tests/inspection draws them
    monkeypatch.setattr("seqtrain.inspection.page.write_page", lambda *_: None)
    monkeypatch.setattr("seqtrain.inspection.subject.MOST_PROBED", 60)
    monkeypatch.setenv("SEQTRAIN_BFLOAT16", "emulated")  # else a processor without it refuses precision=bfloat16
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    for name in ("my_text.txt", "other_text.txt"):
        (tmp_path / name).write_text("the cat sat on the mat\n" * 200)
    table = "".join(f"{2000 + m // 12}-{m % 12 + 1:02d}-01,{m % 7}\n" for m in range(120))
    (tmp_path / "my.csv").write_text("month,sales\n" + table)
    names = {"__name__": "example"}  # the examples of a page share their names
    for language, block in blocks(page, "sh", "python", "yaml", "c"):
        if named := re.match(r"(?:#|/\*) (\w+\.(?:py|yaml|c))(?: \*/)?\n", block):
            (tmp_path / named[1]).write_text(block)
        if language in ("yaml", "c"):
            continue
        if language == "python":
            exec(compile(block, page, "exec"), names)
            continue
        for command in commands(block):
            if command not in INSTALLS:
                run(shortened(command), seqtrain, tmp_path)


def run(command, seqtrain, folder):
    """Run a command in this process, or in a shell if it has a pipe or compiles and runs a program in C."""
    words = shlex.split(command)
    in_c = words[0] == "cc" or words[0].startswith("./")
    if in_c and shutil.which("cc") is None:
        return
    assert in_c or "seqtrain" in words, command
    if in_c or "|" in words:
        ran = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, f"{command}\n{ran.stderr}"
        return
    if words[0] == "torchrun":  # tests/runs/test_processes.py starts several
        started = get_args_parser().parse_args(words[1:])
        assert started.module
        words = [started.training_script, *started.training_script_args]
    assert words[0] == "seqtrain", command
    *words, file = words if ">" in words else [*words, ">", os.devnull]
    called = seqtrain(*words[1:-1])
    assert called.code == 0, f"{command}\n{called.err}"
    (folder / file).write_text(called.out)


def test_the_readme_fits_on_one_screen_and_starts_with_the_installation():
    assert 60 <= len(PAGES["README.md"].splitlines()) <= 80
    found = [command for _, block in blocks("README.md", "sh") for command in commands(block)]
    assert tuple(found[:3]) == INSTALLS


@pytest.mark.parametrize(
    ("page", "block"),
    [(page, block) for page in PAGES for _, block in blocks(page, "yaml")],
    ids=lambda text: text[:12],
)
def test_configs_on_the_pages_are_valid(page, block, tmp_path):
    data = yaml.safe_load(block)
    file = tmp_path / "c.yaml"
    file.write_text(block if "task" in data else yaml.safe_dump(data | {"task": {"name": "adding"}}))
    config = load_config(str(file)).model_dump()
    for key, value in data.get("train", {}).items():
        assert config["train"][key] == value


def test_the_shipped_cells_and_tasks_are_in_the_overviews():
    """A new one appears in the definitions and settings by itself, and in the overview when somebody adds a row."""
    overviews = re.findall(r"^\| \[?`(\w+)`", PAGES["cells.md"] + PAGES["tasks.md"], re.MULTILINE)
    assert len(overviews) >= 22
    assert set(overviews) <= {*CELLS, *TASKS}
    for page, marker in (("cells.md", "<!-- cells -->"), ("tasks.md", "<!-- tasks -->")):
        assert marker in PAGES[page]


def test_the_messages_on_the_page_are_those_that_are_printed(seqtrain, tmp_path):
    (_, shown) = next(block for block in blocks("configs.md", "text") if block[1].startswith("seqtrain: "))
    text = seqtrain("configs", "show", "quickstart").out
    (tmp_path / "mine.yaml").write_text(text.replace("cell: lstm ", "cell: lsmt "))
    printed = seqtrain("validate", "mine.yaml", "train.steps=1.5").err
    without_names, names = re.compile(r"(?<=choose one of ).*?(?= \(did)"), {*CELLS, "module:Class"}
    assert without_names.sub("", printed) == without_names.sub("", shown)  # the page need not name every cell
    assert set(without_names.search(shown)[0].split(", ")) <= names


def test_every_command_is_on_a_page(seqtrain):
    verbs = re.findall(r"^│ ([a-z-]+) ", seqtrain("--help").out, re.MULTILINE)
    assert len(verbs) > 10
    assert [verb for verb in verbs if not any(f"seqtrain {verb}" in text for text in PAGES.values())] == []


def test_every_option_of_compare_is_on_its_page(seqtrain):
    options = set(re.findall(r"--[a-z][a-z-]+", re.sub(r"\x1b\[[\d;]*m", "", seqtrain("compare", "--help").out)))
    missing = {option for option in options if f"`{option}" not in PAGES["comparing.md"]}
    assert missing <= {"--help", "--json", "--quiet"}


def test_every_field_of_a_run_is_on_its_page(seqtrain, tmp_path):
    summary = seqtrain("train", "quickstart", *SMALL, *SMALL_SETS, "--out", "runs/a", "--json").json
    page = PAGES["results-files.md"]
    assert [key for key in summary if f"`{key}`" not in page] == []
    for file in (tmp_path / "runs/a").iterdir():
        assert f"`{file.name}`" in page


def test_every_public_name_is_on_the_python_page():
    assert [name for name in package.__all__ if not re.search(rf"\b{name}\b", PAGES["python.md"])] == []


def links() -> list[tuple[Path, str]]:
    """Every link of our pages to a file or a heading: the page, and where it leads."""
    paths = [CHECKOUT / "README.md", CHECKOUT / "CONTRIBUTING.md", CHECKOUT / "data/README.md", *DOCS.glob("*.md")]
    prose = [
        (path, re.sub(r"^```.*?^```", "", path.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)) for path in paths
    ]
    found = [(path, link) for path, text in prose for link in re.findall(r"\]\(([^)\s]+)\)", text)]
    return [(path, link) for path, link in found if "://" not in link]


def anchors(page: Path) -> set[str]:
    """The anchors of the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


def test_links_lead_somewhere():
    for page, link in links():
        file, _, anchor = link.partition("#")
        target = (page.parent / file) if file else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor:
            assert anchor in anchors(target) | {*CELLS, *TASKS}, f"{page.name}: {link}"  # mkdocs adds the definitions


def test_the_comparisons_of_the_results_page_are_valid_and_on_it(seqtrain):
    (listed,) = re.findall(r"<<'LIST'\n(.*?)LIST", (DOCS / "results.sh").read_text("utf-8"), re.DOTALL)
    for name, *arguments in map(str.split, listed.splitlines()):
        checked = seqtrain("validate", *arguments, "--quiet")
        assert checked.code == 0, checked.err
        assert f"`seqtrain compare {' '.join(arguments)} threads=1 --match params --seeds 8 " in PAGES["RESULTS.md"], (
            name
        )


def test_every_page_is_in_the_navigation():
    navigation = (CHECKOUT / "mkdocs.yml").read_text("utf-8").partition("nav:")[2].partition("exclude_docs:")[0]
    assert set(re.findall(r"[\w-]+\.md", navigation)) == {page for page in PAGES if page != "README.md"}


def test_the_built_pages_have_every_cell_task_and_setting():
    pages = {name: runpy.run_path(str(DOCS / "hooks.py"))["on_page_markdown"](text) for name, text in PAGES.items()}
    assert all(f"### {name}\n\n::: {cls.__module__}.{cls.__name__}" in pages["cells.md"] for name, cls in CELLS.items())
    assert all(f"### {name}\n\n::: {cls.__module__}.{cls.__name__}" in pages["tasks.md"] for name, cls in TASKS.items())
    for title, section in sections():
        assert f"## `{title}`" in pages["settings.md"]
        assert all(f"| `{setting.name}` |" in pages["settings.md"] for setting in settings_of(section))
    start = "| `batch_size` | whole number from 1 to 1,000,000 | `64` | weights | "
    assert any(line.startswith(start) for line in pages["settings.md"].splitlines())
