"""The grammar of `--assert`."""

import pytest
from samples import result, run

from seqtrain.comparison.assertions import parse_conditions
from seqtrain.comparison.records import Row
from seqtrain.system.errors import ConfigError

(PLAIN,) = result(("lstm", [run(0)]))["cells"]
ROWS = [
    Row.model_validate(PLAIN | fields)
    for fields in (
        {"cell": "lstm", "solved": 3, "test": {"mse": 0.5}, "metric": PLAIN["metric"] | {"mean": 0.5, "low": 0.4}},
        {"cell": "gru reset=before", "solved": 2, "test": {"mse": 0.25}},
        {"cell": "my_cells:MyCell", "at": 50, "solved": 1, "test": {"mse": 1e-3}},
    )
]


def parsed(text):
    faults = []
    conditions = parse_conditions([text], faults)
    return conditions, faults


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("lstm.test.mse <= 0.5", True),
        ("lstm.test.mse < 0.5", False),
        ("'gru reset=before'.test.mse <= 0.51 * lstm.test.mse", True),
        ('"gru reset=before".test.mse <= 0.49 * lstm.test.mse', False),
        ("'my_cells:MyCell at 50'.test.mse == 1e-3", True),
        ("lstm.solved - 'gru reset=before'.solved - 1 == 0", True),
        ("2 + 3 * lstm.solved == 11", True),
        ("(2 + 3) * lstm.solved == 15", True),
        ("12 / 3 / lstm.solved > 1.3", True),
        ("-lstm.solved < -2.5", True),
        ("lstm.metric == 0.5", True),
        ("lstm.metric.low == 0.4", True),
        ("lstm.solved != 3", False),
        ("lstm.off <= 1", False),
        ("lstm.off > 1", False),
        ("lstm.solved / 0 > 1", False),
        ("1 >= lstm.test.mse", True),
    ],
)
def test_conditions(text, holds):
    (condition,), faults = parsed(text)
    assert (condition.check(ROWS).holds, faults) == (holds, [])
    assert condition.unknown_cell([row.label for row in ROWS]) is None


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", "cannot be read"),
        ("lstm.solved", "is not one comparison of two terms"),
        ("lstm.solved >", "cannot be read"),
        ("lstm.solved > 1 > 0", "is not one comparison"),
        ("lstm.solved + 1", "is not one comparison"),
        ("lstm.solved = 1", "cannot be read"),
        ("__import__('os').name > 1", "where a cell is needed"),
        ("open('x') > 1", "where a number or a figure is needed"),
        ("lstm.solved in [1]", "is not one comparison"),
        ("True > 0", "has 'True' where a number"),
        ("lstm.solved ** 2 > 1", "where a number or a figure is needed"),
        ("(lstm.solved > 1", "cannot be read"),
        ("lstm > 1", "has 'lstm' where a number or a figure is needed"),
        ("*3 > 1", "cannot be read"),
        ("-" * 1000 + "1 > 0", "is too long"),
        ("(" * 1000 + "1" + ")" * 1000 + " > 0", "cannot be read"),
    ],
)
def test_what_is_no_condition(text, wanted):
    conditions, (fault,) = parsed(text)
    assert (conditions, fault.startswith(f"--assert {text}: ")) == ((), True)
    assert wanted in fault


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("lsmt.solved > 1", "did you mean 'lstm'?"),
        ("lstm.sloved > 1", "did you mean 'solved'?"),
        ("lstm.test > 1", "is not a number; choose one of mse"),
        ("lstm.test.mse.mean > 1", "goes too deep"),
        ("lstm.cell > 1", "is not a number"),
    ],
)
def test_figures_that_are_not_there(text, wanted):
    with pytest.raises(ConfigError) as refused:
        parsed(text)[0][0].check(ROWS)
    assert wanted in str(refused.value)


def test_all_faults_at_once():
    faults = []
    assert len(parse_conditions(["a.b <", "c.d <= 1", "e.f"], faults)) == 1
    assert len(faults) == 2


def test_a_cell_that_is_not_compared_is_found_before_there_are_figures():
    ((condition,), _) = parsed("lsmt.solved > 1")
    assert "did you mean 'lstm'?" in condition.unknown_cell(["lstm", "gru"])


def test_a_users_cell_needs_no_quotes():
    ((condition,), _) = parsed("my_cells:MyCell.test.mse <= 2 * 'my_cells:MyCell at 50'.test.mse")
    assert condition.cells == ["my_cells:MyCell", "my_cells:MyCell at 50"]
