"""What the plots show."""

import pytest
from samples import run

from seqtrain.comparison import plots
from seqtrain.comparison.aggregate import row_of
from seqtrain.comparison.load_runs import Group
from seqtrain.comparison.statistics import mean_interval, share_interval


def test_what_the_plots_show(tmp_path, monkeypatch):
    """Lines, bands, baseline and intervals by their numbers, on the axes that are saved."""

    def made(seed, solved, curve):
        metrics = [{"split": "valid", "step": step, "elapsed_s": 1.0, "mse": value} for step, value in curve.items()]
        metric = {"name": "mse", "higher_is_better": False}
        figures = {"metric": metric, "baseline": {"mse": 0.5}, "test": {"mse": 0.1 * (seed + 1)}}
        return run(seed, step=solved, budget=20, metrics=metrics, **figures)

    saved = {}
    monkeypatch.setattr(plots, "_save", lambda figure, path: saved.update({path.stem: figure}))
    runs = [made(0, 10, {10: 0.2}), made(1, None, {10: 0.4, 20: 0.3})]
    groups = [Group("a", 7, runs)]
    rows = [row_of(group) for group in groups]
    plots.draw(groups, rows, None, tmp_path)
    lines = {line.get_label(): line for line in saved["curves"].axes[0].lines}
    mean = lines["a (solved 1 of 2)"]
    assert list(mean.get_xdata()) == [10, 20]
    assert list(mean.get_ydata()) == pytest.approx([0.3, 0.25])  # the one that stopped keeps its last value
    assert set(lines["baseline 0.5"].get_ydata()) == {0.5}
    band = saved["curves"].axes[0].collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((0, mean_interval([0.2, 0.4]).high))
    spots = [(list(line.get_xdata()), line.get_marker()) for line in saved["metric"].axes[0].lines]
    assert ([0.1, 0.2], "o") in [(pytest.approx(x), marker) for x, marker in spots]
    (cross,) = [x for x, marker in spots if marker == "D"]
    assert cross == pytest.approx([0.15])
    plots.draw(groups, rows, "task.length", tmp_path)
    (bar,) = saved["success"].axes[0].containers
    (segment,) = bar.lines[2][0].get_segments()
    wilson = share_interval(1, 2)
    assert [point[1] for point in segment] == pytest.approx([wilson.low, wilson.high])
    assert list(bar.lines[0].get_ydata()) == [0.5]
