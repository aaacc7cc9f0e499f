"""What is claimed of cells, from runs made up for it."""

import dataclasses
import math
import statistics

import pytest
from samples import result, run

from seqtrain.comparison.aggregate import summarise
from seqtrain.comparison.load_runs import Group
from seqtrain.comparison.records import Question
from seqtrain.comparison.significance import longest_solved
from seqtrain.comparison.statistics import mean_interval, sign_flip_p


def with_summary(one, **fields):
    """The same run with other values in its summary."""
    return dataclasses.replace(one, summary=one.summary.model_copy(update=fields))


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
    assert better["sentence"].startswith("b is better than a: test m of b minus that of a is -3.5 (95 % interval")
    few = versus(values(1, 2, 3, 4, 5), values(2, 4, 6, 8, 10), stop=False)
    assert few["verdict"] == "too few seeds"
    assert few["sentence"].startswith(
        "b and a: too few seeds to tell at 5 % (6 are the fewest, 12 are advised); test m of b minus that of a is -3 ("
    )
    (one,) = result(("a", [run(0, step=200)]), ("b", [run(0, step=100)]))["verdicts"]
    assert "); b has 0.5 times the steps to solve of a; b is better in 1 of 1 seed, worse in 0, equal in 0; p" in one


def test_a_level_that_is_just_reached_is_reached():
    """Six pairs reach 2^-5 and no less."""
    own, other = values(1, 2, 3, 4, 5, 6), values(2, 4, 6, 8, 10, 12)
    runs = [[run(seed, **one, stop=False) for seed, one in enumerate(all_)] for all_ in (other, own)]
    groups = [("a", runs[0]), ("b", runs[1])]
    for level, verdict in ((2**-5, "better"), (2**-5 - 1e-9, "too few seeds")):
        assert result(*groups, level=level)["cells"][1]["versus"]["verdict"] == verdict
    alike = [
        ("a", runs[0]),
        ("b", [run(seed, value=value, stop=False) for seed, value in enumerate((3, 3, 7, 7, 9, 13))]),
    ]
    assert result(*alike, level=2**-5)["cells"][1]["versus"]["verdict"] == "not distinguishable"


def test_higher_may_be_better():
    worse = versus(values(1, 2, 3, 4, 5, 6), values(2, 4, 6, 8, 10, 12), stop=False, higher=True)
    assert (worse["verdict"], worse["better_in"], worse["worse_in"]) == ("worse", 0, 6)


def test_not_distinguishable_is_a_result():
    found = versus(values(1, 5, 3, 4, 2, 6), values(2, 4, 2, 3, 5, 5), stop=False)
    assert found["verdict"] == "not distinguishable"
    assert found["sentence"].startswith("b is not distinguishable from a")


def test_the_correction_is_over_all_comparisons():
    """What six seeds show for one cell they cannot show for three."""
    runs = [[run(seed, value=k * (seed + 1.0), stop=False) for seed in range(6)] for k in (1, 2, 3, 4)]
    found = result(*zip("abcd", runs, strict=True), gathered=True)
    assert [row["versus"] and row["versus"]["verdict"] for row in found["cells"]] == [None, *["too few seeds"] * 3]
    assert found["cells"][1]["versus"]["p_corrected"] == pytest.approx(3 * 0.03125)
    assert "6 seeds cannot show a difference at 5 % in 3 comparisons" in found["notes"][0]
    assert "7 of each can" in found["notes"][0]
    assert all("too few seeds to tell at 5 % (7 are the fewest" in verdict for verdict in found["verdicts"])


def test_steps_to_solve_decide_where_runs_stop_and_the_unsolved_count():
    found = versus(steps(100, 200, 300, 400, 500, None), steps(200, 300, 400, 500, 600, None))
    assert found["outcome"] == "steps to solve"
    assert found["difference"]["mean"] == pytest.approx(-500 / 6)
    unsolved = versus(steps(*[None] * 6), steps(100, 200, 300, 400, 500, 600))
    assert (unsolved["verdict"], unsolved["worse_in"]) == ("worse", 6)
    assert unsolved["difference"]["mean"] == pytest.approx(1050 - 350)
    assert unsolved["sentence"].startswith(
        "b is worse than a: b has 3.507 times the steps to solve of a (95 % interval 1.75 to 7.03), effect"
    )


