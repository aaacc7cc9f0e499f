"""The candidates of a search: what is drawn, what is asked for, and when."""

import math
import statistics
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from samples import QUICK, run

from seqtrain.comparison import options, plots, search
from seqtrain.comparison.options import parse_request
from seqtrain.comparison.plan import plan_contenders
from seqtrain.comparison.request import Setting
from seqtrain.comparison.search import Tried, batches, check_ranges, distinct, draw, drawn, propose
from seqtrain.system.errors import ConfigError

RATES = ("optimizer.lr=1e-4..1e-1", "train.batch_size=4..64", "optimizer.clip_norm=1,2,5")


@pytest.fixture
def request_of(monkeypatch):
    """A request for a search on the adding task, also where there is no Optuna."""
    monkeypatch.setattr(options, "find_spec", lambda _: object())

    def request(tune, ranges=RATES, overrides=(), **given):
        return parse_request(["quickstart", *QUICK, *overrides], tune=tune, ranges=ranges, cells="rnn,gru", **given)

    return request


def draws(setting, count):
    source = torch.Generator().manual_seed(0)
    return [draw(setting, source) for _ in range(count)]


def test_ranges_are_drawn_uniformly_on_a_logarithmic_scale():
    """The Kolmogorov-Smirnov distance from the distribution stays below its critical value at 1 %."""
    count, low, high = 2000, 1e-4, 1e-1
    places = sorted(
        math.log(value / low) / math.log(high / low) for value in draws(Setting("a", (low, high), "real"), count)
    )
    distance = max(max((rank + 1) / count - place, place - rank / count) for rank, place in enumerate(places))
    assert distance < 1.63 / count**0.5
    assert (min(places), max(places)) == pytest.approx((0, 1), abs=0.01)


def test_whole_numbers_and_lists_have_their_probabilities():
    """A whole number has that of what is rounded to it, also at the ends."""
    found = draws(Setting("a", (2, 9), "whole"), 4000)
    for value in range(2, 10):
        share = math.log((value + 0.5) / (value - 0.5)) / math.log(9.5 / 1.5)
        assert found.count(value) / 4000 == pytest.approx(share, abs=4 * (share / 4000) ** 0.5)
    assert all(type(value) is int for value in found)
    listed = draws(Setting("b", ("x", None, 5)), 3000)
    assert all(listed.count(value) == pytest.approx(1000, abs=110) for value in ("x", None, 5))


def test_draws_are_short_and_within_the_ends():
    assert set(draws(Setting("a", (1.23401e-3, 1.23402e-3), "real"), 50)) == {1.23401e-3}  # not 1.23e-3
    assert set(draws(Setting("a", (99_951, 99_952), "whole"), 50)) <= {99_951, 99_952}  # not 100 000
    assert all(len(f"{value:.17g}".strip("0.").rstrip("0")) <= 3 or value == float(f"{value:.3g}")
               for value in draws(Setting("a", (1e-4, 1e-1), "real"), 50))  # fmt: skip
    assert all(value % 100 == 0 for value in draws(Setting("a", (10_000, 90_000), "whole"), 50))


def test_a_candidate_does_not_depend_on_the_others(request_of):
    few, many = request_of("random:3"), request_of("random:7", RATES[::-1])
    assert [drawn(few, number) for number in range(3)] == [drawn(many, number) for number in range(3)]
    assert len({tuple(drawn(many, number).values()) for number in range(7)}) == 7
    alone = request_of("random:3", RATES[1:2])
    assert [drawn(alone, 2)] == [{"train.batch_size": drawn(few, 2)["train.batch_size"]}]
    assert drawn(request_of("random:3", overrides=["seed=1"]), 0) != drawn(few, 0)
    alike = request_of("random:3", ["optimizer.lr=1e-4..1e-1", "optimizer.eps=1e-4..1e-1"])
    assert len({*drawn(alike, 0).values()}) == 2


