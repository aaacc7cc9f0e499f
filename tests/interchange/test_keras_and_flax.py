"""Weights for Keras and Flax: the arrays, and what the installed libraries compute with them.

The libraries run the example of docs/export.md, which loads the weights of any model that has a counterpart there.
"""

import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from exported import CELLS, trained

from seqtrain import ConfigError
from seqtrain.cells import LSTMCell
from seqtrain.inference.load import load_trained
from seqtrain.interchange import flax_format, keras_format
from seqtrain.interchange.content import Options
from seqtrain.interchange.metadata import metadata_of
from seqtrain.interchange.samples import inputs_of

PAGE = (Path(__file__).parents[2] / "docs/export.md").read_text("utf-8")

KERAS_CELLS = [
    *({"name": name} for name in ("lstm", "gru", "rnn", "coupled")),
    {"name": "lstm", "biases": 2},
    {"name": "rnn", "nonlinearity": "relu"},
    {"name": "gru", "reset": "before"},
    {"name": "odyssey", "ablation": "no_peepholes"},
]
HIDDEN = 7
FLAX_CELLS = [cell for cell in KERAS_CELLS if "reset" not in cell]


def example(title: str) -> dict:
    """The names that the first Python block under a heading defines."""
    block = re.search(rf"^### {title}\n.*?^```py\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)[1]
    names: dict = {"__name__": "example"}
    exec(compile(block, title, "exec"), names)
    return names


def arrays(content) -> dict[str, np.ndarray]:
    (file,) = content.files.values()
    return dict(np.load(io.BytesIO(file)))


def ours(model) -> tuple[np.ndarray, np.ndarray]:
    """Inputs `[B, T, ...]`, and what the model says."""
    x = inputs_of(model).draw(6, 3)
    with torch.inference_mode():
        y, _ = model.model(x)
    first = (1, 0, *range(2, x.dim()))
    return x.permute(first).numpy(), y.transpose(0, 1).numpy() if y.dim() == 3 else y.numpy()


@pytest.mark.filterwarnings("ignore:__array__")  # of Keras on PyTorch
@pytest.mark.parametrize("head", ["regression", "words", "projected"])
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize(("direction", "merge"), [("forward", None), ("bidirectional", None), ("bidirectional", "sum")])
@pytest.mark.parametrize("cell", KERAS_CELLS)
def test_keras_computes_what_the_model_computes(cell, direction, merge, depth, head, monkeypatch):
    keras = pytest.importorskip("keras")
    model = trained(cell, head, direction=direction, merge=merge, depth=depth)
    x, wanted = ours(model)
    load = example("Keras")["load"]
    settings = {
        "GRU": {"reset_after": cell.get("reset") != "before"},
        "SimpleRNN": {"activation": cell.get("nonlinearity", "tanh")},
        "LSTM": {},
    }
    kind = {"gru": "GRU", "rnn": "SimpleRNN"}.get(cell["name"], "LSTM")
    further = {"every_step": model.model.every_step, "merge": merge or "concat"} | settings[kind]
    said = load(arrays(keras_format.write(model, Options())), kind, **further)(x)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(said), wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("head", ["values", "words"])
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("cell", FLAX_CELLS)
def test_flax_computes_what_the_model_computes(cell, depth, head):
    linen = pytest.importorskip("flax.linen")
    import jax

    model = trained(cell, head, depth=depth)
    x, wanted = ours(model)
    kinds = {"gru": linen.GRUCell, "rnn": linen.SimpleCell}
    make = kinds.get(cell["name"], linen.OptimizedLSTMCell)
    settings = {"activation_fn": jax.nn.relu} if "nonlinearity" in cell else {}
    apply = example("Flax")["apply"]
    said = np.asarray(apply(arrays(flax_format.write(model, Options())), lambda units: make(units, **settings), x))
    np.testing.assert_allclose(said, wanted, rtol=0, atol=1e-6)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def keras_step(w, cell, x, state):
    """A time step of a layer of Keras, by its documentation: gates i, f, c, o, or z, r, h."""
    h, c = state
    kernel, recurrent, bias = w["kernel"], w["recurrent_kernel"], w["bias"]
    if cell["name"] == "rnn":
        sums = x @ kernel + h @ recurrent + bias
        return np.maximum(sums, 0) if cell.get("nonlinearity") == "relu" else np.tanh(sums), c
    if cell["name"] == "gru":
        b_x, b_h = bias if bias.ndim == 2 else (bias, np.zeros_like(bias))
        (x_z, x_r, x_n), (z, r, n) = np.split(x @ kernel + b_x, 3, -1), np.split(h @ recurrent + b_h, 3, -1)
        z, r = sigmoid(x_z + z), sigmoid(x_r + r)
        n = r * n if bias.ndim == 2 else (r * h) @ np.split(recurrent, 3, -1)[2]
        return z * h + (1 - z) * np.tanh(x_n + n), c
    i, f, g, o = np.split(x @ kernel + h @ recurrent + bias, 4, -1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def flax_step(w, cell, x, state):
    """A time step of a cell of `flax.linen`, by its documentation: a kernel for each gate, and a bias for some."""
    h, c = state

    def sums(gate):
        b = w.get(f"i{gate}/bias", 0) + w.get(f"h{gate}/bias", 0)
        return x @ w[f"i{gate}/kernel"] + h @ w[f"h{gate}/kernel"] + b

    if cell["name"] == "rnn":
        return np.maximum(sums(""), 0) if cell.get("nonlinearity") == "relu" else np.tanh(sums("")), c
    if cell["name"] == "gru":
        z = sigmoid(sums("z"))
        inner = sigmoid(sums("r")) * (h @ w["hn/kernel"] + w["hn/bias"])
        return (1 - z) * np.tanh(x @ w["in/kernel"] + w["in/bias"] + inner) + z * h, c
    c = sigmoid(sums("f")) * c + sigmoid(sums("i")) * np.tanh(sums("g"))
    return sigmoid(sums("o")) * np.tanh(c), c


def in_numpy(step, weights, cell, x):
    """The states of a layer over the steps of `[T, B, I]`, from zero: `[T, B, H]`."""
    h = c = np.zeros((x.shape[1], HIDDEN))
    outputs = []
    for one in x:
        h, c = step(weights, cell, one, (h, c))
        outputs.append(h)
    return np.stack(outputs)


@pytest.mark.parametrize(
    ("format_", "step", "cell"),
    [
        *((keras_format, keras_step, cell) for cell in KERAS_CELLS),
        *((flax_format, flax_step, cell) for cell in FLAX_CELLS),
    ],
)
def test_the_arrays_compute_in_numpy_what_the_model_computes(format_, step, cell):
    """Where neither library is installed."""
    model = trained(cell, "values", direction="bidirectional", hidden_size=HIDDEN)
    weights = arrays(format_.write(model, Options()))
    x, wanted = ours(model)
    x, outputs = x.swapaxes(0, 1), []
    for way, order in (("forward", 1), ("backward", -1)):
        prefix = f"layer0/{way}/"
        own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
        outputs.append(in_numpy(step, own, cell, x[::order])[::order])
    y = np.concatenate(outputs, -1) @ weights["head/kernel"] + weights["head/bias"]
    np.testing.assert_allclose(y.swapaxes(0, 1), wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("format_", [keras_format, flax_format])
def test_the_embedding_and_the_head_are_those_of_the_model(format_):
    model = trained({"name": "gru"}, "projected")
    weights = arrays(format_.write(model, Options()))
    rows = model.model.encoder.weight.detach()
    name = "embedding/embeddings" if format_ is keras_format else "embedding/embedding"
    np.testing.assert_array_equal(weights[name], rows)
    np.testing.assert_array_equal(weights["head/kernel"], rows.T)
    np.testing.assert_array_equal(weights["projection/kernel"], model.model.head.projection.weight.detach().T)


@pytest.mark.parametrize(
    ("cell", "head", "settings", "wanted"),
    [
        ({"name": "peephole"}, "regression", {}, "has no cell peephole"),
        ({"name": "coupled", "peepholes": True}, "regression", {}, "has no cell coupled with peepholes; "),
        (CELLS[-1], "regression", {}, "has no cell odyssey with ablation full_gate_recurrence; "),
        ({"name": "lstm"}, "adaptive", {}, "has no adaptive softmax"),
        ({"name": "lstm"}, "regression", {"zoneout_hidden": 0.1}, "no zoneout"),
        ({"name": "lstm"}, "regression", {"zoneout_memory": 0.1}, "no zoneout"),
    ],
)
@pytest.mark.parametrize("format_", [keras_format, flax_format])
def test_what_they_do_not_have_is_refused(format_, cell, head, settings, wanted):
    with pytest.raises(ConfigError, match=wanted) as refused:
        format_.write(trained(cell, head, **settings), Options())
    assert "; --to onnx and --to torch can" in str(refused.value)


@pytest.mark.parametrize("format_", [keras_format, flax_format])
def test_a_cell_of_the_user_is_not_taken_for_the_one_that_it_derives_from(format_):
    class Own(LSTMCell):
        """Its step may be any."""

    model = trained({"name": "lstm"})
    model.model.stack.layers[0][0] = Own(3, 7)
    with pytest.raises(ConfigError, match=r"it has no cell lstm; --to torch can$"):
        format_.write(model, Options())


def test_flax_has_no_gru_that_resets_before_the_product():
    with pytest.raises(ConfigError, match="resets after the recurrent product"):
        flax_format.write(trained({"name": "gru", "reset": "before"}), Options())


def test_a_learnt_initial_state_is_named():
    content = keras_format.write(trained({"name": "gru", "learn_initial_state": True}), Options())
    assert content.remarks == ["the initial state is learnt: give layer0/forward/initial_hidden to the layers"]
    assert arrays(content)["layer0/forward/initial_hidden"].shape == (7,)


def test_the_verb_writes_them(seqtrain, tmp_path):
    from conftest import SMALL, SMALL_SETS

    assert seqtrain("train", "quickstart", *SMALL, *SMALL_SETS, "--out", "run").code == 0
    for name in ("keras", "flax"):
        called = seqtrain("export", "run", "--to", name, "--json")
        assert called.code == 0
        assert called.json["check"] is None
        with np.load(tmp_path / f"run/{name}.npz") as file:
            assert file["head/kernel"].shape == (6, 1)
            metadata = {key: str(file[f"metadata/{key}"]) for key in ("task", "config")}
        assert metadata == metadata_of(load_trained("run"))


@pytest.mark.parametrize(
    ("format_", "cell", "settings", "code"),
    [
        (keras_format, {"name": "rnn", "nonlinearity": "relu"}, {}, "activation='relu'"),
        (flax_format, {"name": "rnn", "nonlinearity": "relu"}, {}, "activation_fn=jax.nn.relu"),
        (keras_format, {"name": "gru", "reset": "before"}, {}, "reset_after=False"),
        (keras_format, {"name": "lstm"}, {"direction": "bidirectional", "merge": "sum"}, "merge_mode='sum'"),
        (flax_format, {"name": "lstm"}, {"direction": "bidirectional", "merge": "sum"}, "merge_fn=jnp.add"),
        (keras_format, {"name": "coupled"}, {}, "they stay coupled"),
    ],
)
def test_a_remark_says_what_the_layers_do_not_do_by_themselves(format_, cell, settings, code):
    (remark,) = format_.write(trained(cell, **settings), Options()).remarks
    assert code in remark
    plain = format_.write(trained({"name": "gru"}, direction="bidirectional"), Options())
    assert not plain.remarks


@pytest.mark.parametrize(
    ("format_", "code"), [(keras_format, "keras.ops.one_hot(x, 5)"), (flax_format, "jax.nn.one_hot(x, 5)")]
)
def test_a_remark_says_that_symbols_enter_one_hot(format_, code):
    assert format_.write(trained({"name": "lstm"}, "classes"), Options()).remarks == [f"the inputs are one-hot: {code}"]
