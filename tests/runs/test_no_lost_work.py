"""A run that is stopped anywhere, by anything, loses nothing older and ends as if it had not been stopped."""

import errno
import functools
import os
import re
import shutil
import signal
import stat
import time
from pathlib import Path

import pytest
from conftest import SMALL, SMALL_SETS

import seqtrain.tasks.marked_numbers
import seqtrain.training.loop
from seqtrain.config import load_config
from seqtrain.runs.checkpoint import load_checkpoint, save_checkpoint
from seqtrain.runs.directory import RunDir
from seqtrain.runs.records import MetricsRecord
from seqtrain.runs.trainer import train_run
from seqtrain.system import files
from seqtrain.system.errors import CheckpointError, ConfigError
from seqtrain.system.files import UnwritableError, append_line, flush_to_disk, write_whole

TIMING = ("elapsed_s", "sequences_per_s", "tokens_per_s")


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@functools.cache
def small(*overrides):
    return load_config("quickstart", [*SMALL, *SMALL_SETS, "train.steps=7", "train.save_every=3", *overrides])


def run(config, out="run", **options):
    return train_run(config, Path(out), quiet=True, **options)


def untimed(record):
    return {key: value for key, value in record.as_json().items() if key not in TIMING}


def assert_same_runs(one, other):
    """The same checkpoints, byte for byte, and the same records and summary but for what a clock says."""
    for name in ("last.safetensors", "best.safetensors", "config.yaml"):
        assert Path(one, name).read_bytes() == Path(other, name).read_bytes(), name
    first, second = RunDir(Path(one)), RunDir(Path(other))
    assert [untimed(record) for record in first.read_metrics()] == [untimed(record) for record in second.read_metrics()]
    assert untimed(first.read_summary()) == untimed(second.read_summary())
    assert {path.name for path in Path(one).iterdir()} == {path.name for path in Path(other).iterdir()}


class KilledError(BaseException):
    """As a kill would: nothing catches it but to put things back that die with a process anyway."""


class Saboteur:
    """Lets so many operations on files of a run succeed, and then none."""

    def __init__(self, monkeypatch, folder, after, error):
        self.folder, self.left, self.error, self.met = Path(folder), after, error, 0
        for owner, name in (
            (Path, "open"), (Path, "replace"), (Path, "unlink"), (Path, "touch"), (os, "truncate"), (os, "fsync"),
        ):  # fmt: skip
            monkeypatch.setattr(owner, name, self._guarded(getattr(owner, name), name))

    def _guarded(self, original, name):
        def operation(target, *arguments, **options):
            writes = name != "open" or "r" not in (arguments or ("r",))[0]
            ours = name == "fsync" or Path(target).parent == self.folder
            if writes and ours:
                self.met += 1
                self.left -= 1
                if self.left < 0 and (self.error is not None or self.left == -1):
                    raise self.error or KilledError
            return original(target, *arguments, **options)

        return operation