def test_every_cell_tries_the_same_random_candidates_with_seeds_of_tuning(request_of):
    request = request_of("random:4", tuning_seeds=2, seeds=5)
    (batch,) = batches(request, plan_contenders(request)[0])
    points = {cell: [each.point for each in batch if each.cell == cell] for cell in ("rnn", "gru")}
    assert points["rnn"] == points["gru"] == [drawn(request, number) for number in range(4)]
    assert {run.config.seed for each in batch for run in each.runs} == {1_000_000, 1_000_001}
    config = batch[1].runs[0].config
    assert (config.optimizer.lr, config.train.batch_size) == (
        points["rnn"][1]["optimizer.lr"],
        points["rnn"][1]["train.batch_size"],
    )


def test_a_candidate_that_is_drawn_twice_is_trained_once(request_of):
    request = request_of("random:6", ["train.batch_size=4,8"])
    (batch,) = batches(request, plan_contenders(request)[0])
    assert len(batch) == 12
    assert len({run.out for each in batch for run in each.runs}) == 2 * 2 * 2
    assert [each.point["train.batch_size"] for each in distinct(batch)] in ([4, 8] * 2, [8, 4] * 2)


def test_proposals_are_asked_for_in_fixed_batches_after_the_runs_before(request_of, monkeypatch):
    """The first batch is random and the same for all cells; each cell has a search of its own."""
    asked, done = [], set()

    def stand_in(request, tried, count):
        asked.append((len(tried), count, tried[0].rank))
        return [drawn(request, 100 + len(tried) + number) for number in range(count)]

    def read(paths):
        assert done.issuperset(paths)
        return [run(0, 0.1 if "gru" in path.name else 0.2) for path in paths]

    monkeypatch.setattr(search, "propose", stand_in)
    monkeypatch.setattr(search, "read_runs", read)
    for jobs in (1, 4):
        request = request_of("optuna:12", RATES[:1], jobs=jobs)
        asked.clear()
        done.clear()
        sizes = []
        for batch in batches(request, plan_contenders(request)[0]):
            assert sum(each.cell == "rnn" for each in batch) == sum(each.cell == "gru" for each in batch)
            if not sizes:
                assert [each.point for each in batch] == [drawn(request, number) for number in range(5)] * 2
            sizes.append(len(batch))
            done |= {one.out for each in batch for one in each.runs}
        assert sizes == [10, 10, 4]
        rnn, gru = (0, -0.0, 2, -0.2), (0, -0.0, 2, -0.1)
        assert asked == [(5, 5, rnn), (5, 5, gru), (10, 2, rnn), (10, 2, gru)]


def near(value, best=1e-2):
    """A rank that is the better, the nearer the learning rate is to the best."""
    return (0, -0.0, 1, -abs(math.log(value / best)))


def test_proposals_follow_from_the_results_alone(request_of):
    pytest.importorskip("optuna", reason="needs the extra optuna")
    request, other = request_of("optuna:20"), request_of("optuna:20", RATES[::-1], overrides=["threads=2"])
    points = [drawn(request, number) for number in range(10)]
    tried = [Tried(point, near(point["optimizer.lr"])) for point in points]
    tried.sort(key=lambda each: each.rank)
    worst, *others = tried
    first = propose(request, tried, 5)
    assert first == propose(request, tried, 5) == propose(other, tried, 5)
    assert first[:2] == propose(request, tried, 2)
    assert first != propose(request, [*others, worst._replace(rank=(1, -5.0, 1, 0.0))], 5)
    assert first != propose(request_of("optuna:20", overrides=["seed=1"]), tried, 5)
    for point in first:
        assert list(point) == ["optimizer.lr", "train.batch_size", "optimizer.clip_norm"]
        assert 1e-4 <= point["optimizer.lr"] <= 1e-1
        assert type(point["train.batch_size"]) is int
        assert point["optimizer.clip_norm"] in (1, 2, 5)


