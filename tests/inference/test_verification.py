"""`seqtrain check`: that its proofs succeed where they should, and fail on cells that break a promise."""

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import SMALL, SMALL_SETS

from seqtrain.config import load_config
from seqtrain.inference import verification as check
from seqtrain.inference.load import restore
from seqtrain.runs.checkpoint import load_checkpoint, save_checkpoint
from seqtrain.runs.trainer import train_run

BROKEN = '''
import os
import torch
from seqtrain.cells import HiddenState
from seqtrain.cells.rnn import RNNCell

class Sound(RNNCell):
    """Nothing is wrong with it."""

class Noisy(RNNCell):
    def step(self, x_gates, state):
        return HiddenState(super().step(x_gates, state).hidden + 1e-6 * os.urandom(1)[0])

class Counting(RNNCell):
    """What it has seen is in no checkpoint."""
    calls = 0
    def step(self, x_gates, state):
        self.calls += 1
        return HiddenState(super().step(x_gates, state).hidden * (1 + 1e-6 * self.calls))

class Foreseeing(RNNCell):
    def project(self, x):
        return super().project(x) + 1e-3 * super().project(x.flip(0))

class Gregarious(RNNCell):
    def step(self, x_gates, state):
        hidden = super().step(x_gates, state).hidden
        return HiddenState(hidden - 0.1 * hidden.mean(0))

class Whispering(RNNCell):
    def step(self, x_gates, state):
        hidden = super().step(x_gates, state).hidden
        return HiddenState(hidden - 1e-3 * hidden.mean(0))

class Careless(RNNCell):
    def step(self, x_gates, state):
        return super().step(x_gates, HiddenState(state.hidden.detach()))
'''


