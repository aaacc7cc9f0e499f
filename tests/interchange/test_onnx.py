"""Models in ONNX, run by onnxruntime beside seqtrain."""

import json
from itertools import cycle, product

import numpy as np
import pytest
import torch
from conftest import SMALL, SMALL_SETS
from exported import CELLS, DIRECTIONS, HEADS, trained

from seqtrain import ConfigError, Differs, export, load_model, train
from seqtrain.config.build import build_task
from seqtrain.inference.load import load_text_model, load_trained
from seqtrain.interchange import onnx_format, samples
from seqtrain.interchange.content import Options
from seqtrain.recurrence import unroll_reference

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
onnx_model = pytest.importorskip("seqtrain.interchange.onnx_model")  # it needs onnx


def session_of(content: bytes):
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])


def run(session, **inputs) -> list[torch.Tensor]:
    """The outputs of a file, for arrays or tensors."""
    return [torch.from_numpy(out) for out in session.run(None, {name: np.asarray(x) for name, x in inputs.items()})]


def cases():
    """Every cell in every direction and form; depths, heads, lengths and states take turns, and so meet each cell."""
    rest = cycle(product((1, 2), HEADS, (False, True), (False, True)))
    for cell, direction, form in product(CELLS, DIRECTIONS, ("op", "scan")):
        if form == "op" and cell.get("ablation", "none") not in ("none", "no_peepholes", "coupled"):
            continue
        depth, head, lengths, states = [next(rest) for _ in range(7)][-1]
        yield cell, direction, form, depth, head, lengths, states


@pytest.mark.parametrize(("cell", "direction", "form", "depth", "head", "lengths", "states"), [*cases()])
def test_a_file_computes_what_the_model_computes(cell, direction, form, depth, head, lengths, states):
    """The oracle is the plain loop, on other sequences than those on which the verb checks the file."""
    model = trained(cell, head, direction=direction, depth=depth, merge="sum" if depth == 2 else None)
    model.model.stack.loop = model.model.stack.loop._replace(unroll=unroll_reference)
    content = onnx_format.write(model, Options(form=form, lengths=lengths, states=states))
    assert content.check.difference <= 1e-6
    session = session_of(content.files["model.onnx"])
    T, B = 11, 4
    given = {"x": samples.inputs_of(model).draw(T, B, seed=1)}
    sizes = torch.tensor([11, 0, 5, 1]) if lengths else None
    state = samples.draw_state(model.model, B, seed=1) if states else None
    with torch.inference_mode():
        y, after = model.model(given["x"], sizes, state)
    wanted = [y]
    if lengths:
        given["lengths"] = sizes
    if states:
        given |= samples.named_states(state)
        wanted += samples.named_states(after).values()
    got = run(session, **given)
    assert len(got) == len(wanted)
    for ours, theirs in zip(wanted, got, strict=True):
        torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-6)


@pytest.mark.parametrize("cell", [{"name": "lstm"}, {"name": "gru"}, CELLS[-1]])
def test_zoneout_keeps_its_share_of_the_state(cell):
    model = trained(cell, "words", depth=2, zoneout_hidden=0.3, zoneout_memory=0.1 if cell["name"] != "gru" else 0.0)
    content = onnx_format.write(model, Options())
    assert content.check.difference <= 1e-6
    assert "Scan" in nodes(content.files["model.onnx"])
    with pytest.raises(ConfigError, match="no operator of ONNX computes"):
        onnx_format.write(model, Options(form="op"))