def test_proposals_go_where_the_results_are_good_and_not_where_runs_diverge(request_of):
    pytest.importorskip("optuna", reason="needs the extra optuna")
    request = request_of("optuna:60", RATES[:1])
    tried = [Tried(drawn(request, number), ()) for number in range(5)]

    def judged(point):
        rate = point["optimizer.lr"]
        return Tried(point, near(rate, 3e-4) if rate < 3e-2 else (0, -0.0, 0, float("-inf")))

    tried = [judged(each.point) for each in tried]
    while len(tried) < 40:
        tried += map(judged, propose(request, tried, 5))
    distances = [abs(math.log(each.point["optimizer.lr"] / 3e-4)) for each in tried]
    assert statistics.median(distances[20:]) < 0.5 * statistics.median(
        abs(math.log(drawn(request, number)["optimizer.lr"] / 3e-4)) for number in range(40)
    )
    assert sum(each.rank[2] == 0 for each in tried[20:]) <= 2


def test_a_search_goes_on_with_what_was_done(seqtrain, monkeypatch):
    """More candidates keep the runs of the first ones; an unfinished one is trained on."""
    monkeypatch.setattr(plots, "encoded", lambda *_: b"not drawn")
    command = (
        "compare", "quickstart", *QUICK, "model.hidden_size=2", "train.steps=2", "--cells", "rnn", "--seeds", 1,
        "--tuning-seeds", 1, "--range", "optimizer.lr=1e-3..1e-1", "--json",
    )  # fmt: skip
    first = seqtrain(*command, "--tune", "random:2").json["tuning"][0]
    folder = Path("runs/compare-quickstart/tuning")
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/summary.json")}
    second = seqtrain(*command, "--tune", "random:3")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert second.err.count("done already") >= 2
    entry = second.json["tuning"][0]
    assert (len(list(folder.iterdir())), entry["points"][:2]) == (3, first["points"])
    assert (entry["method"], len(entry["best_of"])) == ("random", 3)
    gathered = seqtrain("compare", "runs/compare-quickstart", "--json").json
    assert gathered["tuning"] == second.json["tuning"]
    assert "tuning" in gathered["pictures"]
    assert [Path(one["run"]).name for one in gathered["runs"]] == ["quickstart-rnn-seed0"]


def test_commands_of_a_search_come_a_batch_at_a_time(seqtrain, monkeypatch):
    """A search with Optuna says the next batch when the runs before are done: it knows them from their directories."""
    monkeypatch.setattr(options, "find_spec", lambda _: object())
    monkeypatch.setattr(search, "propose", lambda request, tried, count: [drawn(request, len(tried))] * count)
    monkeypatch.setattr(search, "BATCH", 2)
    monkeypatch.setattr(search, "read_runs", lambda _: [run(0)])
    command = (
        "compare", "quickstart", *QUICK, "model.hidden_size=2", "train.steps=2", "--cells", "rnn", "--seeds", 1,
        "--tuning-seeds", 1, "--range", "optimizer.lr=1e-3..1e-1", "--tune", "optuna:4", "--dry-run",
    )  # fmt: skip
    for lines, what in (
        (2, "2 of 2 runs that tune, of the first 2 of 4 candidates of each cell; repeat this when they are done"),
        (1, "1 of 1 runs that tune, of the first 4 of 4 candidates of each cell; repeat this when they are done"),
        (1, "1 of 1 runs to do"),
    ):
        printed = seqtrain(*command)
        assert what in printed.err
        todo = printed.out.splitlines()
        assert len(todo) == lines
        for line in todo:
            assert seqtrain(*line.split()[1:]).code == 0


def faults(*targets, **given):
    with pytest.raises(ConfigError) as refused:
        request = parse_request(["quickstart", *targets], cells="rnn,gru", **given)
        check_ranges(request, plan_contenders(request)[0])
    return refused.value.faults


