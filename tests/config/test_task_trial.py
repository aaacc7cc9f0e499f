"""Faults of a user's own task are told before it is used, each by its method and with a cure."""

# ruff: noqa: ARG002, ARG005  # the methods of a task have given arguments

import sys

import pytest
import torch

from seqtrain.config import config_from
from seqtrain.config.build import build_task
from seqtrain.system.errors import ConfigError
from seqtrain.tasks import Batch, Classification, HiddenFact, Metric, SizedTask, Tally, Task

OWN = sys.modules[__name__]


class Copy(Classification):
    """At every step, name the symbol."""

    every_step = True
    input_size = output_size = 3

    length: int = 4

    def sample(self, batch_size, generator):
        inputs = torch.randint(3, (self.length, batch_size), generator=generator)
        return Batch(inputs, inputs)


class Mean(SizedTask):
    """After the last step, name the mean."""

    metric = Metric("mse", higher_is_better=False)
    symbolic = every_step = False
    input_size, output_size = 2, 1

    def sample(self, batch_size, generator):
        x = torch.rand(4, batch_size, 2, generator=generator)
        return Batch(x, x.mean((0, 2))[:, None])

    def loss(self, prediction, batch):
        errors = (prediction.outputs - batch.targets) ** 2
        return errors.sum(), len(errors)

    def measure(self, prediction, batch):
        return Tally().add("mse", *self.loss(prediction, batch))

    def baseline(self, split):
        return {"mse": 1.0}

    def solved(self, means):
        return means["mse"] < 0.1


class Words(Copy):
    words = True

    def __post_init__(self):
        self.vocabulary = ["a", "b", "c"]


class Table(Task):
    """Data of the user's own, with sequences of different lengths."""

    seed: int

    metric = Metric("loss", higher_is_better=False)
    every_step = True
    input_size = output_size = 3
    solvable = False

    def train_batch(self, step, batch_size):
        inputs = torch.full((4, batch_size), step % 3)
        lengths = torch.full((batch_size,), 3)
        return Batch(inputs, inputs, lengths, scored=torch.arange(4)[:, None] < lengths)

    def eval_batches(self, split, batch_size):
        yield self.train_batch(1, batch_size)
        yield self.train_batch(2, batch_size)

    def count_eval_batches(self, split, batch_size):
        return 2

    def specimen(self, split, batch_size):
        return self.train_batch(0, 1)

    def measure(self, prediction, batch):
        return Tally()

    def baseline(self, split):
        return {"loss": 1.0}


BASES = (Copy, Mean, Words, Table)


def tried(cls, *overrides, name="Tried"):
    """Build the task of a config that names the class, which stands in this module under that name."""
    setattr(OWN, name, cls)
    data = {
        "task": {"name": f"{__name__}:{name}", **({} if cls.__mro__[1] is Task or Table in cls.__mro__ else SIZES)},
        "model": {"cell": "rnn"},
        "train": {"batch_size": 2},
    }
    return build_task(config_from(data, "config", overrides))


SIZES = {"valid_size": 5, "test_size": 5}


@pytest.mark.parametrize("cls", BASES)
def test_a_sound_task_is_built(cls):
    assert isinstance(tried(cls), cls)


def changed(base, **members):
    """A task that differs from a sound one in these members."""
    return type("Tried", (base,), {"__module__": __name__, **members})


def giving(base, change):
    """A task whose batches are changed."""

    def sample(self, batch_size, generator):
        return change(base.sample(self, batch_size, generator))

    return changed(base, sample=sample)


def with_(**fields):
    return lambda batch: Batch(**{**vars(batch), **{name: make(batch) for name, make in fields.items()}})


def ones(*shape, kind=torch.int64):
    return lambda batch: torch.ones(shape, dtype=kind)


