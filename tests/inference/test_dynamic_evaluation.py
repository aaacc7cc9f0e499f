"""Dynamic evaluation: each window is counted before it is learnt from."""

import copy
from pathlib import Path

import pytest
import torch
from conftest import SMALL

from seqtrain.config import load_config
from seqtrain.inference.evaluate import DynamicEvaluation
from seqtrain.inference.load import restore
from seqtrain.runs.trainer import train_run
from seqtrain.training.loop import evaluate


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load_config("words", [*SMALL, "task.window=7", "optimizer.clip_norm=0.1"])
    train_run(config, Path("run"), quiet=True)
    restored = restore(Path("run"))
    restored.task.eval_window = 7
    return restored


def test_it_equals_a_plain_restatement(run):
    model, task, lr, decay = copy.deepcopy(run.model), run.task, 0.5, 0.1
    trained = {name: p.detach().clone() for name, p in model.named_parameters()}
    nats = tokens = 0
    state = None
    for batch in task.eval_batches("valid", 3):
        outputs, after = model(batch.inputs, batch.lengths, state)
        scored = torch.ones_like(batch.targets, dtype=torch.bool) if batch.scored is None else batch.scored
        losses = torch.nn.functional.cross_entropy(outputs[scored], batch.targets[scored], reduction="none")
        nats, tokens = nats + losses.double().sum().item(), tokens + len(losses)
        grads = torch.autograd.grad(losses.mean(), list(model.parameters()))
        norm = torch.stack([g.norm() for g in grads]).norm()
        for (name, p), g in zip(model.named_parameters(), grads, strict=True):
            p.data -= lr * g * min(1.0, 0.1 / (norm.item() + 1e-6))
            p.data += decay * (trained[name] - p.data)
        state = [[type(cell)(*(part.detach() for part in cell)) for cell in layer] for layer in after]
    learn = DynamicEvaluation(run.model, lr=lr, decay=decay, clip_norm=0.1)
    assert evaluate(run.model, task, "valid", 3, learn)["loss"] == pytest.approx(nats / tokens, rel=1e-5)
    for name, p in run.model.named_parameters():
        torch.testing.assert_close(p, model.get_parameter(name))


def test_without_a_step_it_is_plain_evaluation(run):
    plain = evaluate(run.model, run.task, "valid", 3)
    assert evaluate(run.model, run.task, "valid", 3, DynamicEvaluation(run.model, lr=0.0)) == pytest.approx(plain)


def test_it_learns_window_by_window_with_the_clipping_of_the_run(seqtrain, run, monkeypatch):
    asked = []

    def learn(model, **options):
        asked.append(options)
        return lambda loss: asked.append(loss)

    monkeypatch.setattr("seqtrain.inference.evaluate.DynamicEvaluation", learn)
    tokens = seqtrain("eval", "run", "--dynamic", 2, "task.window=11", "--json").json["data"]["tokens"]
    assert asked[0] == {"lr": 2.0, "decay": 0.0, "clip_norm": 0.1}
    assert len(asked) - 1 == -(-tokens // 11)


def test_what_diverges_says_so(seqtrain, run):
    diverged = seqtrain("eval", "run", "--dynamic", 1e30)
    assert (diverged.code, diverged.out) == (3, "")
    assert "dynamic evaluation diverged: the loss of a window is" in diverged.err
    assert "--dynamic is 1e+39; its size must be at most 1e+38" in seqtrain("eval", "run", "--dynamic", "1e39").err
    refused = seqtrain("eval", "run", "--dynamic", "inf")
    assert refused.code == 2
    assert "it must be a finite learning rate" in refused.err
    refused = seqtrain("eval", "run", "task.window=3")
    assert refused.code == 2
    assert "task.window changes nothing" in refused.err
    varied = ("task.vary_window=true", "task.window=12")
    assert "task.vary_window: belongs to the weights" in seqtrain("eval", "run", "--dynamic", 1, *varied).err


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """A run that is better than the baseline."""
    path = tmp_path_factory.mktemp("learnt") / "run"
    train_run(load_config("words", [*SMALL, "model.hidden_size=16", "train.steps=40", "optimizer.lr=0.02"]), path)
    return path


def test_a_learning_rate_that_does_harm_is_named(seqtrain, learnt):
    harm = seqtrain("eval", learnt, "--dynamic", "1e6", "--json")
    assert (harm.code, harm.json["loss"] > harm.json["baseline"]["loss"]) == (0, True)
    told = harm.err.splitlines()[-1]
    assert told.startswith("--dynamic 1e+06: perplexity ")
    assert told.endswith(
        f" is no better than the baseline's {harm.json['baseline']['perplexity']:.4g}; the learning rate is too large, "
        "lower it (unless it is as bad without --dynamic)"
    )
    assert seqtrain("eval", learnt, "--dynamic", "1e6", "--quiet").err == ""
    helped = seqtrain("eval", learnt, "--dynamic", "0.1", "--json")
    assert (helped.err, helped.json["loss"] < helped.json["baseline"]["loss"]) == ("", True)


def test_the_option(seqtrain, run):
    plain = seqtrain("eval", "run", "--json").json
    learnt = seqtrain("eval", "run", "--dynamic", 2, "--json").json
    drawn_back = seqtrain("eval", "run", "--dynamic", 2, "--dynamic-decay", 0.5, "--json").json
    assert (plain["dynamic"], learnt["dynamic"]) == (None, {"lr": 2.0, "decay": 0.0})
    table = seqtrain("eval", "run", "--dynamic", 2).out
    assert "lr 2, decay 0" in table
    assert "bits_per_character" in table
    assert learnt["loss"] < drawn_back["loss"] < plain["loss"]
    assert "there is no --dynamic to decay" in seqtrain("eval", "run", "--dynamic-decay", 0.5).err
    seqtrain("train", "quickstart", *SMALL, "--out", "adding")
    refused = seqtrain("eval", "adding", "--dynamic", 1)
    assert refused.code == 2
    assert "task adding has none" in refused.err
