"""The mean of the weights: what it is, when it begins, and that it survives an interruption."""

import copy
from pathlib import Path

import pytest
import torch
from conftest import SMALL
from torch import nn

import seqtrain.training.loop
from seqtrain.config import load_config
from seqtrain.config.build import build_task
from seqtrain.inference.evaluate import evaluate as evaluate_checkpoint
from seqtrain.runs.checkpoint import load_checkpoint
from seqtrain.runs.directory import RunDir
from seqtrain.runs.trainer import train_run
from seqtrain.system.errors import CheckpointError
from seqtrain.training.averaging import averaged

EVALUATE = seqtrain.training.loop.evaluate


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_it_is_the_mean_of_all_that_was_added():
    model, seen = nn.Linear(30, 20), []
    average, wanted = averaged(model), {}
    for count in range(1, 60):
        for name, parameter in model.named_parameters():
            parameter.data.normal_()
            weights = parameter.detach().clone()
            wanted[name] = weights if count == 1 else wanted[name].lerp(weights, 1 / count)
        average.update_parameters(model)
        seen.append(copy.deepcopy(model.state_dict()))
    for name, mean in average.module.named_parameters():
        torch.testing.assert_close(mean.data, torch.stack([one[name] for one in seen]).double().mean(0).float())
        assert torch.equal(mean, wanted[name])  # to the last bit, so that figures can be repeated
    assert all(torch.equal(parameter, seen[-1][name]) for name, parameter in model.named_parameters())


def averaging(*overrides):
    return load_config("words", [*SMALL, "train.average_after=1", "train.steps=12", "optimizer.lr=0.05", *overrides])


def rising(monkeypatch, losses):
    """Let the evaluations find these validation losses, one after another."""
    found = iter(losses)

    def evaluate(*arguments):
        return EVALUATE(*arguments) | {"loss": next(found)}

    monkeypatch.setattr(seqtrain.training.loop, "evaluate", evaluate)


@pytest.mark.parametrize(
    ("after", "losses", "begins"),
    [
        (0, [3, 2, 2.5, 1, 1, 1], 3),
        (1, [3, 2, 2.5, 2.6, 1, 1], 4),
        (2, [3, 2, 2.5, 3.5, 1, 1], 4),
        (5, [3] * 6, None),
        (3, [1, 2, 3, 4, 5, 6], 5),
        (4, [3, 2, 2.5, 2.6, 3.5, 3.5], 6),
        (5, [3, 2, 2.5, 2.6, 3.5, 3.5], None),
    ],
)
def test_it_begins_when_an_evaluation_is_worse_than_the_best_of_all_but_the_last(monkeypatch, after, losses, begins):
    rising(monkeypatch, losses)
    monkeypatch.setattr(seqtrain.runs.trainer, "_test_figures", lambda *_: None)
    train_run(averaging(f"train.average_after={after}"), Path("run"), quiet=True)
    averaged_steps = load_checkpoint(Path("run/last.safetensors")).header.training.averaged
    assert averaged_steps == (None if begins is None else 12 - 2 * begins)  # an evaluation every two steps


def test_what_is_evaluated_is_the_mean_and_resuming_goes_on_as_if_nothing_had_been(monkeypatch):
    with monkeypatch.context() as patch:
        rising(patch, [3, 2, 9, 9, 9, 9])
        patch.setattr(seqtrain.runs.trainer, "_test_figures", lambda *_: None)
        train_run(averaging(), Path("whole"), quiet=True)
        rising(patch, [3, 2, 9, 9])
        train_run(averaging("train.steps=8"), Path("parts"), quiet=True)
        rising(patch, [9, 9])
        train_run(averaging(), Path("parts"), resume=True, quiet=True)
    whole, parts = (load_checkpoint(Path(name, "last.safetensors")) for name in ("whole", "parts"))
    for name, weights in whole.weights.items():
        assert torch.equal(weights, parts.weights[name])
        assert torch.equal(whole.training[f"own/{name}"], parts.training[f"own/{name}"])
    assert not torch.equal(whole.weights["head.weight"], whole.training["own/head.weight"])


def test_the_last_record_is_that_of_the_last_checkpoint():
    train_run(averaging("train.average_after=0", "optimizer.lr=5"), Path("run"), quiet=True)
    assert load_checkpoint(Path("run/last.safetensors")).header.training.averaged > 0
    last = [record for record in RunDir(Path("run")).read_metrics() if record.split == "valid"][-1]
    assert evaluate_checkpoint(Path("run/last.safetensors"), split="valid").figures["loss"] == last.loss


def test_epochs_evaluate_after_each_and_windows_scale_the_learning_rate(text_folder):
    common = [f"task.path={text_folder}", "train.steps=null", "train.epochs=3", "train.eval_every=null"]
    config = averaging("train.average_after=null", "schedule=constant", "train.log_every=1", *common)
    outcome = train_run(config, Path("run"), quiet=True)
    evaluated = [record.step for record in RunDir(Path("run")).read_metrics() if record.split == "valid"]
    assert evaluated == [3, 6, 9] == [outcome.summary.steps // 3 * n for n in (1, 2, 3)]
    varied = replace_task(config, vary_window=True, window=12)
    train_run(varied, Path("varied"), quiet=True)
    trained = [record for record in RunDir(Path("varied")).read_metrics() if record.split == "train"]
    rates = {round(record.lr / config.optimizer.lr * 12, 6) for record in trained}
    assert len(rates) > 2
    assert all(rate == round(rate) >= 5 for rate in rates)


def replace_task(config, **changes):
    return config.model_copy(update={"task": config.task.model_copy(update=changes)})


def test_epochs_may_be_added_but_not_turned_into_steps(text_folder):
    common = [f"task.path={text_folder}", "train.steps=null", "train.eval_every=null", "train.average_after=null"]
    train_run(averaging("train.epochs=1", *common), Path("run"), quiet=True)
    longer = train_run(averaging("train.epochs=2", *common), Path("run"), resume=True, quiet=True)
    assert longer.summary.steps == 6
    with pytest.raises(
        CheckpointError, match=r"counts its training in epochs.*; set train\.epochs instead of train\.steps"
    ):
        train_run(averaging("train.steps=50", *common[:1], *common[2:]), Path("run"), resume=True, quiet=True)


def test_the_seed_draws_the_windows(text_folder):
    common = [f"task.path={text_folder}", "task.vary_window=true", "task.window=12"]
    first, other = (build_task(load_config("words", [*SMALL, *common, f"seed={seed}"])) for seed in (0, 1))
    sizes = [[len(task.train_batch(step, 1).inputs) for step in range(8)] for task in (first, other)]
    assert sizes[0] != sizes[1]