BATCHES = {
    "no batch": (Copy, lambda batch: batch.inputs, "train_batch(0, 2) is [4, 2] int64; return a seqtrain.tasks.Batch"),
    "none": (Copy, lambda batch: None, "train_batch(0, 2) is a NoneType; return a seqtrain.tasks.Batch"),
    "no tensor": (Copy, with_(inputs=lambda batch: [1]), "inputs are a list; they must be a tensor"),
    "device": (
        Copy,
        with_(inputs=lambda b: b.inputs.to("meta")),
        "inputs are on the device meta; make them on the CPU",
    ),
    "type of symbols": (
        Copy,
        with_(inputs=lambda b: b.inputs.float()),
        "inputs are [4, 2] float32; they must be [T, B]",
    ),
    "shape of symbols": (Copy, with_(inputs=ones(4, 2, 1)), "inputs are [4, 2, 1] int64; they must be [T, B] int64"),
    "empty": (Copy, with_(inputs=ones(0, 2)), "inputs are [0, 2]; there must be one step"),
    "batch first": (Copy, with_(inputs=ones(2, 4)), "inputs are [2, 4]; with T 2 they must have 2 sequences"),
    "beyond": (Copy, with_(inputs=lambda b: b.inputs + 1), "symbol 3; symbols must be from 0 to input_size - 1, 2"),
    "type of numbers": (Mean, with_(inputs=lambda b: b.inputs.double()), "[4, 2, 2] float64; they must be [T, B, 2]"),
    "size of numbers": (Mean, with_(inputs=lambda b: b.inputs[..., :1]), "[4, 2, 1] float32; they must be [T, B, 2]"),
    "not finite": (Mean, with_(inputs=lambda b: b.inputs / 0), "inputs have a number that is not finite"),
    "targets not finite": (Mean, with_(targets=lambda b: b.targets / 0), "targets have a number that is not finite"),
    "flat targets": (
        Mean,
        with_(targets=lambda b: b.targets[:, 0]),
        "targets are [2] float32; as every_step is False, they must be [B] [2] classes of int64, or [2, 1] numbers",
    ),
    "targets of each step": (
        Copy,
        with_(targets=ones(2)),
        "targets are [2] int64; as every_step is True, they must be [T, B] [4, 2] classes of int64",
    ),
    "class beyond": (
        Copy,
        with_(targets=lambda b: b.targets - 1),
        "class -1; they must be from 0 to output_size - 1, 2",
    ),
    "class of int32": (Copy, with_(targets=lambda b: b.targets.int()), "[4, 2] int32; classes must be int64"),
    "lengths": (Copy, with_(lengths=ones(3)), "lengths are [3] int64; they must be [2] int64"),
    "lengths of 0": (Copy, with_(lengths=lambda b: torch.tensor([0, 5])), "from 0 to 5; they must be from 1 to T, 4"),
    "scored": (Copy, with_(scored=ones(4, 2)), "scored are [4, 2] int64; they must be [4, 2] bool"),
    "none scored": (Copy, with_(scored=lambda b: b.inputs < 0), "scored selects nothing"),
    "scored at the end": (
        Mean,
        with_(scored=ones(4, 2, kind=torch.bool)),
        "scored is for a prediction at every step; leave it out",
    ),
    "marks": (Copy, with_(marks=ones(4)), "marks are [4] int64; they must be [4, 2] whole numbers"),
    "lr_factor": (Copy, with_(lr_factor=lambda b: -1), "lr_factor is -1; it must be a finite number above 0"),
    "padding": (
        Copy,
        with_(lengths=lambda b: torch.full((b.size,), 2)),
        "loss counts the padding behind sequences; give the batch scored, [T, B] bool, which is False there",
    ),
    "global generator": (
        Copy,
        with_(inputs=lambda b: torch.randint(3, b.inputs.shape)),
        "gives other values when it is called again; draw all of them from self.generator(...)",
    ),
}