def test_steps_to_solve_are_compared_by_their_ratio():
    """Half the steps with eleven seeds, and one late run: the mean difference has the other sign."""
    own = (100, 150, 200, 250, 300, 350, 400, 450, 100, 150, 200, 9_000)
    other = (200, 300, 400, 500, 600, 700, 800, 900, 200, 300, 400, 3_000)
    runs = [[run(seed, step=step, budget=9_000) for seed, step in enumerate(all_)] for all_ in (other, own)]
    found = result(("a", runs[0]), ("b", runs[1]))["cells"][1]["versus"]
    ratios = [math.log(a / b) for a, b in zip(own, other, strict=True)]
    assert found["ratio"]["mean"] == pytest.approx(math.exp(statistics.fmean(ratios)))
    low = statistics.fmean(ratios) - 2.200985 * statistics.stdev(ratios) / 12**0.5
    assert found["ratio"]["low"] == pytest.approx(math.exp(low), rel=1e-5)
    assert found["effect_size"] == pytest.approx(statistics.fmean(ratios) / statistics.stdev(ratios))
    assert found["p"] == sign_flip_p(ratios) < 0.05
    assert (found["verdict"], found["difference"]["mean"] > 0) == ("better", True)
    assert sign_flip_p([a - b for a, b in zip(own, other, strict=True)]) > 0.05


def test_a_metric_is_compared_by_its_difference():
    found = versus(values(1, 2, 3, 4, 5, 6), values(2, 4, 6, 8, 10, 12), stop=False)
    assert (found["ratio"], found["sentence"][:52]) == (
        None,
        "b is better than a: test m of b minus that of a is -",
    )


def test_solved_at_the_last_step_is_better_than_unsolved():
    last = versus(steps(*[1000] * 6), steps(*[None] * 6))
    assert (last["verdict"], last["difference"]["mean"]) == ("better", -50)


def test_runs_that_were_given_other_steps_are_judged_by_those_that_all_had():
    """Solved at the same step, with more to come or not, is no difference; solved later than some had steps is no
    merit.
    """
    runs = [[run(seed, step=100, budget=budget) for seed in range(6)] for budget in (1000, 100)]
    same = result(("a", runs[0]), ("b", runs[1]))
    assert (same["outcome"], same["cells"][1]["versus"]["verdict"]) == ("steps to solve", "undecided")
    assert same["cells"][1]["versus"]["difference"]["mean"] == 0
    late = [run(seed, step=700, budget=1000) for seed in range(6)]
    unsolved = [run(seed, budget=500) for seed in range(6)]
    found = result(("a", late), ("b", unsolved))
    assert found["cells"][1]["versus"]["difference"]["mean"] == 0
    assert "what was solved later than the shortest ends counts as unsolved" in " ".join(found["notes"])
    assert "also in train.steps" in " ".join(found["notes"])
    assert "shortest" not in " ".join(result(("a", late), ("b", late))["notes"])