@pytest.fixture(autouse=True)
def _in_folder_of_cells(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("broken.py").write_text(BROKEN)
    yield
    sys.modules.pop("broken", None)


def trained(*overrides, name="quickstart", out="whole"):
    sets = () if name in ("words", "timing") else SMALL_SETS
    short = ("task.length=9",) if name == "quickstart" else ()
    config = check.shortened(load_config(name, [*SMALL, *sets, *short, *overrides]))
    train_run(config, Path(out), quiet=True)
    restored = restore(Path(out))
    return config, restored, restored.task.train_batch(0, 4)


def test_all_promises_hold_and_the_verb_says_so(seqtrain):
    done = seqtrain("check", "quickstart", *SMALL, *SMALL_SETS, "model.input_dropout=0.2", "--json")
    assert done.code == 0
    assert done.json["holds"] is True
    assert [(row["promise"], row["holds"]) for row in done.json["promises"]] == [
        ("determinism", True), ("resume", True), ("test set", True), ("causality", True), ("batch", True),
        ("padding", True), ("gradients", True),
    ]  # fmt: skip
    assert list(Path().iterdir()) == [Path("broken.py")]


def test_what_no_checkpoint_holds_breaks_the_resume_alone(seqtrain, quick_check):
    done = seqtrain("check", "quickstart", *SMALL, *SMALL_SETS, "task.length=9", "model.cell=broken:Counting")
    assert done.code == 4
    assert "resume does not hold" in done.err
    assert "killed after step 7 and resumed: last.safetensors, best.safetensors, metrics.jsonl differ" in done.err
    rows = {line.split()[0]: line for line in done.out.splitlines() if line.strip()}
    assert (" yes " in rows["determinism"], " NO " in rows["resume"]) == (True, True)


@pytest.mark.parametrize(
    ("codes", "holds", "told"),
    [
        ((-signal.SIGKILL, 0), True, "the same bytes"),
        ((0, 0), False, "the run could not be killed, it ended with 0: what it said"),
        ((-signal.SIGKILL, 2), False, "--resume failed: what it said"),
    ],
)
def test_the_resume_is_proved_only_by_a_kill_and_a_run_that_ends_well(monkeypatch, codes, holds, told):
    """Whatever files there are then. Both have the threads that this process has."""
    config, _, _ = trained()
    left = list(codes)

    def process(command, **_):
        assert load_config("config.yaml", []).threads == torch.get_num_threads()
        shutil.copytree("whole", "resumed", dirs_exist_ok=True)
        return subprocess.CompletedProcess(command, left.pop(0), b"", b"what it said")

    monkeypatch.setattr(check.subprocess, "run", process)
    finding = check.resume(config, Path())
    assert (finding.holds, told in finding.found) == (holds, True)


@pytest.mark.parametrize(
    ("code", "step", "holds", "told"),
    [
        (0, 0, True, "trained on 3 processes: the same bytes"),
        (0, 1, False, "trained on 3 processes: last.safetensors differ"),
        (1, 0, False, "3 processes of torchrun failed: what it said"),
    ],
)
def test_processes_are_proved_by_the_same_bytes_of_several(monkeypatch, code, step, holds, told):
    config, _, _ = trained("train.shards=3", "train.batch_size=6")

    def process(command, **_):
        assert "--nproc-per-node=3" in command  # as 2 does not divide the shards
        shutil.copytree("whole", "shared")
        checkpoint = load_checkpoint(Path("whole/last.safetensors"))
        header = checkpoint.header.model_copy(update={"step": checkpoint.header.step + step})
        save_checkpoint(Path("shared/last.safetensors"), checkpoint._replace(header=header))
        return subprocess.CompletedProcess(command, code, b"", b"what it said")

    monkeypatch.setattr(check.subprocess, "run", process)
    finding = check.processes(config, Path())
    assert (finding.holds, told in finding.found) == (holds, True)


def test_the_short_runs_are_never_out_of_patience(monkeypatch):
    """As they would be where no evaluation gives a finite figure; the kill comes after the first."""
    monkeypatch.setattr(
        "seqtrain.training.loop.evaluate", lambda *_: {"loss": 1e3, "mse": float("inf"), "accuracy": 0.0}
    )
    config = check.shortened(load_config("quickstart", [*SMALL, *SMALL_SETS, "train.patience=1"]))
    assert train_run(config, Path("whole"), quiet=True).summary.steps == check.STEPS


@pytest.mark.parametrize(("cell", "holds"), [("Sound", True), ("Noisy", False)])
def test_determinism_fails_where_something_is_not_seeded(cell, holds):
    config, _, _ = trained(f"model.cell=broken:{cell}")
    assert check.determinism(config, Path()).holds is holds


def test_the_test_set_is_proved_by_its_hash_and_by_its_figures():
    config, _, _ = trained()
    assert check.same_test_set(config, Path()).holds is True
    summary = json.loads(Path("whole/summary.json").read_text())
    Path("whole/summary.json").write_text(json.dumps(summary | {"test": summary["test"] | {"mse": 1.0}}))
    assert check.same_test_set(config, Path()).holds is False
    checkpoint = load_checkpoint(Path("whole/best.safetensors"))
    checkpoint.header.fingerprints["test"] = "0" * 64
    save_checkpoint(Path("whole/best.safetensors"), checkpoint)
    assert "the test data are not those it was trained with" in check.same_test_set(config, Path()).found


@pytest.mark.parametrize(("cell", "holds"), [("Sound", True), ("Foreseeing", False)])
def test_causality_fails_where_a_cell_looks_ahead(cell, holds):
    _, restored, batch = trained(f"model.cell=broken:{cell}")
    assert check.causality(restored.model, batch, "forward").holds is holds


def test_causality_does_not_apply_where_looking_ahead_is_asked_for():
    _, restored, batch = trained("model.direction=bidirectional")
    assert check.causality(restored.model, batch, "bidirectional").holds is None
    assert check.causality(restored.model, batch, "forward").holds is False


def test_causality_finds_another_future_or_says_that_there_is_none():
    _, restored, _ = trained("task.length=2", "model.cell=broken:Foreseeing")
    assert check.causality(restored.model, restored.task.train_batch(0, 1), "forward").holds is False
    _, restored, batch = trained("model.cell=broken:Foreseeing", "task.length=5", name="copy-memory", out="symbols")
    alike = replace(batch, inputs=torch.zeros_like(batch.inputs))
    assert check.causality(restored.model, alike, "forward").holds is None


def test_gradients_fail_where_one_is_missing_or_no_number(monkeypatch):
    _, restored, batch = trained()
    original = check._gradients
    for spoil in (lambda found: found["head.weight"].fill_(float("nan")), lambda found: found.pop("head.weight")):

        def spoilt(restored, model, batch, spoil=spoil):
            found = original(restored, model, batch)
            if model is restored.model:
                spoil(found)
            return found

        monkeypatch.setattr(check, "_gradients", spoilt)
        finding = check.gradients(restored, batch)
        assert (finding.holds, "head.weight differs most, by inf" in finding.found) == (False, True)


def test_a_small_gradient_is_held_to_its_own_size(monkeypatch):
    _, restored, batch = trained()
    original, small = check._gradients, []

    def spoilt(restored, model, batch):
        found = original(restored, model, batch)
        sizes = {name: gradient.abs().max().item() for name, gradient in found.items()}
        small.append(min(sizes, key=sizes.__getitem__))
        norm = sum(gradient.square().sum() for gradient in found.values()).sqrt()
        assert 1e-5 * norm < sizes[small[0]] < 0.1 * norm
        if model is restored.model:
            found[small[0]] *= 1.005
        return found

    monkeypatch.setattr(check, "_gradients", spoilt)
    finding = check.gradients(restored, batch)
    assert (finding.holds, f"{small[0]} differs most, by 0.005" in finding.found) == (False, True)


def test_gradients_of_a_model_in_bfloat16_are_checked_in_float32(monkeypatch):
    monkeypatch.setenv("SEQTRAIN_BFLOAT16", "emulated")
    _, restored, batch = trained("precision=bfloat16", out="rounded")
    finding = check.gradients(restored, batch)
    assert finding.holds is True
    apart = float(finding.found.rpartition(" ")[2])
    assert 1e-4 < apart < 0.1
    assert restored.model.precision == "bfloat16"


@pytest.mark.parametrize(("cell", "holds"), [("Sound", True), ("Gregarious", False), ("Whispering", False)])
def test_padding_fails_where_sequences_see_each_other(cell, holds):
    _, restored, batch = trained(f"model.cell=broken:{cell}")
    assert check.independence(restored.model, batch).holds is holds
    assert check.padding(restored.model, batch).holds is holds


def test_padding_fails_where_the_last_state_is_that_of_the_padding():
    """The outputs of the sequence's own steps are right; a prediction would come from beyond them."""
    _, restored, batch = trained()
    loop = restored.model.stack.loop

    def unroll(cell, x, state=None, *, lengths=None, **options):
        return loop.unroll(cell, x, state, **options)

    restored.model.stack.loop = loop._replace(unroll=unroll)
    assert check.independence(restored.model, batch).holds is True
    assert check.padding(restored.model, batch).holds is False


def test_a_sequence_has_batch_mates_whatever_the_batch_size(monkeypatch):
    """Nothing but this one is asked here: the others have tests of their own."""
    true = check.Finding("", True, "")
    for promise in ("determinism", "resume", "same_test_set", "causality", "gradients"):
        monkeypatch.setattr(check, promise, lambda *_: true)
    config = load_config("quickstart", [*SMALL, *SMALL_SETS, "task.length=9", "model.cell=broken:Gregarious"])
    alone = config.model_copy(update={"train": config.train.model_copy(update={"batch_size": 1})})
    found = {finding.promise: finding for finding in check.check_promises(alone)}
    assert (found["batch"].holds, "beside 7 others" in found["batch"].found) == (False, True)
    assert found["padding"] == ("padding", None, "see batch: the sequences change each other's outputs")


@pytest.mark.parametrize(("cell", "holds"), [("Sound", True), ("Careless", False)])
def test_gradients_fail_where_they_are_not_the_slope(cell, holds):
    _, restored, batch = trained(f"model.cell=broken:{cell}")
    assert check.gradients(restored, batch).holds is holds


@pytest.mark.parametrize("value_too", [True, False])
def test_gradients_fail_where_the_engine_is_wrong(value_too):
    """Also where its values are, so that its gradients are the slopes of a loss, though of a wrong one."""
    _, restored, batch = trained()
    assert check.gradients(restored, batch).holds is True
    loop = restored.model.stack.loop

    def off(cell, x, state=None, **options):
        outputs, final = loop.unroll(cell, x, state, **options)
        excess = final.hidden if value_too else final.hidden - final.hidden.detach()
        return outputs, final._replace(hidden=final.hidden + 0.01 * excess)

    restored.model.stack.loop = loop._replace(unroll=off)
    assert check.gradients(restored, batch).holds is False


@pytest.mark.parametrize(
    ("name", "overrides"),
    [("words", ()), ("lookaround", ()), ("embedded-reber", ("model.cell=gru",)), ("two-sequence", ()), ("timing", ())],
)
def test_promises_of_the_model_hold_on_other_kinds_of_tasks(name, overrides):
    _, restored, batch = trained(*overrides, name=name)
    direction = restored.config.model.direction
    assert check.causality(restored.model, batch, direction).holds is (True if direction == "forward" else None)
    assert check.independence(restored.model, batch).holds is True
    assert check.padding(restored.model, batch).holds is True
    assert check.gradients(restored, batch).holds is True


def test_a_run_that_cannot_be_made_is_said_with_its_exit_code(seqtrain):
    wild = ("optimizer=sgd", "optimizer.lr=1e38", "optimizer.clip_norm=null")
    diverged = seqtrain("check", "quickstart", *SMALL, *SMALL_SETS, *wild)
    assert diverged.code == 3
    assert "try a lower optimizer.lr" in diverged.err
