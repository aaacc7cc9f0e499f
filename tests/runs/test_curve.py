"""`curve.png`: what it shows, and when it is written."""

import io
import math
import signal
from pathlib import Path

import matplotlib
import matplotlib.image
import numpy as np
import pytest
from conftest import SMALL, SMALL_SETS, as_png

from seqtrain.comparison.load_runs import read_runs
from seqtrain.config import load_config
from seqtrain.runs import curve
from seqtrain.runs.directory import RunDir
from seqtrain.runs.records import MetricsRecord, Summary
from seqtrain.runs.trainer import train_run
from seqtrain.system.files import UnwritableError

QUICK = (*SMALL, *SMALL_SETS)
PICTURE = Path("run/curve.png")


def train_line(step, loss):
    return MetricsRecord(step=step, split="train", elapsed_s=1.0, loss=loss, mse=None)


def valid_line(step, loss, mse):
    return MetricsRecord(step=step, split="valid", elapsed_s=1.0, loss=loss, mse=mse, accuracy=0.5)


def summary(**fields):
    values = {
        "status": "finished", "task": "adding", "variant": "adding/v1", "cell": "gru", "direction": "forward",
        "depth": 1, "hidden_size": 1, "parameters": 1, "seed": 3, "steps": 4, "planned_steps": 9,
        "metric": {"name": "mse", "higher_is_better": False}, "best": {"step": None, "value": None}, "test": None,
        "baseline": {"loss": 0.5, "mse": 0.5}, "solved_at_step": None, "elapsed_s": 1.0, "engine": "reference",
        "device": "cpu", "threads": 1,
    }  # fmt: skip
    return Summary(**values | fields)


def points(axes, label):
    (line,) = [line for line in axes.lines if line.get_label() == label]
    return line.get_xydata().tolist()


def labels(axes):
    return [line.get_label() for line in axes.lines]


def test_losses_best_baseline_and_solution_where_the_metric_is_the_loss():
    records = [train_line(1, 0.9), train_line(2, 0.4), valid_line(2, 0.3, 0.3000001), train_line(4, 0.02),
               valid_line(4, 0.01, 0.0100001)]  # fmt: skip
    figure = curve.draw(summary(status="solved", best={"step": 4, "value": 0.01}, solved_at_step=4), records)
    (axes,) = figure.axes
    assert points(axes, "training loss") == [[1, 0.9], [2, 0.4], [4, 0.02]]
    assert points(axes, "validation loss") == [[2, 0.3], [4, 0.01]]
    assert points(axes, "best 0.01 at step 4") == [[4, 0.01]]
    assert {y for _, y in points(axes, "baseline 0.5")} == {0.5}
    assert {x for x, _ in points(axes, "solved at step 4")} == {4}
    assert len(axes.lines) == 5
    assert (axes.get_yscale(), axes.get_xlim()[0]) == ("log", 0)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("training step", "loss (mse)")
    assert figure.get_suptitle() == "gru on adding/v1, seed 3: solved"


@pytest.mark.parametrize(("higher", "scale"), [(False, "log"), (True, "linear")])
def test_a_metric_that_is_not_the_loss_has_a_panel_of_its_own(higher, scale):
    records = [train_line(2, 1.0), valid_line(2, 2.0, 7.0), valid_line(4, 1.5, 0.1)]
    metric = {"name": "mse", "higher_is_better": higher}
    losses, metrics = curve.draw(summary(metric=metric, best={"step": 4, "value": 0.1}), records).axes
    assert points(losses, "validation loss") == [[2, 2.0], [4, 1.5]]
    assert points(metrics, "validation mse") == [[2, 7.0], [4, 0.1]]
    assert points(metrics, "best 0.1 at step 4") == [[4, 0.1]]
    assert labels(losses) == ["training loss", "validation loss", "baseline 0.5"]
    assert (losses.get_yscale(), metrics.get_yscale()) == ("linear", scale)
    assert metrics.get_ylabel() == f"mse ({'higher' if higher else 'lower'} is better)"


def test_a_gap_where_a_loss_is_not_finite_and_a_mark_where_a_value_stands_alone():
    losses = [None if step in (3, 5) else 1.0 for step in range(1, 41)]
    (axes,) = curve.draw(summary(), [train_line(step, loss) for step, loss in enumerate(losses, 1)]).axes
    drawn = np.array(points(axes, "training loss"))
    assert np.flatnonzero(np.isnan(drawn[:, 1])).tolist() == [2, 4]
    assert np.flatnonzero(axes.lines[0].get_markevery()).tolist() == [3]
    (axes,) = curve.draw(summary(), [valid_line(4, 0.3, 0.3)]).axes
    assert axes.lines[0].get_markevery() == [True]


@pytest.mark.parametrize(
    ("records", "seen"),
    [
        ([], []),
        ([train_line(1, None), valid_line(1, None, None)], []),
        ([train_line(1, 0.7)], ["training loss"]),
    ],
)
def test_a_run_that_diverged_early_says_so(records, seen):
    divergence = {"split": "train", "step": 2, "loss": None}
    (axes,) = curve.draw(summary(status="diverged", steps=1, divergence=divergence), records).axes
    assert labels(axes) == [*seen, "baseline 0.5", "diverged at step 2"]
    assert [text.get_text() for text in axes.texts] == ([] if seen else ["no loss was recorded in 1 step"])


