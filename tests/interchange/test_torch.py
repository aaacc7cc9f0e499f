"""Models for PyTorch without seqtrain: programs of torch.export, and weights for torch.nn."""

import io
import json
import logging
import sys
from itertools import cycle
from pathlib import Path

import pytest
import torch
from conftest import SMALL, SMALL_SETS
from exported import ABLATIONS, HEADS, trained
from torch import nn

import seqtrain as package
from seqtrain import ConfigError, export, load_model, load_text_model, train
from seqtrain.cells import RNNCell
from seqtrain.inference.load import load_trained
from seqtrain.interchange import exported_program, samples, torch_weights
from seqtrain.interchange.content import Options
from seqtrain.interchange.metadata import metadata_of
from seqtrain.interchange.scan_loop import unroll_scan
from seqtrain.models import OneHot
from seqtrain.recurrence import unroll_reference

WITH_MODULE = (
    ("LSTM", {"name": "lstm"}),
    ("LSTM", {"name": "lstm", "biases": 2, "learn_initial_state": True}),
    ("LSTM", {"name": "odyssey", "ablation": "no_peepholes"}),
    ("LSTM", {"name": "coupled"}),
    ("GRU", {"name": "gru"}),
    ("GRU", {"name": "gru", "learn_initial_state": True}),
    ("RNN", {"name": "rnn"}),
    ("RNN", {"name": "rnn", "nonlinearity": "relu", "biases": 2}),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained run."""
    return train("quickstart", (*SMALL, *SMALL_SETS), out=tmp_path_factory.mktemp("torch") / "run").path


def in_torch(weights, kind, model, x):
    """What a PyTorch program computes that loads the weights as the page says."""
    recurrent = weights["recurrent"]
    (rows, I), blocks = recurrent["weight_ih_l0"].shape, {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
    directions = 1 + ("weight_ih_l0_reverse" in recurrent)
    relu = {"nonlinearity": "relu"} if getattr(model.stack.cells()[0][0], "nonlinearity", "") == "relu" else {}
    H, depth = rows // blocks, len(recurrent) // 4 // directions
    layers = getattr(nn, kind)(I, H, num_layers=depth, bidirectional=directions == 2, **relu)
    layers.load_state_dict(recurrent)
    if "encoder" in weights:
        encoder = nn.Embedding(*weights["encoder"]["weight"].shape)
        encoder.load_state_dict(weights["encoder"])
        x = encoder(x)
    elif isinstance(model.encoder, OneHot):
        x = nn.functional.one_hot(x, model.encoder.symbols).to(torch.get_default_dtype())
    state = None
    if "initial_state" in weights:
        first = {name: row.unsqueeze(1).expand(-1, x.shape[1], -1) for name, row in weights["initial_state"].items()}
        state = (first["h_0"].contiguous(), first["c_0"].contiguous()) if kind == "LSTM" else first["h_0"].contiguous()
    outputs, _ = layers(x, state)
    if not model.every_step:
        outputs = torch.cat([outputs[-1, :, :H], outputs[0, :, H:]], -1)
    if "projection" in weights:
        outputs = outputs @ weights["projection"]["weight"].t()
    if "tail.0.0.weight" in weights["head"]:
        head = nn.AdaptiveLogSoftmaxWithLoss(outputs.shape[-1], 20, [5, 11], div_value=2.0, head_bias=True)
        head.load_state_dict(weights["head"])
        return head.log_prob(outputs.flatten(0, 1)).view(*outputs.shape[:2], 20)
    head = nn.Linear(*reversed(weights["head"]["weight"].shape))
    head.load_state_dict(weights["head"])
    return head(outputs)


def module_cases():
    """Every cell in both directions; depths and heads take turns."""
    heads = cycle(HEADS)
    for number, (kind, cell) in enumerate(WITH_MODULE):
        for direction in ("forward", "bidirectional"):
            yield kind, cell, direction, 1 + number % 2, [next(heads) for _ in range(3)][-1]


@pytest.mark.parametrize(("kind", "cell", "direction", "depth", "head"), [*module_cases()])
def test_modules_of_torch_compute_the_same_with_the_weights(float64, kind, cell, direction, depth, head):
    """In float64, so that nothing but rounding is left."""
    ours = trained(cell, head, direction=direction, depth=depth)
    weights = torch_weights.weights_of(ours)
    x = (
        samples.inputs_of(ours).draw(6, 4).double()
        if head in ("regression", "values")
        else samples.inputs_of(ours).draw(6, 4)
    )
    theirs = in_torch(weights, kind, ours.model, x)
    torch.testing.assert_close(theirs, ours.model(x)[0], rtol=0, atol=1e-12)


def test_the_weights_are_the_same_bits():
    model = trained({"name": "lstm", "biases": 2}, "tied", depth=2, hidden_size=7).model
    weights = torch_weights.weights_of(trained({"name": "lstm", "biases": 2}, "tied", depth=2, hidden_size=7))
    for depth, (cell,) in enumerate(model.stack.cells()):
        named = {"weight_ih": cell.w_x, "weight_hh": cell.w_h, "bias_ih": cell.b, "bias_hh": cell.b_h}
        assert all(torch.equal(weights["recurrent"][f"{name}_l{depth}"], value) for name, value in named.items())
    assert torch.equal(weights["head"]["weight"], model.encoder.weight)
    assert weights["head"]["weight"].data_ptr() == weights["encoder"]["weight"].data_ptr()  # once in the file


def test_the_file_of_weights_and_what_the_verb_says(seqtrain, run):
    called = seqtrain("export", run, "--to", "torch", "--out", "model.pt", "--json")
    assert called.code == 0
    assert called.json["facts"] == {"recurrent": "nn.LSTM(2, 6)", "head": "nn.Linear(6, 1)"}
    assert called.json["check"]["program"] == f"torch.nn of PyTorch {torch.__version__}"
    assert called.json["check"]["difference"] <= 1e-6
    weights = torch.load("model.pt", weights_only=True)
    assert [*weights] == ["recurrent", "head", "metadata"]
    assert weights["metadata"] == metadata_of(load_trained(run))
    model, x = load_model(run), torch.randn(5, 3, 2)
    torch.testing.assert_close(in_torch(weights, "LSTM", model, x), model(x)[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("head", HEADS)
def test_the_code_that_the_verb_prints_makes_the_modules(head):
    cell = {"name": "rnn", "nonlinearity": "relu", "learn_initial_state": True}
    model = trained(cell, head, direction="bidirectional", depth=2)
    content = torch_weights.write(model, Options("pt"))
    weights = torch.load(io.BytesIO(content.files["model.pt"]), weights_only=True)
    assert weights.keys() == {*content.facts, "initial_state", "metadata"}
    for name, code in content.facts.items():
        assert eval(code, {"nn": nn}).load_state_dict(weights[name])
    assert content.check.difference <= 1e-6
    one_hot = "the inputs are one-hot: torch.nn.functional.one_hot(x, 5).float()"
    learnt = "the initial state was learnt; give it to the recurrent module, which starts from zero without it"
    assert content.remarks == [one_hot, learnt][head != "classes" :]


def test_gates_that_were_coupled_are_remarked():
    content = torch_weights.write(trained({"name": "coupled"}), Options("pt"))
    assert content.remarks == [
        "an LSTM has two gates where cell coupled has one; they stay coupled unless it is trained further"
    ]


def test_a_check_of_weights_sees_that_one_is_wrong(monkeypatch):
    model = trained({"name": "gru"}, direction="bidirectional")
    wrong = torch_weights.weights_of(model)
    wrong["recurrent"]["bias_hh_l0_reverse"] = wrong["recurrent"]["bias_hh_l0_reverse"] + 0.01
    monkeypatch.setattr(torch_weights, "weights_of", lambda _: wrong)
    assert torch_weights.write(model, Options("pt")).check.difference > 1e-4


@pytest.mark.parametrize(
    ("cell", "settings", "reasons"),
    [
        ({"name": "peephole"}, {}, ["cell peephole is no LSTM, GRU or plain RNN"]),
        ({"name": "coupled", "peepholes": True}, {}, ["cell coupled with peepholes is no LSTM"]),
        *[({"name": "odyssey", "ablation": ablation}, {}, [f"odyssey with ablation {ablation} is no LSTM"])
          for ablation in ABLATIONS if ablation != "no_peepholes"],
        (
            {"name": "gru", "reset": "before"},
            {"direction": "bidirectional", "merge": "sum", "depth": 2, "hidden_size": [3, 4], "zoneout_hidden": 0.1},
            ["reset 'before'", "have no zoneout", "merge is 'sum'", "several sizes (3, 4)"],
        ),
        ({"name": "rnn"}, {"direction": "backward"}, ["the layers read backward only"]),
        ({"name": "lstm"}, {"zoneout_memory": 0.1}, ["have no zoneout"]),
    ],
)  # fmt: skip
def test_what_no_module_computes_is_refused_with_every_reason(cell, settings, reasons):
    with pytest.raises(ConfigError) as refused:
        torch_weights.write(trained(cell, **settings), Options("pt"))
    assert len(refused.value.faults) == len(reasons)
    for fault, reason in zip(refused.value.faults, reasons, strict=True):
        assert reason in fault
        assert fault.endswith("; --to torch --out model.pt2 can")


def test_inputs_that_weights_do_not_have_are_refused(seqtrain, run, tmp_path):
    called = seqtrain("export", run, "--to", "torch", "--out", "model.pt", "--lengths", "--states")
    assert called.code == 2
    assert "--lengths adds an input, and weights have none" in called.err
    assert "--states adds an input" in called.err
    assert (
        "--lengths is for --to onnx or torch; leave it out" in seqtrain("export", run, "--to", "keras", "--lengths").err
    )
    assert not [*tmp_path.iterdir()]


@pytest.mark.filterwarnings("ignore")  # of torch about itself
def test_a_program_takes_sequences_of_any_length():
    """The oracle is the plain loop. tests/long/torch_exports.py has every cell, direction and head."""
    cell = {"name": "gru", "learn_initial_state": True}
    model = trained(cell, "adaptive", direction="bidirectional", zoneout_hidden=0.2)
    loop = model.model.stack.loop = model.model.stack.loop._replace(unroll=unroll_reference)
    content = exported_program.write(model, Options("pt2", lengths=True, states=True))
    assert content.check.difference <= 1e-6
    assert model.model.stack.loop == loop
    assert logging.root.manager.disable == logging.NOTSET
    assert str(Path(package.__file__).parent).encode() not in content.files["model.pt2"]
    program = torch.export.load(io.BytesIO(content.files["model.pt2"])).module()
    for steps, batch_size in ((1, 4), (13, 1), (50, 9)):
        x = samples.inputs_of(model).draw(steps, batch_size, seed=1)
        lengths = torch.arange(batch_size) * 7 % (steps + 1)
        state = samples.draw_state(model.model, batch_size, seed=1)
        wanted, after = model.model(x, lengths, state)
        got, ended = program(x, lengths=lengths, states=samples.named_states(state))
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-6)
        for ours, theirs in zip(samples.named_states(after).values(), ended.values(), strict=True):
            torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-6)


def test_a_program_that_ends_a_longer_sequence_in_a_wrong_state_is_not_written(seqtrain, run, tmp_path, monkeypatch):
    """All that it computes for as many steps as in the example is right, and so are its outputs for any number."""

    def wrong(cell, x, state=None, **given):
        outputs, after = unroll_scan(cell, x, state, **given)
        steps = torch.ones_like(x[:, 0, 0]).sum()  # a tensor: a number of Python would be frozen
        return outputs, after._replace(cell=after.cell * (1 + 0.01 * (steps - exported_program.EXAMPLE[0])))

    monkeypatch.setattr(exported_program, "unroll_scan", wrong)
    called = seqtrain("export", run, "--to", "torch", "--states", "--out", "wrong.pt2")
    assert called.code == 4, called.err
    assert "off the model, more than 1e-05; nothing is written" in called.err
    assert not [*tmp_path.iterdir()]


class Ahead(RNNCell):
    """Each step reads the sum of its own input and all later ones."""

    def project(self, x):
        return super().project(x.flip(0).cumsum(0).flip(0))


@pytest.mark.parametrize("reverse", [False, True])
def test_the_loop_of_a_program_reads_no_padding(reverse):
    """The plain loop is the oracle."""
    torch.manual_seed(0)
    cell, x, lengths = Ahead(3, 4), torch.randn(6, 3, 3), torch.tensor([6, 0, 2])
    x[torch.arange(6)[:, None] >= lengths] = torch.nan
    with torch.no_grad():
        wanted, after = unroll_reference(cell, x, lengths=lengths, reverse=reverse)
        got, ended = unroll_scan(cell, x, lengths=lengths, reverse=reverse)
    torch.testing.assert_close(got, wanted)
    torch.testing.assert_close(ended.hidden, after.hidden)


IN_ANOTHER_PROGRAM = """
import torch
metadata = dict.fromkeys(("task", "config", "vocabulary"), "")
model = torch.export.load("model.pt2", extra_files=metadata).module()
x, states = torch.load("given.pt")
outputs = []
for part in x.split(4):
    y, states = model(part, states=states)
    outputs.append(y)
assert not any(parameter.requires_grad for parameter in model.parameters())
torch.save([torch.cat(outputs), metadata], "got.pt")
"""


def test_a_text_model_is_read_in_parts_where_seqtrain_is_not_installed(seqtrain, monkeypatch):
    sizes = ("model.cell=peephole", "model.tied=true", "model.embedding_size=5")  # so that there is a projection
    assert seqtrain("train", "words", *SMALL, *sizes, "--out", "run").code == 0
    called = seqtrain("export", "run", "--to", "torch", "--states", "--out", "model.pt2", "--json")
    assert called.code == 0, called.err
    assert called.json["facts"]["outputs"].startswith("(y float32 [steps, batch, ")
    model = load_model("run")
    x = torch.randint(5, (11, 3))
    first = [[cell.initial_state(3) for cell in layer] for layer in model.stack.cells()]
    torch.save((x, {name: state.detach() for name, state in samples.named_states(first).items()}), "given.pt")
    with monkeypatch.context() as without:
        for name in ["seqtrain", *sys.modules]:
            if name.partition(".")[0] == "seqtrain":
                without.setitem(sys.modules, name, None)  # cannot be imported
        with pytest.raises(ImportError):
            exec("import seqtrain.cells", {})
        exec(IN_ANOTHER_PROGRAM, {})
    outputs, metadata = torch.load("got.pt")
    torch.testing.assert_close(outputs, model(x)[0].detach(), rtol=0, atol=1e-6)
    assert metadata["task"].startswith("language_model/")
    assert json.loads(metadata["vocabulary"]) == load_text_model("run").vocabulary.tokens
    assert json.loads(metadata["config"])["model"]["tied"] is True


OWN_CELLS = """
from typing import NamedTuple
import torch
from seqtrain.cells import Cell, LSTMCell

class State(NamedTuple):
    hidden: torch.Tensor
    count: torch.Tensor

class Fading(LSTMCell):
    '''A cell with a buffer, a state of whole numbers, and nothing of the LSTM that it derives from.'''

    def __init__(self, input_size, hidden_size):
        Cell.__init__(self, input_size, hidden_size)
        self.into = torch.nn.Linear(input_size, hidden_size)
        self.register_buffer("keep", torch.rand(hidden_size))

    def project(self, x):
        return self.into(x)

    def step(self, x_gates, state):
        hidden = torch.tanh(x_gates + self.keep * state.hidden / (1 + state.count))
        return State(hidden, state.count + 1)

    def initial_state(self, batch_size):
        return State(torch.ones(batch_size, self.hidden_size), torch.zeros(batch_size, 1, dtype=torch.int64))

class Halving(Fading):
    '''A cell with a tensor that is no buffer.'''

    half = torch.tensor(0.5)

    def step(self, x_gates, state):
        return super().step(x_gates * self.half, state)

class Branching(Fading):
    '''A cell that looks at a number.'''

    def step(self, x_gates, state):
        return super().step(x_gates, state) if state.hidden.sum() > 0 else state
"""


@pytest.mark.filterwarnings("ignore")
def test_a_cell_of_the_user_becomes_a_program_if_torch_can_follow_it(seqtrain, tmp_path):
    (tmp_path / "my_cells.py").write_text(OWN_CELLS)
    small = (*SMALL, *SMALL_SETS, "model.direction=bidirectional")
    assert seqtrain("train", "quickstart", *small, "model.cell=my_cells:Fading", "--out", "a").code == 0
    exported = export("a", "torch")
    assert exported.check.difference <= 1e-6
    metadata = {"initial_state": ""}
    program = torch.export.load("a/model.pt2", extra_files=metadata).module()
    model, x = load_model("a"), torch.randn(17, 2, 2)
    torch.testing.assert_close(program(x), model(x)[0], rtol=0, atol=1e-6)
    assert json.loads(metadata["initial_state"]) == {"hidden_0": [[1.0] * 6] * 2, "count_0": [[0], [0]]}

    for to, out in (("keras", "a.npz"), ("flax", "a.npz"), ("torch", "a.pt"), ("onnx", "a.onnx")):
        called = seqtrain("export", "a", "--to", to, "--out", out)
        assert called.code == 2
        assert "my_cells:Fading" in called.err
    for name in ("Halving", "Branching"):
        assert (
            seqtrain("train", "quickstart", *small, f"model.cell=my_cells:{name}", "--out", "b", "--overwrite").code
            == 0
        )
        called = seqtrain("export", "b", "--to", "torch")
        assert called.code == 2
        assert f"torch.export cannot follow my_cells:{name} (" in called.err
        assert len(called.err.splitlines()) == 1
        assert not (tmp_path / "b/model.pt2").exists()


def test_symbols_whose_vectors_are_added(seqtrain):
    """A tagger reads a word, its suffixes and its shape at each step."""
    assert seqtrain("train", "agreement", *SMALL, "task.shape=true", "--out", "run").code == 0
    called = seqtrain("export", "run", "--to", "torch", "--out", "model.pt", "--json")
    assert called.code == 0, called.err
    assert called.json["check"]["difference"] <= 1e-6
    assert called.json["remarks"] == ["the vectors of the symbols of a step are added: encoder(x).sum(2)"]


def test_a_model_in_bfloat16_is_compared_in_float32(seqtrain, monkeypatch):
    monkeypatch.setenv("SEQTRAIN_BFLOAT16", "emulated")
    assert seqtrain("train", "quickstart", *SMALL, *SMALL_SETS, "precision=bfloat16", "--out", "run").code == 0
    called = seqtrain("export", "run", "--to", "torch", "--out", "model.pt")
    assert called.code == 0, called.err
    assert "the model was trained with products in bfloat16; what is written computes in float32" in called.err
    assert "bfloat16" not in seqtrain("export", "run", "--to", "safetensors", "--out", "hub").err
