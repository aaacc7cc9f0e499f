"""What is claimed of cells, from runs made up for it."""

from pathlib import Path

import pytest

from seqtrain.compare.results import Question, summarise
from seqtrain.compare.summarise import FinishedRun, Group


def run(seed, value=1.0, step=None, *, stop=True, task="adding", budget=1000, status="finished", higher=False):
    summary = {
        "task": task, "variant": "v", "metric": {"name": "m", "higher_is_better": higher}, "baseline": {"m": 0.5},
        "hidden_size": 1, "parameters": 1, "status": status, "test": None if value is None else {"m": value},
        "best": {"step": 1, "value": value}, "solved_at_step": step, "sequences_per_s": 1.0, "seed": seed,
        "planned_steps": budget, "steps": step or budget, "elapsed_s": 1.0,
    }  # fmt: skip
    config = {"model": {"cell": {"name": "x"}}, "train": {"stop_when_solved": stop, "batch_size": 4}}
    return FinishedRun(Path("x"), config, summary, [])


def result(*groups, **question):
    return summarise([Group(cell, None, runs) for cell, runs in groups], Question(reference="a", **question))


def versus(own, reference, **options):
    """`own` against `reference`, lists of values or of steps."""
    made = [[run(seed, **one, **options) for seed, one in enumerate(all_)] for all_ in (reference, own)]
    return result(("a", made[0]), ("b", made[1]))["cells"][1]["versus"]


def values(*numbers):
    return [{"value": number} for number in numbers]


def steps(*numbers):
    return [{"step": number} for number in numbers]


def test_median_steps_count_unsolved_runs_as_endless():
    def median(*numbers):
        runs = [run(seed, step=step) for seed, step in enumerate(numbers)]
        return result(("a", runs))["cells"][0]["median_steps_to_solve"]

    assert median(100, 300, None) == 300
    assert median(100, None, None) is None
    assert median(100, None) is None


def test_six_seeds_can_tell_and_five_cannot():
    better = versus(values(1, 2, 3, 4, 5, 6), values(2, 4, 6, 8, 10, 12), stop=False)
    assert (better["outcome"], better["verdict"], better["p"]) == ("test m", "better", pytest.approx(0.03125))
    assert (better["difference"]["mean"], better["better_in"], better["pairs"]) == (-3.5, 6, 6)
    assert better["sentence"].startswith("b is better than a: test m -3.5 (95 % interval")
    few = versus(values(1, 2, 3, 4, 5), values(2, 4, 6, 8, 10), stop=False)
    assert few["verdict"] == "too few seeds"


def test_higher_may_be_better():
    worse = versus(values(1, 2, 3, 4, 5, 6), values(2, 4, 6, 8, 10, 12), stop=False, higher=True)
    assert (worse["verdict"], worse["better_in"], worse["worse_in"]) == ("worse", 0, 6)


def test_not_distinguishable_is_a_result():
    found = versus(values(1, 5, 3, 4, 2, 6), values(2, 4, 3, 3, 5, 5), stop=False)
    assert found["verdict"] == "not distinguishable"
    assert found["sentence"].startswith("b is not distinguishable from a")


def test_the_correction_is_over_all_comparisons():
    """What six seeds show for one cell they cannot show for three."""
    runs = [[run(seed, value=k * (seed + 1.0), stop=False) for seed in range(6)] for k in (1, 2, 3, 4)]
    found = result(*zip("abcd", runs, strict=True))
    assert [row["versus"] and row["versus"]["verdict"] for row in found["cells"]] == [None, *["too few seeds"] * 3]
    assert found["cells"][1]["versus"]["p_corrected"] == pytest.approx(3 * 0.03125)
    assert "6 seeds cannot show a difference at 5 % in 3 comparisons" in found["notes"][0]
    assert "--seeds 7 can" in found["notes"][0]


def test_steps_to_solve_decide_where_runs_stop_and_the_unsolved_count():
    found = versus(steps(100, 200, 300, 400, 500, None), steps(200, 300, 400, 500, 600, None))
    assert found["outcome"] == "steps to solve"
    assert found["difference"]["mean"] == pytest.approx(-500 / 6)
    unsolved = versus(steps(*[None] * 6), steps(100, 200, 300, 400, 500, 600))
    assert (unsolved["verdict"], unsolved["worse_in"]) == ("worse", 6)
    assert unsolved["difference"]["mean"] == pytest.approx(1000 - 350)


def test_the_metric_decides_where_budgets_differ_or_nothing_can_be_solved():
    runs = [[run(seed, step=100, budget=budget) for seed in range(2)] for budget in (1000, 500)]
    assert result(("a", runs[0]), ("b", runs[1]))["outcome"] == "test m"
    assert versus(values(1, 2), values(1, 2), task="language_model")["outcome"] == "test m"


def test_a_run_without_a_value_counts_as_the_worst():
    found = versus(values(1, None, 3), values(2, 2, 9), stop=False)
    assert found["difference"]["mean"] == pytest.approx((-1 + 7 - 6) / 3)


def test_pairs_are_by_seed():
    first, second = [run(seed, value=float(seed), stop=False) for seed in (0, 1, 2)], []
    second = [run(seed, value=seed + 1.0, stop=False) for seed in (2, 1)]
    found = result(("a", first), ("b", second))["cells"][1]["versus"]
    assert (found["pairs"], found["difference"]["mean"], found["worse_in"]) == (2, 1.0, 2)


def test_the_reference_is_compared_with_nothing():
    assert result(("a", [run(0)]), ("b", [run(0)]))["cells"][0]["versus"] is None
    assert result(("c", [run(0)]))["verdicts"] == []