@pytest.mark.parametrize(("value", "higher"), [(5e-324, False), (1e304, False), (1.7e308, True)])
def test_values_at_the_ends_of_the_range_are_drawn(value, higher):
    records = [train_line(1, 1.0), train_line(2, value), valid_line(2, value, value), valid_line(3, 1.0, 0.5)]
    options = {"metric": {"name": "mse", "higher_is_better": higher}, "best": {"step": 2, "value": value}}
    assert matplotlib.image.imread(io.BytesIO(as_png(summary(**options), records))).shape == (705, 800, 4)


def test_the_picture_is_light_small_and_the_same_whatever_the_user_has_set():
    records = [train_line(step, math.sin(step) ** 2 + 0.01) for step in range(1, 3000)]
    wide = summary(variant="language_model/$x_y$/我的文本\n" * 20)
    usual = as_png(wide, records)
    with matplotlib.rc_context():
        matplotlib.rcParams.update({"figure.facecolor": "black", "text.color": "red", "savefig.dpi": 9})
        assert as_png(wide, records) == usual
        assert matplotlib.rcParams["savefig.dpi"] == 9
    pixels = matplotlib.image.imread(io.BytesIO(usual))
    assert pixels.shape[1] == 800
    assert pixels[0, 0].tolist() == [1, 1, 1, 1]
    assert len(usual) <= 100_000


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn from now on."""
    drawn, draw = [], curve.draw
    monkeypatch.setattr(curve, "as_png", as_png)
    monkeypatch.setattr(curve, "draw", lambda *run: drawn.append(draw(*run)) or drawn[-1])
    return drawn


def test_train_writes_it_after_an_interruption_and_anew_when_resumed(seqtrain, figures, monkeypatch):
    interrupting = RunDir.append
    command = ("train", "quickstart", *QUICK, "train.log_every=1", "--out", "run", "--quiet")

    def append(run, record):
        interrupting(run, record)
        if record.step == 3:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(RunDir, "append", append)
        stopped = seqtrain(*command)
    assert stopped.code == 130
    before = PICTURE.read_bytes()
    assert before[:4] == b"\x89PNG"
    assert (seqtrain(*command, "--resume").code, seqtrain(*command, "train.steps=6", "--resume").code) == (0, 0)
    assert PICTURE.read_bytes() != before
    steps = [[step for step, _ in points(figure.axes[0], "training loss")] for figure in figures]
    assert steps == [[1, 2, 3], [1, 2, 3, 4], [1, 2, 3, 4, 5, 6]]
    assert [step for step, _ in points(figures[-1].axes[0], "validation loss")] == [2, 4, 6]


def test_train_writes_it_when_a_run_diverges(seqtrain, figures):
    wild = ("optimizer=sgd", "optimizer.lr=1e38", "optimizer.clip_norm=null", "train.steps=50")
    assert seqtrain("train", "quickstart", *QUICK, *wild, "--out", "run").code == 3
    assert PICTURE.exists()
    assert labels(figures[0].axes[0])[-1].startswith("diverged at step ")


def full(path, *parts):
    raise UnwritableError(path, OSError(28, "No space left on device"))


def broken(*run):
    raise ValueError("no such backend")


@pytest.mark.parametrize(
    ("place", "fault", "said"),
    [
        ("seqtrain.runs.train.write_whole", full, "run/curve.png: cannot be written (No space left on device)"),
        ("seqtrain.runs.curve.as_png", broken, "run/curve.png: cannot be drawn (ValueError: no such backend)"),
    ],
)
def test_a_picture_that_fails_is_a_warning(seqtrain, monkeypatch, place, fault, said):
    monkeypatch.setattr(place, fault)
    done = seqtrain("train", "quickstart", *QUICK, "--out", "run", "--quiet", "--json")
    assert (done.code, done.json["status"]) == (0, "finished")
    assert done.err.startswith(f"warning: {said}")
    assert done.err.count("\n") == 1


def test_it_belongs_to_the_run(seqtrain):
    """It is replaced and removed with the run, and nobody who takes a run directory minds it."""
    command = ("train", "quickstart", *QUICK, "--out", "run", "--quiet")
    Path("run").mkdir()
    PICTURE.write_text("mine")
    assert seqtrain(*command).code == 2
    assert PICTURE.read_text() == "mine"
    assert seqtrain(*command, "--overwrite").code == 0
    assert PICTURE.read_text() == "not drawn"
    assert seqtrain("eval", "run").code == 0
    assert len(read_runs([Path("run")])) == 1
    train_run(load_config("run", ["train.steps=6"]), Path("run"), resume=True, quiet=True)
    assert not PICTURE.exists()  # it would end at step 4


def test_compare_draws_only_its_own_pictures(trained_comparison):
    assert list(trained_comparison.rglob("curves.png"))
    assert list(trained_comparison.rglob("curve.png")) == []
