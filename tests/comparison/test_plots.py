"""What the plots show."""

import re
from pathlib import Path

import pytest
from samples import run

from seqtrain.comparison import plots
from seqtrain.comparison.aggregate import row_of
from seqtrain.comparison.load_runs import Group
from seqtrain.comparison.statistics import mean_interval, share_interval

pytestmark = pytest.mark.usefixtures("drawn_in_full")


def made(seed, solved, curve):
    metrics = [{"split": "valid", "step": step, "elapsed_s": 1.0, "mse": value} for step, value in curve.items()]
    metric = {"name": "mse", "higher_is_better": False}
    figures = {"metric": metric, "baseline": {"mse": 0.5}, "test": {"mse": 0.1 * (seed + 1)}}
    return run(seed, step=solved, budget=20, metrics=metrics, **figures)


RUNS = [made(0, 10, {10: 0.2}), made(1, None, {10: 0.4, 20: 0.3}), made(2, None, {10: 0.6, 20: 0.7})]


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """The figures of the plots of groups, by name."""

    def draw(groups, varied=None, **options):
        saved = {}
        monkeypatch.setattr(plots, "_save", lambda figure, path: saved.update({path.stem: figure}))
        plots.draw(groups, [row_of(group) for group in groups], varied, tmp_path, **options)
        return saved

    return draw


def test_what_the_plots_show(drawn):
    """Lines, bands, baseline and intervals by their numbers, on the axes that are saved."""
    groups = [Group("a", 7, RUNS)]
    saved = drawn(groups)
    lines = {line.get_label(): line for line in saved["curves"].axes[0].lines}
    mean = lines["a (solved 1 of 3)"]
    assert list(mean.get_xdata()) == [10, 20]
    assert list(mean.get_ydata()) == pytest.approx([0.4, 0.4])  # the one that stopped keeps its last value
    assert set(lines["baseline 0.5"].get_ydata()) == {0.5}
    points = [line for line in saved["curves"].axes[0].lines if line.get_marker() != "None"]
    assert [len(line.get_xdata()) for line in points] == [1]  # of the run with one evaluation; a line needs two
    band = saved["curves"].axes[0].collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((0, mean_interval([0.2, 0.3, 0.7]).high))
    spots = [(list(line.get_xdata()), line.get_marker()) for line in saved["metric"].axes[0].lines]
    assert ([0.1, 0.2, 0.3], "o") in [(pytest.approx(x), marker) for x, marker in spots]
    (cross,) = [x for x, marker in spots if marker == "D"]
    assert cross == pytest.approx([0.2])
    (bar,) = drawn(groups, "task.length")["success"].axes[0].containers
    (segment,) = bar.lines[2][0].get_segments()
    wilson = share_interval(1, 3)
    assert [point[1] for point in segment] == pytest.approx([wilson.low, wilson.high])
    assert list(bar.lines[0].get_ydata()) == [pytest.approx(1 / 3)]


def test_steps_to_solve_are_drawn_where_they_decide(drawn):
    """A point a run, a cross for a run that was not solved, and the median; also as shares of a budget in seconds."""
    solved = [made(seed, step, {10: 0.2}) for seed, step in enumerate((10, 12, 20))]
    saved = drawn([Group("a", None, solved), Group("b", None, RUNS)])
    spots = [(line.get_marker(), float(line.get_xdata()[0])) for line in saved["steps"].axes[0].lines]
    assert spots == [("o", 10), ("o", 12), ("o", 20), ("D", 12), ("o", 10), ("x", 20), ("x", 20)]
    assert [text.get_text() for text in saved["steps"].legends[0].get_texts()] == ["not solved: at its last step"]
    shares = drawn([Group("a", None, solved)], timed=True)["steps"].axes[0]
    assert [float(line.get_xdata()[0]) for line in shares.lines] == [0.5, 0.6, 1, 0.6]
    assert shares.get_xlabel().startswith("share of the time until solved")
    assert "steps" not in drawn([Group("a", None, [run(0, stop=False)])])