@pytest.mark.parametrize("cell", [{"name": "lstm"}, {"name": "peephole"}, {"name": "gru"}, CELLS[-1]])
@pytest.mark.parametrize("part", [1, 7, 20])
def test_a_stream_in_parts_equals_the_whole(cell, part):
    model = trained(cell, "words", depth=2, hidden_size=[7, 5])
    session = session_of(onnx_format.write(model, Options()).files["model.onnx"])
    x = samples.inputs_of(model).draw(20, 3)
    states = samples.named_states([[c.initial_state(3) for c in layer] for layer in model.model.stack.cells()])
    whole, *last = run(session, x=x, **{name: state.detach() for name, state in states.items()})
    given, outputs = {name: state.detach() for name, state in states.items()}, []
    for start in range(0, 20, part):
        y, *after = run(session, x=x[start : start + part], **given)
        outputs.append(y)
        given = dict(zip(given, after, strict=True))
    torch.testing.assert_close(torch.cat(outputs), whole, rtol=0, atol=1e-6)
    for ours, theirs in zip(given.values(), last, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def nodes(content: bytes) -> set[str]:
    return {node.op_type for node in onnx.load_from_string(content).graph.node}


@pytest.mark.parametrize(
    ("cell", "lengths", "wanted"),
    [
        ({"name": "lstm"}, False, "LSTM"),
        ({"name": "rnn", "nonlinearity": "relu"}, False, "Scan"),
        ({"name": "lstm"}, True, "Scan"),
        ({"name": "peephole"}, False, "Scan"),
        ({"name": "coupled"}, False, "LSTM"),
        ({"name": "coupled", "peepholes": True}, False, "Scan"),
        ({"name": "gru"}, False, "GRU"),
        ({"name": "rnn"}, False, "RNN"),
        ({"name": "odyssey", "ablation": "no_peepholes"}, False, "LSTM"),
        ({"name": "odyssey", "ablation": "no_input_gate"}, False, "Scan"),
    ],
)
def test_an_operator_is_used_where_every_runtime_has_it_right(cell, lengths, wanted):
    content = onnx_format.write(trained(cell), Options(lengths=lengths)).files["model.onnx"]
    assert {"LSTM", "GRU", "RNN", "Scan"} & nodes(content) == {wanted}
    content = onnx_format.write(trained(cell, direction="backward"), Options(lengths=lengths)).files["model.onnx"]
    assert {"LSTM", "GRU", "RNN", "Scan"} & nodes(content) == {"Scan"}


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_states_are_inputs_of_what_can_be_streamed(direction):
    content = onnx_format.write(trained({"name": "lstm"}, direction=direction), Options())
    assert ("hidden_0" in content.facts["inputs"]) == (direction == "forward")
    assert ("hidden_0_out" in content.facts["outputs"]) == (direction == "forward")


def test_a_form_that_some_runtimes_ignore_is_remarked():
    peephole = onnx_format.write(trained({"name": "peephole"}), Options(form="op", lengths=True))
    assert any("ignores peepholes, lengths of this operator" in remark for remark in peephole.remarks)
    assert not onnx_format.write(trained({"name": "peephole"}), Options()).remarks
    assert not onnx_format.write(trained({"name": "gru"}), Options(form="op")).remarks
    backward = onnx_format.write(trained({"name": "gru"}, direction="bidirectional"), Options(form="op"))
    assert any("the direction backward" in remark for remark in backward.remarks)


@pytest.fixture(scope="module")
def lstm_run(tmp_path_factory):
    return train("quickstart", (*SMALL, *SMALL_SETS), out=tmp_path_factory.mktemp("onnx") / "run").path


@pytest.mark.parametrize("factor", [1.001, float("nan")])
def test_a_wrong_file_is_not_written(seqtrain, lstm_run, tmp_path, monkeypatch, factor):
    right = onnx_model._add_head
    monkeypatch.setattr(
        onnx_model,
        "_add_head",
        lambda graph, *given: graph("Mul", right(graph, *given), graph.constant(torch.tensor(factor))),
    )
    called = seqtrain("export", lstm_run, "--to", "onnx", "--out", "wrong.onnx")
    assert called.code == 4
    assert "off the model, more than 1e-05; nothing is written" in called.err
    assert not (tmp_path / "wrong.onnx").exists()
    with pytest.raises(Differs):
        export(lstm_run, "onnx", tmp_path / "wrong.onnx")


def test_a_file_that_ignores_lengths_is_not_written(seqtrain, lstm_run, tmp_path, monkeypatch):
    right = onnx_model._add_lengths
    monkeypatch.setattr(onnx_model, "_add_lengths", lambda graph, x: right(graph, x) and None)
    called = seqtrain("export", lstm_run, "--to", "onnx", "--lengths", "--out", "wrong.onnx")
    assert called.code == 4, called.err
    assert not [*tmp_path.iterdir()]


def test_without_onnxruntime_the_file_is_not_checked(seqtrain, lstm_run, tmp_path, monkeypatch):
    find = onnx_format.find_spec
    monkeypatch.setattr(onnx_format, "find_spec", lambda name: None if name == "onnxruntime" else find(name))
    called = seqtrain("export", lstm_run, "--to", "onnx", "--out", "a.onnx", "--json")
    assert called.code == 0
    assert called.json["check"] is None
    assert "not checked: onnxruntime is not installed" in called.err
    assert (tmp_path / "a.onnx").exists()
    monkeypatch.setattr(onnx_format, "find_spec", lambda _: None)
    called = seqtrain("export", lstm_run, "--to", "onnx", "--out", "b.onnx")
    assert called.code == 2
    assert "pip install 'seqtrain[onnx]'" in called.err


def test_the_verb_prints_inputs_outputs_and_the_difference(seqtrain, lstm_run, tmp_path):
    called = seqtrain("export", lstm_run, "--to", "onnx", "--out", "model.onnx", "--json")
    assert called.code == 0
    assert called.json["check"]["program"] == f"onnxruntime {onnxruntime.__version__}"
    assert called.json["check"]["difference"] <= 1e-6
    assert called.json["facts"]["inputs"].startswith("x float32 [steps, batch, 2], hidden_0 float32 [1, batch, 6]")
    properties = {one.key: one.value for one in onnx.load(tmp_path / "model.onnx").metadata_props}
    assert json.loads(properties["config"])["model"]["cell"]["name"] == "lstm"
    x = np.random.default_rng(0).random((30, 2, 2), np.float32)
    zeros = np.zeros((1, 2, 6), np.float32)
    (y, *_) = run(session_of((tmp_path / "model.onnx").read_bytes()), x=x, hidden_0=zeros, cell_0=zeros)
    torch.testing.assert_close(y, load_model(lstm_run)(torch.from_numpy(x))[0].detach(), rtol=0, atol=1e-6)


def test_a_model_trained_in_bfloat16_is_compared_in_float32(seqtrain, monkeypatch):
    monkeypatch.setenv("SEQTRAIN_BFLOAT16", "emulated")
    assert seqtrain("train", "quickstart", *SMALL, *SMALL_SETS, "precision=bfloat16", "--out", "run").code == 0
    assert seqtrain("export", "run", "--to", "onnx", "--json").json["check"]["difference"] <= 1e-6


def test_a_text_model_brings_its_vocabulary(seqtrain, tmp_path):
    assert seqtrain("train", "words", *SMALL, "--out", "run").code == 0
    assert seqtrain("export", "run", "--to", "onnx").code == 0
    file = tmp_path / "run/model.onnx"
    properties = {one.key: one.value for one in onnx.load(file).metadata_props}
    assert json.loads(properties["vocabulary"]) == load_text_model("run").vocabulary.tokens


def test_symbols_whose_vectors_are_added(seqtrain, tmp_path):
    """A tagger reads a word, its suffixes and its shape at each step."""
    assert seqtrain("train", "agreement", *SMALL, "task.shape=true", "--out", "run").code == 0
    assert seqtrain("export", "run", "--to", "onnx", "--lengths", "--no-states").code == 0
    model = load_trained("run")
    batches = build_task(model.config, fitted=model.header.fitted).eval_batches("test", 50)
    batch = next(batch for batch in batches if batch.lengths is not None)
    assert batch.inputs.dim() == 3
    with torch.inference_mode():
        wanted, _ = model.model(batch.inputs, batch.lengths)
    (y,) = run(session_of((tmp_path / "run/model.onnx").read_bytes()), x=batch.inputs, lengths=batch.lengths)
    torch.testing.assert_close(y, wanted, rtol=0, atol=1e-6)


def test_a_learnt_initial_state_stands_in_the_metadata():
    model = trained({"name": "lstm", "learn_initial_state": True}, direction="bidirectional")
    content = onnx_format.write(model, Options(states=True)).files["model.onnx"]
    properties = {one.key: one.value for one in onnx.load_from_string(content).metadata_props}
    first = {
        name: np.array(rows, np.float32)[:, None] for name, rows in json.loads(properties["initial_state"]).items()
    }
    x = samples.inputs_of(model).draw(5, 1)
    (y, *_) = run(session_of(content), x=x, **first)
    torch.testing.assert_close(y, model.model(x)[0].detach(), rtol=0, atol=1e-6)


def test_what_onnx_cannot_hold_is_refused(seqtrain, lstm_run, tmp_path, monkeypatch):
    called = seqtrain("export", lstm_run, "--to", "onnx", "--form", "loop", "--license", "mit", "--out", "a.onnx")
    assert called.code == 2
    assert "--license is for --to safetensors; leave it out" in called.err
    assert "--form is 'loop'; choose one of op, scan" in called.err
    assert "its ending says what to write" in seqtrain("export", lstm_run, "--to", "onnx", "--out", "a.txt").err
    assert "--states is for --to onnx" in seqtrain("export", lstm_run, "--to", "keras", "--no-states").err
    monkeypatch.setattr(onnx_format, "MOST_BYTES", 100)
    called = seqtrain("export", lstm_run, "--to", "onnx", "--out", "a.onnx")
    assert called.code == 2
    assert "more than the 2 GiB of a file of ONNX" in called.err
    assert not [*tmp_path.iterdir()]


def test_an_operator_is_refused_where_there_is_none(seqtrain):
    assert (
        seqtrain(
            "train",
            "quickstart",
            *SMALL,
            *SMALL_SETS,
            "model.cell.ablation=no_input_gate",
            "model.cell.name=odyssey",
            "--out",
            "run",
        ).code
        == 0
    )
    called = seqtrain("export", "run", "--to", "onnx", "--form", "op")
    assert called.code == 2
    assert "no operator of ONNX computes cell odyssey with ablation no_input_gate; use --form scan" in called.err


def test_a_cell_of_the_user_is_refused(seqtrain, tmp_path):
    (tmp_path / "my_cells.py").write_text(
        "from seqtrain.cells import RNNCell\nclass MyCell(RNNCell):\n    '''The same.'''\n"
    )
    assert seqtrain("train", "quickstart", *SMALL, *SMALL_SETS, "model.cell=my_cells:MyCell", "--out", "run").code == 0
    called = seqtrain("export", "run", "--to", "onnx")
    assert called.code == 2
    assert "is your own, and its equations are Python" in called.err