@pytest.mark.parametrize("name", BATCHES)
def test_a_wrong_batch_is_refused(name):
    base, change, wanted = BATCHES[name]
    with pytest.raises(ConfigError) as refused:
        tried(giving(base, change))
    assert wanted in str(refused.value)
    assert f"task '{__name__}:Tried' with valid_size 5, test_size 5" in str(refused.value)


def test_all_faults_of_a_batch_are_told_at_once():
    with pytest.raises(ConfigError) as refused:
        tried(giving(Copy, with_(targets=ones(2), lengths=ones(3), marks=ones(4))))
    assert len(refused.value.faults) == 3


def raising(*_, **__):
    raise KeyError("oh")


def counter():
    """A training batch that depends on what was called before."""
    calls = [0]

    def train_batch(self, step, batch_size):
        calls[0] += 1
        return Batch(*[torch.full((4, batch_size), calls[0] % 3)] * 2)

    return train_batch


def once():
    """An iterator that is used up after one reading."""
    kept = {}

    def eval_batches(self, split, batch_size):
        return kept.setdefault((id(self), split), Copy.eval_batches(self, split, batch_size))

    return eval_batches


MEMBERS = {
    "no metric": (Table, {"metric": None}, "metric is None; make it a seqtrain.tasks.Metric, such as ACCURACY"),
    "input_size": (Copy, {"input_size": 0}, "input_size is 0; make it a whole number from 1"),
    "every_step": (Copy, {"every_step": 1}, "every_step is 1; make it True or False"),
    "constructor": (Copy, {"__post_init__": raising}, "cannot be made: KeyError: 'oh'"),
    "sample": (Copy, {"sample": raising}, "cannot give train_batch(0, 2): KeyError: 'oh' (test_task_trial.py:"),
    "order": (Copy, {"train_batch": counter()}, "gives other values when it is called again"),
    "no batches": (
        Table,
        {"eval_batches": lambda *_: iter(()), "count_eval_batches": lambda *_: 0},
        "eval_batches('valid', 250) gives no batch; every split needs one sequence or more",
    ),
    "other sets": (
        Copy,
        {"sample_fixed": lambda self, split, size: self.sample(size, torch.Generator().manual_seed(id(self) % 2**40))},
        "eval_batches('valid', 5) gives other batches the second time",
    ),
    "used up": (Copy, {"eval_batches": once()}, "gives 1 batches and then 0; make a new iterator for every call"),
    "count": (
        Table,
        {"count_eval_batches": lambda *_: 3},
        "count_eval_batches('valid', 250) is 3, but eval_batches gives 2; return that",
    ),
    "loss raises": (
        Mean,
        {"loss": lambda self, prediction, batch: Classification.loss(self, prediction, batch)},
        "cannot give loss(...) on a batch of train, with outputs [2, 1]: ",
    ),
    "loss is a number": (
        Mean,
        {"loss": lambda self, prediction, batch: (1.0, 2)},
        "loss gives a float; return the sum as a tensor without dimensions, made of the outputs",
    ),
    "mean loss": (
        Mean,
        {"loss": lambda self, prediction, batch: (prediction.outputs.sum(), 0.5)},
        "over 0.5 predictions; return a finite sum and their number, an int",
    ),
    "gradient": (
        Mean,
        {"loss": lambda self, prediction, batch: ((prediction.outputs * 0).sqrt().sum(), 1)},
        "loss has a gradient that is not finite",
    ),
    "measure": (Mean, {"measure": lambda *_: {"mse": 1.0}}, "measure gives a dict; return a seqtrain.tasks.Tally"),
    "not measured": (
        Mean,
        {"measure": lambda *_: Tally().add("rmse", 1.0, 1)},
        "measure gives loss, rmse, but the metric is mse; add it to the Tally",
    ),
    "baseline": (Mean, {"baseline": lambda *_: {"loss": 1.0}}, "baseline('valid') gives loss; it must have mse"),
    "no baseline": (Mean, {"baseline": lambda *_: {}}, "baseline('valid') gives nothing; it must have mse"),
    "baseline of nan": (
        Mean,
        {"baseline": lambda *_: {"mse": float("nan")}},
        "baseline('valid') has mse nan; make it a finite number",
    ),
    "solved": (
        Mean,
        {"solved": SizedTask.solved},
        "cannot give solved(...) of loss, mse; define it, or set solvable = False. It raises: KeyError: 'accuracy'",
    ),
    "specimen": (Table, {"specimen": lambda self, *_: self.train_batch(0, 2)}, "with T 4 they must have 1 sequences"),
    "vocabulary": (
        Words,
        {"__post_init__": lambda self: setattr(self, "vocabulary", ["a", "b"])},
        "vocabulary has 2 different words, input_size is 3 and output_size 3; make all three equal",
    ),
    "no vocabulary": (Words, {"__post_init__": lambda self: None}, "vocabulary is no list of texts"),
    "epochs": (Table, {"has_epochs": True}, "cannot give steps_in(1, ...) and epoch_at(0, ...), as it has epochs"),
    "hidden facts": (
        Copy,
        {"hidden_facts": lambda self, batch: [HiddenFact("x", batch.inputs, batch.inputs)]},
        "hidden_facts: 'x' has values [4, 2] int64 and known [4, 2] int64; both must be [4, 2], and known bool",
    ),
    "remarks": (Copy, {"remarks": raising}, "cannot give remarks(...): KeyError: 'oh'"),
}  # fmt: skip


