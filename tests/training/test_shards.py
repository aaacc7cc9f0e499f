"""A batch in shards: the same gradient, and the same bits for any number of processes that share them."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier
from types import SimpleNamespace

import pytest
import torch
from small import small

from seqtrain.config.build import build_model, build_optimizer, build_recipe, build_task
from seqtrain.system.errors import ConfigError, Diverged
from seqtrain.system.process_group import ALONE, ProcessGroup, check_device
from seqtrain.tasks import Batch
from seqtrain.training.gradient import bounds, compute_gradient, forward, forward_shard
from seqtrain.training.loop import evaluate
from seqtrain.training.state import TrainState
from seqtrain.training.step import train_step

MODELS = {
    "real numbers": ("quickstart", "model.cell=gru"),
    "lengths": ("embedded-reber", "train.ar=2", "train.tar=3"),
    "a prediction after the last step": ("temporal-order", "model.cell=rnn", "train.ar=2"),
    "a carried state": ("words", "train.ar=2", "train.tar=3", "model.cell=peephole"),
    "sentences": ("words", "task.sentences=independent", "task.path=sentences.txt", "train.epochs=null"),
    "clusters that no word needs": ("words", "model.softmax=adaptive", "model.hidden_size=20"),
}


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sentences.txt").write_text("a b c d e f\na\nb c\nd\ne f a b c\na b\n" * 9)


def started(*overrides):
    """A training state and its recipe."""
    config = small(*overrides, "train.batch_size=8", "threads=1")
    task = build_task(config, quiet=True)
    model = build_model(config, task.spec)
    return TrainState(model, build_optimizer(config, model)), build_recipe(config, task)


def after(steps, group, *overrides):
    """The state and the recipe after that many steps."""
    return trained(*started(*overrides), steps, group)


def trained(state, recipe, steps, group):
    for step in range(steps):
        train_step(state, recipe, recipe.task.train_batch(step, recipe.train.batch_size), group)
    return state, recipe


def gradients(state):
    return {name: p.grad for name, p in state.model.named_parameters()}


def bits(state):
    """Everything that training changes, to the last bit."""
    return {name: part.clone() for name, part in (state.tensors() | dict(state.model.named_parameters())).items()}


class OnThreads(ProcessGroup):
    """A process of a group whose processes are threads."""

    def __init__(self, rank, size, meeting):
        super().__init__(rank, size)
        object.__setattr__(self, "meeting", meeting)

    def gather_objects(self, value):
        self.meeting.values[self.rank] = value
        self.meeting.barrier.wait(20)
        values = list(self.meeting.values)
        self.meeting.barrier.wait(20)
        return values

    def gather(self, part):
        return torch.cat(self.gather_objects(part))


def on_processes(size, work):
    """What each of that many processes gives for `work(group)`."""
    meeting = SimpleNamespace(values=[None] * size, barrier=Barrier(size))
    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(lambda rank: work(OnThreads(rank, size, meeting)), range(size)))


@pytest.mark.parametrize("overrides", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("shards", [2, 8])
def test_the_gradient_is_that_of_the_whole_batch(overrides, shards):
    found = []
    for parts in (1, shards):
        state, recipe = after(2, ALONE, *overrides, "model.dropout=0")  # so that a text carries its state
        recipe = replace(recipe, train=recipe.train.model_copy(update={"shards": parts}))
        state.optimizer.zero_grad()
        carried, loss = compute_gradient(state, recipe, recipe.task.train_batch(2, 8), ALONE)
        found.append((loss, gradients(state), carried))
    (loss, whole, carried), (loss_of_shards, of_shards, carried_by_shards) = found
    torch.testing.assert_close(loss_of_shards, loss, rtol=1e-6, atol=0)
    for name, gradient in whole.items():
        if gradient is None:
            assert of_shards[name] is None
        else:
            torch.testing.assert_close(of_shards[name], gradient, rtol=1e-5, atol=1e-7)
    if "words" in overrides and "task.sentences=independent" not in overrides:
        torch.testing.assert_close(carried_by_shards, carried)


@pytest.mark.parametrize("overrides", MODELS.values(), ids=MODELS)
def test_any_number_of_processes_gives_the_same_bits(overrides):
    overrides = (*overrides, "train.shards=4", "model.dropout=0.3", "model.depth=2", "model.weight_drop=0.2")
    overrides = [one for one in overrides if one != "model.hidden_size=20"] + ["model.hidden_size=20"]
    expected = bits(after(3, ALONE, *overrides)[0])
    for size in (2, 4):
        states = [started(*overrides) for _ in range(size)]  # not in threads, which share a global generator
        for state, _ in on_processes(size, lambda group: trained(*states[group.rank], 3, group)):  # noqa: B023
            found = bits(state)
            assert found.keys() == expected.keys()
            assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("penalty", ["train.ar=2", "train.tar=3"])
def test_the_penalties_of_all_shards_are_that_of_the_batch(penalty):
    """A short sequence has a smaller part in the changes between steps than in the steps."""
    state, recipe = started("embedded-reber", penalty, "train.shards=4")
    batch = recipe.task.train_batch(0, 8)
    assert len(set(batch.lengths.tolist())) > 2
    parts = [forward_shard(state, recipe, batch, shard).penalty for shard in range(4)]
    torch.testing.assert_close(sum(parts), forward(state, recipe, batch).penalty, rtol=1e-6, atol=0)


def test_shards_have_dropout_masks_of_their_own():
    state, recipe = started("quickstart", "model.output_dropout=0.5", "train.shards=2")
    one = recipe.task.train_batch(0, 4)
    twice = replace(one, inputs=torch.cat([one.inputs] * 2, 1), targets=torch.cat([one.targets] * 2))
    compute_gradient(state, recipe, twice, ALONE)
    alike = gradients(state)["head.weight"]
    state.optimizer.zero_grad()
    compute_gradient(state, replace(recipe, train=recipe.train.model_copy(update={"shards": 1})), one, ALONE)
    assert not torch.allclose(alike, gradients(state)["head.weight"])


@pytest.mark.parametrize("shards", [1, 2])
def test_a_batch_that_begins_a_text_does_not_see_the_state_before(shards):
    state, recipe = after(1, ALONE, "words", f"train.shards={shards}")
    batch = replace(recipe.task.train_batch(1, 8), fresh=True)
    assert state.carried is not None
    _, loss = compute_gradient(state, recipe, batch, ALONE)
    state.carried = None
    assert torch.equal(compute_gradient(state, recipe, batch, ALONE)[1], loss)


def test_a_batch_may_have_fewer_sequences_than_shards():
    state, recipe = started("embedded-reber", "train.shards=8", "train.ar=1")
    batch = recipe.task.train_batch(0, 8).rows(0, 3)
    compute_gradient(state, recipe, batch, ALONE)
    few = gradients(state)
    state.optimizer.zero_grad()
    compute_gradient(state, replace(recipe, train=recipe.train.model_copy(update={"shards": 1})), batch, ALONE)
    for name, gradient in gradients(state).items():
        torch.testing.assert_close(few[name], gradient, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("size", "shards"), [(8, 4), (7, 4), (3, 8), (1, 1), (1000, 7)])
def test_shards_cover_a_batch_in_order(size, shards):
    places = bounds(size, shards)
    assert len(places) == shards
    assert [n for start, stop in places for n in range(start, stop)] == list(range(size))
    assert max(stop - start for start, stop in places) - min(stop - start for start, stop in places) <= 1


def test_rows_that_are_all_empty_keep_a_step():
    batch = Batch(torch.zeros(5, 3), torch.zeros(3), torch.tensor([5, 0, 0]))
    assert batch.rows(1, 3).inputs.shape == (1, 2)


def test_rows_have_all_outputs_also_where_these_are_as_many_as_sequences_and_steps():
    batch = Batch(torch.zeros(4, 4, 1), torch.arange(16.0).view(4, 4))
    assert torch.equal(batch.rows(1, 3).targets, batch.targets[1:3])
    assert torch.equal(batch.columns(torch.tensor([2])).targets, batch.targets[2:3])
    symbols = Batch(torch.zeros(4, 4, 1), torch.arange(16).view(4, 4))  # [T, B]
    assert torch.equal(symbols.rows(1, 3).targets, symbols.targets[:, 1:3])


@pytest.mark.parametrize("name", ["embedded-reber", "words"])
@pytest.mark.parametrize("size", [2, 3])
def test_processes_share_an_evaluation_and_count_each_batch_once(name, size, monkeypatch):
    state, recipe = started(name)
    expected = evaluate(state.model, recipe.task, "valid", 4)
    count = recipe.task.count_eval_batches("valid", 4)
    evaluated = []
    measure = recipe.task.measure
    monkeypatch.setattr(recipe.task, "measure", lambda *pair: evaluated.append(1) or measure(*pair))
    models = [started(name)[0].model for _ in range(size)]
    found = on_processes(
        size, lambda group: evaluate(models[group.rank], recipe.task, "valid", 4, None, lambda: None, group)
    )
    assert found == [expected] * size
    assert len(evaluated) == count


def test_the_sums_of_an_evaluation_are_added_in_the_order_of_its_batches(monkeypatch):
    """Another order gives another last digit: here 1e16 swallows a 1 that comes after it."""
    state, recipe = started("quickstart")
    losses = [1.0, 1e16, 1.0, -1e16]  # process 0 has the first and the third, process 1 the others
    batches = [replace(recipe.task.train_batch(0, 1), lr_factor=loss) for loss in losses]
    monkeypatch.setattr(recipe.task, "eval_batches", lambda *_: iter(batches))
    monkeypatch.setattr(recipe.task, "loss", lambda _, batch: (torch.tensor(batch.lr_factor, dtype=torch.float64), 1))
    expected = evaluate(state.model, recipe.task, "valid", 1)["loss"]
    models = [started("quickstart")[0].model for _ in range(2)]
    found = on_processes(
        2, lambda group: evaluate(models[group.rank], recipe.task, "valid", 1, None, lambda: None, group)["loss"]
    )
    assert found == [expected] * 2
    assert expected != sum(losses[0::2] + losses[1::2]) / 4


def test_a_divergence_names_the_place_in_its_shard():
    state, recipe = started("quickstart", "train.shards=4")
    batch = recipe.task.train_batch(0, 8)
    batch.inputs[3, 5] = float("nan")  # in shard 2
    before = bits(state)
    with pytest.raises(Diverged, match="first nan: input, layer 1, t = 3"):
        train_step(state, recipe, batch)
    assert all(torch.equal(part, before[name]) for name, part in bits(state).items())


def test_a_step_of_shards_that_diverges_can_be_skipped():
    state, recipe = started("words", "train.shards=2", "train.on_divergence=skip")
    head = dict(state.model.named_parameters())["head.weight"]
    with torch.no_grad():
        head[0, 0] = float("nan")
    train_step(state, recipe, recipe.task.train_batch(0, 8))
    assert (state.step, state.skipped_steps) == (1, 1)
    assert state.carried is not None  # its numbers are finite


# --- what is refused --------------------------------------------------------------------------------------------


def test_shards_must_divide_the_batch():
    with pytest.raises(ConfigError, match=r"train.shards.* is 3, which does not divide batch_size 8; use a batch_size"):
        started("quickstart", "train.shards=3")


def test_shards_must_divide_the_columns_of_a_short_text(seqtrain):
    found = seqtrain("train", "sunspots", "train.batch_size=512", "train.shards=512", "train.steps=1")
    assert found.code == 2
    assert "train.shards is 512, which does not divide" in found.err


def test_a_cell_with_buffers_is_refused(tmp_path, monkeypatch):
    (tmp_path / "counting_cell.py").write_text(
        "import torch\nfrom typing import NamedTuple\nfrom seqtrain.cells import Cell\n\n\n"
        "class S(NamedTuple):\n    hidden: torch.Tensor\n\n\n"
        "class Counting(Cell):\n"
        "    def __init__(self, input_size, hidden_size):\n"
        "        super().__init__(input_size, hidden_size)\n"
        "        self.w = torch.nn.Linear(input_size, hidden_size)\n"
        "        self.register_buffer('calls', torch.zeros(()))\n"
        "    def project(self, x): return self.w(x)\n"
        "    def step(self, x, state): return S(torch.tanh(x + state.hidden))\n"
        "    def initial_state(self, batch_size): return S(self.w.weight.new_zeros(batch_size, self.hidden_size))\n"
    )
    with pytest.raises(ConfigError, match="has buffers, which processes would change each in its own way"):
        started("quickstart", "model.cell=counting_cell:Counting", "train.shards=2")


@pytest.mark.parametrize(
    ("device", "here", "message"),
    [
        ("mps", 2, "which several processes cannot share; use cpu or cuda"),
        ("cuda:1", 2, "one GPU for 2 processes; use cuda"),
        ("cuda", 3, "this machine has no GPU that torch can use; use cpu"),
        ("cuda", 4, "torchrun started 4 processes on a machine with 2 GPUs; start 2"),
    ],
)
def test_each_process_needs_a_device_of_its_own(device, here, message, monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(here))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0 if "no GPU" in message else 2)
    with pytest.raises(ConfigError, match=message):
        check_device(ProcessGroup(0, here), device)
    check_device(ProcessGroup(0, 2), "cpu")
    check_device(ALONE, device)