@pytest.fixture
def quick_disk(monkeypatch):
    """A disk that nobody waits for: what is asked here is the order of the operations."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def operations(monkeypatch, **options):
    """How many operations on files a run takes."""
    with monkeypatch.context() as patched:
        counter = Saboteur(patched, "counted", 10**9, None)
        run(small(), "counted", **options)
    return counter.met


def test_killed_at_any_write_a_run_goes_on_to_the_same_end(monkeypatch, quick_disk):
    """Every place between two operations on files, and all of them on the way of the second attempt too."""
    run(small(), "whole")
    total = operations(monkeypatch)
    assert total > 30
    for after in range(total):
        shutil.rmtree("run", ignore_errors=True)
        for _ in range(2):
            with monkeypatch.context() as patched, pytest.raises(KilledError):
                Saboteur(patched, "run", after, None)
                run(small(), resume=Path("run").exists())
                raise KilledError  # the second attempt had fewer to do
        run(small(), resume=True)
        assert_same_runs("whole", "run")


def test_a_disk_that_is_full_from_any_write_on_keeps_what_was_saved(monkeypatch, quick_disk):
    """A clear error; the checkpoints that were saved load; with room again the run ends as it should."""
    run(small(), "whole")
    full = OSError(errno.ENOSPC, "No space left on device")
    for after in range(operations(monkeypatch)):
        shutil.rmtree("run", ignore_errors=True)
        with monkeypatch.context() as patched, pytest.raises((UnwritableError, OSError)) as caught:
            Saboteur(patched, "run", after, full)
            run(small())
        assert "No space left on device" in str(caught.value)
        for checkpoint in Path("run").glob("*.safetensors"):
            assert load_checkpoint(checkpoint).header.step
        run(small(), resume=True)
        assert_same_runs("whole", "run")


def test_what_cannot_be_written_is_named_and_leaves_no_trace(monkeypatch, seqtrain):
    write_whole(Path("file"), b"old")
    with monkeypatch.context() as patched:
        patched.setattr(files.os, "fsync", _full)
        with pytest.raises(
            UnwritableError, match=r"^file: cannot be written .No space left on device.; what was saved"
        ):
            write_whole(Path("file"), b"new")
        assert (Path("file").read_bytes(), [path.name for path in Path().iterdir()]) == (b"old", ["file"])
        failed = seqtrain("train", "quickstart", *SMALL, *SMALL_SETS, "--out", "run")
    assert failed.code == 2
    assert "run/config.yaml: cannot be written (No space left on device)" in failed.err


def _full(_):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("overrides", "saved"),
    [((), [3, 6, 7]), (("train.save_every_s=1e-9",), [1, 2, 3, 4, 5, 6, 7, 7]), (("train.save_every=null",), [7])],
)
def test_last_is_saved_after_so_many_steps_or_seconds(monkeypatch, overrides, saved):
    """And at the evaluation that ends the run: once after it, and before it if the seconds have passed."""
    found = []
    original = seqtrain_run().save_checkpoint

    def save(path, content):
        if path.name == "last.safetensors":
            found.append(content.header.step)
        original(path, content)

    monkeypatch.setattr(seqtrain_run(), "save_checkpoint", save)
    run(small("train.eval_every=100", *overrides))
    assert found == saved


def test_seconds_between_two_saves_count_from_the_last_save_of_any_kind(monkeypatch):
    """On a clock on which each step takes an hour: a save after three, at the evaluation, and at the end."""
    start, hours, saved, module = time.monotonic(), [0], [], seqtrain_run()
    step, save = seqtrain.training.loop.train_step, module.save_checkpoint
    monkeypatch.setattr(
        "seqtrain.training.loop.train_step", lambda *arguments: (step(*arguments), hours.append(hours[-1] + 1))
    )
    monkeypatch.setattr("time.monotonic", lambda: start + 3600 * hours[-1])
    monkeypatch.setattr(module, "save_checkpoint", lambda path, one: (saved.append(one.header.step), save(path, one)))
    run(small("train.eval_every=5", "train.save_every=null", "train.save_every_s=9000"))
    assert sorted(set(saved)) == [3, 5, 7]


def after_each_batch(patch, does):
    """Let something happen after each batch of an evaluation during training."""
    evaluate = seqtrain.training.loop.evaluate

    def patched(model, task, split, size, learn, on_batch, group):
        return evaluate(model, task, split, size, learn, lambda: (does(), on_batch()), group)

    patch.setattr("seqtrain.training.loop.evaluate", patched)


@pytest.fixture
def slow(monkeypatch):
    """A clock on which a step and a batch of an evaluation take an hour each."""
    start, hours, step = time.monotonic(), [0], seqtrain.training.loop.train_step

    def an_hour():
        hours[0] += 1

    with monkeypatch.context() as patch:
        patch.setattr("seqtrain.training.loop.train_step", lambda *arguments: (step(*arguments), an_hour()))
        after_each_batch(patch, an_hour)
        patch.setattr("time.monotonic", lambda: start + 3600 * hours[0])
        yield patch


LONG_EVALUATIONS = ("train.save_every=null", "train.save_every_s=9000", "train.eval_batch_size=4")


def test_what_was_trained_is_saved_during_a_long_evaluation(slow):
    """Two steps, then three batches: the save is due after the first of them."""
    saved, save = [], seqtrain_run().save_checkpoint

    def note(path, one):
        if path.name == "last.safetensors":
            saved.append((one.header.step, one.header.training.evaluated_at))
        save(path, one)

    slow.setattr(seqtrain_run(), "save_checkpoint", note)
    run(small("train.steps=4", *LONG_EVALUATIONS))
    assert saved == [(2, 0), (2, 2), (4, 2), (4, 4)]


@pytest.mark.parametrize("saves", [1, 2])
def test_a_kill_after_a_long_evaluation_repeats_it(slow, saves):
    """The last checkpoint is of before the evaluation; its record, and perhaps the best checkpoint, are there."""
    whole, save, left = small("train.steps=4", *LONG_EVALUATIONS), seqtrain_run().save_checkpoint, [saves]

    def killing(path, one):
        if not left[0]:
            raise KilledError
        left[0] -= 1
        save(path, one)

    slow.setattr(seqtrain_run(), "save_checkpoint", killing)
    with pytest.raises(KilledError):
        run(whole)
    slow.setattr(seqtrain_run(), "save_checkpoint", save)
    assert [record.split for record in RunDir(Path("run")).read_metrics()] == ["train", "valid"]
    assert Path("run/best.safetensors").exists() == (saves == 2)
    assert load_checkpoint(Path("run/last.safetensors")).header.step == 2
    run(whole, resume=True)
    run(whole, "whole")
    assert_same_runs("run", "whole")


def test_a_signal_during_an_evaluation_saves_at_once(monkeypatch):
    """A batch system kills soon after it."""
    saved, save = [], seqtrain_run().save_checkpoint
    after_each_batch(monkeypatch, lambda: None if saved else os.kill(os.getpid(), signal.SIGTERM))
    monkeypatch.setattr(
        seqtrain_run(), "save_checkpoint", lambda path, one: (saved.append(one.header.training), save(path, one))
    )
    assert run(small("train.eval_batch_size=4")).exit_code == 143
    assert [one and one.evaluated_at for one in saved] == [0, None, 2, 2]


def seqtrain_run():
    import seqtrain.runs.run

    return seqtrain.runs.run


def test_records_are_on_the_disk_before_the_checkpoint_that_knows_of_them(monkeypatch):
    done = []
    module = seqtrain_run()
    flush, save = module.RunDir.flush_metrics, module.save_checkpoint
    monkeypatch.setattr(module.RunDir, "flush_metrics", lambda self: (done.append("records"), flush(self)))
    monkeypatch.setattr(module, "save_checkpoint", lambda path, content: (done.append(path.name), save(path, content)))
    run(small("train.eval_every=100", "train.save_every=null"))
    assert done == ["records", "best.safetensors", "last.safetensors"]


@pytest.mark.parametrize("record", ['{"step": "a", "split": "train", "elapsed_s": 1.0}', '{"step": 1, "split": "x"}'])
def test_a_record_that_is_none_is_said_with_its_line(record):
    run(small("train.steps=4"))
    lines = Path("run/metrics.jsonl").read_text().splitlines()
    Path("run/metrics.jsonl").write_text("\n".join([record, *lines]) + "\n")
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl:1: is not a record of a run"):
        run(small(), resume=True)


def test_a_process_that_builds_its_model_keeps_others_out(monkeypatch):
    """The directory is locked before anything in it is read."""
    original = seqtrain_run().build_task
    run(small("train.steps=4"))
    before = {file.name: file.read_bytes() for file in Path("run").iterdir()}

    def build(*arguments, **options):
        monkeypatch.setattr(seqtrain_run(), "build_task", original)
        for option in ({}, {"resume": True}, {"overwrite": True}):
            with pytest.raises(CheckpointError, match=r"^run: another process is running in it; wait for it"):
                run(small(), **option)
        assert {file.name: file.read_bytes() for file in Path("run").iterdir() if file.is_file()} == before
        return original(*arguments, **options)

    monkeypatch.setattr(seqtrain_run(), "build_task", build)
    assert run(small(), resume=True).summary.steps == 7


@pytest.mark.parametrize("option", [{}, {"resume": True}, {"overwrite": True}])
def test_a_directory_that_was_made_for_a_config_that_is_refused_is_removed(option):
    """With the folders above it, as far as they were made and are empty."""
    refused = small("device=cuda:7")
    with pytest.raises(ConfigError, match="device is 'cuda:7'"):
        run(refused, "made/run", **option)
    assert not Path("made").exists()
    Path("kept").mkdir()
    Path("own/run").mkdir(parents=True)
    for out in ("kept/run", "own/run"):
        with pytest.raises(ConfigError, match="device is 'cuda:7'"):
            run(refused, out, **option)
    assert [Path("kept").exists(), Path("kept/run").exists(), Path("own/run").exists()] == [True, False, True]


def test_nothing_is_removed_before_all_is_built():
    run(small("train.steps=4"))
    before = {file.name: file.read_bytes() for file in Path("run").iterdir()}
    with pytest.raises(ConfigError, match="device is 'cuda:7'"):
        run(small("device=cuda:7"), overwrite=True)
    assert {file.name: file.read_bytes() for file in Path("run").iterdir()} == before


@pytest.mark.parametrize(("number", "ends_well"), [("EINVAL", True), ("ENOSYS", True), ("EIO", False)])
def test_a_folder_that_cannot_be_flushed_is_let_be_but_a_broken_disk_is_not(monkeypatch, number, ends_well):
    original = os.fsync

    def refuse(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(getattr(errno, number), "refused")
        original(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    if ends_well:
        assert run(small()).summary.status == "finished"
    else:
        with pytest.raises(UnwritableError, match="cannot be written"):
            run(small())


def test_a_run_that_stands_past_its_last_evaluation_may_end_there(monkeypatch):
    """Killed at step 6, saved at 6, and now to have 6 steps in all: evaluated, with no throughput to record."""
    config = ("train.eval_every=100", "train.log_every=100")
    with monkeypatch.context() as patched, pytest.raises(KilledError):
        patched.setattr("seqtrain.runs.trainer.evaluate", _killed)
        patched.setattr("seqtrain.training.loop.evaluate", _killed)
        run(small(*config))
    assert run(small(*config, "train.steps=6"), resume=True).summary.steps == 6


def test_an_evaluation_at_once_after_a_resume_records_the_learning_rate_of_the_last_step(monkeypatch):
    """Not the one of the config: with a warmup of 9 steps, step 6 took 6 of 10 parts of it."""
    config = small("train.eval_every=100", "train.steps=6", "schedule.warmup=9", "optimizer.lr=0.1")
    with monkeypatch.context() as patched, pytest.raises(KilledError):
        patched.setattr("seqtrain.training.loop.evaluate", _killed)
        run(config)
    assert load_checkpoint(Path("run/last.safetensors")).header.step == 3
    run(small("train.eval_every=100", "train.steps=3", "schedule.warmup=9", "optimizer.lr=0.1"), resume=True)
    (record,) = (one for one in RunDir(Path("run")).read_metrics() if one.split == "valid")
    assert (record.step, record.lr) == (3, pytest.approx(0.03))


def _killed(*_):
    raise KilledError


def test_a_run_that_goes_on_has_no_summary_until_it_ends():
    """If it is killed now, no summary says that it has ended."""
    run(small("train.steps=4"))
    there = []
    run(small(), resume=True, on_record=lambda _: there.append(Path("run/summary.json").exists()))
    assert there
    assert not any(there)
    assert Path("run/summary.json").exists()


def test_what_cannot_be_saved_is_refused_before_the_first_step(monkeypatch):
    monkeypatch.setattr("seqtrain.runs.checkpoint.MOST_VALUES", 1)
    with pytest.raises(CheckpointError, match="is too large for a checkpoint"):
        run(small())
    assert not Path("run").exists()


def test_a_summary_of_another_run_is_replaced_though_nothing_is_left_to_train():
    own = run(small()).summary
    RunDir(Path("run")).write_summary(own.model_copy(update={"seed": own.seed + 1}))
    assert run(small(), resume=True).summary.seed == own.seed
    assert RunDir(Path("run")).read_summary().seed == own.seed


def test_settings_that_may_change_may_also_change_before_there_is_a_checkpoint():
    wild = ("optimizer=sgd", "optimizer.lr=1e38", "optimizer.clip_norm=null")
    assert run(small(*wild)).exit_code == 3
    assert not Path("run/last.safetensors").exists()
    assert run(small(*wild, "train.on_divergence=skip"), resume=True).exit_code == 3


def test_sums_of_finite_steps_stay_finite():
    """In single precision two norms of 2e38 would add up to infinity, which no checkpoint may hold."""
    from seqtrain.config.build import build_model, build_optimizer, build_recipe, build_task
    from seqtrain.training.state import TrainState
    from seqtrain.training.step import update

    config = small()
    task = build_task(config)
    model = build_model(config, task.spec)
    state = TrainState(model, build_optimizer(config, model))
    recipe = build_recipe(config, task)
    for _ in range(2):
        update(state, recipe, task.train_batch(0, 4), 2e38, 2e38)
    assert (state.window_loss, state.window_norm) == pytest.approx((4e38, 4e38))


def test_a_torn_last_record_is_mended():
    run(small(), "whole")
    run(small("train.steps=4"))
    Path("run/metrics.jsonl").write_bytes(Path("run/metrics.jsonl").read_bytes() + b'{"step": 5, "spl')
    run(small(), resume=True)
    assert_same_runs("whole", "run")


def test_a_directory_that_took_the_place_of_another_is_not_written(monkeypatch):
    """The run of someone who removed the folder and started another there is not touched by the first."""
    other = {}
    original = RunDir.append

    def first_swap(self, record):
        if not other:
            other["moved"] = shutil.move("run", "moved")
            Path("run").mkdir()
        original(self, record)

    monkeypatch.setattr(RunDir, "append", first_swap)
    with pytest.raises(CheckpointError, match="another directory took its place; nothing was written there"):
        run(small())
    assert list(Path("run").iterdir()) == []


def test_a_folder_that_is_removed_is_said(monkeypatch):
    original = RunDir.append

    def remove_first(self, record):
        shutil.rmtree("run", ignore_errors=True)
        original(self, record)

    monkeypatch.setattr(RunDir, "append", remove_first)
    with pytest.raises(UnwritableError, match=r"run/metrics\.jsonl: cannot be written .No such file or directory"):
        run(small())


def test_a_finished_run_that_is_extended_is_as_if_it_had_been_so_long_from_the_start():
    run(small("train.steps=4"))
    assert RunDir(Path("run")).read_summary().steps == 4
    run(small(), resume=True)
    run(small(), "whole")
    assert_same_runs("whole", "run")


def test_the_new_name_is_flushed_after_the_content(monkeypatch):
    """A rename that a power cut forgets would leave the old content under the name."""
    flushed = []

    def fsync(number):
        found = os.fstat(number)
        flushed.append("folder" if stat.S_ISDIR(found.st_mode) else found.st_size)

    monkeypatch.setattr(files.os, "fsync", fsync)
    write_whole(Path("file"), b"new")
    assert flushed == [3, "folder"]


def test_what_was_appended_is_flushed(monkeypatch):
    """A power cut would otherwise take records that a checkpoint knows of."""
    flushed = []
    monkeypatch.setattr(files.os, "fsync", lambda number: flushed.append(os.fstat(number)))
    append_line(Path("file"), "new")
    flush_to_disk(Path("file"))
    (found,) = flushed
    assert (os.path.samestat(found, Path("file").stat()), found.st_size) == (True, 4)


def test_two_files_of_a_folder_may_be_written_at_once(monkeypatch):
    """One writer is done while the other waits for the disk."""
    original, others = os.fsync, [b"second"]

    def fsync(number):
        original(number)
        if others:
            write_whole(Path("b"), others.pop())

    monkeypatch.setattr(files.os, "fsync", fsync)
    write_whole(Path("a"), b"first")
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == {"a": b"first", "b": b"second"}


def test_no_file_of_a_run_goes_into_another_directory():
    """Neither its metrics nor its summary."""
    mine = RunDir(Path("run"))
    record, summary = MetricsRecord(step=1, split="train", elapsed_s=1.0), run(small(), "other").summary
    mine.create()
    with mine.locked():
        shutil.move("run", "moved")
        Path("run").mkdir()
        for write in (lambda: mine.append(record), mine.flush_metrics, lambda: mine.write_summary(summary)):
            with pytest.raises(CheckpointError, match="another directory took its place"):
                write()
    assert not list(Path("run").iterdir())
    mine.append(record)  # nothing is locked any longer, so nothing has taken its place
    assert Path("run/metrics.jsonl").read_text() == '{"step": 1, "split": "train", "elapsed_s": 1.0}\n'


def test_a_directory_that_may_not_be_written_is_left_as_it_is(monkeypatch):
    """Asked of the system before anything is removed; root, who may run the tests, would be allowed all."""
    run(small("train.steps=4"))
    before = {file.name: file.read_bytes() for file in Path("run").iterdir()}
    monkeypatch.setattr(os, "access", lambda path, mode: (Path(path), mode) != (Path("run"), os.W_OK))
    with pytest.raises(CheckpointError, match=r"^run: is not writable; choose another directory with --out$"):
        run(small(), overwrite=True)
    assert {file.name: file.read_bytes() for file in Path("run").iterdir()} == before


@pytest.mark.parametrize("option", [{}, {"resume": True}])
@pytest.mark.parametrize(
    "name", ["config.yaml", "metrics.jsonl", "summary.json", "last.safetensors", "best.safetensors"]
)
def test_any_file_of_a_run_keeps_another_from_starting_there(name, option):
    """Under --resume too, as long as nothing says that it is of the same run."""
    Path("run").mkdir()
    Path("run", name).write_text("of a run")
    with pytest.raises(CheckpointError, match="--overwrite"):
        run(small(), **option)
    assert [(file.name, file.read_text()) for file in Path("run").iterdir()] == [(name, "of a run")]


def test_a_report_that_finds_no_room_leaves_the_one_before(monkeypatch, seqtrain):
    small_ones = (*SMALL, *SMALL_SETS, "--cells", "rnn,gru", "--seeds", 1, "--out", "o")
    assert seqtrain("compare", "quickstart", *small_ones).code == 0
    before = Path("o/results.json").read_bytes()
    monkeypatch.setattr(files.os, "fsync", _full)
    failed = seqtrain("compare", "o", "--level", "0.2")
    assert failed.code == 2
    assert re.search(r"o/\w+\.\w+: cannot be written .No space left on device", failed.err)
    assert Path("o/results.json").read_bytes() == before


@pytest.fixture
def best_at_2(monkeypatch):
    """A run of six steps, evaluated at 2, 4 and 6, whose metric grows from evaluation to evaluation."""
    values = iter(range(1, 100))
    original = seqtrain.training.loop.evaluate

    def growing(model, task, split, *others):
        means = original(model, task, split, *others)
        return means | {"mse": float(next(values))} if split == "valid" else means

    monkeypatch.setattr(seqtrain.training.loop, "evaluate", growing)
    run(small("train.steps=6", "train.save_every=1"))
    assert load_checkpoint(Path("run/best.safetensors")).header.step == 2


@pytest.mark.parametrize("steps", [6, 10])
def test_a_run_whose_best_checkpoint_was_removed_says_so(best_at_2, seqtrain, steps):
    """It counts with the best of the later evaluations, never as a run without any."""
    Path("run/best.safetensors").unlink()
    resumed = train_run(small(f"train.steps={steps}", "train.save_every=1"), Path("run"), resume=True).summary
    assert (resumed.lost_best_step, resumed.steps) == (2, steps)
    assert resumed.best.step == 6
    assert resumed.test is not None
    assert load_checkpoint(Path("run/best.safetensors")).header.step == resumed.best.step
    evaluated = seqtrain("eval", "run")
    assert (evaluated.code, "a better checkpoint of the run, of step 2, was removed" in evaluated.err) == (0, True)
    notes = seqtrain("compare", "run", "--out", "c", "--json").json["notes"]
    assert any("a better checkpoint was removed, and a later one counts, of run" in note for note in notes)
    again = run(small(f"train.steps={steps + 2}", "train.save_every=1"), resume=True).summary
    assert again.lost_best_step == 2


def test_a_solved_run_whose_best_checkpoint_was_removed_still_has_test_figures(best_at_2, monkeypatch):
    """Later evaluations do not solve the task, but they are all that is left."""
    monkeypatch.setattr(seqtrain.tasks.marked_numbers.Adding, "solved", lambda _, means: means["mse"] < 2)
    values = iter((1.0, *range(2, 100)))
    original = seqtrain.training.loop.evaluate
    monkeypatch.setattr(
        seqtrain.training.loop, "evaluate", lambda *given: original(*given) | {"mse": float(next(values))}
    )
    run(small("train.steps=6", "train.save_every=1", "train.stop_when_solved=false"), "solved")
    Path("solved/best.safetensors").unlink()
    longer = small("train.steps=8", "train.save_every=1", "train.stop_when_solved=false")
    resumed = run(longer, "solved", resume=True).summary
    assert (resumed.solved_at_step, resumed.lost_best_step) == (2, 2)
    assert resumed.test is not None


def test_a_removed_best_checkpoint_that_is_the_last_is_written_again():
    config = small("train.steps=2", "train.eval_every=2")
    run(config)
    before = Path("run/best.safetensors").read_bytes()
    Path("run/best.safetensors").unlink()
    resumed = run(config, resume=True).summary
    assert (resumed.lost_best_step, resumed.best.step) == (None, 2)
    assert Path("run/best.safetensors").read_bytes() == before


def test_the_best_checkpoint_of_another_run_or_step_is_refused(best_at_2):
    own = Path("run/best.safetensors").read_bytes()
    run(small("train.steps=6", "seed=1"), "other")
    shutil.copy("other/best.safetensors", "run/best.safetensors")
    longer = small("train.steps=8", "train.save_every=1")
    with pytest.raises(
        CheckpointError, match="is not the best checkpoint of this run, it was trained with another seed"
    ):
        run(longer, resume=True)
    save_checkpoint(Path("run/best.safetensors"), load_checkpoint(Path("run/last.safetensors")).for_evaluation())
    with pytest.raises(CheckpointError, match="it is of step 6, the best evaluation was that of step 2; remove it"):
        run(longer, resume=True)
    Path("run/best.safetensors").write_bytes(own)
    assert run(longer, resume=True).summary.best.step == 2
