"""Progress in a notebook. IPython is replaced by what is asked of it."""

import io
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import tqdm

from seqtrain.system import progress
from seqtrain.system.progress import Progress


class Stream(io.StringIO):
    """Standard error of a kernel, which is no terminal and no file."""

    def fileno(self):
        raise io.UnsupportedOperation("fileno")


def ipython(monkeypatch, config, *, has_widgets):
    """Run in IPython from now on; returns standard error."""
    module = ModuleType("IPython")
    module.get_ipython = lambda: SimpleNamespace(config=config)
    monkeypatch.setitem(sys.modules, "IPython", module)
    monkeypatch.setattr(progress, "find_spec", lambda name: ModuleSpec(name, None) if has_widgets else None)
    monkeypatch.setattr(sys, "stderr", stderr := Stream())
    return stderr


def run(steps=3):
    with Progress(steps, label="a run") as shown:
        for _ in range(steps):
            shown.show(loss=0.5)
            shown.advance()


def test_a_bar_of_widgets(monkeypatch):
    class Bar(tqdm.tqdm):
        def __init__(self, **options):
            made.append(options)
            super().__init__(file=io.StringIO(), **options)

        def update(self, n=1):
            counted.append(n)

    made, counted = [], []
    monkeypatch.setitem(sys.modules, "tqdm.notebook", module := ModuleType("tqdm.notebook"))
    module.tqdm = Bar
    stderr = ipython(monkeypatch, {"IPKernelApp": {}}, has_widgets=True)
    run()
    assert (made[0]["total"], made[0]["desc"], counted) == (3, "a run", [1, 1, 1])
    assert "{bar}" in made[0]["bar_format"]  # tqdm puts its widget there
    assert stderr.getvalue() == ""


def test_a_line_that_replaces_itself_without_widgets(monkeypatch):
    stderr = ipython(monkeypatch, {"IPKernelApp": {}}, has_widgets=False)
    run(1000)
    assert stderr.getvalue().count("\r") < 10
    assert stderr.getvalue().startswith("\ra run: ")
    assert "\n" not in stderr.getvalue()


def test_lines_in_ipython_outside_a_notebook(monkeypatch):
    stderr = ipython(monkeypatch, {"TerminalIPythonApp": {}}, has_widgets=True)
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    run()
    assert stderr.getvalue().splitlines()[-1] == "a run: step 3/3, loss 0.5, about 0 s left"