@pytest.mark.parametrize("name", MEMBERS)
def test_a_wrong_method_is_refused(name):
    base, members, wanted = MEMBERS[name]
    with pytest.raises(ConfigError) as refused:
        tried(changed(base, **members))
    assert wanted in str(refused.value)


def test_a_missing_size_is_named():
    with pytest.raises(ConfigError, match="does not define metric, input_size; set them in it or in __post_init__"):
        tried(without(Table, "metric", "input_size"))


def without(base, *names):
    members = {name: value for name, value in vars(base).items() if name not in (*names, "name")}
    return type("Tried", (Task,), members)


def test_a_model_that_reads_backward_is_refused_where_the_targets_are_the_next_inputs():
    cls = giving(
        Copy,
        with_(targets=lambda b: b.inputs.roll(-1, 0), scored=lambda b: torch.arange(4)[:, None].expand(4, b.size) < 3),
    )
    assert tried(cls)
    with pytest.raises(ConfigError, match=r"set next_token = True in the class, and use model.direction=forward"):
        tried(cls, "model.direction=bidirectional")


@pytest.mark.parametrize("place", [0, 1])
def test_several_symbols_a_step_are_tried_as_one_is(place):
    """The targets may be any of the next inputs; a symbol beyond the alphabet is refused."""

    def several(batch):
        columns = [batch.inputs.flip(0), batch.inputs.flip(0)]
        columns[place] = batch.inputs
        return torch.stack(columns, -1)

    last = {"scored": lambda b: torch.arange(4)[:, None].expand(4, b.size) < 3}
    sound = giving(Copy, with_(inputs=several, **last))
    assert tried(sound, "model.direction=bidirectional").train_batch(0, 2).inputs.shape == (4, 2, 2)
    ahead = giving(Copy, with_(inputs=several, targets=lambda b: b.inputs.roll(-1, 0), **last))
    assert tried(ahead)
    with pytest.raises(ConfigError, match="set next_token = True in the class"):
        tried(ahead, "model.direction=bidirectional")
    with pytest.raises(ConfigError, match="inputs have the symbol 3; symbols must be from 0 to input_size - 1, 2"):
        tried(giving(Copy, with_(inputs=lambda b: several(b) + 1, **last)))


def test_the_trial_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    tried(changed(Copy, __post_init__=lambda self: torch.rand(3)))
    assert torch.equal(torch.get_rng_state(), before)