RATE = ["optimizer.lr=1e-3..1e-1"]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"tune": "random:3", "ranges": RATE, "grid": ["model.depth=1,2"]}, "--grid and --tune random:3: a grid tries"),
        ({"ranges": RATE}, "--range: there is no --tune that draws from it; add --tune random:20"),
        ({"tune": "random:3"}, "--tune random:3: there is nothing to tune; add --range"),
        ({"tune": "random:0", "ranges": RATE}, "tries 0 candidates; it must be from 1 to 1,000"),
        ({"tune": "random:1001", "ranges": RATE}, "tries 1001 candidates; it must be from 1 to 1,000"),
        ({"tune": "random", "ranges": RATE}, "--tune random: write random:N or optuna:N"),
        ({"tune": "random:-3", "ranges": RATE}, "--tune random:-3: write random:N"),
        ({"tune": "bayes:3", "ranges": RATE}, "--tune bayes:3: write random:N"),
        ({"tune": "random:3", "ranges": ["optimizer.lr=1e-1..1e-3"]}, "from an end above 0 to a larger, finite one"),
        ({"tune": "random:3", "ranges": ["optimizer.lr=1e-1..1e-1"]}, "from an end above 0 to a larger, finite one"),
        ({"tune": "random:3", "ranges": ["model.dropout=0..0.5"]}, "or a list, e.g. model.dropout=0,0.1,0.3"),
        ({"tune": "random:3", "ranges": ["optimizer.lr=1..1e999"]}, "a larger, finite one"),
        ({"tune": "random:3", "ranges": ["optimizer.lr=a..b"]}, "write a setting and its two ends"),
        ({"tune": "random:3", "ranges": ["optimizer.lr=1e-3"]}, "write a setting and its two ends"),
        ({"tune": "random:3", "ranges": ["optimizer.lr"]}, "write a setting and its two ends"),
        ({"tune": "random:3", "ranges": ["model.hidden_size=1.5..9"]}, "model.hidden_size is a whole number"),
        ({"tune": "random:3", "ranges": RATE * 2}, "optimizer.lr stands twice"),
        ({"tune": "random:3", "ranges": RATE, "vary": "optimizer.lr=1,2"}, "stands twice in --range and --vary"),
        ({"tune": "random:3", "ranges": ["task.length=5..50"]}, "--range task.length: each cell would get a task"),
        ({"tune": "random:3", "ranges": ["threads=1..2"]}, "--range threads: it changes nothing but the time"),
        ({"tune": "random:3", "ranges": ["optimizer.rate=1..2"]}, "optimizer.rate"),
        ({"tune": "random:3", "ranges": ["model.dropout=0.5..1.5"]}, "model.dropout"),
        ({"tune": "random:3", "ranges": ["optimizer.name=adam,adan"]}, "adan"),
    ],
)  # fmt: skip
def test_searches_that_cannot_be(given, wanted):
    assert wanted in "\n".join(faults(**given))


def test_all_faults_of_a_search_are_said_at_once(monkeypatch):
    monkeypatch.setattr(options, "find_spec", lambda _: None)
    found = faults(tune="optuna:0", ranges=["optimizer.lr=2..1", "train.batch_size=5"], grid=["seed=1,2"], level=5)
    assert len(found) == 7
    assert "--tune optuna needs Optuna: pip install 'seqtrain[optuna]'" in found
    both = faults(tune="random:3", ranges=["optimizer.rate=1..2", "model.dropout=1.5..2"])
    assert len(both) == 3  # one for the first, one for each end of the second
    assert "--tune, --range: says what to train" in faults_of_runs(tune="random:3", ranges=RATE)


def test_a_setting_may_need_another_that_is_tuned_too(request_of):
    request = request_of("optuna:3", ["model.dropout=0.1..0.5", "model.depth=2,3"])
    check_ranges(request, plan_contenders(request)[0])
    refused = faults(tune="random:3", ranges=["model.dropout=0.1..0.5", "model.depth=1,2"])
    assert all("dropout acts between layers and depth 1 has one layer" in fault for fault in refused)


def test_a_range_of_which_a_cell_takes_only_the_ends_is_refused_before_the_search():
    (fault,) = faults("train.batch_size=8", "train.shards=4", tune="random:3", ranges=["train.batch_size=8..64"])
    assert fault.startswith("--range train.batch_size=9: train.shards is 4, which does not divide batch_size 9")
    request = parse_request(["quickstart", *QUICK, "train.shards=1"], tune="random:3", ranges=["train.batch_size=8..9"])
    check_ranges(request, plan_contenders(request)[0])


def faults_of_runs(**given):
    wanted = SimpleNamespace(**given)
    return options._faults_of_gathering(["a"], {"a": [Path("a")]}, vars(wanted))[0]
