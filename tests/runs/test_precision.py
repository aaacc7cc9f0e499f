"""The setting `precision`: what it changes, what it does not, and where it is refused."""

import pytest
import torch
from safetensors.torch import load_file

from seqtrain import evaluate, train
from seqtrain.config import read_config
from seqtrain.config.build import build_model, check_precision
from seqtrain.native import storage
from seqtrain.native.library import library
from seqtrain.system import progress
from seqtrain.system.errors import ConfigError, SeqtrainError

pytestmark = pytest.mark.skipif(isinstance(library(), str), reason=str(library()))

TINY = ["task.length=5", "task.valid_size=8", "task.test_size=8", "model.hidden_size=6", "train.batch_size=4"]
WORDS = ["model.hidden_size=6", "model.embedding_size=6", "train.batch_size=4", "model.tied=true", "task.window=7"]


@pytest.fixture(autouse=True)
def emulated(monkeypatch):
    monkeypatch.setenv("SEQTRAIN_BFLOAT16", "emulated")


def run(out, *overrides, config="quickstart", **options):
    return train(config, [*(TINY if config == "quickstart" else WORDS), *overrides], out=out, quiet=True, **options)


def last(out):
    return {name: weight.numpy().tobytes() for name, weight in load_file(out / "last.safetensors").items()}


@pytest.mark.parametrize("config", ["quickstart", "words"])
def test_bfloat16_trains_other_weights_and_repeats_to_the_byte(config, tmp_path):
    for name, precision in (("a", "bfloat16"), ("b", "bfloat16"), ("c", "float32")):
        run(tmp_path / name, f"precision={precision}", "train.steps=6", config=config)
    run(tmp_path / "d", "precision=bfloat16", "train.steps=3", config=config)
    run(tmp_path / "d", "precision=bfloat16", "train.steps=6", config=config, resume=True)
    weights = {name: last(tmp_path / name) for name in "abcd"}
    assert weights["a"] == weights["b"] == weights["d"]
    assert weights["a"] != weights["c"]
    assert "precision: bfloat16" in (tmp_path / "a" / "config.yaml").read_text()


def test_a_run_keeps_its_precision(tmp_path):
    run(tmp_path, "precision=bfloat16", "train.steps=2")
    with pytest.raises(SeqtrainError, match="precision"):
        run(tmp_path, "precision=float32", "train.steps=4", resume=True)
    with pytest.raises(SeqtrainError, match="precision"):
        evaluate(tmp_path, ["precision=float32"])


def test_shards_give_nearly_the_gradient_of_the_whole_batch(tmp_path):
    whole, shards = (
        run(tmp_path / str(n), "precision=bfloat16", "train.steps=2", f"train.shards={n}").summary for n in (1, 2)
    )
    assert whole.test["loss"] == pytest.approx(shards.test["loss"], rel=1e-3)
    assert last(tmp_path / "1") != last(tmp_path / "2")


def made(*overrides):
    return read_config("quickstart", ["precision=bfloat16", *overrides], quiet=True)[0]


def test_it_is_refused_without_the_instruction_unless_emulation_is_asked_for(monkeypatch, tmp_path):
    monkeypatch.setattr(storage, "_abilities", lambda: 0)
    assert "at the speed of float32" in check_precision(made())
    assert run(tmp_path, "precision=bfloat16", "train.steps=2").summary.precision == "bfloat16"
    monkeypatch.setenv("SEQTRAIN_BFLOAT16", "yes")
    with pytest.raises(ConfigError, match="SEQTRAIN_BFLOAT16 is 'yes'; set it to emulated, or leave it out"):
        run(tmp_path / "other", "precision=bfloat16", "train.steps=2")
    monkeypatch.delenv("SEQTRAIN_BFLOAT16")
    with pytest.raises(ConfigError, match=r"no bfloat16 instruction.*SEQTRAIN_BFLOAT16=emulated"):
        run(tmp_path / "other", "precision=bfloat16", "train.steps=2")
    assert evaluate(tmp_path).as_json()["precision"] == "bfloat16"  # trained weights are evaluated everywhere


@pytest.mark.parametrize(("abilities", "remark"), [(1, "slower than its float32 ones"), (2, None)])
def test_a_remark_says_where_it_gains_nothing(abilities, remark, monkeypatch):
    monkeypatch.setattr(storage, "_abilities", lambda: abilities)
    monkeypatch.delenv("SEQTRAIN_BFLOAT16")
    said = check_precision(made())
    assert said is None if remark is None else remark in said


def test_scores_stay_float32_and_are_rounded_only_in_products():
    spec = read_config("quickstart", TINY, quiet=True)[0]
    assert check_precision(spec) is None
    from seqtrain.config.build import build_task

    model = build_model(made(*TINY), build_task(spec).spec)
    x = torch.randn(5, 3, model.stack.input_size)
    rounded, _ = model.predict(x)
    scores = rounded.outputs
    model.precision = "float32"
    exact, _ = model.predict(x)
    assert scores.dtype == torch.float32
    assert not torch.equal(scores, scores.bfloat16().float())
    assert 0 < (rounded.features - exact.features).abs().max() < 0.05  # the cells round
    assert 0 < (scores - model.head(rounded.features)).abs().max() < 0.05  # and the head


def test_that_nothing_is_gained_is_said_once_for_all_runs_of_a_process(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(storage, "_abilities", lambda: 0)
    monkeypatch.setattr(progress, "_said", set())
    for n in range(2):
        options = [*TINY, "precision=bfloat16", "train.steps=2"]
        train("quickstart", options, out=tmp_path / str(n), quiet=False)
    assert capsys.readouterr().err.count("at the speed of float32") == 1
