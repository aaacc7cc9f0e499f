"""A program of a user: the tests run it, and mypy checks that the public names are typed.

mypy also reports an unused `type: ignore`, so the line that has one is proved to be an error.
"""

from pathlib import Path
from typing import assert_type

from torch import Tensor, nn, randn

from seqtrain import CELLS, ConfigError, compare, evaluate, import_torch, load_model, load_text_model, train, unroll

SMALL = ["model.hidden_size=4", "train.batch_size=4", "train.steps=2", "train.eval_every=1"]

trained = train("quickstart", [*SMALL, "task.valid_size=8", "task.test_size=8"], out="adding")
assert_type(trained.path, Path)
assert_type(trained.exit_code, int)
assert_type(trained.summary.metric.name, str)
assert_type(trained.summary.steps, int)
assert_type(trained.records[0].loss, float | None)
assert_type(evaluate(trained.path, split="valid").figures, dict[str, float])
compared = compare("quickstart", [*SMALL, "task.valid_size=8", "task.test_size=8"], cells="rnn,gru", seeds=1, out="two")
assert compared.results is not None
assert_type(compared.results.cells[0].cell, str)
assert_type(compared.records[0].run, str)
assert_type(compared.records[0].best.value, float | None)
assert_type(compared.exit_code, int)
outputs, _ = load_model(trained.path)(randn(5, 3, 2))
assert outputs.shape == (3, 1)

layers = {"layers": nn.LSTM(2, 3).state_dict(), "head": nn.Linear(3, 1).state_dict()}
imported = import_torch(layers, "quickstart", ["task.valid_size=8", "task.test_size=8"], out="imported")
assert_type(imported.summary.imported, str | None)

text = load_text_model(train("words", [*SMALL, "task.path=shipped:stories"], out="words").path)
assert_type(text.generate("the", 3, temperature=0.8).nats, list[float])
assert_type(text.predict("the").next[0].probability, float)

outputs, _ = unroll(CELLS["gru"](2, 3), randn(5, 1, 2))
assert_type(outputs, Tensor)

try:
    train("quickstart", resume="yes", overwrite=True)  # type: ignore[arg-type]
except ConfigError as error:
    assert_type(error.faults, list[str])
    print(error)