def test_the_metric_of_a_task_without_a_solution_is_drawn_over_what_is_varied(drawn):
    groups = [
        Group(cell, at, [run(seed, value=at * (seed + 1.0), task="language_model") for seed in range(3)])
        for at in (1, 10)
        for cell in "ab"
    ]
    saved = drawn(groups, "model.hidden_size")
    assert set(saved) == {"curves", "metric"}
    first, second = saved["metric"].axes[0].containers
    assert list(first.lines[0].get_ydata()) == list(second.lines[0].get_ydata()) == [2, 20]
    assert saved["metric"].axes[0].get_ylabel() == "test m, mean of 3, 95 % interval"


def test_lines_and_numbers_of_curves_can_be_read(drawn):
    """A key for thin and thick lines and the band, and numbers that are no powers of ten."""
    for runs, band in ((RUNS, True), (RUNS[:2], False)):
        figure = drawn([Group("a", 7, runs)])["curves"]
        figure.draw_without_rendering()
        (key,) = [text.get_text() for text in figure.axes[0].texts]
        assert key == "thin: each run, thick: mean" + band * ", band: 95 % interval of the mean"
        numbers = [text.get_text() for text in figure.axes[0].get_yticklabels(which="both")]
        assert "0.3" in numbers
        assert not any("$" in number for number in numbers)


def test_few_seeds_are_points_without_intervals(drawn):
    groups = [Group(name, 7, RUNS[:2]) for name in ("a", "b")]
    saved = drawn(groups)
    axes = saved["curves"].axes[0]
    assert list(axes.collections) == []
    assert [line.get_marker() for line in axes.lines].count("o") == 4  # one for each run
    assert {line.get_marker() for line in saved["metric"].axes[0].lines} == {"o", "D", "None"}
    assert len([line for line in saved["metric"].axes[0].lines if line.get_marker() == "None"]) == 1  # the baseline
    assert "interval" not in saved["metric"].axes[0].get_xlabel()
    success = drawn(groups, "task.length")["success"].axes[0]
    assert all(bar.lines[2] == () for bar in success.containers)
    assert "interval" not in success.get_ylabel()


@pytest.mark.parametrize(
    "cells", [("a", "b"), tuple("abcdefgh"), ("my_cells:AVeryLongNameOfACellThatSomebodyChose", "b")]
)
@pytest.mark.parametrize("values", [(7,), (7, 8)])
def test_a_legend_covers_no_curve(drawn, cells, values):
    groups = [Group(cell, value, RUNS) for value in values for cell in cells]
    for varied in (None, "task.length") if values == (7,) else ("task.length",):
        for figure in drawn(groups, varied).values():
            figure.draw_without_rendering()
            legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]
            assert legends
            for legend in legends:
                box = legend.get_window_extent()
                assert not any(box.overlaps(axes.get_window_extent()) for axes in figure.axes if axes.axison)
                assert figure.bbox.y0 <= box.y0
                assert box.y1 <= figure.bbox.y1


def test_alt_texts_say_what_is_seen(compared):
    result = compared("compare", "runs/compare-quickstart", "--json").json
    page = Path("runs/compare-quickstart/report.html").read_text()
    alts = re.findall(r'<img alt="([^"]+)"', page)
    assert list(result["pictures"]) == ["steps", "curves", "metric"]
    assert len(alts) == 3
    assert all(f"{row['cell']} {row['solved']} of {row['runs']}" in alts[0] for row in result["cells"])
    for alt, figures in zip(
        alts[1:], (lambda row: row["valid"]["mse"], lambda row: row["metric"]["mean"]), strict=True
    ):
        assert all(f"{row['cell']} {figures(row):.4g}" in alt for row in result["cells"])
        assert "lower is better" in alt
        assert "baseline 0.1667" in alt
