"""What to type: the examples of the help pages, and what to do after a verb."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seqtrain.system.streams import to_stderr

if TYPE_CHECKING:
    from seqtrain.runs.trainer import Trained

START = "Start with: seqtrain train quickstart"

EXAMPLES = {
    "data": ("seqtrain data my.csv", "seqtrain data my.csv --out my.yaml", "seqtrain data my_text.txt --json"),
    "train": (
        "seqtrain train quickstart",
        "seqtrain train quickstart model.cell=gru train.steps=500 --out runs/gru",
        "seqtrain train words task.path=my_text.txt --out runs/words",
    ),
    "eval": (
        "seqtrain eval runs/quickstart-lstm-seed0",
        "seqtrain eval runs/quickstart-lstm-seed0 task.length=200 --json",
    ),
    "generate": (
        "seqtrain generate runs/words --prompt 'the cat'",
        "seqtrain generate runs/words --tokens 50 --temperature 0.7",
    ),
    "predict": (
        "seqtrain predict runs/words --prompt 'the cat'",
        "seqtrain predict runs/sunspots --horizon 11 --plot forecast.png",
        "seqtrain predict runs/my my_new.csv --out forecast.csv",
    ),
    "score": (
        "seqtrain score runs/words my_text.txt",
        "seqtrain score runs/words pairs.txt --pairs --json",
    ),
    "inspect": (
        "seqtrain inspect runs/quickstart-lstm-seed0",
        "seqtrain inspect runs/quickstart-lstm-seed0 runs/gru --json",
        "seqtrain inspect quickstart model.cell=rnn",
    ),
    "compare": (
        "seqtrain compare quickstart --match params --seeds 8 --jobs 2",
        "seqtrain compare quickstart --cells lstm,gru --vary task.length=50,100",
        "seqtrain compare runs/quickstart-lstm-seed0 runs/gru",
    ),
    "export": (
        "seqtrain export runs/quickstart-lstm-seed0 --to onnx",
        "seqtrain export runs/words --to c --int8",
        "seqtrain export runs/words --to safetensors --license mit",
    ),
    "import-torch": (
        "seqtrain import-torch model.pt --like quickstart",
        "seqtrain import-torch lm.safetensors --like words task.path=my_text.txt --vocabulary tokens.txt",
        "seqtrain import-torch model.pt --like quickstart model.cell=gru --rename fc.weight=head.weight",
    ),
    "track": (
        "seqtrain track runs/quickstart-lstm-seed0",
        "seqtrain track runs/compare-quickstart --to tensorboard --follow",
    ),
    "bench": ("seqtrain bench", "seqtrain bench --cells lstm,gru --shapes 100,32,128,128"),
    "validate": ("seqtrain validate quickstart", "seqtrain validate quickstart model.hidden_size=256 --json"),
    "check": ("seqtrain check quickstart", "seqtrain check quickstart model.cell=gru"),
    "cells": ("seqtrain cells", "seqtrain cells lstm gru"),
    "tasks": ("seqtrain tasks", "seqtrain tasks adding --json"),
    "settings": (
        "seqtrain settings train",
        "seqtrain settings optimizer adam",
        "seqtrain settings --json-schema",
    ),
    "configs": ("seqtrain configs", "seqtrain configs show quickstart", "seqtrain configs copy quickstart mine.yaml"),
    "configs show": ("seqtrain configs show quickstart", "seqtrain configs show words"),
    "configs copy": ("seqtrain configs copy quickstart mine.yaml", "seqtrain configs copy words my_words.yaml"),
}
"""Lines for the help page of each verb."""


def examples(verb: str) -> str:
    """The end of a help page; Typer wants a line free between two lines."""
    return "\n\n".join(["Examples:", *EXAMPLES[verb]])


def suggest(what: str, *, quiet: bool) -> None:
    """Say on stderr what to do next."""
    if not quiet:
        to_stderr(f"next: {what}")


def after_training(trained: "Trained", config: str, overrides: Sequence[str] | None) -> str:
    """What suits the task and the ending of a run."""
    run, task = shlex.quote(str(trained.path)), trained.summary.traits
    if trained.summary.test is None:
        return f"seqtrain check {run} tells whether the config is sound"
    if task.words and task.reach is None:
        return f"seqtrain generate {run} writes a text, seqtrain predict {run} gives what may come next"
    is_changed = bool(overrides) or Path(config).is_dir()
    name = shlex.quote(str(trained.path / "config.yaml") if is_changed else config)  # what was trained, with its cell
    if task.reach is None:
        from seqtrain.inference.predictions import PREDICTORS

        if trained.summary.task in PREDICTORS:
            is_forecast = trained.summary.task == "series"
            what = "--plot forecast.png draws a forecast" if is_forecast else "--out predictions.csv writes a table"
            return f"seqtrain predict {run} {what}, seqtrain compare {name} asks which cell is better"
        return f"seqtrain eval {run} --split valid, or seqtrain compare {name}, which asks which cell is better"
    further = f"seqtrain eval {run} task.{task.reach}=N how far this one reaches"
    return f"seqtrain compare {name} asks which cell is better, {further}"


def after_import(made: "Trained") -> str:
    """What suits a run of imported weights."""
    run, summary = shlex.quote(str(made.path)), made.summary
    further = " train.stop_when_solved=false" if summary.status == "solved" else ""
    return (
        f"seqtrain train {run} --resume{further} trains it further, seqtrain eval {run} evaluates it, seqtrain compare "
        f"{run} OTHER_RUN compares it"
    )


def command(verb: str, config: str, overrides: Sequence[str] | None) -> str:
    """A command with the same config and settings."""
    return shlex.join(["seqtrain", verb, config, *(overrides or ())])