def test_a_budget_in_seconds_is_judged_by_the_share_of_it():
    """A cell that is twice as fast has twice the steps; solved after half of them is after half the time."""
    runs = [[run(seed, step=budget // 10 * (seed + 1), budget=budget) for seed in range(6)] for budget in (1000, 500)]
    found = result(("a", runs[0]), ("b", runs[1]), timed=True)
    assert found["outcome"] == "share of the time until solved"
    assert found["cells"][1]["versus"]["difference"]["mean"] == 0
    assert "the budget bought a 1,000, b 500 steps" in " ".join(found["notes"])
    assert "also in" not in " ".join(found["notes"])
    slow = [run(seed, step=450, budget=500) for seed in range(6)]
    assert result(("a", runs[0]), ("b", slow), timed=True)["cells"][1]["versus"]["verdict"] == "worse"
    # a difference of at most 5 % of the longer time is less than timings tell
    for steps, verdict in ((1040, "undecided"), (1051, "undecided"), (1060, "better")):
        faster = [run(seed, step=500, budget=steps) for seed in range(6)]
        other = [run(seed, step=500, budget=1000) for seed in range(6)]
        assert result(("a", other), ("b", faster), timed=True)["cells"][1]["versus"]["verdict"] == verdict
    never = [[run(seed, budget=budget) for seed in range(6)] for budget in (100, 1000)]
    unsolved = result(("a", never[0]), ("b", never[1]), timed=True)["cells"][1]["versus"]
    assert (unsolved["better_in"], unsolved["worse_in"]) == (0, 0)


def test_other_budgets_at_other_values_are_no_other_budgets():
    groups = [Group(cell, at, [run(0, step=5, budget=at)]) for at in (100, 200) for cell in "ab"]
    assert summarise(groups, Question(reference="a", varied="task.length")).outcome == "steps to solve"


def test_the_metric_decides_where_runs_do_not_stop_or_nothing_can_be_solved():
    assert versus(values(1, 2), values(1, 2), task="language_model")["outcome"] == "test m"
    mixed = result(("a", [run(0)]), ("b", [run(0, stop=False)]))
    assert mixed["outcome"] == "test m"


def test_each_value_has_its_own_reference_and_all_are_corrected_together():
    groups = [
        Group(cell, at, [run(seed, value=seed + at * scale, stop=False) for seed in range(6)])
        for at in (10, 20)
        for cell, scale in (("a", 1), ("b", 2))
    ]
    rows = summarise(groups, Question(reference="a", varied="task.length")).as_json()["cells"]
    assert [row["versus"] and row["versus"]["difference"]["mean"] for row in rows] == [None, 10, None, 20]
    assert [row["versus"]["tests"] for row in rows if row["versus"]] == [2, 2]
    assert [row["versus"]["sentence"].split(":")[0][-5:] for row in rows if row["versus"]] == ["at 10", "at 20"]
    assert rows[1]["versus"]["p_corrected"] == pytest.approx(2 * 0.03125)


def test_pairs_that_are_equal_decide_nothing():
    found = versus(steps(*[None] * 8), steps(*[None] * 8))
    assert found["verdict"] == "none solved"
    assert "no run of either was solved, so steps to solve cannot tell; train longer" in found["sentence"]
    few = versus(steps(*[None] * 5, 100, 100, 100), steps(*[None] * 8))
    assert few["verdict"] == "undecided"
    assert "b is better in 3 of 8 seeds, worse in 0, equal in 5" in few["sentence"]


def test_the_summary_names_every_verdict():
    def cell(*numbers):
        return [run(seed, value=float(number), stop=False) for seed, number in enumerate(numbers)]

    reference = cell(*range(10, 20))
    found = result(
        ("a", reference),
        ("b", cell(*range(10))),
        ("c", cell(*range(20, 30))),
        ("d", cell(11, 10, 13, 12, 15, 14, 17, 16, 19, 18)),
        ("e", reference),
    )
    assert found["summary"].startswith(
        "In test m, b is better than a. In test m, c is worse than a. In test m, d is not distinguishable from a. "
        "Too many runs of e have the same test m as those of a for a decision."
    )
    assert len(found["verdicts"]) == 4


def test_figures_of_a_row():
    runs = [run(0, value=1.0, step=100), run(1, value=3.0), run(2, value=2.0, status="diverged")]
    (row,) = result(("a", runs))["cells"]
    assert row["steps_to_solve"]["mean_within_budget"] == pytest.approx((100 + 1000 + 1000) / 3)
    assert (row["solved"], row["runs"], row["diverged"], row["sequences_per_s"]) == (1, 3, 1, 1.0)
    times = [with_summary(one, elapsed_s=s) for one, s in zip(runs, (1.0, 2.0, 9.0), strict=True)]
    assert result(("a", times))["cells"][0]["elapsed_s"] == 2.0
    longer = [*runs, run(3, budget=2000)]
    assert result(("a", longer))["cells"][0]["steps_to_solve"]["budget"] == 2000
    assert row["test"] == {"m": 2.0}
    assert row["valid"] == {"m": 2.0}


def test_runs_that_exist_are_not_given_options_that_make_runs():
    first = run(0, step=5)
    small, large = [first], [run(0, step=6, parameters=2)]
    (sizes,) = result(("a", small), ("b", large), match="hidden")["notes"]  # the seeds were spoken of before training
    assert sizes.endswith("2.0 times the parameters of a; --match params makes them equal")
    seeds, sizes = result(("a", small), ("b", large), gathered=True)["notes"]
    advice = "if the difference is large, and 12 are advised"
    assert seeds.endswith(f"whatever the results: 6 of each can {advice}")
    assert sizes.endswith("of a; --match params, when a config is compared, makes them equal")


@pytest.mark.parametrize(
    ("task", "values", "wanted"),
    [("adding", (0.01, 0.2), (0.0, None)), ("parity", (0.5, 1.0), (0.0, 1.0)), ("stories", (0.9, 1.0), (None, 1.0)),
     ("language_model", (1.5, 3.0), (1.0, None)), ("timing", (10, 30), (0.0, None))],
)  # fmt: skip
def test_the_interval_of_a_metric_holds_only_what_it_can_be(task, values, wanted):
    (row,) = result(("a", [run(seed, value=value, task=task) for seed, value in enumerate(values)]))["cells"]
    free = mean_interval(values)
    assert row["metric"]["low"] == (free.low if wanted[0] is None else wanted[0])
    assert row["metric"]["high"] == (free.high if wanted[1] is None else wanted[1])


def test_a_run_without_a_value_leaves_no_mean():
    (row,) = result(("a", [run(0, value=1.0), run(1, value=None, status="diverged")]))["cells"]
    assert (row["metric"]["mean"], row["test"]["m"], row["diverged"]) == (None, None, 1)
    assert row["metric"]["values"] == [1.0]


def test_a_run_without_a_value_counts_as_the_worst():
    """As far beyond the worst as that is from the best, so that it is not equal to the worst itself."""
    found = versus(values(1, None, 3), values(2, 2, 9), stop=False)
    assert found["difference"]["mean"] == pytest.approx((-1 + 17 - 2 - 6) / 3)
    higher = versus(values(1, None, 3), values(2, 2, 9), stop=False, higher=True)
    assert higher["difference"]["mean"] == pytest.approx((-1 - 7 - 2 - 6) / 3)
    never = versus(values(*[None] * 6), values(1, 2, 3, 4, 5, 6), stop=False)
    assert (never["verdict"], never["worse_in"]) == ("worse", 6)
    alike = versus(values(*[None] * 6), values(*[2] * 6), stop=False)
    assert (alike["verdict"], alike["difference"]["mean"]) == ("worse", 2)


def test_a_missing_value_is_held_against_those_of_its_own_point():
    groups = [
        Group(cell, at, [run(0, value=value, stop=False), run(1, value=at, stop=False)])
        for at, cell, value in ((10, "a", 8.0), (10, "b", None), (99, "a", 8.0), (99, "b", 8.0))
    ]
    rows = summarise(groups, Question(reference="a", varied="task.length")).as_json()["cells"]
    assert rows[1]["versus"]["difference"]["mean"] == pytest.approx((10 + (10 - 8) - 8) / 2)


def test_where_none_is_solved_no_seeds_are_asked_for():
    found = result(("a", [run(0), run(1)]), ("b", [run(0), run(1)]), match="hidden")
    assert found["cells"][1]["versus"]["verdict"] == "none solved"
    assert "seeds" not in " ".join(found["notes"])
    assert found["summary"].startswith("No run of b was solved, and none of a.")


def test_the_summary_names_cells_that_are_alike_in_one_sentence():
    groups = [Group(cell, at, [run(0, step=5)]) for at in (1, 2) for cell in "abc"]
    found = summarise(groups, Question(reference="a", varied="task.length"))
    assert found.summary.startswith(
        "There are too few seeds to tell b at 1, c at 1, b at 2 and c at 2 from a at the same task.length in steps to"
    )


def test_a_cell_without_another_is_said_to_need_one():
    for gathered, cure in ((True, "name a run of another"), (False, "name others with --cells")):
        (note,) = result(("a", [run(0, step=5)]), gathered=gathered)["notes"]
        assert note == f"a is the only cell, so there is nothing to compare it with; {cure}"


def test_cells_that_trained_for_other_times_than_they_were_to_are_named():
    """1,000 steps of 4 sequences at 100 a second take 40 s."""

    def at_speed(speed):
        return [run(0, budget=1000, sequences_per_s=speed)]

    for speed, told in ((85.0, False), (50.0, True)):
        notes = " ".join(result(("a", at_speed(100.0)), ("b", at_speed(speed)), timed=True)["notes"])
        assert ("did not train equally long: a 40, b 80 seconds" in notes) == told


def test_that_runs_were_still_improving_is_said():
    def ended(*best):
        return [run(seed, budget=100, best={"step": at, "value": 1.0}) for seed, at in enumerate(best)]

    assert (
        "3 of 4 runs improved until the end; train longer"
        in result(("a", ended(100, 100)), ("b", ended(100, 50)))["notes"]
    )
    assert "improving" not in " ".join(result(("a", ended(100, 50)), ("b", ended(100, 50)))["notes"])


def test_that_few_seeds_miss_differences_is_said():
    """Of cells that are not distinguishable with fewer than 12 seeds; with 12, or a claim, there is no such note."""

    def notes(seeds, factor=1):
        runs = [run(seed, step=100 + (seed + shift) % 3) for shift in (0, 1) for seed in range(seeds)]
        other = [run(one.summary.seed, step=factor * one.summary.solved_at_step) for one in runs[seeds:]]
        return " ".join(result(("a", runs[:seeds]), ("b", other))["notes"])

    assert "few seeds miss differences; 12 are advised" in notes(9)
    assert "12 seeds with 99 %" in notes(9)
    assert "are advised" not in notes(12)
    assert "are advised" not in notes(9, factor=2)


def test_that_all_diverged_is_said():
    found = versus(steps(*[None] * 8), steps(*[None] * 8), status="diverged")
    assert "runs of both diverged; try a lower optimizer.lr" in found["sentence"]


def test_pairs_are_by_seed():
    first, second = [run(seed, value=float(seed), stop=False) for seed in (0, 1, 2)], []
    second = [run(seed, value=seed + 1.0, stop=False) for seed in (2, 1)]
    found = result(("a", first), ("b", second))["cells"][1]["versus"]
    assert (found["pairs"], found["difference"]["mean"], found["worse_in"]) == (2, 1.0, 2)


@pytest.mark.parametrize(("key", "named"), [("optimizer.lr", False), ("train.batch_size", True)])
def test_a_tuned_setting_that_changes_the_data_is_named(key, named):
    rows = [(f"c{value}", [run(0, settings=(f"{key}={value}",))]) for value in (1, 2)]
    tuning = [{"cell": "c1", "at": None, "chosen": {key: 1}, "at_the_edge": [], "points": []}]
    notes = " ".join(result(*rows, reference="c1", tuning=tuning)["notes"])
    assert (f"but also in {key}" in notes) == named


def test_vary_counts_how_far_cells_get():
    def group(at, *solved):
        return Group("rnn", at, [run(seed, step=5 if one else None) for seed, one in enumerate(solved)])

    assert longest_solved([group(100, 0), group(50, 1)]) == {"rnn": 50}
    assert longest_solved([group("a", 1)]) is None
    assert longest_solved([group(True, 1)]) is None
    further = [group(10, 1, 1, 0), group(20, 1, 1, 1), group(40, 1, 0, 0), group(80, 1, 1, 1)]
    assert longest_solved(further) == {"rnn": 20}
    assert longest_solved([group(10, 1, 0), group(20, 1, 1)]) == {"rnn": None}


def test_the_reference_is_compared_with_nothing():
    assert result(("a", [run(0)]), ("b", [run(0)]))["cells"][0]["versus"] is None
    assert result(("c", [run(0)]))["verdicts"] == []


@pytest.mark.parametrize(
    ("varied", "asked"),
    [
        ("task.length", True),
        ("optimizer.lr", False),
        ("model.hidden_size", False),
        ("task.valid_size", False),
        ("seed", False),
    ],
)
def test_how_far_is_asked_of_a_distance_only(varied, asked):
    groups = [Group("a", at, [run(seed, step=100) for seed in range(2)]) for at in (1, 2)]
    found = summarise(groups, Question(reference="a", varied=varied))
    assert found.longest_solved == ({"a": 2} if asked else None)


def test_a_cell_of_as_many_parameters_that_is_much_slower_is_named():
    def notes(speed, match="params"):
        rows = [("a", [run(0, sequences_per_s=1600.0)]), ("b", [run(0, sequences_per_s=speed)])]
        return " ".join(result(*rows, match=match)["notes"])

    assert "b trained 16 times slower than a; --match step-time" in notes(100.0)
    assert "slower" not in notes(900.0)
    assert "slower" not in notes(100.0, match="step-time")


def test_rows_far_worse_than_the_baseline_are_named():
    figures = {"metric": {"name": "mse", "higher_is_better": False}, "baseline": {"mse": 0.2}}
    rows = [(name, [run(0, value, **figures, test={"mse": value})]) for name, value in (("a", 0.1), ("b", 3.0))]
    (note,) = [note for note in result(*rows)["notes"] if note.startswith("far worse than the baseline")]
    assert ": b;" in note
